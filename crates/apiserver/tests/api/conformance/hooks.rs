//! "AdmissionWebhook", as upstream's suite takes custom resources, connections and definitions through it.
use crate::support::{CONFIGMAPS, Client, Cluster, PODS, Reply, configmap, pod};
use crate::webhook_server::{Does, WebhookServer, patched};
use serde_json::{Value, json};

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TESTS: &str = "/apis/webhook.example.com/v1/namespaces/default/tests";
const TESTS_V2: &str = "/apis/webhook.example.com/v2/namespaces/default/tests";

fn hook(name: &str, client: Value, group: &str, operations: &[&str], resources: &[&str]) -> Value {
    json!({"name": format!("{name}.k8s.io"), "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": [{"operations": operations, "apiGroups": [group],
            "apiVersions": ["v1"], "resources": resources}]})
}

async fn configure(admin: &Client, path: &str, webhooks: Value) {
    admin
        .post(
            path,
            json!({"metadata": {"name": "hooks", "labels": {"e2e": "yes"}}, "webhooks": webhooks}),
        )
        .await
        .ok();
}

/// With versions 1, stored, and 2, of this schema.
fn definition(schema: Value) -> Value {
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}});
    json!({"metadata": {"name": "tests.webhook.example.com"}, "spec": {"group": "webhook.example.com", "scope": "Namespaced",
        "names": {"plural": "tests", "kind": "Test"}, "versions": [version("v1", true), version("v2", false)]}})
}

fn any() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn custom(name: &str, data: Value) -> Value {
    json!({"apiVersion": "webhook.example.com/v1", "kind": "Test", "metadata": {"name": name}, "data": data})
}

/// Adds the next stage where the one before is there.
fn stage(request: &Value) -> Value {
    let data = &request["object"]["data"];
    for (before, next) in [
        ("mutation-start", "mutation-stage-1"),
        ("mutation-stage-1", "mutation-stage-2"),
    ] {
        if data[before] == "yes" && data[next].is_null() {
            return patched(&json!([{"op": "add", "path": format!("/data/{next}"), "value": "yes"}]));
        }
    }
    json!({"allowed": true})
}

fn denied(reply: Reply, part: &str) {
    let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        (400..500).contains(&reply.code) && message.contains(part),
        "{}: {message}",
        reply.code
    );
}

/// "should be able to deny custom resource creation, update and deletion"
#[tokio::test]
async fn m02_custom_resources_are_denied_when_they_are_made_changed_and_deleted() {
    let admin = Cluster::start().await.admin();
    admin.post(CRDS, definition(any())).await.ok();
    let server = WebhookServer::start(Does::Answers(|request| {
        let object = match request["operation"].as_str() {
            Some("DELETE") => &request["oldObject"],
            _ => &request["object"],
        };
        match object["data"]["webhook-e2e-test"] == "webhook-disallow" {
            true => {
                json!({"allowed": false, "status": {"message": "the custom resource contains unwanted data"}})
            }
            false => json!({"allowed": true}),
        }
    }))
    .await;
    let all = hook(
        "deny-custom",
        server.by_url("/custom-resource"),
        "webhook.example.com",
        &["CREATE", "UPDATE", "DELETE"],
        &["tests"],
    );
    configure(&admin, VALIDATING, json!([all])).await;
    let why = "admission webhook \"deny-custom.k8s.io\" denied the request: the custom resource contains unwanted data";
    let bad = json!({"webhook-e2e-test": "webhook-disallow"});
    denied(admin.post(TESTS, custom("cr", bad.clone())).await, why);
    admin
        .post(TESTS, custom("cr", json!({"webhook-e2e-test": "webhook-allow"})))
        .await
        .ok();
    let path = format!("{TESTS}/cr");
    denied(admin.patch(&path, "merge", json!({"data": bad})).await, why);
    // Version 2 is the same resource to a rule about version 1.
    denied(
        admin
            .patch(&format!("{TESTS_V2}/cr"), "merge", json!({"data": bad}))
            .await,
        why,
    );
    let (_, request) = server.asked().pop().unwrap();
    assert_eq!(
        (
            &request["kind"]["version"],
            &request["requestKind"]["version"],
            &request["object"]["apiVersion"]
        ),
        (&json!("v1"), &json!("v2"), &json!("webhook.example.com/v1"))
    );
    admin.delete(VALIDATING, Value::Null).await.ok();
    admin.patch(&path, "merge", json!({"data": bad})).await.ok();
    let all = hook(
        "deny-custom",
        server.by_url("/custom-resource"),
        "webhook.example.com",
        &["DELETE"],
        &["tests"],
    );
    configure(&admin, VALIDATING, json!([all])).await;
    denied(admin.delete(&path, Value::Null).await, why);
    denied(admin.delete(TESTS, Value::Null).await, why);
    admin
        .patch(
            &path,
            "merge",
            json!({"data": {"webhook-e2e-test": "webhook-allow"}}),
        )
        .await
        .ok();
    admin.delete(&path, Value::Null).await.ok();
    assert_eq!(admin.get(&path).await.code, 404);
}

/// "should mutate custom resource", "… with pruning", "… with different stored version"
#[tokio::test]
async fn m03_custom_resources_are_mutated_in_stages_and_pruned_afterwards() {
    let text = json!({"type": "string"});
    let pruning = json!({"type": "object", "properties": {"data": {"type": "object", "properties":
        {"mutation-start": text, "mutation-stage-1": text}}, "dummy": {"type": "string"}}});
    for (schema, second) in [(any(), json!("yes")), (pruning, Value::Null)] {
        let admin = Cluster::start().await.admin();
        admin.post(CRDS, definition(schema)).await.ok();
        let server = WebhookServer::start(Does::Answers(stage)).await;
        let one = |name: &str| {
            hook(
                name,
                server.by_url("/mutating-custom-resource"),
                "webhook.example.com",
                &["CREATE", "UPDATE"],
                &["tests"],
            )
        };
        configure(&admin, MUTATING, json!([one("stage-1"), one("stage-2")])).await;
        let made = admin
            .post(TESTS, custom("cr", json!({"mutation-start": "yes"})))
            .await
            .ok();
        let mut data = json!({"mutation-start": "yes", "mutation-stage-1": "yes"});
        if second == "yes" {
            data["mutation-stage-2"] = second;
        }
        assert_eq!(made["data"], data);
        assert_eq!(admin.get(&format!("{TESTS}/cr")).await.ok()["data"], data);
        let flip = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
            {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
        admin
            .patch(&format!("{CRDS}/tests.webhook.example.com"), "json", flip)
            .await
            .ok();
        let patched = admin
            .patch(&format!("{TESTS}/cr"), "merge", json!({"dummy": "test"}))
            .await
            .ok();
        assert_eq!((&patched["data"], &patched["dummy"]), (&data, &json!("test")));
        assert_eq!(patched["apiVersion"], "webhook.example.com/v1");
        assert_eq!(admin.get(&format!("{TESTS_V2}/cr")).await.ok()["dummy"], "test");
    }
}

/// "should deny crd creation"
#[tokio::test]
async fn m02_a_definition_is_denied_by_its_label() {
    let admin = Cluster::start().await.admin();
    let server = WebhookServer::start(Does::Answers(
        |_| json!({"allowed": false, "status": {"message": "the crd contains unwanted label"}}),
    ))
    .await;
    let mut one = hook(
        "deny-crd",
        server.by_url("/crd"),
        "apiextensions.k8s.io",
        &["CREATE"],
        &["customresourcedefinitions"],
    );
    one["objectSelector"] = json!({"matchExpressions": [{"key": "webhook-e2e-test", "operator": "In", "values": ["webhook-disallow"]}]});
    configure(&admin, VALIDATING, json!([one])).await;
    let mut crd = definition(any());
    crd["metadata"]["labels"] = json!({"webhook-e2e-test": "webhook-disallow"});
    denied(admin.post(CRDS, crd).await, "the crd contains unwanted label");
    assert_eq!(
        admin.get(&format!("{CRDS}/tests.webhook.example.com")).await.code,
        404
    );
    admin.post(CRDS, definition(any())).await.ok();
}

/// "should be able to deny attaching pod"
#[tokio::test]
async fn m02_a_connection_is_denied() {
    let admin = Cluster::start().await.admin();
    let server = WebhookServer::start(Does::Answers(|request| {
        assert_eq!((&request["operation"], &request["subResource"]), (&json!("CONNECT"), &json!("attach")));
        assert_eq!(request["kind"]["kind"], "PodAttachOptions");
        assert_eq!(request["object"]["container"], "c");
        match request["name"] == "to-be-attached-pod" {
            true => json!({"allowed": false, "status": {"message": "attaching to pod 'to-be-attached-pod' is not allowed"}}),
            false => json!({"allowed": true}),
        }
    }))
    .await;
    let one = hook(
        "deny-attaching-pod",
        server.by_url("/pods/attach"),
        "",
        &["CONNECT"],
        &["pods/attach"],
    );
    configure(&admin, VALIDATING, json!([one])).await;
    let mut target = pod("to-be-attached-pod");
    target["spec"]["nodeName"] = json!("n1");
    admin.post(PODS, target).await.ok();
    let path = format!("{PODS}/to-be-attached-pod/attach?container=c&stdin=true&stdout=true");
    denied(
        admin.post(&path, Value::Null).await,
        "attaching to pod 'to-be-attached-pod' is not allowed",
    );
    denied(
        admin.get(&path).await,
        "attaching to pod 'to-be-attached-pod' is not allowed",
    );
}

/// "should not be able to mutate or prevent deletion of webhook configuration objects"
#[tokio::test]
async fn configurations_are_neither_changed_nor_held_by_webhooks() {
    let admin = Cluster::start().await.admin();
    let server = WebhookServer::start(Does::Answers(|request| match request["operation"].as_str() {
        Some("DELETE") => json!({"allowed": false, "status": {"message": "never"}}),
        _ => patched(&json!([{"op": "add", "path": "/metadata/labels", "value": {"changed": "yes"}}])),
    }))
    .await;
    let kinds = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
    let group = "admissionregistration.k8s.io";
    let all = hook("all", server.by_url("/"), group, &["*"], &kinds);
    configure(&admin, MUTATING, json!([all])).await;
    let all = hook("all", server.by_url("/"), group, &["*"], &kinds);
    configure(&admin, VALIDATING, json!([all])).await;
    for path in [MUTATING, VALIDATING] {
        let dummy = json!({"metadata": {"name": "dummy"}, "webhooks": []});
        let made = admin.post(path, dummy).await.ok();
        assert_eq!(made["metadata"]["labels"], Value::Null);
        admin.delete(&format!("{path}/dummy"), Value::Null).await.ok();
    }
    assert!(server.asked().is_empty());
}

/// "should unconditionally reject operations on fail closed webhook"
#[tokio::test]
async fn m04_what_cannot_be_reached_fails_closed_where_its_selector_says() {
    let admin = Cluster::start().await.admin();
    // Nobody can trust it: it has no authority that signed it.
    let server = WebhookServer::start(Does::Hangs).await;
    let mut closed = hook(
        "fail-closed",
        json!({"url": format!("https://127.0.0.1:{}/configmaps", server.port)}),
        "",
        &["CREATE"],
        &["configmaps"],
    );
    closed["namespaceSelector"] =
        json!({"matchExpressions": [{"key": "fail-closed", "operator": "In", "values": ["yes"]}]});
    closed["failurePolicy"] = json!("Fail");
    configure(&admin, VALIDATING, json!([closed])).await;
    let made = admin.get(&format!("{VALIDATING}/hooks")).await.ok();
    let one = &made["webhooks"][0];
    assert_eq!(
        (
            &one["timeoutSeconds"],
            &one["matchPolicy"],
            &one["rules"][0]["scope"],
            &one["objectSelector"]
        ),
        (&json!(10), &json!("Equivalent"), &json!("*"), &json!({}))
    );
    let closed = json!({"metadata": {"name": "closed", "labels": {"fail-closed": "yes"}}});
    admin.post("/api/v1/namespaces", closed).await.ok();
    let refused = admin
        .post("/api/v1/namespaces/closed/configmaps", configmap("c", "1"))
        .await;
    assert_eq!(refused.json()["reason"], "InternalError");
    refused.refused(500);
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
}

/// "should be able to create and update mutating webhook configurations with match conditions", "should reject mutating
/// webhook configurations with invalid match conditions", "should mutate everything except 'skip-me' configmaps"
#[tokio::test]
async fn m06_mutating_webhooks_have_match_conditions_too() {
    let admin = Cluster::start().await.admin();
    let server = WebhookServer::start(Does::Answers(|_| {
        patched(&json!([{"op": "add", "path": "/data/mutation-stage-1", "value": "yes"}]))
    }))
    .await;
    let mut one = hook(
        "adding",
        server.by_url("/mutating-configmaps"),
        "",
        &["CREATE"],
        &["configmaps"],
    );
    let expected =
        json!([{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]);
    one["matchConditions"] = expected.clone();
    configure(&admin, MUTATING, json!([one])).await;
    let path = format!("{MUTATING}/hooks");
    let mut made = admin.get(&path).await.ok();
    assert_eq!(made["webhooks"][0]["matchConditions"], expected);
    let skip = json!([{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]);
    made["webhooks"][0]["matchConditions"] = skip.clone();
    assert_eq!(
        admin.put(&path, made.clone()).await.ok()["webhooks"][0]["matchConditions"],
        skip
    );
    let data = |reply: Value| reply["data"]["mutation-stage-1"].clone();
    assert_eq!(
        data(admin.post(CONFIGMAPS, configmap("skip-me", "1")).await.ok()),
        Value::Null
    );
    assert_eq!(
        data(admin.post(CONFIGMAPS, configmap("change-me", "1")).await.ok()),
        "yes"
    );
    let mut now = admin.get(&path).await.ok();
    now["webhooks"][0]["matchConditions"] =
        json!([{"name": "invalid-expression-1", "expression": "... [] bad expression"}]);
    let message = admin.put(&path, now).await.refused(422);
    assert!(message.contains("compilation failed"), "{message}");
}

/// "listing mutating webhooks should work": whatever a label selects goes together.
#[tokio::test]
async fn m05_configurations_are_deleted_together_by_label() {
    let admin = Cluster::start().await.admin();
    let server = WebhookServer::start(Does::Answers(|_| {
        patched(&json!([{"op": "add", "path": "/data/by", "value": "webhook"}]))
    }))
    .await;
    for name in ["a", "b"] {
        let one = hook(name, server.by_url("/"), "", &["CREATE"], &["configmaps"]);
        let configuration =
            json!({"metadata": {"name": name, "labels": {"e2e-list-test-uuid": "x"}}, "webhooks": [one]});
        admin.post(MUTATING, configuration).await.ok();
    }
    let selected = format!("{MUTATING}?labelSelector=e2e-list-test-uuid%3Dx");
    assert_eq!(
        admin.get(&selected).await.ok()["items"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        admin.post(CONFIGMAPS, configmap("c", "1")).await.ok()["data"]["by"],
        "webhook"
    );
    admin.delete(&selected, Value::Null).await.ok();
    assert_eq!(
        admin.post(CONFIGMAPS, configmap("d", "1")).await.ok()["data"]["by"],
        Value::Null
    );
}

/// "testResourceDelete", "testResourceDeletecollection": a webhook sees how something is deleted, and no name where none
/// was given.
#[tokio::test]
async fn a_deletion_is_shown_with_its_options_and_the_name_that_was_asked_for() {
    let admin = Cluster::start().await.admin();
    let server = WebhookServer::start(Does::Answers(|_| json!({"allowed": true}))).await;
    let one = hook("see", server.by_url("/"), "", &["DELETE"], &["configmaps"]);
    configure(&admin, VALIDATING, json!([one])).await;
    for name in ["c", "d"] {
        admin.post(CONFIGMAPS, configmap(name, "v")).await.ok();
    }
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
        "propagationPolicy": "Background"});
    admin.delete(&format!("{CONFIGMAPS}/c"), options).await.ok();
    let by_query = format!("{CONFIGMAPS}?propagationPolicy=Background&fieldSelector=metadata.name%3Dd");
    admin.delete(&by_query, Value::Null).await.ok();
    let asked: Vec<Value> = server.asked().into_iter().map(|(_, request)| request).collect();
    let [single, of_many] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(single["name"], "c");
    assert_eq!(
        single["options"],
        json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 0,
            "propagationPolicy": "Background"})
    );
    assert_eq!(of_many["name"], Value::Null);
    assert_eq!(of_many["oldObject"]["metadata"]["name"], "d");
    assert_eq!(of_many["options"]["propagationPolicy"], "Background");
}

/// "TestWebhookAdmission": what is asked and not kept is admitted as well.
#[tokio::test]
async fn reviews_are_admitted_and_none_tells_whether_there_is_a_namespace() {
    let admin = Cluster::start().await.admin();
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let local = "/apis/authorization.k8s.io/v1/namespaces/none/localsubjectaccessreviews";
    let asked = json!({"spec": {"user": "u", "resourceAttributes": {"namespace": "none", "verb": "get", "resource": "pods"}}});
    assert_eq!(admin.post(local, asked.clone()).await.code, 201);
    let server = WebhookServer::start(Does::Answers(
        |_| json!({"allowed": false, "status": {"message": "no questions"}}),
    ))
    .await;
    let one = hook(
        "ask",
        server.by_url("/"),
        "authorization.k8s.io",
        &["CREATE"],
        &["subjectaccessreviews"],
    );
    configure(&admin, VALIDATING, json!([one])).await;
    denied(admin.post(reviews, asked).await, "no questions");
    let (_, request) = server.asked().remove(0);
    assert_eq!(request["kind"]["kind"], "SubjectAccessReview");
    assert_eq!(request["object"]["spec"]["user"], "u");
    assert_eq!(request["options"]["kind"], "CreateOptions");
}
