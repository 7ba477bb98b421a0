//! Arms a timer for each pod that may not stay, and deletes it when the timer ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::Taint;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use orlop_api::taints::NO_EXECUTE;
use orlop_client::events::{EventType, Recorder, pod_reference};
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::tolerance::{Tolerance, tolerance};
use crate::api_error;
use crate::cache::{BY_NODE, Cache, NodeView, Pod, PodView};
use crate::disruption;
use crate::workers::Workers;

/// Pods deleted at the same time.
const WORKERS: usize = 4;

#[derive(Debug)]
struct Armed {
    uid: Arc<str>,
    at: Instant,
}

/// The taint eviction controller.
pub struct TaintEviction {
    client: kube::Client,
    cache: Weak<Cache>,
    recorder: Recorder,
    queue: Arc<WorkQueue<ObjectKey>>,
    armed: Mutex<HashMap<ObjectKey, Armed>>,
}

impl TaintEviction {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let this = Arc::new(Self {
            recorder: Recorder::new(client.clone(), "taint-eviction-controller", None),
            client,
            cache: Arc::downgrade(cache),
            queue: cache.queue("noexec_taint_pod"),
            armed: Mutex::default(),
        });
        let on = Arc::downgrade(&this);
        cache.nodes.on_change(move |change| {
            if let Some(this) = on.upgrade() {
                this.node(change);
            }
        });
        let on = Arc::downgrade(&this);
        cache.pods.on_change(move |change| {
            if let Some(this) = on.upgrade() {
                this.pod(change);
            }
        });
        this
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "taint_eviction",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.evict(&key).await },
            |_| false,
        );
    }

    fn armed(&self) -> MutexGuard<'_, HashMap<ObjectKey, Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, change: &Change<NodeView>) {
        let evicting = |taints: &[Taint]| -> Vec<Taint> {
            taints
                .iter()
                .filter(|taint| taint.effect == NO_EXECUTE)
                .cloned()
                .collect()
        };
        let before = change
            .old
            .as_ref()
            .map(|node| evicting(node.taints()))
            .unwrap_or_default();
        let after = change
            .new
            .as_ref()
            .map(|node| evicting(node.taints()))
            .unwrap_or_default();
        if before == after {
            return;
        }
        let Some(cache) = self.cache.upgrade() else { return };
        let pods = cache.pods.store().by_index(BY_NODE, &change.latest().key.name);
        for pod in pods.iter().filter(|pod| pod.node.is_some()) {
            self.look(pod, &after);
        }
    }

    fn pod(&self, change: &Change<PodView>) {
        let Some(pod) = &change.new else {
            if let Some(old) = &change.old {
                self.armed().remove(&old.key);
            }
            return;
        };
        let same = |old: &Pod| old.node == pod.node && old.tolerations == pod.tolerations;
        if change.old.as_ref().is_some_and(same) {
            return;
        }
        let (Some(node), Some(cache)) = (&pod.node, self.cache.upgrade()) else {
            return;
        };
        // A pod listed before its node is looked at when the node comes.
        if let Some(node) = cache.nodes.store().get(&ObjectKey::new("", node.clone())) {
            self.look(pod, node.taints());
        }
    }

    /// Arms, keeps or cancels the deletion of one pod.
    fn look(&self, pod: &Pod, taints: &[Taint]) {
        let wait = match tolerance(taints, &pod.tolerations) {
            Tolerance::Untainted | Tolerance::Forever => {
                if self.armed().remove(&pod.key).is_some() {
                    let message = format!("Cancelling deletion of Pod {}", pod.key);
                    self.recorder.event(
                        &pod_reference(&pod.key, &pod.uid),
                        EventType::Normal,
                        "TaintManagerEviction",
                        message,
                    );
                }
                return;
            }
            Tolerance::Not => Duration::ZERO,
            Tolerance::For(wait) => wait,
        };
        if pod.terminating {
            return;
        }
        let mut armed = self.armed();
        // A timer that is running isn't moved, unless the pod has to go at once.
        if !wait.is_zero() && armed.get(&pod.key).is_some_and(|armed| armed.uid == pod.uid) {
            return;
        }
        armed.insert(
            pod.key.clone(),
            Armed {
                uid: pod.uid.clone(),
                at: Instant::now() + wait,
            },
        );
        drop(armed);
        self.queue.add_after(pod.key.clone(), wait);
    }

    async fn evict(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let uid = match self.armed().get(key) {
            Some(armed) if armed.at <= Instant::now() => armed.uid.clone(),
            // Cancelled, or armed again for later.
            _ => return Ok(()),
        };
        let reference = pod_reference(key, &uid);
        let message = format!("Marking for deletion Pod {key}");
        self.recorder
            .event(&reference, EventType::Normal, "TaintManagerEviction", message);
        let api: Api<core::Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let known = self.cache.upgrade().and_then(|cache| cache.pods.store().get(key));
        let known = known.filter(|pod| pod.uid == uid);
        let why = disruption::Why {
            generation: known.map(|pod| pod.generation),
            reason: "DeletionByTaintManager",
            message: "Taint manager: deleting due to NoExecute taint",
        };
        let result = async {
            disruption::mark(&api, &key.name, &uid, why, None).await?;
            let preconditions = Preconditions {
                uid: Some(uid.to_string()),
                resource_version: None,
            };
            let params = DeleteParams {
                preconditions: Some(preconditions),
                ..DeleteParams::default()
            };
            api.delete(&key.name, &params).await
        };
        match result.await {
            Err(error) if !api_error::is_not_found(&error) && !api_error::is_conflict(&error) => {
                return Err(error);
            }
            _ => {}
        }
        tracing::info!(pod = %key, uid = %uid, "pod evicted from its tainted node");
        self.armed().remove(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::server;

    #[tokio::test]
    async fn a_pod_that_has_ended_goes_from_a_tainted_node_as_well() {
        const POD: &str = "/api/v1/namespaces/ns/pods/p";
        let (client, asked) = server(|method, path, body| match path {
            path if path.contains("/events") => (200, body),
            path if path.starts_with(POD) => (
                200,
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}}),
            ),
            _ => panic!("{method} {path}"),
        });
        let cache = Arc::new(Cache::default());
        let eviction = TaintEviction::new(client, &cache);
        let node = json!({"metadata": {"name": "n", "uid": "n", "resourceVersion": "1"},
            "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
        cache.nodes.store().apply(serde_json::from_value(node).unwrap());
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "p", "resourceVersion": "2"},
            "spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Succeeded"}});
        let changes = cache.pods.store().apply(serde_json::from_value(pod).unwrap());
        changes.iter().for_each(|change| eviction.pod(change));
        eviction.evict(&ObjectKey::new("ns", "p")).await.unwrap();
        let asked = asked.lock().unwrap();
        let asked: Vec<String> = asked
            .iter()
            .map(|(method, path, _)| format!("{method} {path}"))
            .collect();
        assert_eq!(asked, [format!("PATCH {POD}/status"), format!("DELETE {POD}")]);
    }
}
