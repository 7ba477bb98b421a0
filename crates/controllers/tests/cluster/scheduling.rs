//! The scheduler.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};

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
