//! Which node a pod may run on, as reasons rather than booleans: the same value becomes the scheduler's
//! event, the kubelet's rejection and the DaemonSet controller's decision.

pub mod affinity;
pub mod daemon;
mod explain;
mod node;
mod reason;
pub mod usage;

pub use affinity::{matches_required as node_affinity_matches, term_matches};
pub use daemon::{Placement, should_run};
pub use explain::explain;
pub use node::{KeptNode, NodeFacts, NodeLabels, Quantities};
pub use reason::Reason;
pub use usage::NodeUsage;

use k8s_openapi::api::core::v1::{PodSpec, Toleration};

use crate::{annotations, pod, taints};

fn tolerations(spec: &PodSpec) -> &[Toleration] {
    spec.tolerations.as_deref().unwrap_or(&[])
}

/// The scheduler's filters in order; the first filter that fails gives the reasons (only the resource filter
/// gives more than one). Empty = the node is feasible.
pub fn node_filters(spec: &PodSpec, node: &dyn NodeFacts, usage: &NodeUsage) -> Vec<Reason> {
    let node_name = node.name();
    let cordon = taints::taint(annotations::TAINT_UNSCHEDULABLE, taints::NO_SCHEDULE);
    if node.is_unschedulable() && !taints::any_tolerates(tolerations(spec), &cordon) {
        return vec![Reason::NodeUnschedulable];
    }
    if spec
        .node_name
        .as_deref()
        .is_some_and(|n| !n.is_empty() && n != node_name)
    {
        return vec![Reason::NodeName];
    }
    let effects = [taints::NO_SCHEDULE, taints::NO_EXECUTE];
    if let Some(taint) = taints::first_untolerated(node.taints(), tolerations(spec), &effects) {
        return vec![Reason::TaintToleration { taint: taint.clone() }];
    }
    if !affinity::matches_required(spec, node) {
        return vec![Reason::NodeAffinity];
    }
    if usage.has_port_conflict(&pod::host_ports(spec)) {
        return vec![Reason::NodePorts];
    }
    usage.insufficient(spec, node)
}

/// The checks a kubelet repeats when a pod arrives: every failure, resources first. `unschedulable` and
/// NoSchedule taints do not matter any more; NoExecute taints do unless the pod is static.
pub fn admission_failures(
    spec: &PodSpec,
    is_static: bool,
    node: &dyn NodeFacts,
    usage: &NodeUsage,
) -> Vec<Reason> {
    let node_name = node.name();
    let mut reasons = usage.insufficient(spec, node);
    if !affinity::matches_required(spec, node) {
        reasons.push(Reason::NodeAffinity);
    }
    if spec
        .node_name
        .as_deref()
        .is_some_and(|n| !n.is_empty() && n != node_name)
    {
        reasons.push(Reason::NodeName);
    }
    if usage.has_port_conflict(&pod::host_ports(spec)) {
        reasons.push(Reason::NodePorts);
    }
    if !is_static
        && let Some(taint) =
            taints::first_untolerated(node.taints(), tolerations(spec), &[taints::NO_EXECUTE])
    {
        reasons.push(Reason::TaintToleration { taint: taint.clone() });
    }
    reasons
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::*;

    fn node(value: serde_json::Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn texts(reasons: &[Reason]) -> Vec<String> {
        reasons.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_failing_filter_gives_the_reason() {
        let cpu = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2", "memory": "2Gi"}},
            "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        let room = json!({"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "2"}});
        for (name, spec_value, node_value, want) in [
            (
                "fits",
                cpu.clone(),
                json!({"metadata": {"name": "n"}, "status": room}),
                vec![],
            ),
            (
                "cordoned",
                cpu.clone(),
                json!({"spec": {"unschedulable": true}, "status": room}),
                vec!["node(s) were unschedulable"],
            ),
            (
                "taint",
                cpu.clone(),
                json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}, "status": room}),
                vec!["node(s) had untolerated taint(s)"],
            ),
            (
                "soft taint",
                cpu.clone(),
                json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}, "status": room}),
                vec![],
            ),
            (
                "other node",
                json!({"nodeName": "m", "containers": []}),
                json!({"metadata": {"name": "n"}, "status": room}),
                vec!["node(s) didn't match the requested node name"],
            ),
            (
                "selector",
                json!({"nodeSelector": {"a": "b"}, "containers": []}),
                json!({"status": room}),
                vec!["node(s) didn't match Pod's node affinity/selector"],
            ),
            (
                "too small",
                cpu.clone(),
                json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "1"}}}),
                vec!["Insufficient cpu", "Insufficient memory"],
            ),
            (
                "no pods",
                json!({"containers": []}),
                json!({"status": {"allocatable": {"pods": "0"}}}),
                vec!["Too many pods"],
            ),
        ] {
            let got = node_filters(&spec(spec_value), &node(node_value), &NodeUsage::default());
            assert_eq!(texts(&got), want, "{name}");
        }
    }

    #[test]
    fn ports_and_resources_of_pods_already_there_count() {
        let n = node(json!({"status": {"allocatable": {"cpu": "3", "pods": "2"}}}));
        let p = spec(
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}, "ports": [{"containerPort": 80, "hostPort": 80}]}]}),
        );
        let q = spec(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}));
        let mut usage = NodeUsage::default();
        usage.add_spec(&p);
        assert_eq!(
            texts(&node_filters(&p, &n, &usage)),
            ["node(s) didn't have free ports for the requested pod ports"]
        );
        assert_eq!(texts(&node_filters(&q, &n, &usage)), ["Insufficient cpu"]);
        assert!(Reason::preemption_helps(&node_filters(&q, &n, &usage)[0]));
        usage.add_spec(&q);
        let best_effort = spec(json!({"containers": [{"name": "c"}]}));
        assert_eq!(texts(&node_filters(&best_effort, &n, &usage)), ["Too many pods"]);
    }

    #[test]
    fn the_kubelet_lists_every_failure_and_spares_static_pods_from_taints() {
        let n = node(
            json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true, "taints": [
            {"key": "k", "effect": "NoExecute"}, {"key": "j", "effect": "NoSchedule"}]},
            "status": {"allocatable": {"cpu": "2", "pods": "1"}}}),
        );
        let mut usage = NodeUsage::default();
        usage.add_spec(&spec(
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}),
        ));
        let p = spec(
            json!({"nodeSelector": {"a": "b"}, "containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}),
        );
        let got = admission_failures(&p, false, &n, &usage);
        assert_eq!(
            got.iter().map(Reason::admission_reason).collect::<Vec<_>>(),
            ["OutOfpods", "OutOfcpu", "NodeAffinity", "TaintToleration"]
        );
        assert_eq!(
            got[1].admission_message(),
            "Node didn't have enough resource: cpu, requested: 3000, used: 500, capacity: 2000"
        );
        assert_eq!(
            got[2].admission_message(),
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        );
        assert_eq!(admission_failures(&p, true, &n, &usage).len(), 3);
    }
}
