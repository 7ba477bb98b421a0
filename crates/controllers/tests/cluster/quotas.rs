//! Quotas: counted when they are made, charged by the server, given back here when things go.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

fn quotas(cluster: &Cluster) -> Api<ResourceQuota> {
    Api::namespaced(cluster.client.clone(), "default")
}

async fn create_quota(cluster: &Cluster, hard: Value) {
    let quota = serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).unwrap();
    quotas(cluster)
        .create(&PostParams::default(), &quota)
        .await
        .unwrap();
}

/// Waits until the quota has been used for exactly this.
async fn expect_used(cluster: &Cluster, want: Value) {
    eventually(&format!("used: {want}"), || async {
        let quota = quotas(cluster).get("q").await.unwrap();
        let used = quota.status.and_then(|status| status.used);
        (serde_json::to_value(used).unwrap() == want).then_some(())
    })
    .await;
}

fn pod(name: &str) -> Pod {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"containers": [container]}})).unwrap()
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test]
async fn a_quota_counts_what_is_there_and_gives_back_what_goes() {
    let cluster = Cluster::start().await;
    let (pods, now) = (cluster.pods(), DeleteParams::default().grace_period(0));
    pods.create(&PostParams::default(), &pod("before")).await.unwrap();
    create_quota(&cluster, json!({"pods": "2", "requests.cpu": "1"})).await;
    expect_used(&cluster, json!({"pods": "1", "requests.cpu": "100m"})).await;
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    expect_used(&cluster, json!({"pods": "2", "requests.cpu": "200m"})).await;
    let refused = pods.create(&PostParams::default(), &pod("b")).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("exceeded quota: q, requested: pods=1"),
        "{refused}"
    );
    pods.delete("a", &now).await.unwrap();
    expect_used(&cluster, json!({"pods": "1", "requests.cpu": "100m"})).await;
    let ended = json!({"status": {"phase": "Succeeded"}});
    pods.patch_status("before", &PatchParams::default(), &Patch::Merge(ended))
        .await
        .unwrap();
    expect_used(&cluster, json!({"pods": "0", "requests.cpu": "0"})).await;
}

/// Kinds are watched from when a quota bounds them.
#[tokio::test]
async fn a_quota_counts_objects_of_any_kind_and_follows_its_own_change() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    create_quota(&cluster, json!({"count/secrets": "3"})).await;
    expect_used(&cluster, json!({"count/secrets": "0"})).await;
    // The root CA is one already.
    let hard = json!({"spec": {"hard": {"count/secrets": null, "count/configmaps": "3", "count/deployments.apps": "1"}}});
    quotas(&cluster)
        .patch("q", &PatchParams::default(), &Patch::Merge(hard))
        .await
        .unwrap();
    expect_used(
        &cluster,
        json!({"count/configmaps": "1", "count/deployments.apps": "0"}),
    )
    .await;
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &map(name)).await.unwrap();
    }
    let refused = maps.create(&PostParams::default(), &map("c")).await.unwrap_err();
    assert!(refused.to_string().contains("exceeded quota: q"), "{refused}");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    expect_used(
        &cluster,
        json!({"count/configmaps": "2", "count/deployments.apps": "0"}),
    )
    .await;
    maps.create(&PostParams::default(), &map("c")).await.unwrap();
}
