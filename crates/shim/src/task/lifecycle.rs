//! What a process may do next, and what is told when. A process can end before runc says that it started it; the end is
//! told after the start all the same.

use crate::proto::task::Status;
use crate::reaper::Exit;
use crate::ttrpc::{Code, Refusal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Starting,
    Running,
    Paused,
    Stopped,
}

/// One process: a container's first, or an exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    phase: Phase,
    pid: Option<i32>,
    /// Known before it is told, while the start isn't over.
    exit: Option<Exit>,
    is_frozen: bool,
}

/// What is to be told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    Start,
    Exit(Exit),
}

impl Lifecycle {
    /// A container's first process exists before it starts, an exec doesn't.
    pub fn created(pid: Option<i32>) -> Self {
        Self {
            phase: Phase::Created,
            pid,
            exit: None,
            is_frozen: false,
        }
    }

    pub fn begin_start(&mut self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Created => {
                self.phase = Phase::Starting;
                Ok(())
            }
            Phase::Stopped => Err(precondition("cannot start a stopped process")),
            _ => Err(precondition("cannot start a process that was started before")),
        }
    }

    /// runc has started it.
    pub fn started(&mut self, pid: i32) -> Vec<Tell> {
        self.pid = Some(pid);
        self.phase = Phase::Running;
        let mut tell = vec![Tell::Start];
        tell.extend(self.exit.and_then(|exit| self.exited(exit)));
        tell
    }

    /// runc could not start it. A container's first process is there still, until it is killed; an exec never was.
    pub fn start_failed(&mut self, is_exec: bool) -> Option<Tell> {
        /// As upstream says of an exec that was none.
        const NOT_STARTED: u32 = 255;
        if is_exec {
            self.exit = Some(Exit::now(NOT_STARTED));
            self.phase = Phase::Stopped;
            return None;
        }
        self.phase = Phase::Created;
        self.exit.and_then(|exit| self.exited(exit))
    }

    /// It has ended.
    pub fn exited(&mut self, exit: Exit) -> Option<Tell> {
        self.exit = Some(exit);
        if self.phase == Phase::Starting {
            return None;
        }
        self.phase = Phase::Stopped;
        Some(Tell::Exit(exit))
    }

    /// What was created only can be frozen, too.
    pub fn paused(&mut self) {
        self.is_frozen = true;
        if self.phase == Phase::Running {
            self.phase = Phase::Paused;
        }
    }

    pub fn resumed(&mut self) {
        self.is_frozen = false;
        if self.phase == Phase::Paused {
            self.phase = Phase::Running;
        }
    }

    /// Whether it does nothing until it is resumed, not even end.
    pub fn is_paused(&self) -> bool {
        self.is_frozen
    }

    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// How it ended, once that may be told.
    pub fn exit(&self) -> Option<Exit> {
        self.exit.filter(|_| self.phase == Phase::Stopped)
    }

    /// Whom a signal goes to.
    pub fn to_signal(&self) -> Result<i32, Refusal> {
        match self.pid {
            _ if self.exit.is_some() => Err(Refusal::new(
                Code::NotFound,
                "process already finished: not found",
            )),
            Some(pid) => Ok(pid),
            None => Err(precondition("process not created")),
        }
    }

    /// Whether it may be forgotten.
    pub fn check_delete(&self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Created | Phase::Stopped => Ok(()),
            Phase::Starting | Phase::Running => Err(precondition("cannot delete a running process")),
            Phase::Paused => Err(precondition("cannot delete a paused process")),
        }
    }

    pub fn status(&self) -> Status {
        match self.phase {
            Phase::Created | Phase::Starting => Status::Created,
            Phase::Running => Status::Running,
            Phase::Paused => Status::Paused,
            Phase::Stopped => Status::Stopped,
        }
    }
}

fn precondition(message: &str) -> Refusal {
    Refusal::new(
        Code::FailedPrecondition,
        format!("{message}: failed precondition"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Lifecycle {
        let mut process = Lifecycle::created(None);
        process.begin_start().unwrap();
        assert_eq!(process.started(7), [Tell::Start]);
        process
    }

    #[test]
    fn end_during_the_start_is_told_after_it() {
        let mut process = Lifecycle::created(None);
        process.begin_start().unwrap();
        let exit = Exit::now(3);
        assert_eq!(process.exited(exit), None);
        assert_eq!(process.exit(), None);
        assert_eq!(process.started(7), [Tell::Start, Tell::Exit(exit)]);
        assert_eq!(process.exit(), Some(exit));
        assert_eq!(process.status(), Status::Stopped);
    }

    #[test]
    fn end_is_told_once() {
        let mut process = running();
        let exit = Exit::now(0);
        assert_eq!(process.exited(exit), Some(Tell::Exit(exit)));
        assert_eq!(process.begin_start().unwrap_err().code, Code::FailedPrecondition);
    }

    #[test]
    fn container_whose_start_failed_can_be_killed_and_an_exec_is_over() {
        let mut init = Lifecycle::created(Some(5));
        init.begin_start().unwrap();
        assert_eq!(init.start_failed(false), None);
        assert_eq!(init.to_signal(), Ok(5));
        let mut exec = Lifecycle::created(None);
        exec.begin_start().unwrap();
        assert_eq!(exec.start_failed(true), None);
        assert_eq!(exec.exit().unwrap().status, 255);
    }

    #[test]
    fn container_that_ended_while_its_start_failed_says_so() {
        let mut init = Lifecycle::created(Some(5));
        init.begin_start().unwrap();
        let exit = Exit::now(137);
        assert_eq!(init.exited(exit), None);
        assert_eq!(init.start_failed(false), Some(Tell::Exit(exit)));
    }

    #[test]
    fn only_what_does_not_run_is_deleted() {
        assert!(Lifecycle::created(Some(5)).check_delete().is_ok());
        let mut process = running();
        assert_eq!(process.check_delete().unwrap_err().code, Code::FailedPrecondition);
        process.paused();
        assert!(process.is_paused());
        assert!(process.check_delete().is_err());
        process.resumed();
        process.exited(Exit::now(0));
        assert!(process.check_delete().is_ok());
    }

    #[test]
    fn what_was_created_only_can_be_frozen() {
        let mut init = Lifecycle::created(Some(5));
        init.paused();
        assert!(init.is_paused());
        assert_eq!(init.status(), Status::Created);
        init.resumed();
        assert!(!init.is_paused());
    }

    #[test]
    fn ended_processes_get_no_signals() {
        assert_eq!(
            Lifecycle::created(None).to_signal().unwrap_err().code,
            Code::FailedPrecondition
        );
        let mut process = running();
        assert_eq!(process.to_signal(), Ok(7));
        process.exited(Exit::now(0));
        assert_eq!(process.to_signal().unwrap_err().code, Code::NotFound);
    }
}
