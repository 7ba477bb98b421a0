//! Who waits for a revision, woken when that one is there. Every write waits for its own: were all woken by each, many
//! writers at once would mostly wake each other.
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// How far the cache is, and who waits for it to be further.
#[derive(Debug, Default)]
pub(super) struct Reached(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    revision: u64,
    next_number: u64,
    /// By the revision that is waited for, and a number that tells those of one revision apart.
    places: BTreeMap<(u64, u64), oneshot::Sender<()>>,
}

/// Given up when dropped: a revision that a client names may never come.
struct Place<'r> {
    reached: &'r Reached,
    key: (u64, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.reached.0.lock().places.remove(&self.key);
    }
}

impl Reached {
    /// The cache is there now, and those go on who wait for that.
    pub fn set(&self, revision: u64) {
        let mut waiting = self.0.lock();
        waiting.revision = revision;
        let later = waiting.places.split_off(&(revision.saturating_add(1), 0));
        let ready = std::mem::replace(&mut waiting.places, later);
        drop(waiting);
        for place in ready.into_values() {
            // Who waited may be gone.
            let _ = place.send(());
        }
    }

    /// Waits until the cache is at this revision or a later one.
    pub async fn wait(&self, revision: u64) {
        let Some((place, reached)) = self.take_place(revision) else {
            return;
        };
        // The sender is dropped by nobody else than the place.
        let _ = reached.await;
        drop(place);
    }

    fn take_place(&self, revision: u64) -> Option<(Place<'_>, oneshot::Receiver<()>)> {
        let mut waiting = self.0.lock();
        if waiting.revision >= revision {
            return None;
        }
        let key = (revision, waiting.next_number);
        waiting.next_number += 1;
        let (sender, receiver) = oneshot::channel();
        waiting.places.insert(key, sender);
        Some((Place { reached: self, key }, receiver))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_for_a_revision_is_woken_by_no_earlier_one() {
        let reached = Reached::default();
        reached.set(3);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let context = &mut Context::from_waker(&waker);
        let mut waiting = pin!(reached.wait(7));
        assert!(waiting.as_mut().poll(context).is_pending());
        reached.set(5);
        reached.set(6);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        reached.set(9);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(waiting.poll(context).is_ready());
        assert!(pin!(reached.wait(9)).poll(context).is_ready());
    }

    #[test]
    fn who_waits_no_more_leaves_nothing() {
        let reached = Reached::default();
        let context = &mut Context::from_waker(Waker::noop());
        {
            let mut gone = pin!(reached.wait(u64::MAX));
            let mut patient = pin!(reached.wait(2));
            assert!(gone.as_mut().poll(context).is_pending());
            assert!(patient.as_mut().poll(context).is_pending());
            reached.set(2);
            assert!(patient.poll(context).is_ready());
            assert_eq!(reached.0.lock().places.len(), 1);
        }
        assert!(reached.0.lock().places.is_empty());
    }
}
