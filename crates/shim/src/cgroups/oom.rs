//! Kills for want of memory. The kernel wakes us (an eventfd in v1, inotify in v2), its counter says whether somebody of
//! this container was killed: v1 wakes all containers of a pod that runs out.

use super::place::Cgroup;
use super::stats::Keyed;
use crate::ready::watched;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// v1 wakes before it kills: how long to look for the kill, with growing waits in between.
const LOOKS: u32 = 6;
const LOOK_FIRST: Duration = Duration::from_millis(5);

/// The count of kills of one container.
pub struct Watch {
    /// The file that has the counter.
    counter: PathBuf,
    is_v1: bool,
    /// As last told.
    told: Cell<u64>,
}

impl Watch {
    /// `None` where memory isn't counted.
    pub fn of(cgroup: &Cgroup) -> Option<Self> {
        let (counter, is_v1) = match cgroup {
            Cgroup::V1(v1) => (v1.memory.as_ref()?.join("memory.oom_control"), true),
            Cgroup::V2(directory) => (directory.join("memory.events"), false),
        };
        let told = Cell::new(count(&counter)?);
        Some(Self { counter, is_v1, told })
    }

    /// Whether there were kills since the last call. Also asked when the container has ended: the kernel's word on that
    /// may come before its word on why.
    pub fn has_news(&self) -> bool {
        let count = count(&self.counter).unwrap_or_default();
        count > self.told.replace(count.max(self.told.get()))
    }

    /// Calls `tell` for kills as they happen, until the cgroup is gone.
    pub async fn follow(&self, tell: impl Fn()) -> std::io::Result<()> {
        let fd = self.bell()?;
        let mut buffer = [0; 256];
        loop {
            let read = fd
                .async_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut buffer)?))
                .await?;
            if read == 0 || count(&self.counter).is_none() {
                return Ok(());
            }
            let mut delay = LOOK_FIRST;
            for _ in 0..LOOKS {
                if self.has_news() {
                    tell();
                    break;
                }
                if !self.is_v1 {
                    break;
                }
                tokio::time::sleep(delay).await;
                delay *= 2;
            }
        }
    }

    /// What becomes readable when the kernel has something to say.
    fn bell(&self) -> std::io::Result<AsyncFd<OwnedFd>> {
        let fd = if self.is_v1 {
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let control = File::open(&self.counter)?;
            let directory = self.counter.parent().unwrap_or(Path::new("/"));
            std::fs::write(
                directory.join("cgroup.event_control"),
                format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()),
            )?;
            fd
        } else {
            let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            inotify::add_watch(&fd, &self.counter, WatchFlags::MODIFY)?;
            fd
        };
        watched(fd, Interest::READABLE)
    }
}

/// Kills so far; `None` when the cgroup is gone.
fn count(counter: &Path) -> Option<u64> {
    Some(Keyed::read(counter)?.get("oom_kill"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kill_is_news_once() {
        let directory = tempfile::tempdir().unwrap();
        let events = directory.path().join("memory.events");
        std::fs::write(&events, "oom 1\noom_kill 1\n").unwrap();
        let watch = Watch::of(&Cgroup::V2(directory.path().to_owned())).unwrap();
        assert!(!watch.has_news(), "an earlier kill");
        std::fs::write(&events, "oom 2\noom_kill 3\n").unwrap();
        assert!(watch.has_news());
        assert!(!watch.has_news());
        std::fs::remove_file(&events).unwrap();
        assert!(!watch.has_news());
    }

    #[tokio::test]
    async fn kill_in_v2_wakes_who_follows() {
        let directory = tempfile::tempdir().unwrap();
        let events = directory.path().join("memory.events");
        std::fs::write(&events, "oom_kill 0\n").unwrap();
        let watch = Watch::of(&Cgroup::V2(directory.path().to_owned())).unwrap();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let followed = watch.follow(move || {
            let _ = sender.send(());
        });
        let written = async {
            // As often as it takes for the watch to be there.
            for kills in 1.. {
                std::fs::write(&events, format!("oom_kill {kills}\n")).unwrap();
                if tokio::time::timeout(Duration::from_millis(20), told.recv())
                    .await
                    .is_ok()
                {
                    return;
                }
            }
        };
        tokio::select! {
            outcome = followed => panic!("ended early: {outcome:?}"),
            () = written => {}
        }
    }
}
