use crate::common::*;
use orlop_store::*;
use std::sync::Arc;

pub async fn what_is_compacted_cannot_be_read_or_watched(store: Arc<dyn Store>) {
    let one = put(&*store, "a", "1").await;
    put(&*store, "a", "2").await;
    let three = put(&*store, "a", "3").await;
    store.compact(three).await.unwrap();
    store.compact(three).await.unwrap();
    let mut old = RangeRequest::key("a");
    old.revision = Some(one);
    let from = Some(Revision(three.0 - 1));
    let errors = [
        store.range(old).await.unwrap_err(),
        first_error(&*store, WatchRequest::prefix("", from)).await,
        store.compact(one).await.unwrap_err(),
    ];
    for error in errors {
        assert!(
            matches!(error, StoreError::Compacted { oldest, .. } if oldest == three),
            "{error}"
        );
    }
    assert_eq!(list_at(&*store, "", Some(three)).await, ["a=3"]);
}

/// A store may notice while it opens the watch, or on its channel.
async fn first_error(store: &dyn Store, request: WatchRequest) -> StoreError {
    match store.watch(request).await {
        Err(error) => error,
        Ok(mut stream) => next_batch(&mut stream).await.unwrap_err(),
    }
}

pub async fn what_exists_survives_compaction(store: Arc<dyn Store>) {
    for number in 0..50 {
        put(&*store, &format!("/{}", number % 10), &number.to_string()).await;
    }
    for gone in 0..5 {
        remove(&*store, &format!("/{gone}")).await;
    }
    let at = store.status().await.unwrap().revision;
    let expected: Vec<_> = (5..10).map(|key| format!("/{key}={}", 40 + key)).collect();
    put(&*store, "/5", "new").await;
    put(&*store, "/0", "new").await;
    store.compact(at).await.unwrap();
    assert_eq!(list_at(&*store, "", Some(at)).await, expected);
    assert_eq!(list_at(&*store, "/5", None).await, ["/5=new"]);
    let status = store.status().await.unwrap();
    assert_eq!(status.keys, 6);
    // etcd tells only those who ask for too old a revision.
    assert!(status.compacted.is_none_or(|compacted| compacted == at));
    let kv = store.get("/5").await.unwrap().unwrap();
    assert_eq!(kv.version, 6, "versions are counted on");
    store.compact(status.revision).await.unwrap();
    assert_eq!(list_at(&*store, "", None).await.len(), 6);
}

pub async fn a_watch_may_begin_exactly_at_the_compacted_revision(store: Arc<dyn Store>) {
    put(&*store, "a", "1").await;
    let two = put(&*store, "a", "2").await;
    store.compact(two).await.unwrap();
    let three = remove(&*store, "a").await;
    let mut stream = store.watch(WatchRequest::prefix("", Some(two))).await.unwrap();
    let expected = [format!("{two} +a=2"), format!("{three} -a")];
    assert_eq!(described_events(&mut stream, 2).await, expected);
}

pub async fn compaction_refuses_the_future(store: Arc<dyn Store>) {
    let one = put(&*store, "a", "1").await;
    let error = store.compact(Revision(one.0 + 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::FutureRevision { .. }), "{error}");
}
