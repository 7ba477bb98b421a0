//! A full disk: nothing half-written, reads go on, writes come back with the space.
use crate::common::*;
use crate::disk::{Faults, SimulatedDisk};
use crate::{everything, open};
use orlop_store::embedded::EmbeddedStore;
use orlop_store::*;

async fn fill(store: &EmbeddedStore) -> (usize, StoreError) {
    let large = "x".repeat(10_000);
    for number in 0.. {
        let txn = Txn::default()
            .then(Op::put(format!("/{number}/a"), value(&large), None))
            .then(Op::put(format!("/{number}/b"), value(&large), None));
        if let Err(error) = store.txn(txn).await {
            return (number, error);
        }
    }
    unreachable!()
}

async fn stays_well(full: impl Fn(&SimulatedDisk) -> Faults) {
    let disk = SimulatedDisk::default();
    let store = open(&disk);
    put(&*store, "first", "1").await;
    // The writer answers this after what follows a write.
    store.lease_info(LeaseId(1 << 40)).await.unwrap_err();
    let mut stream = store.watch(WatchRequest::prefix("/", None)).await.unwrap();
    disk.set_faults(full(&disk));
    let (written, error) = fill(&store).await;
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    for _ in 0..3 {
        let large = Txn::default().then(Op::put("large", value(&"y".repeat(1_000_000)), None));
        let error = store.txn(large).await.unwrap_err();
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
        assert_eq!(everything(&store).await.len(), 1 + 2 * written, "reads go on");
    }
    let status = store.status().await.unwrap();
    assert_eq!(status.revision.0, 2 + written as u64, "nothing half-written");
    disk.set_faults(Faults::default());
    let lease = store.lease_grant(60).await.unwrap();
    let next = put_leased(&*store, "/after", "1", Some(lease)).await;
    assert_eq!(next.0, status.revision.0 + 1, "writes come back");
    assert_eq!(
        events(&mut stream, 2 * written + 1).await.last().unwrap().kv.key,
        "/after"
    );
    drop((store, stream));
    let store = open(&disk.after_kill());
    assert_eq!(everything(&store).await.len(), 2 + 2 * written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_grow_is_a_full_disk() {
    stays_well(|_| Faults {
        bytes_max: Some(300_000),
        ..Faults::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_without_a_block_is_a_full_disk() {
    stays_well(|_| Faults {
        no_blocks: true,
        ..Faults::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ends_on_a_full_disk_ends_later() {
    let disk = SimulatedDisk::default();
    let clock = std::sync::Arc::new(orlop_store::embedded::ManualClock::default());
    let store = crate::open_with_clock(&disk, clock.clone());
    let lease = store.lease_grant(10).await.unwrap();
    put_leased(&*store, "a", "1", Some(lease)).await;
    let mut stream = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    disk.set_faults(Faults {
        no_blocks: true,
        ..Faults::default()
    });
    clock.advance(std::time::Duration::from_secs(10));
    // The write behind the failed ending is answered after it.
    let txn = Txn::default().then(Op::put("b", value("1"), None));
    store.txn(txn).await.unwrap_err();
    assert_eq!(everything(&store).await, ["a=1"]);
    disk.set_faults(Faults::default());
    clock.advance(std::time::Duration::from_secs(10));
    assert_eq!(events(&mut stream, 1).await[0].kind, EventKind::Delete);
}
