//! Clients in the order in which they came: each has a key, named by its lease, and waits for those that are older.
use super::errors;
use super::session::Session;
use bytes::Bytes;
use etcd_client::proto::PbResponseHeader;
use orlop_store::embedded::EmbeddedStore;
use orlop_store::{
    Compare, CompareResult, CompareTarget, EventKind, Key, KeyValue, LeaseId, Op, OpResponse, RangeRequest,
    Revision, Store, Txn, WatchRequest,
};
use std::sync::Arc;
use tonic::Status;

/// Where a client stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub key: Key,
    /// When it came.
    pub since: Revision,
}

/// Joins the queue, or finds the place that the client's lease has already, with the key as it is then.
pub async fn join(
    store: &Arc<EmbeddedStore>,
    name: &[u8],
    session: &Session,
    value: Bytes,
) -> Result<(Waiting, Option<KeyValue>), Status> {
    let key: Key = [name, format!("/{:x}", session.lease.0).as_bytes()]
        .concat()
        .into();
    let (store, lease) = (store.clone(), session.lease);
    // A task of its own: a client that goes away meanwhile may have its place already, which then ends with the task.
    let joining = tokio::spawn(async move {
        let (place, found) = take_place(&store, key, value, lease).await?;
        let waiting = Waiting {
            store,
            place,
            is_kept: false,
        };
        Ok((waiting, found))
    });
    let joined = joining.await;
    joined.unwrap_or_else(|_| Err(Status::unavailable("etcdserver: server stopped")))
}

async fn take_place(
    store: &EmbeddedStore,
    key: Key,
    value: Bytes,
    lease: LeaseId,
) -> Result<(Place, Option<KeyValue>), Status> {
    let txn = Txn {
        compare: vec![created(&key, Revision(0))],
        success: vec![Op::put(key.clone(), value, Some(lease))],
        failure: vec![Op::Range(RangeRequest::key(key.clone()))],
        ..Txn::default()
    };
    let answer = store.txn(txn).await.map_err(errors::status)?;
    let found = match answer.responses.into_iter().next() {
        Some(OpResponse::Range(range)) => range.kvs.into_iter().next(),
        _ => None,
    };
    let since = found.as_ref().map_or(answer.revision, |kv| kv.create_revision);
    Ok((Place { key, since }, found))
}

/// That a key is the one that was created then.
pub fn created(key: &Key, at: Revision) -> Compare {
    Compare {
        key: key.clone(),
        end: None,
        target: CompareTarget::CreateRevision(at),
        result: CompareResult::Equal,
    }
}

/// Who is first, and the revision of which that is true.
pub async fn first(store: &EmbeddedStore, name: &[u8]) -> Result<(Option<KeyValue>, Revision), Status> {
    let (all, at) = members(store, name).await?;
    Ok((all.into_iter().min_by_key(|kv| kv.create_revision), at))
}

async fn members(store: &EmbeddedStore, name: &[u8]) -> Result<(Vec<KeyValue>, Revision), Status> {
    let all = RangeRequest::prefix([name, b"/"].concat());
    let answer = store.range(all).await.map_err(errors::status)?;
    Ok((answer.kvs, answer.revision))
}

/// Waits until nobody is older. `None`: the place has been lost meanwhile.
pub async fn turn(store: &EmbeddedStore, name: &[u8], place: &Place) -> Result<Option<Revision>, Status> {
    loop {
        let (all, at) = members(store, name).await?;
        // The next older one is enough to watch: it has to wait for the others itself.
        let older = all.iter().filter(|kv| kv.create_revision < place.since);
        match older.max_by_key(|kv| kv.create_revision) {
            Some(next) => gone(store, &next.key, Revision(at.0 + 1)).await?,
            None => {
                let is_there = all
                    .iter()
                    .any(|kv| kv.key == place.key && kv.create_revision == place.since);
                return Ok(is_there.then_some(at));
            }
        }
    }
}

/// Waits until a key is deleted.
async fn gone(store: &EmbeddedStore, key: &Key, from: Revision) -> Result<(), Status> {
    let request = WatchRequest {
        start: key.clone(),
        from: Some(from),
        ..WatchRequest::default()
    };
    let mut changes = store.watch(request).await.map_err(errors::status)?;
    while let Some(batch) = changes.recv().await {
        let batch = batch.map_err(errors::status)?;
        if batch.events.iter().any(|event| event.kind == EventKind::Delete) {
            return Ok(());
        }
    }
    Err(Status::unavailable("etcdserver: server stopped"))
}

/// A place that is given up if it is dropped before it was kept: a client that goes away while it waits must not be
/// waited for.
pub struct Waiting {
    store: Arc<EmbeddedStore>,
    place: Place,
    is_kept: bool,
}

impl Waiting {
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn keep(mut self) -> Place {
        self.is_kept = true;
        self.place.clone()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let (store, place) = (self.store.clone(), self.place.clone());
        tokio::spawn(async move {
            if let Err(error) = leave(&store, &place.key, place.since).await {
                tracing::debug!(%error, key = %place.key, "a place in a queue could not be given up");
            }
        });
    }
}

/// Deletes the key of a place, if it is still that place's.
pub async fn leave(store: &EmbeddedStore, key: &Key, since: Revision) -> Result<Revision, Status> {
    let txn = Txn {
        compare: vec![created(key, since)],
        success: vec![Op::delete(key.clone())],
        ..Txn::default()
    };
    Ok(store.txn(txn).await.map_err(errors::status)?.revision)
}

/// The header of an answer as of a revision.
pub fn header(face: &crate::Face, at: Revision) -> Option<PbResponseHeader> {
    Some(face.header_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn who_goes_away_while_it_joins_is_not_waited_for() {
        let store = EmbeddedStore::in_memory().unwrap();
        let (first, second) = (
            Session::new(&store, 0).await.unwrap(),
            Session::new(&store, 0).await.unwrap(),
        );
        let mut joining = Box::pin(join(&store, b"q", &first, Bytes::new()));
        let _ = futures::poll!(&mut joining);
        drop(joining);
        let (waiting, _) = join(&store, b"q", &second, Bytes::new()).await.unwrap();
        let turn = tokio::time::timeout(Duration::from_secs(20), turn(&store, b"q", waiting.place()));
        assert!(turn.await.expect("it waits for nobody").unwrap().is_some());
    }
}
