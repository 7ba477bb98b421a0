//! The file: kept over restarts, held by one process, refused when it is newer, given back.
use crate::common::*;
use crate::everything;
use bytes::Bytes;
use orlop_store::embedded::{EmbeddedStore, Options};
use orlop_store::*;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FILES: [&str; 3] = ["orlop.journal-0", "orlop.journal-1", "orlop.redb"];

fn open(directory: &Path) -> Result<Arc<EmbeddedStore>, StoreError> {
    EmbeddedStore::open(directory, Options::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("is/made");
    let (one, lease) = {
        let store = open(&deep).unwrap();
        let lease = store.lease_grant(600).await.unwrap();
        let one = put(&*store, "a", "1").await;
        put(&*store, "a", "2").await;
        put_leased(&*store, "b", "3", Some(lease)).await;
        (one, lease)
    };
    let store = open(&deep).unwrap();
    assert_eq!(store.status().await.unwrap().revision.0, one.0 + 2);
    assert_eq!(list_at(&*store, "", Some(one)).await, ["a=1"]);
    let mut stream = store.watch(WatchRequest::prefix("", Some(one))).await.unwrap();
    assert_eq!(
        events(&mut stream, 3).await[1]
            .previous
            .as_ref()
            .unwrap()
            .mod_revision,
        one
    );
    assert_eq!(store.lease_keep_alive(lease).await.unwrap(), 600);
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(everything(&store).await, ["a=2"]);
    assert_ne!(
        store.lease_grant(1).await.unwrap(),
        lease,
        "names are not used twice"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_files_opens_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("original")).unwrap();
    for round in 0..20 {
        let acknowledged = put(&*store, &format!("/{round}"), &"x".repeat(round * 200)).await;
        let copy = directory.path().join(format!("copy{round}"));
        std::fs::create_dir(&copy).unwrap();
        for name in FILES {
            let from = directory.path().join("original").join(name);
            std::fs::copy(from, copy.join(name)).unwrap();
        }
        let copy = open(&copy).unwrap();
        assert_eq!(copy.status().await.unwrap().revision, acknowledged);
        assert_eq!(everything(&copy).await.len(), round + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_opening_is_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    put(&*store, "a", "1").await;
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("pid {}", std::process::id())),
        "{error}"
    );
    assert_eq!(everything(&store).await, ["a=1"]);
    store.close().await;
    let again = open(directory.path()).unwrap();
    assert_eq!(everything(&again).await, ["a=1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_says_so() {
    let store = EmbeddedStore::in_memory().unwrap();
    let mut stream = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    store.close().await;
    store.close().await;
    let txn = Txn::default().then(Op::put("a", value("1"), None));
    let errors = [
        store.txn(txn).await.unwrap_err(),
        store.range(RangeRequest::prefix("")).await.unwrap_err(),
        store.watch(WatchRequest::prefix("", None)).await.unwrap_err(),
        next_batch(&mut stream).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::Closed), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let path = directory.path().join("orlop.redb");
    {
        let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
        let database = redb::Database::open(&path).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(meta)
            .unwrap()
            .insert("format", 99u32.to_le_bytes().as_slice())
            .unwrap();
        txn.commit().unwrap();
    }
    let error = open(directory.path()).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NewerFormat {
                found: 99,
                supported: 3,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn space_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for number in 0..24 {
        let value = Bytes::from(vec![number; 1 << 20]);
        let txn = Txn::default().then(Op::put(format!("/{}", number % 2), value, None));
        store.txn(txn).await.unwrap();
    }
    put(&*store, "stays", "1").await;
    let full = store.status().await.unwrap().size;
    assert!(full > 24 << 20);
    remove(&*store, "/0").await;
    let last = remove(&*store, "/1").await;
    store.compact(last).await.unwrap();
    let small = store.status().await.unwrap().size;
    assert!(small < 1 << 20, "{small} bytes of {full} are left");
    assert_eq!(everything(&store).await, ["stays=1"]);
    put(&*store, "goes on", "1").await;
    assert_eq!(
        std::fs::metadata(directory.path().join("orlop.redb"))
            .unwrap()
            .len(),
        store.status().await.unwrap().size
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_keys_open_quickly() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path()).unwrap();
        for hundred in 0..100 {
            let mut txn = Txn::default();
            for number in 0..100 {
                let key = format!("/registry/pods/default/pod-{hundred}-{number}");
                txn = txn.then(Op::put(&key, Bytes::from(vec![b'x'; 500]), None));
            }
            store.txn(txn).await.unwrap();
        }
    }
    // The quickest of three: what else the machine does must not count.
    let mut took = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let store = open(directory.path()).unwrap();
        took = took.min(start.elapsed());
        assert_eq!(store.status().await.unwrap().keys, 10_000);
    }
    // The engine's own checks make it some ten times slower in debug builds.
    let limit_ms = if cfg!(debug_assertions) { 1000 } else { 100 };
    assert!(took < Duration::from_millis(limit_ms), "{took:?}");
}
