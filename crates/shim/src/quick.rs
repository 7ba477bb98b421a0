//! What runc does to a container's files alone, done without a process of its: to start one is to read from a FIFO that
//! its first process waits at, to forget one is to remove its cgroup and what runc noted of it. Whatever is out of the
//! ordinary is left to runc, which then finds all as it was.

use crate::ready::watched;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::Path;
use tokio::io::Interest;
use tokio::net::unix::pipe;

/// Where the first process writes a byte before it becomes what the container runs.
const FIFO: &str = "exec.fifo";
/// What runc notes of a container. Others call their file otherwise, and wait the other way round.
const STATE: &str = "state.json";

#[derive(Debug, Deserialize)]
struct State {
    cgroup_paths: HashMap<String, String>,
    #[serde(default)]
    intel_rdt_path: String,
}

/// Whether the container of which runc keeps `state` was started: its first process, `pid`, was let go. That process is
/// this one's child and not waited for yet.
pub async fn start(state: &Path, pid: i32) -> bool {
    // With systemd's socket the container's readiness has to be told on.
    if !state.join(STATE).is_file() || std::env::var_os("NOTIFY_SOCKET").is_some() {
        return false;
    }
    let end = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let end = end.and_then(|end| watched(end, Interest::READABLE).ok());
    let (Some(end), Ok(waiting)) = (end, pipe::OpenOptions::new().open_receiver(state.join(FIFO))) else {
        return false;
    };
    let is_let_go = tokio::select! {
        biased;
        is_let_go = read(&waiting) => is_let_go,
        _ = end.readable() => false,
    };
    if is_let_go {
        // It is there for those who ask runc for the container's state.
        let _ = std::fs::remove_file(state.join(FIFO));
    }
    is_let_go
}

/// Whether there was something to read before the other end was closed.
async fn read(waiting: &pipe::Receiver) -> bool {
    let mut byte = [0; 1];
    loop {
        if waiting.readable().await.is_err() {
            return false;
        }
        match waiting.try_read(&mut byte) {
            Ok(read) => return read > 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
}

/// Whether nothing is left of a container whose processes have ended, of which runc keeps `state`.
pub fn forget(state: &Path) -> bool {
    let noted = std::fs::read(state.join(STATE)).ok();
    let Some(noted) = noted.and_then(|text| serde_json::from_slice::<State>(&text).ok()) else {
        return false;
    };
    if !noted.intel_rdt_path.is_empty() {
        return false;
    }
    let cgroups: BTreeSet<&String> = noted.cgroup_paths.values().collect();
    let removed = cgroups.into_iter().filter(|path| !path.is_empty()).all(|path| {
        std::fs::remove_dir(path).map_or_else(|error| error.kind() == ErrorKind::NotFound, |()| true)
    });
    // Last: what is there says that there is something to do.
    removed && std::fs::remove_dir_all(state).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::process::{Child, Command};

    fn state(cgroups: &serde_json::Value) -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        let noted = serde_json::json!({"id": "c", "cgroup_paths": cgroups, "intel_rdt_path": ""});
        std::fs::write(state.path().join(STATE), noted.to_string()).unwrap();
        mknodat(
            CWD,
            state.path().join(FIFO),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        state
    }

    /// A first process that does this, where `$0` is the FIFO.
    fn first(state: &Path, does: &str) -> Child {
        let fifo = state.join(FIFO);
        Command::new("sh").args(["-c", does]).arg(fifo).spawn().unwrap()
    }

    async fn started(state: &Path, does: &str) -> bool {
        let mut first = first(state, does);
        let started = start(state, first.id().cast_signed()).await;
        first.kill().unwrap();
        first.wait().unwrap();
        started
    }

    #[tokio::test]
    async fn who_waits_at_the_fifo_is_let_go() {
        let state = state(&serde_json::json!({}));
        assert!(started(state.path(), "sleep 0.1; printf 0 > \"$0\"; exec sleep 100").await);
        assert!(!state.path().join(FIFO).exists());
    }

    #[tokio::test]
    async fn what_is_out_of_the_ordinary_is_left_to_runc() {
        let state = state(&serde_json::json!({}));
        for does in ["exit 1", ": > \"$0\"; exec sleep 100"] {
            assert!(!started(state.path(), does).await, "{does}");
            assert!(state.path().join(FIFO).exists(), "{does}");
        }
        std::fs::remove_file(state.path().join(STATE)).unwrap();
        assert!(!started(state.path(), "printf 0 > \"$0\"").await, "not runc's");
        let nothing = tempfile::tempdir().unwrap();
        assert!(!start(nothing.path(), std::process::id().cast_signed()).await);
        assert!(!forget(nothing.path()));
    }

    #[test]
    fn cgroups_go_and_then_what_was_noted() {
        let cgroups = tempfile::tempdir().unwrap();
        let path = |name: &str| cgroups.path().join(name);
        std::fs::create_dir_all(path("cpu")).unwrap();
        std::fs::create_dir_all(path("memory/nested")).unwrap();
        let state = state(&serde_json::json!({"cpu": path("cpu"), "cpuacct": path("cpu"),
            "memory": path("memory"), "gone": path("gone"), "none": ""}));
        assert!(!forget(state.path()), "something is in it");
        assert!(state.path().exists() && path("memory").exists());
        std::fs::remove_dir(path("memory/nested")).unwrap();
        assert!(forget(state.path()));
        assert!(!state.path().exists() && !path("memory").exists() && !path("cpu").exists());
    }
}
