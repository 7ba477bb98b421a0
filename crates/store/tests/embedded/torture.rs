//! Power cuts everywhere: one long trace, cut at every system call; and many short random ones.
//!
//! `make test` runs a sample; `make torture` sets `ORLOP_TORTURE=1` for all of it. A failure names its
//! seed; `ORLOP_SEED=n` runs that one alone.
use crate::common::*;
use crate::disk::{Change, Files, SimulatedDisk, survivors};
use crate::open;
use orlop_store::embedded::{Disk, EmbeddedStore, Options, Part, StorageBackend, SystemClock};
use orlop_store::*;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TRACE_WRITES: usize = 1000;
const SHORT_WRITES: usize = 40;
const CUTS_PER_SEED: usize = 3;
const SEEDS: u64 = 10_000;
/// What `make test` takes of it.
const SAMPLED_SEEDS: u64 = 25;
const SAMPLED_CUTS: usize = 60;
/// Old revisions that are looked at after each cut.
const REVISIONS_CHECKED: usize = 4;

fn is_whole() -> bool {
    std::env::var_os("ORLOP_TORTURE").is_some()
}

/// The seeds to run: the one that is asked for, or so many.
pub fn seeds(whole: u64, sample: u64) -> Vec<u64> {
    match std::env::var("ORLOP_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        Some(seed) => vec![seed],
        None => (0..if is_whole() { whole } else { sample }).collect(),
    }
}

/// A disk that remembers every call.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Recording>>);

#[derive(Debug, Default)]
struct Recording {
    seen: Files,
    calls: Vec<Call>,
}

#[derive(Clone, Debug)]
enum Call {
    Change(Part, Change),
    Sync(Part),
}

impl Recorder {
    fn calls(&self) -> usize {
        self.0.lock().calls.len()
    }
}

impl Disk for Recorder {
    fn open(&self, part: Part) -> io::Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(RecordedFile {
            disk: self.clone(),
            part,
        }))
    }

    fn path(&self) -> &Path {
        Path::new("(recorded)")
    }
}

#[derive(Debug)]
struct RecordedFile {
    disk: Recorder,
    part: Part,
}

impl StorageBackend for RecordedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().seen.of(self.part).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut recording = self.disk.0.lock();
        let from = offset as usize;
        let found = recording.seen.of(self.part).get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut recording = self.disk.0.lock();
        recording.seen.of(self.part).resize(len as usize, 0);
        recording
            .calls
            .push(Call::Change(self.part, Change::Length(len as usize)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.0.lock().calls.push(Call::Sync(self.part));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut recording = self.disk.0.lock();
        let from = offset as usize;
        let place = recording.seen.of(self.part).get_mut(from..from + data.len());
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        recording
            .calls
            .push(Call::Change(self.part, Change::Bytes(from, data.to_vec())));
        Ok(())
    }
}

type Keys = BTreeMap<String, String>;

/// What was done, and when it was acknowledged.
struct Trace {
    disk: Recorder,
    /// The keys at each revision.
    states: Vec<Keys>,
    /// Calls of the disk when a revision was acknowledged, in order.
    acknowledged: Vec<(usize, u64)>,
    /// Calls when a compaction was asked for, and to which revision.
    compacted: Vec<(usize, u64)>,
}

impl Trace {
    async fn record(seed: u64, writes: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = Recorder::default();
        let clock = Arc::new(SystemClock::default());
        // Short, so that there are many checkpoints, and some batches that are longer than all of it.
        let options = Options {
            journal_bytes: random.random_range(1..16) * 1024,
            ..Options::default()
        };
        let store = EmbeddedStore::with_disk(Arc::new(disk.clone()), clock, options).unwrap();
        let mut trace = Self {
            disk,
            states: vec![Keys::new(); 2],
            acknowledged: vec![(0, 0)],
            compacted: Vec::new(),
        };
        // An empty store is a promise, too, from here on.
        trace.acknowledged.push((trace.disk.calls(), 1));
        for number in 0..writes {
            trace.step(&store, &mut random, number).await;
        }
        trace
    }

    async fn step(&mut self, store: &Arc<EmbeddedStore>, random: &mut StdRng, number: usize) {
        let mut keys = self.states.last().unwrap().clone();
        let revision = self.states.len() as u64 - 1;
        if random.random_ratio(1, 40) && revision > 5 {
            let to = random.random_range(revision - 4..=revision);
            self.compacted.push((self.disk.calls(), to));
            // An older one may have gone further.
            let _ = store.compact(Revision(to)).await;
            return;
        }
        let mut txn = Txn::default();
        let mut changed = std::collections::BTreeSet::new();
        for _ in 0..random.random_range(1..4) {
            let key = format!("/{}", random.random_range(0..12));
            if !changed.insert(key.clone()) {
                continue;
            }
            if keys.contains_key(&key) && random.random_ratio(1, 3) {
                keys.remove(&key);
                txn = txn.then(Op::delete(&key));
            } else {
                let size = if random.random_ratio(1, 8) { 9000 } else { 30 };
                let text = format!("{number}{}", "x".repeat(random.random_range(0..size)));
                txn = txn.then(Op::put(&key, value(&text), None));
                keys.insert(key, text);
            }
        }
        let answer = store.txn(txn).await.unwrap();
        self.states.push(keys);
        assert_eq!(answer.revision.0 as usize, self.states.len() - 1);
        self.acknowledged.push((self.disk.calls(), answer.revision.0));
    }

    /// The last revision that was acknowledged when the power went before call `cut`.
    fn acknowledged_at(&self, cut: usize) -> u64 {
        let behind = self.acknowledged.partition_point(|(calls, _)| *calls <= cut);
        self.acknowledged[behind - 1].1
    }

    /// The highest revision that compaction may have got to.
    fn compacted_at(&self, cut: usize) -> u64 {
        let asked = self.compacted.iter().take_while(|(calls, _)| *calls <= cut);
        asked.map(|(_, to)| *to).max().unwrap_or(1)
    }
}

/// The bytes on the platter while the calls of a trace are gone through in order.
#[derive(Default)]
struct Replay {
    durable: Files,
    unsynced: Vec<(Part, Change)>,
}

impl Replay {
    fn call(&mut self, call: &Call) {
        match call {
            Call::Change(part, change) => self.unsynced.push((*part, change.clone())),
            Call::Sync(synced) => {
                for (part, change) in self.unsynced.extract_if(.., |(part, _)| part == synced) {
                    change.apply(self.durable.of(part));
                }
            }
        }
    }
}

async fn check(trace: &Trace, cut: usize, disk: &SimulatedDisk, seed: u64, what: &str) {
    let mut random = StdRng::seed_from_u64(seed);
    let acknowledged = trace.acknowledged_at(cut);
    let store = open(disk);
    let store: &dyn Store = &*store;
    let status = store.status().await.unwrap();
    let revision = status.revision.0;
    assert!(
        (acknowledged.max(1)..=acknowledged.max(1) + 1).contains(&revision),
        "{what}: acknowledged {acknowledged}, found {revision}"
    );
    let compacted = status.compacted.unwrap().0;
    assert!(
        compacted <= trace.compacted_at(cut),
        "{what}: compacted to {compacted}"
    );
    let mut revisions = vec![revision, compacted];
    revisions.extend((0..REVISIONS_CHECKED).map(|_| random.random_range(compacted..=revision)));
    for at in revisions {
        let found = list_at(store, "", Some(Revision(at))).await;
        let expected = &trace.states[at as usize];
        let expected: Vec<String> = expected
            .iter()
            .map(|(key, text)| format!("{key}={text}"))
            .collect();
        assert!(found == expected, "{what}: wrong at revision {at} of {revision}");
    }
    assert_eq!(
        status.keys as usize,
        trace.states[revision as usize].len(),
        "{what}"
    );
    check_watch(trace, store, compacted, revision, what).await;
    assert_eq!(put(store, "/new", "1").await.0, revision + 1, "{what}: goes on");
}

/// The watch's history, applied to the keys at the compacted revision, gives the keys now.
async fn check_watch(trace: &Trace, store: &dyn Store, compacted: u64, revision: u64, what: &str) {
    let mut keys = trace.states[compacted as usize].clone();
    let mut next = compacted + 1;
    if next > revision {
        return;
    }
    let from = Some(Revision(next));
    let mut stream = store.watch(WatchRequest::prefix("", from)).await.unwrap();
    while next <= revision {
        for event in next_batch(&mut stream).await.unwrap().events {
            let at = event.kv.mod_revision.0;
            assert!(at == next || at + 1 == next, "{what}: {at} came for {next}");
            next = at + 1;
            let key = event.kv.key.to_string();
            match event.kind {
                EventKind::Put => keys.insert(key, String::from_utf8_lossy(&event.kv.value).into_owned()),
                EventKind::Delete => keys.remove(&key),
            };
        }
    }
    assert!(
        keys == trace.states[revision as usize],
        "{what}: the watch told something else"
    );
}

/// Goes through the cuts of a trace that `wanted` picks; answers how many.
async fn cut(trace: &Trace, seed: u64, mut wanted: impl FnMut(usize) -> bool) -> usize {
    let calls = trace.disk.0.lock().calls.clone();
    let mut replay = Replay::default();
    let mut done = 0;
    for at in 0..=calls.len() {
        if wanted(at) {
            let seed = seed.wrapping_mul(1_000_003) + at as u64;
            let disk = survivors(replay.durable.clone(), replay.unsynced.clone(), seed);
            check(
                trace,
                at,
                &disk,
                seed,
                &format!("seed {seed}, power cut at call {at}"),
            )
            .await;
            done += 1;
        }
        if let Some(call) = calls.get(at) {
            replay.call(call);
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_writes_survive_a_power_cut_at_any_call() {
    let start = Instant::now();
    let trace = Trace::record(1, TRACE_WRITES).await;
    let calls = trace.disk.calls();
    let stride = if is_whole() { 1 } else { calls / SAMPLED_CUTS + 1 };
    let mut told = Instant::now();
    let done = cut(&trace, 1, |at| {
        if is_whole() && told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("power cut at call {at} of {calls}");
        }
        at % stride == 0
    })
    .await;
    eprintln!(
        "{TRACE_WRITES} writes, {calls} calls, {done} power cuts in {:.1?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_traces_survive_random_power_cuts() {
    let start = Instant::now();
    let (mut cuts, mut told) = (0, Instant::now());
    let seeds = seeds(SEEDS, SAMPLED_SEEDS);
    for seed in &seeds {
        let trace = Trace::record(*seed, SHORT_WRITES).await;
        let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
        let calls = trace.disk.calls();
        let picked: Vec<usize> = (0..CUTS_PER_SEED)
            .map(|_| random.random_range(0..=calls))
            .collect();
        cuts += cut(&trace, *seed, |at| picked.contains(&at)).await;
        if is_whole() && told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("seed {seed} of {}", seeds.len());
        }
    }
    eprintln!(
        "{} seeds, {cuts} power cuts in {:.1?}",
        seeds.len(),
        start.elapsed()
    );
}
