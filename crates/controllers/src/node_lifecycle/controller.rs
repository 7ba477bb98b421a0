//! Listens to nodes and leases, sleeps until the next node could expire, writes taints and verdicts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_client::events::{EventType, Recorder};
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::health::{self, Grace, Health};
use super::pods::PodsOfNodes;
use super::taints::{self, Eviction};
use super::zones::{Census, NodeInZone, Pace, Turns};
use crate::api_error;
use crate::cache::{Cache, LeaseView, NODE_LEASES, Node, NodeView};
use crate::workers::Workers;

mod renewal;

/// Nodes worked on at the same time. Each write waits for the server's disk, and a fleet that joins asks for one a node.
const WORKERS: usize = 16;
/// When a node is looked at again that changed while it was written to; its new version usually comes first.
const CONFLICT_RETRY: Duration = Duration::from_secs(1);
/// Pause after a verdict could not be written.
const MONITOR_RETRY: Duration = Duration::from_secs(5);
const OS: (&str, &str) = ("kubernetes.io/os", "beta.kubernetes.io/os");
const ARCH: (&str, &str) = ("kubernetes.io/arch", "beta.kubernetes.io/arch");
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// When and how fast nodes are given up.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeLifecycleConfig {
    /// After how long a node is given up that isn't heard of.
    pub grace: Grace,
    /// How fast the nodes of a zone are emptied.
    pub pace: Pace,
}

/// The node lifecycle controller.
pub struct NodeLifecycle {
    grace: Grace,
    pace: Pace,
    client: kube::Client,
    reader: kube::Client,
    cache: Weak<Cache>,
    recorder: Recorder,
    queue: Arc<WorkQueue<ObjectKey>>,
    pods: Arc<PodsOfNodes>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    health: HashMap<Arc<str>, Health>,
    turns: HashMap<String, Turns>,
    census: Census,
    all_down: bool,
}

impl NodeLifecycle {
    /// Registers the handlers at `cache`, which must not have been started yet. `reader` may list Leases, which upstream's
    /// role of who writes nodes doesn't allow.
    pub fn new(
        client: kube::Client,
        reader: kube::Client,
        cache: &Arc<Cache>,
        config: NodeLifecycleConfig,
    ) -> Arc<Self> {
        let this = Arc::new(Self {
            grace: config.grace,
            pace: config.pace,
            recorder: Recorder::new(client.clone(), "node-controller", None),
            cache: Arc::downgrade(cache),
            queue: cache.queue("node_lifecycle_controller"),
            pods: PodsOfNodes::new(client.clone(), cache),
            client,
            reader,
            state: Mutex::default(),
        });
        let on = Arc::downgrade(&this);
        cache.nodes.on_change(move |change| {
            if let Some(this) = on.upgrade() {
                this.node(change);
            }
        });
        let on = Arc::downgrade(&this);
        cache.leases.on_change(move |change: &Change<LeaseView>| {
            if let (Some(this), Some(lease)) = (on.upgrade(), &change.new)
                && *lease.key.namespace == *NODE_LEASES
                && let Some(health) = this.state().health.get_mut(&lease.key.name)
            {
                health.lease_seen(lease.renewed, Instant::now());
            }
        });
        this
    }

    /// Starts the workers and the monitor. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "node_lifecycle",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            |_: &kube::Error| false,
        );
        tasks.spawn(self.clone().monitor());
        self.pods.start(tasks);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, change: &Change<NodeView>) {
        let name = change.latest().key.name.clone();
        let counted = change.new.as_ref().filter(|node| node.label(EXCLUDED).is_none());
        let counted = counted.map(|node| NodeInZone {
            zone: zone_of(node),
            ready: node.is_ready(),
        });
        self.state().census.observe(&name, counted);
        let Some(node) = &change.new else {
            self.state().health.remove(&name);
            self.tell(
                change.latest(),
                "RemovingNode",
                format!("Removing Node {name} from Controller"),
            );
            return self.look_at_zones();
        };
        {
            let mut state = self.state();
            let now = Instant::now();
            let health = state
                .health
                .entry(name.clone())
                .or_insert_with(|| Health::new(now));
            health.node_seen(node.condition("Ready"), node.heartbeat, now);
        }
        let fell_silent = change
            .old
            .as_ref()
            .is_some_and(|old| old.is_ready() && is_silent(node));
        if fell_silent {
            self.pods.enqueue_all_on(&name);
        }
        if change.old.is_none() {
            self.tell(
                node,
                "RegisteredNode",
                format!("Registered Node {name} in Controller"),
            );
        }
        self.look_at_zones();
        self.queue.add(node.key.clone());
    }

    fn tell(&self, node: &Node, reason: &str, what: String) {
        let message = format!("Node {} event: {what}", node.key.name);
        self.recorder
            .event(&node_reference(node), EventType::Normal, reason, message);
    }

    /// Enters or leaves the state in which no node is given up because all seem down.
    fn look_at_zones(&self) {
        let Some(cache) = self.cache.upgrade() else { return };
        let mut state = self.state();
        let all_down = state.census.all_down();
        if std::mem::replace(&mut state.all_down, all_down) == all_down {
            return;
        }
        if !all_down {
            // We heard nothing of anybody; nobody can be blamed for that.
            let now = Instant::now();
            state.health.values_mut().for_each(|health| health.heard = now);
        }
        drop(state);
        tracing::debug!(all_down, "whether any node of the cluster is ready has changed");
        cache
            .nodes
            .store()
            .for_each(|node| self.queue.add(node.key.clone()));
    }

    /// Sleeps until the next node could expire. Signs of life only ever move that moment further
    /// away, and a new node doesn't expire sooner than the longest sleep lasts: nothing has to wake it.
    async fn monitor(self: Arc<Self>) {
        loop {
            let now = Instant::now();
            let (expired, next) = {
                let state = self.state();
                let expired: Vec<Arc<str>> = state
                    .health
                    .iter()
                    .filter(|(_, health)| health.expires(self.grace) <= now)
                    .map(|(name, _)| name.clone())
                    .collect();
                let later = state
                    .health
                    .values()
                    .map(|health| health.expires(self.grace))
                    .filter(|expires| *expires > now);
                (expired, later.min())
            };
            let longest = now + self.grace.shortest();
            let mut wake = next.unwrap_or(longest).min(longest);
            for name in expired {
                match self.give_up(&name).await {
                    Err(error) if api_error::is_not_found(&error) => {}
                    // It changed meanwhile, maybe because it lives: its new version says so.
                    Err(error) if api_error::is_conflict(&error) => {
                        wake = wake.min(Instant::now() + CONFLICT_RETRY);
                    }
                    Err(error) => {
                        tracing::warn!(node = %name, %error, "cannot mark a silent node");
                        wake = wake.min(Instant::now() + MONITOR_RETRY);
                    }
                    Ok(()) => {}
                }
            }
            tokio::time::sleep_until(wake).await;
        }
    }

    /// Writes the verdict over a silent node, and over its pods if it had been ready.
    async fn give_up(&self, name: &Arc<str>) -> Result<(), kube::Error> {
        let Some(cache) = self.cache.upgrade() else {
            return Ok(());
        };
        // The verdicts before this one took their time, in which it may have been heard of.
        let silent = |health: &Health| health.expires(self.grace) <= Instant::now();
        if !self.state().health.get(name).is_some_and(silent) {
            return Ok(());
        }
        let Some(node) = cache.nodes.store().get(&ObjectKey::new("", name.clone())) else {
            return Ok(());
        };
        let now = Timestamp::now();
        let Some(conditions) = health::silent(&node.conditions, node.created, now) else {
            return Ok(());
        };
        if self.is_renewed(&cache, name).await {
            return Ok(());
        }
        let api: Api<core::Node> = Api::all(self.client.clone());
        // Not over what the node itself has posted since.
        let patch = json!({"metadata": {"resourceVersion": node.resource_version.to_string()},
            "status": {"conditions": conditions}});
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await?;
        tracing::warn!(node = %name, "node stopped posting its status");
        if node.is_ready() {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.recorder
                .event(&node_reference(&node), EventType::Normal, "NodeNotReady", message);
        }
        Ok(())
    }

    /// Brings taints and legacy labels of one node up to date.
    async fn sync(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(cache) = self.cache.upgrade() else {
            return Ok(());
        };
        let Some(node) = cache.nodes.store().get(key) else {
            return Ok(());
        };
        let eviction = self.eviction(&node);
        let unschedulable = node.node.unschedulable;
        let wanted = taints::wanted(
            &node.conditions,
            unschedulable,
            node.taints(),
            eviction,
            Timestamp::now(),
        );
        let mut patch = json!({"metadata": {"resourceVersion": node.resource_version.to_string()}});
        let mut changes = false;
        if let Some(wanted) = wanted {
            let list: Vec<String> = wanted.iter().map(orlop_api::taints::display).collect();
            tracing::info!(node = %key.name, taints = ?list, "node taints changed");
            patch["spec"] = json!({"taints": wanted});
            changes = true;
        }
        for (stable, legacy) in [OS, ARCH] {
            if let Some(value) = node.label(stable)
                && node.label(legacy) != Some(value)
            {
                patch["metadata"]["labels"][legacy] = json!(value);
                changes = true;
            }
        }
        if changes {
            let api: Api<core::Node> = Api::all(self.client.clone());
            match api
                .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
                .await
            {
                Err(error) if api_error::is_not_found(&error) => {}
                // The kubelet posted meanwhile: no failure, which many nodes at once would be slowed down for.
                Err(error) if api_error::is_conflict(&error) => {
                    self.queue.add_after(key.clone(), CONFLICT_RETRY);
                }
                result => drop(result?),
            }
        }
        Ok(())
    }

    /// Whether the node may be tainted NoExecute now; if not, asks again when its turn could come.
    fn eviction(&self, node: &Node) -> Eviction {
        let mut state = self.state();
        if state.all_down {
            return Eviction::Stopped;
        }
        if !taints::wants_eviction(&node.conditions, node.taints()) {
            return Eviction::Queued;
        }
        let zone = zone_of(node);
        let zone_state = state.census.state(&zone, self.pace);
        let now = Instant::now();
        match state
            .turns
            .entry(zone)
            .or_insert_with(|| Turns::new(now))
            .take(zone_state, self.pace, now)
        {
            Ok(()) => Eviction::Allowed,
            Err(wait) => {
                // A zone that is partly down changes with its nodes; look again as a monitor would.
                let wait = wait.unwrap_or(self.grace.usual);
                self.queue.add_after(node.key.clone(), wait);
                Eviction::Queued
            }
        }
    }
}

/// Whether it was given up, as opposed to saying itself that it isn't ready.
fn is_silent(node: &NodeView) -> bool {
    node.condition("Ready")
        .is_some_and(|ready| *ready.status == *"Unknown")
}

/// Region and zone; nodes without either share one zone.
fn zone_of(node: &Node) -> String {
    let label = |legacy: &str, stable: &str| {
        node.label(legacy)
            .or_else(|| node.label(stable))
            .unwrap_or_default()
            .to_owned()
    };
    let region = label(
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    );
    let zone = label(
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    );
    if region.is_empty() && zone.is_empty() {
        String::new()
    } else {
        format!("{region}:\0:{zone}")
    }
}

fn node_reference(node: &Node) -> ObjectReference {
    ObjectReference {
        uid: Some(node.uid.to_string()),
        ..orlop_client::events::node_reference(&node.key.name)
    }
}

#[cfg(test)]
mod tests;
