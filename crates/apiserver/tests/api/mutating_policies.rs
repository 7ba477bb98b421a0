//! Mutating admission policies (contract §17).
use crate::support::*;
use serde_json::{Value, json};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

async fn with(spec: Value) -> Client {
    let admin = Cluster::start().await.admin();
    let mut policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "map1"}, "spec": {"matchConstraints": {"resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps", "pods"]}]}}});
    for (key, value) in spec.as_object().unwrap() {
        policy["spec"][key] = value.clone();
    }
    admin
        .post(&format!("{GROUP}/mutatingadmissionpolicies"), policy)
        .await
        .ok();
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "mapb1"}, "spec": {"policyName": "map1"}});
    admin
        .post(&format!("{GROUP}/mutatingadmissionpolicybindings"), binding)
        .await
        .ok();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    admin
        .post("/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    admin
}

/// Lists with keys are merged by them, and what is added gets its defaults.
#[tokio::test]
async fn an_applied_configuration_is_merged_into_the_object() {
    let admin = with(json!({
        "matchConditions": [{"name": "pods", "expression": "request.resource.resource == 'pods'"}],
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{labels: {'added': 'yes'}}, spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'mesh', image: 'proxy:1', restartPolicy: 'Always'}]}}"}}]
    }))
    .await;
    let made = admin.post(PODS, pod("p")).await.ok();
    assert_eq!(made["metadata"]["labels"]["added"], "yes");
    let mesh = &made["spec"]["initContainers"][0];
    assert_eq!(
        (&mesh["name"], &mesh["imagePullPolicy"]),
        (&json!("mesh"), &json!("IfNotPresent"))
    );
    assert_eq!(made["spec"]["containers"].as_array().unwrap().len(), 1);
    let other = admin.post(CONFIGMAPS, configmap("c", "v")).await.ok();
    assert!(other["metadata"]["labels"].is_null());
}

#[tokio::test]
async fn a_json_patch_may_use_variables_and_what_earlier_mutations_changed() {
    let admin = with(json!({
        "variables": [{"name": "count", "expression": "size(object.data)"}],
        "mutations": [
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('first'), value: 'n' + string(variables.count)}]"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'add', path: '/data/second', value: 'n' + string(variables.count)}]"}}]
    }))
    .await;
    let made = admin.post(CONFIGMAPS, configmap("c", "v")).await.ok();
    assert_eq!(made["data"], json!({"k": "v", "first": "n1", "second": "n2"}));
}

#[tokio::test]
async fn an_expression_without_a_value_refuses_as_the_failure_policy_says() {
    let spec = |failure_policy: &str| {
        json!({"failurePolicy": failure_policy, "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/data/x', value: object.data.missing}]"}}]})
    };
    let admin = with(spec("Fail")).await;
    let message = admin.post(CONFIGMAPS, configmap("c", "v")).await.refused(422);
    assert_eq!(
        message,
        "configmaps \"c\" is forbidden: MutatingAdmissionPolicy 'map1' with binding 'mapb1' denied request: no such key: missing"
    );
    let admin = with(spec("Ignore")).await;
    let made = admin.post(CONFIGMAPS, configmap("c", "v")).await.ok();
    assert_eq!(made["data"], json!({"k": "v"}));
}

/// What is only asked is answered, whatever policies say.
#[tokio::test]
async fn reviews_are_not_mutated() {
    let admin = with(json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"],
            "resources": ["*"]}]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/data/' + object.nothing, value: 'v'}]"}}]
    }))
    .await;
    admin.post(CONFIGMAPS, configmap("c", "v")).await.refused(422);
    let asked = json!({"spec": {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(admin.post(reviews, asked).await.code, 201);
}

#[tokio::test]
async fn policies_whose_expressions_make_nothing_are_refused() {
    let admin = Cluster::start().await.admin();
    let policy = |mutation: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": "m"}, "spec": {"mutations": [mutation], "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}}})
    };
    for (mutation, part) in [
        (
            json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "'text'"}}),
            "spec.mutations[0].jsonPatch.expression: Invalid value: \"'text'\": must evaluate to list(JSONPatch)",
        ),
        (
            json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "1"}}),
            "spec.mutations[0].applyConfiguration.expression: Invalid value: \"1\": must evaluate to Object",
        ),
        (
            json!({"patchType": "Odd"}),
            "spec.mutations[0].patchType: Unsupported value: \"Odd\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
        ),
    ] {
        let path = format!("{GROUP}/mutatingadmissionpolicies");
        let message = admin.post(&path, policy(mutation)).await.refused(422);
        assert!(message.contains(part), "{message}");
    }
}
