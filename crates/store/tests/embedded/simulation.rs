//! The whole store under a simulation: disk, clock and scheduling come from a seed, nothing else goes on.
//!
//! `make test` runs a sample, `make torture` all seeds; `ORLOP_SEED=n` runs one alone.
use crate::common::{describe, list_at, value};
use crate::disk::{Faults, SimulatedDisk};
use crate::torture::seeds;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::task::{ArcWake, waker};
use orlop_store::embedded::{EmbeddedStore, ManualClock, Options, Spawner, Writing};
use orlop_store::snapshot::SnapshotError;
use orlop_store::*;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

const SEEDS: u64 = 10_000;
const SAMPLED_SEEDS: u64 = 40;
const CLIENTS: usize = 6;
const CALLS_PER_CLIENT: usize = 25;
const KEYS: u32 = 5;
const LEASE_SECONDS: u64 = 10;
/// A simulation that takes more steps has stopped getting anywhere.
const STEPS_MAX: usize = 200_000;

/// What is to be run next is chosen by dice.
#[derive(Clone, Debug)]
struct Simulation(Arc<Scheduler>);

struct Scheduler {
    ready: Mutex<Vec<Work>>,
    dice: Mutex<StdRng>,
    /// How often something was to be run in two halves.
    halved: Mutex<usize>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scheduler")
    }
}

enum Work {
    Task(Arc<Task>),
    Blocking(Box<dyn FnOnce() + Send>),
}

struct Task {
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    scheduler: Arc<Scheduler>,
    is_ready: Mutex<bool>,
}

impl ArcWake for Task {
    fn wake_by_ref(task: &Arc<Self>) {
        let mut is_ready = task.is_ready.lock();
        if !std::mem::replace(&mut *is_ready, true) {
            task.scheduler.ready.lock().push(Work::Task(task.clone()));
        }
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Scheduler {
            ready: Mutex::default(),
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
            halved: Mutex::default(),
        }))
    }

    fn roll(&self, sides: usize) -> usize {
        self.0.dice.lock().random_range(0..sides)
    }

    /// One step; false if there is nothing to do.
    fn step(&self) -> bool {
        let work = {
            let mut ready = self.0.ready.lock();
            if ready.is_empty() {
                return false;
            }
            let chosen = self.0.dice.lock().random_range(0..ready.len());
            ready.swap_remove(chosen)
        };
        match work {
            Work::Blocking(work) => work(),
            Work::Task(task) => {
                *task.is_ready.lock() = false;
                let mut future = task.future.lock();
                if let Some(running) = &mut *future
                    && running
                        .as_mut()
                        .poll(&mut Context::from_waker(&waker(task.clone())))
                        .is_ready()
                {
                    *future = None;
                }
            }
        }
        true
    }

    /// Until nothing is left to do; answers how many steps that took.
    fn settle(&self) -> usize {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < STEPS_MAX, "it goes round in circles");
        }
        steps
    }
}

impl Spawner for Simulation {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let task = Arc::new(Task {
            future: Mutex::new(Some(task)),
            scheduler: self.0.clone(),
            is_ready: Mutex::new(false),
        });
        ArcWake::wake_by_ref(&task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.ready.lock().push(Work::Blocking(work));
    }

    fn spawn_writer(&self, writer: BoxFuture<'static, ()>) -> io::Result<Writing> {
        self.spawn(writer);
        Ok(Writing::new(|| true))
    }

    fn lends_callers(&self) -> bool {
        self.roll(2) == 0
    }

    fn run_both(&self, own: &mut dyn FnMut(), other: &mut (dyn FnMut() + Send)) {
        *self.0.halved.lock() += 1;
        let in_turn = self.roll(2) == 0;
        if in_turn {
            own();
        }
        other();
        if !in_turn {
            own();
        }
    }

    fn block_caller(&self, work: &mut dyn FnMut()) {
        work();
    }
}

/// A key, and what it is since then; nothing, if it was deleted.
type Change = (String, Option<String>);

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// By a write that came to this revision.
    Wrote(u64, Option<Change>),
    /// Everything there was at a revision.
    Read(u64, Vec<String>),
    Failed(String),
}

/// All that clients were told.
#[derive(Debug, Default)]
struct Tale {
    /// Each with the newest revision that somebody had been told when the call began.
    told: Vec<(u64, Told)>,
    newest: u64,
}

/// What a watch has told, and at which revision.
type Seen = Arc<Mutex<Vec<(u64, Change)>>>;

/// Writes, reads, and holds a lease.
async fn client(
    store: Arc<EmbeddedStore>,
    clock: Arc<ManualClock>,
    tale: Arc<Mutex<Tale>>,
    seed: u64,
    number: usize,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let lease = store.lease_grant(LEASE_SECONDS).await.ok();
    for call in 0..CALLS_PER_CLIENT {
        let key = format!("/{}", random.random_range(0..KEYS));
        let floor = tale.lock().newest;
        let told = match random.random_range(0..10) {
            0..5 => {
                let size = if random.random_ratio(1, 6) { 6000 } else { 20 };
                let text = format!("{number}.{call} {}", "x".repeat(random.random_range(0..size)));
                let op = Op::put(&key, value(&text), lease.filter(|_| random.random_ratio(1, 3)));
                let answer = store.txn(Txn::default().then(op)).await;
                answer.map(|answer| Told::Wrote(answer.revision.0, Some((key, Some(text)))))
            }
            5 => {
                let txn = Txn::default().then(Op::delete(&key));
                let answer = store.txn(txn).await;
                answer.map(|answer| {
                    let was_there = matches!(&answer.responses[..], [OpResponse::Delete { previous }] if !previous.is_empty());
                    Told::Wrote(answer.revision.0, was_there.then_some((key, None)))
                })
            }
            6 | 7 => {
                let answer = store.range(RangeRequest::prefix("/")).await;
                answer.map(|answer| Told::Read(answer.revision.0, answer.kvs.iter().map(describe).collect()))
            }
            8 => {
                clock.advance(Duration::from_secs(random.random_range(0..LEASE_SECONDS)));
                continue;
            }
            _ => {
                if let Some(lease) = lease {
                    // It may have ended.
                    let _ = store.lease_keep_alive(lease).await;
                }
                continue;
            }
        };
        let mut tale = tale.lock();
        match told {
            Ok(told) => {
                if let Told::Wrote(at, _) | Told::Read(at, _) = &told {
                    tale.newest = tale.newest.max(*at);
                }
                tale.told.push((floor, told));
            }
            // The clock was moved.
            Err(StoreError::LeaseNotFound(_)) => {}
            Err(error) => {
                tale.told.push((floor, Told::Failed(error.to_string())));
                return;
            }
        }
    }
}

/// Keeps what a watch tells: at which revision a key became what.
async fn watcher(store: Arc<EmbeddedStore>, seen: Seen) {
    let Ok(mut stream) = store.watch(WatchRequest::prefix("/", Some(Revision(2)))).await else {
        return;
    };
    drop(store);
    while let Some(Ok(batch)) = stream.recv().await {
        for event in batch.events {
            let text = String::from_utf8_lossy(&event.kv.value).into_owned();
            let text = (event.kind == EventKind::Put).then_some(text);
            seen.lock()
                .push((event.kv.mod_revision.0, (event.kv.key.to_string(), text)));
        }
    }
}

/// Runs a store and its clients until the power goes; then what was told has to be so. Answers what was told.
fn play(seed: u64) -> Vec<(u64, Told)> {
    let simulation = Simulation::new(seed);
    let (disk, clock) = (SimulatedDisk::default(), Arc::new(ManualClock::default()));
    let options = Options {
        journal_bytes: (1 + simulation.roll(16) as u64) * 1024,
        history: Duration::MAX,
        spawner: Arc::new(simulation.clone()),
        ..Options::default()
    };
    let open = |disk: &SimulatedDisk| {
        EmbeddedStore::with_disk(Arc::new(disk.clone()), clock.clone(), options.clone()).unwrap()
    };
    let store = open(&disk);
    let cut = disk.calls() + simulation.roll(300);
    disk.set_faults(Faults {
        power_cut_at: Some(cut),
        ..Faults::default()
    });
    let (tale, seen) = (Arc::new(Mutex::new(Tale::default())), Seen::default());
    simulation.spawn(Box::pin(watcher(store.clone(), seen.clone())));
    for number in 0..CLIENTS {
        let seed = seed * 1000 + number as u64;
        simulation.spawn(Box::pin(client(
            store.clone(),
            clock.clone(),
            tale.clone(),
            seed,
            number,
        )));
    }
    drop(store);
    simulation.settle();
    let told = std::mem::take(&mut tale.lock().told);
    let seen = std::mem::take(&mut *seen.lock());
    let simulation = Simulation::new(seed);
    let store = EmbeddedStore::with_disk(
        Arc::new(disk.after_power_cut(seed)),
        clock.clone(),
        Options {
            spawner: Arc::new(simulation.clone()),
            ..options.clone()
        },
    )
    .unwrap();
    check(&simulation, &store, &told, &seen, seed);
    drop(store);
    simulation.settle();
    told
}

/// Runs something to its end.
fn finish<T: Send + 'static>(simulation: &Simulation, future: impl Future<Output = T> + Send + 'static) -> T {
    let result = Arc::new(Mutex::new(None));
    let slot = result.clone();
    simulation.spawn(Box::pin(future.map(move |value| *slot.lock() = Some(value))));
    simulation.settle();
    let done = result.lock().take();
    done.expect("it has come to its end")
}

fn check(
    simulation: &Simulation,
    store: &Arc<EmbeddedStore>,
    told: &[(u64, Told)],
    seen: &[(u64, Change)],
    seed: u64,
) {
    let revision = store.durable_revision().0;
    let mut states = BTreeMap::new();
    for at in 1..=revision {
        let store = store.clone();
        let state = finish(simulation, async move {
            list_at(&*store, "/", Some(Revision(at))).await
        });
        states.insert(at, state);
    }
    let holds = |at: u64, (key, text): &Change| match text {
        Some(text) => states[&at].contains(&format!("{key}={text}")),
        None => !states[&at].iter().any(|kv| kv.starts_with(&format!("{key}="))),
    };
    for (floor, one) in told {
        match one {
            Told::Wrote(at, change) => {
                assert!(
                    *at <= revision,
                    "seed {seed}: revision {at} was acknowledged and is lost"
                );
                let is_later = *at > *floor || change.is_none() && at == floor;
                assert!(is_later, "seed {seed}: wrote {at} after {floor} was told");
                if let Some(change) = change {
                    assert!(holds(*at, change), "seed {seed}: {change:?} at revision {at}");
                }
            }
            Told::Read(at, found) => {
                assert!(*at <= revision, "seed {seed}: revision {at} was read and is lost");
                assert!(at >= floor, "seed {seed}: read {at} after {floor} was told");
                assert!(found == &states[at], "seed {seed}: read at revision {at}");
            }
            Told::Failed(_) => {}
        }
    }
    let mut next = 2;
    for (at, change) in seen {
        assert!(
            *at == next || *at + 1 == next,
            "seed {seed}: watched {at} instead of {next}"
        );
        next = *at + 1;
        assert!(
            *at <= revision,
            "seed {seed}: revision {at} was watched and is lost"
        );
        assert!(
            holds(*at, change),
            "seed {seed}: watched {change:?} at revision {at}"
        );
    }
}

#[test]
fn what_was_told_before_the_power_went_is_so_whatever_ran_when() {
    let mut failed = 0;
    for seed in seeds(SEEDS, SAMPLED_SEEDS) {
        let told = play(seed);
        failed += usize::from(told.iter().any(|(_, told)| matches!(told, Told::Failed(_))));
    }
    assert!(
        failed > 0 || std::env::var_os("ORLOP_SEED").is_some(),
        "the power never went"
    );
}

#[test]
fn a_seed_is_the_same_story_whenever_it_is_told() {
    for seed in [3, 14, 15] {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}

/// Opens a store whose work a simulation runs, with a clock that nobody moves.
fn open(simulation: &Simulation, disk: &SimulatedDisk) -> Arc<EmbeddedStore> {
    let options = Options {
        history: Duration::MAX,
        spawner: Arc::new(simulation.clone()),
        ..Options::default()
    };
    let clock = Arc::new(ManualClock::default());
    EmbeddedStore::with_disk(Arc::new(disk.clone()), clock, options).unwrap()
}

#[test]
fn a_store_is_looked_through_where_it_is_told_to() {
    let disk = SimulatedDisk::default();
    let simulation = Simulation::new(1);
    let store = open(&simulation, &disk);
    finish(&simulation, async move {
        for number in 0..200 {
            let op = Op::put(format!("/{number}"), value(&"x".repeat(500)), None);
            store.txn(Txn::default().then(op)).await.unwrap();
        }
        store.close().await;
    });
    let simulation = Simulation::new(2);
    let store = open(&simulation, &disk);
    assert!(*simulation.0.halved.lock() > 0, "its pages were read by others");
    drop(store);
    simulation.settle();
}

/// As of a client that asks, goes away and asks again: what it asked for is looked through nevertheless.
#[test]
fn a_snapshot_that_nobody_waits_for_has_its_place_for_as_long_as_it_is_worked_on() {
    let simulation = Simulation::new(1);
    let store = open(&simulation, &SimulatedDisk::default());
    let ask_and_leave = || store.snapshot().now_or_never();
    for _ in 0..4 {
        assert!(ask_and_leave().is_none());
    }
    let refused = ask_and_leave();
    assert!(
        matches!(refused, Some(Err(SnapshotError::TooMany))),
        "{refused:?}"
    );
    simulation.settle();
    assert!(ask_and_leave().is_none(), "there is room again");
    drop(store);
    simulation.settle();
}
