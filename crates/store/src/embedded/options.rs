//! What a store's owner may choose, with the limits' reasons.
use super::spawner::{Spawner, TokioSpawner};
use std::sync::Arc;
use std::time::Duration;

/// Settings of an embedded store; the defaults fit a single node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for pages of the database, half of it for those that were changed and are not in the file yet.
    /// Small: the operating system's page cache holds the file anyway, and the whole node process has 40 MB.
    pub cache_bytes: usize,
    /// Length to which the journal grows before the tree is made durable: bounds how much is read and done again
    /// after a power cut, and what a read may find that the tree does not show yet. 0: no journal.
    pub journal_bytes: u64,
    /// Changes stay readable and watchable for at least this long; then they are forgotten.
    pub history: Duration,
    /// Largest value. etcd's request limit, which Kubernetes clients already live with.
    pub value_limit_bytes: usize,
    /// Writes that may wait for the writer; further callers wait for a place.
    pub queue_len: usize,
    /// Writes committed together at most: bounds what one failed commit takes with it.
    pub batch_len: usize,
    /// Bytes committed together at most: bounds memory during a commit.
    pub batch_bytes: usize,
    /// Memory for recent events, shared by all watchers; who falls further behind reads the file.
    pub tail_bytes: usize,
    /// How long after a change that a watcher did not ask for it learns that time has moved on.
    pub progress_interval: Duration,
    /// Whether what is acknowledged is on the medium. Without that, a store is for tests: the power takes what it will.
    pub syncs: bool,
    /// Where the store's work runs.
    pub spawner: Arc<dyn Spawner>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            journal_bytes: 4 << 20,
            history: Duration::from_secs(5 * 60),
            value_limit_bytes: 3 << 19,
            queue_len: 1024,
            batch_len: 1024,
            batch_bytes: 4 << 20,
            tail_bytes: 1 << 20,
            progress_interval: Duration::from_secs(1),
            syncs: true,
            spawner: Arc::new(TokioSpawner),
        }
    }
}
