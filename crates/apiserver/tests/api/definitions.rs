//! CustomResourceDefinitions as other servers have stored them, and what becomes of their objects.
use crate::support::*;
use orlop_store::{EventKind, Op, RangeRequest, Revision, Txn, WatchRequest};
use serde_json::{Value, json};
use std::time::Duration;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DOORS: &str = "/apis/example.com/v1/namespaces/default/doors";

/// Stores something as it is.
async fn put(store: &TestStore, key: &str, value: &Value) {
    let txn = Txn {
        success: vec![Op::put(
            format!("/registry/{key}"),
            value.to_string().into(),
            None,
        )],
        ..Txn::default()
    };
    store.store.txn(txn).await.unwrap();
}

/// A definition in the form that upstream's servers store.
fn stored_definition() -> Value {
    let condition = |kind: &str, reason: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": "",
            "lastTransitionTime": "2019-01-01T00:00:00Z"})
    };
    json!({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1beta1",
        "metadata": {"name": "doors.example.com", "uid": "u-1", "creationTimestamp": "2019-01-01T00:00:00Z"},
        "spec": {"group": "example.com", "version": "v1", "scope": "Namespaced",
            "names": {"plural": "doors", "singular": "door", "kind": "Door", "listKind": "DoorList"},
            "validation": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"width": {"type": "integer", "minimum": 1}}}}}},
            "additionalPrinterColumns": [{"name": "Width", "type": "integer", "JSONPath": ".spec.width"}],
            "versions": [{"name": "v1", "served": true, "storage": true}],
            "conversion": {"strategy": "None"}, "preserveUnknownFields": false},
        "status": {"storedVersions": ["v1"],
            "acceptedNames": {"plural": "doors", "singular": "door", "kind": "Door", "listKind": "DoorList"},
            "conditions": [condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")]}})
}

fn door(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Door", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_definition_that_upstream_has_stored_is_served() {
    let store = TestStore::new().await;
    let crd = stored_definition();
    put(
        &store,
        "apiextensions.k8s.io/customresourcedefinitions/doors.example.com",
        &crd,
    )
    .await;
    let mut object = door("old", json!({"width": 2}));
    object["metadata"]["namespace"] = json!("default");
    put(&store, "example.com/doors/default/old", &object).await;
    let admin = Cluster::over(store).await.admin();
    let read = admin.get(&format!("{CRDS}/doors.example.com")).await.ok();
    assert_eq!(read["apiVersion"], "apiextensions.k8s.io/v1");
    let version = &read["spec"]["versions"][0];
    assert_eq!(version["schema"], crd["spec"]["validation"]);
    assert_eq!(version["additionalPrinterColumns"][0]["jsonPath"], ".spec.width");
    for gone in ["version", "validation", "additionalPrinterColumns"] {
        assert!(read["spec"].get(gone).is_none(), "{gone}");
    }
    assert_eq!(admin.get(&format!("{DOORS}/old")).await.ok()["spec"]["width"], 2);
    admin
        .post(DOORS, door("no", json!({"width": 0})))
        .await
        .refused(422);
    let made = admin
        .post(DOORS, door("d", json!({"width": 1, "odd": 1})))
        .await
        .ok();
    assert_eq!(made["spec"], json!({"width": 1}));
    let changed = json!({"metadata": {"labels": {"a": "b"}}});
    let path = format!("{CRDS}/doors.example.com");
    admin.patch(&path, "merge", changed).await.ok();
}

/// Such definitions may have no schema at all, and must not be kept by that.
#[tokio::test]
async fn a_definition_of_old_that_keeps_what_nobody_specified_keeps_it_and_can_go() {
    let store = TestStore::new().await;
    let mut crd = stored_definition();
    let spec = crd["spec"].as_object_mut().unwrap();
    for key in ["validation", "versions", "preserveUnknownFields"] {
        spec.remove(key);
    }
    put(
        &store,
        "apiextensions.k8s.io/customresourcedefinitions/doors.example.com",
        &crd,
    )
    .await;
    let admin = Cluster::over(store).await.admin();
    let made = admin
        .post(DOORS, door("d", json!({"any": [{"thing": 1}]})))
        .await
        .ok();
    assert_eq!(made["spec"], json!({"any": [{"thing": 1}]}));
    let mut watch = admin.watch(&format!("{CRDS}?watch=1")).await;
    let path = format!("{CRDS}/doors.example.com");
    admin.delete(&path, Value::Null).await.ok();
    while watch.event().await.0 != "DELETED" {}
    assert_eq!(admin.get(&path).await.code, 404);
}

/// A definition of a kind, under its own plural.
fn of_kind(plural: &str, kind: &str) -> Value {
    json!({"metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind,
                "singular": plural, "listKind": format!("{kind}{plural}List")},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
}

/// The condition of a type: its status and reason.
fn condition(crd: &Value, kind: &str) -> (String, String) {
    let conditions = crd["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|c| c["type"] == kind).unwrap();
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("status"), text("reason"))
}

/// Through one server, and through two of one store.
#[tokio::test]
async fn of_two_definitions_of_one_moment_the_first_that_is_stored_has_the_kind() {
    for several in [false, true] {
        let store = TestStore::new().await;
        let one = Cluster::over(store.clone()).await.admin();
        let two = match several {
            true => Cluster::over(store).await.admin(),
            false => one.clone(),
        };
        let (doors, gates) = tokio::join!(
            one.post(CRDS, of_kind("doors", "Door")),
            two.post(CRDS, of_kind("gates", "Door"))
        );
        let mut made = [doors.ok(), gates.ok()];
        made.sort_by_key(version);
        let [first, second] = made;
        assert_eq!(condition(&first, "NamesAccepted").0, "True", "{several}");
        assert_eq!(condition(&first, "Established").0, "True");
        let refused = ("False".to_owned(), "KindConflict".to_owned());
        assert_eq!(condition(&second, "NamesAccepted"), refused, "{several}");
        assert_eq!(condition(&second, "Established").0, "False");
        assert_eq!(second["status"]["acceptedNames"]["kind"], "");
        let plural = second["spec"]["names"]["plural"].as_str().unwrap();
        let path = format!("/apis/example.com/v1/namespaces/default/{plural}");
        assert_eq!(two.get(&path).await.code, 404, "it isn't served");
    }
}

/// A definition with an object, no version of which is served any more.
async fn unserved(cluster: &Cluster, namespace: &str) -> Client {
    let admin = cluster.admin();
    admin.post(CRDS, of_kind("doors", "Door")).await.ok();
    let doors = format!("/apis/example.com/v1/namespaces/{namespace}/doors");
    admin.post(&doors, door("d", Value::Null)).await.ok();
    serve(&admin, false).await;
    assert_eq!(admin.get(&doors).await.code, 404);
    admin
}

/// Serves the only version of the definition, or doesn't.
async fn serve(admin: &Client, served: bool) {
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/served", "value": served}]);
    let path = format!("{CRDS}/doors.example.com");
    admin.patch(&path, "json", patch).await.ok();
}

#[tokio::test]
async fn objects_that_nobody_serves_go_with_their_definition() {
    let store = TestStore::new().await;
    let admin = unserved(&Cluster::over(store.clone()).await, "default").await;
    let mut watch = admin.watch(&format!("{CRDS}?watch=1")).await;
    let path = format!("{CRDS}/doors.example.com");
    admin.delete(&path, Value::Null).await.ok();
    while watch.event().await.0 != "DELETED" {}
    let left = store
        .store
        .range(RangeRequest::prefix("/registry/example.com/"))
        .await;
    assert!(left.unwrap().kvs.is_empty());
    admin.post(CRDS, of_kind("doors", "Door")).await.ok();
    assert_eq!(admin.get(DOORS).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn objects_that_nobody_serves_go_with_their_namespace() {
    let store = TestStore::new().await;
    let cluster = Cluster::over(store.clone()).await;
    let namespace = json!({"metadata": {"name": "lab"}});
    cluster.admin().post("/api/v1/namespaces", namespace).await.ok();
    let admin = unserved(&cluster, "lab").await;
    let at = store.store.revision().await.unwrap();
    let request = WatchRequest::prefix("/registry/example.com/", Some(Revision(at.0 + 1)));
    let mut changes = store.store.watch(request).await.unwrap();
    admin.delete("/api/v1/namespaces/lab", Value::Null).await.ok();
    let gone = async {
        loop {
            let batch = changes.recv().await.unwrap().unwrap();
            if batch.events.iter().any(|event| event.kind == EventKind::Delete) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    serve(&admin, true).await;
    let doors = "/apis/example.com/v1/doors";
    assert_eq!(admin.get(doors).await.ok()["items"], json!([]));
}

/// Who empties namespaces sees nothing of them, and may let the namespace go at any moment.
#[tokio::test]
async fn objects_that_nobody_serves_go_all_if_their_namespace_is_gone_before_the_last() {
    const DOORS_IN_LAB: usize = 40;
    let store = TestStore::new().await;
    let admin = Cluster::over(store.clone()).await.admin();
    let namespace = json!({"metadata": {"name": "lab"}});
    admin.post("/api/v1/namespaces", namespace).await.ok();
    admin.post(CRDS, of_kind("doors", "Door")).await.ok();
    for number in 0..DOORS_IN_LAB {
        let door = door(&format!("d{number}"), Value::Null);
        let doors = "/apis/example.com/v1/namespaces/lab/doors";
        admin.post(doors, door).await.ok();
    }
    serve(&admin, false).await;
    let at = store.store.revision().await.unwrap();
    let request = WatchRequest::prefix("/registry/example.com/", Some(Revision(at.0 + 1)));
    let mut changes = store.store.watch(request).await.unwrap();
    let mut finalized = admin.delete("/api/v1/namespaces/lab", Value::Null).await.ok();
    finalized["spec"]["finalizers"] = json!([]);
    let mut left = DOORS_IN_LAB;
    let gone = async {
        while left > 0 {
            let batch = changes.recv().await.unwrap().unwrap();
            let events = batch.events.iter();
            let deleted = events.filter(|event| event.kind == EventKind::Delete).count();
            if left == DOORS_IN_LAB && deleted > 0 {
                let lab = finalized.clone();
                admin.put("/api/v1/namespaces/lab/finalize", lab).await.ok();
            }
            left -= deleted;
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(10), gone).await;
    all.expect("all of them are deleted");
}

/// They would come back with the next definition of that name.
#[tokio::test]
async fn a_definition_stays_as_long_as_objects_of_it_cannot_be_opened() {
    let store = TestStore::new().await;
    let admin = Cluster::over(store.clone()).await.admin();
    admin.post(CRDS, of_kind("doors", "Door")).await.ok();
    let key = "/registry/example.com/doors/default/sealed";
    let write = async |op: Op| {
        let txn = Txn {
            success: vec![op],
            ..Txn::default()
        };
        store.store.txn(txn).await.unwrap().revision
    };
    let sealed = b"k8s:enc:aesgcm:v1:key1:?".to_vec();
    let at = write(Op::put(key, sealed.into(), None)).await;
    let list = format!("{DOORS}?resourceVersion={at}");
    admin.get(&list).await.refused(500);
    let mut watch = admin.watch(&format!("{CRDS}?watch=1")).await;
    let path = format!("{CRDS}/doors.example.com");
    admin.delete(&path, Value::Null).await.ok();
    for _ in 0..50 {
        admin.get(&path).await.ok();
    }
    write(Op::delete(key)).await;
    while watch.event().await.0 != "DELETED" {}
}
