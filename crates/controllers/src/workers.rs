//! The loop around every work queue.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

/// Those who work off one queue of a controller.
pub struct Workers<'a, C, K> {
    /// The controller's name in the log.
    pub name: &'static str,
    /// How many keys are looked at at the same time.
    pub count: usize,
    /// The controller.
    pub of: &'a Arc<C>,
    /// Its queue.
    pub queue: &'a Arc<WorkQueue<K>>,
}

impl<C, K> Workers<'_, C, K>
where
    C: Send + Sync + 'static,
    K: Hash + Eq + Clone + Debug + Send + 'static,
{
    /// Starts them; each takes keys to `look` at until the queue is closed. `quiet` errors are part of normal operation
    /// and aren't logged.
    pub fn start<E, F>(
        self,
        tasks: &mut JoinSet<()>,
        look: impl Fn(Arc<C>, K) -> F + Clone + Send + 'static,
        quiet: impl Fn(&E) -> bool + Clone + Send + 'static,
    ) where
        E: Display + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        for _ in 0..self.count {
            let (of, look) = (self.of.clone(), look.clone());
            let work = move |key| look(of.clone(), key);
            tasks.spawn(work_off(self.name, self.queue.clone(), work, quiet.clone()));
        }
    }
}

/// Takes keys from `queue` until it is closed. A key whose `work` fails comes back after its back-off.
async fn work_off<K, E, F>(
    controller: &'static str,
    queue: Arc<WorkQueue<K>>,
    work: impl Fn(K) -> F,
    quiet: impl Fn(&E) -> bool,
) where
    K: Hash + Eq + Clone + Debug,
    E: Display,
    F: Future<Output = Result<(), E>>,
{
    while let Some(key) = queue.next().await {
        match work(key.clone()).await {
            Ok(()) => queue.forget(&key),
            Err(error) => {
                if !quiet(&error) {
                    tracing::warn!(controller, ?key, %error, "sync failed, retrying");
                }
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
        // Work that never waited leaves the thread to others now and then.
        tokio::task::consume_budget().await;
    }
}
