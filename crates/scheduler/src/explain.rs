//! For a person: what every node says to a pod, from the decision that the scheduler itself takes. Pure.

use k8s_openapi::api::core::v1 as core;
use kube::Resource;
use orlop_api::placement;
use orlop_client::informer::{Cached, Lean, ObjectKey, Projection};
use std::sync::Arc;

use crate::decide::{Decision, Judge, decide};
use crate::known::cluster::Cluster;
use crate::known::view::{NAME, NodeView, Pending, PodView};
use crate::known::world::World;
use crate::profile::Profile;

/// What one node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAnswer {
    /// The node.
    pub node: String,
    /// The filter that refuses; `None` if the pod may go there.
    pub rule: Option<&'static str>,
    /// What was compared.
    pub why: String,
}

/// What becomes of a pod that waits.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The node it would be bound to now.
    pub chosen: Option<String>,
    /// The scheduler's words if there is none.
    pub message: Option<String>,
    /// By name.
    pub nodes: Vec<NodeAnswer>,
}

/// Asks all of `nodes`, of which `pods` take parts; `None` if the pod doesn't wait for this scheduler.
pub fn explain(pod: &core::Pod, nodes: &[core::Node], pods: &[core::Pod]) -> Option<Answer> {
    let key = ObjectKey::of(pod);
    let PodView::Pending(mut pending) = PodView::project(Lean(pod.clone())) else {
        return None;
    };
    if *pending.scheduler != *NAME {
        return None;
    }
    // Volumes weren't asked for.
    pending.claims = Box::default();
    let (world, profile) = (World::default(), Profile::default());
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.put_node(seen::<NodeView>(Lean(node.clone())));
    }
    for other in pods {
        let other = seen::<PodView>(Lean(other.clone()));
        if let Some((node, holder)) = other.holder(&other.uid) {
            cluster.hold(&other.key, node, holder);
        }
    }
    let (chosen, message) = match decide(&key, &pending, &mut cluster, &world, &profile) {
        Decision::Bind(node) => (Some(node.to_string()), None),
        Decision::Unschedulable(refusals) => (None, Some(refusals.without_preemption())),
    };
    let mut names: Vec<&str> = nodes
        .iter()
        .filter_map(|node| node.metadata.name.as_deref())
        .collect();
    names.sort_unstable();
    let judge = Judge::of(&key, &pending, &mut cluster, &world, &profile.rules).ok()?;
    let nodes = names
        .into_iter()
        .filter_map(|name| of_node(&judge, &pending, &mut cluster, name))
        .collect();
    Some(Answer {
        chosen,
        message,
        nodes,
    })
}

fn of_node(judge: &Judge<'_>, pod: &Pending, cluster: &mut Cluster, name: &str) -> Option<NodeAnswer> {
    let answer = |rule, why| {
        Some(NodeAnswer {
            node: name.to_owned(),
            rule,
            why,
        })
    };
    if let Some(names) = &pod.confined_to
        && names.iter().all(|confined| &**confined != name)
    {
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        return answer(
            Some("NodeAffinity"),
            format!("the pod is for node {}", names.join(" or ")),
        );
    }
    let candidate = cluster.candidate(name)?;
    let node = &candidate.node.node;
    let reasons = judge.reasons(&candidate);
    let Some(first) = reasons.first() else {
        return answer(None, "it fits".to_owned());
    };
    let told: Vec<String> = reasons
        .iter()
        .map(|reason| placement::explain(reason, &pod.spec, node))
        .collect();
    answer(Some(first.filter()), told.join("; "))
}

fn seen<P: Projection>(object: P::Object) -> Arc<Cached<P>> {
    Arc::new(Cached {
        key: ObjectKey::of(&object),
        uid: object.meta().uid.as_deref().unwrap_or_default().into(),
        resource_version: 1,
        object: P::project(object),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_node_says_which_rule_refuses_and_what_was_compared() {
        let node = |name: &str, taints: serde_json::Value| -> core::Node {
            serde_json::from_value(
                json!({"metadata": {"name": name, "labels": {"zone": name}}, "spec": {"taints": taints},
                "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}}}),
            )
            .unwrap()
        };
        let pod = |name: &str, spec: serde_json::Value| -> core::Pod {
            serde_json::from_value(
                json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": spec}),
            )
            .unwrap()
        };
        let container = json!([{"name": "c", "resources": {"requests": {"cpu": "1500m"}}}]);
        let nodes = [
            node(
                "a",
                json!([{"key": "disk", "value": "full", "effect": "NoSchedule"}]),
            ),
            node("b", json!([])),
            node("c", json!([])),
        ];
        let taken = pod("taken", json!({"nodeName": "b", "containers": container}));
        let waiting = pod("waiting", json!({"containers": container}));
        let answer = explain(&waiting, &nodes, std::slice::from_ref(&taken)).unwrap();
        assert_eq!((answer.chosen.as_deref(), answer.message), (Some("c"), None));
        let told: Vec<(&str, Option<&str>, &str)> = answer
            .nodes
            .iter()
            .map(|node| (node.node.as_str(), node.rule, node.why.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "a",
                    Some("TaintToleration"),
                    "taint disk=full:NoSchedule not tolerated"
                ),
                (
                    "b",
                    Some("NodeResourcesFit"),
                    "cpu: wants 1500m, 1500m of 2000m are taken"
                ),
                ("c", None, "it fits"),
            ]
        );
        assert!(explain(&taken, &nodes, &[]).is_none(), "it has its node");
        let answer = explain(&waiting, &nodes[..2], std::slice::from_ref(&taken)).unwrap();
        let message = answer.message.unwrap();
        assert_eq!(
            message,
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s)."
        );
    }
}
