//! Claims that wait for their first consumer, and volumes that only one node has.

use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

fn claims(cluster: &Cluster) -> Api<PersistentVolumeClaim> {
    Api::namespaced(cluster.client.clone(), "default")
}

fn volumes(cluster: &Cluster) -> Api<PersistentVolume> {
    Api::all(cluster.client.clone())
}

async fn class(cluster: &Cluster, mode: &str) {
    let classes: Api<StorageClass> = Api::all(cluster.client.clone());
    let class = json!({"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": mode});
    let class = serde_json::from_value(class).unwrap();
    classes.create(&PostParams::default(), &class).await.unwrap();
}

async fn volume(cluster: &Cluster, name: &str, size: &str, node: &str) {
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
    let volume = json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size}, "storageClassName": "local",
        "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain", "local": {"path": "/mnt/disk"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}});
    let volume = serde_json::from_value(volume).unwrap();
    volumes(cluster)
        .create(&PostParams::default(), &volume)
        .await
        .unwrap();
}

async fn claim(cluster: &Cluster, name: &str, size: &str) {
    let claim = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "local", "resources": {"requests": {"storage": size}}}});
    let claim = serde_json::from_value(claim).unwrap();
    claims(cluster)
        .create(&PostParams::default(), &claim)
        .await
        .unwrap();
}

async fn pod(cluster: &Cluster, name: &str, claim: &str) {
    let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    cluster.pods().create(&PostParams::default(), &pod).await.unwrap();
}

async fn told(cluster: &Cluster, pod: &str) -> String {
    eventually("the reason", || async {
        let pod = cluster.pods().get(pod).await.unwrap();
        orlop_api::pod::condition(&pod, "PodScheduled")
            .filter(|condition| condition.reason.as_deref() == Some("Unschedulable"))
            .and_then(|condition| condition.message.clone())
    })
    .await
}

async fn phase_of(cluster: &Cluster, volume: &str, want: &str) {
    eventually(&format!("{volume} is {want}"), || async {
        let status = volumes(cluster).get(volume).await.unwrap().status?;
        (status.phase.as_deref() == Some(want)).then_some(())
    })
    .await;
}

async fn nodes(cluster: &Cluster) {
    for node in ["n1", "n2", "n3"] {
        cluster
            .add_node(node, json!({"kubernetes.io/hostname": node}))
            .await;
    }
}

#[tokio::test]
async fn a_claim_that_waits_is_bound_where_its_pod_goes_and_the_pod_goes_where_a_volume_is() {
    let cluster = Cluster::start().await;
    nodes(&cluster).await;
    class(&cluster, "WaitForFirstConsumer").await;
    claim(&cluster, "c", "2Gi").await;
    pod(&cluster, "p", "c").await;
    assert_eq!(
        told(&cluster, "p").await,
        "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    let pending = claims(&cluster).get("c").await.unwrap();
    assert_eq!(
        pending.spec.unwrap().volume_name,
        None,
        "not before there is a consumer with a node"
    );
    for (name, size, node) in [
        ("small", "1Gi", "n1"),
        ("large", "9Gi", "n2"),
        ("fitting", "5Gi", "n2"),
    ] {
        volume(&cluster, name, size, node).await;
    }
    let node = eventually("a node", || async {
        cluster.pods().get("p").await.unwrap().spec.unwrap().node_name
    })
    .await;
    assert_eq!(node, "n2");
    let bound = claims(&cluster).get("c").await.unwrap();
    assert_eq!(bound.spec.unwrap().volume_name.as_deref(), Some("fitting"));
    phase_of(&cluster, "fitting", "Bound").await;
    for left in ["small", "large"] {
        phase_of(&cluster, left, "Available").await;
    }
    let status = eventually("the claim's phase", || async {
        let status = claims(&cluster).get("c").await.unwrap().status?;
        (status.phase.as_deref() == Some("Bound")).then_some(status)
    })
    .await;
    assert_eq!(status.capacity.unwrap()["storage"].0, "5Gi", "what it has got");

    // Another pod of the claim goes to the same node, and what isn't there is named.
    pod(&cluster, "q", "c").await;
    let node = eventually("a node", || async {
        cluster.pods().get("q").await.unwrap().spec.unwrap().node_name
    })
    .await;
    assert_eq!(node, "n2");
    pod(&cluster, "r", "absent").await;
    assert_eq!(
        told(&cluster, "r").await,
        "0/3 nodes are available: persistentvolumeclaim \"absent\" not found. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    claim(&cluster, "absent", "1Gi").await;
    let node = eventually("a node", || async {
        cluster.pods().get("r").await.unwrap().spec.unwrap().node_name
    })
    .await;
    assert!(node == "n1" || node == "n2", "{node}");

    for name in ["p", "q"] {
        let now = DeleteParams::default().grace_period(0);
        cluster.pods().delete(name, &now).await.unwrap();
    }
    claims(&cluster)
        .delete("c", &DeleteParams::default())
        .await
        .unwrap();
    phase_of(&cluster, "fitting", "Released").await;
}

#[tokio::test]
async fn a_claim_that_does_not_wait_is_bound_at_once_and_its_pod_waits_for_that() {
    let cluster = Cluster::start().await;
    nodes(&cluster).await;
    class(&cluster, "Immediate").await;
    claim(&cluster, "c", "2Gi").await;
    pod(&cluster, "p", "c").await;
    assert_eq!(
        told(&cluster, "p").await,
        "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    volume(&cluster, "v", "2Gi", "n3").await;
    phase_of(&cluster, "v", "Bound").await;
    let node = eventually("a node", || async {
        cluster.pods().get("p").await.unwrap().spec.unwrap().node_name
    })
    .await;
    assert_eq!(node, "n3");
    let bound = claims(&cluster).get("c").await.unwrap();
    let annotations = serde_json::to_value(bound.metadata.annotations.unwrap()).unwrap();
    assert_eq!(
        (
            &annotations["pv.kubernetes.io/bind-completed"],
            &annotations["pv.kubernetes.io/bound-by-controller"]
        ),
        (&Value::from("yes"), &Value::from("yes"))
    );
}

#[tokio::test]
async fn a_claim_whose_volume_is_deleted_is_lost_until_the_volume_is_there_again() {
    let cluster = Cluster::start().await;
    class(&cluster, "Immediate").await;
    volume(&cluster, "v", "2Gi", "n1").await;
    claim(&cluster, "c", "2Gi").await;
    let phase = async |want: &str| {
        eventually(&format!("the claim is {want}"), || async {
            let status = claims(&cluster).get("c").await.unwrap().status?;
            (status.phase.as_deref() == Some(want)).then_some(status)
        })
        .await
    };
    phase("Bound").await;
    phase_of(&cluster, "v", "Bound").await;
    // By force: what is bound is protected.
    volumes(&cluster)
        .delete("v", &DeleteParams::default())
        .await
        .unwrap();
    let unprotected = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    volumes(&cluster)
        .patch("v", &PatchParams::default(), &unprotected)
        .await
        .unwrap();
    let lost = phase("Lost").await;
    assert_eq!((lost.capacity, lost.access_modes), (None, None));
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let about = ListParams::default().fields("reason=ClaimLost,type=Warning,involvedObject.name=c");
    eventually("the event", || async {
        let told = events.list(&about).await.unwrap().items;
        (told.len() == 1).then_some(())
    })
    .await;
    volume(&cluster, "v", "3Gi", "n1").await;
    let again = phase("Bound").await;
    assert_eq!(again.capacity.unwrap()["storage"].0, "3Gi");
}

#[tokio::test]
async fn pods_that_share_a_claim_go_where_its_volume_is_made_and_no_further_than_it_is() {
    let cluster = Cluster::start().await;
    nodes(&cluster).await;
    let classes: Api<StorageClass> = Api::all(cluster.client.clone());
    let class = json!({"metadata": {"name": "local"}, "provisioner": "example.com/disk",
        "volumeBindingMode": "WaitForFirstConsumer"});
    let class = serde_json::from_value(class).unwrap();
    classes.create(&PostParams::default(), &class).await.unwrap();
    claim(&cluster, "c", "2Gi").await;
    let confined = async |name: &str, node: &str| {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}],
            "nodeSelector": {"kubernetes.io/hostname": node},
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        cluster.pods().create(&PostParams::default(), &pod).await.unwrap();
    };
    const SELECTED: &str = "volume.kubernetes.io/selected-node";
    let made_for = || async {
        let annotations = claims(&cluster).get("c").await.unwrap().metadata.annotations?;
        annotations.get(SELECTED).cloned()
    };
    confined("p", "n1").await;
    assert_eq!(eventually("a node for the volume", made_for).await, "n1");
    confined("q", "n2").await;
    assert_eq!(
        told(&cluster, "q").await,
        "0/3 nodes are available: 1 node(s) didn't find available persistent volumes to bind, \
         2 node(s) didn't match Pod's node affinity/selector. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    cluster
        .pods()
        .delete("q", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();

    // The volume can't be made: who waits for it tries again at once.
    let given_up = Patch::Merge(json!({"metadata": {"annotations": {SELECTED: null}}}));
    claims(&cluster)
        .patch("c", &PatchParams::default(), &given_up)
        .await
        .unwrap();
    let failed = async |why: &str| {
        let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
        let about = ListParams::default().fields("reason=FailedScheduling,involvedObject.name=p");
        eventually(why, || async {
            let told = events.list(&about).await.unwrap().items;
            told.iter()
                .any(|event| event.message.as_deref().is_some_and(|told| told.contains(why)))
                .then_some(())
        })
        .await;
    };
    failed("binding volumes: provisioning failed for PVC \"c\"").await;
    assert_eq!(eventually("a node for the volume", made_for).await, "n1");

    // It was made elsewhere.
    let uid = claims(&cluster).get("c").await.unwrap().metadata.uid;
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]);
    let volume = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "2Gi"}, "storageClassName": "local",
        "accessModes": ["ReadWriteOnce"], "local": {"path": "/mnt/disk"},
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default", "name": "c", "uid": uid},
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}});
    let volume = serde_json::from_value(volume).unwrap();
    volumes(&cluster)
        .create(&PostParams::default(), &volume)
        .await
        .unwrap();
    failed("pv \"v\" node affinity doesn't match node \"n1\"").await;
    let pod = cluster.pods().get("p").await.unwrap();
    assert_eq!(pod.spec.unwrap().node_name, None);
}

#[tokio::test]
async fn a_volume_that_lives_with_its_pod_has_a_claim_of_that_pod() {
    let cluster = Cluster::start().await;
    nodes(&cluster).await;
    class(&cluster, "WaitForFirstConsumer").await;
    volume(&cluster, "disk", "5Gi", "n2").await;
    let template = json!({"metadata": {"labels": {"of": "p"}}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "local", "resources": {"requests": {"storage": "1Gi"}}}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let pod = cluster.pods().create(&PostParams::default(), &pod).await.unwrap();
    let made = eventually("the claim with its volume", || async {
        let claim = claims(&cluster).get_opt("p-scratch").await.unwrap()?;
        (claim.spec.as_ref()?.volume_name.as_deref() == Some("disk")).then_some(claim)
    })
    .await;
    let owner = &made.metadata.owner_references.unwrap()[0];
    assert_eq!(
        (&owner.kind[..], Some(&owner.uid)),
        ("Pod", pod.metadata.uid.as_ref())
    );
    assert_eq!(made.metadata.labels.unwrap()["of"], "p");
    eventually("the node with the volume", || async {
        let pod = cluster.pods().get("p").await.unwrap();
        (pod.spec?.node_name? == "n2").then_some(())
    })
    .await;
    // One that is deleted before its pod has a node is made again.
    let homeless = json!({"metadata": {"name": "h"}, "spec": {"nodeName": "", "nodeSelector": {"no": "such"},
        "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "scratch",
            "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "local",
                "resources": {"requests": {"storage": "1Gi"}}}}}}]}});
    let homeless: Pod = serde_json::from_value(homeless).unwrap();
    cluster
        .pods()
        .create(&PostParams::default(), &homeless)
        .await
        .unwrap();
    let uid_of = || async { claims(&cluster).get_opt("h-scratch").await.unwrap()?.metadata.uid };
    let first = eventually("the claim of a pod without a node", uid_of).await;
    claims(&cluster)
        .delete("h-scratch", &Default::default())
        .await
        .unwrap();
    eventually("another claim of that name", || async {
        uid_of().await.filter(|uid| *uid != first)
    })
    .await;
    // Nobody else's claim is taken.
    claim(&cluster, "q-scratch", "1Gi").await;
    let other = json!({"metadata": {"name": "q"}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}}}]}});
    let other: Pod = serde_json::from_value(other).unwrap();
    cluster
        .pods()
        .create(&PostParams::default(), &other)
        .await
        .unwrap();
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(cluster.client.clone(), "default");
    eventually("word of the claim that is another's", || async {
        let told = events.list(&ListParams::default()).await.unwrap().items.into_iter();
        let mut told = told.filter(|event| event.reason.as_deref() == Some("FailedBinding"));
        told.find_map(|event| {
            let want = "ephemeral volume scratch: PVC default/q-scratch was not created for pod default/q (pod is not owner)";
            (event.message.as_deref() == Some(want)).then_some(())
        })
    })
    .await;
}
