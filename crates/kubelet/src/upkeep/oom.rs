//! What the kernel kills for want of memory outside of pods is told on the Node (contract, node agent §18.2). The kernel's
//! log says it; nothing is read again that was there before.
use orlop_client::events::{EventType, Recorder, node_reference};
use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};
use rustix::io::{Errno, read};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The kernel's log, a record a read.
const LOG: &str = "/dev/kmsg";
/// The kernel's own limit of a record.
const RECORD_BYTES_MAX: usize = 8192;
/// Names of the cgroup that all pods are in.
const OF_PODS: [&str; 2] = ["kubepods", "kubepods.slice"];

/// A process that was killed.
#[derive(Debug, PartialEq, Eq)]
struct Victim<'a> {
    cgroup: &'a str,
    process: &'a str,
    pid: u32,
}

impl<'a> Victim<'a> {
    /// Reads a record: `6,1,2,-;oom-kill:constraint=…,task_memcg=/a,task=stress,pid=12,uid=0`. Paths and names may hold
    /// anything, so it is read from its end.
    fn of(record: &'a str) -> Option<Self> {
        let (_, text) = record.split_once(';')?;
        let text = text.lines().next()?.strip_prefix("oom-kill:")?;
        let (front, _uid) = text.rsplit_once(",uid=")?;
        let (front, pid) = front.rsplit_once(",pid=")?;
        let (front, process) = front.rsplit_once(",task=")?;
        let (_, cgroup) = front.rsplit_once(",task_memcg=")?;
        Some(Self {
            cgroup,
            process,
            pid: pid.parse().ok()?,
        })
    }

    fn is_of_a_pod(&self) -> bool {
        self.cgroup.split('/').any(|part| OF_PODS.contains(&part))
    }
}

/// Tells of victims for ever, or until the log cannot be read.
pub async fn run(recorder: Recorder, node_name: String) {
    let log = match follow() {
        Ok(log) => log,
        Err(error) => {
            tracing::info!(%error, "{LOG} cannot be read: what the kernel kills outside of pods is not told on the Node");
            return;
        }
    };
    let mut buffer = [0; RECORD_BYTES_MAX];
    loop {
        let took = log.async_io(Interest::READABLE, |log| Ok(read(log, &mut buffer)?));
        let length = match took.await {
            Ok(length) => length,
            // Records were overwritten before they were read.
            Err(error) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => continue,
            Err(error) => {
                tracing::warn!(%error, "{LOG} cannot be read any more");
                return;
            }
        };
        let record = String::from_utf8_lossy(&buffer[..length]);
        let Some(victim) = Victim::of(&record).filter(|victim| !victim.is_of_a_pod()) else {
            continue;
        };
        let Victim { process, pid, cgroup } = victim;
        tracing::warn!(
            process,
            pid,
            cgroup,
            "the kernel killed a process for want of memory"
        );
        let message = format!("System OOM encountered, victim process: {process}, pid: {pid}");
        recorder.event(
            &node_reference(&node_name),
            EventType::Warning,
            "SystemOOM",
            message,
        );
    }
}

/// The log from now on.
fn follow() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = open(LOG, flags, Mode::empty())?;
    seek(&log, SeekFrom::End(0))?;
    // SAFETY: an `OwnedFd` keeps one descriptor open until it is dropped, which `AsyncFd` does after deregistering it.
    Ok(unsafe { AsyncFd::register_with_interest(log, Interest::READABLE)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOBAL: &str = "6,1042,88123,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,\
        global_oom,task_memcg=/system.slice/a,b.service,task=my, task,pid=712,uid=0\n SUBSYSTEM=x\n";

    #[test]
    fn victims_are_read_from_the_kernels_records() {
        let expected = Victim {
            cgroup: "/system.slice/a,b.service",
            process: "my, task",
            pid: 712,
        };
        assert_eq!(Victim::of(GLOBAL), Some(expected));
        for other in [
            "6,1,2,-;usb 1-1: new device",
            "no record",
            "6,1,2,-;oom-kill:constraint=x",
        ] {
            assert_eq!(Victim::of(other), None, "{other}");
        }
    }

    #[test]
    fn processes_of_pods_are_told_of_with_their_pods_alone() {
        for (cgroup, is_of_a_pod) in [
            ("/kubepods/burstable/podx/c", true),
            ("/orlop/kubepods/podx/c", true),
            ("/kubepods.slice/kubepods-besteffort.slice/a.scope", true),
            ("/system.slice/kubepods-exporter.service", false),
            ("/", false),
        ] {
            let victim = Victim {
                cgroup,
                process: "p",
                pid: 1,
            };
            assert_eq!(victim.is_of_a_pod(), is_of_a_pod, "{cgroup}");
        }
    }
}
