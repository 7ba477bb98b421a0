//! DaemonSets: placement, replacement, updates, history.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, daemon_set, eventually, image};

async fn revisions(cluster: &Cluster, set: &str) -> Vec<ControllerRevision> {
    let api: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), "default");
    let mut found = api
        .list(&ListParams::default().labels(&format!("app={set}")))
        .await
        .unwrap()
        .items;
    found.sort_by_key(|revision| revision.revision);
    found
}

#[tokio::test]
async fn p01_p18_one_pod_a_node_is_created_bound_and_replaced() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2", "n3"] {
        cluster.add_node(node, json!({})).await;
    }
    cluster.create_set("d", json!({})).await;
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:1 ready", "n3 img:1 ready"])
        .await;
    cluster.expect_status("d", [3, 3, 3, 3, 3, 0]).await;

    let pod = cluster
        .pods()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0);
    let name = pod.metadata.name.clone().unwrap();
    assert!(name.starts_with("d-") && name.len() == "d-".len() + 5, "{name}");
    let owner = &pod.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.controller, owner.block_owner_deletion),
        ("DaemonSet", Some(true), Some(true))
    );
    let labels = pod.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["pod-template-generation"], "1");
    assert_eq!(
        Some(labels["controller-revision-hash"].as_str()),
        revisions(&cluster, "d").await[0]
            .metadata
            .name
            .as_deref()
            .unwrap()
            .strip_prefix("d-")
    );
    assert_eq!(
        pod.spec.as_ref().unwrap().tolerations.as_ref().unwrap().len(),
        6,
        "P14"
    );
    let set = cluster.sets().get("d").await.unwrap();
    assert!(
        set.spec.unwrap().template.spec.unwrap().tolerations.is_none(),
        "P14: never in the template"
    );

    cluster
        .pods()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    eventually("the replacement", || async {
        let gone = cluster.pods().get_opt(&name).await.unwrap().is_none();
        (gone && cluster.running("d").await.len() == 3).then_some(())
    })
    .await;

    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    eventually("events about creation and binding", || async {
        let found = events.list(&ListParams::default()).await.unwrap().items;
        let has = |reason: &str, text: &str| {
            found.iter().any(|event| {
                event.reason.as_deref() == Some(reason)
                    && event.message.as_deref().unwrap_or_default().starts_with(text)
            })
        };
        (has("SuccessfulCreate", "Created pod: d-") && has("Scheduled", "Successfully assigned default/d-"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn p02_p04_p07_p08_pods_follow_nodes_labels_and_taints() {
    let cluster = Cluster::start().await;
    cluster
        .create_set(
            "d",
            json!({"template": {"spec": {"nodeSelector": {"color": "blue"}}}}),
        )
        .await;
    cluster.expect_status("d", [0; 6]).await;
    cluster.add_node("n1", json!({"color": "blue"})).await;
    cluster.add_node("n2", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    cluster
        .patch_node("n2", json!({"metadata": {"labels": {"color": "blue"}}}))
        .await;
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:1 ready"])
        .await;
    cluster
        .patch_node("n1", json!({"metadata": {"labels": {"color": "green"}}}))
        .await;
    cluster.expect_running("d", ["n2 img:1 ready"]).await;
    cluster
        .patch_set(
            "d",
            json!({"spec": {"template": {"spec": {"nodeSelector": {"color": "green"}}}}}),
        )
        .await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;

    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "team", "effect": effect}]}});
    cluster.patch_node("n1", taint("NoSchedule")).await;
    cluster
        .patch_set("d", json!({"metadata": {"labels": {"touched": "1"}}}))
        .await;
    cluster.expect_status("d", [0, 0, 0, 0, 0, 1]).await;
    cluster.patch_node("n1", taint("NoExecute")).await;
    cluster.expect_running("d", []).await;
    cluster.patch_node("n1", json!({"spec": {"taints": null}})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
}

#[tokio::test]
async fn p13_a_fresh_node_gets_its_pod_when_it_turns_ready() {
    let cluster = Cluster::start().await;
    let node = json!({"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "1", "pods": "10"},
        "conditions": [{"type": "Ready", "status": "False"}]}});
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client.clone());
    nodes
        .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
        .await
        .unwrap();
    cluster.create_set("d", json!({})).await;
    eventually("the first sync", || async {
        cluster
            .sets()
            .get("d")
            .await
            .unwrap()
            .status
            .and_then(|status| status.observed_generation)
    })
    .await;
    assert!(cluster.running("d").await.is_empty());
    cluster.set_ready("n1", "True").await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
}

#[tokio::test]
async fn u02_u16_u17_a_rolling_update_and_back() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2"] {
        cluster.add_node(node, json!({})).await;
    }
    cluster.create_set("d", json!({"revisionHistoryLimit": 1})).await;
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:1 ready"])
        .await;
    cluster.patch_set("d", image("img:2")).await;
    cluster
        .expect_running("d", ["n1 img:2 ready", "n2 img:2 ready"])
        .await;
    cluster.expect_status("d", [2, 2, 2, 2, 2, 0]).await;
    let both = revisions(&cluster, "d").await;
    assert_eq!(
        both.iter().map(|revision| revision.revision).collect::<Vec<_>>(),
        [1, 2]
    );
    let hash =
        |labels: Option<&BTreeMap<String, String>>| labels.unwrap()["controller-revision-hash"].clone();
    for pod in cluster.pods().list(&ListParams::default()).await.unwrap() {
        assert_eq!(
            hash(pod.metadata.labels.as_ref()),
            hash(both[1].metadata.labels.as_ref())
        );
    }

    // As `kubectl rollout undo` does it.
    let data: Value = both[0].data.as_ref().unwrap().0.clone();
    cluster
        .sets()
        .patch("d", &PatchParams::default(), &Patch::Strategic(data))
        .await
        .unwrap();
    cluster
        .expect_running("d", ["n1 img:1 ready", "n2 img:1 ready"])
        .await;
    let again = revisions(&cluster, "d").await;
    assert_eq!(
        again
            .iter()
            .map(|revision| (revision.metadata.name.clone(), revision.revision))
            .collect::<Vec<_>>(),
        [
            (both[1].metadata.name.clone(), 2),
            (both[0].metadata.name.clone(), 3)
        ]
    );

    cluster.patch_set("d", image("img:3")).await;
    cluster
        .expect_running("d", ["n1 img:3 ready", "n2 img:3 ready"])
        .await;
    eventually("the surplus revision is pruned", || async {
        let left: Vec<i64> = revisions(&cluster, "d")
            .await
            .iter()
            .map(|revision| revision.revision)
            .collect();
        (left == [3, 4]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn u04_a_broken_update_stops_and_heals() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2", "n3"] {
        cluster.add_node(node, json!({})).await;
    }
    cluster.create_set("d", json!({})).await;
    cluster.expect_status("d", [3, 3, 3, 3, 3, 0]).await;
    cluster.patch_set("d", image("broken:1")).await;
    cluster.expect_status("d", [3, 3, 2, 1, 2, 0]).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    cluster.expect_status("d", [3, 3, 2, 1, 2, 0]).await;
    cluster.patch_set("d", image("img:2")).await;
    cluster
        .expect_running("d", ["n1 img:2 ready", "n2 img:2 ready", "n3 img:2 ready"])
        .await;
}

#[tokio::test]
async fn u09_a_surging_update() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2"] {
        cluster.add_node(node, json!({})).await;
    }
    let surge = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}});
    cluster.create_set("d", surge).await;
    cluster.expect_status("d", [2, 2, 2, 2, 2, 0]).await;
    cluster.patch_set("d", image("img:2")).await;
    cluster
        .expect_running("d", ["n1 img:2 ready", "n2 img:2 ready"])
        .await;
}

#[tokio::test]
async fn u01_on_delete_leaves_old_pods() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster
        .create_set("d", json!({"updateStrategy": {"type": "OnDelete"}}))
        .await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    cluster.patch_set("d", image("img:2")).await;
    eventually("the second revision", || async {
        (revisions(&cluster, "d").await.len() == 2).then_some(())
    })
    .await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    let pod = cluster
        .pods()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0);
    cluster
        .pods()
        .delete(&pod.metadata.name.unwrap(), &DeleteParams::default())
        .await
        .unwrap();
    cluster.expect_running("d", ["n1 img:2 ready"]).await;
}

#[tokio::test]
async fn c03_c04_failed_and_succeeded_pods_are_replaced() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    for phase in ["Failed", "Succeeded"] {
        cluster.expect_running("d", ["n1 img:1 ready"]).await;
        let pod = cluster
            .pods()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .remove(0);
        let name = pod.metadata.name.unwrap();
        let patch = json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": "False"}]}});
        cluster
            .pods()
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
        eventually("the finished pod's removal", || async {
            cluster
                .pods()
                .get_opt(&name)
                .await
                .unwrap()
                .is_none()
                .then_some(())
        })
        .await;
    }
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
}

#[tokio::test]
async fn c10_u21_orphaned_pods_are_adopted_and_relabelled_ones_released() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    let pod = cluster
        .pods()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0);
    let uid = pod.metadata.uid.clone().unwrap();

    cluster.sets().delete("d", &DeleteParams::orphan()).await.unwrap();
    eventually("the set's end", || async {
        cluster.sets().get_opt("d").await.unwrap().is_none().then_some(())
    })
    .await;
    let name = pod.metadata.name.clone().unwrap();
    let orphan = cluster.pods().get(&name).await.unwrap();
    assert!(
        orphan.metadata.owner_references.is_none(),
        "{:?}",
        orphan.metadata.owner_references
    );
    cluster
        .sets()
        .create(&PostParams::default(), &daemon_set("d", json!({})))
        .await
        .unwrap();
    eventually("the adoption", || async {
        cluster
            .pods()
            .get(&name)
            .await
            .unwrap()
            .metadata
            .owner_references
            .filter(|owners| owners.len() == 1)
    })
    .await;
    cluster.expect_status("d", [1, 1, 1, 1, 1, 0]).await;
    assert_eq!(cluster.pods().get(&name).await.unwrap().metadata.uid, Some(uid));

    let patch = json!({"metadata": {"labels": {"app": "other"}}});
    cluster
        .pods()
        .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    assert!(
        cluster
            .pods()
            .get(&name)
            .await
            .unwrap()
            .metadata
            .owner_references
            .is_none(),
        "released"
    );
}

#[tokio::test]
async fn u14_a_taken_revision_name_is_evaded() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    cluster.patch_set("d", image("img:2")).await;
    cluster.expect_running("d", ["n1 img:2 ready"]).await;
    let second = revisions(&cluster, "d").await.remove(1);
    cluster.patch_set("d", image("img:1")).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;

    let api: Api<ControllerRevision> = Api::namespaced(cluster.client.clone(), "default");
    let name = second.metadata.name.clone().unwrap();
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    let mut fake = second.clone();
    fake.metadata.resource_version = None;
    fake.metadata.uid = None;
    fake.data = serde_json::from_value(json!({"spec": {"template": {"other": "thing"}}})).unwrap();
    api.create(&PostParams::default(), &fake).await.unwrap();

    cluster.patch_set("d", image("img:2")).await;
    cluster.expect_running("d", ["n1 img:2 ready"]).await;
    assert_eq!(
        cluster
            .sets()
            .get("d")
            .await
            .unwrap()
            .status
            .unwrap()
            .collision_count,
        Some(1)
    );
}

#[tokio::test]
async fn n13_a_restarted_controller_manager_changes_nothing() {
    let cluster = Cluster::bare().await;
    let first = cluster.run_controllers();
    cluster.run_scheduler();
    cluster.run_agents();
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    cluster.expect_status("d", [1, 1, 1, 1, 1, 0]).await;
    let before = cluster
        .pods()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0);
    first.cancel();
    cluster.run_controllers();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let after = cluster.pods().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(after.len(), 1);
    assert_eq!(
        after[0].metadata.resource_version,
        before.metadata.resource_version
    );
}
