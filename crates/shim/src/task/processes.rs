//! Processes start, are heard of, and end.

use super::Tasks;
use super::container::{Container, Process};
use super::lifecycle::{Lifecycle, Tell};
use crate::events::Topic;
use crate::log;
use crate::mounts;
use crate::proto::events::{OfContainer, TaskDelete, TaskExec, TaskExit, TaskStart};
use crate::proto::task::{DeleteResponse, ExecRequest, PidResponse, ProcessRequest, WaitResponse};
use crate::proto::{Empty, Timestamp};
use crate::reaper::Exit;
use crate::runc::RuncError;
use crate::stdio::Names;
use crate::ttrpc::{Code, Refusal};
use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

pub(super) const SIGKILL: u32 = 9;

impl Tasks {
    pub(super) fn exec(&self, request: ExecRequest) -> Result<Empty, Refusal> {
        let container = self.container(&request.id)?;
        let id = request.exec_id;
        if id.is_empty() || id.contains('/') {
            return Err(Refusal::new(
                Code::InvalidArgument,
                format!("exec id {id:?} is no name"),
            ));
        }
        let names = Names {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let process = Process::new(id.clone(), names, Lifecycle::created(None));
        process.spec.replace(request.spec.unwrap_or_default().value);
        {
            let mut execs = container.execs.borrow_mut();
            if execs.contains_key(&id) {
                return Err(Refusal::new(
                    Code::AlreadyExists,
                    format!("exec {id}: already exists"),
                ));
            }
            execs.insert(id.clone(), Rc::new(process));
        }
        let event = TaskExec {
            container_id: request.id,
            exec_id: id,
            pid: 0,
        };
        self.publisher.publish(Topic::ExecAdded, &event);
        Ok(Empty {})
    }

    pub(super) async fn start(&self, request: &ProcessRequest) -> Result<PidResponse, Refusal> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        process.lifecycle.borrow_mut().begin_start()?;
        process.set_starting(true);
        let started = if process.exec_id.is_empty() {
            self.start_init(&container).await
        } else {
            self.start_exec(&container, &process).await
        };
        let outcome = match started {
            Ok(pid) => {
                let tell = process.lifecycle.borrow_mut().started(pid);
                for tell in tell {
                    self.tell(&container, &process, tell);
                }
                Ok(PidResponse {
                    pid: pid.cast_unsigned(),
                })
            }
            Err(refusal) => {
                let is_exec = !process.exec_id.is_empty();
                let tell = process.lifecycle.borrow_mut().start_failed(is_exec);
                if let Some(tell) = tell {
                    self.tell(&container, &process, tell);
                }
                let exit = process.lifecycle.borrow().exit();
                if let Some(exit) = exit {
                    process.tell_end(exit);
                }
                Err(refusal)
            }
        };
        process.set_starting(false);
        outcome
    }

    async fn start_init(&self, container: &Container) -> Result<i32, Refusal> {
        let pid = {
            let lifecycle = container.init.lifecycle.borrow();
            lifecycle.to_signal().ok().filter(|_| !lifecycle.is_paused())
        };
        container
            .caller
            .start(pid)
            .await
            .map_err(|error| Refusal::unknown(format!("OCI runtime start failed: {error}")))?;
        Ok(container.init.pid().cast_signed())
    }

    async fn start_exec(&self, container: &Rc<Container>, process: &Rc<Process>) -> Result<i32, Refusal> {
        let spec = process.spec.take();
        let start = self.reaper.start();
        let made = Cell::new(None);
        let started = self
            .with_streams(&process.names, container.owner, async |ends| {
                let pid = container.caller.exec(&process.exec_id, &spec, ends).await;
                made.set(pid.as_ref().ok().copied());
                pid
            })
            .await;
        let (pid, streams) = match started {
            Ok(started) => started,
            Err(error) => {
                if let Some(pid) = made.get() {
                    self.kill_unknown(pid);
                }
                let message = format!("OCI runtime exec failed: {}", error.message);
                return Err(Refusal::new(Code::Unknown, message));
            }
        };
        let end = self.reaper.wait_for(pid);
        drop(start);
        *process.streams.borrow_mut() = Some(streams);
        self.follow(container.clone(), process.clone(), end);
        Ok(pid)
    }

    /// Ends a process whose streams could not be connected: nobody would hear of it, or end it.
    fn kill_unknown(&self, pid: i32) {
        let _end = self.reaper.wait_for(pid);
        if self.reaper.holds(pid) {
            // SAFETY: takes two integers.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }

    /// Waits for a process's end and tells of it.
    pub(super) fn follow(
        &self,
        container: Rc<Container>,
        process: Rc<Process>,
        end: oneshot::Receiver<Exit>,
    ) {
        let this = self.this.clone();
        spawn_local(async move {
            let Ok(exit) = end.await else { return };
            let Some(tasks) = this.upgrade() else { return };
            let is_init = process.exec_id.is_empty();
            if is_init && !container.has_own_pids {
                tasks.kill_the_rest(&container).await;
            }
            // What the container died of comes before its death.
            if is_init && container.oom.as_ref().is_some_and(|watch| watch.has_news()) {
                let event = OfContainer {
                    container_id: container.id().to_owned(),
                };
                tasks.publisher.publish(Topic::Oom, &event);
            }
            let tell = process.lifecycle.borrow_mut().exited(exit);
            if let Some(tell) = tell {
                tasks.tell(&container, &process, tell);
            }
        });
    }

    /// Processes in a pid namespace of others outlive the container's first one.
    async fn kill_the_rest(&self, container: &Container) {
        if container.has_no_process() {
            return;
        }
        match container.caller.kill(SIGKILL, true).await {
            Ok(()) => {}
            // There were none.
            Err(RuncError::Failed(message)) if message.contains("not running") => {}
            Err(error) => log::warn(&format!("processes left of {}: {error}", container.id())),
        }
    }

    fn tell(&self, container: &Container, process: &Process, tell: Tell) {
        let container_id = container.id().to_owned();
        let is_init = process.exec_id.is_empty();
        let pid = process.pid();
        match tell {
            Tell::Start if is_init => self
                .publisher
                .publish(Topic::Start, &TaskStart { container_id, pid }),
            Tell::Start => {
                let exec_id = process.exec_id.clone();
                let event = TaskExec {
                    container_id,
                    exec_id,
                    pid,
                };
                self.publisher.publish(Topic::ExecStarted, &event);
            }
            Tell::Exit(exit) => {
                let id = if is_init { container.id() } else { &process.exec_id };
                let event = TaskExit {
                    id: id.to_owned(),
                    container_id,
                    pid,
                    exit_status: exit.status,
                    exited_at: Some(Timestamp::from(exit.at)),
                };
                self.publisher.publish(Topic::Exit, &event);
                process.tell_end(exit);
            }
        }
    }

    pub(super) async fn wait(&self, request: &ProcessRequest) -> Result<WaitResponse, Refusal> {
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        let exit = process.ended().await;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: Some(Timestamp::from(exit.at)),
        })
    }

    pub(super) async fn delete(&self, request: &ProcessRequest) -> Result<DeleteResponse, Refusal> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        process.start_over().await;
        process.lifecycle.borrow().check_delete()?;
        process.finish_streams().await;
        if process.exec_id.is_empty() {
            let has_ended = process.lifecycle.borrow().exit().is_some();
            container
                .caller
                .delete(has_ended)
                .await
                .map_err(|error| Refusal::unknown(format!("OCI runtime delete failed: {error}")))?;
            mounts::unmount_all(&container.caller.bundle.join("rootfs"));
        } else {
            container.execs.borrow_mut().remove(&process.exec_id);
        }
        let exit = process.lifecycle.borrow().exit();
        let answer = DeleteResponse {
            pid: process.pid(),
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| Timestamp::from(exit.at)),
        };
        if process.exec_id.is_empty() {
            self.containers.borrow_mut().remove(&request.id);
            if let Some(following) = container.oom_followed.take() {
                following.abort();
            }
            self.changed();
            let event = TaskDelete {
                container_id: request.id.clone(),
                pid: answer.pid,
                exit_status: answer.exit_status,
                exited_at: answer.exited_at,
            };
            self.publisher.publish(Topic::Delete, &event);
            if self.is_empty() {
                self.end_if_forgotten();
            }
        }
        Ok(answer)
    }
}
