//! Volumes and claims that are being deleted while somebody uses them.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::harness::{Cluster, eventually};

#[tokio::test]
async fn a_claim_goes_when_no_pod_uses_it_any_more() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), "default");
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let claim = serde_json::from_value(claim).unwrap();
    claims.create(&PostParams::default(), &claim).await.unwrap();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    cluster.pods().create(&PostParams::default(), &pod).await.unwrap();
    claims.delete("c", &DeleteParams::default()).await.unwrap();
    let kept = claims.get("c").await.unwrap();
    assert!(kept.metadata.deletion_timestamp.is_some(), "it is used");
    let now = DeleteParams::default().grace_period(0);
    cluster.pods().delete("p", &now).await.unwrap();
    eventually("the claim's end", || async {
        claims.get_opt("c").await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_volume_goes_when_it_is_not_bound() {
    let cluster = Cluster::start().await;
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), "default");
    let volume = json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/v"}}});
    let volume = serde_json::from_value(volume).unwrap();
    volumes.create(&PostParams::default(), &volume).await.unwrap();
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let claim = serde_json::from_value(claim).unwrap();
    claims.create(&PostParams::default(), &claim).await.unwrap();
    eventually("the binding", || async {
        let claim = claims.get("c").await.unwrap();
        (claim.status?.phase? == "Bound").then_some(())
    })
    .await;
    volumes.delete("v", &DeleteParams::default()).await.unwrap();
    let kept = volumes.get("v").await.unwrap();
    assert!(kept.metadata.deletion_timestamp.is_some());
    assert_eq!(
        kept.status.unwrap().phase.as_deref(),
        Some("Bound"),
        "it is kept for its claim"
    );
    claims.delete("c", &DeleteParams::default()).await.unwrap();
    eventually("the volume's end", || async {
        volumes.get_opt("v").await.unwrap().is_none().then_some(())
    })
    .await;
}
