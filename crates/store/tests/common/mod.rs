//! Helpers of the store's tests.
#![allow(dead_code)]
use bytes::Bytes;
use orlop_store::*;
use std::time::Duration;

/// Nothing a test waits for takes this long unless it never comes.
pub const NEVER: Duration = Duration::from_secs(30);

pub fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub async fn put(store: &dyn Store, key: &str, text: &str) -> Revision {
    put_leased(store, key, text, None).await
}

pub async fn put_leased(store: &dyn Store, key: &str, text: &str, lease: Option<LeaseId>) -> Revision {
    let txn = Txn::default().then(Op::put(key, value(text), lease));
    store.txn(txn).await.unwrap().revision
}

pub async fn remove(store: &dyn Store, key: &str) -> Revision {
    let txn = Txn::default().then(Op::delete(key));
    store.txn(txn).await.unwrap().revision
}

pub async fn list_at(store: &dyn Store, prefix: &str, at: Option<Revision>) -> Vec<String> {
    let mut request = RangeRequest::prefix(prefix);
    request.revision = at;
    let kvs = store.range(request).await.unwrap().kvs;
    kvs.iter().map(describe).collect()
}

pub fn describe(kv: &KeyValue) -> String {
    format!("{}={}", kv.key, String::from_utf8_lossy(&kv.value))
}

/// `revision +key=value` or `revision -key`.
pub fn describe_event(event: &Event) -> String {
    let revision = event.kv.mod_revision;
    match event.kind {
        EventKind::Put => format!("{revision} +{}", describe(&event.kv)),
        EventKind::Delete => format!("{revision} -{}", event.kv.key),
    }
}

pub async fn next_batch(stream: &mut WatchStream) -> Result<WatchBatch, StoreError> {
    tokio::time::timeout(NEVER, stream.recv())
        .await
        .expect("the watch delivers nothing")
        .expect("the watch ended without a word")
}

/// The next `count` events; checks that batches hold whole revisions in order.
pub async fn events(stream: &mut WatchStream, count: usize) -> Vec<Event> {
    // Progress marks alone must not keep a test waiting.
    let collected = collect(stream, count);
    let events = tokio::time::timeout(NEVER, collected)
        .await
        .expect("the watch delivers too little");
    assert!(
        events.is_sorted_by_key(|event| event.kv.mod_revision),
        "events out of order"
    );
    assert_eq!(events.len(), count, "more events than expected");
    events
}

async fn collect(stream: &mut WatchStream, count: usize) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    while events.len() < count {
        let batch = next_batch(stream).await.unwrap();
        if let (Some(before), Some(first)) = (events.last(), batch.events.first()) {
            assert!(
                before.kv.mod_revision < first.kv.mod_revision,
                "a revision was split between batches"
            );
        }
        if let Some(last) = batch.events.last() {
            assert!(last.kv.mod_revision <= batch.revision);
        }
        events.extend(batch.events);
    }
    events
}

pub async fn described_events(stream: &mut WatchStream, count: usize) -> Vec<String> {
    let events = events(stream, count).await;
    events.iter().map(describe_event).collect()
}
