//! DaemonSets beyond upstream: conditions, one Event a taint, and what annotations ask for.

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually, image};

async fn nodes(cluster: &Cluster, names: &[&str]) {
    for name in names {
        cluster.add_node(name, json!({"name": name})).await;
    }
}

/// A set with these annotations, running everywhere.
async fn annotated(cluster: &Cluster, annotations: Value, rolling: Value) {
    cluster
        .create_set("d", json!({"updateStrategy": {"rollingUpdate": rolling}}))
        .await;
    cluster
        .patch_set("d", json!({"metadata": {"annotations": annotations}}))
        .await;
}

async fn condition(cluster: &Cluster, kind: &str, want: &str) {
    eventually(&format!("{kind}={want}"), || async {
        let status = cluster.sets().get("d").await.unwrap().status?;
        let found = status.conditions?.into_iter().find(|c| c.type_ == kind)?;
        (format!("{} {}", found.status, found.reason.unwrap_or_default()) == want).then_some(())
    })
    .await;
}

#[tokio::test]
async fn conditions_tell_how_it_stands() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["n1", "n2"]).await;
    cluster.create_set("d", json!({})).await;
    condition(&cluster, "Available", "True AllPodsAvailable").await;
    condition(&cluster, "Progressing", "True Complete").await;
    cluster.patch_set("d", image("broken:1")).await;
    condition(&cluster, "Progressing", "True RollingOut").await;
    condition(&cluster, "Available", "True MinimumPodsAvailable").await;
    cluster.patch_set("d", image("img:2")).await;
    condition(&cluster, "Progressing", "True Complete").await;
}

#[tokio::test]
async fn nodes_left_out_for_a_taint_are_one_event_with_their_count() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["n1", "n2", "n3"]).await;
    for node in ["n2", "n3"] {
        cluster
            .patch_node(
                node,
                json!({"spec": {"taints": [{"key": "disk", "value": "full", "effect": "NoSchedule"}]}}),
            )
            .await;
    }
    cluster.create_set("d", json!({})).await;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    eventually("the event", || async {
        let found = events.list(&ListParams::default()).await.unwrap().items;
        found
            .into_iter()
            .filter(|event| event.involved_object.name.as_deref() == Some("d"))
            .find(|event| event.message.as_deref() == Some("2 nodes: taint disk=full:NoSchedule"))
    })
    .await;
}

#[tokio::test]
async fn a_dead_node_does_not_hold_an_advanced_update_up() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["n1", "n2", "n3"]).await;
    annotated(
        &cluster,
        json!({"apps.openyurt.io/update-strategy": "AdvancedRollingUpdate", "apps.openyurt.io/max-unavailable": "1"}),
        json!({"maxUnavailable": 1}),
    )
    .await;
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:1 ready", "n3 img:1 ready"])
        .await;
    cluster.set_ready("n1", "False").await;
    cluster.patch_set("d", image("img:2")).await;
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:2 ready", "n3 img:2 ready"])
        .await;
    cluster.set_ready("n1", "True").await;
    cluster
        .expect_running("d", ["n1 img:2 ready", "n2 img:2 ready", "n3 img:2 ready"])
        .await;
}

#[tokio::test]
async fn paused_partition_and_selector_hold_old_pods_back() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["n1", "n2", "n3"]).await;
    annotated(
        &cluster,
        json!({"apps.kruise.io/paused": "true"}),
        json!({"maxUnavailable": 3}),
    )
    .await;
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:1 ready", "n3 img:1 ready"])
        .await;
    cluster.patch_set("d", image("img:2")).await;
    condition(&cluster, "Progressing", "False Paused").await;
    let selected = json!({"apps.kruise.io/paused": null, "apps.kruise.io/selector": "name=n2"});
    cluster
        .patch_set("d", json!({"metadata": {"annotations": selected}}))
        .await;
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:2 ready", "n3 img:1 ready"])
        .await;
    let partition = json!({"apps.kruise.io/selector": null, "apps.kruise.io/partition": "1"});
    cluster
        .patch_set("d", json!({"metadata": {"annotations": partition}}))
        .await;
    condition(&cluster, "Progressing", "True PartitionReached").await;
    let old = cluster.running("d").await;
    assert_eq!(
        old.iter().filter(|line| line.contains("img:1")).count(),
        1,
        "{old:?}"
    );
}

#[tokio::test]
async fn over_the_air_pods_are_told_and_go_when_somebody_deletes_them() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["n1"]).await;
    annotated(
        &cluster,
        json!({"apps.openyurt.io/update-strategy": "OTA"}),
        json!({}),
    )
    .await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    cluster.patch_set("d", image("img:2")).await;
    let told = eventually("PodNeedUpgrade", || async {
        let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
        pods.into_iter().find(|pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions
                .into_iter()
                .flatten()
                .any(|c| c.type_ == "PodNeedUpgrade" && c.status == "True")
        })
    })
    .await;
    let name = told.metadata.name.unwrap();
    cluster
        .pods()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    cluster.expect_running("d", ["n1 img:2 ready"]).await;
}

#[tokio::test]
async fn images_are_pulled_before_old_pods_stop() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["n1", "n2"]).await;
    annotated(
        &cluster,
        json!({"apps.kruise.io/image-predownload-parallelism": "1"}),
        json!({}),
    )
    .await;
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:1 ready"])
        .await;
    cluster.stop_agents();
    cluster.patch_set("d", image("img:2")).await;
    let puller = eventually("a pod that pulls", || async {
        let with = ListParams::default().labels("orlop.dev/pre-pull-for");
        cluster.pods().list(&with).await.unwrap().items.pop()
    })
    .await;
    assert_eq!(puller.spec.unwrap().containers[0].image.as_deref(), Some("img:2"));
    assert_eq!(
        cluster.running("d").await,
        ["n1 img:1 ready", "n2 img:1 ready"],
        "nothing stops while the image is pulled"
    );
    cluster.run_agents_again();
    cluster
        .expect_running("d", ["n1 img:2 ready", "n2 img:2 ready"])
        .await;
    eventually("no pod pulls any more", || async {
        let with = ListParams::default().labels("orlop.dev/pre-pull-for");
        cluster
            .pods()
            .list(&with)
            .await
            .unwrap()
            .items
            .is_empty()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_node_stays_tainted_until_the_gating_pod_is_ready() {
    let cluster = Cluster::start().await;
    annotated(&cluster, json!({"orlop.dev/node-gate": "true"}), json!({})).await;
    eventually("the annotation to be seen", || async {
        let set = cluster.sets().get("d").await.unwrap();
        set.status.and_then(|status| status.observed_generation)
    })
    .await;
    cluster.patch_set("d", image("broken:1")).await;
    nodes(&cluster, &["n1"]).await;
    let api: Api<Node> = Api::all(cluster.client.clone());
    let taints = |node: Node| -> Vec<String> {
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        taints.iter().map(orlop_api::taints::display).collect()
    };
    eventually("the closed gate", || async {
        (taints(api.get("n1").await.unwrap()) == ["orlop.dev/node-gate:NoSchedule"]).then_some(())
    })
    .await;
    cluster.expect_running("d", ["n1 broken:1 waiting"]).await;
    cluster.patch_set("d", image("img:1")).await;
    eventually("the open gate", || async {
        taints(api.get("n1").await.unwrap()).is_empty().then_some(())
    })
    .await;
    let opened = api.get("n1").await.unwrap().metadata.annotations.unwrap();
    assert_eq!(opened["orlop.dev/node-gate-opened"], "default.d");
}
