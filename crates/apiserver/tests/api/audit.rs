//! The audit log: contract §20.
use crate::outside::kubeconfig;
use crate::served::Served;
use crate::support::{CONFIGMAPS, Cluster, configmap};
use crate::webhook_server::{Does, WebhookServer, patched};
use http::Method;
use orlop_apiserver::{AuditConfig, AuditLog, AuditWebhook, Batches, Sending, UserInfo};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: None, nonResourceURLs: ['/readyz*', '/livez*']}
- {level: Metadata, resources: [{group: '', resources: [secrets]}]}
- {level: RequestResponse, resources: [{group: '', resources: [configmaps]}], omitStages: [RequestReceived]}
- {level: Request, verbs: [watch]}
";

fn config(path: PathBuf) -> AuditConfig {
    AuditConfig {
        policy: POLICY.to_owned(),
        log: Some(AuditLog {
            path,
            age_days: 0,
            backups: 0,
            size_megabytes: 0,
        }),
        webhook: None,
    }
}

/// The events once there are so many: they are written after the answer.
async fn events(path: &Path, count: usize) -> Vec<Value> {
    for _ in 0..500 {
        let text = std::fs::read_to_string(path).unwrap();
        let events: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if events.len() >= count {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!(
        "there are not {count} events: {}",
        std::fs::read_to_string(path).unwrap()
    );
}

#[tokio::test]
async fn events_say_who_did_what_to_what_and_how_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let cluster = Cluster::with(|c| c.audit = Some(config(path.clone()))).await;
    let (admin, alice) = (cluster.admin(), cluster.user(UserInfo::new("alice", ["devs"])));
    let reply = admin
        .send(
            Method::POST,
            CONFIGMAPS,
            &[
                ("content-type", "application/json"),
                ("audit-id", "own-id"),
                ("user-agent", "tests"),
            ],
            configmap("c", "1").to_string(),
        )
        .await;
    assert_eq!(reply.headers["audit-id"], "own-id");
    alice
        .get("/api/v1/namespaces/default/secrets/s")
        .await
        .refused(403);
    admin.get("/readyz").await;
    let events = events(&path, 3).await;
    assert_eq!(events.len(), 3, "{events:?}");
    let created = &events[0];
    assert_eq!(
        (
            &created["kind"],
            &created["apiVersion"],
            &created["stage"],
            &created["level"]
        ),
        (
            &json!("Event"),
            &json!("audit.k8s.io/v1"),
            &json!("ResponseComplete"),
            &json!("RequestResponse")
        )
    );
    assert_eq!(
        (&created["auditID"], &created["verb"]),
        (&json!("own-id"), &json!("create"))
    );
    assert_eq!(
        (&created["requestURI"], &created["userAgent"]),
        (&json!(CONFIGMAPS), &json!("tests"))
    );
    assert_eq!(created["user"]["username"], "admin");
    assert_eq!(
        created["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "c", "apiVersion": "v1"})
    );
    assert_eq!(created["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(created["requestObject"]["data"], json!({"k": "1"}));
    assert_eq!(created["responseObject"]["data"], json!({"k": "1"}));
    assert!(created["responseObject"]["metadata"]["uid"].is_string());
    assert!(created["responseObject"]["metadata"]["managedFields"].is_null());
    let time = created["requestReceivedTimestamp"].as_str().unwrap();
    assert_eq!(
        (time.len(), time.ends_with('Z')),
        ("2026-01-02T03:04:05.678901Z".len(), true)
    );
    assert_eq!(created["annotations"]["authorization.k8s.io/decision"], "allow");

    let (received, refused) = (&events[1], &events[2]);
    assert_eq!(
        (&received["stage"], &refused["stage"]),
        (&json!("RequestReceived"), &json!("ResponseComplete"))
    );
    assert!(received["responseStatus"].is_null());
    assert_eq!(refused["auditID"], received["auditID"]);
    assert_eq!(refused["responseStatus"]["code"], 403);
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert!(refused["responseObject"].is_null());
}

#[tokio::test]
async fn a_watch_is_told_when_it_begins_and_when_it_ends_and_acting_for_others_shows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let cluster = Cluster::with(|c| c.audit = Some(config(path.clone()))).await;
    let admin = cluster.admin();
    let pods = "/api/v1/namespaces/default/pods?watch=1";
    drop(admin.watch(pods).await);
    let told = events(&path, 3).await;
    let stages: Vec<&str> = told.iter().filter_map(|event| event["stage"].as_str()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    admin
        .send(Method::GET, CONFIGMAPS, &[("impersonate-user", "bob")], "")
        .await
        .refused(403);
    let told = events(&path, 4).await;
    assert_eq!(told[3]["impersonatedUser"]["username"], "bob");
    assert_eq!(told[3]["user"]["username"], "admin");
}

#[tokio::test]
async fn who_is_not_recognised_is_written_down_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let served = Served::start(|c, _| c.audit = Some(config(path.clone()))).await;
    let reply = served
        .call(
            None,
            Method::GET,
            CONFIGMAPS,
            &[("authorization", "Bearer x")],
            "",
        )
        .await;
    assert_eq!(reply.code, 401);
    assert!(reply.headers.contains_key("audit-id"));
    let told = events(&path, 1).await;
    assert_eq!(told[0]["responseStatus"]["code"], 401);
    assert_eq!(told[0]["sourceIPs"], json!(["127.0.0.1"]));
}

/// What webhooks changed, what they tell the log, and that one of them was done without.
#[tokio::test]
async fn events_say_what_webhooks_did() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let cluster = Cluster::with(|c| c.audit = Some(config(path.clone()))).await;
    let admin = cluster.admin();
    let patches = WebhookServer::start(Does::Answers(|_| {
        let mut answer = patched(&json!([{"op": "add", "path": "/data/a", "value": "b"}]));
        answer["auditAnnotations"] = json!({"why": "because"});
        answer
    }))
    .await;
    let gone = WebhookServer::start(Does::Says(500, "gone")).await;
    let webhook = |name: &str, server: &WebhookServer, version: &str| {
        json!({"name": name, "clientConfig": server.by_url("/"), "sideEffects": "None", "failurePolicy": "Ignore",
            "admissionReviewVersions": [version],
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]})
    };
    let of = |kind: &str, webhooks: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "hooks"},
            "webhooks": webhooks})
    };
    let hooks = [
        webhook("gone.example.com", &gone, "v1"),
        webhook("patches.example.com", &patches, "v1beta1"),
    ];
    let path_of = |plural: &str| format!("/apis/admissionregistration.k8s.io/v1/{plural}");
    let mutating = of("MutatingWebhookConfiguration", json!(hooks));
    admin
        .post(&path_of("mutatingwebhookconfigurations"), mutating)
        .await
        .ok();
    let validating = of(
        "ValidatingWebhookConfiguration",
        json!([webhook("gone.example.com", &gone, "v1")]),
    );
    admin
        .post(&path_of("validatingwebhookconfigurations"), validating)
        .await
        .ok();
    let made = admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    assert_eq!(made["data"]["a"], "b");
    let events = events(&path, 1).await;
    let annotations = &events.last().unwrap()["annotations"];
    for (key, value) in [
        (
            "failed-open.mutating.webhook.admission.k8s.io/round_0_index_0",
            "gone.example.com",
        ),
        (
            "failed-open.validating.webhook.admission.k8s.io/round_0_index_0",
            "gone.example.com",
        ),
        (
            "mutation.webhook.admission.k8s.io/round_0_index_0",
            r#"{"configuration":"hooks","webhook":"gone.example.com","mutated":false}"#,
        ),
        (
            "mutation.webhook.admission.k8s.io/round_0_index_1",
            r#"{"configuration":"hooks","webhook":"patches.example.com","mutated":true}"#,
        ),
        (
            "patch.webhook.admission.k8s.io/round_0_index_1",
            r#"{"configuration":"hooks","webhook":"patches.example.com","patch":[{"op":"add","path":"/data/a","value":"b"}],"patchType":"JSONPatch"}"#,
        ),
        ("patches.example.com/why", "because"),
    ] {
        assert_eq!(annotations[key], value, "{key}: {annotations}");
    }
}

/// What policies tell the log, and the violations that a binding wants there.
#[tokio::test]
async fn events_say_what_policies_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let cluster = Cluster::with(|c| c.audit = Some(config(path.clone()))).await;
    let admin = cluster.admin();
    let of = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let policy = json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["configmaps"]}]},
        "validations": [{"expression": "true"}, {"expression": "size(object.data) < 1"}],
        "auditAnnotations": [{"key": "named", "valueExpression": "' ' + object.metadata.name"},
            {"key": "nothing", "valueExpression": "null"}]});
    let binding = json!({"policyName": "vap", "validationActions": ["Warn", "Audit"]});
    let group = "/apis/admissionregistration.k8s.io/v1";
    for (plural, made) in [
        (
            "validatingadmissionpolicies",
            of("ValidatingAdmissionPolicy", "vap", policy),
        ),
        (
            "validatingadmissionpolicybindings",
            of("ValidatingAdmissionPolicyBinding", "vapb", binding),
        ),
    ] {
        admin.post(&format!("{group}/{plural}"), made).await.ok();
    }
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let events = events(&path, 1).await;
    let annotations = &events.last().unwrap()["annotations"];
    assert_eq!(annotations["vap/named"], "c");
    assert_eq!(annotations["vap/nothing"], Value::Null);
    assert_eq!(
        annotations["validation.policy.admission.k8s.io/validation_failure"],
        r#"[{"message":"failed expression: size(object.data) \u003c 1","policy":"vap","binding":"vapb","expressionIndex":1,"validationActions":["Warn","Audit"]}]"#
    );
}

fn sent_to(kubeconfig: PathBuf, sending: Sending) -> AuditConfig {
    AuditConfig {
        policy: POLICY.to_owned(),
        log: None,
        webhook: Some(AuditWebhook {
            kubeconfig,
            sending,
            first_pause: Duration::from_millis(1),
        }),
    }
}

#[tokio::test]
async fn events_are_sent_in_lists_to_a_webhook() {
    let (directory, webhook) = (
        tempfile::tempdir().unwrap(),
        WebhookServer::start(Does::Takes).await,
    );
    let batches = Batches {
        waiting_max: 100,
        size_max: 2,
        time_max: Duration::from_secs(60),
        rate: None,
    };
    let config = sent_to(kubeconfig(&directory, &webhook), Sending::Batches(batches));
    let cluster = Cluster::with(|c| c.audit = Some(config)).await;
    for name in ["a", "b"] {
        cluster.admin().post(CONFIGMAPS, configmap(name, "1")).await.ok();
    }
    let mut lists = Vec::new();
    for _ in 0..500 {
        lists = webhook.asked();
        if !lists.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let [(_, list)] = lists.as_slice() else {
        panic!("{lists:?}")
    };
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("EventList"), &json!("audit.k8s.io/v1"))
    );
    let names: Vec<&Value> = (0..2)
        .map(|i| &list["items"][i]["objectRef"]["resource"])
        .collect();
    assert_eq!(names, ["configmaps", "configmaps"]);
    assert_eq!(list["items"][1]["responseObject"]["metadata"]["name"], "b");
}

#[tokio::test]
async fn a_request_whose_receipt_must_be_taken_is_refused_when_it_is_not() {
    let (directory, webhook) = (
        tempfile::tempdir().unwrap(),
        WebhookServer::start(Does::Says(400, "{}")).await,
    );
    for (strict, expected) in [(true, 500), (false, 200)] {
        let config = sent_to(kubeconfig(&directory, &webhook), Sending::Blocking { strict });
        let cluster = Cluster::with(|c| c.audit = Some(config)).await;
        let reply = cluster.admin().get("/api/v1/namespaces/default/secrets").await;
        assert_eq!(reply.code, expected);
        if strict {
            assert!(
                reply.text.contains("failed to store audit event"),
                "{}",
                reply.text
            );
        }
    }
}
