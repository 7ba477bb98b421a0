//! What a store may forget that doesn't by itself, as etcd doesn't. Servers on one store agree by a key whose every
//! version is a round, as upstream's do: whoever writes the next has the store forget what was before the last one.
use crate::ApiServer;
use orlop_store::{
    Compare, CompareResult, CompareTarget, Op, OpResponse, RangeRequest, Revision, Store, StoreError, Txn,
};
use std::sync::Weak;
use std::time::Duration;

/// Upstream's.
pub const KEY: &str = "compact_rev_key";

/// The last round that is known, and the revision that the store had then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    number: u64,
    revision: u64,
}

/// One round in every interval, until the server ends.
pub async fn run(server: Weak<ApiServer>, interval: Duration) {
    let Some(shutdown) = server.upgrade().map(|server| server.shutdown.clone()) else {
        return;
    };
    let mut last = Round::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shutdown.cancelled() => return,
        }
        let Some(store) = server.upgrade().map(|server| server.store.clone()) else {
            return;
        };
        match next(&*store, last).await {
            Ok(round) => last = round,
            Err(error) => {
                tracing::warn!(%error, "the store's history grows: it could not be told what to forget")
            }
        }
    }
}

/// Begins the round after `last`, unless another server has.
async fn next(store: &dyn Store, last: Round) -> Result<Round, StoreError> {
    let is_last = Compare {
        key: KEY.into(),
        end: None,
        target: CompareTarget::Version(last.number),
        result: CompareResult::Equal,
    };
    let begin = Op::put(KEY, last.revision.to_string().into(), None);
    let look = Op::Range(RangeRequest::key(KEY));
    let answer = store.txn(Txn::when(is_last).then(begin).otherwise(look)).await?;
    let revision = answer.revision.0;
    if !answer.succeeded {
        let known = answer.responses.first().and_then(|response| match response {
            OpResponse::Range(found) => found.kvs.first().map(|kv| kv.version),
            _ => None,
        });
        return Ok(Round {
            number: known.unwrap_or_default(),
            revision,
        });
    }
    // Nobody knows what a store of before is read by.
    if last.revision > 0 {
        match store.compact(Revision(last.revision)).await {
            Ok(()) => tracing::debug!(revision = last.revision, "the store has been told to forget"),
            Err(StoreError::Compacted { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Round {
        number: last.number + 1,
        revision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_store::embedded::EmbeddedStore;

    async fn write(store: &dyn Store) -> u64 {
        let put = Op::put("/registry/x", "1".into(), None);
        store.txn(Txn::default().then(put)).await.unwrap().revision.0
    }

    async fn remembers(store: &dyn Store, revision: u64) -> bool {
        let request = RangeRequest {
            revision: Some(Revision(revision)),
            ..RangeRequest::key("/registry/x")
        };
        match store.range(request).await {
            Ok(_) => true,
            Err(StoreError::Compacted { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn what_was_replaced_before_the_last_round_is_forgotten_whoever_began_it() {
        let store = EmbeddedStore::in_memory().unwrap();
        let old = write(&*store).await;
        let one = next(&*store, Round::default()).await.unwrap();
        assert_eq!(one.number, 1);
        // Another server finds the round that has begun.
        let other = next(&*store, Round::default()).await.unwrap();
        assert_eq!(other, one);
        let kept = write(&*store).await;
        assert!(remembers(&*store, old).await);
        let two = next(&*store, other).await.unwrap();
        assert_eq!(two.number, 2);
        assert!(!remembers(&*store, old).await);
        assert!(remembers(&*store, kept).await);
        // The first one comes too late for it, and only looks.
        assert_eq!(next(&*store, one).await.unwrap(), two);
        assert!(remembers(&*store, kept).await);
        next(&*store, two).await.unwrap();
        assert!(!remembers(&*store, kept).await);
    }
}
