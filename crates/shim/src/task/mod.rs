//! The calls of containerd's task service: which there are (here), and what each does (`calls`, `create`, `processes`).

mod calls;
mod container;
mod create;
mod lifecycle;
mod processes;

use crate::events::Publisher;
use crate::proto::task::{OfContainer, SERVICES};
use crate::reaper::Reaper;
use crate::ttrpc::{Code, Refusal, Service};
use container::Container;
use prost::Message;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;

/// A shim that was forgotten while it had no container ends by itself.
const EMPTY_PATIENCE: Duration = Duration::from_secs(60);

/// All containers of one shim.
pub struct Tasks {
    /// Itself, for what goes on after a call.
    this: Weak<Self>,
    namespace: String,
    /// For sockets that terminals come over.
    directory: PathBuf,
    containers: RefCell<HashMap<String, Rc<Container>>>,
    /// Who is being created; the other end goes with the creation.
    creating: RefCell<HashMap<String, watch::Receiver<()>>>,
    reaper: Reaper,
    publisher: Publisher,
    consoles: Cell<u32>,
    /// Counts creations and deletions, to tell one emptiness from the next.
    changes: Cell<u64>,
    is_over: Cell<bool>,
    /// It was to end while it made a container.
    is_unwanted: Cell<bool>,
    over: Notify,
}

impl Tasks {
    pub fn new(namespace: &str, directory: PathBuf, reaper: Reaper, publisher: Publisher) -> Rc<Self> {
        let tasks = Rc::new_cyclic(|this| Self {
            this: this.clone(),
            namespace: namespace.to_owned(),
            directory,
            containers: RefCell::default(),
            creating: RefCell::default(),
            reaper,
            publisher,
            consoles: Cell::default(),
            changes: Cell::default(),
            is_over: Cell::default(),
            is_unwanted: Cell::default(),
            over: Notify::new(),
        });
        tasks.end_if_forgotten();
        tasks
    }

    /// Until there is nothing more to do.
    pub async fn over(&self) {
        self.over.notified().await;
    }

    /// Nothing more will be told: who passes events on comes to an end.
    pub fn stop_publishing(&self) {
        self.publisher.close();
    }

    /// Neither has a container nor is making one.
    pub fn is_empty(&self) -> bool {
        self.containers.borrow().is_empty() && self.creating.borrow().is_empty()
    }

    fn container(&self, id: &str) -> Result<Rc<Container>, Refusal> {
        self.containers
            .borrow()
            .get(id)
            .cloned()
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("container {id}: not found")))
    }

    /// Until the container is there or isn't: containerd, when it gives a creation up, deletes what it may have made.
    async fn creation_over(&self, id: &str) {
        loop {
            let Some(mut creating) = self.creating.borrow().get(id).cloned() else {
                return;
            };
            let _ = creating.changed().await;
        }
    }

    fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// containerd says when a shim is no longer needed, unless it was killed just then.
    fn end_if_forgotten(&self) {
        let (this, before) = (self.this.clone(), self.changes.get());
        spawn_local(async move {
            tokio::time::sleep(EMPTY_PATIENCE).await;
            if let Some(tasks) = this.upgrade()
                && tasks.is_empty()
                && tasks.changes.get() == before
            {
                tasks.over.notify_one();
            }
        });
    }
}

fn read<M: Message + Default>(payload: &[u8]) -> Result<M, Refusal> {
    M::decode(payload).map_err(|error| Refusal::new(Code::InvalidArgument, error.to_string()))
}

impl Service for Tasks {
    async fn call(&self, service: &str, method: &str, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
        if !SERVICES.contains(&service) {
            return Err(Refusal::new(Code::Unimplemented, format!("service {service}")));
        }
        if method != "Create" {
            self.creation_over(&read::<OfContainer>(payload)?.id).await;
        }
        Ok(match method {
            "State" => self.state(&read(payload)?)?.encode_to_vec(),
            "Create" => self.create(read(payload)?).await?.encode_to_vec(),
            "Start" => self.start(&read(payload)?).await?.encode_to_vec(),
            "Delete" => self.delete(&read(payload)?).await?.encode_to_vec(),
            "Pids" => self.pids(&read(payload)?)?.encode_to_vec(),
            "Pause" => self.pause(&read(payload)?).await?.encode_to_vec(),
            "Resume" => self.resume(&read(payload)?).await?.encode_to_vec(),
            "Kill" => self.kill(&read(payload)?).await?.encode_to_vec(),
            "Exec" => self.exec(read(payload)?)?.encode_to_vec(),
            "ResizePty" => self.resize(&read(payload)?)?.encode_to_vec(),
            "CloseIO" => self.close_io(&read(payload)?)?.encode_to_vec(),
            "Update" => self.update(&read(payload)?).await?.encode_to_vec(),
            "Checkpoint" => self.checkpoint(&read(payload)?).await?.encode_to_vec(),
            "Wait" => self.wait(&read(payload)?).await?.encode_to_vec(),
            "Stats" => self.stats(&read(payload)?)?.encode_to_vec(),
            "Connect" => self.connect(&read(payload)?).encode_to_vec(),
            "Shutdown" => self.shutdown(&read(payload)?).encode_to_vec(),
            _ => return Err(Refusal::new(Code::Unimplemented, format!("method {method}"))),
        })
    }

    fn only_waits(&self, method: &str) -> bool {
        method == "Wait"
    }

    fn answered(&self) {
        if self.is_over.get() {
            self.over.notify_one();
        }
    }
}
