//! StatefulSets: order, identity, claims, updates.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

fn stateful_set(spec: Value) -> StatefulSet {
    let mut set = json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "serviceName": "web",
        "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "img:1"}]}}}});
    orlop_api::patch::merge(&mut set["spec"], &spec);
    serde_json::from_value(set).unwrap()
}

struct Sets<'a> {
    cluster: &'a Cluster,
    sets: Api<StatefulSet>,
}

impl<'a> Sets<'a> {
    async fn of(cluster: &'a Cluster, spec: Value) -> Self {
        cluster.add_node("n1", json!({})).await;
        let sets: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), "default");
        sets.create(&PostParams::default(), &stateful_set(spec))
            .await
            .unwrap();
        Self { cluster, sets }
    }

    /// `name image` of all pods that stay.
    async fn pods(&self) -> Vec<String> {
        let pods = self
            .cluster
            .pods()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items;
        let mut lines: Vec<String> = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none() && orlop_api::pod::is_ready(pod))
            .map(|pod| {
                let image = pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
                format!("{} {image}", orlop_api::pod::name(pod))
            })
            .collect();
        lines.sort();
        lines
    }

    async fn expect<const N: usize>(&self, want: [&str; N]) {
        eventually("the pods", || async { (self.pods().await == want).then_some(()) }).await;
    }

    async fn patch(&self, spec: Value) {
        let patch = Patch::Strategic(json!({"spec": spec}));
        self.sets
            .patch("web", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits until all pods are of the update revision, and that is the current one.
    async fn updated(&self, replicas: i32) {
        eventually("the update", || async {
            let set = self.sets.get("web").await.unwrap();
            let status = set.status.unwrap_or_default();
            (status.observed_generation == set.metadata.generation
                && status.replicas == replicas
                && status.updated_replicas.unwrap_or(0) == replicas
                && status.ready_replicas.unwrap_or(0) == replicas
                && status.current_revision == status.update_revision)
                .then_some(())
        })
        .await;
    }
}

fn image(image: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}})
}

#[tokio::test]
async fn pods_come_in_order_with_names_and_claims_of_their_own_and_go_in_reverse() {
    let cluster = Cluster::start().await;
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    // Each claim needs a volume before its pod gets a node.
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    for number in 0..3 {
        let volume = json!({"metadata": {"name": format!("v{number}")}, "spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": format!("/v{number}")}}});
        let volume = serde_json::from_value(volume).unwrap();
        volumes.create(&PostParams::default(), &volume).await.unwrap();
    }
    let sets = Sets::of(&cluster, json!({"volumeClaimTemplates": [claim]})).await;
    let kind = kube::core::ApiResource::erase::<StatefulSet>(&());
    let raw: Api<kube::core::DynamicObject> = Api::namespaced_with(cluster.client.clone(), "default", &kind);
    let template = raw.get("web").await.unwrap().data["spec"]["volumeClaimTemplates"][0].clone();
    assert_eq!(
        (&template["apiVersion"], &template["kind"]),
        (&json!("v1"), &json!("PersistentVolumeClaim"))
    );
    sets.expect(["web-0 img:1", "web-1 img:1", "web-2 img:1"]).await;
    sets.updated(3).await;
    let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
    let created = |name: &str| {
        let pod = pods.iter().find(|pod| orlop_api::pod::name(pod) == name).unwrap();
        pod.metadata
            .resource_version
            .clone()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(created("web-0") < created("web-1") && created("web-1") < created("web-2"));
    let first = pods
        .iter()
        .find(|pod| orlop_api::pod::name(pod) == "web-0")
        .unwrap();
    assert_eq!(first.spec.as_ref().unwrap().hostname.as_deref(), Some("web-0"));
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), "default");
    let names = || async {
        let found = claims.list(&ListParams::default()).await.unwrap().items;
        found
            .into_iter()
            .filter_map(|claim| claim.metadata.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["data-web-0", "data-web-1", "data-web-2"]);
    sets.patch(json!({"replicas": 1})).await;
    sets.expect(["web-0 img:1"]).await;
    assert_eq!(names().await.len(), 3, "claims are retained");
}

#[tokio::test]
async fn an_update_goes_down_to_the_partition_and_back() {
    let cluster = Cluster::start().await;
    let sets = Sets::of(
        &cluster,
        json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}}),
    )
    .await;
    sets.updated(3).await;
    sets.patch(image("img:2")).await;
    sets.expect(["web-0 img:1", "web-1 img:1", "web-2 img:2"]).await;
    let name = "web-0";
    cluster.pods().delete(name, &Default::default()).await.unwrap();
    eventually("the old revision again", || async {
        let pod = cluster.pods().get_opt(name).await.unwrap()?;
        let ready = orlop_api::pod::is_ready(&pod) && pod.metadata.deletion_timestamp.is_none();
        (ready && pod.spec.unwrap().containers[0].image.as_deref() == Some("img:1")).then_some(())
    })
    .await;
    sets.patch(json!({"updateStrategy": {"rollingUpdate": {"partition": 0}}}))
        .await;
    sets.expect(["web-0 img:2", "web-1 img:2", "web-2 img:2"]).await;
    sets.updated(3).await;
    sets.patch(image("img:1")).await;
    sets.expect(["web-0 img:1", "web-1 img:1", "web-2 img:1"]).await;
    sets.updated(3).await;
    let revisions: Api<k8s_openapi::api::apps::v1::ControllerRevision> =
        Api::namespaced(cluster.client.clone(), "default");
    assert_eq!(
        revisions.list(&ListParams::default()).await.unwrap().items.len(),
        2
    );
}

#[tokio::test]
async fn a_broken_pod_holds_up_those_after_it_unless_all_come_at_once() {
    let cluster = Cluster::start().await;
    let sets = Sets::of(&cluster, image("broken")).await;
    eventually("the first pod", || async {
        let pod = cluster.pods().get_opt("web-0").await.unwrap()?;
        (orlop_api::pod::phase(&pod) == "Running").then_some(())
    })
    .await;
    let status = eventually("the status", || async {
        sets.sets
            .get("web")
            .await
            .unwrap()
            .status
            .filter(|status| status.replicas == 1)
    })
    .await;
    assert_eq!(
        (status.ready_replicas, status.available_replicas),
        (None, Some(0))
    );
    assert!(cluster.pods().get_opt("web-1").await.unwrap().is_none());

    let mut at_once = stateful_set(json!({"podManagementPolicy": "Parallel", "template": {"spec":
        {"containers": [{"name": "c", "image": "broken"}]}}, "selector": {"matchLabels": {"app": "web"}}}));
    at_once.metadata.name = Some("all".into());
    sets.sets.create(&PostParams::default(), &at_once).await.unwrap();
    eventually("all pods", || async {
        cluster.pods().get_opt("all-2").await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_failed_pod_is_made_anew() {
    let cluster = Cluster::start().await;
    let sets = Sets::of(&cluster, json!({"replicas": 1})).await;
    sets.expect(["web-0 img:1"]).await;
    let uid = || async {
        let pod = cluster.pods().get_opt("web-0").await.unwrap()?;
        orlop_api::pod::is_ready(&pod).then(|| pod.metadata.uid.unwrap())
    };
    let before = uid().await.unwrap();
    let failed = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    cluster
        .pods()
        .patch_status("web-0", &PatchParams::default(), &failed)
        .await
        .unwrap();
    eventually("another pod", || async {
        uid().await.filter(|now| *now != before)
    })
    .await;
}

#[tokio::test]
async fn on_delete_leaves_old_pods_until_somebody_deletes_them() {
    let cluster = Cluster::start().await;
    let sets = Sets::of(
        &cluster,
        json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}),
    )
    .await;
    sets.expect(["web-0 img:1", "web-1 img:1"]).await;
    sets.patch(image("img:2")).await;
    eventually("the new revision", || async {
        let set = sets.sets.get("web").await.unwrap();
        let status = set.status.unwrap_or_default();
        let seen = status.observed_generation == set.metadata.generation;
        (seen && status.current_revision != status.update_revision).then_some(())
    })
    .await;
    cluster
        .pods()
        .delete("web-1", &DeleteParams::default())
        .await
        .unwrap();
    sets.expect(["web-0 img:1", "web-1 img:2"]).await;
}

#[tokio::test]
async fn ordinals_may_start_elsewhere_and_move() {
    let cluster = Cluster::start().await;
    let sets = Sets::of(&cluster, json!({"replicas": 2, "ordinals": {"start": 3}})).await;
    sets.expect(["web-3 img:1", "web-4 img:1"]).await;
    sets.patch(json!({"ordinals": {"start": 2}})).await;
    sets.expect(["web-2 img:1", "web-3 img:1"]).await;
}

#[tokio::test]
async fn claims_go_with_pods_that_are_scaled_away_and_with_the_set_where_that_is_asked_for() {
    let cluster = Cluster::start().await;
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    for number in 0..2 {
        let volume = json!({"metadata": {"name": format!("v{number}")}, "spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": format!("/v{number}")}}});
        let volume = serde_json::from_value(volume).unwrap();
        volumes.create(&PostParams::default(), &volume).await.unwrap();
    }
    let policy = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    let sets = Sets::of(
        &cluster,
        json!({"replicas": 2, "volumeClaimTemplates": [claim], "persistentVolumeClaimRetentionPolicy": policy}),
    )
    .await;
    sets.expect(["web-0 img:1", "web-1 img:1"]).await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), "default");
    let names = async || -> Vec<String> {
        let found = claims.list(&ListParams::default()).await.unwrap().items;
        found
            .into_iter()
            .map(|claim| claim.metadata.name.unwrap())
            .collect()
    };
    sets.patch(json!({"replicas": 1})).await;
    eventually("one claim", || async {
        (names().await == ["data-web-0"]).then_some(())
    })
    .await;
    sets.sets
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    eventually("no claim", || async { names().await.is_empty().then_some(()) }).await;
}

/// Owners of a claim, `uid` for those that only own and `uid*` for those that manage.
async fn owners(claims: &Api<PersistentVolumeClaim>, name: &str) -> Vec<String> {
    let owners = claims.get(name).await.unwrap().metadata.owner_references;
    owners
        .unwrap_or_default()
        .into_iter()
        .map(|owner| match owner.controller {
            Some(true) => format!("{}*", owner.uid),
            _ => owner.uid,
        })
        .collect()
}

#[tokio::test]
async fn claims_of_others_are_joined_and_those_that_others_manage_are_left_alone() {
    let cluster = Cluster::start().await;
    let client = || cluster.client.clone();
    let volumes: Api<PersistentVolume> = Api::all(client());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client(), "default");
    let maps: Api<ConfigMap> = Api::namespaced(client(), "default");
    let map = maps
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "map"}})).unwrap(),
        )
        .await
        .unwrap();
    let map = map.metadata.uid.unwrap();
    let storage = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let reference = |kind: &str, name: &str, uid: &str, controller: bool| {
        let version = if kind == "StatefulSet" { "apps/v1" } else { "v1" };
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller})
    };
    // Those are there before the set.
    for (number, owner) in [
        (0, reference("ConfigMap", "map", &map, false)),
        (1, reference("ConfigMap", "map", &map, true)),
        (2, json!(null)),
    ] {
        let volume = json!({"metadata": {"name": format!("v{number}")}, "spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": format!("/v{number}")}}});
        let volume = serde_json::from_value(volume).unwrap();
        volumes.create(&PostParams::default(), &volume).await.unwrap();
        if owner.is_null() {
            continue;
        }
        let claim = json!({"metadata": {"name": format!("data-web-{number}"), "ownerReferences": [owner]},
            "spec": storage});
        let claim = serde_json::from_value(claim).unwrap();
        claims.create(&PostParams::default(), &claim).await.unwrap();
    }
    let policy = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    let sets = Sets::of(
        &cluster,
        json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": storage}],
            "persistentVolumeClaimRetentionPolicy": policy}),
    )
    .await;
    sets.updated(3).await;
    let set = sets.sets.get("web").await.unwrap().metadata.uid.unwrap();
    assert_eq!(
        owners(&claims, "data-web-0").await,
        [map.clone(), format!("{set}*")]
    );
    assert_eq!(owners(&claims, "data-web-1").await, [format!("{map}*")]);
    assert_eq!(owners(&claims, "data-web-2").await, [format!("{set}*")]);

    // Somebody takes the set's word for it away.
    let patch = |reference: Value| Patch::Merge(json!({"metadata": {"ownerReferences": [reference]}}));
    claims
        .patch(
            "data-web-2",
            &PatchParams::default(),
            &patch(reference("StatefulSet", "web", &set, false)),
        )
        .await
        .unwrap();
    sets.patch(json!({"minReadySeconds": 0, "template": {"metadata": {"annotations": {"a": "b"}}}}))
        .await;
    eventually("the owner that manages", || async {
        (owners(&claims, "data-web-2").await == [format!("{set}*")]).then_some(())
    })
    .await;
    sets.updated(3).await;

    sets.patch(json!({"replicas": 1})).await;
    sets.updated(1).await;
    eventually("the claim of the last pod goes", || async {
        claims
            .get_opt("data-web-2")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    assert_eq!(owners(&claims, "data-web-1").await, [format!("{map}*")]);

    // With the map that managed it goes the claim.
    maps.delete("map", &DeleteParams::background()).await.unwrap();
    eventually("the claim of the map goes", || async {
        claims
            .get_opt("data-web-1")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    eventually("the other one is the set's alone", || async {
        (owners(&claims, "data-web-0").await == [format!("{set}*")]).then_some(())
    })
    .await;
}
