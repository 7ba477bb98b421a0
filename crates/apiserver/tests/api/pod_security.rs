//! Pod Security (contract §17).
use crate::support::*;
use serde_json::{Value, json};

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const WARN: &str = "pod-security.kubernetes.io/warn";

/// A server with namespace `psa` under these labels and the default account in it.
async fn labelled(labels: Value) -> Client {
    let admin = Cluster::start().await.admin();
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "psa", "labels": labels}});
    admin.post("/api/v1/namespaces", namespace).await.ok();
    admin
}

const IN_PSA: &str = "/api/v1/namespaces/psa/pods";

fn host_pod(name: &str) -> Value {
    let mut made = pod(name);
    made["spec"]["hostNetwork"] = json!(true);
    made["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    made
}

/// M01
#[tokio::test]
async fn m01_given_enforce_baseline_a_host_network_privileged_pod_is_forbidden_with_both_violations() {
    let admin = labelled(json!({ENFORCE: "baseline", WARN: "restricted"})).await;
    assert_eq!(
        admin.post(IN_PSA, host_pod("p")).await.refused(403),
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true), \
         privileged (container \"c\" must not set securityContext.privileged=true)"
    );
    assert_eq!(admin.get(&format!("{IN_PSA}/p")).await.code, 404);
    let made = admin.post(IN_PSA, pod("q")).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let warnings = made.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with(
            "299 - \"would violate PodSecurity \\\"restricted:latest\\\": allowPrivilegeEscalation != false (container \\\"c\\\" must set"
        ),
        "{warnings:?}"
    );
    for what in [
        "unrestricted capabilities (",
        "runAsNonRoot != true (",
        "seccompProfile (",
    ] {
        assert!(warnings[0].contains(what), "{warnings:?}");
    }
}

/// M01: pods are refused, what makes them only draws a warning.
#[tokio::test]
async fn m01_workloads_whose_pods_would_be_refused_are_accepted_with_a_warning() {
    let admin = labelled(json!({ENFORCE: "baseline"})).await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": host_pod("x")["spec"]}}});
    let made = admin
        .post("/apis/apps/v1/namespaces/psa/deployments", deployment)
        .await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert!(
        made.warnings()[0].contains("would violate PodSecurity \\\"baseline:latest\\\": host namespaces"),
        "{:?}",
        made.warnings()
    );
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": {
        "schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {"hostPID": true, "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}}}});
    let made = admin.post("/apis/batch/v1/namespaces/psa/cronjobs", cron).await;
    assert!(
        made.warnings()[0].contains("hostPID=true"),
        "{:?}",
        made.warnings()
    );
}

#[tokio::test]
async fn a_bad_level_on_the_namespace_is_invalid() {
    let admin = labelled(json!({})).await;
    let bogus = json!({"metadata": {"labels": {ENFORCE: "bogus"}}});
    assert_eq!(
        admin
            .patch("/api/v1/namespaces/psa", "merge", bogus)
            .await
            .refused(422),
        "Namespace \"psa\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"bogus\": \
         must be one of privileged, baseline, restricted"
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "other", "labels": {"pod-security.kubernetes.io/warn-version": "one"}}});
    let message = admin.post("/api/v1/namespaces", namespace).await.refused(422);
    assert!(message.ends_with("must be \"latest\" or \"v1.x\""), "{message}");
}

#[tokio::test]
async fn tightening_enforce_warns_of_the_pods_that_are_there() {
    let admin = labelled(json!({})).await;
    for name in ["b", "a"] {
        admin.post(IN_PSA, host_pod(name)).await.ok();
    }
    let tighten = json!({"metadata": {"labels": {ENFORCE: "baseline"}}});
    let reply = admin
        .patch("/api/v1/namespaces/psa", "merge", tighten.clone())
        .await;
    assert_eq!(
        reply.warnings(),
        [
            "299 - \"existing pods in namespace \\\"psa\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "299 - \"a (and 1 other pod): host namespaces, privileged\"",
        ]
    );
    let again = admin.patch("/api/v1/namespaces/psa", "merge", tighten).await;
    assert!(again.warnings().is_empty(), "nothing changed");
}

/// What was there before may stay, and be labelled; a new image is looked at.
#[tokio::test]
async fn changes_that_bring_nothing_new_are_not_looked_at() {
    let admin = labelled(json!({})).await;
    admin.post(IN_PSA, host_pod("p")).await.ok();
    let tighten = json!({"metadata": {"labels": {ENFORCE: "baseline"}}});
    admin.patch("/api/v1/namespaces/psa", "merge", tighten).await.ok();
    let path = format!("{IN_PSA}/p");
    let label = json!({"metadata": {"labels": {"l": "1"}}});
    admin.patch(&path, "strategic-merge", label).await.ok();
    let image = json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}});
    let message = admin.patch(&path, "strategic-merge", image).await.refused(403);
    assert!(
        message.contains("violates PodSecurity \"baseline:latest\""),
        "{message}"
    );
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox"}]}});
    let message = admin
        .patch(&format!("{path}/ephemeralcontainers"), "strategic-merge", debug)
        .await
        .refused(403);
    assert!(message.contains("violates PodSecurity"), "{message}");
}
