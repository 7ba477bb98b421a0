//! What a pass over all nodes found, kept up to date node by node until the next pass.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetStatus;
use tokio::time::Instant;

use super::left_out::LeftOut;
use super::status::{self, OnNode};
use crate::cache::DaemonSet;

/// A DaemonSet of which nothing but single nodes has to be looked at.
#[derive(Debug)]
pub struct Settled {
    uid: Arc<str>,
    /// The set's generation then.
    pub generation: i64,
    /// Hash label of the current revision.
    pub hash: String,
    /// When all of it was looked at last.
    pub since: Instant,
    nodes: HashMap<Arc<str>, OnNode>,
    totals: status::Totals,
    /// Nodes whose pod becomes available by the passing of time, the next one first.
    maturing: BTreeSet<(Timestamp, Arc<str>)>,
    /// Nodes left out for a taint.
    pub left_out: LeftOut,
}

impl Settled {
    /// From what there is on each node.
    pub fn new(set: &DaemonSet, hash: String, nodes: HashMap<Arc<str>, OnNode>, left_out: LeftOut) -> Self {
        let mut totals = status::Totals::default();
        nodes.values().for_each(|node| totals.add(*node));
        let maturing = nodes
            .iter()
            .filter_map(|(name, node)| Some((node.matures?, name.clone())));
        Self {
            uid: set.uid.clone(),
            generation: set.generation(),
            hash,
            since: Instant::now(),
            maturing: maturing.collect(),
            nodes,
            totals,
            left_out,
        }
    }

    /// Whether it is still about this set, as it is now.
    pub fn is_about(&self, set: &DaemonSet) -> bool {
        self.uid == set.uid && self.generation == set.generation()
    }

    /// What there is on `node` now; `None` if the node is gone.
    pub fn observe(&mut self, node: &Arc<str>, now: Option<OnNode>, tainted: Option<&Arc<str>>) {
        self.left_out.observe(node, tainted);
        let before = match now {
            Some(now) => {
                self.totals.add(now);
                self.maturing
                    .extend(now.matures.map(|matures| (matures, node.clone())));
                self.nodes.insert(node.clone(), now)
            }
            None => self.nodes.remove(node),
        };
        if let Some(before) = before {
            self.totals.remove(before);
            let outdated = before
                .matures
                .filter(|_| now.is_none_or(|now| now.matures != before.matures));
            if let Some(matures) = outdated {
                self.maturing.remove(&(matures, node.clone()));
            }
        }
    }

    /// Takes the nodes whose pod has become available since.
    pub fn matured(&mut self, now: Timestamp) -> Vec<Arc<str>> {
        let mut matured = Vec::new();
        while let Some((at, _)) = self.maturing.first()
            && *at <= now
        {
            matured.extend(self.maturing.pop_first().map(|(_, node)| node));
        }
        matured
    }

    /// When the next pod becomes available by the passing of time.
    pub fn matures(&self) -> Option<Timestamp> {
        self.maturing.first().map(|(at, _)| *at)
    }

    /// The numbers of the status.
    pub fn status(&self) -> DaemonSetStatus {
        self.totals.status()
    }

    /// Whether every pod is of the current revision, on nodes that should have none as well.
    pub fn is_updated(&self) -> bool {
        self.totals.is_updated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::DaemonSetView;
    use orlop_client::informer::{Cached, ObjectKey, Projection};
    use serde_json::json;

    #[test]
    fn one_node_at_a_time_adds_up_to_the_same_as_all_of_them() {
        let set = json!({"metadata": {"name": "d", "namespace": "ns", "generation": 1}, "spec": {
            "selector": {"matchLabels": {"a": "b"}}, "template": {}}});
        let set: DaemonSet = Arc::new(Cached {
            key: ObjectKey::new("ns", "d"),
            uid: "d".into(),
            resource_version: 1,
            object: DaemonSetView::project(serde_json::from_value(set).unwrap()),
        });
        let wanted = OnNode {
            desired: true,
            ..OnNode::default()
        };
        let running = OnNode {
            has_pod: true,
            ready: true,
            available: true,
            updated: true,
            ..wanted
        };
        let name = |number: u32| Arc::<str>::from(format!("n{number}"));
        let all = |nodes: &[(u32, OnNode)]| {
            let nodes = nodes
                .iter()
                .map(|(number, node)| (name(*number), *node))
                .collect();
            Settled::new(&set, "hash".into(), nodes, LeftOut::default())
        };
        let mut settled = all(&[(0, running), (1, wanted), (2, running)]);
        assert!(settled.is_about(&set) && settled.is_updated());
        settled.observe(&name(1), Some(running), None);
        settled.observe(&name(0), None, None);
        settled.observe(&name(7), Some(wanted), None);
        settled.observe(&name(8), None, None);
        assert_eq!(
            settled.status(),
            all(&[(1, running), (2, running), (7, wanted)]).status()
        );
        settled.observe(
            &name(2),
            Some(OnNode {
                updated: false,
                ..running
            }),
            None,
        );
        assert!(!settled.is_updated(), "a rollout looks at all nodes");
        settled.observe(&name(2), Some(running), None);
        assert!(settled.is_updated());
        let elsewhere = |updated| OnNode {
            desired: false,
            updated,
            ..running
        };
        // It goes once there are enough others, wherever the last one of them becomes available.
        settled.observe(&name(9), Some(elsewhere(false)), None);
        assert!(!settled.is_updated(), "an old pod is left where none belongs");
        settled.observe(&name(9), Some(elsewhere(true)), None);
        assert!(settled.is_updated());
        settled.observe(&name(9), Some(elsewhere(false)), None);
        settled.observe(&name(9), None, None);
        assert!(settled.is_updated());
    }

    #[test]
    fn nodes_are_looked_at_when_their_pods_have_been_ready_for_long_enough() {
        let set = json!({"metadata": {"name": "d", "namespace": "ns"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}}, "template": {}}});
        let set: DaemonSet = crate::cache::cached::<DaemonSetView>(serde_json::from_value(set).unwrap());
        let at = |second| Timestamp::from_second(second).unwrap();
        let ready = |matures: i64| OnNode {
            desired: true,
            has_pod: true,
            ready: true,
            matures: Some(at(matures)),
            ..OnNode::default()
        };
        let name = |name: &str| Arc::<str>::from(name);
        let nodes = [(name("a"), ready(10)), (name("b"), ready(20))].into();
        let mut settled = Settled::new(&set, "hash".into(), nodes, LeftOut::default());
        settled.observe(&name("c"), Some(ready(15)), None);
        assert_eq!(settled.matures(), Some(at(10)));
        assert!(settled.matured(at(9)).is_empty());
        // It fell and is ready anew; looked at twice it waits once.
        settled.observe(&name("a"), Some(ready(30)), None);
        settled.observe(&name("a"), Some(ready(30)), None);
        assert_eq!(settled.matured(at(20)), [name("c"), name("b")]);
        settled.observe(&name("a"), None, None);
        assert_eq!(settled.matures(), None);
    }
}
