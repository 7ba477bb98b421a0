//! Who has ended. As subreaper the shim is parent of all that runc leaves behind, so every end is known here, and
//! nothing in between can take it away or reuse its pid.

use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, WaitStatus, wait, waitid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::sync::oneshot;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, or 128 and the signal's number.
    pub status: u32,
    pub at: SystemTime,
}

impl Exit {
    /// An end at this moment.
    pub fn now(status: u32) -> Self {
        Self {
            status,
            at: SystemTime::now(),
        }
    }

    fn of(status: WaitStatus) -> Self {
        const SIGNALLED: i32 = 128;
        let code = status
            .exit_status()
            .or_else(|| status.terminating_signal().map(|signal| SIGNALLED + signal));
        Self::now(code.and_then(|code| u32::try_from(code).ok()).unwrap_or_default())
    }
}

/// Ends, and who waits for them.
#[derive(Default)]
struct Ends {
    waited_for: HashMap<i32, oneshot::Sender<Exit>>,
    /// Ends of processes that runc was just starting: they may come before runc says whom it started.
    early: HashMap<i32, Exit>,
    /// How many runcs are starting something.
    starts: usize,
}

impl Ends {
    /// An early end is this process's only if nobody `is_there` under its pid: pids are used again, and an orphan may have
    /// had this one before.
    fn wait_for(&mut self, pid: i32, is_there: bool) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        match self.early.remove(&pid).filter(|_| !is_there) {
            Some(exit) => drop(sender.send(exit)),
            None => drop(self.waited_for.insert(pid, sender)),
        }
        receiver
    }

    fn ended(&mut self, pid: i32, exit: Exit) {
        match self.waited_for.remove(&pid) {
            Some(sender) => drop(sender.send(exit)),
            None if self.starts > 0 => drop(self.early.insert(pid, exit)),
            // An orphan of a container.
            None => {}
        }
    }

    fn start_ended(&mut self) {
        self.starts -= 1;
        if self.starts == 0 {
            self.early.clear();
        }
    }
}

/// The one place that waits for children.
#[derive(Clone, Default)]
pub struct Reaper(Rc<RefCell<Ends>>);

/// While it lives, the ends of unknown processes are kept.
pub struct Start(Reaper);

impl Drop for Start {
    fn drop(&mut self) {
        self.0.0.borrow_mut().start_ended();
    }
}

impl Reaper {
    /// To be held from before runc is run until [`Reaper::wait_for`] has the pid it tells.
    pub fn start(&self) -> Start {
        self.0.borrow_mut().starts += 1;
        Start(self.clone())
    }

    /// The end of a child. Between its start and this call nothing may be awaited, or a [`Start`] must be held.
    pub fn wait_for(&self, pid: i32) -> oneshot::Receiver<Exit> {
        self.0.borrow_mut().wait_for(pid, is_child(pid))
    }

    /// Whether a process that is waited for is there still, be it as a zombie: until then nobody else has its pid.
    pub fn holds(&self, pid: i32) -> bool {
        self.0.borrow().waited_for.contains_key(&pid)
    }

    /// Looks at all who have ended, when the kernel says that some have.
    pub fn reap(&self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if status.exited() || status.signaled() {
                self.0
                    .borrow_mut()
                    .ended(pid.as_raw_nonzero().get(), Exit::of(status));
            }
        }
    }
}

/// Whether this process has a child of that pid whose end was not taken yet.
fn is_child(pid: i32) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Pid::from_raw(pid).is_some_and(|pid| waitid(WaitId::Pid(pid), options).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_reaches_who_waits() {
        let mut ends = Ends::default();
        let mut waiting = ends.wait_for(5, true);
        ends.ended(4, Exit::now(0));
        assert!(waiting.try_recv().is_err());
        ends.ended(5, Exit::now(3));
        assert_eq!(waiting.try_recv().unwrap().status, 3);
    }

    #[test]
    fn end_before_the_pid_is_known_is_kept_while_something_starts() {
        let reaper = Reaper::default();
        let ended = |pid, status| reaper.0.borrow_mut().ended(pid, Exit::now(status));
        ended(4, 1);
        let start = reaper.start();
        ended(5, 2);
        assert!(reaper.wait_for(4).try_recv().is_err(), "nothing was starting");
        assert_eq!(reaper.wait_for(5).try_recv().unwrap().status, 2);
        ended(6, 3);
        drop(start);
        assert!(reaper.0.borrow().early.is_empty(), "nothing piles up");
    }

    #[test]
    fn end_of_who_had_the_pid_before_is_nobodys() {
        let reaper = Reaper::default();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id().cast_signed();
        let start = reaper.start();
        reaper.0.borrow_mut().ended(pid, Exit::now(0));
        let mut waiting = reaper.wait_for(pid);
        drop(start);
        assert!(waiting.try_recv().is_err(), "it runs");
        assert!(reaper.holds(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        reaper.0.borrow_mut().ended(pid, Exit::now(137));
        assert_eq!(waiting.try_recv().unwrap().status, 137);
        assert!(!reaper.holds(pid), "its pid may be another's");
    }

    #[test]
    #[allow(clippy::zombie_processes, reason = "waited for by its pid")]
    fn signals_are_told_as_shells_do() {
        let child = std::process::Command::new("sh")
            .args(["-c", "kill -9 $$"])
            .spawn()
            .unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::empty())
            .unwrap()
            .unwrap();
        assert_eq!(Exit::of(status).status, 137);
    }
}
