//! Nodes that come, fail and go. What takes minutes is in the simulation, under its clock.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, EvictParams, Patch, PatchParams, PostParams};
use orlop_controllers::{ClusterRange, NodeBits, Selection};
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
    eventually("how long its agent may keep things", || async {
        let nodes: Api<Node> = Api::all(cluster.client.clone());
        let annotations = nodes.get("n1").await.unwrap().metadata.annotations;
        (annotations
            .unwrap_or_default()
            .get("node.alpha.kubernetes.io/ttl")?
            == "0")
            .then_some(())
    })
    .await;
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

#[tokio::test]
async fn n10_a_pod_stays_on_a_tainted_node_if_nobody_is_there_to_evict_it() {
    let cluster = Cluster::bare().await;
    let words = ["*", "-taint-eviction-controller"].map(str::to_owned);
    cluster.run_controllers_with(|config| config.selection = Selection::new(&words).unwrap());
    cluster.run_scheduler();
    cluster.run_agents();
    cluster.add_node("n1", json!({"for": "pods"})).await;
    cluster.create_set("d", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    create_pod(&cluster, "plain", json!([])).await;
    eventually("a node", || async {
        cluster.pods().get("plain").await.unwrap().spec.unwrap().node_name
    })
    .await;
    let taint = json!({"spec": {"taints": [{"key": "team", "effect": "NoExecute"}]}});
    cluster.patch_node("n1", taint).await;
    // The DaemonSet's controller has seen the taint by now.
    cluster.expect_running("d", []).await;
    let plain = cluster.pods().get("plain").await.unwrap();
    assert!(plain.metadata.deletion_timestamp.is_none());
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
    let shared = ClusterRange::new("10.244.0.0/22,fd00::/56", NodeBits::default()).unwrap();
    cluster.run_controllers_sharing(Some(shared));
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let range = async |name: &str| -> Option<String> {
        let spec = nodes.get(name).await.unwrap().spec?;
        let (first, both) = (spec.pod_cidr?, spec.pod_cidrs?);
        assert_eq!((both.len(), &both[0]), (2, &first), "one of each family");
        Some(first)
    };
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

#[tokio::test]
async fn a_taint_that_is_taken_back_in_time_evicts_nobody() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2"] {
        cluster.add_node(node, json!({"for": "pods"})).await;
    }
    // Scheduled one after the other: to the emptiest node.
    let patient =
        json!([{"key": "team", "effect": "NoExecute", "operator": "Exists", "tolerationSeconds": 1}]);
    let mut nodes = Vec::new();
    for name in ["stays", "goes"] {
        create_pod(&cluster, name, patient.clone()).await;
        let node = eventually("a node", || async {
            let pod = cluster.pods().get(name).await.unwrap();
            orlop_api::pod::is_ready(&pod).then(|| pod.spec.unwrap().node_name.unwrap())
        })
        .await;
        cluster
            .patch_node(&node, json!({"spec": {"unschedulable": true}}))
            .await;
        nodes.push(node);
    }
    let taint = json!({"spec": {"taints": [{"key": "team", "effect": "NoExecute"}]}});
    for node in &nodes {
        cluster.patch_node(node, taint.clone()).await;
    }
    cluster
        .patch_node(&nodes[0], json!({"spec": {"taints": null}}))
        .await;
    eventually("eviction", || async {
        cluster
            .pods()
            .get_opt("goes")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    let stays = cluster.pods().get("stays").await.unwrap();
    assert!(stays.metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn pods_that_are_not_healthy_are_evicted_as_their_budget_says() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let labels = json!({"app": "web"});
    for (name, image) in [("well", "img:1"), ("ill", "broken"), ("too", "broken")] {
        let pod = json!({"metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}]}});
        let pod = serde_json::from_value(pod).unwrap();
        cluster.pods().create(&PostParams::default(), &pod).await.unwrap();
        eventually("a running pod", || async {
            let pod = cluster.pods().get(name).await.unwrap();
            (orlop_api::pod::phase(&pod) == "Running").then_some(())
        })
        .await;
    }
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(cluster.client.clone(), "default");
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": labels}}});
    budgets
        .create(&PostParams::default(), &serde_json::from_value(budget).unwrap())
        .await
        .unwrap();
    let healthy = |desired: i32| {
        let budgets = budgets.clone();
        async move {
            let budget = budgets.get("b").await.unwrap();
            let status = budget.status?;
            let seen = status.observed_generation == budget.metadata.generation;
            (seen && status.desired_healthy == Some(desired) && status.current_healthy == Some(1))
                .then_some(())
        }
    };
    eventually("the budget's sums", || healthy(2)).await;
    let evict = EvictParams::default();
    let refused = cluster.pods().evict("ill", &evict).await.err().unwrap();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 429));
    let params = PatchParams::default();
    let always = Patch::Merge(json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}));
    budgets.patch("b", &params, &always).await.unwrap();
    cluster.pods().evict("ill", &evict).await.unwrap();
    let enough = json!({"spec": {"unhealthyPodEvictionPolicy": "IfHealthyBudget", "minAvailable": 1}});
    budgets.patch("b", &params, &Patch::Merge(enough)).await.unwrap();
    eventually("the budget's sums", || healthy(1)).await;
    cluster.pods().evict("too", &evict).await.unwrap();
    let refused = cluster.pods().evict("well", &evict).await.err().unwrap();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 429));
}
