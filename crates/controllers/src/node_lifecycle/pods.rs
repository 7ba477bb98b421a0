//! Pods of nodes that aren't ready: nobody is there to say that they aren't either.

use std::sync::{Arc, Weak};

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_client::events::{EventType, Recorder, pod_reference};
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::task::JoinSet;

use crate::api_error;
use crate::cache::{BY_NODE, Cache, Pod, PodView};
use crate::workers::Workers;

/// Pods marked at the same time.
const WORKERS: usize = 4;

/// Marks them as not ready.
pub struct PodsOfNodes {
    client: kube::Client,
    cache: Weak<Cache>,
    recorder: Recorder,
    queue: Arc<WorkQueue<ObjectKey>>,
}

impl PodsOfNodes {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let this = Arc::new(Self {
            recorder: Recorder::new(client.clone(), "node-controller", None),
            client,
            cache: Arc::downgrade(cache),
            queue: cache.queue("node_lifecycle_controller_pods"),
        });
        let on = Arc::downgrade(&this);
        cache.pods.on_change(move |change: &Change<PodView>| {
            if let (Some(this), Some(pod)) = (on.upgrade(), &change.new) {
                let just_bound = change.old.as_ref().is_none_or(|old| old.node != pod.node);
                if just_bound && pod.is_ready() && this.is_on_unready_node(pod) {
                    this.queue.add(pod.key.clone());
                }
            }
        });
        this
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "node_lifecycle_pods",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.look(&key).await },
            |_: &kube::Error| false,
        );
    }

    /// The node fell silent: all of its pods have to be looked at.
    pub fn enqueue_all_on(&self, node: &str) {
        let Some(cache) = self.cache.upgrade() else { return };
        for pod in cache.pods.store().by_index(BY_NODE, node) {
            if pod.node.is_some() {
                self.queue.add(pod.key.clone());
            }
        }
    }

    /// Also if the node isn't known yet: then it is looked at again before anything is written.
    fn is_on_unready_node(&self, pod: &PodView) -> bool {
        let (Some(node), Some(cache)) = (&pod.node, self.cache.upgrade()) else {
            return false;
        };
        let node = cache.nodes.store().get(&ObjectKey::new("", node.clone()));
        node.is_none_or(|node| !node.is_ready())
    }

    async fn look(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(cache) = self.cache.upgrade() else {
            return Ok(());
        };
        let Some(pod) = cache.pods.store().get(key) else {
            return Ok(());
        };
        let node = pod
            .node
            .as_ref()
            .and_then(|node| cache.nodes.store().get(&ObjectKey::new("", node.clone())));
        if !pod.is_ready() || node.is_none_or(|node| node.is_ready()) {
            return Ok(());
        }
        match self.mark(&pod).await {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result,
        }
    }

    async fn mark(&self, pod: &Pod) -> Result<(), kube::Error> {
        let api: Api<core::Pod> = Api::namespaced(self.client.clone(), &pod.key.namespace);
        // Reason and message stay: the patch merges by type.
        let ready = json!({"type": "Ready", "status": "False", "lastTransitionTime": Time(Timestamp::now())});
        let patch = json!({"metadata": {"uid": *pod.uid}, "status": {"conditions": [ready]}});
        api.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await?;
        let reference = pod_reference(&pod.key, &pod.uid);
        let message = "Node is not ready".to_owned();
        self.recorder
            .event(&reference, EventType::Warning, "NodeNotReady", message);
        Ok(())
    }
}
