//! When a DaemonSet may be looked at: not before the cache shows our own writes, and not sooner
//! after the last look than the size of the cluster allows.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::api::ListParams;
use kube::core::Selector;
use orlop_client::informer::ObjectKey;
use tokio::time::Instant;

use super::DaemonSets;
use super::sync::SyncError;
use crate::cache::{BY_CONTROLLER, DaemonSet};
use crate::owned::status::metadata_api;

/// How long a sync waits for the cache to show own writes before it trusts the cache anyway, as long as expectations
/// are waited for: a watch that is late must not make pods twice.
const CATCH_UP_MAX: Duration = Duration::from_secs(5 * 60);

/// Looking at all nodes and pods again this soon would cost more than it tells: a wave of events
/// about a large DaemonSet is worked off in one look. Ten microseconds an object keep the looks of
/// one DaemonSet to a fraction of a processor, and a small one has no pause to speak of.
const PACE_PER_OBJECT: Duration = Duration::from_micros(10);
/// Longest pause between two looks.
const PACE_MAX: Duration = Duration::from_millis(200);
/// Statuses that only tell of progress are written this seldom: in a fleet where pods become ready one by one, or nodes
/// come and go, each would be a write.
const STATUS_EVERY: Duration = Duration::from_millis(250);
/// When to look again whether the cache has caught up, at first; its own events usually come first.
const BEHIND_RETRY_MIN: Duration = Duration::from_millis(10);
/// When to look again at last.
const BEHIND_RETRY_MAX: Duration = Duration::from_secs(1);

/// What the cache must show before pods are counted again.
#[derive(Debug)]
pub struct OwnWrites {
    /// Versions of own writes.
    pods: u64,
    sets: u64,
    /// uids of pods that must no longer be there.
    gone: HashSet<Arc<str>>,
    since: Instant,
}

impl DaemonSets {
    /// How long the next look at this DaemonSet has to wait, if at all.
    pub(super) fn pause(&self, key: &ObjectKey) -> Option<Duration> {
        let wait = lock(&self.paced).get(key)?.checked_duration_since(Instant::now());
        wait.filter(|wait| !wait.is_zero())
    }

    /// The same; if not at all, the look after it will.
    pub(super) fn pace(&self, key: &ObjectKey) -> Option<Duration> {
        if let Some(wait) = self.pause(key) {
            return Some(wait);
        }
        let objects = self.cache.nodes.store().len() + self.cache.pods.store().len();
        let pause = PACE_PER_OBJECT
            .saturating_mul(u32::try_from(objects).unwrap_or(u32::MAX))
            .min(PACE_MAX);
        lock(&self.paced).insert(key.clone(), Instant::now() + pause);
        None
    }

    /// How long a status that can wait has to wait, if at all.
    pub(super) fn status_pause(&self, key: &ObjectKey) -> Option<Duration> {
        let since = lock(&self.told_status).get(key)?.elapsed();
        STATUS_EVERY.checked_sub(since).filter(|wait| !wait.is_zero())
    }

    /// Remembers versions that the cache has to show before the next sync.
    pub(super) fn wrote(&self, key: &ObjectKey, pods: u64, sets: u64) {
        if pods != 0 || sets != 0 {
            self.await_in_cache(key, pods, sets, HashSet::new());
        }
    }

    fn await_in_cache(&self, key: &ObjectKey, pods: u64, sets: u64, gone: HashSet<Arc<str>>) {
        let mut writes = lock(&self.own_writes);
        let own = writes.entry(key.clone()).or_insert(OwnWrites {
            pods: 0,
            sets: 0,
            gone: HashSet::new(),
            since: Instant::now(),
        });
        own.pods = own.pods.max(pods);
        own.sets = own.sets.max(sets);
        own.gone.extend(gone);
        own.since = Instant::now();
    }

    /// When to look again, if the cache doesn't show yet what has to be known about `set`.
    pub(super) fn behind(&self, set: &DaemonSet) -> Option<Duration> {
        let mut writes = lock(&self.own_writes);
        let own = writes.get(&set.key)?;
        let pods = self.cache.pods.store();
        let seen = pods.resource_version() >= own.pods
            && self.cache.daemon_sets.store().resource_version() >= own.sets
            && (own.gone.is_empty()
                || !pods
                    .by_index(BY_CONTROLLER, &set.uid)
                    .iter()
                    .any(|pod| own.gone.contains(&pod.uid)));
        let waited = own.since.elapsed();
        if seen || waited > CATCH_UP_MAX {
            writes.remove(&set.key);
            if seen {
                // Whether or not each was seen to come: they are counted from here on.
                self.expectations.created(&set.uid, usize::MAX);
            }
            return None;
        }
        Some((waited / 4).clamp(BEHIND_RETRY_MIN, BEHIND_RETRY_MAX))
    }

    /// After an answer was lost: asks the server itself which pods there are, so that the next count waits until the cache
    /// shows them. Otherwise what was written unnoticed would be written again.
    pub(super) async fn make_certain(&self, set: &DaemonSet) -> Result<(), SyncError> {
        if !lock(&self.uncertain).contains(&set.key) {
            return Ok(());
        }
        let selector = set.set.spec.as_ref().map(|spec| spec.selector.clone());
        let selector = Selector::try_from(selector.unwrap_or_default()).unwrap_or_default();
        let pods = metadata_api::<core::Pod>(&self.client, &set.key.namespace);
        let live = pods.list(&ListParams::default().labels_from(&selector)).await?;
        let mut gone: HashSet<Arc<str>> = self
            .owned_pods(set)
            .into_iter()
            .map(|pod| pod.uid.clone())
            .collect();
        let mut newest = 0;
        for pod in live.items {
            let version = pod
                .metadata
                .resource_version
                .and_then(|version| version.parse().ok());
            newest = newest.max(version.unwrap_or(0));
            gone.remove(pod.metadata.uid.as_deref().unwrap_or_default());
        }
        self.await_in_cache(&set.key, newest, 0, gone);
        lock(&self.uncertain).remove(&set.key);
        Ok(())
    }
}

/// A panic elsewhere leaves these maps usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
