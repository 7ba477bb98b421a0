//! What the node agent withstands, on a real containerd, without an API server or with one in trouble.
//!
//! `make test` runs a few rounds of what is drawn by lot; `make torture` sets `ORLOP_TORTURE=1` for all of them. A
//! failure names its seed; `ORLOP_SEED=n` begins with that one.
#![allow(clippy::unwrap_used)]
mod alone;
mod api_away;
mod directory;
mod hung;
mod kill;
mod local_api;
mod machine;
mod pods;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::ops::Range;
use std::time::Duration;

/// Whether there is time for everything.
fn is_torture() -> bool {
    std::env::var_os("ORLOP_TORTURE").is_some()
}

fn first_seed() -> u64 {
    let given = std::env::var("ORLOP_SEED").ok();
    given.and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn any_moment(random: &mut StdRng, milliseconds: Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(milliseconds))
}
