//! Single nodes of a DaemonSet of which all else is as it should be: what happens to one node costs
//! a look at that node, however many there are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use orlop_client::informer::ObjectKey;

use super::DaemonSets;
use super::grouping::{NodeChoice, PodsByNode};
use super::left_out::LeftOut;
use super::manage::{Changes, Circumstances};
use super::pacing::lock;
use super::rolling::Current;
use super::settled::Settled;
use super::status::OnNode;
use super::strategy::Strategy;
use super::sync::{SyncError, to_std};
use super::write;
use crate::cache::{BY_NODE, DaemonSet, Pod};

/// A pass over all nodes holds for so long; then another one makes sure.
const HOLDS_FOR: Duration = Duration::from_secs(10 * 60);
/// Shortest wait for a pod to become available: clocks that sleep and clocks that tell the time differ a little.
const MATURED_RETRY: Duration = Duration::from_millis(5);

impl DaemonSets {
    /// Whether nothing but single nodes of the set has to be looked at.
    pub(super) fn is_settled(&self, set: &DaemonSet) -> bool {
        let settled = lock(&self.settled);
        settled.get(&set.key).is_some_and(|settled| {
            settled.is_about(set)
                && settled.since.elapsed() < HOLDS_FOR
                && (settled.is_updated() || !set.options.replaces(&Strategy::of(&set.set)))
        })
    }

    /// Remembers what a pass over all nodes found.
    pub(super) fn settle(&self, set: &DaemonSet, hash: String, nodes: &[NodeChoice], pods: &[Pod]) {
        let mut left_out = LeftOut::default();
        for node in nodes {
            left_out.observe(&node.name, node.tainted.as_ref());
        }
        self.tell_left_out(set, &left_out);
        let by_node = PodsByNode::new(pods);
        let found: HashMap<Arc<str>, OnNode> = {
            let generation = set.template_generation();
            let current = Current {
                hash: &hash,
                generation: generation.as_deref(),
                min_ready_seconds: set.min_ready_seconds(),
                now: Timestamp::now(),
            };
            nodes
                .iter()
                .map(|node| {
                    let found = OnNode::of(&current, node, by_node.on(&node.name));
                    (node.name.clone(), found)
                })
                .collect()
        };
        let settled = Settled::new(set, hash, found, left_out);
        self.look_when_matured(set, &settled);
        lock(&self.settled).insert(set.key.clone(), settled);
        self.queue.add_after(set.key.clone(), HOLDS_FOR);
    }

    /// Looks at these nodes only: a look costs as much as there is on them.
    pub(super) async fn sync_nodes(
        &self,
        set: &DaemonSet,
        mut nodes: HashSet<Arc<str>>,
    ) -> Result<(), SyncError> {
        let Some(mut settled) = lock(&self.settled).remove(&set.key) else {
            self.dirty.all(&set.key);
            self.queue.add(set.key.clone());
            return Ok(());
        };
        let generation = set.template_generation();
        let now = Timestamp::now();
        let hash = settled.hash.clone();
        let current = Current {
            hash: &hash,
            generation: generation.as_deref(),
            min_ready_seconds: set.min_ready_seconds(),
            now,
        };
        let circumstances = Circumstances::of(set, &hash, now);
        let mut changes = Changes::default();
        let mut left = HashSet::new();
        nodes.extend(settled.matured(now));
        for node in nodes.drain() {
            if changes.is_full(write::WRITES_MAX) {
                left.insert(node);
                continue;
            }
            let node = &node;
            let pods = self.pods_on(set, node);
            let Some(choice) = self.choose(set, node) else {
                settled.observe(node, None, None);
                // Bound ones are left to pod garbage collection, which makes sure the node is gone.
                let unbound = pods
                    .into_iter()
                    .filter(|pod| pod.node.is_none() && !pod.terminating);
                changes.delete.extend(unbound);
                continue;
            };
            let pods = PodsByNode::new(&pods);
            let pods = pods.on(node);
            let found = OnNode::of(&current, &choice, pods);
            settled.observe(node, Some(found), choice.tainted.as_ref());
            changes.node(&circumstances, &choice, pods, &mut lock(&self.backoff));
        }
        left.extend(changes.beyond(write::WRITES_MAX));
        if !left.is_empty() {
            self.queue.add(set.key.clone());
        }
        left.extend(changes.waiting.drain(..));
        self.dirty.put_back(&set.key, left);
        if let Some(wait) = changes.look_again {
            self.queue.add_after(set.key.clone(), to_std(wait));
        }
        for (pod, node) in &changes.finished {
            self.tell_finished(set, pod, node);
        }
        let mut created = Vec::new();
        self.write_pods(set, &hash, changes.create, changes.delete, &mut created)
            .await?;
        // Pods that were made now are seen when they come back; the status needn't wait for that.
        for pod in created {
            let Some(node) = &pod.target else { continue };
            if let Some(choice) = self.choose(set, node) {
                let mut pods = self.pods_on(set, node);
                if pods.iter().all(|known| known.uid != pod.uid) {
                    pods.push(pod.clone());
                }
                let pods = PodsByNode::new(&pods);
                let found = OnNode::of(&current, &choice, pods.on(node));
                settled.observe(node, Some(found), choice.tainted.as_ref());
            }
        }
        self.look_when_matured(set, &settled);
        let mut counted = settled.status();
        // That of the pass over all nodes: the cache may show the set as it was before that.
        counted.observed_generation = Some(settled.generation);
        self.tell_left_out(set, &settled.left_out);
        // The wait that the pass began may have ended in this look.
        let holds = HOLDS_FOR.saturating_sub(settled.since.elapsed());
        self.queue.add_after(set.key.clone(), holds);
        lock(&self.settled).insert(set.key.clone(), settled);
        match self.pace(&set.key) {
            // A wave of changes becomes one status.
            Some(wait) => self.queue.add_after(set.key.clone(), wait),
            None => self.write_counted(set, counted, None).await?,
        }
        Ok(())
    }

    /// Looks again when the next pod has been ready for long enough.
    fn look_when_matured(&self, set: &DaemonSet, settled: &Settled) {
        if let Some(at) = settled.matures() {
            let wait = to_std(at.duration_since(Timestamp::now())).max(MATURED_RETRY);
            self.queue.add_after(set.key.clone(), wait);
        }
    }

    fn choose(&self, set: &DaemonSet, node: &Arc<str>) -> Option<NodeChoice> {
        let key = ObjectKey::new("", node.clone());
        let node = self.cache.nodes.store().get(&key)?;
        Some(NodeChoice::of(set, &node))
    }

    fn pods_on(&self, set: &DaemonSet, node: &str) -> Vec<Pod> {
        let mut pods = self.cache.pods.store().by_index(BY_NODE, node);
        pods.retain(|pod| {
            let owner = pod.controller.as_ref();
            owner.is_some_and(|owner| owner.uid == set.uid) && set.selector.matches(&pod.labels)
        });
        pods
    }
}
