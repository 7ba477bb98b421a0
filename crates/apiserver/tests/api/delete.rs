//! delete: cases X01 to X11.
use crate::support::{CONFIGMAPS, Client, Cluster, PODS, configmap, pod, version};
use http::Method;
use serde_json::{Value, json};

async fn bound_pod(admin: &Client, name: &str) -> Value {
    admin.post(PODS, pod(name)).await.ok();
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(
        admin.post(&format!("{PODS}/{name}/binding"), binding).await.code,
        201
    );
    admin.get(&format!("{PODS}/{name}")).await.ok()
}

#[tokio::test]
async fn x01_x02_x03_a_bound_pod_ends_gracefully() {
    let admin = Cluster::start().await.admin();
    bound_pod(&admin, "p").await;
    let path = format!("{PODS}/p");
    let marked = admin.delete(&path, Value::Null).await.ok();
    assert_eq!(marked["kind"], "Pod");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(admin.get(&path).await.ok(), marked);
    let shorter = admin.delete(&path, json!({"gracePeriodSeconds": 5})).await.ok();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let unchanged = admin.delete(&path, json!({"gracePeriodSeconds": 100})).await.ok();
    assert_eq!(unchanged, shorter);
    let mut watch = admin
        .watch(&format!("{PODS}?watch=1&resourceVersion={}", version(&shorter)))
        .await;
    admin.delete(&path, json!({"gracePeriodSeconds": 0})).await.ok();
    assert_eq!(watch.event().await, ("DELETED".into(), "p".into()));
    assert_eq!(admin.get(&path).await.code, 404);
}

#[tokio::test]
async fn x04_an_unbound_pod_goes_at_once() {
    let admin = Cluster::start().await.admin();
    let made = admin.post(PODS, pod("p")).await.ok();
    let last = admin.delete(&format!("{PODS}/p"), Value::Null).await.ok();
    assert_eq!(last["metadata"]["deletionGracePeriodSeconds"], 0);
    assert!(
        version(&last) > version(&made),
        "the deletion has a version of its own"
    );
    assert_eq!(admin.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test]
async fn x05_a_wrong_uid_is_a_conflict() {
    let admin = Cluster::start().await.admin();
    let made = admin.post(PODS, pod("p")).await.ok();
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let message = admin
        .delete(&format!("{PODS}/p"), json!({"preconditions": {"uid": "wrong"}}))
        .await
        .refused(409);
    assert_eq!(
        message,
        format!(
            "Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (wrong) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        )
    );
}

#[tokio::test]
async fn x06_a_configmap_answers_success() {
    let admin = Cluster::start().await.admin();
    let made = admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let status = admin.delete(&format!("{CONFIGMAPS}/c"), Value::Null).await.ok();
    assert_eq!(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "c", "kind": "configmaps", "uid": made["metadata"]["uid"]}})
    );
}

#[tokio::test]
async fn x07_x08_finalizers_hold_until_they_are_gone() {
    let admin = Cluster::start().await.admin();
    let mut object = configmap("c", "1");
    object["metadata"]["finalizers"] = json!(["example.com/a"]);
    admin.post(CONFIGMAPS, object).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let marked = admin.delete(&path, Value::Null).await.ok();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(admin.delete(&path, Value::Null).await.ok(), marked);
    let added = json!({"metadata": {"finalizers": ["example.com/a", "x/y"]}});
    let message = admin.patch(&path, "merge", added).await.refused(422);
    assert!(
        message.contains("no new finalizers can be added if the object is being deleted, found new finalizers []string{\"x/y\"}"),
        "{message}"
    );
    admin
        .patch(&path, "merge", json!({"metadata": {"finalizers": null}}))
        .await
        .ok();
    assert_eq!(admin.get(&path).await.code, 404);
}

#[tokio::test]
async fn x09_a_body_silences_the_query() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    admin
        .delete(&format!("{path}?dryRun=All"), json!({"gracePeriodSeconds": 0}))
        .await
        .ok();
    assert_eq!(admin.get(&path).await.code, 404);
}

#[tokio::test]
async fn x10_foreground_waits_under_a_finalizer() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let waiting = admin
        .delete(&path, json!({"propagationPolicy": "Foreground"}))
        .await
        .ok();
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
}

#[tokio::test]
async fn a_job_that_is_deleted_without_a_word_about_its_pods_leaves_them_and_says_so() {
    let admin = Cluster::start().await.admin();
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}})
    };
    for name in ["j", "k", "l"] {
        admin.post(jobs, job(name)).await.ok();
    }
    let reply = admin.delete(&format!("{jobs}/j"), Value::Null).await;
    let warnings = reply.warnings();
    assert!(
        warnings[0].contains("child pods are preserved by default when jobs are deleted"),
        "{warnings:?}"
    );
    assert_eq!(reply.ok()["metadata"]["finalizers"], json!(["orphan"]));
    for (name, said) in [
        ("k", json!({"propagationPolicy": "Background"})),
        ("l", json!({"orphanDependents": false})),
    ] {
        let reply = admin.delete(&format!("{jobs}/{name}"), said).await;
        assert!(reply.warnings().is_empty());
        reply.ok();
        assert_eq!(admin.get(&format!("{jobs}/{name}")).await.code, 404);
    }
}

#[tokio::test]
async fn x11_collections_are_deleted_by_selector() {
    let admin = Cluster::start().await.admin();
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let mut object = configmap(name, "1");
        object["metadata"]["labels"] = json!({"app": app});
        admin.post(CONFIGMAPS, object).await.ok();
    }
    let list = admin
        .delete(&format!("{CONFIGMAPS}?labelSelector=app%3Dx"), Value::Null)
        .await
        .ok();
    assert_eq!(list["kind"], "ConfigMapList");
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let left = admin.get(CONFIGMAPS).await.ok();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        admin
            .send(Method::DELETE, "/api/v1/configmaps", &[], "")
            .await
            .code,
        405
    );
}

#[tokio::test]
async fn n04_n05_namespaces_terminate_and_three_never_do() {
    let admin = Cluster::start().await.admin();
    admin
        .post("/api/v1/namespaces", json!({"metadata": {"name": "n"}}))
        .await
        .ok();
    let marked = admin.delete("/api/v1/namespaces/n", Value::Null).await.ok();
    assert_eq!(marked["status"]["phase"], "Terminating");
    let reply = admin
        .post("/api/v1/namespaces/n/configmaps", configmap("c", "1"))
        .await;
    assert_eq!(
        reply.json()["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    assert_eq!(
        reply.refused(403),
        "configmaps \"c\" is forbidden: unable to create new content in namespace n because it is being terminated"
    );
    let mut finalized = marked.clone();
    finalized["spec"]["finalizers"] = json!([]);
    admin.put("/api/v1/namespaces/n/finalize", finalized).await.ok();
    assert_eq!(admin.get("/api/v1/namespaces/n").await.code, 404);
    assert_eq!(
        admin
            .delete("/api/v1/namespaces/default", Value::Null)
            .await
            .refused(403),
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}
