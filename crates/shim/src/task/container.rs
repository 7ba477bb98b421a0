//! A container, its processes, and what is known of them.

use super::lifecycle::Lifecycle;
use crate::cgroups::{Cgroup, Watch};
use crate::proto::Timestamp;
use crate::proto::task::StateResponse;
use crate::reaper::Exit;
use crate::runc::Caller;
use crate::stdio::{Names, Owner, Streams};
use crate::ttrpc::{Code, Refusal};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A process of a container.
pub struct Process {
    /// Empty for the container's first.
    pub exec_id: String,
    pub names: Names,
    pub lifecycle: RefCell<Lifecycle>,
    /// None until the process exists.
    pub streams: RefCell<Option<Streams>>,
    /// The OCI process of an exec, until it is started.
    pub spec: RefCell<Vec<u8>>,
    end: watch::Sender<Option<Exit>>,
    is_starting: watch::Sender<bool>,
}

impl Process {
    pub fn new(exec_id: String, names: Names, lifecycle: Lifecycle) -> Self {
        Self {
            exec_id,
            names,
            lifecycle: RefCell::new(lifecycle),
            streams: RefCell::new(None),
            spec: RefCell::default(),
            end: watch::Sender::new(None),
            is_starting: watch::Sender::new(false),
        }
    }

    pub fn set_starting(&self, is_starting: bool) {
        self.is_starting.send_replace(is_starting);
    }

    /// Until runc, if it is starting it, has come to an end.
    pub async fn start_over(&self) {
        // The sender lives as long as `self`.
        let _ = self
            .is_starting
            .subscribe()
            .wait_for(|is_starting| !is_starting)
            .await;
    }

    /// Tells those who wait.
    pub fn tell_end(&self, exit: Exit) {
        self.end.send_replace(Some(exit));
    }

    pub async fn ended(&self) -> Exit {
        let mut end = self.end.subscribe();
        // The sender lives as long as `self`.
        let exit = end.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        exit.unwrap_or_else(|| Exit::now(u32::MAX))
    }

    pub fn pid(&self) -> u32 {
        self.lifecycle.borrow().pid().unwrap_or_default().cast_unsigned()
    }

    /// Where its streams end, when it is deleted.
    pub async fn finish_streams(&self) {
        let streams = self.streams.borrow_mut().take();
        if let Some(streams) = streams {
            streams.finish().await;
        }
    }
}

/// A container.
pub struct Container {
    pub caller: Caller,
    pub init: Rc<Process>,
    pub execs: RefCell<HashMap<String, Rc<Process>>>,
    pub cgroup: Option<Cgroup>,
    pub oom: Option<Watch>,
    /// Who follows it, until the container is deleted.
    pub oom_followed: RefCell<Option<AbortHandle>>,
    /// Whether the kernel ends all its processes with the first.
    pub has_own_pids: bool,
    pub owner: Owner,
}

impl Container {
    pub fn id(&self) -> &str {
        &self.caller.id
    }

    /// Its cgroup is known and nobody is in it.
    pub fn has_no_process(&self) -> bool {
        self.cgroup.as_ref().is_some_and(Cgroup::is_empty)
    }

    /// Its first process has ended, and no other is there.
    pub fn is_over(&self) -> bool {
        self.init.lifecycle.borrow().exit().is_some() && self.has_no_process()
    }

    /// The first process, or an exec.
    pub fn process(&self, exec_id: &str) -> Result<Rc<Process>, Refusal> {
        if exec_id.is_empty() {
            return Ok(self.init.clone());
        }
        self.execs.borrow().get(exec_id).cloned().ok_or_else(|| {
            Refusal::new(
                Code::NotFound,
                format!("process {exec_id} of container {}: not found", self.id()),
            )
        })
    }

    pub fn state(&self, process: &Process) -> StateResponse {
        let lifecycle = process.lifecycle.borrow();
        let exit = lifecycle.exit();
        let names = process.names.clone();
        StateResponse {
            id: self.id().to_owned(),
            bundle: self.caller.bundle.display().to_string(),
            pid: lifecycle.pid().unwrap_or_default().cast_unsigned(),
            status: lifecycle.status() as i32,
            stdin: names.stdin,
            stdout: names.stdout,
            stderr: names.stderr,
            terminal: names.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| Timestamp::from(exit.at)),
            exec_id: process.exec_id.clone(),
        }
    }
}
