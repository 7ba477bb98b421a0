//! The task that keeps the cache equal to the store.
//!
//! Listens to one watch over every key, applies whole revisions, and so also knows how far the store
//! is when other keys change. When the watch ends it goes on where it was; if the store has forgotten what came
//! after that, it reads everything again.
use super::recall::recall;
use super::storage::Applied;
use super::{Cache, Object, StorageId, queued, shut};
use crate::custom::{DEFINITIONS, Renewal, read_definition};
use crate::encryption::{away, is_closed, lost};
use crate::resources::{ROOT, Resource};
use orlop_store::{
    EventKind, KeyValue, RangeRequest, Revision, Store, StoreError, WatchRequest, WatchStream,
};
use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Pause before the store is asked again after it failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Threads that read stored objects.
const READERS_MAX: usize = 4;
/// Keys that are read from the store at once.
const PAGE_KEYS: usize = 500;

/// The store closed the feed for good.
#[derive(Debug)]
pub struct Gone;

/// Reads everything, and opens the watch that continues from there.
pub async fn fill(cache: &Arc<Cache>, store: &Arc<dyn Store>) -> Result<WatchStream, StoreError> {
    // Definitions first: they say where the objects of custom resources go.
    let stored = store
        .range(RangeRequest::prefix(format!("{ROOT}{DEFINITIONS}/")))
        .await?;
    let revision = stored.revision;
    let mut definitions = HashSet::new();
    for kv in &stored.kvs {
        if let Some(name) = kv.key.as_str().and_then(definition) {
            follow(cache, name, Some(&kv.value));
            definitions.insert(name);
        }
    }
    cache.custom().keep(&definitions);
    let contents = read(cache, store, ROOT.to_owned(), Some(revision)).await?;
    for (id, reason) in &contents.shut {
        shut::tell(cache, *id, reason);
    }
    let watch = store
        // Every key: consistent reads compare the store's revision with the cache's, and that moves
        // with any write.
        .watch(changes_after(revision.0))
        .await?;
    cache.load(contents, revision.0);
    Ok(watch)
}

/// What follows a revision. What was there before, the cache has.
fn changes_after(revision: u64) -> WatchRequest {
    WatchRequest::prefix("", Some(Revision(revision + 1))).without_previous()
}

/// What the store holds.
#[derive(Default)]
pub(super) struct Contents {
    pub objects: Vec<(StorageId, Object)>,
    /// Of what nobody can open now, why.
    pub shut: HashMap<StorageId, String>,
    /// Keys of values that cannot be opened for want of theirs, and why.
    pub lost: Vec<(StorageId, Arc<str>, String)>,
}

impl Contents {
    fn add(&mut self, page: Self) {
        self.objects.extend(page.objects);
        self.shut.extend(page.shut);
        self.lost.extend(page.lost);
    }
}

/// Reads what lies below `prefix` as of this revision, or as of one moment. Pages become objects, on as many threads as
/// there are processors, while the next ones come from the store: this is what a start mostly does.
pub(super) async fn read(
    cache: &Arc<Cache>,
    store: &Arc<dyn Store>,
    prefix: String,
    revision: Option<Revision>,
) -> Result<Contents, StoreError> {
    let readers_max = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(READERS_MAX);
    let mut contents = Contents::default();
    let mut reading = VecDeque::new();
    let mut request = RangeRequest {
        limit: PAGE_KEYS,
        revision,
        uncounted: true,
        ..RangeRequest::prefix(prefix)
    };
    loop {
        let page = store.range(request.clone()).await?;
        request.revision.get_or_insert(page.revision);
        let last = page.kvs.last().filter(|_| page.more);
        let next = last.map(|kv| kv.key.next());
        if reading.len() >= readers_max
            && let Some(earlier) = reading.pop_front()
        {
            contents.add(joined(earlier).await);
        }
        let cache = cache.clone();
        reading.push_back(tokio::task::spawn_blocking(move || Contents {
            objects: page.kvs.iter().filter_map(|kv| read_one(&cache, kv)).collect(),
            shut: page.kvs.iter().filter_map(|kv| closed(&cache, kv)).collect(),
            lost: page.kvs.iter().filter_map(|kv| missed(&cache, kv)).collect(),
        }));
        match next {
            Some(next) => request.start = next,
            None => break,
        }
    }
    for page in reading {
        contents.add(joined(page).await);
    }
    Ok(contents)
}

/// What a thread has made; its panic, if it did.
async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(made) => made,
        // It is never aborted.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The storage of a value that nobody can open now, and why.
fn closed(cache: &Cache, kv: &KeyValue) -> Option<(StorageId, String)> {
    let reason = away(&kv.value)?;
    let (id, ..) = cache.locate(kv.key.as_str()?)?;
    Some((id, reason))
}

/// A value that cannot be opened for want of its key, and why.
fn missed(cache: &Cache, kv: &KeyValue) -> Option<(StorageId, Arc<str>, String)> {
    let reason = told_lost(kv)?;
    let (id, _, key) = cache.locate(kv.key.as_str()?)?;
    Some((id, key.into(), reason))
}

/// Why a value cannot be opened for want of its key, which the log says.
fn told_lost(kv: &KeyValue) -> Option<String> {
    let reason = lost(&kv.value)?;
    tracing::error!(key = %kv.key, reason, "a stored object cannot be read; calls about it and lists of its resource fail");
    Some(reason)
}

fn read_one(cache: &Cache, kv: &KeyValue) -> Option<(StorageId, Object)> {
    let (id, resource, key) = cache.locate(kv.key.as_str()?)?;
    Some((id, read_version(resource, key, kv)?))
}

/// The object that a stored value is.
pub(super) fn read_version(resource: &Resource, key: &str, kv: &KeyValue) -> Option<Object> {
    if is_closed(&kv.value) {
        return None;
    }
    let created = kv.create_revision == kv.mod_revision;
    match Object::from_stored(resource, key.into(), &kv.value, kv.mod_revision.0, created) {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(key = %kv.key, %error, "a stored object is unreadable and stays hidden; delete its key in the store");
            None
        }
    }
}

/// Reads what was before everything was read, while others go on.
fn look_back(cache: &Arc<Cache>, store: &Arc<dyn Store>) {
    let (cache, store, loaded) = (cache.clone(), store.clone(), cache.loaded());
    tokio::spawn(async move { recall(&cache, &store, loaded).await });
}

/// Goes on with the changes that follow what has been applied.
async fn resume(cache: &Arc<Cache>, store: &Arc<dyn Store>) -> Result<WatchStream, StoreError> {
    let applied = cache.revision();
    if store.revision().await?.0 < applied {
        // It is another one, or an older state of it.
        return fill_anew(cache, store).await;
    }
    match store.watch(changes_after(applied)).await {
        Err(StoreError::Compacted { .. }) => fill_anew(cache, store).await,
        answer => answer,
    }
}

async fn fill_anew(cache: &Arc<Cache>, store: &Arc<dyn Store>) -> Result<WatchStream, StoreError> {
    let watch = fill(cache, store).await?;
    look_back(cache, store);
    Ok(watch)
}

/// Applies the watch's batches until `shutdown`.
pub async fn run(
    cache: Arc<Cache>,
    store: Arc<dyn Store>,
    mut watch: WatchStream,
    shutdown: CancellationToken,
) -> Gone {
    look_back(&cache, &store);
    let (ready, mut openable) = mpsc::channel(1);
    tokio::spawn(shut::ask_again(
        cache.clone(),
        store.clone(),
        ready,
        shutdown.clone(),
    ));
    let mut delivered = true;
    loop {
        let batch = tokio::select! {
            batch = watch.recv() => batch,
            Some(id) = openable.recv() => {
                shut::reopen(&cache, &store, id).await;
                continue;
            }
            () = shutdown.cancelled() => return Gone,
        };
        let ended = match batch {
            Some(Ok(mut batch)) => {
                let end = queued::add(&mut batch, &mut watch);
                for resource in apply(&cache, batch) {
                    read_again(&cache, &store, resource).await;
                }
                delivered = true;
                match end {
                    Some(error) => Some(Err(error)),
                    None => continue,
                }
            }
            ended => ended,
        };
        if !std::mem::take(&mut delivered) {
            // It fails as often as it is opened: others are to have their turn.
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = shutdown.cancelled() => return Gone,
            }
        }
        let mut forgotten = false;
        match ended {
            Some(Err(StoreError::Closed)) => return Gone,
            Some(Err(error)) => {
                tracing::warn!(%error, "the store's watch ended; opening another");
                forgotten = matches!(error, StoreError::Compacted { .. });
            }
            _ => tracing::debug!("the store's watch was closed; opening another"),
        }
        watch = loop {
            let opened = match forgotten {
                true => fill_anew(&cache, &store).await,
                false => resume(&cache, &store).await,
            };
            match opened {
                Ok(watch) => break watch,
                Err(StoreError::Closed) => return Gone,
                Err(error) => tracing::warn!(%error, "the store cannot be read; trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = shutdown.cancelled() => return Gone,
            }
        };
    }
}

/// The name of the definition that is stored under this key, if it is one.
fn definition(key: &str) -> Option<&str> {
    key.strip_prefix(ROOT)?
        .strip_prefix(DEFINITIONS)?
        .strip_prefix('/')
}

/// Serves what a definition declares, before anything that relies on it is applied. Answers a resource whose objects
/// have to be read from the store again.
fn follow(cache: &Cache, name: &str, stored: Option<&[u8]>) -> Option<&'static Resource> {
    let Some(stored) = stored else {
        if let Some(resource) = cache.custom().remove(name) {
            cache.end_watches(resource);
        }
        return None;
    };
    // One that cannot be read is reported where it is put into the cache.
    let crd = read_definition(stored).ok()?;
    let taken = cache.custom().put(&crd);
    if let Some(resource) = taken.superseded {
        cache.end_watches(resource);
    }
    let (resource, renewal) = taken.stored?;
    cache.declare(resource);
    if renewal != Renewal::Needless {
        cache.renew(resource);
    }
    (renewal == Renewal::OfStored).then_some(resource)
}

/// Reads the objects of a resource as they are stored: in the cache they have defaults that its schema no longer has.
async fn read_again(cache: &Arc<Cache>, store: &Arc<dyn Store>, resource: &Resource) {
    let prefix = format!("{ROOT}{}/", resource.storage);
    match read(cache, store, prefix, None).await {
        Ok(contents) => cache.refresh(contents.objects),
        Err(error) => tracing::warn!(
            %error,
            resource = resource.plural,
            "the store cannot be read; objects have defaults that their schema had before"
        ),
    }
}

/// Applies the changes of a batch. Answers the resources whose objects have to be read from the store again.
fn apply(cache: &Cache, batch: orlop_store::WatchBatch) -> Vec<&'static Resource> {
    let mut changes = Vec::with_capacity(batch.events.len());
    let mut changed_schemas = Vec::new();
    for event in batch.events {
        let Some((id, resource, key)) = event.kv.key.as_str().and_then(|key| cache.locate(key)) else {
            continue;
        };
        let kv = &event.kv;
        if let Some(name) = kv.key.as_str().and_then(definition) {
            let is_put = event.kind == EventKind::Put;
            changed_schemas.extend(follow(cache, name, is_put.then_some(&kv.value)));
        }
        match event.kind {
            EventKind::Delete => changes.push((
                id,
                Applied::Deleted {
                    key: key.into(),
                    revision: kv.mod_revision.0,
                },
            )),
            EventKind::Put => {
                if let Some(reason) = away(&kv.value) {
                    shut::close(cache, id, &reason, batch.revision.0);
                }
                let change = match told_lost(kv) {
                    Some(reason) => Some(Applied::Lost {
                        key: key.into(),
                        reason,
                        revision: kv.mod_revision.0,
                    }),
                    None => read_version(resource, key, kv).map(Applied::Put),
                };
                changes.extend(change.map(|change| (id, change)));
            }
        }
    }
    cache.apply(changes, batch.revision.0);
    changed_schemas
}
