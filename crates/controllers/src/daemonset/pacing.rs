//! When a DaemonSet may be looked at: not before the cache shows our own writes, and not sooner
//! after the last look than the size of the cluster allows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orlop_client::informer::ObjectKey;
use tokio::time::Instant;

use super::DaemonSets;

/// How long a sync waits for the cache to show own writes before it trusts the cache anyway: a
/// relist may have skipped the version that was written.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// Looking at all nodes and pods again this soon would cost more than it tells: a wave of events
/// about a large DaemonSet is worked off in one look. Ten microseconds an object keep the looks of
/// one DaemonSet to a fraction of a processor, and a small one has no pause to speak of.
const PACE_PER_OBJECT: Duration = Duration::from_micros(10);
/// Longest pause between two looks.
const PACE_MAX: Duration = Duration::from_millis(200);
/// When to look again whether the cache has caught up; its own events usually come first.
pub(super) const BEHIND_RETRY: Duration = Duration::from_millis(10);

/// The versions of own writes that the cache must show before pods are counted again.
#[derive(Debug)]
pub struct OwnWrites {
    pods: u64,
    sets: u64,
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

    /// Remembers versions that the cache has to show before the next sync.
    pub(super) fn wrote(&self, key: &ObjectKey, pods: u64, sets: u64) {
        if pods == 0 && sets == 0 {
            return;
        }
        let mut writes = lock(&self.own_writes);
        let own = writes.entry(key.clone()).or_insert(OwnWrites {
            pods: 0,
            sets: 0,
            since: Instant::now(),
        });
        own.pods = own.pods.max(pods);
        own.sets = own.sets.max(sets);
        own.since = Instant::now();
    }

    pub(super) fn caught_up(&self, key: &ObjectKey) -> bool {
        let mut writes = lock(&self.own_writes);
        let Some(own) = writes.get(key) else { return true };
        let seen = self.cache.pods.store().resource_version() >= own.pods
            && self.cache.daemon_sets.store().resource_version() >= own.sets;
        let caught_up = seen || own.since.elapsed() > CATCH_UP_MAX;
        if caught_up {
            writes.remove(key);
        }
        caught_up
    }
}

/// A panic elsewhere leaves these maps usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
