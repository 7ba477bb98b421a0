//! Own writes that the cache hasn't shown yet, told by their version.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use orlop_client::informer::ObjectKey;
use tokio::time::Instant;

/// How long is waited for the cache to show own writes before it is trusted anyway: longer than a watch is late without
/// being broken, for a server that was set back never shows them.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// When to look again whether the cache has caught up; its own events usually come first.
pub const BEHIND_RETRY: Duration = Duration::from_millis(10);

/// The highest version written for each owner.
#[derive(Debug, Default)]
pub struct OwnWrites {
    writes: Mutex<HashMap<ObjectKey, (u64, Instant)>>,
}

impl OwnWrites {
    /// Something of the owner was written and got that version.
    pub fn wrote(&self, owner: &ObjectKey, version: u64) {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let (highest, since) = writes.entry(owner.clone()).or_insert((0, Instant::now()));
        *highest = version.max(*highest);
        *since = Instant::now();
    }

    /// The owner is gone, or nothing of it is written any more.
    pub fn forget(&self, owner: &ObjectKey) {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.remove(owner);
    }

    /// Whether a cache that has seen version `seen` shows all that was written for the owner.
    pub fn caught_up(&self, owner: &ObjectKey, seen: u64) -> bool {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((version, since)) = writes.get(owner) else {
            return true;
        };
        let caught_up = seen >= *version || since.elapsed() > CATCH_UP_MAX;
        if caught_up {
            writes.remove(owner);
        }
        caught_up
    }
}

#[cfg(test)]
impl OwnWrites {
    /// Of how many owners something is awaited.
    pub fn len(&self) -> usize {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cache_that_lags_is_waited_for_but_not_for_ever() {
        let writes = OwnWrites::default();
        let key = ObjectKey::new("ns", "a");
        assert!(writes.caught_up(&key, 0));
        writes.wrote(&key, 7);
        writes.wrote(&key, 5);
        assert!(!writes.caught_up(&key, 6));
        assert!(writes.caught_up(&key, 7));
        writes.wrote(&key, 9);
        tokio::time::advance(CATCH_UP_MAX + Duration::from_secs(1)).await;
        assert!(writes.caught_up(&key, 8));
        writes.wrote(&key, 12);
        writes.forget(&key);
        assert!(writes.caught_up(&key, 9));
        assert_eq!(writes.len(), 0);
    }
}
