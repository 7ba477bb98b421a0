//! Admission policies (contract §17, case M07).
use crate::support::*;
use orlop_apiserver::UserInfo;
use serde_json::{Value, json};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn policy(spec: Value) -> Value {
    let mut made = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "vap1"}, "spec": {"matchConstraints": {"resourceRules": [{
            "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["deployments"]}]}}});
    for (key, value) in spec.as_object().unwrap() {
        made["spec"][key] = value.clone();
    }
    made
}

fn binding(spec: Value) -> Value {
    let mut made = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "vapb1"}, "spec": {"policyName": "vap1", "validationActions": ["Deny"]}});
    for (key, value) in spec.as_object().unwrap() {
        made["spec"][key] = value.clone();
    }
    made
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

async fn with(spec: Value, bound: Value) -> Client {
    let admin = Cluster::start().await.admin();
    admin.post(POLICIES, policy(spec)).await.ok();
    admin.post(BINDINGS, binding(bound)).await.ok();
    admin
}

/// M07
#[tokio::test]
async fn m07_a_violated_policy_is_422_with_policy_and_binding_name_or_a_warning() {
    let admin = with(
        json!({"validations": [{"expression": "object.spec.replicas <= 5"}]}),
        json!({}),
    )
    .await;
    admin.post(DEPLOYMENTS, deployment("fine", 5)).await.ok();
    let denied = admin.post(DEPLOYMENTS, deployment("large", 6)).await;
    assert_eq!(denied.json()["reason"], "Invalid");
    assert_eq!(
        denied.refused(422),
        "deployments.apps \"large\" is forbidden: ValidatingAdmissionPolicy 'vap1' with binding 'vapb1' denied request: \
         failed expression: object.spec.replicas <= 5"
    );
    let path = format!("{BINDINGS}/vapb1");
    admin
        .patch(
            &path,
            "merge",
            json!({"spec": {"validationActions": ["Warn", "Audit"]}}),
        )
        .await
        .ok();
    let warned = admin.post(DEPLOYMENTS, deployment("large", 6)).await;
    assert_eq!(
        warned.warnings(),
        [
            "299 - \"Validation failed for ValidatingAdmissionPolicy 'vap1' with binding 'vapb1': failed expression: object.spec.replicas <= 5\""
        ]
    );
    assert_eq!(warned.code, 201);
    admin.delete(&path, Value::Null).await.ok();
    let free = admin.post(DEPLOYMENTS, deployment("larger", 60)).await;
    assert_eq!((free.code, free.warnings()), (201, vec![]));
}

#[tokio::test]
async fn variables_messages_and_reasons_shape_the_refusal() {
    let admin = with(
        json!({
            "variables": [
                {"name": "replicas", "expression": "object.spec.replicas"},
                {"name": "limit", "expression": "'limit' in namespaceObject.metadata.?labels.orValue({}) ? int(namespaceObject.metadata.labels['limit']) : 2"}],
            "validations": [{"expression": "variables.replicas <= variables.limit", "reason": "Forbidden",
                "messageExpression": "'at most ' + string(variables.limit) + ' in ' + request.namespace"}]}),
        json!({}),
    )
    .await;
    let message = admin.post(DEPLOYMENTS, deployment("d", 3)).await.refused(403);
    assert!(
        message.ends_with("denied request: at most 2 in default"),
        "{message}"
    );
    admin
        .patch(
            "/api/v1/namespaces/default",
            "merge",
            json!({"metadata": {"labels": {"limit": "3"}}}),
        )
        .await
        .ok();
    admin.post(DEPLOYMENTS, deployment("d", 3)).await.ok();
}

#[tokio::test]
async fn updates_are_compared_and_conditions_narrow() {
    let admin = with(
        json!({
            "matchConditions": [{"name": "watched", "expression": "object.metadata.name != 'exempt'"}],
            "validations": [{"expression": "oldObject == null || object.spec.replicas >= oldObject.spec.replicas",
                "message": "may only grow"}]}),
        json!({}),
    )
    .await;
    for name in ["d", "exempt"] {
        admin.post(DEPLOYMENTS, deployment(name, 3)).await.ok();
    }
    let shrink = json!({"spec": {"replicas": 2}});
    let message = admin
        .patch(&format!("{DEPLOYMENTS}/d"), "merge", shrink.clone())
        .await
        .refused(422);
    assert!(message.ends_with("denied request: may only grow"), "{message}");
    admin
        .patch(&format!("{DEPLOYMENTS}/exempt"), "merge", shrink)
        .await
        .ok();
}

#[tokio::test]
async fn parameters_come_from_objects_that_bindings_name_or_select() {
    let admin = with(
        json!({
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "validations": [{"expression": "object.spec.replicas <= int(params.data.max)"}]}),
        json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}}),
    )
    .await;
    let message = admin.post(DEPLOYMENTS, deployment("d", 3)).await.refused(422);
    assert!(
        message.contains("no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{message}"
    );
    let limits = |name: &str, max: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"limits": "yes"}},
            "data": {"max": max}})
    };
    admin.post(CONFIGMAPS, limits("limits", "3")).await.ok();
    admin.post(DEPLOYMENTS, deployment("d", 3)).await.ok();
    assert_eq!(admin.post(DEPLOYMENTS, deployment("e", 4)).await.code, 422);
    let by_label = json!({"spec": {"paramRef": {"name": null, "selector": {"matchLabels": {"limits": "yes"}},
        "parameterNotFoundAction": "Allow"}}});
    admin
        .patch(&format!("{BINDINGS}/vapb1"), "merge", by_label)
        .await
        .ok();
    admin.post(CONFIGMAPS, limits("lower", "2")).await.ok();
    assert_eq!(admin.post(DEPLOYMENTS, deployment("e", 3)).await.code, 422);
    for name in ["limits", "lower"] {
        admin
            .delete(&format!("{CONFIGMAPS}/{name}"), Value::Null)
            .await
            .ok();
    }
    admin.post(DEPLOYMENTS, deployment("e", 30)).await.ok();
}

/// An expression without a value refuses, or is passed over, as the policy says.
#[tokio::test]
async fn a_failing_expression_follows_the_failure_policy() {
    let spec = |failure_policy: &str| json!({"failurePolicy": failure_policy, "validations": [{"expression": "object.spec.nothing == 1"}]});
    let admin = with(spec("Fail"), json!({})).await;
    let message = admin.post(DEPLOYMENTS, deployment("d", 1)).await.refused(422);
    assert!(
        message.ends_with("expression 'object.spec.nothing == 1' resulted in error: no such key: nothing"),
        "{message}"
    );
    let admin = with(spec("Ignore"), json!({})).await;
    admin.post(DEPLOYMENTS, deployment("d", 1)).await.ok();
}

/// A value for the audit log that cannot be told refuses as well, even where the binding only warns.
#[tokio::test]
async fn a_failing_annotation_follows_the_failure_policy() {
    let spec = |failure_policy: &str| {
        json!({"failurePolicy": failure_policy,
            "auditAnnotations": [{"key": "k", "valueExpression": "string(object.spec.nothing)"}]})
    };
    let warns = json!({"validationActions": ["Warn"]});
    let admin = with(spec("Fail"), warns.clone()).await;
    let message = admin.post(DEPLOYMENTS, deployment("d", 1)).await.refused(422);
    assert!(
        message.ends_with("expression 'string(object.spec.nothing)' resulted in error: no such key: nothing"),
        "{message}"
    );
    let admin = with(spec("Ignore"), warns).await;
    admin.post(DEPLOYMENTS, deployment("d", 1)).await.ok();
}

/// Validations have a budget together.
#[tokio::test]
async fn validations_that_cost_too_much_refuse_the_request() {
    let ask = "authorizer.group('').resource('pods').check('create').allowed()";
    let validations: Value = (0..16)
        .map(|_| json!({"expression": format!("{ask} && {ask}")}))
        .collect();
    let admin = with(json!({"validations": validations}), json!({})).await;
    let message = admin.post(DEPLOYMENTS, deployment("d", 1)).await.refused(422);
    assert!(
        message.ends_with(
            "denied request: validation failed due to running out of cost budget, no further validation rules will be run"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn bindings_and_rules_narrow_where_a_policy_holds() {
    let admin = with(
        json!({"validations": [{"expression": "false", "message": "no"}]}),
        json!({"matchResources": {"namespaceSelector": {"matchLabels": {"strict": "yes"}}}}),
    )
    .await;
    admin.post(DEPLOYMENTS, deployment("d", 1)).await.ok();
    admin.post(CONFIGMAPS, configmap("c", "v")).await.ok();
    let strict = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "s", "labels": {"strict": "yes"}}});
    admin.post("/api/v1/namespaces", strict).await.ok();
    let path = "/apis/apps/v1/namespaces/s/deployments";
    assert_eq!(admin.post(path, deployment("d", 1)).await.code, 422);
}

/// The authorizer answers for the request's user.
#[tokio::test]
async fn the_authorizer_is_asked_as_the_user() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let spec = json!({"validations": [{"message": "only who may delete nodes",
        "expression": "authorizer.group('').resource('nodes').check('delete').allowed() && authorizer.requestResource.check('create').allowed()"}]});
    admin.post(POLICIES, policy(spec)).await.ok();
    admin.post(BINDINGS, binding(json!({}))).await.ok();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "deployer"},
        "rules": [{"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    admin.post(&format!("{rbac}/clusterroles"), role).await.ok();
    let bound = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "deployer"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]});
    admin
        .post(&format!("{rbac}/clusterrolebindings"), bound)
        .await
        .ok();
    let alice = cluster.user(UserInfo::new("alice", ["devs"]));
    let message = alice.post(DEPLOYMENTS, deployment("d", 1)).await.refused(422);
    assert!(message.ends_with("only who may delete nodes"), "{message}");
    admin.post(DEPLOYMENTS, deployment("d", 1)).await.ok();
}

/// A policy that refuses everything can be removed.
#[tokio::test]
async fn policies_decide_about_everything_but_policies() {
    let admin = with(
        json!({
            "matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"],
                "resources": ["*/*"]}]},
            "validations": [{"expression": "false"}]}),
        json!({}),
    )
    .await;
    assert_eq!(admin.post(CONFIGMAPS, configmap("c", "v")).await.code, 422);
    admin.delete(&format!("{POLICIES}/vap1"), Value::Null).await.ok();
    admin.post(CONFIGMAPS, configmap("c", "v")).await.ok();
}

/// Expressions that do not fit the types of what the rules name are warned about in the status.
#[tokio::test]
async fn expressions_are_checked_against_the_types_that_the_rules_name() {
    let admin = Cluster::start().await.admin();
    let spec = |expression: &str| json!({"validations": [{"expression": expression}]});
    let made = admin
        .post(POLICIES, policy(spec("object.spec.replicas > 'x'")))
        .await
        .ok();
    assert_eq!(made["status"]["observedGeneration"], 1);
    let warning = &made["status"]["typeChecking"]["expressionWarnings"][0];
    assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
    assert!(
        warning["warning"]
            .as_str()
            .unwrap()
            .starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload"),
        "{warning}"
    );
    let fixed = admin
        .patch(
            &format!("{POLICIES}/vap1"),
            "merge",
            json!({"spec": spec("object.spec.replicas > 1")}),
        )
        .await
        .ok();
    assert_eq!(
        fixed["status"],
        json!({"observedGeneration": 2, "typeChecking": {}})
    );
}

/// "should type check a CRD"
#[tokio::test]
async fn expressions_are_checked_against_the_schemas_of_definitions() {
    let admin = Cluster::start().await.admin();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "cronSpec": {"type": "string"}, "replicas": {"type": "integer"}}}}});
    let crd = json!({"metadata": {"name": "crontabs.stable.example.com"}, "spec": {"group": "stable.example.com", "scope": "Namespaced",
        "names": {"plural": "crontabs", "kind": "CronTab"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    admin.post(crds, crd).await.ok();
    let spec = json!({"matchConstraints": {"resourceRules": [{"apiGroups": ["stable.example.com"], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": ["crontabs"]}]},
        "validations": [
            {"expression": "object.spec.replicas > '1'", "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"},
            {"expression": "object.spec.cronSpec.size() > 3"}]});
    let made = admin.post(POLICIES, policy(spec)).await.ok();
    let warnings = made["status"]["typeChecking"]["expressionWarnings"]
        .as_array()
        .unwrap();
    assert_eq!(warnings.len(), 2, "{made}");
    for (warning, (field, part)) in warnings.iter().zip([
        (
            "spec.validations[0].expression",
            "found no matching overload for '_>_' applied to '(int, string)'",
        ),
        (
            "spec.validations[0].messageExpression",
            "found no matching overload for '_+_' applied to '(string, int)'",
        ),
    ]) {
        assert_eq!(warning["fieldRef"], field);
        assert!(warning["warning"].as_str().unwrap().contains(part), "{warning}");
    }
}
