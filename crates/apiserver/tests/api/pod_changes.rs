//! What may change in a pod that exists: cases O05 to O08, and §12.4 and §12.5 of the contract.
use crate::support::{Client, Cluster, PODS, pod};
use serde_json::{Value, json};

const ADMISSIONS: &str = r#"{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}"#;

async fn made(admin: &Client, name: &str, spec: Value) -> String {
    let mut made = pod(name);
    for (key, value) in spec.as_object().unwrap() {
        made["spec"][key] = value.clone();
    }
    admin.post(PODS, made).await.ok();
    format!("{PODS}/{name}")
}

/// The tolerations that admission adds, with one more.
fn tolerations(more: &str) -> Value {
    serde_json::from_str(&format!("[{ADMISSIONS}, {more}]")).unwrap()
}

#[tokio::test]
async fn o05_to_o07_a_spec_changes_where_it_may_and_says_where_it_may_not() {
    let admin = Cluster::start().await.admin();
    let path = made(
        &admin,
        "p",
        json!({"activeDeadlineSeconds": 100, "initContainers": [{"name": "i", "image": "i:1"}]}),
    )
    .await;
    let list = |name: &str, image: &str| json!([{"name": name, "image": image}]);
    let seconds =
        tolerations(r#"{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}"#);
    for (change, generation) in [
        (json!({"containers": list("c", "nginx:2")}), 2),
        (json!({"initContainers": list("i", "i:2")}), 3),
        (json!({"activeDeadlineSeconds": 50}), 4),
        (json!({"tolerations": seconds}), 5),
    ] {
        let changed = admin
            .patch(&path, "strategic-merge", json!({"spec": change}))
            .await
            .ok();
        assert_eq!(changed["metadata"]["generation"], generation, "{change}");
    }
    let wrong = tolerations(
        r#"{"key": "a", "operator": "Exists", "effect": "NoExecute"}, {"key": "b", "operator": "Exists", "effect": "No"}"#,
    );
    for (kind, change, text) in [
        (
            "strategic-merge",
            json!({"containers": list("c", "nginx:3 ")}),
            "spec.containers[0].image: Invalid value: \"nginx:3 \": must not have leading or trailing whitespace",
        ),
        (
            "strategic-merge",
            json!({"initContainers": list("i", "")}),
            "spec.initContainers[0].image: Required value",
        ),
        (
            "strategic-merge",
            json!({"containers": list("d", "nginx")}),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            "merge",
            json!({"activeDeadlineSeconds": 60}),
            "spec.activeDeadlineSeconds: Invalid value: 60: must be less than or equal to previous value",
        ),
        (
            "merge",
            json!({"activeDeadlineSeconds": -1}),
            "spec.activeDeadlineSeconds: Invalid value: -1: must be between 1 and 2147483647, inclusive",
        ),
        (
            "merge",
            json!({"tolerations": []}),
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
        (
            "merge",
            json!({"tolerations": wrong}),
            "spec.tolerations[3].effect: Unsupported value: \"No\"",
        ),
        (
            "merge",
            json!({"terminationGracePeriodSeconds": 1}),
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,",
        ),
        (
            "merge",
            json!({"nodeSelector": {"a": "b"}}),
            "spec: Forbidden: pod updates may not change fields other than",
        ),
        (
            "merge",
            json!({"schedulingGates": [{"name": "a.b/c"}]}),
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a.b/c'",
        ),
    ] {
        let reply = admin.patch(&path, kind, json!({"spec": change})).await;
        assert_eq!(reply.code, 422, "{change}: {}", reply.text);
        let status = reply.json();
        assert_eq!(status["reason"], "Invalid");
        let message = status["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("Pod \"p\" is invalid: {text}")),
            "{text}\nis not the beginning of\n{message}"
        );
    }
    // What is the same in meaning is no change.
    let same = json!({"spec": {"initContainers": list("i", "i:2"), "nodeSelector": {}, "volumes": []}});
    admin.patch(&path, "strategic-merge", same).await.ok();
}

#[tokio::test]
async fn gated_pods_are_aimed_and_let_go() {
    let admin = Cluster::start().await.admin();
    let term = |keys: &[&str]| {
        let requirements: Vec<Value> = keys
            .iter()
            .map(|key| json!({"key": key, "operator": "Exists"}))
            .collect();
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": requirements}]}}})
    };
    let gates = json!([{"name": "a.b/c"}, {"name": "a.b/d"}]);
    let path = made(
        &admin,
        "p",
        json!({"schedulingGates": gates, "nodeSelector": {"k": "v"}, "affinity": term(&["a"])}),
    )
    .await;
    let patch = |change: Value| admin.patch(&path, "merge", json!({"spec": change}));
    patch(json!({"schedulingGates": [{"name": "a.b/d"}]})).await.ok();
    patch(json!({"nodeSelector": {"l": "w"}, "affinity": term(&["a", "b"])}))
        .await
        .ok();
    for (change, text) in [
        (
            json!({"nodeSelector": {"k": "w"}}),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ),
        (
            json!({"affinity": term(&["b"])}),
            "nodeSelectorTerms[0]: Invalid value: ",
        ),
        (
            json!({"affinity": null}),
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        ),
    ] {
        let message = patch(change).await.refused(422);
        assert!(message.contains(text), "{text}\nis not in\n{message}");
    }
    let free = patch(json!({"schedulingGates": null})).await.ok();
    assert_eq!(free["spec"]["schedulingGates"], Value::Null);
    let message = patch(json!({"nodeSelector": {"m": "x"}})).await.refused(422);
    assert!(
        message.starts_with("Pod \"p\" is invalid: spec: Forbidden: "),
        "{message}"
    );
}

#[tokio::test]
async fn mirrors_cannot_be_made_of_pods() {
    let admin = Cluster::start().await.admin();
    let path = made(&admin, "p", json!({})).await;
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "h"}}});
    for path in [path.clone(), format!("{path}/status")] {
        assert_eq!(
            admin.patch(&path, "merge", mirror.clone()).await.refused(422),
            "Pod \"p\" is invalid: metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"
        );
    }
}

#[tokio::test]
async fn a_status_tells_nothing_that_cannot_be() {
    let admin = Cluster::start().await.admin();
    let path = made(&admin, "p", json!({"restartPolicy": "Never"})).await + "/status";
    let patch = |status: Value| admin.patch(&path, "merge", json!({"status": status}));
    let told = |state: Value| {
        json!({"containerStatuses": [{"name": "c", "image": "nginx", "imageID": "", "ready": false,
            "restartCount": 0, "state": state}]})
    };
    patch(told(json!({"terminated": {"exitCode": 1}}))).await.ok();
    patch(json!({"phase": "Failed"})).await.ok();
    patch(json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}))
        .await
        .ok();
    for (status, text) in [
        (
            told(json!({"running": {}})),
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
        ),
        (
            json!({"qosClass": "Burstable"}),
            "status.qosClass: Invalid value: \"Burstable\": field is immutable",
        ),
        (
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}),
            "status.podIPs: Invalid value: ",
        ),
        (
            json!({"podIPs": [{"ip": "here"}]}),
            "status.podIPs[0]: Invalid value: \"here\": must be a valid IP address",
        ),
        (
            json!({"conditions": [{"type": "a b", "status": "True"}]}),
            "metadata.conditions[0].Type: Invalid value: \"a b\"",
        ),
    ] {
        let message = patch(status).await.refused(422);
        assert!(
            message.starts_with(&format!("Pod \"p\" is invalid: {text}")),
            "{text}\nis not the beginning of\n{message}"
        );
    }
    let emptied = patch(json!({"qosClass": null})).await.ok();
    assert_eq!(emptied["status"]["qosClass"], "BestEffort");
}
