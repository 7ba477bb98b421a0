//! The scheduler.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{Cluster, eventually};

async fn create(cluster: &Cluster, name: &str, spec: Value) {
    let mut pod = json!({"metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 1}});
    orlop_api::patch::merge(&mut pod["spec"], &spec);
    cluster
        .pods()
        .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
}

fn cpu(cpu: &str) -> Value {
    json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]})
}

async fn node_of(cluster: &Cluster, pod: &str) -> String {
    eventually(&format!("a node for {pod}"), || async {
        cluster.pods().get(pod).await.unwrap().spec.unwrap().node_name
    })
    .await
}

async fn told(cluster: &Cluster, pod: &str) -> String {
    eventually("a condition", || async {
        let pod: Pod = cluster.pods().get(pod).await.unwrap();
        orlop_api::pod::condition(&pod, "PodScheduled")
            .filter(|condition| condition.reason.as_deref() == Some("Unschedulable"))
            .and_then(|condition| condition.message.clone())
    })
    .await
}

#[tokio::test]
async fn s01_s02_a_pod_waits_with_a_reason_until_it_fits() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    create(&cluster, "others", json!({"schedulerName": "mine"})).await;
    create(&cluster, "first", cpu("3")).await;
    assert_eq!(node_of(&cluster, "first").await, "n1");
    create(&cluster, "second", cpu("3")).await;
    assert_eq!(
        told(&cluster, "second").await,
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
         1 No preemption victims found for incoming pod."
    );
    cluster.add_node("n2", json!({})).await;
    assert_eq!(node_of(&cluster, "second").await, "n2");

    // Whose pod it isn't doesn't touch it.
    let others = cluster.pods().get("others").await.unwrap();
    assert_eq!(others.spec.unwrap().node_name, None);
    assert!(others.status.unwrap().conditions.is_none());
    let client = cluster.client.clone();
    let profile = orlop_scheduler::Profile {
        name: "mine".to_owned(),
        ..orlop_scheduler::Profile::default()
    };
    let options = orlop_scheduler::Options {
        profiles: vec![profile],
        ..orlop_scheduler::Options::default()
    };
    let metrics = std::sync::Arc::new(orlop_metrics::PartMetrics::new(""));
    let mine = tokio::spawn(async move {
        let readiness = orlop_client::Readiness::default();
        orlop_scheduler::run_measured(client, &options, metrics, &readiness, CancellationToken::new()).await
    });
    node_of(&cluster, "others").await;
    mine.abort();
}

#[tokio::test]
async fn s06_a_more_important_pod_takes_the_place_of_a_less_important_one() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    create(&cluster, "low", cpu("3")).await;
    node_of(&cluster, "low").await;
    let mut important = cpu("3");
    important["priorityClassName"] = json!("system-node-critical");
    create(&cluster, "high", important).await;
    assert_eq!(node_of(&cluster, "high").await, "n1");
    assert!(cluster.pods().get_opt("low").await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_pod_is_evicted_for_is_told_and_its_place_goes_to_the_more_important_one() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    create(&cluster, "low", cpu("3")).await;
    node_of(&cluster, "low").await;
    // Something holds the victim, so that it can still be looked at.
    let hold = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/look"]}}));
    let params = PatchParams::default();
    cluster.pods().patch("low", &params, &hold).await.unwrap();
    let mut important = cpu("3");
    important["priorityClassName"] = json!("system-cluster-critical");
    create(&cluster, "high", important).await;
    let condition = eventually("the victim's condition", || async {
        let pod = cluster.pods().get("low").await.unwrap();
        orlop_api::pod::condition(&pod, "DisruptionTarget").cloned()
    })
    .await;
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_deref()),
        ("True", Some("PreemptionByScheduler"))
    );
    let nominated = eventually("the node where room is made", || async {
        let pod = cluster.pods().get("high").await.unwrap();
        pod.status.unwrap().nominated_node_name
    })
    .await;
    assert_eq!(nominated, "n1");
    let let_go = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster.pods().patch("low", &params, &let_go).await.unwrap();
    assert_eq!(node_of(&cluster, "high").await, "n1");
}

#[tokio::test]
async fn resources_of_any_name_are_shared_out_and_given_back() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let device = json!({"example.com/device": "1"});
    let room = Patch::Merge(json!({"status": {"capacity": device, "allocatable": device}}));
    let params = PatchParams::default();
    nodes.patch_status("n1", &params, &room).await.unwrap();
    let device = json!({"containers": [{"name": "c", "image": "i",
        "resources": {"requests": device, "limits": device}}]});
    create(&cluster, "first", device.clone()).await;
    node_of(&cluster, "first").await;
    create(&cluster, "second", device).await;
    assert_eq!(
        told(&cluster, "second").await,
        "0/1 nodes are available: 1 Insufficient example.com/device. preemption: 0/1 nodes are available: \
         1 No preemption victims found for incoming pod."
    );
    cluster
        .pods()
        .delete("first", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(node_of(&cluster, "second").await, "n1");
}
