//! Nodes that come, fail and go.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, EvictParams, PostParams};
use orlop_controllers::ClusterRange;
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

/// Like [`eventually`], for what the contract gives a minute.
async fn within_ninety_seconds<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    for _ in 0..180 {
        if look().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{what}: not within 90 s");
}

#[tokio::test]
#[ignore = "takes a minute: the grace period is 50 s"]
async fn n03_a_silent_node_and_its_pods_are_not_ready_and_its_daemon_pods_stay() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    // From here on nobody speaks for n1; n2 renews its lease.
    cluster.add_node("n2", json!({})).await;
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:1 ready"])
        .await;
    cluster.stop_agents();
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(cluster.client.clone(), "kube-node-lease");
    let renewed = || {
        json!({"metadata": {"name": "n2"}, "spec": {"holderIdentity": "n2",
        "renewTime": MicroTime(jiff::Timestamp::now())}})
    };
    leases
        .create(
            &PostParams::default(),
            &serde_json::from_value(renewed()).unwrap(),
        )
        .await
        .unwrap();
    within_ninety_seconds("taints and statuses", || async {
        let patch = kube::api::Patch::Merge(renewed());
        leases
            .patch("n2", &kube::api::PatchParams::default(), &patch)
            .await
            .unwrap();
        let tainted = taints(&cluster, "n1").await.len() == 2;
        tainted && cluster.running("d").await == ["n1 img:1 waiting", "n2 img:1 ready"]
    })
    .await;
    assert!(taints(&cluster, "n2").await.is_empty());
    cluster
        .patch_set("d", json!({"metadata": {"labels": {"touched": "1"}}}))
        .await;
    cluster.expect_status("d", [1, 1, 1, 1, 1, 1]).await;
}

#[tokio::test]
#[ignore = "takes a minute: nodes are missed after 40 s"]
async fn n11_pods_of_a_deleted_node_are_collected() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({"for": "pods"})).await;
    create_pod(&cluster, "lost", json!([])).await;
    eventually("a node", || async {
        cluster.pods().get("lost").await.unwrap().spec.unwrap().node_name
    })
    .await;
    cluster.stop_agents();
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.delete("n1", &Default::default()).await.unwrap();
    within_ninety_seconds("the pod's removal", || async {
        cluster.pods().get_opt("lost").await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn a_disruption_budget_limits_evictions() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let labels = json!({"app": "web"});
    for name in ["a", "b"] {
        let pod = json!({"metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "c", "image": "img:1"}]}});
        let pod = serde_json::from_value(pod).unwrap();
        cluster.pods().create(&PostParams::default(), &pod).await.unwrap();
    }
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(cluster.client.clone(), "default");
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}});
    budgets
        .create(&PostParams::default(), &serde_json::from_value(budget).unwrap())
        .await
        .unwrap();
    let allowed = |want: i32| {
        let budgets = budgets.clone();
        async move {
            let status = budgets.get("b").await.unwrap().status?;
            (status.disruptions_allowed == Some(want)).then_some(status)
        }
    };
    let status = eventually("one disruption allowed", || allowed(1)).await;
    assert_eq!(
        (
            status.current_healthy,
            status.desired_healthy,
            status.expected_pods
        ),
        (Some(2), Some(1), Some(2))
    );
    let evict = EvictParams::default();
    cluster.pods().evict("a", &evict).await.unwrap();
    eventually("none allowed any more", || allowed(0)).await;
    let refused = cluster.pods().evict("b", &evict).await.err().unwrap();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 429));
}

#[tokio::test]
async fn every_node_gets_a_range_of_its_own_and_a_range_that_is_free_again_is_given_out() {
    let cluster = Cluster::bare().await;
    cluster.run_controllers_sharing(Some(ClusterRange::new("10.244.0.0/22", 24).unwrap()));
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let range = async |name: &str| -> Option<String> { nodes.get(name).await.unwrap().spec?.pod_cidr };
    let names = ["a", "b", "c", "d"];
    for name in names {
        cluster.add_node(name, json!({})).await;
    }
    let mut ranges = Vec::new();
    for name in names {
        ranges.push(eventually("a range", || range(name)).await);
    }
    ranges.sort();
    assert_eq!(
        ranges,
        ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]
    );
    let freed = range("b").await;
    nodes.delete("b", &DeleteParams::default()).await.unwrap();
    cluster.add_node("e", json!({})).await;
    let given = eventually("the range that is free again", || range("e")).await;
    assert_eq!(Some(given), freed);
}
