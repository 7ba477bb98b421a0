//! What becomes of the time while a node's pod is exchanged for a newer one.
use super::pods::Seen;
use orlop_client::informer::{Change, ObjectKey};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When what happened on one node.
#[derive(Clone, Copy, Default)]
struct Moments {
    going: Option<Instant>,
    gone: Option<Instant>,
    created: Option<Instant>,
    bound: Option<Instant>,
    running: Option<Instant>,
}

#[derive(Default)]
struct State {
    /// When pods that aren't bound yet were created.
    created: HashMap<ObjectKey, Instant>,
    nodes: HashMap<Arc<str>, Moments>,
}

type Moment = fn(&Moments) -> Option<Instant>;

/// Filled by a watch of pods.
#[derive(Default)]
pub struct Exchanges(Mutex<State>);

impl Exchanges {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what the watch told.
    pub fn observe(&self, change: &Change<Seen>) {
        let (now, mut state) = (Instant::now(), self.state());
        let old = change.old.as_deref();
        let Some(new) = change.new.as_deref() else {
            if let Some(node) = old.and_then(|pod| pod.node.clone()) {
                state.nodes.entry(node).or_default().gone = Some(now);
            }
            return;
        };
        if old.is_none() {
            state.created.insert(new.key.clone(), now);
        }
        let Some(node) = new.node.clone() else { return };
        let created = state.created.remove(&new.key);
        let moments = state.nodes.entry(node).or_default();
        if new.terminating && old.is_some_and(|old| !old.terminating) {
            moments.going = Some(now);
        }
        if old.is_none_or(|old| old.node.is_none()) {
            (moments.created, moments.bound) = (created, Some(now));
        }
        if new.running && old.is_some_and(|old| !old.running) {
            moments.running = Some(now);
        }
    }

    /// Forgets what was until now.
    pub fn begin(&self) {
        self.state().nodes.clear();
    }

    /// The usual (median) time of each step: deleted to gone, gone to created, created to bound, bound to running.
    pub fn steps(&self) -> [Duration; 4] {
        let state = self.state();
        let usual = |from: Moment, to: Moment| {
            let took = |moments: &Moments| to(moments)?.checked_duration_since(from(moments)?);
            let mut all: Vec<Duration> = state.nodes.values().filter_map(took).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        [
            usual(|m| m.going, |m| m.gone),
            usual(|m| m.gone, |m| m.created),
            usual(|m| m.created, |m| m.bound),
            usual(|m| m.bound, |m| m.running),
        ]
    }
}
