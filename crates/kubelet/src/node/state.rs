//! What the node is going through, for admission and the Node's status.
use crate::upkeep::eviction::signals::Pressure;
use tokio::sync::watch;

/// What it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// What the node is short of, or was lately.
    pub pressures: Vec<Pressure>,
    /// It is going down.
    pub is_shutting_down: bool,
}

/// A handle on it; clones are the same state.
#[derive(Clone, Debug)]
pub struct State(watch::Sender<Current>);

impl Default for State {
    fn default() -> Self {
        Self(watch::Sender::new(Current::default()))
    }
}

impl State {
    /// As it is now.
    pub fn current(&self) -> Current {
        self.0.borrow().clone()
    }

    /// Tells of changes.
    pub fn subscribe(&self) -> watch::Receiver<Current> {
        self.0.subscribe()
    }

    /// Changes it; whoever listens is told only of what is news.
    pub fn change(&self, change: impl FnOnce(&mut Current)) {
        self.0.send_if_modified(|current| {
            let before = current.clone();
            change(current);
            *current != before
        });
    }
}
