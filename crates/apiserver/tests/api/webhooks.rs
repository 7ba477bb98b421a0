//! Webhooks (contract §17, cases M02 to M06), against real HTTPS servers.
use crate::outside::kubeconfig;
use crate::support::*;
use crate::webhook_server::{Does, WebhookServer, patched};
use orlop_apiserver::{AccessWebhookConfig, AuthorizationMode, ReviewVersion, UserInfo};
use serde_json::{Value, json};
use std::time::Duration;

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

fn webhook(name: &str, client: Value, resources: &[&str]) -> Value {
    json!({"name": format!("{name}.example.com"), "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
        "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}]})
}

fn configuration(kind: &str, webhooks: Value) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "hooks"},
        "webhooks": webhooks})
}

async fn validating(admin: &Client, webhook: Value) {
    admin
        .post(
            VALIDATING,
            configuration("ValidatingWebhookConfiguration", json!([webhook])),
        )
        .await
        .ok();
}

async fn mutating(admin: &Client, webhooks: Value) {
    admin
        .post(MUTATING, configuration("MutatingWebhookConfiguration", webhooks))
        .await
        .ok();
}

fn go_away(_: &Value) -> Value {
    json!({"allowed": false, "status": {"message": "go away", "code": 403, "reason": "Forbidden"},
        "warnings": ["you were warned"]})
}

/// M02
#[tokio::test]
async fn m02_a_validating_webhook_that_denies_gives_its_message_and_code_to_the_client() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(go_away)).await;
    validating(&admin, webhook("deny", hook.by_url("/v"), &["configmaps"])).await;
    let denied = admin.post(CONFIGMAPS, configmap("c", "v")).await;
    assert_eq!(denied.warnings(), ["299 - \"you were warned\""]);
    assert_eq!(denied.json()["reason"], "Forbidden");
    assert_eq!(
        denied.refused(403),
        "admission webhook \"deny.example.com\" denied the request: go away"
    );
    assert_eq!(admin.get(&format!("{CONFIGMAPS}/c")).await.code, 404);
    let (path, request) = hook.asked().remove(0);
    assert_eq!(path, "/v?timeout=5s");
    assert_eq!(
        request["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(
        request["resource"],
        json!({"group": "", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!(request["object"]["data"], json!({"k": "v"}));
    assert!(
        request["object"]["metadata"]["uid"].is_string(),
        "validating webhooks see the final object"
    );
    assert_eq!(
        (
            &request["operation"],
            &request["name"],
            &request["namespace"],
            &request["oldObject"]
        ),
        (&json!("CREATE"), &json!("c"), &json!("default"), &Value::Null)
    );
    assert_eq!(request["userInfo"]["username"], "admin");
    assert_eq!(request["options"]["kind"], "CreateOptions");
}

/// M03
#[tokio::test]
async fn m03_a_mutating_webhook_that_patches_changes_what_is_stored() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(|_| {
        patched(&json!([{"op": "add", "path": "/data/added", "value": "by webhook"}]))
    }))
    .await;
    mutating(
        &admin,
        json!([webhook("patch", hook.by_url("/m"), &["configmaps"])]),
    )
    .await;
    let made = admin.post(CONFIGMAPS, configmap("c", "v")).await.ok();
    assert_eq!(made["data"], json!({"k": "v", "added": "by webhook"}));
    let stored = admin.get(&format!("{CONFIGMAPS}/c")).await.ok();
    assert_eq!(stored["data"]["added"], "by webhook");
    let changed = admin
        .patch(
            &format!("{CONFIGMAPS}/c"),
            "merge",
            json!({"data": {"added": null}}),
        )
        .await
        .ok();
    assert_eq!(changed["data"]["added"], "by webhook");
    let update = hook.asked().pop().unwrap().1;
    assert_eq!(update["operation"], "UPDATE");
    assert_eq!(update["oldObject"]["data"]["added"], "by webhook");
    assert_eq!(update["object"]["data"], json!({"k": "v"}));
}

/// What a webhook adds gets its defaults and is checked like everything else.
#[tokio::test]
async fn what_a_webhook_changes_is_defaulted_and_validated() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(|request| {
        let name = if request["object"]["metadata"]["name"] == "bad" { "B_D" } else { "side" };
        patched(&json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": name, "image": "busybox"}}]))
    }))
    .await;
    mutating(&admin, json!([webhook("inject", hook.by_url("/m"), &["pods"])])).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    admin
        .post("/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    let made = admin.post(PODS, pod("p")).await.ok();
    let side = &made["spec"]["containers"][1];
    assert_eq!(
        (&side["imagePullPolicy"], &side["terminationMessagePath"]),
        (&json!("Always"), &json!("/dev/termination-log"))
    );
    let message = admin.post(PODS, pod("bad")).await.refused(422);
    assert!(message.contains("spec.containers[1].name"), "{message}");
}

/// M04
#[tokio::test]
async fn m04_a_webhook_that_exceeds_its_timeout_fails_the_request_or_is_ignored() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Hangs).await;
    let mut slow = webhook("slow", hook.by_url("/v"), &["configmaps"]);
    slow["timeoutSeconds"] = json!(1);
    validating(&admin, slow).await;
    let message = admin.post(CONFIGMAPS, configmap("c", "v")).await.refused(500);
    assert_eq!(
        message,
        format!(
            "Internal error occurred: failed calling webhook \"slow.example.com\": failed to call webhook: \
             Post \"https://127.0.0.1:{}/v?timeout=1s\": context deadline exceeded",
            hook.port
        )
    );
    admin
        .patch(
            &format!("{VALIDATING}/hooks"),
            "strategic-merge",
            json!({"webhooks": [{"name": "slow.example.com", "failurePolicy": "Ignore"}]}),
        )
        .await
        .ok();
    assert_eq!(admin.post(CONFIGMAPS, configmap("c", "v")).await.code, 201);
}

/// M05
#[tokio::test]
async fn m05_configurations_are_effective_once_they_are_written_and_until_they_are_deleted() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(go_away)).await;
    let create = |name: &'static str| {
        let admin = admin.clone();
        async move { admin.post(CONFIGMAPS, configmap(name, "v")).await.code }
    };
    validating(&admin, webhook("deny", hook.by_url("/v"), &["configmaps"])).await;
    assert_eq!(create("a").await, 403);
    let path = format!("{VALIDATING}/hooks");
    let mut made = admin.get(&path).await.ok();
    assert_eq!(made["metadata"]["generation"], 1);
    made["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
    admin.put(&path, made).await.ok();
    assert_eq!(create("b").await, 201);
    admin
        .patch(
            &path,
            "json",
            json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]),
        )
        .await
        .ok();
    assert_eq!(create("c").await, 403);
    assert_eq!(
        admin.get(VALIDATING).await.ok()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    admin.delete(VALIDATING, Value::Null).await.ok();
    assert_eq!(create("c").await, 201);
}

/// M06
#[tokio::test]
async fn m06_only_requests_that_match_the_conditions_are_sent() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(go_away)).await;
    let mut narrowed = webhook("narrowed", hook.by_url("/v"), &["*"]);
    narrowed["matchConditions"] = json!([
        {"name": "named", "expression": "object.metadata.name.startsWith('deny')"},
        {"name": "not-nodes", "expression": "!('system:nodes' in request.userInfo.groups)"}]);
    validating(&admin, narrowed.clone()).await;
    assert_eq!(admin.post(CONFIGMAPS, configmap("fine", "v")).await.code, 201);
    assert_eq!(hook.asked().len(), 0);
    assert_eq!(admin.post(CONFIGMAPS, configmap("deny-me", "v")).await.code, 403);
    narrowed["matchConditions"][0]["expression"] = json!("object.metadata.");
    let mut odd = configuration("ValidatingWebhookConfiguration", json!([narrowed]));
    odd["metadata"]["name"] = json!("odd");
    let message = admin.post(VALIDATING, odd).await.refused(422);
    assert!(
        message.contains("webhooks[0].matchConditions[0].expression: Invalid value")
            && message.contains("compilation failed: ERROR: <input>:1:17"),
        "{message}"
    );
}

/// "TestMatchConditionsWithStrictCostEnforcement": asking the authorizer costs so much that few conditions may do it.
#[tokio::test]
async fn conditions_that_cost_too_much_refuse_the_request() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(go_away)).await;
    let ask = "authorizer.group('').resource('pods').check('create').allowed()";
    let conditions = |count: usize, asks: usize| -> Value {
        let one = |number| json!({"name": format!("c{number}"), "expression": vec![ask; asks].join(" && ")});
        (0..count).map(one).collect()
    };
    for (conditions, why) in [
        (
            conditions(1, 3),
            "operation cancelled: actual cost limit exceeded",
        ),
        (
            conditions(8, 2),
            "validation failed due to running out of cost budget, no further validation rules will be run",
        ),
    ] {
        let mut costly = webhook("costly", hook.by_url("/v"), &["configmaps"]);
        costly["matchConditions"] = conditions;
        validating(&admin, costly).await;
        let message = admin.post(CONFIGMAPS, configmap("c", "v")).await.refused(403);
        assert!(message.ends_with(why), "{message}");
        admin.delete(VALIDATING, Value::Null).await.ok();
    }
    assert_eq!(hook.asked().len(), 0);
}

#[tokio::test]
async fn selectors_narrow_by_the_labels_of_namespaces_and_objects() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(go_away)).await;
    let mut selecting = webhook("selecting", hook.by_url("/v"), &["configmaps"]);
    selecting["namespaceSelector"] =
        json!({"matchExpressions": [{"key": "exempt", "operator": "DoesNotExist"}]});
    selecting["objectSelector"] = json!({"matchLabels": {"watched": "yes"}});
    validating(&admin, selecting).await;
    let free = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "free", "labels": {"exempt": "1"}}});
    admin.post("/api/v1/namespaces", free).await.ok();
    let mut labelled = configmap("c", "v");
    labelled["metadata"]["labels"] = json!({"watched": "yes"});
    assert_eq!(admin.post(CONFIGMAPS, configmap("plain", "v")).await.code, 201);
    assert_eq!(admin.post(CONFIGMAPS, labelled.clone()).await.code, 403);
    let free = "/api/v1/namespaces/free/configmaps";
    assert_eq!(admin.post(free, labelled).await.code, 201);
}

/// A webhook that wants to is asked again about what was changed after it.
#[tokio::test]
async fn a_webhook_is_asked_again_if_needed() {
    let admin = Cluster::start().await.admin();
    let first = WebhookServer::start(Does::Answers(|request| {
        let count = request["object"]["data"].as_object().unwrap().len();
        patched(&json!([{"op": "add", "path": "/data/seen", "value": count.to_string()}]))
    }))
    .await;
    let second = WebhookServer::start(Does::Answers(|_| {
        patched(&json!([{"op": "add", "path": "/data/late", "value": "x"}]))
    }))
    .await;
    let mut again = webhook("a-first", first.by_url("/m"), &["configmaps"]);
    again["reinvocationPolicy"] = json!("IfNeeded");
    mutating(
        &admin,
        json!([again, webhook("b-second", second.by_url("/m"), &["configmaps"])]),
    )
    .await;
    let made = admin.post(CONFIGMAPS, configmap("c", "v")).await.ok();
    assert_eq!(made["data"], json!({"k": "v", "late": "x", "seen": "3"}));
    assert_eq!((first.asked().len(), second.asked().len()), (2, 1));
}

/// The server's own plugins see what webhooks made of the object, too.
#[tokio::test]
async fn plugins_are_asked_again_after_a_webhook() {
    let admin = Cluster::start().await.admin();
    let class = json!({"metadata": {"name": "high"}, "value": 10});
    admin
        .post("/apis/scheduling.k8s.io/v1/priorityclasses", class)
        .await
        .ok();
    let hook = WebhookServer::start(Does::Answers(|request| {
        let name = &request["object"]["metadata"]["name"];
        let class = if name == "bad" { "none" } else { "high" };
        patched(
            &json!([{"op": "add", "path": "/spec/priorityClassName", "value": class},
            {"op": "remove", "path": "/spec/priority"}]),
        )
    }))
    .await;
    mutating(&admin, json!([webhook("class", hook.by_url("/m"), &["pods"])])).await;
    let made = admin.post(PODS, pod("p")).await.ok();
    assert_eq!(made["spec"]["priority"], 10);
    let message = admin.post(PODS, pod("bad")).await.refused(403);
    assert!(
        message.ends_with("no PriorityClass with name none was found"),
        "{message}"
    );
    assert_eq!(
        hook.asked().len(),
        2,
        "the webhook itself does not want to be asked again"
    );
}

/// What the server itself says in the status is said also when a webhook changed the object.
#[tokio::test]
async fn names_of_a_definition_are_accepted_though_a_webhook_changes_it() {
    const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(|_| {
        patched(&json!([{"op": "add", "path": "/metadata/annotations", "value": {"seen": "yes"}}]))
    }))
    .await;
    let crds = webhook("crds", hook.by_url("/m"), &["customresourcedefinitions"]);
    mutating(&admin, json!([crds])).await;
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    admin.post(CRDS, crd).await.ok();
    let change = json!({"metadata": {"annotations": null}, "spec": {"names": {"shortNames": ["wd"]}},
        "status": {"storedVersions": ["nobody"]}});
    let path = format!("{CRDS}/widgets.example.com");
    let changed = admin.patch(&path, "merge", change).await.ok();
    assert_eq!(changed["metadata"]["annotations"]["seen"], "yes");
    assert_eq!(changed["status"]["acceptedNames"]["shortNames"], json!(["wd"]));
    assert_eq!(changed["status"]["storedVersions"], json!(["v1"]));
}

/// A definition that nobody lets change doesn't keep the others waiting for their names.
#[tokio::test]
async fn names_go_to_the_next_definition_when_the_first_may_not_take_them() {
    const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(
        |request| json!({"allowed": request["operation"] != "UPDATE" || request["name"] != "bs.example.com"}),
    ))
    .await;
    let changes = webhook("crds", hook.by_url("/v"), &["customresourcedefinitions"]);
    validating(&admin, changes).await;
    let mut waits = Value::Null;
    for plural in ["as", "bs", "cs"] {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let names = json!({"plural": plural, "kind": "Widget", "listKind": format!("{plural}List")});
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": names,
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
        waits = admin.post(CRDS, crd).await.ok();
    }
    assert_eq!(waits["status"]["acceptedNames"]["kind"], "");
    let (name, since) = ("fieldSelector=metadata.name%3Dcs.example.com", version(&waits));
    let mut watch = admin
        .watch(&format!("{CRDS}?watch=1&{name}&resourceVersion={since}"))
        .await;
    let path = format!("{CRDS}/as.example.com");
    admin.delete(&path, Value::Null).await.ok();
    let now = watch.next().await.unwrap();
    assert_eq!(now["object"]["status"]["acceptedNames"]["kind"], "Widget");
}

/// Dry runs are told to webhooks, and nothing is stored.
#[tokio::test]
async fn a_dry_run_is_asked_about_as_one() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(|_| json!({"allowed": true}))).await;
    validating(&admin, webhook("watch", hook.by_url("/v"), &["configmaps"])).await;
    admin
        .post(&format!("{CONFIGMAPS}?dryRun=All"), configmap("c", "v"))
        .await
        .ok();
    let (_, request) = hook.asked().remove(0);
    assert_eq!(request["dryRun"], true);
    assert_eq!(request["options"]["dryRun"], json!(["All"]));
    assert_eq!(admin.get(&format!("{CONFIGMAPS}/c")).await.code, 404);
}

/// Deletions, scales, evictions and connections are asked about in their own kinds.
#[tokio::test]
async fn every_operation_is_asked_about_in_its_own_kind() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(|_| json!({"allowed": true}))).await;
    admin.post(CONFIGMAPS, configmap("c", "v")).await.ok();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    admin.post(deployments, deployment).await.ok();
    validating(&admin, webhook("watch", hook.by_url("/v"), &["*/*"])).await;
    admin.delete(&format!("{CONFIGMAPS}/c"), Value::Null).await.ok();
    let scale = format!("{deployments}/d/scale");
    admin
        .patch(&scale, "merge", json!({"spec": {"replicas": 3}}))
        .await
        .ok();
    let asked = hook.asked();
    let (deletion, scaling) = (&asked[0].1, &asked[1].1);
    assert_eq!(
        (
            &deletion["operation"],
            &deletion["object"],
            &deletion["oldObject"]["metadata"]["name"]
        ),
        (&json!("DELETE"), &Value::Null, &json!("c"))
    );
    assert_eq!(
        (
            &scaling["operation"],
            &scaling["subResource"],
            &scaling["kind"]["kind"]
        ),
        (&json!("UPDATE"), &json!("scale"), &json!("Scale"))
    );
    assert_eq!(
        (
            &scaling["oldObject"]["spec"]["replicas"],
            &scaling["object"]["spec"]["replicas"]
        ),
        (&json!(1), &json!(3))
    );
}

/// An Event of one API group is asked about in the form that the rule names, unless the match is to be exact.
#[tokio::test]
async fn equivalent_resources_are_asked_about_in_the_form_of_the_rule() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(|_| json!({"allowed": true}))).await;
    let mut events = webhook("events", hook.by_url("/v"), &["events"]);
    events["rules"][0]["apiGroups"] = json!(["events.k8s.io"]);
    validating(&admin, events).await;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "R", "message": "text",
        "type": "Normal", "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
    admin.post("/api/v1/namespaces/default/events", event).await.ok();
    let (_, request) = hook.asked().remove(0);
    assert_eq!(request["kind"]["group"], "events.k8s.io");
    assert_eq!(request["requestKind"]["group"], "");
    assert_eq!(request["object"]["note"], "text");
}

/// A webhook behind a Service is found by the Service's endpoints, and has to be who it says.
#[tokio::test]
async fn a_service_leads_to_its_endpoints() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(go_away)).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
        "spec": {"ports": [{"name": "https", "port": 443}], "clusterIP": "None"}});
    admin
        .post("/api/v1/namespaces/default/services", service)
        .await
        .ok();
    let client =
        json!({"service": {"namespace": "default", "name": "hook", "path": "/v"}, "caBundle": hook.bundle});
    validating(&admin, webhook("served", client, &["configmaps"])).await;
    let message = admin.post(CONFIGMAPS, configmap("c", "v")).await.refused(500);
    assert_eq!(
        message,
        "Internal error occurred: failed calling webhook \"served.example.com\": failed to call webhook: \
         Post \"https://hook.default.svc:443/v?timeout=5s\": no endpoints available for service \"hook\""
    );
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "ports": [{"name": "https", "port": hook.port}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]});
    admin
        .post(
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            slice,
        )
        .await
        .ok();
    assert_eq!(admin.post(CONFIGMAPS, configmap("c", "v")).await.code, 403);
}

/// Answers that are none, and servers that are not trusted, fail the request.
#[tokio::test]
async fn what_is_no_answer_fails_the_request() {
    for (does, trusted, part) in [
        (
            Does::Says(200, "{}"),
            true,
            "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got ",
        ),
        (
            Does::Says(500, "broken"),
            true,
            "failed to call webhook: an error on the server (\"broken\") has prevented the request from succeeding",
        ),
        (
            Does::Says(404, ""),
            true,
            "failed to call webhook: the server could not find the requested resource",
        ),
        (Does::Answers(go_away), false, "failed to call webhook: Post "),
        (
            Does::Answers(|_| patched(&json!([]))),
            true,
            "received invalid webhook response: webhook response.patch may not be set",
        ),
    ] {
        let admin = Cluster::start().await.admin();
        let hook = WebhookServer::start(does).await;
        let mut client = hook.by_url("/v");
        if !trusted {
            client["caBundle"] = json!(WebhookServer::start(Does::Hangs).await.bundle);
        }
        validating(&admin, webhook("odd", client, &["configmaps"])).await;
        let message = admin.post(CONFIGMAPS, configmap("c", "v")).await.refused(500);
        assert!(
            message.starts_with("Internal error occurred: failed calling webhook \"odd.example.com\": ")
                && message.contains(part),
            "{message}"
        );
    }
}

/// Nothing decides about what decides: a webhook that refuses everything can be removed.
#[tokio::test]
async fn configurations_are_never_sent_to_webhooks() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(go_away)).await;
    validating(&admin, webhook("all", hook.by_url("/v"), &["*/*"])).await;
    assert_eq!(admin.post(CONFIGMAPS, configmap("c", "v")).await.code, 403);
    admin
        .delete(&format!("{VALIDATING}/hooks"), Value::Null)
        .await
        .ok();
    assert_eq!(admin.post(CONFIGMAPS, configmap("c", "v")).await.code, 201);
}

/// Upstream keeps connections to webhooks alive.
#[tokio::test]
async fn webhooks_of_one_server_are_asked_over_connections_that_are_kept() {
    let admin = Cluster::start().await.admin();
    let hook = WebhookServer::start(Does::Answers(|_| json!({"allowed": true}))).await;
    let one = webhook("one", hook.by_url("/one"), &["configmaps"]);
    validating(&admin, one).await;
    for number in 0..5 {
        admin
            .post(CONFIGMAPS, configmap(&format!("c{number}"), "v"))
            .await
            .ok();
    }
    // What is compiled anew finds the connections of before, and others who go there do.
    mutating(
        &admin,
        json!([webhook("two", hook.by_url("/two"), &["configmaps"])]),
    )
    .await;
    for number in 5..10 {
        admin
            .post(CONFIGMAPS, configmap(&format!("c{number}"), "v"))
            .await
            .ok();
    }
    assert_eq!(hook.asked().len(), 15);
    assert_eq!(hook.connections(), 1);
}

/// What is decided once is not asked twice because the object came back otherwise.
#[tokio::test]
async fn whether_somebody_may_hand_out_rights_is_asked_once_though_a_webhook_changes_the_role() {
    let hook = WebhookServer::start(Does::Answers(|_| {
        patched(&json!([{"op": "add", "path": "/metadata/labels", "value": {"hooked": "yes"}}]))
    }))
    .await;
    let judge = WebhookServer::start(Does::Reviews(|_| json!({"allowed": true}))).await;
    let directory = tempfile::tempdir().unwrap();
    let access = AccessWebhookConfig {
        allowed_ttl: Duration::ZERO,
        ..AccessWebhookConfig::new(kubeconfig(&directory, &judge), ReviewVersion::V1)
    };
    let cluster = Cluster::with(|config| {
        config.access_webhook = Some(access);
        config.authorization = vec![AuthorizationMode::Webhook];
    })
    .await;
    let admin = cluster.admin();
    mutating(&admin, json!([webhook("label", hook.by_url("/m"), &["roles"])])).await;
    let alice = cluster.user(UserInfo::new("alice", ["devs"]));
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let rules = |verb: &str| json!([{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]);
    let role = |verb: &str| json!({"metadata": {"name": "r"}, "rules": rules(verb)});
    alice.post(roles, role("get")).await.ok();
    let made = alice.put(&format!("{roles}/r"), role("list")).await.ok();
    assert_eq!(made["metadata"]["labels"], json!({"hooked": "yes"}));
    let escalates = |(_, spec): &&(String, Value)| spec["resourceAttributes"]["verb"] == "escalate";
    assert_eq!(judge.asked().iter().filter(escalates).count(), 2, "one each");
}
