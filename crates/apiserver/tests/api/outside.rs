//! Webhooks that are asked who is calling and what they may do (`--authentication-token-webhook-…`,
//! `--authorization-webhook-…`).
use crate::support::*;
use crate::webhook_server::{Does, WebhookServer};
use orlop_apiserver::{
    AccessWebhookConfig, AuthorizationMode, ReviewVersion, StructuredAuthorization, TokenWebhookConfig,
    UserInfo,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// A kubeconfig file that leads to a webhook.
pub fn kubeconfig(directory: &tempfile::TempDir, webhook: &WebhookServer) -> PathBuf {
    let path = directory.path().join("webhook.conf");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "w",
        "clusters": [{"name": "w", "cluster": {
            "server": format!("https://127.0.0.1:{}/ask", webhook.port), "certificate-authority-data": webhook.bundle}}],
        "users": [{"name": "w", "user": {"token": "secret"}}],
        "contexts": [{"name": "w", "context": {"cluster": "w", "user": "w"}}]});
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

fn knows_alice(spec: &Value) -> Value {
    if spec["token"] == "alices" {
        return json!({"authenticated": true, "user": {"username": "alice", "uid": "42", "groups": ["devs"]}});
    }
    json!({"authenticated": false})
}

#[tokio::test]
async fn a_token_that_only_the_webhook_knows_names_its_user() {
    let directory = tempfile::tempdir().unwrap();
    let webhook = WebhookServer::start(Does::Reviews(knows_alice)).await;
    let config = TokenWebhookConfig {
        kubeconfig: kubeconfig(&directory, &webhook),
        version: ReviewVersion::V1,
        ttl: Duration::from_secs(120),
    };
    let cluster = Cluster::with(|c| c.authentication.token_webhook = Some(config)).await;
    let admin = cluster.admin();
    let review = |token: &str| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    for _ in 0..2 {
        let status = admin.post(REVIEWS, review("alices")).await.ok()["status"].clone();
        assert_eq!(status["authenticated"], true);
        assert_eq!(
            status["user"],
            json!({"username": "alice", "uid": "42", "groups": ["devs", "system:authenticated"]})
        );
        let status = admin.post(REVIEWS, review("nobodys")).await.ok()["status"].clone();
        assert_eq!(status["error"], "invalid bearer token");
    }
    let asked = webhook.asked();
    assert_eq!(asked.len(), 2, "answers are remembered");
    assert_eq!(asked[0].0, "/ask");
    for token in ["others", "strangers"] {
        admin.post(REVIEWS, review(token)).await.ok();
    }
    assert_eq!(webhook.asked().len(), 4);
    assert_eq!(webhook.connections(), 1, "it is kept");
}

fn allows_reading_pods(spec: &Value) -> Value {
    let attributes = &spec["resourceAttributes"];
    match (attributes["resource"].as_str(), attributes["verb"].as_str()) {
        (Some("pods"), Some("list")) => json!({"allowed": true, "reason": "pods are for all"}),
        (Some("secrets"), _) => json!({"allowed": false, "denied": true, "reason": "secrets are for nobody"}),
        _ => json!({"allowed": false, "reason": "not my business"}),
    }
}

async fn with_access_webhook(webhook: &WebhookServer, modes: &[AuthorizationMode]) -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    let config = AccessWebhookConfig::new(kubeconfig(&directory, webhook), ReviewVersion::V1);
    Cluster::with(|c| {
        c.access_webhook = Some(config);
        c.authorization = modes.to_vec();
    })
    .await
}

#[tokio::test]
async fn the_webhook_allows_denies_or_leaves_it_to_roles() {
    let webhook = WebhookServer::start(Does::Reviews(allows_reading_pods)).await;
    let modes = [AuthorizationMode::Webhook, AuthorizationMode::Rbac];
    let cluster = with_access_webhook(&webhook, &modes).await;
    let alice = cluster.user(UserInfo::new("alice", ["devs"]));
    for _ in 0..2 {
        alice.get(PODS).await.ok();
        let message = alice.get("/api/v1/namespaces/default/secrets").await.refused(403);
        assert!(
            message.ends_with("in the namespace \"default\": secrets are for nobody"),
            "{message}"
        );
        let message = alice.get(CONFIGMAPS).await.refused(403);
        assert!(
            message.ends_with("in the namespace \"default\": not my business"),
            "{message}"
        );
    }
    let asked = webhook.asked();
    assert_eq!(asked.len(), 3, "answers are remembered");
    assert_eq!(
        asked[0].1,
        json!({"user": "alice", "groups": ["devs", "system:authenticated"],
            "resourceAttributes": {"namespace": "default", "verb": "list", "version": "v1", "resource": "pods"}})
    );
    // What the webhook has no opinion on, a role may allow; what it denies, nobody allows.
    let admin = cluster.admin();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "alice"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"}]});
    admin
        .post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", role)
        .await
        .ok();
    alice.get(CONFIGMAPS).await.ok();
    alice.get("/api/v1/namespaces/default/secrets").await.refused(403);
    let secrets = json!({"spec": {"resourceAttributes": {"namespace": "default", "verb": "list", "resource": "secrets"}}});
    assert_eq!(
        alice
            .post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", secrets)
            .await
            .ok()["status"],
        json!({"allowed": false, "denied": true, "reason": "secrets are for nobody"})
    );
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "list", "version": "v1", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(
        alice.post(path, review).await.ok()["status"],
        json!({"allowed": true, "reason": "pods are for all"})
    );
}

#[tokio::test]
async fn a_webhook_that_answers_nonsense_has_no_opinion() {
    let webhook = WebhookServer::start(Does::Says(404, "nowhere")).await;
    let cluster = with_access_webhook(&webhook, &[AuthorizationMode::Webhook]).await;
    let alice = cluster.user(UserInfo::new("alice", ["devs"]));
    // Nobody knows whether she may.
    let message = alice.get(PODS).await.refused(500);
    assert!(message.contains("404 Not Found"), "{message}");
    cluster.admin().get(PODS).await.ok();
    let review =
        json!({"spec": {"user": "alice", "resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let status = cluster.admin().post(path, review).await.ok()["status"].clone();
    assert_eq!(status["allowed"], false);
    assert!(
        status["evaluationError"]
            .as_str()
            .unwrap()
            .contains("404 Not Found"),
        "{status}"
    );
}

/// Several webhooks of a file, each asked about what its conditions say.
#[tokio::test]
async fn webhooks_of_a_file_are_asked_in_order_about_what_they_are_for() {
    let directory = tempfile::tempdir().unwrap();
    let broken = WebhookServer::start(Does::Says(200, "nonsense")).await;
    let opens = WebhookServer::start(Does::Reviews(|spec| {
        let requirements = &spec["resourceAttributes"]["labelSelector"]["requirements"];
        json!({"allowed": requirements[0]["key"] == "mine"})
    }))
    .await;
    let entry = |name: &str, server: &WebhookServer, policy: &str, conditions: &[&str]| {
        let own = directory.path().join(name);
        std::fs::create_dir(&own).unwrap();
        let path = directory.path().join(name).join("webhook.conf");
        std::fs::rename(kubeconfig(&directory, server), &path).unwrap();
        let conditions: Vec<Value> = conditions.iter().map(|c| json!({"expression": c})).collect();
        json!({"type": "Webhook", "name": name, "webhook": {"timeout": "3s", "failurePolicy": policy,
            "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
            "authorizedTTL": "1ms", "unauthorizedTTL": "1ms", "matchConditions": conditions,
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": path}}})
    };
    let of = |authorizers: Vec<Value>| {
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
            "authorizers": authorizers})
        .to_string()
    };
    let text = of(vec![
        // Without a path of its own it fails for paths.
        entry(
            "closed",
            &broken,
            "Deny",
            &["request.resourceAttributes.namespace == 'closed'"],
        ),
        entry("open", &broken, "NoOpinion", &["has(request.resourceAttributes)"]),
        entry("opens", &opens, "Deny", &["has(request.resourceAttributes)"]),
        json!({"type": "RBAC", "name": "rbac"}),
    ]);
    let structured = StructuredAuthorization::new(&text).unwrap();
    let cluster = Cluster::with(|c| c.structured_authorization = Some(structured.clone())).await;
    let alice = cluster.user(UserInfo::new("alice", ["devs"]));
    let message = alice.get("/api/v1/namespaces/closed/pods").await.refused(500);
    assert!(message.contains("expected ident"), "{message}");
    alice
        .get(&format!(
            "{PODS}?labelSelector=mine+in+(b,a)&fieldSelector=spec.nodeName%3Dn"
        ))
        .await
        .ok();
    let asked = opens.asked()[0].1["resourceAttributes"].clone();
    let own = json!({"requirements": [{"key": "mine", "operator": "In", "values": ["a", "b"]}]});
    assert_eq!(asked["labelSelector"], own);
    let node = json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]});
    assert_eq!(asked["fieldSelector"], node);
    // Who fails open leaves an error behind, and the others decide.
    let message = alice.get(PODS).await.refused(500);
    assert!(message.contains("expected ident"), "{message}");
    let message = alice.get("/metrics").await.refused(500);
    assert!(message.contains("no such key: resourceAttributes"), "{message}");
    let metrics = cluster.admin().get("/metrics").await.text;
    for line in [
        "apiserver_authorization_decisions_total{decision=\"allowed\",name=\"opens\",type=\"Webhook\"} 1",
        "apiserver_authorization_decisions_total{decision=\"denied\",name=\"closed\",type=\"Webhook\"} 2",
        "apiserver_authorization_match_condition_evaluation_errors_total{name=\"closed\",type=\"Webhook\"} 1",
        "apiserver_authorization_match_condition_exclusions_total{name=\"closed\",type=\"Webhook\"} 2",
        "apiserver_authorization_webhook_evaluations_fail_open_total{name=\"open\",result=\"error\"} 2",
        "apiserver_authorization_webhook_evaluations_total{name=\"opens\",result=\"success\"} 2",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let review = json!({"spec": {"user": "alice", "resourceAttributes": {"verb": "list", "resource": "pods",
        "namespace": "default", "labelSelector": {"rawSelector": "mine"}}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(
        cluster.admin().post(path, review).await.ok()["status"]["allowed"],
        true
    );
    structured
        .replace(Ok(&of(vec![json!({"type": "AlwaysAllow", "name": "all"})])))
        .unwrap();
    alice.get("/api/v1/namespaces/closed/pods").await.ok();
}
