//! Snapshots go both ways between the embedded store and etcd, judged by etcd's own tools.
#![allow(clippy::unwrap_used)]
#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../guarantees/etcd.rs"]
mod etcd;

use common::*;
use etcd::Etcd;
use orlop_store::embedded::{EmbeddedStore, Image, ManualClock, MemoryDisk, Options};
use orlop_store::etcd::{EtcdStore, EtcdTls};
use orlop_store::migrate::{check_empty, to_etcd};
use orlop_store::snapshot::{SnapshotError, SnapshotFile};
use orlop_store::*;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Creations, updates, deletions, a lease, several changes in one revision, and history of which the
/// older part has been forgotten. The last revision is a deletion.
async fn live(store: &dyn Store) -> LeaseId {
    let lease = store.lease_grant(600).await.unwrap();
    for number in 0..40 {
        put(store, &format!("/a/{:02}", number % 25), &"x".repeat(number * 30)).await;
    }
    let several = Txn::default()
        .then(Op::put("/several/1", value("one"), None))
        .then(Op::put(b"/several/\x00\xff".as_slice(), value("two"), None))
        .then(Op::delete("/a/03"));
    let compacted = store.txn(several).await.unwrap().revision;
    remove(store, "/a/04").await;
    put(store, "/a/04", "anew").await;
    put_leased(store, "/leased", "1", Some(lease)).await;
    put_leased(store, "/once-leased", "1", Some(lease)).await;
    put(store, "/once-leased", "2").await;
    put(store, "/large", &"y".repeat(20_000)).await;
    store.compact(compacted).await.unwrap();
    put(store, "/a/05", "again").await;
    remove(store, "/a/06").await;
    lease
}

async fn kvs(store: &dyn Store, at: Revision) -> Vec<KeyValue> {
    let mut request = RangeRequest::prefix("");
    request.revision = Some(at);
    store.range(request).await.unwrap().kvs
}

/// Both stores tell the same story from `oldest` on.
async fn assert_same(one: &dyn Store, other: &dyn Store, oldest: u64, lease: LeaseId) {
    let revision = one.status().await.unwrap().revision;
    assert_eq!(other.status().await.unwrap().revision, revision);
    for at in oldest..=revision.0 {
        assert_eq!(
            kvs(one, Revision(at)).await,
            kvs(other, Revision(at)).await,
            "at {at}"
        );
    }
    let before = RangeRequest {
        revision: Some(Revision(oldest - 1)),
        ..RangeRequest::prefix("")
    };
    let error = other.range(before).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    let mut stories = Vec::new();
    for store in [one, other] {
        let from = Some(Revision(oldest + 1));
        let mut stream = store.watch(WatchRequest::prefix("", from)).await.unwrap();
        stories.push(described_events(&mut stream, (revision.0 - oldest) as usize).await);
    }
    assert_eq!(stories[0], stories[1]);
    assert_eq!(other.lease_keep_alive(lease).await.unwrap(), 600);
    other.lease_revoke(lease).await.unwrap();
    let left = RangeRequest::prefix("/leased");
    assert_eq!(
        other.range(left).await.unwrap().count,
        0,
        "the lease holds its key"
    );
    let left = RangeRequest::prefix("/once-leased");
    assert_eq!(other.range(left).await.unwrap().count, 1, "and no other");
}

/// The revision up to which [`live`] has compacted.
const OLDEST: u64 = 42;

fn open(directory: &Path) -> Arc<EmbeddedStore> {
    EmbeddedStore::open(directory, Options::default()).unwrap()
}

fn restore(from: &Path, to: &Path) -> Result<(), SnapshotError> {
    EmbeddedStore::restore(from, to, &Options::default()).map(|_| ())
}

fn assert_sound(directory: &Path) {
    let verified = Image::take(directory).unwrap().verify().unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

fn etcdctl(arguments: &[&str]) -> String {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "etcdctl {arguments:?}: {text}{errors}");
    text
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_starts_from_a_backup_of_ours() {
    let place = Place::new();
    let store = open(&place.at("store"));
    let lease = live(&*store).await;
    let (file, data) = (place.at("backup"), place.at("etcd"));
    store.backup(File::create(&file).unwrap()).unwrap();
    let (file, data_text) = (file.to_str().unwrap(), data.to_str().unwrap());
    let status = etcdctl(&["snapshot", "status", file, "-w", "json"]);
    let revision = store.status().await.unwrap().revision;
    assert!(status.contains(&format!("\"revision\":{revision},")), "{status}");
    etcdctl(&["snapshot", "restore", file, "--data-dir", data_text]);
    let etcd = Etcd::start_on(&data);
    let restored = etcd.store().await;
    assert_same(&*store, &*restored, OLDEST, lease).await;
    put(&*restored, "goes on", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_etcds_tool_has_restored_becomes_a_store_in_its_place() {
    // An entry 999, as the log frames it.
    const LATER: &[u8] = &[7, 0, 0, 0, 0, 0, 0, 0, 0x08, 2, 0x1a, 3, 0x18, 0xe7, 7];
    let place = Place::new();
    let store = open(&place.at("store"));
    let lease = live(&*store).await;
    let (file, data) = (place.at("backup"), place.at("etcd"));
    store.backup(File::create(&file).unwrap()).unwrap();
    let (file, data_text) = (file.to_str().unwrap(), data.to_str().unwrap());
    etcdctl(&["snapshot", "restore", file, "--data-dir", data_text]);
    let later = data.join("member/wal/ffffffffffffffff-ffffffffffffffff.wal");
    std::fs::write(&later, LATER).unwrap();
    let options = Options::default();
    let refused = EmbeddedStore::take_over(&data, &options).unwrap_err();
    assert!(
        matches!(refused, SnapshotError::Unsettled { logged: 999, .. }),
        "{refused}"
    );
    std::fs::remove_file(&later).unwrap();
    EmbeddedStore::take_over(&data, &options)
        .unwrap()
        .expect("it is an etcd's");
    assert!(EmbeddedStore::take_over(&data, &options).unwrap().is_none());
    let restored = open(&data);
    assert_same(&*store, &*restored, OLDEST, lease).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_etcd_becomes_a_store() {
    let place = Place::new();
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let lease = live(&*store).await;
    let file = place.at("snapshot");
    etcdctl(&[
        "--endpoints",
        etcd.url(),
        "snapshot",
        "save",
        file.to_str().unwrap(),
    ]);
    restore(&file, &place.at("store")).unwrap();
    assert_sound(&place.at("store"));
    let restored = open(&place.at("store"));
    assert_same(&*store, &*restored, OLDEST, lease).await;
    put(&*restored, "goes on", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_saved_over_its_api() {
    let place = Place::new();
    let etcd = Etcd::start();
    let store = etcd.store().await;
    put(&*store, "a", "1").await;
    let client = EtcdStore::connect(&[etcd.url().to_owned()], EtcdTls::default())
        .await
        .unwrap();
    let mut file = SnapshotFile::create(&place.at("snapshot")).unwrap();
    client.snapshot(&mut file).await.unwrap();
    file.keep().unwrap();
    restore(&place.at("snapshot"), &place.at("store")).unwrap();
    assert_eq!(list_at(&*open(&place.at("store")), "", None).await, ["a=1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_use_is_saved_from_outside() {
    let place = Place::new();
    let store = open(&place.at("one"));
    let lease = live(&*store).await;
    assert_sound(&place.at("one"));
    let image = Image::take(&place.at("one")).unwrap();
    assert!(image.in_use);
    let stats = image.stats().unwrap();
    assert_eq!(stats.keys, store.status().await.unwrap().keys);
    assert_eq!(stats.leases, 1);
    image.backup(File::create(place.at("backup")).unwrap()).unwrap();
    restore(&place.at("backup"), &place.at("two")).unwrap();
    assert_same(&*store, &*open(&place.at("two")), OLDEST, lease).await;
    let error = Image::take(&place.at("nowhere")).unwrap_err();
    assert!(matches!(error, StoreError::NoStore { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_ours_becomes_a_store_again() {
    let place = Place::new();
    let store = open(&place.at("one"));
    let lease = live(&*store).await;
    store.backup(File::create(place.at("backup")).unwrap()).unwrap();
    restore(&place.at("backup"), &place.at("two")).unwrap();
    let restored = open(&place.at("two"));
    assert_same(&*store, &*restored, OLDEST, lease).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_shows_one_moment_while_writes_go_on() {
    let place = Place::new();
    let store = open(&place.at("one"));
    for number in 0..300 {
        put(&*store, &format!("/{number}"), &"x".repeat(2000)).await;
    }
    let mut snapshot = store.snapshot().await.unwrap();
    let then = store.status().await.unwrap().revision;
    let mut file = File::create(place.at("backup")).unwrap();
    let mut bytes = 0;
    while let Some(chunk) = snapshot.next().await {
        let chunk = chunk.unwrap();
        bytes += chunk.len() as u64;
        file.write_all(&chunk).unwrap();
        put(&*store, "/0", "changed").await;
    }
    assert_eq!(bytes, snapshot.bytes());
    restore(&place.at("backup"), &place.at("two")).unwrap();
    let restored = open(&place.at("two"));
    assert_eq!(restored.status().await.unwrap().revision, then);
    assert_eq!(kvs(&*restored, then).await, kvs(&*store, then).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_snapshot_leaves_the_store_well() {
    let place = Place::new();
    let store = open(&place.at("one"));
    for number in 0..300 {
        put(&*store, &format!("/{number}"), &"x".repeat(2000)).await;
    }
    let mut snapshot = store.snapshot().await.unwrap();
    snapshot.next().await.unwrap().unwrap();
    drop(snapshot);
    put(&*store, "/0", "changed").await;
    store.close().await;
}

/// Each snapshot has a thread, of which a process has no end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_a_snapshot_is_given_up_and_makes_room_for_others() {
    let clock = Arc::new(ManualClock::default());
    let options = Options {
        history: Duration::MAX,
        ..Options::default()
    };
    let store = EmbeddedStore::with_disk(Arc::new(MemoryDisk::default()), clock.clone(), options).unwrap();
    for number in 0..300 {
        put(&*store, &format!("/{number}"), &"x".repeat(2000)).await;
    }
    let mut waiting = Vec::new();
    let refused = loop {
        match store.snapshot().await {
            Ok(snapshot) => waiting.push(snapshot),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SnapshotError::TooMany), "{refused}");
    assert_eq!(waiting.len(), 4);
    // One that is read makes room when it is done, whole.
    let mut read = waiting.pop().unwrap();
    let mut bytes = 0;
    while let Some(chunk) = read.next().await {
        bytes += chunk.unwrap().len() as u64;
    }
    assert_eq!(bytes, read.bytes());

    // The others can't be told when the last of their threads has begun to wait.
    let mut next = loop {
        clock.advance(Duration::from_secs(60));
        match (store.snapshot().await, waiting.len()) {
            (Ok(snapshot), 4..) => break snapshot,
            (Ok(snapshot), _) => waiting.push(snapshot),
            (Err(SnapshotError::TooMany), _) => tokio::task::yield_now().await,
            (Err(error), _) => panic!("{error}"),
        }
    };
    next.next().await.unwrap().unwrap();
    drop(next);
    let mut given_up = 0;
    for mut snapshot in waiting {
        let mut last = None;
        while let Some(chunk) = snapshot.next().await {
            last = Some(chunk);
        }
        given_up += usize::from(matches!(last, Some(Err(SnapshotError::CutShort))));
    }
    assert!(given_up > 0, "none was cut short");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_restored_by_halves() {
    let place = Place::new();
    let store = open(&place.at("one"));
    put(&*store, "a", "1").await;
    let file = place.at("backup");
    store.backup(File::create(&file).unwrap()).unwrap();
    let error = restore(&file, &place.at("one")).unwrap_err();
    assert!(matches!(error, SnapshotError::TargetExists { .. }), "{error}");

    let sound = std::fs::read(&file).unwrap();
    let mut changed = sound.clone();
    changed[4096 * 3 + 100] ^= 1;
    std::fs::write(&file, &changed).unwrap();
    let error = restore(&file, &place.at("two")).unwrap_err();
    assert!(matches!(error, SnapshotError::Checksum { .. }), "{error}");
    std::fs::write(&file, &sound[..sound.len() - 7]).unwrap();
    let error = restore(&file, &place.at("two")).unwrap_err();
    assert!(matches!(error, SnapshotError::NotASnapshot { .. }), "{error}");
    std::fs::write(&file, [7; 8192]).unwrap();
    let error = restore(&file, &place.at("two")).unwrap_err();
    assert!(matches!(error, SnapshotError::NotASnapshot { .. }), "{error}");
    let names = std::fs::read_dir(place.0.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");

    std::fs::write(&file, &sound).unwrap();
    std::fs::create_dir(place.at("two")).unwrap();
    restore(&file, &place.at("two")).unwrap();
    assert_eq!(list_at(&*open(&place.at("two")), "", None).await, ["a=1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_moves_into_an_empty_etcd() {
    let place = Place::new();
    let store = open(&place.at("one"));
    let lease = live(&*store).await;
    let expected = kvs(&*store, Revision(0)).await;
    store.close().await;
    let etcd = Etcd::start();
    etcd.store().await;
    let target = EtcdStore::connect(&[etcd.url().to_owned()], EtcdTls::default())
        .await
        .unwrap();
    let image = Image::take(&place.at("one")).unwrap();
    check_empty(&target).await.unwrap();
    let moved = to_etcd(&image, &target).await.unwrap();
    assert_eq!((moved.keys, moved.leases), (expected.len(), 1));
    let found = kvs(&target, Revision(0)).await;
    let content = |kvs: &[KeyValue]| -> Vec<_> {
        kvs.iter()
            .map(|kv| (kv.key.clone(), kv.value.clone(), kv.lease))
            .collect()
    };
    assert_eq!(content(&found), content(&expected));
    assert_eq!(target.lease_keep_alive(lease).await.unwrap(), 600);
    let error = check_empty(&target).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
}
