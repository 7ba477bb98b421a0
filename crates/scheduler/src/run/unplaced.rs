//! A pod has no node: room is made for it, and it is told why.

use orlop_client::informer::{Cached, ObjectKey};
use tokio::time::Instant;

use crate::decide::preempt::{Preemption, Victim};
use crate::known::view::{Pending, PodView};

use super::{Scheduler, write};

/// Reasons of condition PodScheduled.
pub(super) const UNSCHEDULABLE: &str = "Unschedulable";
pub(super) const SCHEDULER_ERROR: &str = "SchedulerError";

impl Scheduler {
    /// Makes room. When the victims are gone their events bring the pod back; one that couldn't be evicted tells nothing.
    pub(super) async fn evict(&self, pod: &Cached<PodView>, pending: &Pending, preemption: &Preemption) {
        let node = &preemption.node;
        if let Err(error) = write::nominate(&self.client, &pod.key, &pod.uid, node).await {
            tracing::debug!(pod = %pod.key, %error, "nominated node not written");
        }
        for displaced in &preemption.displaced {
            if let Some(pod) = self.pods.store().get(displaced) {
                self.forget_room(&pod.key, &pod.uid).await;
            }
        }
        let mut failed = false;
        for Victim { key: victim, uid, .. } in &preemption.victims {
            let known = self.pods.store().get(victim).filter(|known| known.uid == *uid);
            let generation = match known.as_ref().map(|known| &known.object) {
                // It goes already.
                Some(PodView::Bound {
                    terminating: true, ..
                }) => continue,
                Some(PodView::Bound { generation, .. }) => *generation,
                _ => None,
            };
            match write::evict(&self.client, victim, uid, generation, &pending.scheduler).await {
                Ok(()) => {
                    tracing::info!(%victim, uid = %uid, pod = %pod.key, %node, "preempted for a pod of higher priority");
                    if let Some(recorder) = self.recorder(pending) {
                        write::tell_preempted(recorder, victim, uid, &pending.reference, node);
                    }
                }
                Err(error) => {
                    tracing::warn!(%victim, %node, %error, "pod not preempted");
                    failed |= !is_gone(&error);
                }
            }
        }
        if failed {
            self.state().queue.in_vain(&pod.key, Instant::now());
            self.changed.notify_one();
        }
    }

    /// No room is made for the pod any more.
    pub(super) async fn forget_room(&self, pod: &ObjectKey, uid: &str) {
        if let Err(error) = write::nominate(&self.client, pod, uid, "").await {
            tracing::debug!(%pod, %error, "nominated node not taken back");
        }
    }

    /// Tells why the pod has no node.
    pub(super) async fn tell_unplaced(
        &self,
        pod: &Cached<PodView>,
        pending: &Pending,
        reason: &'static str,
        message: &str,
    ) {
        if let Some(recorder) = self.recorder(pending) {
            write::tell_failed(recorder, &pending.reference, message);
        }
        let told = pending
            .told
            .as_ref()
            .map(|(reason, message)| (reason.as_str(), message.as_str()));
        if told == Some((reason, message)) {
            return;
        }
        tracing::info!(pod = %pod.key, uid = %pod.uid, reason, "pod has no node: {message}");
        let why = write::Why {
            reason,
            message,
            generation: pending.generation,
        };
        if let Err(error) = write::condition(&self.client, &pod.key, &pod.uid, why).await {
            tracing::debug!(pod = %pod.key, %error, "condition not written");
        }
    }
}

/// Whether what was to be written to isn't there any more, or another one of its name is.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if [404, 409].contains(&status.code))
}
