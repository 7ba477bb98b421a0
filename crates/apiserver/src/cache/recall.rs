//! What happened before the start, from the history that the store keeps until it is compacted.
//!
//! Nobody waits for it but watches that begin in that time: see [`Cache::position_after`].
use super::feed::read_version;
use super::ring::Ring;
use super::{Cache, Change, ChangeKind, Object, StorageId};
use crate::encryption::is_closed;
use crate::resources::Resource;
use orlop_store::{Event, EventKind, Key, KeyValue, Revision, Store, StoreError, WatchRequest};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Revisions that are looked through: several times what the ring of one resource holds.
const REVISIONS_MAX: u64 = 16 * 1024;
/// A store that takes longer is asked for too much at this moment: watches list again instead.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Puts what the store remembers of the time before `loaded` into the rings, and lets those go on who wait for it.
pub(super) async fn recall(cache: &Cache, store: &Arc<dyn Store>, loaded: u64) {
    let past = match tokio::time::timeout(TIME_MAX, read(cache, store, loaded)).await {
        Ok(Ok(past)) => past,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store's history cannot be read; watches from before the start begin anew");
            HashMap::new()
        }
        Err(_) => {
            tracing::warn!(
                "the store's history takes too long to read; watches from before the start begin anew"
            );
            HashMap::new()
        }
    };
    cache.recall(past, loaded);
}

async fn read(
    cache: &Cache,
    store: &Arc<dyn Store>,
    loaded: u64,
) -> Result<HashMap<StorageId, Ring>, StoreError> {
    let mut since = loaded.saturating_sub(REVISIONS_MAX);
    loop {
        match read_since(cache, store, since, loaded).await {
            // The store says only now how far back it remembers.
            Err(StoreError::Compacted { oldest, .. }) if oldest.0 > since => since = oldest.0,
            answer => return answer,
        }
    }
}

async fn read_since(
    cache: &Cache,
    store: &Arc<dyn Store>,
    since: u64,
    loaded: u64,
) -> Result<HashMap<StorageId, Ring>, StoreError> {
    let empty = cache.storages().map(|id| (id, Ring::starting_at(since)));
    let mut past = Past {
        cache,
        rings: empty.collect(),
        latest: HashMap::new(),
    };
    if since >= loaded {
        return Ok(past.rings);
    }
    let request = WatchRequest::prefix("", Some(Revision(since + 1)));
    let mut watch = store.watch(request).await?;
    loop {
        let batch = watch.recv().await.ok_or(StoreError::Closed)??;
        let before = batch
            .events
            .into_iter()
            .filter(|event| event.kv.mod_revision.0 <= loaded);
        before.for_each(|event| past.take(&event));
        if batch.revision.0 >= loaded {
            return Ok(past.rings);
        }
    }
}

struct Past<'c> {
    cache: &'c Cache,
    rings: HashMap<StorageId, Ring>,
    /// The last version of every key so far: what a change replaces, it replaced in the change before.
    latest: HashMap<Key, Arc<Object>>,
}

impl Past<'_> {
    fn take(&mut self, event: &Event) {
        let Some((id, resource, key)) = event.kv.key.as_str().and_then(|key| self.cache.locate(key)) else {
            return;
        };
        let sealed = |kv: &KeyValue| is_closed(&kv.value);
        if sealed(&event.kv) || event.previous.as_ref().is_some_and(sealed) {
            // A past with a gap is none.
            self.rings.remove(&id);
            return;
        }
        let previous = event.previous.as_ref();
        let previous = previous.and_then(|kv| self.version(id, resource, key, kv));
        let change = match (event.kind, previous) {
            (EventKind::Put, previous) => {
                let Some(object) = self.version(id, resource, key, &event.kv) else {
                    return;
                };
                self.latest.insert(event.kv.key.clone(), object.clone());
                let kind = match previous {
                    Some(_) => ChangeKind::Modified,
                    None => ChangeKind::Added,
                };
                Change {
                    kind,
                    object,
                    previous,
                }
            }
            (EventKind::Delete, Some(last)) => {
                self.latest.remove(&event.kv.key);
                Change {
                    kind: ChangeKind::Deleted,
                    object: Arc::new(last.at_revision(event.kv.mod_revision.0)),
                    previous: Some(last),
                }
            }
            (EventKind::Delete, None) => return,
        };
        if let Some(ring) = self.rings.get_mut(&id) {
            ring.push(change);
        }
    }

    /// An object as it was: the one that is there already, if it is that.
    fn version(
        &self,
        id: StorageId,
        resource: &'static Resource,
        key: &str,
        kv: &KeyValue,
    ) -> Option<Arc<Object>> {
        let is_it = |object: &Arc<Object>| object.revision == kv.mod_revision.0;
        let before = self.latest.get(&kv.key).cloned().filter(is_it);
        before
            .or_else(|| self.cache.get(id, key).filter(is_it))
            .or_else(|| read_version(resource, key, kv).map(Arc::new))
    }
}
