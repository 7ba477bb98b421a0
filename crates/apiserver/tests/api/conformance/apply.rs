//! "ServerSideApply" of upstream's suite, where `api/apply.rs` does not say it.
use crate::support::{CONFIGMAPS, Cluster};
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(more: Value) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"app": "nginx"}},
        "spec": {"selector": {"matchLabels": {"app": "nginx"}}, "template": {"metadata": {"labels": {"app": "nginx"}},
            "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}}});
    for (key, value) in more.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

fn managers(object: &Value) -> Vec<(String, String, String)> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .map(|entry| {
            (
                text(&entry["manager"]),
                text(&entry["operation"]),
                text(&entry["subresource"]),
            )
        })
        .collect()
}

/// "should work for subresources"
#[tokio::test]
async fn a_status_is_applied_by_its_own_managers() {
    let admin = Cluster::start().await.admin();
    let path = format!("{DEPLOYMENTS}/d");
    admin
        .apply(&path, "fieldManager=creator", deployment(json!({})))
        .await
        .ok();
    let status = |replicas: i64| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "status": {"replicas": replicas}});
    let part = format!("{path}/status");
    let first = admin.apply(&part, "fieldManager=one", status(3)).await.ok();
    assert_eq!(first["status"]["replicas"], 3);
    assert_eq!(
        managers(&first),
        [
            ("creator".to_owned(), "Apply".to_owned(), String::new()),
            ("one".to_owned(), "Apply".to_owned(), "status".to_owned())
        ]
    );
    let message = admin
        .apply(&part, "fieldManager=two", status(4))
        .await
        .refused(409);
    assert_eq!(
        message,
        "Apply failed with 1 conflict: conflict with \"one\" with subresource \"status\": .status.replicas"
    );
    let forced = admin
        .apply(&part, "fieldManager=two&force=true", status(4))
        .await
        .ok();
    assert_eq!(forced["status"]["replicas"], 4);
    assert!(managers(&forced).iter().all(|(manager, ..)| manager != "one"));
    // The object's own path has nothing to do with it.
    let spec = deployment(json!({"replicas": 2}));
    let applied = admin.apply(&path, "fieldManager=creator", spec).await.ok();
    assert_eq!(
        (&applied["spec"]["replicas"], &applied["status"]["replicas"]),
        (&json!(2), &json!(4))
    );
}

/// "should remove a field if it is owned but removed in the apply request", "should not remove a field if an owner unsets
/// the field but other managers still have ownership of the field"
#[tokio::test]
async fn p10_a_field_goes_with_its_last_owner() {
    let admin = Cluster::start().await.admin();
    let path = format!("{DEPLOYMENTS}/d");
    let spec = |replicas: Option<i64>, image: &str| {
        let mut object = deployment(json!({}));
        if let Some(replicas) = replicas {
            object["spec"]["replicas"] = json!(replicas);
        }
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        object
    };
    admin
        .apply(&path, "fieldManager=owner", spec(Some(3), "nginx:1"))
        .await
        .ok();
    admin
        .apply(&path, "fieldManager=sharer", spec(Some(3), "nginx:1"))
        .await
        .ok();
    let shared = admin
        .apply(&path, "fieldManager=owner", spec(None, "nginx:1"))
        .await
        .ok();
    assert_eq!(shared["spec"]["replicas"], 3, "the other still wants it");
    let gone = admin
        .apply(&path, "fieldManager=sharer", spec(None, "nginx:1"))
        .await
        .ok();
    assert_eq!(gone["spec"]["replicas"], 1, "nobody wants it: the default");
    // What a controller takes by force is given up by the user who no longer lists it.
    let forced = admin
        .apply(
            &path,
            "fieldManager=controller&force=true",
            spec(Some(7), "nginx:1"),
        )
        .await
        .ok();
    assert_eq!(forced["spec"]["replicas"], 7);
    let kept = admin
        .apply(&path, "fieldManager=owner", spec(None, "nginx:1"))
        .await
        .ok();
    assert_eq!(kept["spec"]["replicas"], 7);
}

/// Keyed lists of a Service: the same port with two protocols is two ports.
#[tokio::test]
async fn items_of_keyed_lists_are_told_apart_by_all_their_keys() {
    let admin = Cluster::start().await.admin();
    let path = "/api/v1/namespaces/default/services/dns";
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns"}, "spec": {"ports": ports}});
    let both = json!([{"name": "tcp", "port": 53, "protocol": "TCP"}, {"name": "udp", "port": 53, "protocol": "UDP"}]);
    admin.apply(path, "fieldManager=a", service(both)).await.ok();
    let third = json!([{"name": "metrics", "port": 9153, "protocol": "TCP"}]);
    let three = admin.apply(path, "fieldManager=b", service(third)).await.ok();
    assert_eq!(three["spec"]["ports"].as_array().unwrap().len(), 3);
    let one = json!([{"name": "tcp", "port": 53, "protocol": "TCP"}]);
    let two = admin.apply(path, "fieldManager=a", service(one)).await.ok();
    let names: Vec<&Value> = two["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(names, ["tcp", "metrics"]);
    let twice =
        json!([{"name": "x", "port": 1, "protocol": "TCP"}, {"name": "y", "port": 1, "protocol": "TCP"}]);
    let reply = admin.apply(path, "fieldManager=c", service(twice)).await;
    assert!(
        reply.code >= 400,
        "duplicate keys cannot be applied: {}",
        reply.text
    );
}

/// What kubectl sends when a client-side applied object is first applied server-side.
#[tokio::test]
async fn p17_ownership_moves_from_client_side_apply() {
    let admin = Cluster::start().await.admin();
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let made = json!({"metadata": {"name": "c", "annotations": {annotation: "{}"}}, "data": {"a": "1"}});
    let created = admin
        .post(
            &format!("{CONFIGMAPS}?fieldManager=kubectl-client-side-apply"),
            made,
        )
        .await
        .ok();
    let path = format!("{CONFIGMAPS}/c");
    let applied =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    let taken = admin
        .apply(&path, "fieldManager=kubectl", applied.clone())
        .await
        .ok();
    // The annotation follows what kubectl applies.
    let text = &taken["metadata"]["annotations"][annotation];
    assert_eq!(*text, json!(format!("{applied}\n")));
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations": {annotation: text}}});
    let last = admin
        .apply(&path, "fieldManager=kubectl-last-applied", last)
        .await
        .ok();
    let mut entries = last["metadata"]["managedFields"].as_array().unwrap().clone();
    entries.retain(|entry| entry["manager"] != "kubectl-client-side-apply");
    let version = last["metadata"]["resourceVersion"].clone();
    let stale = json!([{"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": created["metadata"]["resourceVersion"]}]);
    admin.patch(&path, "json", stale).await.refused(409);
    let moved = json!([{"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version}]);
    let moved = admin.patch(&path, "json", moved).await.ok();
    assert!(
        managers(&moved)
            .iter()
            .all(|(_, operation, _)| operation == "Apply")
    );
    let changed =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"b": "2"}});
    let changed = admin.apply(&path, "fieldManager=kubectl", changed).await.ok();
    assert_eq!(
        changed["data"],
        json!({"b": "2"}),
        "what it owned and no longer lists is gone"
    );
}

/// Drivers apply what they know of their devices of one claim; conditions of an object have a manager each.
#[tokio::test]
async fn devices_and_conditions_are_applied_by_several() {
    let admin = Cluster::start().await.admin();
    let path = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/c";
    let claim = json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [
        {"name": "r", "exactly": {"deviceClassName": "c.example.com"}}]}}});
    admin.post(path.trim_end_matches("/c"), claim).await.ok();
    let part = format!("{path}/status");
    let result = |driver: &str, share: Value| json!({"request": "r", "driver": driver, "pool": "p", "device": "d", "shareID": share});
    let shares = [
        "11111111-1111-4111-8111-111111111111",
        "22222222-2222-4222-8222-222222222222",
    ];
    let results = json!([
        result("one.example.com", Value::Null),
        result("two.example.com", json!(shares[0])),
        result("two.example.com", json!(shares[1]))
    ]);
    let allocated = json!({"status": {"allocation": {"devices": {"results": results}}}});
    admin.patch(&part, "merge", allocated).await.ok();
    let said = |driver: &str, share: Option<&str>, name: &str| {
        let mut device =
            json!({"driver": driver, "pool": "p", "device": "d", "networkData": {"interfaceName": name}});
        if let Some(share) = share {
            device["shareID"] = json!(share);
        }
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "c"}, "status": {"devices": [device]}})
    };
    for (manager, driver, share) in [
        ("one", "one.example.com", None),
        ("two-a", "two.example.com", Some(shares[0])),
        ("two-b", "two.example.com", Some(shares[1])),
    ] {
        let query = format!("fieldManager={manager}");
        admin
            .apply(&part, &query, said(driver, share, manager))
            .await
            .ok();
    }
    let claim = admin.get(path).await.ok();
    let names: Vec<&Value> = claim["status"]["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| &device["networkData"]["interfaceName"])
        .collect();
    assert_eq!(names, ["one", "two-a", "two-b"]);
    let conflict = admin
        .apply(&part, "fieldManager=three", said("one.example.com", None, "mine"))
        .await
        .refused(409);
    assert!(
        conflict.contains(
            "conflict with \"one\" with subresource \"status\": .status.devices[device=\"d\",driver=\"one.example.com\",pool=\"p\"].networkData.interfaceName"
        ),
        "{conflict}"
    );

    let csr = super::objects::samples()
        .into_iter()
        .find(|sample| sample.kind == "CertificateSigningRequest")
        .unwrap();
    admin.post(&csr.path(""), csr.object("r")).await.ok();
    let part = format!("{}/r/status", csr.path(""));
    for kind in ["Failed", "example.com/Seen"] {
        let condition = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"},
            "status": {"conditions": [{"type": kind, "status": "True", "reason": "Test"}]}});
        let query = format!("fieldManager={}", kind.rsplit('/').next().unwrap());
        admin.apply(&part, &query, condition).await.ok();
    }
    let read = admin.get(&format!("{}/r", csr.path(""))).await.ok();
    assert_eq!(read["status"]["conditions"].as_array().unwrap().len(), 2);
}
