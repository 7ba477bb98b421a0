//! The loop around every work queue.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use orlop_client::workqueue::WorkQueue;

/// Takes keys from `queue` until it is closed. A key whose `work` fails comes back after its
/// back-off; `quiet` errors are part of normal operation and aren't logged.
pub async fn work_off<K, E, F>(
    controller: &'static str,
    queue: Arc<WorkQueue<K>>,
    mut work: impl FnMut(K) -> F,
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
    }
}
