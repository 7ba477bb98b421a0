//! Own creates and deletes that the cache hasn't shown yet. While some are outstanding a sync must
//! not count pods, or it would create and delete twice.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Expectations older than this are given up: something was missed, counting anew is safer.
pub const LIFETIME: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
struct Expected {
    creates: usize,
    /// uids, so that a pod seen terminating and then gone counts once.
    deletes: HashSet<Arc<str>>,
    since: Instant,
}

/// Per DaemonSet uid: a recreated DaemonSet starts without expectations.
#[derive(Debug, Default)]
pub struct Expectations {
    sets: Mutex<HashMap<Arc<str>, Expected>>,
}

impl Expectations {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Expected>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces writes, before they are made. Replaces what was expected before.
    pub fn expect(&self, set: &Arc<str>, creates: usize, deletes: HashSet<Arc<str>>) {
        self.lock().insert(
            set.clone(),
            Expected {
                creates,
                deletes,
                since: Instant::now(),
            },
        );
    }

    /// A pod of the set was observed for the first time, or will never be.
    pub fn created(&self, set: &str, count: usize) {
        if let Some(expected) = self.lock().get_mut(set) {
            expected.creates = expected.creates.saturating_sub(count);
        }
    }

    /// A pod of the set was observed terminating or gone, or couldn't be deleted.
    pub fn deleted(&self, set: &str, pod: &str) {
        if let Some(expected) = self.lock().get_mut(set) {
            expected.deletes.remove(pod);
        }
    }

    /// Whether everything expected was seen, or waited for long enough.
    pub fn satisfied(&self, set: &str) -> bool {
        self.lock().get(set).is_none_or(|expected| {
            (expected.creates == 0 && expected.deletes.is_empty()) || expected.since.elapsed() > LIFETIME
        })
    }

    /// When what is still expected will be given up: nothing else may happen until then.
    pub fn given_up_in(&self, set: &str) -> Option<Duration> {
        let sets = self.lock();
        let expected = sets.get(set)?;
        let outstanding = expected.creates > 0 || !expected.deletes.is_empty();
        let left = LIFETIME.checked_sub(expected.since.elapsed())?;
        outstanding.then_some(left + Duration::from_millis(1))
    }

    /// The set is gone.
    pub fn forget(&self, set: &str) {
        self.lock().remove(set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expectations_end_when_seen_or_after_five_minutes() {
        let expectations = Expectations::default();
        let set: Arc<str> = "ds".into();
        assert!(expectations.satisfied(&set));
        expectations.expect(&set, 2, HashSet::from(["p".into()]));
        expectations.created(&set, 1);
        expectations.deleted(&set, "p");
        expectations.deleted(&set, "p");
        assert!(!expectations.satisfied(&set), "one create is outstanding");
        expectations.created(&set, 1);
        assert!(expectations.satisfied(&set));
        expectations.expect(&set, 1, HashSet::new());
        tokio::time::advance(LIFETIME + Duration::from_secs(1)).await;
        assert!(expectations.satisfied(&set));
    }

    #[test]
    fn c15_a_recreated_daemon_set_is_not_blocked_by_the_old_ones_expectations() {
        let expectations = Expectations::default();
        expectations.expect(&"old-uid".into(), 5, HashSet::new());
        assert!(expectations.satisfied("new-uid"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_seen_is_given_up_after_five_minutes() {
        let (expectations, set) = (Expectations::default(), Arc::from("set"));
        assert_eq!(expectations.given_up_in(&set), None);
        expectations.expect(&set, 1, HashSet::new());
        let wait = expectations.given_up_in(&set).unwrap();
        assert!(!expectations.satisfied(&set));
        tokio::time::advance(wait).await;
        assert!(expectations.satisfied(&set));
        assert_eq!(expectations.given_up_in(&set), None);
        expectations.expect(&set, 1, HashSet::new());
        expectations.created(&set, 1);
        assert_eq!(expectations.given_up_in(&set), None, "all was seen");
    }
}
