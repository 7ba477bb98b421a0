//! The calls about what is there already.

use super::Tasks;
use super::processes::SIGKILL;
use crate::events::Topic;
use crate::proto::Empty;
use crate::proto::events::OfContainer;
use crate::proto::options::{CHECKPOINT_OPTIONS, CheckpointOptions};
use crate::proto::task::{
    CheckpointRequest, CloseIoRequest, ConnectResponse, KillRequest, PidsResponse, ProcessInfo,
    ProcessRequest, ResizePtyRequest, ShutdownRequest, StateResponse, StatsResponse, UpdateRequest,
};
use crate::ttrpc::{Code, Refusal};
use std::path::Path;

impl Tasks {
    pub(super) fn state(&self, request: &ProcessRequest) -> Result<StateResponse, Refusal> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        Ok(container.state(&process))
    }

    pub(super) fn pids(&self, request: &ProcessRequest) -> Result<PidsResponse, Refusal> {
        let container = self.container(&request.id)?;
        let mut pids = container
            .cgroup
            .as_ref()
            .map_or_else(Vec::new, |cgroup| cgroup.processes());
        if pids.is_empty() {
            // It is there until it is deleted. A containerd 2 that was started anew takes a container without processes for
            // one that was never made, and how it ended would be lost.
            pids.push(container.init.pid());
        }
        Ok(PidsResponse {
            processes: pids.into_iter().map(|pid| ProcessInfo { pid }).collect(),
        })
    }

    pub(super) async fn pause(&self, request: &ProcessRequest) -> Result<Empty, Refusal> {
        let container = self.container(&request.id)?;
        container.caller.pause().await.map_err(Refusal::unknown)?;
        container.init.lifecycle.borrow_mut().paused();
        self.publisher.publish(Topic::Paused, &of(request));
        Ok(Empty {})
    }

    pub(super) async fn resume(&self, request: &ProcessRequest) -> Result<Empty, Refusal> {
        let container = self.container(&request.id)?;
        container.caller.resume().await.map_err(Refusal::unknown)?;
        container.init.lifecycle.borrow_mut().resumed();
        self.publisher.publish(Topic::Resumed, &of(request));
        Ok(Empty {})
    }

    /// A child that wasn't waited for keeps its pid, so one process is signalled directly, and all of them with the one
    /// that the others don't outlive. Others together, or one that is frozen, are runc's business. One that was waited for
    /// has ended, also while what it leaves behind is being killed and its end is not told yet.
    pub(super) async fn kill(&self, request: &KillRequest) -> Result<Empty, Refusal> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let is_init = process.exec_id.is_empty();
        if !is_init {
            // Who it is will be known then.
            process.start_over().await;
        }
        if request.all && is_init && container.is_over() {
            return Ok(Empty {});
        }
        let takes_all_along = container.has_own_pids && request.signal == SIGKILL;
        if request.all && is_init && !takes_all_along {
            return match container.caller.kill(request.signal, true).await {
                Ok(()) => Ok(Empty {}),
                Err(error) if is_gone(&error.to_string()) => Err(finished()),
                Err(error) => Err(Refusal::unknown(error)),
            };
        }
        let (pid, is_paused) = {
            let lifecycle = process.lifecycle.borrow();
            (lifecycle.to_signal()?, lifecycle.is_paused())
        };
        if is_init && is_paused {
            container
                .caller
                .kill(request.signal, false)
                .await
                .map_err(Refusal::unknown)?;
            return Ok(Empty {});
        }
        let signal = i32::try_from(request.signal)
            .map_err(|_| Refusal::new(Code::InvalidArgument, format!("signal {}", request.signal)))?;
        if !self.reaper.holds(pid) {
            return Err(finished());
        }
        // SAFETY: takes two integers.
        if unsafe { libc::kill(pid, signal) } == 0 {
            return Ok(Empty {});
        }
        let error = std::io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ESRCH) => Err(finished()),
            Some(libc::EINVAL) => Err(Refusal::new(
                Code::InvalidArgument,
                format!("signal {}", request.signal),
            )),
            _ => Err(Refusal::unknown(error)),
        }
    }

    pub(super) fn resize(&self, request: &ResizePtyRequest) -> Result<Empty, Refusal> {
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        let clamped = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
        if let Some(streams) = &*process.streams.borrow() {
            streams
                .resize(clamped(request.width), clamped(request.height))
                .map_err(Refusal::unknown)?;
        }
        Ok(Empty {})
    }

    pub(super) fn close_io(&self, request: &CloseIoRequest) -> Result<Empty, Refusal> {
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        if request.stdin
            && let Some(streams) = &*process.streams.borrow()
        {
            streams.close_input();
        }
        Ok(Empty {})
    }

    pub(super) async fn update(&self, request: &UpdateRequest) -> Result<Empty, Refusal> {
        let container = self.container(&request.id)?;
        let resources = request.resources.as_ref().map_or(&[][..], |any| &any.value);
        container
            .caller
            .update(resources)
            .await
            .map_err(Refusal::unknown)?;
        Ok(Empty {})
    }

    /// What the container is at, in files; it may be frozen while they are written.
    pub(super) async fn checkpoint(&self, request: &CheckpointRequest) -> Result<Empty, Refusal> {
        let container = self.container(&request.id)?;
        let options = match &request.options {
            Some(any) if any.is(CHECKPOINT_OPTIONS) => super::read(&any.value)?,
            _ => CheckpointOptions::default(),
        };
        let images = match options.image_path.as_str() {
            "" => Path::new(&request.path),
            own => Path::new(own),
        };
        container
            .caller
            .checkpoint(images, &options)
            .await
            .map_err(Refusal::unknown)?;
        Ok(Empty {})
    }

    pub(super) fn stats(&self, request: &ProcessRequest) -> Result<StatsResponse, Refusal> {
        let container = self.container(&request.id)?;
        let Some(cgroup) = &container.cgroup else {
            return Err(Refusal::new(
                Code::NotFound,
                format!("cgroup of container {}: not found", request.id),
            ));
        };
        Ok(StatsResponse {
            stats: Some(cgroup.stats()),
        })
    }

    /// Asked after a restart of containerd, also of a container that isn't there: the shim answers then all the same.
    pub(super) fn connect(&self, request: &ProcessRequest) -> ConnectResponse {
        ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self
                .container(&request.id)
                .map_or(0, |container| container.init.pid()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Asked after each deletion; the other containers of the pod stay.
    pub(super) fn shutdown(&self, request: &ShutdownRequest) -> Empty {
        if self.is_empty() || request.now {
            self.is_over.set(true);
        } else if self.containers.borrow().is_empty() {
            // Nobody asks again if nothing comes of what is being made.
            self.is_unwanted.set(true);
        }
        Empty {}
    }
}

fn of(request: &ProcessRequest) -> OfContainer {
    OfContainer {
        container_id: request.id.clone(),
    }
}

fn finished() -> Refusal {
    Refusal::new(Code::NotFound, "process already finished: not found")
}

/// runc's words for a container without processes, or none at all.
fn is_gone(message: &str) -> bool {
    [
        "already finished",
        "not running",
        "does not exist",
        "no such process",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runcs_words_for_the_dead_are_known() {
        assert!(is_gone("os: process already finished"));
        assert!(is_gone("container not running"));
        assert!(is_gone("container \"x\" does not exist"));
        assert!(!is_gone("permission denied"));
    }
}
