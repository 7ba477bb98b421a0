use super::super::testing::revision_of;
use super::*;
use serde_json::{Value, json};

fn set(image: &str, rolling: Value) -> DaemonSet {
    super::super::with_defaults(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "set", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "updateStrategy": {"rollingUpdate": rolling},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}}))
    .unwrap()
}

fn nodes(count: usize) -> Vec<core::Node> {
    (0..count)
        .map(|number| {
            let taints = if number == 0 {
                json!([{"key": "disk", "value": "full", "effect": "NoSchedule"}])
            } else {
                json!([])
            };
            serde_json::from_value(
                json!({"metadata": {"name": format!("n{number}")}, "spec": {"taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
            )
            .unwrap()
        })
        .collect()
}

fn pods(on: std::ops::Range<usize>) -> Vec<core::Pod> {
    on.map(|number| {
        serde_json::from_value(json!({"metadata": {"name": format!("web-{number}"), "namespace": "ns", "uid": format!("p{number}"),
            "labels": {"app": "web", "controller-revision-hash": "old"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "web", "uid": "set", "controller": true}]},
            "spec": {"nodeName": format!("n{number}"), "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}))
        .unwrap()
    })
    .collect()
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| format!("{} {}", step.action.as_str(), step.nodes.join(" ")))
        .collect()
}

fn planned(set: &DaemonSet, existing: Option<&DaemonSet>, pods: &[core::Pod]) -> Plan {
    let nodes = nodes(4);
    let known = Known {
        nodes: &nodes,
        pods,
        revisions: &[],
    };
    plan(set, existing, &known, Timestamp::UNIX_EPOCH)
}

#[test]
fn a_new_daemon_set_is_created_everywhere_at_once_but_where_a_taint_is() {
    let plan = planned(&set("i:1", json!({})), None, &[]);
    assert_eq!(steps(&plan), ["create n1 n2 n3"]);
    assert_eq!(plan.summary, "is created; pods change on 3 nodes");
    assert_eq!(plan.left_out["taint disk=full:NoSchedule not tolerated"], ["n0"]);
}

#[test]
fn a_new_template_goes_node_by_node_within_its_limits() {
    let new = set("i:2", json!({"maxUnavailable": 2}));
    let plan = planned(&new, Some(&new), &pods(1..4));
    assert_eq!(steps(&plan), ["replace n1 n2", "replace n3"]);
    let new = set("i:2", json!({"maxUnavailable": 0, "maxSurge": 1}));
    let plan = planned(&new, Some(&new), &pods(1..4));
    assert_eq!(steps(&plan), ["surge n1", "surge n2", "surge n3"]);
}

#[test]
fn what_annotations_keep_back_is_told() {
    let mut new = set("i:2", json!({}));
    new.metadata.annotations = Some([("apps.kruise.io/partition".to_owned(), "2".to_owned())].into());
    let plan = planned(&new, Some(&new), &pods(1..4));
    assert_eq!(steps(&plan), ["replace n1"]);
    assert!(
        plan.summary
            .ends_with("2 pods stay of an old template: as annotations ask"),
        "{}",
        plan.summary
    );
}

#[test]
fn a_template_that_there_was_before_is_told_apart_from_the_current_one() {
    let (first, second) = (set("i:1", json!({})), set("i:2", json!({})));
    let (nodes, pods) = (nodes(4), pods(1..4));
    let known = Known {
        nodes: &nodes,
        pods: &pods,
        revisions: &[revision_of(&first, "first", 1)],
    };
    let summary =
        |set: &DaemonSet, before: &DaemonSet| plan(set, Some(before), &known, Timestamp::UNIX_EPOCH).summary;
    assert_eq!(
        summary(&first, &second),
        "gets the template of an earlier revision; pods change on 3 nodes"
    );
    assert_eq!(
        summary(&second, &first),
        "gets a new template; pods change on 3 nodes"
    );
    assert!(summary(&first, &first).starts_with("has this template already; "));
}
