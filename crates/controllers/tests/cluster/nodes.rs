//! Nodes that come, fail and go.

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

async fn taints(cluster: &Cluster, node: &str) -> Vec<String> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = nodes.get(node).await.unwrap();
    orlop_api::taints::of(&node)
        .iter()
        .map(|taint| format!("{}:{}", taint.key, taint.effect))
        .collect()
}

async fn expect_taints<const N: usize>(cluster: &Cluster, node: &str, want: [&str; N]) {
    eventually(&format!("taints {want:?}"), || async {
        (taints(cluster, node).await == want).then_some(())
    })
    .await;
}

async fn create_pod(cluster: &Cluster, name: &str, tolerations: Value) {
    let pod = json!({"metadata": {"name": name}, "spec": {
        "containers": [{"name": "c", "image": "i"}], "tolerations": tolerations, "nodeSelector": {"for": "pods"}}});
    cluster
        .pods()
        .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn n02_n04_n05_taints_follow_the_conditions() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    expect_taints(&cluster, "n1", []).await;
    cluster
        .patch_node("n1", json!({"spec": {"unschedulable": true}}))
        .await;
    expect_taints(&cluster, "n1", ["node.kubernetes.io/unschedulable:NoSchedule"]).await;
    cluster
        .patch_node("n1", json!({"spec": {"unschedulable": null}}))
        .await;
    expect_taints(&cluster, "n1", []).await;

    cluster.set_ready("n1", "False").await;
    expect_taints(&cluster, "n1", ["node.kubernetes.io/not-ready:NoSchedule"]).await;
    cluster.set_ready("n1", "Unknown").await;
    expect_taints(&cluster, "n1", ["node.kubernetes.io/unreachable:NoSchedule"]).await;
    // With a second, ready node the cluster isn't all down, and this one may be given up.
    cluster.add_node("n2", json!({})).await;
    expect_taints(
        &cluster,
        "n1",
        [
            "node.kubernetes.io/unreachable:NoSchedule",
            "node.kubernetes.io/unreachable:NoExecute",
        ],
    )
    .await;
    cluster.set_ready("n1", "True").await;
    expect_taints(&cluster, "n1", []).await;
}

#[tokio::test]
async fn n06_n09_n10_pods_that_do_not_tolerate_a_no_execute_taint_go() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({"for": "pods"})).await;
    create_pod(&cluster, "plain", json!([])).await;
    create_pod(
        &cluster,
        "tolerant",
        json!([{"key": "team", "operator": "Exists"}]),
    )
    .await;
    create_pod(
        &cluster,
        "patient",
        json!([{"key": "team", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]),
    )
    .await;
    for name in ["plain", "tolerant", "patient"] {
        eventually("a node", || async {
            cluster.pods().get(name).await.unwrap().spec.unwrap().node_name
        })
        .await;
    }
    cluster
        .patch_node(
            "n1",
            json!({"spec": {"taints": [{"key": "team", "effect": "NoExecute"}]}}),
        )
        .await;
    for name in ["plain", "patient"] {
        eventually("eviction", || async {
            cluster
                .pods()
                .get_opt(name)
                .await
                .unwrap()
                .is_none()
                .then_some(())
        })
        .await;
    }
    let tolerant = cluster.pods().get("tolerant").await.unwrap();
    assert!(tolerant.metadata.deletion_timestamp.is_none());
}
