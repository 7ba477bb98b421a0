//! The journal in front of the tree.
use crate::common::*;
use crate::disk::{Faults, SimulatedDisk};
use crate::everything;
use bytes::Bytes;
use orlop_store::embedded::{Disk, EmbeddedStore, Options, Part, Side, SystemClock};
use orlop_store::*;
use std::path::Path;
use std::sync::Arc;

const JOURNAL: [Part; 2] = [Part::Journal(Side::Even), Part::Journal(Side::Odd)];

fn options(journal_bytes: u64) -> Options {
    Options {
        journal_bytes,
        ..Options::default()
    }
}

fn open(disk: &SimulatedDisk, journal_bytes: u64) -> Result<Arc<EmbeddedStore>, StoreError> {
    let clock = Arc::new(SystemClock::default());
    EmbeddedStore::with_disk(Arc::new(disk.clone()), clock, options(journal_bytes))
}

fn length(disk: &SimulatedDisk, part: Part) -> u64 {
    disk.open(part).unwrap().len().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_stays_short() {
    let disk = SimulatedDisk::default();
    let store = open(&disk, 16 << 10).unwrap();
    for number in 0..200 {
        put(&*store, &format!("/{}", number % 7), &"x".repeat(number * 10)).await;
    }
    let large = Bytes::from(vec![b'y'; 1 << 20]);
    store
        .txn(Txn::default().then(Op::put("large", large, None)))
        .await
        .unwrap();
    for number in 0..40 {
        put(&*store, "small", &"z".repeat(number * 100)).await;
    }
    for part in JOURNAL {
        // It grows by so much at once.
        assert!(
            length(&disk, part) <= 512 << 10,
            "{part:?}: {}",
            length(&disk, part)
        );
    }
    let store = open(&disk.after_kill(), 16 << 10).unwrap();
    assert_eq!(everything(&store).await.len(), 9);
    assert_eq!(store.status().await.unwrap().revision.0, 242);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_when_the_store_is_opened_is_read_nevertheless() {
    let disk = SimulatedDisk::default();
    let store = open(&disk, 4 << 20).unwrap();
    let young = disk.after_kill();
    for number in 0..50 {
        put(&*store, &format!("/{number}"), &"x".repeat(20_000)).await;
    }
    // The tree has nothing of all that, nor the space for it.
    let disk = disk.with_earlier(Part::Database, &young);
    assert!(length(&disk, Part::Database) < 200_000);
    disk.set_faults(Faults {
        bytes_max: Some(0),
        ..Faults::default()
    });
    let store = open(&disk, 4 << 20).unwrap();
    assert_eq!(everything(&store).await.len(), 50);
    let error = store
        .txn(Txn::default().then(Op::put("a", value("1"), None)))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(everything(&store).await.len(), 50);
    disk.set_faults(Faults::default());
    put(&*store, "a", "1").await;
    store.close().await;
    assert!(length(&disk, Part::Database) > 1_000_000);
    let store = open(&disk.after_kill(), 4 << 20).unwrap();
    assert_eq!(everything(&store).await.len(), 51);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_read_the_journal_is_gone_through_again() {
    let disk = SimulatedDisk::default();
    let store = open(&disk, 4 << 20).unwrap();
    // More than the engine keeps in memory.
    for number in 0..150 {
        put(&*store, &format!("/{number}"), &"x".repeat(30_000)).await;
    }
    for round in 0..3 {
        disk.set_faults(Faults {
            next_read_fails: true,
            ..Faults::default()
        });
        assert_eq!(everything(&store).await.len(), 150 + round);
        let next = put(&*store, &format!("/after {round}"), "1").await;
        assert_eq!(next.0, 152 + round as u64);
    }
    store.close().await;
    assert_eq!(everything(&open(&disk, 4 << 20).unwrap()).await.len(), 153);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_gone_is_missed_unless_the_store_was_closed() {
    let directory = tempfile::tempdir().unwrap();
    let open = |directory: &Path| EmbeddedStore::open(directory, Options::default());
    let remove_journal = |directory: &Path| {
        for name in ["orlop.journal-0", "orlop.journal-1"] {
            std::fs::remove_file(directory.join(name)).unwrap();
        }
    };
    let store = open(directory.path()).unwrap();
    put(&*store, "a", "1").await;
    let copy = directory.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(directory.path().join("orlop.redb"), copy.join("orlop.redb")).unwrap();
    for _ in 0..2 {
        let error = open(&copy).unwrap_err();
        assert!(error.to_string().contains("its journal is missing"), "{error}");
    }
    store.close().await;
    remove_journal(directory.path());
    let store = open(directory.path()).unwrap();
    assert_eq!(everything(&store).await, ["a=1"]);
    put(&*store, "b", "1").await;
    store.close().await;
    assert_eq!(everything(&open(directory.path()).unwrap()).await, ["a=1", "b=1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_a_journal_is_upgraded() {
    let directory = tempfile::tempdir().unwrap();
    let open = || EmbeddedStore::open(directory.path(), Options::default()).unwrap();
    let store = open();
    put(&*store, "a", "1").await;
    put(&*store, "b", "2").await;
    store.close().await;
    let path = directory.path().join("orlop.redb");
    {
        // As format 1 had it.
        let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
        let database = redb::Database::open(&path).unwrap();
        let txn = database.begin_write().unwrap();
        {
            let mut meta = txn.open_table(meta).unwrap();
            meta.insert("format", 1u32.to_le_bytes().as_slice()).unwrap();
            meta.remove("journal").unwrap().unwrap();
        }
        txn.commit().unwrap();
    }
    let store = open();
    assert_eq!(everything(&store).await, ["a=1", "b=2"]);
    put(&*store, "c", "3").await;
    store.close().await;
    let store = open();
    assert_eq!(everything(&store).await, ["a=1", "b=2", "c=3"]);
    assert_eq!(store.status().await.unwrap().revision.0, 4);
}
