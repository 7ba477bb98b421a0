//! Admission: what each operation shows to plugins, and when they run (contract §17).
use crate::support::*;
use orlop_apiserver::UserInfo;
use serde_json::json;

/// A cluster with the default account and a pod that is bound to node n1.
async fn with_bound_pod() -> Cluster {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    admin
        .post("/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    let mut made = pod("p");
    made["spec"]["nodeName"] = json!("n1");
    admin.post(PODS, made).await.ok();
    cluster
}

/// An eviction is the creation of an Eviction: whose pod it is about, plugins look up themselves.
#[tokio::test]
async fn a_node_evicts_only_pods_that_are_bound_to_it() {
    let cluster = with_bound_pod().await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let path = format!("{PODS}/p/eviction?dryRun=All");
    let other = cluster.user(UserInfo::node("n2"));
    let message = other.post(&path, eviction.clone()).await.refused(403);
    assert_eq!(
        message,
        "pods \"p\" is forbidden: node \"n2\" can only evict pods with spec.nodeName set to itself"
    );
    let own = cluster.user(UserInfo::node("n1"));
    assert_eq!(own.post(&path, eviction).await.code, 201);
}

/// A dry run passes all of admission and stores nothing.
#[tokio::test]
async fn a_dry_run_is_admitted_like_the_write_itself() {
    let admin = Cluster::start().await.admin();
    let class = |name: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": 1, "globalDefault": true})
    };
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
    admin.post(path, class("one")).await.ok();
    let message = admin
        .post(&format!("{path}?dryRun=All"), class("two"))
        .await
        .refused(403);
    assert!(
        message.contains("PriorityClass one is already marked as default"),
        "{message}"
    );
}
