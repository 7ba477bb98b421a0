//! Bytes of the file change by themselves: what is served then is right, or says that it is not there.
use crate::common::*;
use orlop_store::embedded::{EmbeddedStore, Image, MemoryDisk, Options, Repaired, SystemClock, repair};
use orlop_store::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::ReadableTable;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Rounds of one test,
const ROUNDS: u64 = 40;
/// and how many of them repair what is damaged, which takes longer.
const REPAIRS: u64 = 8;

/// The database and its journal.
type Files = [Vec<u8>; 3];

const NAMES: [&str; 3] = ["orlop.redb", "orlop.journal-0", "orlop.journal-1"];

fn read(directory: &Path) -> Files {
    NAMES.map(|name| std::fs::read(directory.join(name)).unwrap())
}

fn write(directory: &Path, files: &Files) {
    for (name, bytes) in NAMES.iter().zip(files) {
        std::fs::write(directory.join(name), bytes).unwrap();
    }
}

/// With a journal that is short enough for the tree to hold most of it.
fn options() -> Options {
    Options {
        journal_bytes: 80 << 10,
        ..Options::default()
    }
}

fn open(directory: &Path) -> Result<Arc<EmbeddedStore>, StoreError> {
    EmbeddedStore::open(directory, options())
}

/// The key that is put last.
const LAST: &str = "/registry/last";

type Content = BTreeMap<Key, KeyValue>;

async fn content(store: &EmbeddedStore) -> Content {
    let kvs = store.range(RangeRequest::prefix("")).await.unwrap().kvs;
    kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect()
}

/// Some history over a few hundred keys, and what is there at the end.
async fn live(store: &EmbeddedStore) -> Content {
    let lease = store.lease_grant(600).await.unwrap();
    for round in 0..30 {
        let mut txn = Txn::default();
        for index in 0..20 {
            let number = round * 13 + index;
            let text = "v".repeat(number * 7 % 1500);
            let lease = (number % 10 == 0).then_some(lease);
            txn = txn.then(Op::put(
                format!("/registry/{}/{number:03}", number % 4),
                value(&text),
                lease,
            ));
        }
        store.txn(txn).await.unwrap();
        remove(store, &format!("/registry/{}/{:03}", round % 4, round * 9)).await;
    }
    content(store).await
}

/// Changes a few bytes.
type Rot = fn(&mut Files, &mut StdRng);

/// One in five times in the header.
fn rot_tree(files: &mut Files, random: &mut StdRng) {
    for _ in 0..random.random_range(1..4) {
        let end = if random.random_bool(0.2) {
            320
        } else {
            files[0].len()
        };
        let at = random.random_range(0..end);
        files[0][at] ^= random.random_range(1..=255u8);
    }
}

fn rot_journal(files: &mut Files, random: &mut StdRng) {
    for _ in 0..random.random_range(1..3) {
        let file = &mut files[random.random_range(1..3)];
        let used = file.iter().rposition(|byte| *byte != 0).unwrap();
        let at = random.random_range(0..=used);
        file[at] ^= random.random_range(1..=255u8);
    }
}

fn rot_both(files: &mut Files, random: &mut StdRng) {
    rot_tree(files, random);
    rot_journal(files, random);
}

/// A lost lease doesn't hold its keys any more.
fn but_for_a_lost_lease(mut found: KeyValue, expected: &KeyValue) -> KeyValue {
    if found.lease.is_none() {
        found.lease = expected.lease;
    }
    found
}

/// Checks what a damaged store says of each key; answers those it has lost.
async fn check_damaged(store: &EmbeddedStore, expected: &Content, seed: u64) -> Vec<Key> {
    let dynamic: &dyn Store = store;
    let mut lost = Vec::new();
    for (key, kv) in expected {
        match dynamic.get(key.clone()).await {
            Ok(found) => {
                let found = found.map(|found| but_for_a_lost_lease(found, kv));
                assert_eq!(found.as_ref(), Some(kv), "seed {seed}");
            }
            Err(StoreError::Lost { .. }) => lost.push(key.clone()),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    match store.range(RangeRequest::prefix("/registry/")).await {
        Ok(found) => {
            assert_eq!(found.kvs.len(), expected.len(), "seed {seed}");
            for (found, kv) in found.kvs.into_iter().zip(expected.values()) {
                assert_eq!(&but_for_a_lost_lease(found, kv), kv, "seed {seed}");
            }
        }
        Err(error) => assert!(matches!(error, StoreError::Lost { .. }), "seed {seed}: {error}"),
    }
    let txn = Txn::default().then(Op::put("new", value("1"), None));
    let error = store.txn(txn).await.unwrap_err();
    assert!(
        matches!(error, StoreError::ReadOnly { .. }),
        "seed {seed}: {error}"
    );
    assert!(error.to_string().contains("orlop store repair"), "{error}");
    lost
}

/// After a repair everything is there that was not lost, and the store goes on.
async fn check_repaired(directory: &Path, expected: &Content, lost: &[Key], revision: u64, seed: u64) {
    let verified = Image::take(directory).unwrap().verify().unwrap();
    assert!(!verified.is_sound(), "seed {seed}");
    let refused = matches!(repair(directory, false).unwrap(), Repaired::Refused(_));
    if !lost.is_empty() {
        assert!(refused, "seed {seed}");
    }
    if refused {
        // What a repair left that was cut short is nothing to the next one.
        for left in ["orlop.redb.repaired", "orlop.redb.journal-0"] {
            std::fs::write(directory.join(left), "cut short").unwrap();
        }
        let done = repair(directory, true).unwrap();
        assert!(matches!(done, Repaired::Done { .. }), "seed {seed}: {done:?}");
    }
    let verified = Image::take(directory).unwrap().verify().unwrap();
    assert!(verified.is_sound(), "seed {seed}: {verified:?}");
    let store = open(directory).unwrap();
    assert!(store.damage().is_none(), "seed {seed}");
    let found = content(&store).await;
    for (key, kv) in expected {
        if lost.contains(key) {
            continue;
        }
        let found = found
            .get(key)
            .cloned()
            .unwrap_or_else(|| panic!("seed {seed}: {key} is gone"));
        assert_eq!(&but_for_a_lost_lease(found, kv), kv, "seed {seed}");
    }
    assert!(found.keys().all(|key| expected.contains_key(key)), "seed {seed}");
    assert!(put(&*store, "new", "1").await.0 >= revision, "seed {seed}");
}

async fn survives(files: &Files, rot: Rot, expected: &Content, revision: u64, refusals_min: u64) {
    let [mut untouched, mut damaged, mut refused] = [0; 3];
    for seed in 0..ROUNDS {
        let mut random = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut rotten = files.clone();
        rot(&mut rotten, &mut random);
        let disk = MemoryDisk::new("rotten".into(), rotten.clone());
        match EmbeddedStore::with_disk(
            Arc::new(disk),
            Arc::new(SystemClock::default()),
            Options::default(),
        ) {
            Ok(store) if store.damage().is_none() => {
                untouched += 1;
                assert_eq!(&content(&store).await, expected, "seed {seed}");
            }
            Ok(store) => {
                damaged += 1;
                let lost = check_damaged(&store, expected, seed).await;
                if seed < REPAIRS {
                    write(directory.path(), &rotten);
                    check_repaired(directory.path(), expected, &lost, revision, seed).await;
                }
            }
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(error, StoreError::Damaged { .. }),
                    "seed {seed}: {error}"
                );
                assert!(!error.to_string().contains('\n'), "seed {seed}: {error}");
            }
        }
    }
    // The seeds are fixed: if one of them never happens, the test tests less than it says.
    assert!(
        untouched > 0 && damaged > 0 && refused >= refusals_min,
        "{untouched} {damaged} {refused}"
    );
}

/// A store with a last write that stands by itself, and what is there then.
async fn written(directory: &Path) -> (Arc<EmbeddedStore>, Content, u64) {
    let store = open(directory).unwrap();
    live(&store).await;
    put(&*store, LAST, "1").await;
    // The writer answers this after what follows a write.
    store.lease_info(LeaseId(1 << 40)).await.unwrap_err();
    let content = content(&store).await;
    let revision = store.status().await.unwrap().revision.0;
    (store, content, revision)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_that_rots_is_never_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, content, revision) = written(directory.path()).await;
    store.close().await;
    survives(&read(directory.path()), rot_tree, &content, revision, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_rots_after_a_power_cut_loses_nothing_silently() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, content, revision) = written(directory.path()).await;
    survives(&read(directory.path()), rot_tree, &content, revision, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_rots_after_it_was_written_loses_nothing_silently() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, content, revision) = written(directory.path()).await;
    survives(&read(directory.path()), rot_journal, &content, revision, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_which_all_rots_after_it_was_written_loses_nothing_silently() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, content, revision) = written(directory.path()).await;
    survives(&read(directory.path()), rot_both, &content, revision, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_rots_after_a_power_cut_before_its_first_write_is_never_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, content, revision) = written(directory.path()).await;
    store.close().await;
    let _store = open(directory.path()).unwrap();
    survives(&read(directory.path()), rot_tree, &content, revision, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_changed_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let content = live(&store).await;
    store.close().await;
    let path = directory.path().join("orlop.redb");
    let victim = content.keys().nth(7).unwrap();
    {
        // With the page's own checksum in order.
        let keys = redb::TableDefinition::<&[u8], &[u8]>::new("keys");
        let database = redb::Database::open(&path).unwrap();
        let txn = database.begin_write().unwrap();
        {
            let mut keys = txn.open_table(keys).unwrap();
            let mut row = victim.to_vec();
            row.extend([0, 1]);
            row.extend(content[victim].mod_revision.0.to_be_bytes());
            let mut record = keys.get(row.as_slice()).unwrap().unwrap().value().to_vec();
            *record.last_mut().unwrap() ^= 1;
            keys.insert(row.as_slice(), record.as_slice()).unwrap();
        }
        txn.commit().unwrap();
    }
    let store = open(directory.path()).unwrap();
    put(&*store, "/before", "1").await;
    let error = store.range(RangeRequest::key(victim.clone())).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let txn = Txn::default().then(Op::put("/behind", value("1"), None));
    let error = store.txn(txn).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    assert_eq!(
        list_at(&*store, "/before", None).await,
        ["/before=1"],
        "the rest is served"
    );
    drop(store);
    let verified = Image::take(directory.path()).unwrap().verify().unwrap();
    assert!(verified.faults[0].contains(&victim.to_string()), "{verified:?}");
    let Repaired::Refused(damage) = repair(directory.path(), false).unwrap() else {
        panic!("repaired without a word")
    };
    assert_eq!(damage.named, std::slice::from_ref(victim));
    let Repaired::Done { keys, kept, .. } = repair(directory.path(), true).unwrap() else {
        panic!("not repaired")
    };
    assert_eq!(keys, content.len(), "one is lost, one was added");
    assert!(kept.exists());
    assert_eq!(self::content(&open(directory.path()).unwrap()).await.len(), keys);
}
