//! Who waits to be scheduled, and for what.
//!
//! A pod is *active* (to be tried now, by priority, then by arrival), *backing off* (to be tried
//! at a time), or *waiting* (until something relevant happens, at most five minutes). What is
//! relevant to a pod confined to one node is what happens to that node. Where nobody is active, one
//! that backs off because something relevant happened is tried before its time.

mod backoff;
mod looked;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use orlop_client::informer::ObjectKey;
use tokio::time::Instant;

use backoff::Backoff;
use looked::Looked;

/// Pause after the first failed attempt, doubling.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A pod is tried again after this long even if nothing happened.
pub const WAIT_MAX: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Waiter {
    /// Tells it from another pod of its name.
    uid: Arc<str>,
    priority: i32,
    arrival: u64,
    since: Instant,
    attempts: u32,
    tried: Instant,
    confined_to: Option<Vec<Arc<str>>>,
    /// It may be tried before its back-off is over: not twice in a row, so that what happens all the time doesn't have
    /// everybody tried all the time, not after an error, and not while room is made for it.
    hurries: bool,
    state: State,
}

/// Who is tried first: by priority, then by arrival.
type Rank = (Reverse<i32>, u64, ObjectKey);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    /// Taken by the scheduling loop.
    Trying,
    /// To become active then: what was in its way may be gone, and it was only tried too often lately.
    BackingOff(Instant),
    /// To become active then, unless something relevant happens before.
    Waiting(Instant),
}

impl State {
    /// When it becomes active by itself.
    fn due(self) -> Option<Instant> {
        match self {
            Self::Active | Self::Trying => None,
            Self::BackingOff(at) | Self::Waiting(at) => Some(at),
        }
    }
}

/// How many pods wait, and how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// To be tried now, the one that is being tried included.
    pub active: usize,
    /// To be tried soon.
    pub backing_off: usize,
    /// To be tried when something happens.
    pub waiting: usize,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    waiters: HashMap<ObjectKey, Waiter>,
    active: BTreeSet<Rank>,
    /// Waiters who back off and may be tried where nobody is active.
    hasty: BTreeSet<Rank>,
    due: BTreeSet<(Instant, ObjectKey)>,
    by_node: HashMap<Arc<str>, HashSet<ObjectKey>>,
    /// Due waiters confined to no node.
    anywhere: HashSet<ObjectKey>,
    /// Waiters who mind other pods.
    company: HashSet<ObjectKey>,
    arrivals: u64,
    /// How many of `due` are backing off.
    backing_off: usize,
    /// For whom the cluster was looked at last.
    looked_for: Option<Looked>,
    backoff: Backoff,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new(BACKOFF_MIN, BACKOFF_MAX)
    }
}

impl Queue {
    /// An empty one, in which the pause after a failed attempt grows from `min` to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            waiters: HashMap::new(),
            active: BTreeSet::new(),
            hasty: BTreeSet::new(),
            due: BTreeSet::new(),
            by_node: HashMap::new(),
            anywhere: HashSet::new(),
            company: HashSet::new(),
            arrivals: 0,
            backing_off: 0,
            looked_for: None,
            backoff: Backoff { min, max },
        }
    }

    /// Pods that have no node yet.
    pub fn lengths(&self) -> Lengths {
        let backing_off = self.backing_off;
        Lengths {
            active: self.waiters.len() - self.due.len(),
            backing_off,
            waiting: self.due.len() - backing_off,
        }
    }

    /// How often the pod was tried in vain, and since when it waits.
    pub fn past(&self, pod: &ObjectKey) -> Option<(u32, Instant)> {
        let waiter = self.waiters.get(pod)?;
        Some((waiter.attempts, waiter.since))
    }

    /// A pod waits, or changed while waiting: it is to be tried.
    pub fn put(
        &mut self,
        pod: &ObjectKey,
        uid: &Arc<str>,
        priority: i32,
        confined_to: Option<Vec<Arc<str>>>,
        minds_company: bool,
        now: Instant,
    ) {
        let known = self.remove(pod).filter(|known| known.uid == *uid);
        self.arrivals += 1;
        let waiter = match known {
            Some(known) => Waiter {
                priority,
                confined_to,
                ..known
            },
            None => Waiter {
                uid: uid.clone(),
                priority,
                arrival: self.arrivals,
                since: now,
                attempts: 0,
                tried: now,
                confined_to,
                hurries: true,
                state: State::Trying,
            },
        };
        let (tried, attempts) = (waiter.tried, waiter.attempts);
        self.waiters.insert(pod.clone(), waiter);
        if minds_company {
            self.company.insert(pod.clone());
        }
        let due = tried + self.backoff.after(attempts);
        let state = if attempts == 0 || due <= now {
            State::Active
        } else {
            State::BackingOff(due)
        };
        self.set(pod, state);
    }

    /// Whether it is this pod that waits, and no other one of its name.
    pub fn has(&self, pod: &ObjectKey, uid: &str) -> bool {
        self.waiters.get(pod).is_some_and(|waiter| *waiter.uid == *uid)
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
        if old == State::Active {
            self.active.remove(&rank);
        }
        if matches!(old, State::BackingOff(_)) {
            self.hasty.remove(&rank);
        }
        match state {
            State::Active => drop(self.active.insert(rank)),
            State::BackingOff(_) if waiter.hurries => drop(self.hasty.insert(rank)),
            _ => {}
        }
        if let Some(at) = old.due() {
            self.backing_off -= usize::from(matches!(old, State::BackingOff(_)));
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
        if let Some(at) = state.due() {
            self.backing_off += usize::from(matches!(state, State::BackingOff(_)));
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

    /// The pod to try now.
    pub fn next(&mut self, now: Instant) -> Option<ObjectKey> {
        while let Some((at, pod)) = self.due.first().cloned()
            && at <= now
        {
            self.set(&pod, State::Active);
        }
        let is_due = !self.active.is_empty();
        let next = if is_due {
            self.active.first()
        } else {
            self.hasty.first()
        };
        let (_, _, pod) = next.cloned()?;
        self.set(&pod, State::Trying);
        if let Some(waiter) = self.waiters.get_mut(&pod) {
            waiter.hurries = is_due;
        }
        Some(pod)
    }

    /// Room is made for the pod: it isn't tried before its back-off is over.
    pub fn takes_its_time(&mut self, pod: &ObjectKey) {
        if let Some(waiter) = self.waiters.get_mut(pod) {
            waiter.hurries = false;
            self.hasty
                .remove(&(Reverse(waiter.priority), waiter.arrival, pod.clone()));
        }
    }

    /// The cluster is looked at for the pod that is being tried. What happens from here on, while others are asked about it,
    /// isn't part of what was seen.
    pub fn looked_for(&mut self, pod: &ObjectKey) {
        self.looked_for = Some(Looked::now(pod));
    }

    /// When the next pod becomes active by itself.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The pod fits nowhere: it waits until something relevant happens, unless that has happened by now.
    pub fn unschedulable(&mut self, pod: &ObjectKey, now: Instant) {
        let seen = self.looked_for.take_if(|looked| looked.pod == *pod);
        let minds = self.company.contains(pod);
        let happened = seen.is_some_and(|seen| seen.happened || (minds && seen.happened_to_pods));
        let waiter = self.waiters.get(pod);
        // It changed while it was being tried: another pod than the one that was looked at waits now.
        let is_another = waiter.is_some_and(|waiter| waiter.state != State::Trying);
        if is_another || happened {
            return self.back_off(pod, now);
        }
        self.failed(pod, now, |_| State::Waiting(now + WAIT_MAX));
    }

    /// Rules of others keep the pod away: what happens to them concerns it from now on.
    pub fn minds_others(&mut self, pod: &ObjectKey) {
        if self.waiters.contains_key(pod) {
            self.company.insert(pod.clone());
        }
    }

    /// What the pod waits for came to nothing: it is tried again, after its back-off.
    pub fn in_vain(&mut self, pod: &ObjectKey, now: Instant) {
        self.help(vec![pod.clone()], now);
    }

    /// Something went wrong that time may heal: it is tried again after its back-off.
    pub fn retry(&mut self, pod: &ObjectKey, now: Instant) {
        self.takes_its_time(pod);
        self.back_off(pod, now);
    }

    fn back_off(&mut self, pod: &ObjectKey, now: Instant) {
        let backoff = self.backoff;
        self.failed(pod, now, |attempts| {
            State::BackingOff(now + backoff.after(attempts))
        });
    }

    fn failed(&mut self, pod: &ObjectKey, now: Instant, then: impl Fn(u32) -> State) {
        let Some(waiter) = self.waiters.get_mut(pod) else {
            return;
        };
        waiter.attempts = waiter.attempts.saturating_add(1);
        waiter.tried = now;
        let state = then(waiter.attempts);
        self.set(pod, state);
    }

    /// Something happened to `node`: it changed, or room was made there. Those whom it may help are
    /// tried again, after their back-off.
    pub fn happened_on(&mut self, node: &str, now: Instant) {
        self.happened_on_for(node, now, |_| true);
    }

    /// The same, where that helps only those of whom `helps` says so.
    pub fn happened_on_for(&mut self, node: &str, now: Instant, helps: impl Fn(&ObjectKey) -> bool) {
        if let Some(looked) = &mut self.looked_for {
            let may_go_there = |waiter: &Waiter| {
                let names = waiter.confined_to.as_ref();
                names.is_none_or(|names| names.iter().any(|name| **name == *node))
            };
            looked.happened |= self.waiters.get(&looked.pod).is_some_and(may_go_there) && helps(&looked.pod);
        }
        let there = self.by_node.get(node).into_iter().flatten();
        // Who backs off is tried soon in any case. There may be many of them, and asking is dear.
        let waits = |pod: &ObjectKey| {
            let waiter = self.waiters.get(pod);
            waiter.is_some_and(|waiter| matches!(waiter.state, State::Waiting(_)))
        };
        let there = self.anywhere.iter().chain(there);
        let helped = there.filter(|&pod| waits(pod) && helps(pod)).cloned().collect();
        self.help(helped, now);
    }

    /// Something happened to a pod: those whom its company may help are tried again, after their back-off. Whether there
    /// are any.
    pub fn happened_to_a_pod(&mut self, now: Instant) -> bool {
        let helped: Vec<ObjectKey> = self.company.iter().cloned().collect();
        if let Some(looked) = &mut self.looked_for {
            looked.happened_to_pods = true;
        }
        self.help(helped, now)
    }

    fn help(&mut self, pods: Vec<ObjectKey>, now: Instant) -> bool {
        let mut any = false;
        for pod in pods {
            let Some(waiter) = self.waiters.get(&pod) else {
                continue;
            };
            if waiter.state.due().is_none() {
                continue;
            }
            any = true;
            let due = waiter.tried + self.backoff.after(waiter.attempts);
            self.set(
                &pod,
                if due <= now {
                    State::Active
                } else {
                    State::BackingOff(due)
                },
            );
        }
        any
    }
}

#[cfg(test)]
mod tests;
