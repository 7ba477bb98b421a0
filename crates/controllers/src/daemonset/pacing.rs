//! When a DaemonSet may be looked at: not before the cache shows our own writes, and not sooner
//! after the last look than the size of the cluster allows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orlop_client::informer::ObjectKey;
use tokio::time::Instant;

use super::DaemonSets;
use super::sync::SyncError;
use crate::cache::DaemonSet;
use crate::owned::BEHIND_RETRY;

/// Looking at all nodes and pods again this soon would cost more than it tells: a wave of events
/// about a large DaemonSet is worked off in one look. Ten microseconds an object keep the looks of
/// one DaemonSet to a fraction of a processor, and a small one has no pause to speak of.
const PACE_PER_OBJECT: Duration = Duration::from_micros(10);
/// Longest pause between two looks.
const PACE_MAX: Duration = Duration::from_millis(200);
/// Statuses that only tell of progress are written this seldom: in a fleet where pods become ready one by one, or nodes
/// come and go, each would be a write.
const STATUS_EVERY: Duration = Duration::from_millis(250);

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

    /// When to look again, if the cache doesn't show yet what has to be known about `set`.
    pub(super) async fn behind(&self, set: &DaemonSet) -> Result<Option<Duration>, SyncError> {
        let sets = self.cache.daemon_sets.store().resource_version();
        if !self.own_status.caught_up(&set.key, sets) {
            return Ok(Some(BEHIND_RETRY));
        }
        let (awaited, namespace) = (&self.awaited, &set.key.namespace);
        Ok(awaited
            .caught_up(&self.client, namespace, &set.uid, &set.selector)
            .await?)
    }
}

/// A panic elsewhere leaves these maps usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
