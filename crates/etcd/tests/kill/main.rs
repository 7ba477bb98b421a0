//! `kill -9` of a real process under load: what clients were told is compared with what is there.
//!
//! `make test` runs a few rounds; `make torture` sets `ORLOP_TORTURE=1` for all of them. A failure
//! names its seed; `ORLOP_SEED=n` begins with that one.
#![allow(clippy::unwrap_used)]
mod check;
mod clients;
mod process;

use check::Log;
use clients::{Clients, Watcher};
use process::Process;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 200;
/// What `make test` takes of them.
const SAMPLED_ROUNDS: u64 = 5;
const CLIENTS: u64 = 8;
const WATCHERS: usize = 2;
/// The load runs this long before the process is killed, in milliseconds.
const LOAD_MILLISECONDS: std::ops::Range<u64> = 50..400;

/// Not a test: the process that is killed, when this program is started again for it.
#[test]
fn the_process() {
    process::serve_if_asked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9_in_one_order() {
    let start = Instant::now();
    let is_whole = std::env::var_os("ORLOP_TORTURE").is_some();
    let first = std::env::var("ORLOP_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0);
    let rounds = if is_whole { ROUNDS } else { SAMPLED_ROUNDS };
    let data = tempfile::tempdir().unwrap();
    let mut watchers: Vec<Watcher> = (0..WATCHERS).map(|_| Watcher::default()).collect();
    let mut history = Vec::new();
    for seed in first..first + rounds {
        let mut random = StdRng::seed_from_u64(seed);
        let process = Process::start(data.path()).await;
        let clients = Clients::start(&process.url, seed, CLIENTS).await;
        let watching: Vec<_> = watchers
            .into_iter()
            .map(|watcher| watcher.follow(&process.url))
            .collect();
        tokio::time::sleep(Duration::from_millis(random.random_range(LOAD_MILLISECONDS))).await;
        process.kill();
        history.extend(clients.stop().await);
        watchers = Vec::new();
        for one in watching {
            watchers.push(one.await.unwrap());
        }
        if is_whole && seed % 20 == 19 {
            eprintln!("round {} of {rounds}: {} calls", seed + 1, history.len());
        }
    }
    let process = Process::start(data.path()).await;
    let log = Log::read(&process.url).await;
    let told = format!("seeds {first}..{}", first + rounds);
    check::history(&history, &log).unwrap_or_else(|why| panic!("{told}: {why}"));
    for watcher in &watchers {
        watcher.check(&log).unwrap_or_else(|why| panic!("{told}: {why}"));
    }
    let unknown = history.iter().filter(|call| call.outcome.is_none()).count();
    eprintln!(
        "{rounds} rounds, {} calls, {unknown} of them cut off, {} revisions in {:.1?}",
        history.len(),
        log.revisions(),
        start.elapsed()
    );
    assert!(log.revisions() > rounds, "the load wrote next to nothing");
}
