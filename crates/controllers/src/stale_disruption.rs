//! Pods that were told to go and are still there after two minutes: nobody deletes them any more, and their
//! condition DisruptionTarget says so.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::task::JoinSet;

use crate::api_error;
use crate::cache::{Cache, DISRUPTION_TARGET, PodView};
use crate::workers::Workers;

/// How long a pod may take from being told to go to being deleted.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(120);

/// The controller.
pub struct StaleDisruptions {
    client: kube::Client,
    cache: Arc<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
}

/// How long the condition may stay; `None` if the pod has none that could become stale.
fn left(pod: &PodView, now: Timestamp) -> Option<Duration> {
    let since = pod.disrupted.as_deref()?;
    if pod.terminating || pod.is_terminal() {
        return None;
    }
    let due = since.checked_add(STALE_AFTER).ok()?;
    Some(Duration::try_from(due.duration_since(now)).unwrap_or_default())
}

impl StaleDisruptions {
    /// Registers the handler at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("stale_pod_disruption");
        let on = queue.clone();
        cache.pods.on_change(move |change: &Change<PodView>| {
            let Some(pod) = &change.new else { return };
            let known = change.old.as_ref().and_then(|old| old.disrupted.as_ref());
            if pod.disrupted.as_ref() != known
                && let Some(left) = left(pod, Timestamp::now())
            {
                on.add_after(pod.key.clone(), left);
            }
        });
        Arc::new(Self {
            client,
            cache: cache.clone(),
            queue,
        })
    }

    /// Starts the worker. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "stale-disruption",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.take_back_if_due(&key).await },
            api_error::is_conflict,
        );
    }

    async fn take_back_if_due(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(pod) = self.cache.pods.store().get(key) else {
            return Ok(());
        };
        let now = Timestamp::now();
        match left(&pod, now) {
            None => return Ok(()),
            Some(left) if !left.is_zero() => {
                self.queue.add_after(key.clone(), left);
                return Ok(());
            }
            Some(_) => {}
        }
        let condition = json!({"type": DISRUPTION_TARGET, "status": "False", "reason": null, "message": null,
            "lastTransitionTime": Time(now)});
        let patch = json!({"metadata": {"uid": *pod.uid, "resourceVersion": pod.resource_version.to_string()},
            "status": {"conditions": [condition]}});
        let api: Api<core::Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        match api
            .patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned::testing::{ago, now};
    use orlop_client::informer::{Lean, Projection};
    use serde_json::Value;

    fn of(reason: &str, phase: &str, deleted: Option<&str>, condition: Value) -> Option<u64> {
        let mut condition = condition;
        condition["reason"] = json!(reason);
        let pod = json!({"metadata": {"name": "p", "deletionTimestamp": deleted},
            "status": {"phase": phase, "conditions": [condition]}});
        let pod = PodView::project(Lean(serde_json::from_value(pod).unwrap()));
        left(&pod, now()).map(|left| left.as_secs())
    }

    #[test]
    fn a_pod_that_was_told_to_go_has_two_minutes() {
        let told = |seconds: i64| json!({"type": "DisruptionTarget", "status": "True", "lastTransitionTime": ago(seconds).to_string()});
        let evicted = "EvictionByEvictionAPI";
        assert_eq!(of(evicted, "Running", None, told(30)), Some(90));
        assert_eq!(of(evicted, "Running", None, told(300)), Some(0));
        let undated = json!({"type": "DisruptionTarget", "status": "True"});
        assert_eq!(of(evicted, "Running", None, undated), Some(0));
        assert_eq!(of(evicted, "Failed", None, told(30)), None);
        assert_eq!(of("TerminationByKubelet", "Running", None, told(30)), None);
        assert_eq!(
            of(evicted, "Running", Some("2026-01-01T00:00:00Z"), told(30)),
            None
        );
        let taken_back = json!({"type": "DisruptionTarget", "status": "False"});
        assert_eq!(of(evicted, "Running", None, taken_back), None);
    }
}
