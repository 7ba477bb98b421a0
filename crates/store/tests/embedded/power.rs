//! Power cuts: whatever was acknowledged is there, whatever is there is whole, and it opens.
use crate::common::*;
use crate::disk::{Faults, SimulatedDisk};
use crate::{everything, open};
use orlop_store::embedded::{EmbeddedStore, Options, SystemClock};
use orlop_store::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const WRITES: u64 = 20;

/// What the store holds at each revision when the trace runs undisturbed.
fn expected() -> Vec<Vec<String>> {
    let mut keys = BTreeMap::new();
    let mut states = vec![Vec::new(), Vec::new()];
    for number in 0..WRITES {
        let (key, text) = step(number);
        match text {
            Some(text) => keys.insert(key, text),
            None => keys.remove(&key),
        };
        states.push(keys.iter().map(|(key, text)| format!("{key}={text}")).collect());
    }
    states
}

/// One write of the trace: few keys, some deletions, values from tiny to several pages.
fn step(number: u64) -> (String, Option<String>) {
    if number % 7 == 6 {
        return (format!("/{}", (number - 1) % 5), None);
    }
    let size = if number.is_multiple_of(4) { 9000 } else { 20 };
    (
        format!("/{}", number % 5),
        Some(format!("{number}{}", "x".repeat(size))),
    )
}

/// Runs the trace until the disk has no more power; answers the last acknowledged revision.
async fn run_trace(store: &dyn Store) -> u64 {
    let mut acknowledged = 0;
    for number in 0..WRITES {
        let (key, text) = step(number);
        let op = match &text {
            Some(text) => Op::put(&key, value(text), None),
            None => Op::delete(&key),
        };
        match store.txn(Txn::default().then(op)).await {
            Ok(answer) => acknowledged = answer.revision.0,
            Err(_) => break,
        }
    }
    acknowledged
}

async fn check(disk: &SimulatedDisk, acknowledged: u64, what: &str) {
    let store = open(disk);
    let store: &dyn Store = &*store;
    let status = store.status().await.unwrap();
    let revision = status.revision.0;
    assert!(
        (acknowledged..=acknowledged.max(1) + 1).contains(&revision),
        "{what}: acknowledged {acknowledged}, found {revision}"
    );
    let expected = expected();
    for at in 1..=revision {
        let found = list_at(store, "", Some(Revision(at))).await;
        assert!(found == expected[at as usize], "{what}: wrong at revision {at}");
    }
    assert_eq!(status.keys as usize, expected[revision as usize].len(), "{what}");
    if revision > 1 {
        let mut stream = store
            .watch(WatchRequest::prefix("", Some(Revision(2))))
            .await
            .unwrap();
        let seen = events(&mut stream, revision as usize - 1).await;
        assert_eq!(seen.last().unwrap().kv.mod_revision.0, revision, "{what}");
    }
    assert_eq!(put(store, "/new", "1").await.0, revision + 1, "{what}: goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_may_go_at_every_call() {
    power_goes_at_every_call(Options::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_may_go_at_every_call_with_many_checkpoints() {
    let options = Options {
        journal_bytes: 2048,
        ..Options::default()
    };
    power_goes_at_every_call(options).await;
}

async fn power_goes_at_every_call(options: Options) {
    let open_with = |disk: &SimulatedDisk| {
        let clock = Arc::new(SystemClock::default());
        EmbeddedStore::with_disk(Arc::new(disk.clone()), clock, options.clone())
    };
    let disk = SimulatedDisk::default();
    let calls = {
        let store = open_with(&disk).unwrap();
        assert_eq!(run_trace(&*store).await, 1 + WRITES);
        store.close().await;
        disk.calls()
    };
    for cut in 0..=calls {
        let disk = SimulatedDisk::default();
        disk.set_faults(Faults {
            power_cut_at: Some(cut),
            ..Faults::default()
        });
        let acknowledged = match open_with(&disk) {
            Ok(store) => run_trace(&*store).await,
            Err(_) => 0,
        };
        for round in 0..2 {
            let seed = cut as u64 * 31 + round;
            let what = format!("power cut at call {cut}, seed {seed}");
            check(&disk.after_power_cut(seed), acknowledged, &what).await;
        }
        check(&disk.after_kill(), acknowledged, &format!("killed at call {cut}")).await;
    }
}

/// History is forgotten, and the file cut.
async fn shrink(store: &EmbeddedStore) {
    // The power may go.
    let _ = store.compact(store.durable_revision()).await;
    let _ = store.defragment().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_may_go_at_every_call_of_compaction_and_defragmentation() {
    let calls = {
        let disk = SimulatedDisk::default();
        let store = open(&disk);
        run_trace(&*store).await;
        let before = disk.calls();
        shrink(&store).await;
        assert_eq!(
            store.status().await.unwrap().compacted,
            Some(Revision(1 + WRITES))
        );
        disk.calls() - before
    };
    for cut in 0..=calls {
        let disk = SimulatedDisk::default();
        let store = open(&disk);
        run_trace(&*store).await;
        disk.set_faults(Faults {
            power_cut_at: Some(disk.calls() + cut),
            ..Faults::default()
        });
        shrink(&store).await;
        for left in [disk.after_power_cut(cut as u64), disk.after_kill()] {
            let store = open(&left);
            assert_eq!(
                store.durable_revision(),
                Revision(1 + WRITES),
                "cut at call {cut}"
            );
            let there = everything(&store).await;
            assert_eq!(&there, expected().last().unwrap(), "cut at call {cut}");
            assert_eq!(put(&*store, "/new", "1").await.0, 2 + WRITES, "cut at call {cut}");
            shrink(&store).await;
            assert_eq!(everything(&store).await.len(), there.len() + 1);
        }
    }
}

/// What the system has taken from a process that was killed, and not written yet, it has still when the store is opened
/// next; and may lose it then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_had_not_synced_is_synced_before_it_is_shown() {
    let open_with = |disk: &SimulatedDisk, journal_bytes: u64| {
        let options = Options {
            journal_bytes,
            ..Options::default()
        };
        let clock = Arc::new(SystemClock::default());
        EmbeddedStore::with_disk(Arc::new(disk.clone()), clock, options)
    };
    for journal_bytes in [2048, 4 << 20] {
        let calls = {
            let disk = SimulatedDisk::default();
            let store = open_with(&disk, journal_bytes).unwrap();
            run_trace(&*store).await;
            disk.calls()
        };
        for cut in 0..=calls {
            let disk = SimulatedDisk::default();
            disk.set_faults(Faults {
                power_cut_at: Some(cut),
                ..Faults::default()
            });
            if let Ok(store) = open_with(&disk, journal_bytes) {
                run_trace(&*store).await;
            }
            disk.set_faults(Faults::default());
            let store = open_with(&disk, journal_bytes).unwrap();
            let shown = everything(&store).await;
            let revision = store.revision().await.unwrap();
            for round in 0..2 {
                let what = format!("killed at call {cut}, journal of {journal_bytes}, round {round}");
                let again = open(&disk.after_power_cut(cut as u64 * 31 + round));
                assert!(again.revision().await.unwrap() >= revision, "{what}");
                let found = list_at(&*again, "", Some(revision)).await;
                assert!(found == shown, "{what}: {found:?} instead of {shown:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_that_answered_survive() {
    for seed in 0..20 {
        let disk = SimulatedDisk::default();
        let acknowledged = {
            let store = open(&disk);
            disk.set_faults(Faults {
                power_cut_at: Some(disk.calls() + 40 + seed as usize * 11),
                ..Faults::default()
            });
            let mut tasks = tokio::task::JoinSet::new();
            for writer in 0..8 {
                let store = store.clone();
                tasks.spawn(async move {
                    let store: &dyn Store = &*store;
                    let mut done = Vec::new();
                    for number in 0..200 {
                        let key = format!("/{writer}/{number}");
                        match store.create(&key, value(&key), None).await {
                            Ok(revision) => done.push((key, revision.unwrap())),
                            Err(_) => break,
                        }
                    }
                    done
                });
            }
            tasks.join_all().await.concat()
        };
        let disk = disk.after_power_cut(seed);
        let store = open(&disk);
        let store: &dyn Store = &*store;
        for (key, revision) in acknowledged {
            let kv = store
                .get(&key)
                .await
                .unwrap()
                .unwrap_or_else(|| panic!("seed {seed}: {key} is lost"));
            assert_eq!(kv.mod_revision, revision, "seed {seed}");
        }
    }
}
