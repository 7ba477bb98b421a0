//! Which changes concern a node's gate, and who writes it.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_api::annotations::{
    NODE_GATE_OPENED, NODE_GATE_TAINT, TAINT_NETWORK_UNAVAILABLE, TAINT_NOT_READY, TAINT_UNREACHABLE,
};
use orlop_api::placement;
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::task::JoinSet;

use super::plan::{Gate, Gating, decide};
use crate::api_error;
use crate::cache::{BY_NODE, Cache, DaemonSet, DaemonSetView, Node, NodeView, PodView};
use crate::workers::Workers;

/// The controller.
pub struct NodeGates {
    client: kube::Client,
    // The cache owns its handlers; they must not own the cache.
    cache: Weak<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
}

impl NodeGates {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let this = Arc::new(Self {
            client,
            cache: Arc::downgrade(cache),
            queue: cache.queue("node_gate"),
        });
        let on = this.clone();
        cache.nodes.on_change(move |change| on.node(change));
        let on = this.clone();
        cache.pods.on_change(move |change| on.pod(change));
        let on = this.clone();
        cache.daemon_sets.on_change(move |change| on.daemon_set(change));
        this
    }

    /// Starts the worker. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "node_gate",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            // A newer version of the node is on its way.
            api_error::is_conflict,
        );
    }

    fn gating(cache: &Cache) -> Vec<DaemonSet> {
        let mut sets = Vec::new();
        cache.daemon_sets.store().for_each(|set| {
            if set.options.gate && !set.is_terminating() {
                sets.push(set.clone());
            }
        });
        sets
    }

    fn node(&self, change: &Change<NodeView>) {
        let Some(node) = &change.new else { return };
        let differs = change
            .old
            .as_ref()
            .is_none_or(|old| node.placed_differently(old) || node.gates_opened != old.gates_opened);
        let Some(cache) = self.cache.upgrade().filter(|_| differs) else {
            return;
        };
        if is_closed(node) || !Self::gating(&cache).is_empty() {
            self.queue.add(node.key.clone());
        }
    }

    fn pod(&self, change: &Change<PodView>) {
        let Some(pod) = &change.new else { return };
        let was_ready = change.old.as_ref().is_some_and(|old| old.is_ready());
        let (Some(node), Some(owner)) = (&pod.node, &pod.controller) else {
            return;
        };
        if was_ready || !pod.is_ready() || *owner.kind != *"DaemonSet" {
            return;
        }
        let Some(cache) = self.cache.upgrade() else { return };
        let key = ObjectKey::new(pod.key.namespace.clone(), owner.name.clone());
        if cache
            .daemon_sets
            .store()
            .get(&key)
            .is_some_and(|set| set.options.gate)
        {
            self.queue.add(ObjectKey::new("", node.clone()));
        }
    }

    /// A set that begins or ceases to gate.
    fn daemon_set(&self, change: &Change<DaemonSetView>) {
        let gates = |set: &Option<DaemonSet>| {
            set.as_ref()
                .is_some_and(|set| set.options.gate && !set.is_terminating())
        };
        let respecified = match (&change.old, &change.new) {
            (Some(old), Some(new)) => old.generation() != new.generation(),
            _ => true,
        };
        let (before, now) = (gates(&change.old), gates(&change.new));
        if (!before && !now) || (before == now && !respecified) {
            return;
        }
        let Some(cache) = self.cache.upgrade() else { return };
        cache
            .nodes
            .store()
            .for_each(|node| self.queue.add(node.key.clone()));
    }

    async fn sync(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(cache) = self.cache.upgrade() else {
            return Ok(());
        };
        let Some(node) = cache.nodes.store().get(key) else {
            return Ok(());
        };
        let gating = Self::gating(&cache);
        let gate = Gate {
            taints: node.taints(),
            opened: opened(&node),
            created: node.created,
            gating: on_node(&cache, &gating, &node),
        };
        let Some(change) = decide(&gate, Timestamp::now()) else {
            return Ok(());
        };
        let mut patch = json!({"metadata": {"resourceVersion": node.resource_version.to_string()}});
        if let Some(taints) = &change.taints {
            let closed = taints.iter().any(|taint| taint.key == NODE_GATE_TAINT);
            tracing::info!(node = %key.name, closed, "node gate");
            patch["spec"] = json!({"taints": taints});
        }
        if let Some(opened) = &change.opened {
            let sets: Vec<&str> = opened.iter().map(String::as_str).collect();
            patch["metadata"]["annotations"] = json!({NODE_GATE_OPENED: sets.join(",")});
        }
        let api: Api<core::Node> = Api::all(self.client.clone());
        match api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Err(error) if !api_error::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn is_closed(node: &NodeView) -> bool {
    node.taints().iter().any(|taint| taint.key == NODE_GATE_TAINT)
}

fn opened(node: &NodeView) -> BTreeSet<String> {
    let text = node.gates_opened.as_deref().unwrap_or_default();
    text.split(',')
        .filter(|set| !set.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Taints of a node that isn't up yet, or isn't heard of for a while: whom it is for shows when they are gone.
const PASSING: [&str; 3] = [TAINT_NOT_READY, TAINT_UNREACHABLE, TAINT_NETWORK_UNAVAILABLE];

/// Those of `gating` that want a pod on the node, which needn't be Ready yet.
fn on_node(cache: &Cache, gating: &[DaemonSet], node: &Node) -> Vec<Gating> {
    let mut ready_node = node.node.clone();
    ready_node
        .taints
        .retain(|taint| !PASSING.contains(&taint.key.as_str()));
    let pods = cache.pods.store().by_index(BY_NODE, &node.key.name);
    gating
        .iter()
        .filter(|set| placement::should_run(&set.placed, &ready_node).run)
        .map(|set| Gating {
            set: format!("{}.{}", set.key.namespace, set.key.name),
            ready: pods.iter().any(|pod| {
                let owner = pod.controller.as_ref();
                owner.is_some_and(|owner| owner.uid == set.uid) && pod.is_ready() && !pod.terminating
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::cached;
    use orlop_client::informer::Lean;
    use serde_json::Value;

    /// Otherwise the gate would open for a node that falls silent while it is new.
    #[test]
    fn a_node_that_is_not_up_is_waited_for_by_those_that_want_it_when_it_is() {
        let set = json!({"metadata": {"name": "csi", "namespace": "ns", "uid": "u", "annotations": {"orlop.dev/node-gate": "true"}},
            "spec": {"selector": {"matchLabels": {"app": "csi"}}, "template": {"spec": {"containers": []}}}});
        let set = cached::<DaemonSetView>(serde_json::from_value(set).unwrap());
        assert!(set.options.gate);
        let gating = |taints: Value| -> Vec<String> {
            let node = json!({"metadata": {"name": "n"}, "spec": {"taints": taints}});
            let node: core::Node = serde_json::from_value(node).unwrap();
            let node = cached::<NodeView>(Lean(node));
            let gating = on_node(&Cache::default(), std::slice::from_ref(&set), &node);
            gating.into_iter().map(|gating| gating.set).collect()
        };
        let taint = |key: &str| json!({"key": key, "effect": "NoSchedule"});
        for key in PASSING {
            assert_eq!(gating(json!([taint(key)])), ["ns.csi"], "{key}");
        }
        assert_eq!(
            gating(json!([taint(TAINT_NOT_READY), taint("team")])),
            [""; 0],
            "it is for others"
        );
    }
}
