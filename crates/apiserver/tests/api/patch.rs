//! patch: cases P01 to P07.
use crate::support::{CONFIGMAPS, Cluster, PODS, configmap, version};
use serde_json::{Value, json};

#[tokio::test]
async fn p01_p02_merge_and_json_patches() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let merged = admin
        .patch(&path, "merge", json!({"data": {"k": null, "z": "1"}}))
        .await
        .ok();
    assert_eq!(merged["data"], json!({"z": "1"}));
    let failing = json!([{"op": "test", "path": "/data/z", "value": "2"}]);
    let reply = admin.patch(&path, "json", failing).await;
    assert_eq!(
        reply.refused(422),
        "the server rejected our request due to an error in our request"
    );
    let added = admin
        .patch(
            &path,
            "json",
            json!([{"op": "add", "path": "/data/y", "value": "2"}]),
        )
        .await
        .ok();
    assert_eq!(added["data"], json!({"y": "2", "z": "1"}));
}

#[tokio::test]
async fn p03_lists_merge_by_key() {
    let admin = Cluster::start().await.admin();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "a", "image": "one:1"}, {"name": "b", "image": "two:1"}]}});
    admin.post(PODS, pod).await.ok();
    let change = json!({"spec": {"containers": [{"name": "a", "image": "one:2"}]}});
    let patched = admin
        .patch(&format!("{PODS}/p"), "strategic-merge", change)
        .await
        .ok();
    assert_eq!(patched["spec"]["containers"][0]["image"], "one:2");
    assert_eq!(patched["spec"]["containers"][1]["image"], "two:1");
    assert_eq!(patched["metadata"]["generation"], 2);
}

#[tokio::test]
async fn p06_versions_in_patches_are_preconditions() {
    let admin = Cluster::start().await.admin();
    let first = admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    admin
        .patch(&path, "merge", json!({"data": {"k": "2"}}))
        .await
        .ok();
    let old = json!({"metadata": {"resourceVersion": version(&first).to_string()}, "data": {"k": "3"}});
    admin.patch(&path, "merge", old).await.refused(409);
    let bodies: Vec<Value> = (0..8).map(|n| json!({"data": {format!("k{n}"): "x"}})).collect();
    let writes = bodies.into_iter().map(|body| admin.patch(&path, "merge", body));
    for reply in futures::future::join_all(writes).await {
        reply.ok();
    }
    let all = admin.get(&path).await.ok();
    assert_eq!(all["data"].as_object().unwrap().len(), 9);
}

#[tokio::test]
async fn no_change_is_no_write() {
    let admin = Cluster::start().await.admin();
    let first = admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let same = admin
        .patch(&format!("{CONFIGMAPS}/c"), "merge", json!({"data": {"k": "1"}}))
        .await
        .ok();
    assert_eq!(same, first);
}
