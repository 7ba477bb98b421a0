//! Resources with values that nobody can open now, because the plugin that keeps their key is away: they are shut, every
//! call about them is refused with the reason, and all others go on. When the plugin is back they are read again. So are
//! those of which single objects cannot be opened, once there is a configuration with their key.
use super::feed::read;
use super::{Cache, StorageId};
use crate::encryption::lost;
use crate::resources::ROOT;
use orlop_store::{RangeRequest, Revision, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often it is tried whether values can be opened again: no plugin says that it is back, and no configuration which
/// values it opens.
const ASK_PERIOD: Duration = Duration::from_secs(2);

/// Shuts a resource from `revision` on.
pub(super) fn close(cache: &Cache, id: StorageId, reason: &str, revision: u64) {
    if cache.why_shut(id).is_none() {
        tell(cache, id, reason);
    }
    cache.shut_at(id, reason, revision);
}

pub(super) fn tell(cache: &Cache, id: StorageId, reason: &str) {
    let resource = cache.resource(id).plural;
    tracing::error!(
        resource,
        reason,
        "stored values cannot be opened; calls about them fail until they can"
    );
}

/// What the keys of its objects begin with.
fn prefix_of(cache: &Cache, id: StorageId) -> String {
    format!("{ROOT}{}/", cache.resource(id).storage)
}

/// Tries again and again to read what is shut or lost, beside the task that feeds the cache, which is not to wait for a plugin;
/// tells it what could be read.
pub(super) async fn ask_again(
    cache: Arc<Cache>,
    store: Arc<dyn Store>,
    ready: mpsc::Sender<StorageId>,
    shutdown: CancellationToken,
) {
    let mut count = cache.shut_count();
    let asking = async {
        // The sender lives as long as the cache.
        while count.wait_for(|count| *count > 0).await.is_ok() {
            tokio::time::sleep(ASK_PERIOD).await;
            for id in cache.shut() {
                let all = RangeRequest::prefix(prefix_of(&cache, id));
                if store.range(all).await.is_ok() && ready.send(id).await.is_err() {
                    return;
                }
            }
            let mut found = None;
            for (id, key) in cache.lost() {
                if found == Some(id) {
                    continue;
                }
                let one = RangeRequest::key(format!("{}{key}", prefix_of(&cache, id)));
                let stored = store.range(one).await;
                let is_open = stored.is_ok_and(|s| s.kvs.iter().any(|kv| lost(&kv.value).is_none()));
                if !is_open {
                    continue;
                }
                if ready.send(id).await.is_err() {
                    return;
                }
                found = Some(id);
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = shutdown.cancelled() => {}
    }
}

/// Reads a resource as it was stored at the revision that the cache has applied, and opens it.
pub(super) async fn reopen(cache: &Arc<Cache>, store: &Arc<dyn Store>, id: StorageId) {
    if cache.why_shut(id).is_none() && cache.some_lost(id, "").is_none() {
        return;
    }
    let revision = cache.revision();
    let resource = cache.resource(id).plural;
    match read(cache, store, prefix_of(cache, id), Some(Revision(revision))).await {
        Ok(contents) => {
            cache.reopen(id, contents, revision);
            tracing::info!(resource, "stored values can be opened again");
        }
        // It is tried again.
        Err(error) => tracing::warn!(%error, resource, "stored values still cannot be read"),
    }
}
