//! The rolling update pass (contract §4.2, §4.3): which old pods may go, and where a new pod may
//! come up beside an old one.

use std::sync::Arc;

use jiff::Timestamp;
use orlop_api::annotations::{CONTROLLER_REVISION_HASH, POD_TEMPLATE_GENERATION};

use super::grouping::{NodeChoice, PodsByNode};
use super::strategy::Limits;
use crate::cache::Pod;

/// What makes a pod an updated one, and available.
#[derive(Debug, Clone)]
pub struct Current<'a> {
    /// Hash label of the current revision.
    pub hash: &'a str,
    /// The DaemonSet's template generation.
    pub generation: Option<&'a str>,
    /// spec.minReadySeconds.
    pub min_ready_seconds: i32,
    /// The clock.
    pub now: Timestamp,
}

impl Current<'_> {
    /// Whether `pod` was made from the current template.
    pub fn is_updated(&self, pod: &Pod) -> bool {
        let label = |name: &str| pod.labels.get(name).map(String::as_str);
        label(CONTROLLER_REVISION_HASH) == Some(self.hash)
            || (self.generation.is_some() && label(POD_TEMPLATE_GENERATION) == self.generation)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod.is_available(self.min_ready_seconds, self.now)
    }
}

/// What the pass decided.
#[derive(Debug, Default)]
pub struct Replacements {
    /// Nodes to create a new pod on, beside the old one.
    pub create: Vec<Arc<str>>,
    /// Old pods to delete.
    pub delete: Vec<Pod>,
}

/// A node's pods that aren't terminating, if there is at most one old and one updated of them.
enum OnNode<'a> {
    TooMany,
    Pods {
        old: Option<&'a Pod>,
        updated: Option<&'a Pod>,
    },
}

impl Current<'_> {
    fn on_node<'a>(&self, pods: &'a [Pod]) -> OnNode<'a> {
        let (mut old, mut updated) = (None, None);
        for pod in pods.iter().filter(|pod| !pod.terminating) {
            let slot = if self.is_updated(pod) {
                &mut updated
            } else {
                &mut old
            };
            if slot.replace(pod).is_some() {
                return OnNode::TooMany;
            }
        }
        OnNode::Pods { old, updated }
    }
}

/// Nodes with pods, and those that should have one.
fn all_nodes<'a>(
    nodes: &'a [NodeChoice],
    pods: &'a PodsByNode,
) -> impl Iterator<Item = (&'a Arc<str>, &'a [Pod])> {
    let missing = nodes
        .iter()
        .filter(|node| node.run && pods.on(&node.name).is_empty());
    pods.nodes().chain(missing.map(|node| (&node.name, &[][..])))
}

/// Deletes unavailable old pods, and available ones while the limit allows it. Creates nothing: the
/// next manage pass does once the old pod is gone.
pub fn without_surge(
    current: &Current<'_>,
    limits: Limits,
    nodes: &[NodeChoice],
    pods: &PodsByNode,
) -> Replacements {
    let mut unavailable = 0;
    let mut broken = Vec::new();
    let mut candidates = Vec::new();
    for (_, pods) in all_nodes(nodes, pods) {
        match current.on_node(pods) {
            OnNode::Pods {
                old: None,
                updated: Some(updated),
            } => {
                unavailable += usize::from(!current.is_available(updated));
            }
            OnNode::Pods {
                old: Some(old),
                updated: None,
            } if current.is_available(old) => {
                candidates.push(old.clone());
            }
            OnNode::Pods {
                old: Some(old),
                updated: None,
            } => {
                unavailable += 1;
                broken.push(old.clone());
            }
            // Nothing there, or more than belongs there, which the manage pass cleans up.
            OnNode::TooMany | OnNode::Pods { .. } => unavailable += 1,
        }
    }
    candidates.truncate(limits.max_unavailable.saturating_sub(unavailable));
    broken.extend(candidates);
    Replacements {
        create: Vec::new(),
        delete: broken,
    }
}

/// Creates new pods beside old ones within the limit, deletes old ones whose new one is available.
pub fn with_surge(
    current: &Current<'_>,
    limits: Limits,
    desired: usize,
    nodes: &[NodeChoice],
    pods: &PodsByNode,
) -> Replacements {
    let choice = |name: &str| {
        nodes
            .binary_search_by(|node| (*node.name).cmp(name))
            .ok()
            .map(|at| &nodes[at])
    };
    let (mut surge, mut available) = (0, 0);
    let mut plan = Replacements::default();
    let mut candidates = Vec::new();
    let mut retirees = Vec::new();
    for (node, pods) in all_nodes(nodes, pods) {
        let OnNode::Pods { old, updated } = current.on_node(pods) else {
            surge += 1;
            continue;
        };
        available += usize::from(old.or(updated).is_some_and(|pod| current.is_available(pod)));
        // A node that is gone: pod garbage collection removes what is bound there.
        let Some(choice) = choice(node) else { continue };
        match (old, updated) {
            (None, _) => {}
            (Some(old), None) if !current.is_available(old) => {
                if choice.run {
                    plan.create.push(node.clone());
                } else {
                    plan.delete.push(old.clone());
                }
            }
            (Some(old), None) if !choice.run => retirees.push(old.clone()),
            (Some(_), None) => candidates.push(node.clone()),
            (Some(old), Some(updated)) if current.is_available(updated) => plan.delete.push(old.clone()),
            (Some(_), Some(_)) => surge += 1,
        }
    }
    candidates.truncate(limits.max_surge.saturating_sub(surge));
    plan.create.extend(candidates);
    // Moving between node groups must not drop below the desired number of available pods.
    retirees.truncate(available.saturating_sub(desired));
    plan.delete.extend(retirees);
    plan
}

#[cfg(test)]
mod tests {
    use super::super::testing::{choice, names, nodes, now, pod};
    use super::*;

    const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

    fn current() -> Current<'static> {
        Current {
            hash: "new",
            generation: Some("2"),
            min_ready_seconds: 0,
            now: now(),
        }
    }

    fn deletes(max_unavailable: usize, nodes: &[NodeChoice], pods: &[Pod]) -> Vec<String> {
        let limits = Limits {
            max_unavailable,
            max_surge: 0,
        };
        names(&without_surge(&current(), limits, nodes, &PodsByNode::new(pods)).delete)
    }

    fn surge(
        max_surge: usize,
        desired: usize,
        nodes: &[NodeChoice],
        pods: &[Pod],
    ) -> (Vec<String>, Vec<String>) {
        let limits = Limits {
            max_unavailable: 0,
            max_surge,
        };
        let plan = with_surge(&current(), limits, desired, nodes, &PodsByNode::new(pods));
        (
            plan.create.iter().map(ToString::to_string).collect(),
            names(&plan.delete),
        )
    }

    fn old(node: &str) -> Pod {
        pod(&format!("old-{node}")).on(node).ready().build()
    }

    fn new(node: &str) -> Pod {
        pod(&format!("new-{node}"))
            .on(node)
            .hash("new")
            .ready()
            .age(5)
            .build()
    }

    #[test]
    fn u03_rounds_of_two_delete_two_two_and_one() {
        let nodes = nodes(FIVE);
        let mut pods: Vec<Pod> = FIVE.iter().map(|node| old(node)).collect();
        assert_eq!(deletes(2, &nodes, &pods), ["old-a", "old-b"]);
        pods.drain(..2);
        assert!(deletes(2, &nodes, &pods).is_empty(), "two nodes are empty");
        pods.extend([new("a"), new("b")]);
        assert_eq!(deletes(2, &nodes, &pods), ["old-c", "old-d"]);
        pods.drain(..2);
        pods.extend([new("c"), new("d")]);
        assert_eq!(deletes(2, &nodes, &pods), ["old-e"]);
    }

    #[test]
    fn u04_new_pods_that_stay_unready_stop_the_update() {
        let pods = [pod("new-a").on("a").hash("new").build(), old("b"), old("c")];
        assert!(deletes(1, &nodes(["a", "b", "c"]), &pods).is_empty());
    }

    #[test]
    fn u05_unready_old_pods_are_all_deleted_whatever_the_limit() {
        let pods: Vec<Pod> = FIVE.iter().map(|node| pod(node).on(node).build()).collect();
        assert_eq!(deletes(3, &nodes(FIVE), &pods), FIVE);
    }

    #[test]
    fn u06_healthy_old_pods_stay_while_broken_new_ones_use_up_the_limit() {
        let names: Vec<String> = (0..20).map(|n| format!("n{n:02}")).collect();
        let nodes: Vec<NodeChoice> = names.iter().map(|name| choice(name, true, true)).collect();
        let broken = |name: &str| pod(name).on(name).hash("broken").build();
        let pods: Vec<Pod> = names[..10]
            .iter()
            .map(|n| broken(n))
            .chain(names[10..].iter().map(|n| old(n)))
            .collect();
        assert_eq!(deletes(10, &nodes, &pods), names[..10], "only the broken ones");
        let with_eleven = deletes(11, &nodes, &pods);
        assert_eq!(with_eleven.len(), 11, "one healthy old pod goes: {with_eleven:?}");
    }

    #[test]
    fn u07_pods_of_the_current_template_are_not_touched() {
        let by_generation = {
            let mut view = pod("p").on("a").ready().build().object.clone();
            view.labels.insert(POD_TEMPLATE_GENERATION.into(), "2".into());
            Arc::new(orlop_client::informer::Cached {
                key: orlop_client::informer::ObjectKey::new("ns", "p"),
                uid: "p".into(),
                resource_version: 1,
                object: view,
            })
        };
        assert!(deletes(1, &nodes(["a"]), &[by_generation]).is_empty());
    }

    #[test]
    fn u09_surge_rounds_create_before_they_delete() {
        let nodes = nodes(FIVE);
        let mut pods: Vec<Pod> = FIVE.iter().map(|node| old(node)).collect();
        assert_eq!(surge(2, 5, &nodes, &pods), (vec!["a".into(), "b".into()], vec![]));
        pods.extend([new("a"), new("b")]);
        assert_eq!(
            surge(2, 5, &nodes, &pods),
            (vec!["c".into(), "d".into()], vec!["old-a".into(), "old-b".into()])
        );
        pods.drain(..2);
        pods.extend([new("c"), new("d")]);
        assert_eq!(
            surge(2, 5, &nodes, &pods),
            (vec!["e".into()], vec!["old-c".into(), "old-d".into()])
        );
        pods.drain(..2);
        pods.push(new("e"));
        assert_eq!(surge(2, 5, &nodes, &pods), (vec![], vec!["old-e".into()]));
    }

    #[test]
    fn u10_an_unready_old_pod_gets_its_new_one_beyond_the_limit() {
        let pods = [
            old("a"),
            pod("old-b").on("b").build(),
            pod("old-c").on("c").build(),
        ];
        let (mut creates, _) = surge(1, 3, &nodes(["a", "b", "c"]), &pods);
        creates.sort();
        assert_eq!(creates, ["a", "b", "c"]);
    }

    #[test]
    fn u13_pods_leaving_a_node_group_wait_for_the_others() {
        // `y` is left, `s` is in both groups, `z` is new.
        let nodes = [
            choice("s", true, true),
            choice("y", false, true),
            choice("z", true, true),
        ];
        let pods = [old("s"), old("y")];
        assert_eq!(
            surge(1, 2, &nodes, &pods),
            (vec!["s".into()], vec![]),
            "2 available, 2 desired"
        );
        let pods = [new("s"), new("z"), old("y")];
        assert_eq!(surge(1, 2, &nodes, &pods).1, ["old-y"]);
        let nodes = [choice("s", false, true), choice("y", false, true)];
        assert_eq!(surge(1, 0, &nodes, &[old("s"), old("y")]).1, ["old-s", "old-y"]);
    }
}
