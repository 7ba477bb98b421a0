//! Rows about old pods and pods that go.

use serde_json::{Value, json};

use super::super::testing::revision_of;
use super::super::with_defaults;
use super::*;

/// A set of the second template.
fn set(rolling: Value) -> DaemonSet {
    with_defaults(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "set", "annotations": {}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "updateStrategy": {"rollingUpdate": rolling},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}))
    .unwrap()
}

fn node(name: &str, taints: Value) -> core::Node {
    let node = json!({"metadata": {"name": name}, "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    serde_json::from_value(node).unwrap()
}

/// A pod of that template; one of an older template is older.
fn pod(name: &str, node: &str, template: u8, ready: bool) -> core::Pod {
    let status = if ready { "True" } else { "False" };
    let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name,
        "creationTimestamp": format!("2026-01-0{template}T00:00:00Z"),
        "labels": {"app": "web", "controller-revision-hash": format!("hash-{template}")},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "web", "uid": "set", "controller": true}]},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}});
    serde_json::from_value(pod).unwrap()
}

fn going(mut pod: core::Pod) -> core::Pod {
    pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-02-01T00:00:00Z")).unwrap();
    pod
}

/// Verdict, rule, pod and reason of each row.
fn rows(set: &DaemonSet, nodes: &[core::Node], pods: &[core::Pod]) -> Vec<String> {
    let known = Known {
        nodes,
        pods,
        revisions: &[revision_of(set, "hash-2", 2)],
    };
    let now = "2026-03-01T00:00:00Z".parse().unwrap();
    let told = why(set, &known, now).nodes;
    told.into_iter()
        .map(|row| {
            let [rule, pod] = [row.rule.unwrap_or("-"), row.pod.as_deref().unwrap_or("-")];
            format!("{} {rule} {pod}: {}", row.verdict.as_str(), row.why)
        })
        .collect()
}

fn nodes(names: &[&str]) -> Vec<core::Node> {
    names.iter().map(|name| node(name, json!([]))).collect()
}

#[test]
fn an_old_pod_waits_for_those_that_are_replaced_first_or_are_down_already() {
    let nodes = nodes(&["n1", "n2", "n3"]);
    let set = set(json!({"maxUnavailable": 1}));
    let mut pods = ["n1", "n2", "n3"].map(|node| pod(&format!("old-{node}"), node, 1, true));
    let waits =
        |pod: &str| format!("Waiting maxUnavailable {pod}: of an old revision: waiting: maxUnavailable 1, 1");
    assert_eq!(
        rows(&set, &nodes, &pods),
        [
            "Replacing - old-n1: of an old revision: deleted for the newest now".to_owned(),
            format!("{} replaced first on node n1", waits("old-n2")),
            format!("{} replaced first on node n1", waits("old-n3")),
        ]
    );
    pods[2] = pod("new-n3", "n3", 2, false);
    assert_eq!(
        rows(&set, &nodes, &pods)[..2],
        ["old-n1", "old-n2"].map(|pod| format!("{} already down on node n3", waits(pod)))
    );
}

#[test]
fn what_a_partition_keeps_is_told_apart_from_what_has_its_turn_later() {
    let nodes = nodes(&["n1", "n2", "n3"]);
    let mut set = set(json!({"maxUnavailable": 1}));
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert("apps.kruise.io/partition".to_owned(), "1".to_owned());
    let pods = ["n1", "n2", "n3"].map(|node| pod(node, node, 1, true));
    let rows = rows(&set, &nodes, &pods);
    assert!(rows[1].starts_with("Waiting maxUnavailable n2"), "{}", rows[1]);
    assert_eq!(
        rows[2],
        "Waiting partition n3: of an old revision: waiting: 1 node keeps its old pod"
    );
}

#[test]
fn an_old_pod_beside_its_new_one_waits_for_that_and_for_nothing_else() {
    let nodes = nodes(&["n1"]);
    let set = set(json!({"maxUnavailable": 0, "maxSurge": 1}));
    let pods = |new_is_ready| [pod("old", "n1", 1, true), pod("new", "n1", 2, new_is_ready)];
    assert_eq!(
        rows(&set, &nodes, &pods(false)),
        [
            "Waiting maxSurge old: of an old revision: goes once new beside it is available: \
             pod exists but its node has not started it yet"
        ]
    );
    assert_eq!(
        rows(&set, &nodes, &pods(true)),
        ["Replacing maxSurge old: of an old revision: deleted now, new is there"]
    );
}

#[test]
fn what_follows_a_terminating_pod_depends_on_strategy_and_node() {
    let here = nodes(&["n1"]);
    let there = [node(
        "n1",
        json!([{"key": "disk", "value": "full", "effect": "NoExecute"}]),
    )];
    let gone = going(pod("old", "n1", 1, true));
    let (plain, surge) = (set(json!({})), set(json!({"maxUnavailable": 0, "maxSurge": 1})));
    let only = std::slice::from_ref(&gone);
    assert_eq!(
        rows(&plain, &here, only),
        ["Terminating - old: the pod is terminating; its replacement waits until it is gone"]
    );
    assert_eq!(
        rows(&surge, &here, only),
        ["Terminating - old: the pod is terminating; its replacement comes up beside it"]
    );
    assert_eq!(
        rows(&plain, &there, only),
        [
            "Terminating TaintToleration old: the pod is terminating; none follows: \
             taint disk=full:NoExecute not tolerated"
        ]
    );
    let both = [gone.clone(), pod("new", "n1", 2, true)];
    assert_eq!(rows(&surge, &here, &both), ["Running - new: ready"]);
}

#[test]
fn of_a_set_that_is_being_deleted_nothing_is_said_to_be_replaced() {
    let mut set = set(json!({}));
    set.metadata.deletion_timestamp = serde_json::from_value(json!("2026-02-01T00:00:00Z")).unwrap();
    let pods = [pod("old", "n1", 1, true)];
    assert_eq!(
        rows(&set, &nodes(&["n1"]), &pods),
        [
            "Waiting deletion old: of an old revision: the DaemonSet is being deleted: nothing is replaced any more"
        ]
    );
}
