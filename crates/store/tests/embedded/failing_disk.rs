//! Disks that fail: one clear error, no damage, no lies.
use crate::common::*;
use crate::disk::{Faults, SimulatedDisk};
use crate::{everything, open};
use orlop_store::embedded::{EmbeddedStore, Options, SystemClock};
use orlop_store::*;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_harms_only_itself() {
    let disk = SimulatedDisk::default();
    let store = open(&disk);
    put(&*store, "a", "1").await;
    disk.set_faults(Faults {
        writes_fail: true,
        ..Faults::default()
    });
    let txn = Txn::default().then(Op::put("b", value("1"), None));
    let error = store.txn(txn).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    disk.set_faults(Faults::default());
    assert_eq!(everything(&store).await, ["a=1"]);
    put(&*store, "b", "2").await;
    assert_eq!(everything(&store).await, ["a=1", "b=2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_claimed_any_more() {
    let disk = SimulatedDisk::default();
    let store = open(&disk);
    put(&*store, "a", "1").await;
    disk.set_faults(Faults {
        syncs_fail: true,
        ..Faults::default()
    });
    let txn = Txn::default().then(Op::put("b", value("1"), None));
    let error = store.txn(txn).await.unwrap_err();
    assert!(error.to_string().contains("a data sync failed"), "{error}");
    disk.set_faults(Faults::default());
    let txn = Txn::default().then(Op::put("c", value("1"), None));
    let error = store.txn(txn).await.unwrap_err();
    assert!(error.to_string().contains("a data sync failed"), "{error}");
    match store.range(RangeRequest::prefix("")).await {
        // From memory: what was durable before.
        Ok(found) => assert_eq!(found.kvs.iter().map(describe).collect::<Vec<_>>(), ["a=1"]),
        Err(error) => assert!(error.to_string().contains("a data sync failed"), "{error}"),
    }
    drop(store);
    let store = open(&disk.after_power_cut(1));
    assert_eq!(everything(&store).await[0], "a=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failed_read_is_tried_again() {
    let disk = SimulatedDisk::default();
    {
        let store = open(&disk);
        for number in 0..100 {
            put(&*store, &format!("/{number}"), &"x".repeat(3000)).await;
        }
    }
    let store = open(&disk);
    disk.set_faults(Faults {
        next_read_fails: true,
        ..Faults::default()
    });
    assert_eq!(everything(&store).await.len(), 100);
    put(&*store, "a", "1").await;
    assert_eq!(everything(&store).await.len(), 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_value_is_named_not_served() {
    let disk = SimulatedDisk::default();
    {
        let store = open(&disk);
        put(&*store, "/good", "as it was").await;
        put(&*store, "/rotten", "a value to find on the disk").await;
        store.close().await;
    }
    let at = disk.find(b"a value to find").unwrap();
    disk.flip(at);
    let store = open(&disk);
    assert_eq!(list_at(&*store, "/good", None).await, ["/good=as it was"]);
    let error = store.range(RangeRequest::key("/rotten")).await.unwrap_err();
    assert!(matches!(error, StoreError::Lost { .. }), "{error}");
    assert!(error.to_string().contains("/rotten"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_store_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orlop.redb");
    for content in [b"a letter".repeat(1000), b"short".to_vec()] {
        std::fs::write(&path, &content).unwrap();
        let error = EmbeddedStore::open(directory.path(), Options::default()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    // A store whose first block was lost is damage too, not a new store.
    std::fs::remove_file(&path).unwrap();
    let store = EmbeddedStore::open(directory.path(), Options::default()).unwrap();
    put(&*store, "a", "1").await;
    drop(store);
    let mut content = std::fs::read(&path).unwrap();
    content[..4096].fill(0);
    std::fs::write(&path, &content).unwrap();
    let error = EmbeddedStore::open(directory.path(), Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), content);
}

#[test]
fn a_disk_without_power_is_an_error_not_a_panic() {
    let disk = SimulatedDisk::default();
    disk.set_faults(Faults {
        power_cut_at: Some(0),
        ..Faults::default()
    });
    let clock = Arc::new(SystemClock::default());
    EmbeddedStore::with_disk(Arc::new(disk), clock, Options::default()).unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_made_read_only_is_read_and_named() {
    let disk = SimulatedDisk::default();
    let store = open(&disk);
    put(&*store, "a", "1").await;
    let read_only = Faults {
        read_only: true,
        ..Faults::default()
    };
    disk.set_faults(read_only);
    for _ in 0..3 {
        let txn = Txn::default().then(Op::put("b", value("2"), None));
        let error = store.txn(txn).await.unwrap_err();
        assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
        let line = error.to_string();
        assert!(
            line.contains("Mount it read-write") && !line.contains('\n'),
            "{line}"
        );
        assert_eq!(everything(&store).await, ["a=1"], "reads go on");
    }
    // Neither can what was left open be opened.
    let left = disk.after_kill();
    left.set_faults(read_only);
    let error = EmbeddedStore::with_disk(
        Arc::new(left.clone()),
        Arc::new(SystemClock::default()),
        Options::default(),
    )
    .unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    left.set_faults(Faults::default());
    assert_eq!(everything(&open(&left)).await, ["a=1"]);
    disk.set_faults(Faults::default());
    put(&*store, "c", "3").await;
    assert_eq!(everything(&store).await, ["a=1", "c=3"], "writes come back");
    drop(store);
    assert_eq!(everything(&open(&disk.after_kill())).await, ["a=1", "c=3"]);
}
