//! What only a store of another process can do: be away.
use crate::common::*;
use crate::etcd::Etcd;
use orlop_store::*;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_for_an_etcd_that_is_restarted_and_none_is_done_twice() {
    let mut etcd = Etcd::start();
    let store = etcd.store().await;
    let before = put(&*store, "/a", "1").await;
    etcd.kill();
    let (writer, reader) = (store.clone(), store.clone());
    let read = tokio::spawn(async move { reader.get("/a").await.unwrap().unwrap().version });
    // It has found out that the connection is broken; what was on its way then would be in doubt.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let write = tokio::spawn(async move { put(&*writer, "/a", "2").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!write.is_finished() && !read.is_finished());
    etcd.start_again();
    assert_eq!(write.await.unwrap().0, before.0 + 1);
    assert!(matches!(read.await.unwrap(), 1 | 2));
    assert_eq!(store.get("/a").await.unwrap().unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_stays_away_is_said_to_be_unreachable() {
    let mut etcd = Etcd::start();
    let store = etcd.store().await;
    etcd.kill();
    let txn = Txn::default().then(Op::put("/a", value("1"), None));
    let (write, read) = tokio::join!(store.txn(txn), store.get("/a"));
    assert!(matches!(write, Err(StoreError::Unreachable { .. })), "{write:?}");
    assert!(matches!(read, Err(StoreError::Unreachable { .. })), "{read:?}");
}

/// More than a client takes in one message unless it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_of_etcd_are_read_and_watched_whole() {
    const COUNT: usize = 8;
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let large = "x".repeat(1 << 20);
    let first = put(&*store, "/0", &large).await;
    for number in 1..COUNT {
        put(&*store, &format!("/{number}"), &large).await;
    }
    let all = store.range(RangeRequest::prefix("/")).await.unwrap();
    assert_eq!(all.kvs.len(), COUNT);
    let mut watch = store.watch(WatchRequest::prefix("/", Some(first))).await.unwrap();
    let mut seen = 0;
    while seen < COUNT {
        seen += next_batch(&mut watch).await.unwrap().events.len();
    }
}

/// A batch says how far its events go, not how far etcd is: who has it may go on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_the_past_name_the_revision_of_their_last_event() {
    // etcd sends the past in batches of a thousand revisions.
    const CHANGES: u64 = 2_500;
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let first = put(&*store, "/k", "0").await;
    for number in 1..CHANGES {
        put(&*store, "/k", &number.to_string()).await;
    }
    let mut watch = store.watch(WatchRequest::prefix("/", Some(first))).await.unwrap();
    let (mut batches, mut seen) = (0, 0);
    while seen < CHANGES {
        let batch = next_batch(&mut watch).await.unwrap();
        let Some(last) = batch.events.last() else {
            continue;
        };
        assert_eq!(batch.revision, last.kv.mod_revision);
        batches += 1;
        seen += batch.events.len() as u64;
    }
    assert!(batches > 1, "all came at once");
}
