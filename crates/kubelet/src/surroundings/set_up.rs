//! The volumes of pods: set up before they start, and again while they run when what is shown in them has changed.
//!
//! A pod's volumes are set up by one at a time. Again, they are by a task of the pod's own, of which there is one at most:
//! what changes meanwhile has it go round once more. So a pod whose volumes hang delays no other, and itself only once.
use super::NodeSurroundings;
use crate::pods::mailbox::Mailbox;
use crate::pods::repeated::Repeated;
use crate::volumes::due::Due;
use crate::volumes::{VolumeError, VolumeMap};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::uid;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};

/// The volumes of one pod.
#[derive(Default)]
pub(super) struct PodVolumes {
    /// As last set up.
    pub(super) ready: VolumeMap,
    /// All of them have been, by this agent.
    is_prepared: bool,
    /// They are not: who waits for them.
    waiting: Option<Mailbox>,
    /// What keeps one from being brought up to date, as told last.
    broken: Repeated,
}

/// One at a time: a pod's volumes are not set up while they are taken down.
pub(super) type Turn = Arc<tokio::sync::Mutex<PodVolumes>>;

/// By UID, pods whose volumes are set up.
#[derive(Default)]
pub(super) struct Turns {
    turns: Mutex<HashMap<String, Turn>>,
    again: Again,
}

impl Turns {
    pub(super) fn of(&self, uid: &str) -> Turn {
        self.turns.lock().entry(uid.to_owned()).or_default().clone()
    }

    pub(super) fn remove(&self, uid: &str) {
        self.turns.lock().remove(uid);
    }

    pub(super) fn known(&self, uid: &str) -> Option<Turn> {
        self.turns.lock().get(uid).cloned()
    }
}

/// Pods whose volumes are being set up again, with what came since that began.
#[derive(Default)]
struct Again(Mutex<HashMap<String, Option<Arc<Pod>>>>);

impl Again {
    /// Whether nobody is at it, and the one who asks has to be.
    fn is_mine(&self, pod: &Arc<Pod>) -> bool {
        match self.0.lock().entry(uid(pod).to_owned()) {
            Entry::Occupied(mut under_way) => {
                under_way.insert(Some(pod.clone()));
                false
            }
            Entry::Vacant(free) => {
                free.insert(None);
                true
            }
        }
    }

    /// What has come meanwhile; with nothing, it is over.
    fn next(&self, uid: &str) -> Option<Arc<Pod>> {
        let mut under_way = self.0.lock();
        let next = under_way.get_mut(uid).and_then(Option::take);
        if next.is_none() {
            under_way.remove(uid);
        }
        next
    }
}

impl NodeSurroundings {
    pub(super) async fn set_up(&self, pod: &Pod) -> Result<(), VolumeError> {
        let turn = self.turns.of(uid(pod));
        let mut volumes = turn.lock().await;
        let outcome = self.volumes.setup(pod).await;
        volumes.waiting = None;
        volumes.is_prepared = outcome.is_ok();
        volumes.ready = outcome?;
        Ok(())
    }

    /// Sets the volumes of a pod that runs up again, in the background.
    pub(super) fn set_up_again(&self, pod: &Arc<Pod>) {
        let Some(surroundings) = self.this.upgrade() else {
            return;
        };
        if !self.turns.again.is_mine(pod) {
            return;
        }
        let mut pod = pod.clone();
        tokio::spawn(async move {
            loop {
                surroundings.refresh_volumes(&pod).await;
                match surroundings.turns.again.next(uid(&pod)) {
                    Some(next) => pod = next,
                    None => return,
                }
            }
        });
    }

    /// Unless the pod was released meanwhile.
    async fn refresh_volumes(&self, pod: &Pod) {
        let Some(turn) = self.turns.known(uid(pod)) else {
            return;
        };
        let mut volumes = turn.lock().await;
        let current = self.turns.known(uid(pod));
        if !current.is_some_and(|now| Arc::ptr_eq(&now, &turn)) {
            return;
        }
        let is_prepared = volumes.is_prepared;
        match self.volumes.refresh(pod, &mut volumes.ready, is_prepared).await {
            Ok(()) => {
                volumes.broken.over();
                wake(volumes.waiting.take());
            }
            Err(error) => {
                let message = error.to_string();
                if volumes.broken.is_due(&message, Timestamp::now()) {
                    self.tell(pod, "FailedMount", message);
                }
            }
        }
    }

    /// Where the volumes of a pod are. What came with an ephemeral container is set up when that is started.
    pub(super) async fn ready(&self, pod: &Pod, container: &Container) -> Result<VolumeMap, VolumeError> {
        let turn = self.turns.of(uid(pod));
        let mut volumes = turn.lock().await;
        self.volumes.complete(pod, container, &mut volumes.ready).await?;
        Ok(volumes.ready.clone())
    }

    /// Has the worker look again when the pod's volumes may be there.
    pub(super) fn wait_for_volumes(&self, uid: &str, mailbox: &Mailbox) {
        let (turn, mailbox) = (self.turns.of(uid), mailbox.clone());
        // Held only while volumes are being set up; then the outcome is not this pod's any more, and it looks again.
        match turn.try_lock() {
            Ok(mut volumes) => volumes.waiting = Some(mailbox),
            Err(_) => wake(Some(mailbox)),
        }
    }
}

/// Has a pod's worker look again.
fn wake(waiting: Option<Mailbox>) {
    if let Some(mailbox) = waiting {
        mailbox.post(|mail| mail.runtime_changed = true);
    }
}

/// Begins to set volumes up again that are due.
pub(super) async fn follow(due: Due, surroundings: Weak<NodeSurroundings>) {
    loop {
        let uid = due.next().await;
        let Some(surroundings) = surroundings.upgrade() else {
            return;
        };
        if let Some(record) = surroundings.pods.by_uid(&uid) {
            surroundings.set_up_again(&record.pod);
        }
    }
}
