//! Which of the built-in APIs are served (`--runtime-config`).
use crate::support::{Client, Cluster, TestStore, configmap};
use http::Request;
use http_body_util::BodyExt;
use orlop_apiserver::{Config, RuntimeConfig};
use orlop_store::{KeyValue, Op, RangeRequest, Revision, Txn, WatchRequest};
use serde_json::{Value, json};
use std::time::Duration;

fn runtime(items: &[&str]) -> RuntimeConfig {
    let items: Vec<String> = items.iter().map(|item| (*item).to_owned()).collect();
    RuntimeConfig::parse(&items).unwrap().0
}

fn names<'v>(list: &'v Value, member: &str) -> Vec<&'v str> {
    let list = list.as_array().unwrap();
    list.iter().map(|item| item[member].as_str().unwrap()).collect()
}

async fn are_not_there(client: &Client, paths: &[&str]) {
    for path in paths {
        assert_eq!(client.get(path).await.code, 404, "{path}");
    }
}

#[tokio::test]
async fn what_is_turned_off_is_not_there_for_clients() {
    let cluster = Cluster::with(|config| {
        config.runtime = runtime(&[
            "batch/v1=false",
            "apps/v1/daemonsets=false",
            "api/v1/limitranges=false",
        ]);
    })
    .await;
    let admin = cluster.admin();
    let off = [
        "/apis/batch/v1",
        "/apis/batch/v1/jobs",
        "/apis/apps/v1/daemonsets",
        "/api/v1/namespaces/default/limitranges",
    ];
    are_not_there(&admin, &off).await;
    admin.get("/apis/apps/v1/deployments").await.ok();
    admin
        .post("/api/v1/namespaces/default/configmaps", configmap("a", "1"))
        .await
        .ok();
    let groups = admin.get("/apis").await.ok();
    let groups = names(&groups["groups"], "name");
    assert!(
        groups.contains(&"apps") && !groups.contains(&"batch"),
        "{groups:?}"
    );
    let apps = admin.get("/apis/apps/v1").await.ok();
    let apps = names(&apps["resources"], "name");
    assert!(
        apps.contains(&"deployments") && !apps.contains(&"daemonsets"),
        "{apps:?}"
    );
    for (path, on, off) in [
        ("/api", "configmaps", "limitranges"),
        ("/apis", "deployments", "daemonsets"),
    ] {
        let request = Request::get(path)
            .header(
                "accept",
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            )
            .body(Default::default())
            .unwrap();
        let body = admin.raw(request).await.into_body().collect().await.unwrap();
        let text = String::from_utf8(body.to_bytes().into()).unwrap();
        let named = |plural| text.contains(&format!("\"resource\":\"{plural}\""));
        assert!(named(on) && !named(off), "{path}");
    }
    let index = admin.get("/openapi/v3").await.ok();
    assert!(index["paths"].get("apis/batch/v1").is_none());
    let apps = admin.get("/openapi/v3/apis/apps/v1").await.ok();
    assert!(apps["paths"].get("/apis/apps/v1/deployments").is_some());
    assert!(apps["paths"].get("/apis/apps/v1/daemonsets").is_none());
    admin
        .get("/apis/apiregistration.k8s.io/v1/apiservices/v1.batch")
        .await
        .refused(404);
}

/// What was stored before is still there when it is turned on again.
#[tokio::test]
async fn what_is_turned_off_stays_stored() {
    let store = TestStore::new().await;
    let job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}},
    });
    let jobs = "/apis/batch/v1/namespaces/default/cronjobs";
    let service = "/apis/apiregistration.k8s.io/v1/apiservices/v1.batch";
    let before = Cluster::over(store.clone()).await;
    before.admin().post(jobs, job).await.ok();
    before.admin().get(service).await.ok();
    drop(before);
    let mut config = Config::new("127.0.0.1:6443".parse().unwrap());
    config.runtime = runtime(&["batch/v1=false"]);
    let without = Cluster::configured(config, store.clone()).await;
    let admin = without.admin();
    assert_eq!(admin.get(jobs).await.code, 404);
    let apis = "/apis/apiregistration.k8s.io/v1/apiservices";
    let list = admin.get(apis).await.ok();
    let is_there = |item: &Value| item["metadata"]["name"] == "v1.batch";
    if list["items"].as_array().unwrap().iter().any(is_there) {
        let since = list["metadata"]["resourceVersion"].as_str().unwrap();
        let query = format!("watch=1&resourceVersion={since}&fieldSelector=metadata.name%3Dv1.batch");
        let mut watch = admin.watch(&format!("{apis}?{query}")).await;
        assert_eq!(watch.event().await.0, "DELETED");
    }
    drop((without, admin));
    let after = Cluster::over(store).await;
    after.admin().get(&format!("{jobs}/nightly")).await.ok();
}

/// Waits until what is stored below a prefix is as it should be.
async fn until(store: &TestStore, prefix: &str, is_right: impl Fn(&[KeyValue]) -> bool) {
    loop {
        let found = store.store.range(RangeRequest::prefix(prefix)).await.unwrap();
        if is_right(&found.kvs) {
            return;
        }
        let next = Revision(found.revision.0 + 1);
        let request = WatchRequest::prefix(prefix, Some(next));
        let mut watch = store.store.watch(request).await.unwrap();
        let change = tokio::time::timeout(Duration::from_secs(10), watch.recv());
        change.await.expect(prefix).unwrap().unwrap();
    }
}

/// A definition that is being deleted, as it is stored.
fn ending_definition() -> Value {
    let names = json!({"plural": "doors", "singular": "door", "kind": "Door", "listKind": "DoorList"});
    let condition = |kind: &str, reason: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    json!({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": "doors.example.com", "uid": "u-1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["customresourcecleanup.apiextensions.k8s.io"]},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        "status": {"storedVersions": ["v1"], "acceptedNames": names,
            "conditions": [condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")]}})
}

#[tokio::test]
async fn the_server_works_with_what_it_has_turned_off_itself() {
    let store = TestStore::new().await;
    let definition = "/registry/apiextensions.k8s.io/customresourcedefinitions/doors.example.com";
    let door = json!({"kind": "Door", "apiVersion": "example.com/v1", "metadata": {"name": "d", "namespace": "default"}});
    let before = Txn {
        success: vec![
            Op::put(definition, ending_definition().to_string().into(), None),
            Op::put(
                "/registry/example.com/doors/default/d",
                door.to_string().into(),
                None,
            ),
        ],
        ..Txn::default()
    };
    store.store.txn(before).await.unwrap();
    let mut config = Config::new("127.0.0.1:6443".parse().unwrap());
    config.hostname = Some("machine".to_owned());
    config.runtime = runtime(&["api/all=false", "api/v1=true"]);
    let cluster = Cluster::configured(config, store.clone()).await;
    let admin = cluster.admin();
    let off = [
        "/apis/coordination.k8s.io/v1/leases",
        "/apis/networking.k8s.io/v1/ipaddresses",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ];
    are_not_there(&admin, &off).await;
    admin.get("/api/v1/namespaces/kube-system").await.ok();
    let some = |kvs: &[KeyValue]| !kvs.is_empty();
    until(&store, "/registry/priorityclasses/system-node-critical", some).await;
    until(&store, "/registry/leases/kube-system/apiserver-", some).await;
    until(&store, "/registry/ipaddresses/", some).await;
    let with = |text: &'static str| {
        move |kvs: &[KeyValue]| {
            kvs.iter()
                .any(|kv| String::from_utf8_lossy(&kv.value).contains(text))
        }
    };
    until(&store, "/registry/clusterroles/edit", with(r#""rules":[{"#)).await;
    until(&store, "/registry/flowschemas/", with("Dangling")).await;
    let gone = |kvs: &[KeyValue]| kvs.is_empty();
    until(&store, "/registry/example.com/", gone).await;
    until(&store, definition, gone).await;
}
