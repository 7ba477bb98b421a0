//! Whose turn it is to have the runtime make something. Pods that start together would not start sooner for all being made at
//! once: they would only be in each other's way. And what is told of them meanwhile would be in the way of them all: who
//! tells waits until the rush is over, with what can wait.
//!
//! Who waits for something else than a processor (a network's plugin, a mount that hangs) keeps its turn for a moment only,
//! and delays no other pod.
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// Turns for each processor. What is made in one has several processes work for it, one after the other, which leaves gaps;
/// more than this fill none.
const PER_PROCESSOR: usize = 4;
/// What is made takes this long at the most where it has to share its processor with as many others as there are turns.
const TURN_MAX: Duration = Duration::from_millis(500);
/// Who tells of pods doesn't wait longer than this for the end of a rush: others rely on what is told.
const RUSH_MAX: Duration = Duration::from_secs(2);

/// What a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A pod that has begun. It goes first: what runs early is worth more than what has only begun.
    Container,
    /// A pod's beginning.
    Sandbox,
}

#[derive(Debug)]
struct State {
    taken: usize,
    containers: VecDeque<oneshot::Sender<Turn>>,
    sandboxes: VecDeque<oneshot::Sender<Turn>>,
}

#[derive(Debug)]
struct Inner {
    processors: usize,
    state: Mutex<State>,
    /// Since when there is more to do than processors for it; `None`: there isn't.
    rush: watch::Sender<Option<Instant>>,
}

/// The turns of a node; clones are the same ones.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Inner>);

/// A turn; over when dropped.
#[derive(Debug)]
pub struct Turn(Arc<Inner>);

impl Turns {
    /// Those of a machine with so many processors.
    pub fn of(processors: usize) -> Self {
        Self(Arc::new(Inner {
            processors: processors.max(1),
            state: Mutex::new(State {
                taken: 0,
                containers: VecDeque::new(),
                sandboxes: VecDeque::new(),
            }),
            rush: watch::channel(None).0,
        }))
    }

    /// Waits for one.
    pub async fn next(&self, purpose: Purpose) -> Turn {
        let given = {
            let mut state = self.0.state.lock();
            if state.taken < self.0.processors * PER_PROCESSOR {
                state.taken += 1;
                self.0.note(&state);
                return Turn(self.0.clone());
            }
            let (give, given) = oneshot::channel();
            match purpose {
                Purpose::Container => state.containers.push_back(give),
                Purpose::Sandbox => state.sandboxes.push_back(give),
            }
            given
        };
        match given.await {
            Ok(turn) => turn,
            // Turns are handed on for as long as there are any.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether more pods are being made than there are processors, and have not been for long.
    pub fn is_rush(&self) -> bool {
        let since = *self.0.rush.borrow();
        since.is_some_and(|since| since.elapsed() < RUSH_MAX)
    }

    /// Waits until no more pods are being made than there are processors, though not for long.
    pub async fn rush_over(&self) {
        let mut rush = self.0.rush.subscribe();
        loop {
            let Some(since) = *rush.borrow_and_update() else {
                return;
            };
            if timeout_at(since + RUSH_MAX, rush.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Turn {
    /// Does this in it.
    pub async fn spend<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        match timeout(TURN_MAX, &mut work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                drop(self);
                work.await
            }
        }
    }
}

impl Inner {
    fn note(&self, state: &State) {
        let is_rush = state.taken > self.processors;
        self.rush.send_if_modified(|since| {
            let before = since.is_some();
            if is_rush != before {
                *since = is_rush.then(Instant::now);
            }
            is_rush != before
        });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let next = state.containers.pop_front();
        let Some(next) = next.or_else(|| state.sandboxes.pop_front()) else {
            state.taken -= 1;
            return self.0.note(&state);
        };
        drop(state);
        // If nobody waits for it any more, it is dropped here, and goes on to the next.
        drop(next.send(Turn(self.0.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    const TURNS: usize = PER_PROCESSOR;

    /// Calls that are under way until they are let go.
    #[derive(Default)]
    struct Calls {
        begun: Mutex<Vec<Purpose>>,
        most: AtomicUsize,
        at_work: AtomicUsize,
    }

    async fn call<T>(turns: &Turns, purpose: Purpose, work: impl Future<Output = T>) -> T {
        turns.next(purpose).await.spend(work).await
    }

    async fn work(calls: &Calls, purpose: Purpose, until: &Semaphore) {
        calls.begun.lock().push(purpose);
        let at_work = calls.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        calls.most.fetch_max(at_work, Ordering::SeqCst);
        until.acquire().await.unwrap().forget();
        calls.at_work.fetch_sub(1, Ordering::SeqCst);
    }

    #[tokio::test(start_paused = true)]
    async fn pods_that_have_begun_go_before_those_that_have_not_and_never_too_many_go_at_once() {
        let turns = Turns::of(1);
        let (calls, gate) = (Calls::default(), Semaphore::new(0));
        let purposes = [Purpose::Sandbox; TURNS].into_iter().chain([
            Purpose::Sandbox,
            Purpose::Container,
            Purpose::Sandbox,
        ]);
        let all = purposes.map(|purpose| call(&turns, purpose, work(&calls, purpose, &gate)));
        let mut all = pin!(futures::future::join_all(all));
        assert!((&mut all).now_or_never().is_none());
        assert_eq!(calls.begun.lock().len(), TURNS);
        gate.add_permits(1);
        assert!((&mut all).now_or_never().is_none());
        assert_eq!(calls.begun.lock().last(), Some(&Purpose::Container));
        gate.add_permits(100);
        all.await;
        assert_eq!(calls.begun.lock().len(), TURNS + 3);
        assert_eq!(calls.most.load(Ordering::SeqCst), TURNS);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_hang_delay_others_for_a_moment_only() {
        let turns = Turns::of(1);
        let (calls, never) = (Calls::default(), Semaphore::new(0));
        let purpose = Purpose::Sandbox;
        let hang = (0..3 * TURNS).map(|_| call(&turns, purpose, work(&calls, purpose, &never)));
        let mut hang = pin!(futures::future::join_all(hang));
        assert!((&mut hang).now_or_never().is_none());
        let began = Instant::now();
        tokio::select! {
            _ = &mut hang => unreachable!(),
            () = call(&turns, purpose, async {}) => {}
        }
        assert!(began.elapsed() <= TURN_MAX * 3 + Duration::from_millis(10));
    }

    #[tokio::test]
    async fn who_waits_no_more_is_passed_over() {
        let turns = Turns::of(1);
        let mut taken = Vec::new();
        for _ in 0..TURNS {
            taken.push(turns.next(Purpose::Container).await);
        }
        let mut gone = Box::pin(turns.next(Purpose::Container));
        assert!((&mut gone).now_or_never().is_none());
        let mut next = Box::pin(turns.next(Purpose::Sandbox));
        assert!((&mut next).now_or_never().is_none());
        drop(gone);
        taken.pop();
        taken.push((&mut next).now_or_never().unwrap());
        taken.clear();
        assert_eq!(turns.0.state.lock().taken, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rush_is_waited_for_but_not_for_long() {
        let turns = Turns::of(2);
        assert!(turns.rush_over().now_or_never().is_some() && !turns.is_rush());
        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.push(turns.next(Purpose::Sandbox).await);
        }
        assert!(
            turns.rush_over().now_or_never().is_some(),
            "there is a processor for each"
        );
        taken.push(turns.next(Purpose::Sandbox).await);
        let mut over = Box::pin(turns.rush_over());
        assert!((&mut over).now_or_never().is_none() && turns.is_rush());
        taken.pop();
        assert!((&mut over).now_or_never().is_some() && !turns.is_rush());
        taken.push(turns.next(Purpose::Sandbox).await);
        let began = Instant::now();
        turns.rush_over().await;
        assert_eq!(began.elapsed(), RUSH_MAX);
        assert!(
            turns.rush_over().now_or_never().is_some(),
            "one that goes on is not waited for again"
        );
        assert!(!turns.is_rush());
    }
}
