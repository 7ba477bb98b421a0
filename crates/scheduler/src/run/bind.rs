//! A pod gets its node: its claims are met first, then it is bound; in vain, it gives back what it held.

use std::sync::Arc;
use std::time::Duration;

use orlop_client::informer::{Cached, ObjectKey};
use tokio::time::Instant;

use crate::decide::binding::{Progress, progress};
use crate::decide::volumes::Met;
use crate::known::view::{Pending, PodView};
use crate::metrics::Attempt;

use super::unplaced::SCHEDULER_ERROR;
use super::{Scheduler, write};

/// How long a pod's claims may take to be bound before another node is tried.
const CLAIMS_BOUND_MAX: Duration = Duration::from_secs(600);

/// Why a pod wasn't bound. Users know these texts.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("running Bind plugin \"DefaultBinder\": {}", orlop_client::message(.0))]
    Binding(kube::Error),
    #[error("running PreBind plugin \"VolumeBinding\": {}", orlop_client::message(.0))]
    Claims(kube::Error),
    #[error("{0}")]
    Extender(String),
    #[error("running PreBind plugin \"VolumeBinding\": binding volumes: {0}")]
    ClaimsUnbound(String),
}

impl Scheduler {
    /// Binds the pod to the node that was chosen.
    pub(super) async fn bind(
        &self,
        pod: &Cached<PodView>,
        pending: &Pending,
        node: &Arc<str>,
        met: &[Met],
    ) -> Attempt {
        let error = match self.write_binding(pod, pending, node, met).await {
            Ok(()) => {
                tracing::info!(pod = %pod.key, uid = %pod.uid, %node, "pod bound");
                if let Some(recorder) = self.recorder(pending) {
                    write::tell_scheduled(recorder, &pending.reference, &pod.key, node);
                }
                return Attempt::Scheduled;
            }
            Err(error) => error,
        };
        // A bound or deleted pod's own event says so; otherwise it is tried again.
        tracing::warn!(pod = %pod.key, %node, %error, "pod not bound, retrying");
        for met in met {
            match met {
                Met::By { volume, .. } => self.world.forget_promise(volume),
                Met::Made { claim, .. } => self.world.forget_selection(claim),
            }
        }
        if !met.is_empty() {
            // Others may have waited for what was promised, also where the pod is gone and gives nothing back.
            self.volumes_changed(true);
        }
        if self.take_back(pod) {
            if !met.is_empty() || pending.nominated.is_some() {
                self.forget_room(&pod.key, &pod.uid).await;
            }
            self.tell_unplaced(pod, pending, SCHEDULER_ERROR, &error.to_string())
                .await;
        }
        Attempt::Error
    }

    async fn write_binding(
        &self,
        pod: &Cached<PodView>,
        pending: &Pending,
        node: &Arc<str>,
        met: &[Met],
    ) -> Result<(), BindError> {
        if !met.is_empty() {
            // Whoever provides nodes and volumes may want to know before it is bound.
            if let Err(error) = write::nominate(&self.client, &pod.key, &pod.uid, node).await {
                tracing::debug!(pod = %pod.key, %error, "nominated node not written");
            }
            self.bind_claims(node, met).await?;
        }
        let extenders = self.extenders.minding(pending);
        if extenders
            .bind(&pod.key, &pod.uid, node)
            .await
            .map_err(BindError::Extender)?
        {
            return Ok(());
        }
        write::bind(&self.client, &pod.key, &pod.uid, node)
            .await
            .map_err(BindError::Binding)
    }

    /// Writes what was decided about claims, and waits until they are bound, or it is seen that they won't be.
    async fn bind_claims(&self, node: &str, met: &[Met]) -> Result<(), BindError> {
        let mut awaited = Vec::with_capacity(met.len());
        for met in met {
            let written = match met {
                Met::By { claim, uid, volume } => {
                    write::promise_volume(&self.client, volume, claim, uid).await
                }
                Met::Made { claim, uid } => write::select_node(&self.client, claim, uid, node).await,
            };
            awaited.push((met, written.map_err(BindError::Claims)?));
        }
        let mut changed = self.claims_changed.subscribe();
        let bound = async {
            while !self.are_bound(node, &awaited)? {
                // The sender lives as long as we do.
                let _ = changed.changed().await;
            }
            Ok(())
        };
        let in_time = tokio::time::timeout(CLAIMS_BOUND_MAX, bound).await;
        let result = in_time.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
        result.map_err(BindError::ClaimsUnbound)
    }

    /// Whether all claims are bound, each since that version, or why they never will be.
    fn are_bound(&self, node: &str, awaited: &[(&Met, u64)]) -> Result<bool, String> {
        let Some(node) = self.nodes.store().get(&ObjectKey::new("", node)) else {
            return Err(format!("node {node:?} not found"));
        };
        let mut all = true;
        for (met, written) in awaited {
            match progress(met, *written, &node, &self.world) {
                Progress::Bound => {}
                Progress::Pending => all = false,
                Progress::Failed(why) => return Err(why),
            }
        }
        Ok(all)
    }

    /// The pod doesn't hold its part of the node after all, if it still waits; whether it does. Of one that is bound all the
    /// same, or gone, its own event tells, and what that says stays.
    fn take_back(&self, pod: &Cached<PodView>) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        // Under the lock: an event that is seen from here on is told of after this.
        let known = self.pods.store().get(&pod.key);
        if !known.is_some_and(|known| known.uid == pod.uid && matches!(known.object, PodView::Pending(_))) {
            return false;
        }
        // Others may have waited for what it would have taken.
        state.left(&pod.key, now, |pod, node| self.could_be_on(pod, node));
        state.nominate(&pod.key, None, now);
        state.queue.retry(&pod.key, now);
        drop(state);
        self.changed.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use orlop_client::informer::Store;
    use serde_json::json;

    use super::*;
    use crate::run::testing::scheduler;

    #[tokio::test]
    async fn what_was_promised_to_a_pod_that_went_meanwhile_is_there_for_who_waits() {
        let scheduler = scheduler().await;
        let (waits, now) = (ObjectKey::new("ns", "waits"), Instant::now());
        {
            let mut state = scheduler.state();
            state.queue.put(&waits, &"u".into(), 0, None, true, now);
            assert_eq!(state.queue.next(now).as_ref(), Some(&waits));
            state.queue.unschedulable(&waits, now);
            assert_eq!(state.queue.lengths().waiting, 1);
        }
        let went =
            json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": []}});
        let changes = Store::<PodView>::new().apply(serde_json::from_value(went).unwrap());
        let pod = changes[0].latest();
        let PodView::Pending(pending) = &pod.object else {
            panic!("it waits for a node: {:?}", pod.object)
        };
        let claim = ObjectKey::new("ns", "c");
        scheduler.world.promise("v".into(), claim.clone());
        let met = Met::By {
            claim,
            uid: "u".into(),
            volume: "v".into(),
        };
        let attempt = scheduler.bind(pod, pending, &"n".into(), &[met]).await;
        assert_eq!(attempt, Attempt::Error);
        assert!(scheduler.world.is_unpromised("v", &waits));
        assert_eq!(scheduler.state().queue.lengths().waiting, 0);
    }
}
