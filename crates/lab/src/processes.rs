//! Processes below another.
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::str::FromStr;

/// Rounds in which a tree that is forking is looked at anew.
const ROUNDS: usize = 5;

/// A field of a process's `stat` line, counted from behind its name, which is in parentheses and may hold anything.
fn field<T: FromStr>(stat: &str, nth: usize) -> Option<T> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(nth)?.parse().ok()
}

/// The parent of a process, from its `stat` line.
fn parent_of(stat: &str) -> Option<i32> {
    field(stat, 1)
}

/// When a process was started, in clock ticks since the boot; `None`: there is none.
pub fn start_of(pid: i32) -> Option<u64> {
    start_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn start_in(stat: &str) -> Option<u64> {
    field(stat, 19)
}

fn all() -> Vec<(i32, i32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent_of(&stat)?))
        })
        .collect()
}

/// `pid` and everything below it.
pub fn tree(pid: i32) -> Vec<i32> {
    let all = all();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(
            all.iter()
                .filter(|(_, above)| *above == parent)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    found
}

/// The name of the program that a process runs, as it was called.
pub fn program_of(pid: i32) -> Option<String> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = words.split(|byte| *byte == 0).next()?;
    let name = first.rsplit(|byte| *byte == b'/').next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Sends a signal to everything below a process, until nothing new appears.
pub fn signal_tree(pid: i32, signal: Signal) {
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<i32> = tree(pid).into_iter().filter(|pid| told.insert(*pid)).collect();
        if fresh.is_empty() {
            return;
        }
        for pid in fresh {
            // Gone meanwhile: nobody to tell.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// The only child of a process, when it has one.
pub fn child_of(pid: i32) -> Option<i32> {
    all()
        .into_iter()
        .find(|(_, parent)| *parent == pid)
        .map(|(child, _)| child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_may_hold_anything() {
        assert_eq!(parent_of("12 (a) b) S 7 12 12"), Some(7));
        assert_eq!(parent_of("nonsense"), None);
        let stat = "12 (a) b) S 7 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 8 9";
        assert_eq!(start_in(stat), Some(4711));
    }
}
