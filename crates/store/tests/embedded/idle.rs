//! What the disk is spared.
use crate::common::*;
use crate::disk::SimulatedDisk;
use crate::open;
use orlop_store::*;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_store_writes_nothing() {
    let disk = SimulatedDisk::default();
    let store: std::sync::Arc<dyn Store> = open(&disk);
    let lease = store.lease_grant(600).await.unwrap();
    put_leased(&*store, "a", "1", Some(lease)).await;
    // What follows a write is done before the next answer.
    store.lease_keep_alive(lease).await.unwrap();
    let mut stream = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    let before = disk.counts();
    for _ in 0..20 {
        store.range(RangeRequest::prefix("")).await.unwrap();
        store.lease_keep_alive(lease).await.unwrap();
        let lost = store.create("a", value("2"), None).await.unwrap();
        assert_eq!(lost, None);
        store.status().await.unwrap();
    }
    // The one sleep of these tests: nothing is to happen, and nothing tells of nothing.
    let silence = tokio::time::timeout(Duration::from_millis(1500), stream.recv()).await;
    assert!(silence.is_err());
    assert_eq!(disk.counts(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_share_a_sync() {
    let disk = SimulatedDisk::default();
    let store = open(&disk);
    // The file grows with syncs of its own; let it grow first.
    put(&*store, "large", &"x".repeat(1_000_000)).await;
    remove(&*store, "large").await;
    let before = disk.counts();
    put(&*store, "a", "1").await;
    assert_eq!(disk.counts().syncs - before.syncs, 1, "one write, one sync");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..500 {
        let store = store.clone();
        tasks.spawn(async move { put(&*store, &format!("/{number}"), "1").await });
    }
    let mut revisions: Vec<_> = tasks.join_all().await;
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 500, "each has a revision of its own");
    let syncs = disk.counts().syncs - before.syncs;
    assert!(syncs < 250, "{syncs} syncs for 500 writes");
}
