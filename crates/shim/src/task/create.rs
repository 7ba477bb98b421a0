//! Create: the root file system, runc, the streams.

use super::Tasks;
use super::container::{Container, Process};
use super::lifecycle::Lifecycle;
use crate::cgroups::{Cgroup, Watch};
use crate::events::Topic;
use crate::log;
use crate::mounts;
use crate::proto::events::{OfContainer, TaskCreate, TaskIo};
use crate::proto::options::{Options, RUNC_OPTIONS};
use crate::proto::task::{CreateRequest, PidResponse};
use crate::runc::{Caller, Ends, Runc, RuncError};
use crate::seccomp;
use crate::spec::Spec;
use crate::stdio::{Console, Names, Owner, Streams, console_socket};
use crate::ttrpc::{Code, Refusal};
use prost::Message;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use tokio::sync::watch;
use tokio::task::spawn_local;

impl Tasks {
    pub(super) async fn create(&self, request: CreateRequest) -> Result<PidResponse, Refusal> {
        let (_creation, creating) = watch::channel(());
        let is_known = self.containers.borrow().contains_key(&request.id);
        if is_known || self.creating.borrow().contains_key(&request.id) {
            return Err(Refusal::new(
                Code::AlreadyExists,
                format!("container {}: already exists", request.id),
            ));
        }
        if !request.checkpoint.is_empty() {
            return Err(Refusal::new(
                Code::Unimplemented,
                "containers are not restored from checkpoints",
            ));
        }
        self.changed();
        self.creating.borrow_mut().insert(request.id.clone(), creating);
        let rootfs = Path::new(&request.bundle).join("rootfs");
        let outcome = self.create_on(&request, &rootfs).await;
        if outcome.is_err() && !request.rootfs.is_empty() {
            mounts::unmount_all(&rootfs);
        }
        self.creating.borrow_mut().remove(&request.id);
        let was_unwanted = self.is_unwanted.take();
        if outcome.is_err() && self.is_empty() {
            self.changed();
            self.is_over.set(self.is_over.get() || was_unwanted);
            self.end_if_forgotten();
        }
        outcome
    }

    async fn create_on(&self, request: &CreateRequest, rootfs: &Path) -> Result<PidResponse, Refusal> {
        let bundle = Path::new(&request.bundle);
        let options = request.options.as_ref();
        let spec = Spec::of_bundle(bundle).map_err(Refusal::unknown)?;
        let runc = Runc::new(options, &self.namespace, spec.has_systemd_cgroup())
            .map_err(|error| Refusal::new(Code::InvalidArgument, format!("runtime options: {error}")))?;
        runc.note(bundle).map_err(Refusal::unknown)?;
        if !request.rootfs.is_empty() {
            std::fs::create_dir_all(rootfs).map_err(Refusal::unknown)?;
            mounts::mount_all(&request.rootfs, rootfs).map_err(Refusal::unknown)?;
        }
        if spec.is_sandbox()
            && let Err(error) = seccomp::narrow(bundle, rootfs)
        {
            log::warn(&format!("seccomp of {}: {error}", request.id));
        }
        let owner = options
            .filter(|any| any.is(RUNC_OPTIONS))
            .and_then(|any| Options::decode(&*any.value).ok())
            .map_or(Owner::default(), |options| Owner {
                uid: options.io_uid,
                gid: options.io_gid,
            });
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let caller = Caller::new(runc, &request.id, bundle, self.reaper.clone(), spec.hooks());

        let start = self.reaper.start();
        let is_made = Cell::new(false);
        let made = self
            .with_streams(&names, owner, async |ends| caller.create(ends, &is_made).await)
            .await;
        let (pid, streams) = match made {
            Ok(made) => made,
            Err(error) => {
                // Nobody else knows of it: its first process would wait for its start for ever.
                if is_made.get()
                    && let Err(error) = caller.delete(false).await
                {
                    log::warn(&format!("what is left of {}: {error}", request.id));
                }
                let message = format!("OCI runtime create failed: {}", error.message);
                return Err(Refusal::new(Code::Unknown, message));
            }
        };
        let end = self.reaper.wait_for(pid);
        drop(start);

        let cgroup = Cgroup::of_process(pid)
            .inspect_err(|error| log::warn(&format!("cgroup of {}: {error}", request.id)))
            .ok();
        let init = Process::new(String::new(), names, Lifecycle::created(Some(pid)));
        *init.streams.borrow_mut() = Some(streams);
        let container = Rc::new(Container {
            oom: cgroup.as_ref().and_then(Watch::of),
            oom_followed: RefCell::default(),
            cgroup,
            caller,
            init: Rc::new(init),
            execs: RefCell::default(),
            has_own_pids: spec.has_own_pids(),
            owner,
        });
        self.containers
            .borrow_mut()
            .insert(request.id.clone(), container.clone());
        self.publisher.publish(Topic::Create, &created(request, pid));
        self.follow(container.clone(), container.init.clone(), end);
        self.follow_oom(&container);
        Ok(PidResponse {
            pid: pid.cast_unsigned(),
        })
    }

    /// Starts a process with runc, its streams connected.
    pub(super) async fn with_streams(
        &self,
        names: &Names,
        owner: Owner,
        run: impl AsyncFnOnce(Ends) -> Result<i32, RuncError>,
    ) -> Result<(i32, Streams), Refusal> {
        if !names.terminal {
            let (streams, ends) = Streams::pipes(names, owner).map_err(Refusal::unknown)?;
            let pid = run(ends).await.map_err(Refusal::unknown)?;
            return Ok((pid, streams));
        }
        let number = self.consoles.get().wrapping_add(1);
        self.consoles.set(number);
        let console = Console::listen(console_socket(&self.directory, number)).map_err(Refusal::unknown)?;
        let pid = run(Ends::Console(console.path().to_owned()))
            .await
            .map_err(Refusal::unknown)?;
        let terminal = console.receive().map_err(Refusal::unknown)?;
        let streams = Streams::terminal(names, terminal).map_err(Refusal::unknown)?;
        Ok((pid, streams))
    }

    fn follow_oom(&self, container: &Rc<Container>) {
        let (publisher, followed) = (self.publisher.clone(), container.clone());
        let following = spawn_local(async move {
            let Some(watch) = &followed.oom else { return };
            let event = OfContainer {
                container_id: followed.id().to_owned(),
            };
            if let Err(error) = watch.follow(|| publisher.publish(Topic::Oom, &event)).await {
                log::warn(&format!("OOM kills of {}: {error}", followed.id()));
            }
        });
        container.oom_followed.replace(Some(following.abort_handle()));
    }
}

fn created(request: &CreateRequest, pid: i32) -> TaskCreate {
    TaskCreate {
        container_id: request.id.clone(),
        bundle: request.bundle.clone(),
        rootfs: request.rootfs.clone(),
        io: Some(TaskIo {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        }),
        checkpoint: String::new(),
        pid: pid.cast_unsigned(),
    }
}
