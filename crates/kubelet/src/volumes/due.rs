//! Pods whose volumes have to be set up again, at once or at a time: each once, however often it is told.
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Whom to look at next, by uid; cheap to clone, for one reader.
#[derive(Clone, Default)]
pub struct Due(Arc<State>);

#[derive(Default)]
struct State {
    now: Mutex<BTreeSet<String>>,
    arrived: Notify,
    /// The next time of each pod.
    later: Mutex<HashMap<String, Timer>>,
}

struct Timer {
    at: Instant,
    task: tokio::task::AbortHandle,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn tell(&self, uid: &str) {
        self.now.lock().insert(uid.to_owned());
        self.arrived.notify_one();
    }
}

impl Due {
    /// The pod is due now.
    pub fn tell(&self, uid: &str) {
        self.0.tell(uid);
    }

    /// The pod is due after a while, unless it is earlier: what was to be done at a later time is looked at then, and
    /// asks for its time again.
    pub fn remind(&self, uid: &str, wait: Duration) {
        let at = Instant::now() + wait;
        let mut later = self.0.later.lock();
        if later.get(uid).is_some_and(|timer| timer.at <= at) {
            return;
        }
        let (state, of) = (Arc::downgrade(&self.0), uid.to_owned());
        let task = tokio::spawn(ring(state, of, at)).abort_handle();
        later.insert(uid.to_owned(), Timer { at, task });
    }

    /// The pod is gone.
    pub fn forget(&self, uid: &str) {
        self.0.later.lock().remove(uid);
        self.0.now.lock().remove(uid);
    }

    /// The next pod, when there is one.
    pub async fn next(&self) -> String {
        loop {
            if let Some(uid) = self.0.now.lock().pop_first() {
                return uid;
            }
            self.0.arrived.notified().await;
        }
    }

    #[cfg(test)]
    pub fn timers(&self) -> usize {
        self.0.later.lock().len()
    }
}

async fn ring(state: Weak<State>, uid: String, at: Instant) {
    tokio::time::sleep_until(at).await;
    let Some(state) = state.upgrade() else { return };
    {
        let mut later = state.later.lock();
        // Forgotten, or another has taken its place, at the very moment.
        if later.get(&uid).is_none_or(|timer| timer.at != at) {
            return;
        }
        later.remove(&uid);
    }
    state.tell(&uid);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_pod_has_one_timer_which_is_the_first() {
        let due = Due::default();
        let began = Instant::now();
        for seconds in [30, 40, 20, 30] {
            due.remind("u", SECOND * seconds);
        }
        due.remind("other", SECOND * 25);
        assert_eq!(due.timers(), 2);
        assert_eq!(due.next().await, "u");
        assert_eq!(began.elapsed().as_secs(), 20);
        assert_eq!(due.next().await, "other");
        assert_eq!((began.elapsed().as_secs(), due.timers()), (25, 0));
        due.remind("u", SECOND);
        due.forget("u");
        let nothing = tokio::time::timeout(SECOND * 100, due.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }

    #[tokio::test]
    async fn no_pod_is_lost_however_many_there_are_and_none_is_told_twice() {
        let due = Due::default();
        let uids: BTreeSet<String> = (0..1000).map(|number| format!("u{number}")).collect();
        for uid in uids.iter().chain(&uids) {
            due.tell(uid);
        }
        for uid in &uids {
            assert_eq!(&due.next().await, uid);
        }
        assert!(due.0.now.lock().is_empty());
    }
}
