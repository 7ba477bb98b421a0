//! Controllers and scheduler against an API server in memory that misbehaves by a seed: answers are lost, late or
//! refused, watches break, stall and miss what happened, the parts crash between any two calls, nodes vanish and return.
//! Everything runs on one thread under a clock that only waits move, so a seed always gives the same run.
//!
//! | file | what it is |
//! |---|---|
//! | `determinism` | clock and randomness of a run |
//! | `api/` | the API server: objects, writes, watches, HTTP |
//! | `faults` | what goes wrong, and when a part crashes |
//! | `agents` | hollow nodes and what runs on them |
//! | `story` | what users do meanwhile |
//! | `invariants` | what must hold at every write, and at the end |
//! | `run` | one seed from start to end |
//! | `slow` | single cases that take minutes of the simulated clock |
//!
//! `ORLOP_SIM_SEEDS=n` sets how many seeds are run, `ORLOP_SIM_SEED=n` runs one alone and prints what it writes.
#![allow(clippy::unwrap_used)]

mod agents;
mod api;
mod determinism;
mod faults;
mod invariants;
mod random;
mod run;
mod slow;
mod story;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of an ordinary test run: what fits beside the other tests.
const SEEDS: u64 = 40;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn daemon_sets_converge_and_never_break_their_promises_whatever_goes_wrong() {
    if let Some(seed) = number("ORLOP_SIM_SEED") {
        let outcome = run::run(seed, true);
        println!(
            "seed {seed}: {} writes, trace {:016x}",
            outcome.writes, outcome.trace
        );
        if let Some(broken) = outcome.broken {
            panic!("{broken}");
        }
        return;
    }
    let seeds = number("ORLOP_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(1);
    let (failed, writes) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let outcome = run::run(seed, false);
                    writes.fetch_add(outcome.writes, Ordering::Relaxed);
                    if let Some(broken) = outcome.broken {
                        eprintln!("ORLOP_SIM_SEED={seed}: {broken}");
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_unstable();
    println!("{seeds} seeds, {} writes", writes.into_inner());
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds failed: {failed:?}; run one alone with ORLOP_SIM_SEED=n",
        failed.len()
    );
}

#[test]
fn a_seed_always_gives_the_same_run() {
    for seed in [3, 4] {
        let (first, second) = (run::run(seed, false), run::run(seed, false));
        assert_eq!(
            (first.writes, first.trace),
            (second.writes, second.trace),
            "seed {seed}"
        );
    }
    assert_ne!(run::run(5, false).trace, run::run(6, false).trace);
}
