//! A DaemonSet's pods by the node they are on or pinned to.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use orlop_api::placement::{self, Reason};
use orlop_client::informer::Cached;

use crate::cache::{DaemonSetView, NodeView, Pod, PodView};

/// Where a DaemonSet's pod should be, as placement decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeChoice {
    /// The node.
    pub name: Arc<str>,
    /// A missing pod is created.
    pub run: bool,
    /// A pod that is there may go on.
    pub keep: bool,
    /// The node is Ready.
    pub ready: bool,
    /// An old pod there may be replaced for a newer one.
    pub update: bool,
    /// The taint for which no pod is created there, in words.
    pub tainted: Option<Arc<str>>,
}

impl NodeChoice {
    /// What `set` wants of `node`.
    pub fn of(set: &DaemonSetView, node: &Cached<NodeView>) -> Self {
        let placement = placement::should_run(&set.placed, &node.node);
        Self {
            name: node.key.name.clone(),
            run: placement.run,
            keep: placement.run || placement.continue_,
            ready: node.is_ready(),
            update: set.options.updates_node(&node.node.labels),
            tainted: placement.reasons.iter().find_map(|reason| match reason {
                Reason::TaintToleration { taint } => {
                    Some(format!("taint {}", orlop_api::taints::display(taint)).into())
                }
                _ => None,
            }),
        }
    }
}

/// Pods by target node. Pods that are terminal **and** terminating are left out: a finished pod
/// held by a finalizer must not block its replacement. So are pods without a derivable target.
#[derive(Debug, Default)]
pub struct PodsByNode {
    pods: BTreeMap<Arc<str>, Vec<Pod>>,
}

impl PodsByNode {
    /// Groups `pods`; within a node they come in [`on`](Self::on)'s order.
    pub fn new(pods: &[Pod]) -> Self {
        let mut by_node: BTreeMap<Arc<str>, Vec<Pod>> = BTreeMap::new();
        for pod in pods {
            if let Some(target) = &pod.target
                && !(pod.is_terminal() && pod.terminating)
            {
                by_node.entry(target.clone()).or_default().push(pod.clone());
            }
        }
        for pods in by_node.values_mut() {
            sort(pods);
        }
        Self { pods: by_node }
    }

    /// The pods of `node`: bound before unbound, older before younger, then by name. The first one
    /// counts in the status.
    pub fn on(&self, node: &str) -> &[Pod] {
        self.pods.get(node).map_or(&[], Vec::as_slice)
    }

    /// The same once `created` are there and `deleted` are on their way out.
    pub fn after(self, created: &[Pod], deleted: &[Pod]) -> Self {
        if created.is_empty() && deleted.is_empty() {
            return self;
        }
        let deleted: HashSet<&str> = deleted.iter().map(|pod| &*pod.uid).collect();
        let mut pods: Vec<Pod> = self.pods.into_values().flatten().collect();
        for pod in &mut pods {
            if deleted.contains(&*pod.uid) {
                *pod = Arc::new(Cached {
                    key: pod.key.clone(),
                    uid: pod.uid.clone(),
                    resource_version: pod.resource_version,
                    object: PodView {
                        terminating: true,
                        ..pod.object.clone()
                    },
                });
            }
        }
        pods.extend_from_slice(created);
        Self::new(&pods)
    }

    /// All nodes with pods, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&Arc<str>, &[Pod])> {
        self.pods.iter().map(|(node, pods)| (node, pods.as_slice()))
    }
}

fn sort(pods: &mut [Pod]) {
    pods.sort_by(|a, b| {
        let key = |pod: &Pod| (pod.node.is_none(), pod.created);
        key(a).cmp(&key(b)).then_with(|| a.key.name.cmp(&b.key.name))
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::pod;
    use super::*;
    use crate::cache::cached;
    use k8s_openapi::api::core::v1 as core;
    use orlop_client::informer::Lean;
    use serde_json::{Value, json};

    #[test]
    fn p10_p11_p12_p13_what_a_node_says_of_itself_keeps_no_pod_away_but_its_taints_may() {
        let set = json!({"metadata": {"name": "d", "namespace": "ns"},
            "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": {"spec": {"containers": []}}}});
        let set = cached::<DaemonSetView>(serde_json::from_value(set).unwrap());
        let taints = |effect: &str, keys: &[&str]| -> Value {
            let taint = |key: &&str| json!({"key": format!("node.kubernetes.io/{key}"), "effect": effect});
            keys.iter().map(taint).collect()
        };
        for (what, taints, ready, run) in [
            (
                "p10 under pressure",
                taints(
                    "NoSchedule",
                    &["memory-pressure", "disk-pressure", "pid-pressure"],
                ),
                "True",
                true,
            ),
            (
                "p11 to be emptied",
                taints("NoExecute", &["not-ready", "unreachable"]),
                "False",
                true,
            ),
            ("p12 not Ready, without any taint", json!([]), "False", true),
            ("p12 not heard of", json!([]), "Unknown", true),
            ("p13 fresh", taints("NoSchedule", &["not-ready"]), "False", false),
        ] {
            let node = json!({"metadata": {"name": "n"}, "spec": {"taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            let node: core::Node = serde_json::from_value(node).unwrap();
            let choice = NodeChoice::of(&set, &cached::<NodeView>(Lean(node)));
            assert_eq!((choice.run, choice.keep), (run, true), "{what}");
            assert_eq!(choice.ready, ready == "True", "{what}");
        }
    }

    #[test]
    fn c02_bound_pods_win_over_unbound_and_older_over_younger() {
        let pods = [
            pod("young").on("n").age(1).build(),
            pod("unbound").pinned("n").age(9).build(),
            pod("old").on("n").age(5).build(),
        ];
        let grouped = PodsByNode::new(&pods);
        let names: Vec<&str> = grouped.on("n").iter().map(|pod| &*pod.key.name).collect();
        assert_eq!(names, ["old", "young", "unbound"]);
    }

    #[test]
    fn what_a_sync_did_counts_before_the_cache_shows_it() {
        let pods = [
            pod("stays").on("a").build(),
            pod("goes").on("b").build(),
            pod("failed").on("c").failed().build(),
        ];
        let (created, deleted) = (
            [pod("new").pinned("d").build()],
            [pods[1].clone(), pods[2].clone()],
        );
        let after = PodsByNode::new(&pods).after(&created, &deleted);
        let on = |node: &str| -> Vec<(String, bool)> {
            let pods = after.on(node).iter();
            pods.map(|pod| (pod.key.name.to_string(), pod.terminating))
                .collect()
        };
        assert_eq!(on("a"), [("stays".to_owned(), false)]);
        assert_eq!(on("b"), [("goes".to_owned(), true)]);
        assert_eq!(on("c"), []);
        assert_eq!(on("d"), [("new".to_owned(), false)]);
    }

    #[test]
    fn a_finished_pod_held_by_a_finalizer_blocks_nothing() {
        let pods = [
            pod("done").on("n").failed().terminating().build(),
            pod("lost").build(),
        ];
        assert!(PodsByNode::new(&pods).nodes().next().is_none());
    }
}
