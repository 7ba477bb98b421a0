//! Which of the built-in APIs are served (`--runtime-config`).
use crate::support::{Cluster, TestStore, configmap};
use http::Request;
use http_body_util::BodyExt;
use orlop_apiserver::{Config, RuntimeConfig};
use serde_json::{Value, json};

fn runtime(items: &[&str]) -> RuntimeConfig {
    let items: Vec<String> = items.iter().map(|item| (*item).to_owned()).collect();
    RuntimeConfig::parse(&items).unwrap().0
}

fn names<'v>(list: &'v Value, member: &str) -> Vec<&'v str> {
    let list = list.as_array().unwrap();
    list.iter().map(|item| item[member].as_str().unwrap()).collect()
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
    for off in [
        "/apis/batch/v1",
        "/apis/batch/v1/jobs",
        "/apis/apps/v1/daemonsets",
        "/api/v1/namespaces/default/limitranges",
    ] {
        assert_eq!(admin.get(off).await.code, 404, "{off}");
    }
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
