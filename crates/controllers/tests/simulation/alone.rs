//! A seed in a process of its own: this very program, asked for one test and one seed.

use std::fmt;
use std::process::Command;

use crate::run::Outcome;

/// The variable that names the one seed to run.
pub const SEED: &str = "ORLOP_SIM_SEED";
/// The variable that says not to print what is written.
pub const BRIEFLY: &str = "ORLOP_SIM_BRIEFLY";

/// What a process tells of its run.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub writes: u64,
    pub trace: u64,
}

impl From<&Outcome> for Told {
    fn from(outcome: &Outcome) -> Self {
        Self {
            writes: outcome.writes,
            trace: outcome.trace,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run: {} writes, trace {:016x}", self.writes, self.trace)
    }
}

impl Told {
    fn parse(line: &str) -> Option<Self> {
        let (writes, trace) = line.strip_prefix("run: ")?.split_once(" writes, trace ")?;
        Some(Self {
            writes: writes.parse().ok()?,
            trace: u64::from_str_radix(trace, 16).ok()?,
        })
    }
}

/// Runs `seed`; what broke, if it failed.
pub fn run(seed: u64) -> Result<Told, String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("daemon_sets_converge_and_never_break_their_promises_whatever_goes_wrong")
        .env(SEED, seed.to_string())
        .env(BRIEFLY, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .map_err(|error| format!("can't start a process for the seed: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let told = told.lines().find_map(Told::parse);
    told.ok_or_else(|| "the run ended without a word about it".to_owned())
}
