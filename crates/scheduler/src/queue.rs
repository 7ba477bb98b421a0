//! Who waits to be scheduled, and for what.
//!
//! A pod is *active* (to be tried now, by priority, then by arrival), *backing off* (to be tried
//! at a time), or *waiting* (until something relevant happens, at most five minutes). What is
//! relevant to a pod confined to one node is what happens to that node.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use orlop_client::informer::ObjectKey;
use tokio::time::Instant;

/// Pause after the first failed attempt, doubling.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A pod is tried again after this long even if nothing happened.
pub const WAIT_MAX: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Waiter {
    priority: i32,
    arrival: u64,
    attempts: u32,
    tried: Instant,
    confined_to: Option<Vec<Arc<str>>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    /// Taken by the scheduling loop.
    Trying,
    /// To become active then.
    Due(Instant),
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    waiters: HashMap<ObjectKey, Waiter>,
    active: BTreeSet<(Reverse<i32>, u64, ObjectKey)>,
    due: BTreeSet<(Instant, ObjectKey)>,
    by_node: HashMap<Arc<str>, HashSet<ObjectKey>>,
    /// Due waiters confined to no node.
    anywhere: HashSet<ObjectKey>,
    /// Waiters who mind other pods.
    company: HashSet<ObjectKey>,
    arrivals: u64,
}

fn backoff(attempts: u32) -> Duration {
    BACKOFF_MIN
        .saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1).min(16)))
        .min(BACKOFF_MAX)
}

impl Queue {
    /// Pods that have no node yet.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// A pod waits, or changed while waiting: it is to be tried.
    pub fn put(
        &mut self,
        pod: &ObjectKey,
        priority: i32,
        confined_to: Option<Vec<Arc<str>>>,
        minds_company: bool,
        now: Instant,
    ) {
        let known = self.remove(pod);
        self.arrivals += 1;
        let (arrival, attempts, tried) = known.map_or((self.arrivals, 0, now), |known| {
            (known.arrival, known.attempts, known.tried)
        });
        let waiter = Waiter {
            priority,
            arrival,
            attempts,
            tried,
            confined_to,
            state: State::Trying,
        };
        self.waiters.insert(pod.clone(), waiter);
        if minds_company {
            self.company.insert(pod.clone());
        }
        let due = tried + backoff(attempts);
        let state = if attempts == 0 || due <= now {
            State::Active
        } else {
            State::Due(due)
        };
        self.set(pod, state);
    }

    /// A pod no longer waits.
    pub fn forget(&mut self, pod: &ObjectKey) {
        self.remove(pod);
    }

    fn remove(&mut self, pod: &ObjectKey) -> Option<Waiter> {
        self.set(pod, State::Trying);
        self.company.remove(pod);
        self.waiters.remove(pod)
    }

    /// Moves a waiter between the sets.
    fn set(&mut self, pod: &ObjectKey, state: State) {
        let Some(waiter) = self.waiters.get_mut(pod) else {
            return;
        };
        let old = std::mem::replace(&mut waiter.state, state);
        let rank = (Reverse(waiter.priority), waiter.arrival, pod.clone());
        match old {
            State::Active => drop(self.active.remove(&rank)),
            State::Trying => {}
            State::Due(at) => {
                self.due.remove(&(at, pod.clone()));
                match &waiter.confined_to {
                    None => drop(self.anywhere.remove(pod)),
                    Some(names) => {
                        for name in names {
                            if let Some(pods) = self.by_node.get_mut(name) {
                                pods.remove(pod);
                                if pods.is_empty() {
                                    self.by_node.remove(name);
                                }
                            }
                        }
                    }
                }
            }
        }
        match state {
            State::Active => drop(self.active.insert(rank)),
            State::Trying => {}
            State::Due(at) => {
                self.due.insert((at, pod.clone()));
                match &waiter.confined_to {
                    None => drop(self.anywhere.insert(pod.clone())),
                    Some(names) => {
                        for name in names {
                            self.by_node.entry(name.clone()).or_default().insert(pod.clone());
                        }
                    }
                }
            }
        }
    }

    /// The pod to try now.
    pub fn next(&mut self, now: Instant) -> Option<ObjectKey> {
        while let Some((at, pod)) = self.due.first().cloned()
            && at <= now
        {
            self.set(&pod, State::Active);
        }
        let (_, _, pod) = self.active.first().cloned()?;
        self.set(&pod, State::Trying);
        Some(pod)
    }

    /// When the next pod becomes active by itself.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The pod fits nowhere: it waits until something relevant happens.
    pub fn unschedulable(&mut self, pod: &ObjectKey, now: Instant) {
        self.failed(pod, now, |_| WAIT_MAX);
    }

    /// Something went wrong that time may heal: it is tried again after its back-off.
    pub fn retry(&mut self, pod: &ObjectKey, now: Instant) {
        self.failed(pod, now, backoff);
    }

    fn failed(&mut self, pod: &ObjectKey, now: Instant, wait: impl Fn(u32) -> Duration) {
        let Some(waiter) = self.waiters.get_mut(pod) else {
            return;
        };
        waiter.attempts = waiter.attempts.saturating_add(1);
        waiter.tried = now;
        let due = now + wait(waiter.attempts);
        self.set(pod, State::Due(due));
    }

    /// Something happened to `node`: it changed, or room was made there. Those whom it may help are
    /// tried again, after their back-off.
    pub fn happened_on(&mut self, node: &str, now: Instant) {
        let mut helped: Vec<ObjectKey> = self.anywhere.iter().cloned().collect();
        helped.extend(self.by_node.get(node).into_iter().flatten().cloned());
        self.help(helped, now);
    }

    /// Something happened to a pod: those whom its company may help are tried again, after their back-off. Whether there
    /// are any.
    pub fn happened_to_a_pod(&mut self, now: Instant) -> bool {
        let helped: Vec<ObjectKey> = self.company.iter().cloned().collect();
        self.help(helped, now)
    }

    fn help(&mut self, pods: Vec<ObjectKey>, now: Instant) -> bool {
        let mut any = false;
        for pod in pods {
            let Some(waiter) = self.waiters.get(&pod) else {
                continue;
            };
            if !matches!(waiter.state, State::Due(_)) {
                continue;
            }
            any = true;
            let due = waiter.tried + backoff(waiter.attempts);
            self.set(
                &pod,
                if due <= now {
                    State::Active
                } else {
                    State::Due(due)
                },
            );
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    fn seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn higher_priority_goes_first_then_earlier_arrival() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.put(&key("first"), 0, None, false, now);
        queue.put(&key("second"), 0, None, false, now);
        queue.put(&key("critical"), 100, None, false, now);
        queue.put(&key("first"), 0, None, false, now);
        let order: Vec<ObjectKey> = std::iter::from_fn(|| queue.next(now)).collect();
        assert_eq!(order, [key("critical"), key("first"), key("second")]);
    }

    #[test]
    fn a_pod_waits_for_what_concerns_it_and_for_its_backoff() {
        let start = Instant::now();
        let mut queue = Queue::default();
        queue.put(&key("pinned"), 0, Some(vec!["a".into()]), false, start);
        assert_eq!(queue.next(start), Some(key("pinned")));
        queue.unschedulable(&key("pinned"), start);
        assert_eq!(queue.next(seconds(start, 299)), None);
        queue.happened_on("b", seconds(start, 2));
        assert_eq!(
            queue.next(seconds(start, 2)),
            None,
            "another node doesn't concern it"
        );
        queue.happened_on("a", start);
        assert_eq!(queue.next(start), None, "its back-off isn't over");
        assert_eq!(queue.next(seconds(start, 1)), Some(key("pinned")));
        queue.unschedulable(&key("pinned"), seconds(start, 1));
        queue.happened_on("a", seconds(start, 2));
        assert_eq!(queue.next(seconds(start, 2)), None, "the second back-off is 2 s");
        assert_eq!(queue.next(seconds(start, 3)), Some(key("pinned")));
        queue.unschedulable(&key("pinned"), seconds(start, 3));
        assert_eq!(
            queue.next(seconds(start, 303)),
            Some(key("pinned")),
            "tried again after five minutes"
        );
    }

    #[test]
    fn what_happens_to_pods_wakes_only_those_who_mind() {
        let start = Instant::now();
        let mut queue = Queue::default();
        for (name, minds) in [("picky", true), ("plain", false)] {
            queue.put(&key(name), 0, None, minds, start);
            queue.next(start);
            queue.unschedulable(&key(name), start);
        }
        assert!(queue.happened_to_a_pod(seconds(start, 2)));
        assert_eq!(queue.next(seconds(start, 2)), Some(key("picky")));
        assert_eq!(queue.next(seconds(start, 2)), None);
        queue.forget(&key("picky"));
        assert!(!queue.happened_to_a_pod(seconds(start, 3)) && queue.company.is_empty());
    }

    #[test]
    fn a_forgotten_pod_leaves_nothing_behind() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.put(&key("p"), 0, Some(vec!["a".into()]), false, now);
        queue.next(now);
        queue.unschedulable(&key("p"), now);
        queue.forget(&key("p"));
        assert!(queue.waiters.is_empty() && queue.due.is_empty() && queue.by_node.is_empty());
        assert_eq!(backoff(1), BACKOFF_MIN);
        assert_eq!(backoff(9), BACKOFF_MAX);
    }
}
