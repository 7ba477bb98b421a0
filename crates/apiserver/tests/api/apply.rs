//! Server-side apply and managed fields (contract §9.5, cases P07 to P15).
use crate::support::*;
use serde_json::{Value, json};

const C: &str = "/api/v1/namespaces/default/configmaps/c";

fn data(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

/// What a manager owns, and how it came by it.
fn owned(object: &Value, manager: &str) -> Option<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let entry = entries.iter().find(|e| e["manager"] == manager)?;
    Some((entry["operation"].as_str()?.to_owned(), entry["fieldsV1"].clone()))
}

fn applied(fields: Value) -> Option<(String, Value)> {
    Some(("Apply".to_owned(), fields))
}

fn updated(fields: Value) -> Option<(String, Value)> {
    Some(("Update".to_owned(), fields))
}

#[tokio::test]
async fn p07_an_apply_says_who_applies_what() {
    let admin = Cluster::start().await.admin();
    let message = admin.apply(C, "", data(json!({"a": "1"}))).await.refused(422);
    assert!(
        message.contains("fieldManager: Required value: is required for apply patch"),
        "{message}"
    );
    let message = admin
        .apply(C, "fieldManager=m1", json!({"kind": "ConfigMap"}))
        .await
        .refused(400);
    assert_eq!(message, "invalid object type: /, Kind=ConfigMap");
    let message = admin
        .patch(&format!("{C}?force=true"), "merge", json!({}))
        .await
        .refused(422);
    assert!(
        message.contains("may not be specified for non-apply patch"),
        "{message}"
    );
}

#[tokio::test]
async fn p08_no_object_is_created_with_an_apply_entry_of_the_applied_fields() {
    let admin = Cluster::start().await.admin();
    let reply = admin.apply(C, "fieldManager=m1", data(json!({"a": "1"}))).await;
    assert_eq!(reply.code, 201);
    let object = reply.ok();
    assert_eq!(owned(&object, "m1"), applied(json!({"f:data": {"f:a": {}}})));
    assert_eq!(object["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '2'}\n";
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{C}?fieldManager=m1");
    let yaml = admin.send(http::Method::PATCH, &path, &headers, body).await;
    assert_eq!((yaml.code, yaml.json()["data"]["a"].clone()), (200, json!("2")));
}

/// Replicas have one owner, through whatever they are applied.
#[tokio::test]
async fn a_scale_is_applied_to_what_is_scaled() {
    let admin = Cluster::start().await.admin();
    let path = "/apis/apps/v1/namespaces/default/replicasets/r";
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    admin.apply(path, "fieldManager=m1", set).await.ok();
    let scale = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "r"}, "spec": {"replicas": replicas}});
    let at = format!("{path}/scale");
    assert_eq!(
        admin.apply(&at, "fieldManager=m2", scale(3)).await.refused(409),
        "Apply failed with 1 conflict: conflict with \"m1\": .spec.replicas"
    );
    let forced = admin
        .apply(&at, "fieldManager=m2&force=true", scale(3))
        .await
        .ok();
    assert_eq!(
        (&forced["kind"], &forced["spec"]["replicas"]),
        (&json!("Scale"), &json!(3))
    );
    let now = admin.get(path).await.ok();
    assert_eq!(owned(&now, "m2"), applied(json!({"f:spec": {"f:replicas": {}}})));
    assert!(owned(&now, "m1").unwrap().1["f:spec"]["f:replicas"].is_null());
    assert_eq!(now["metadata"]["generation"], 2);
    let message = admin.apply(&at, "fieldManager=m2", scale(-1)).await.refused(422);
    assert!(
        message.contains("must be greater than or equal to 0"),
        "{message}"
    );
}

/// A large object is stored without the list of who owns what in it, if that is what makes it too large.
#[tokio::test]
async fn an_object_is_worth_more_than_the_list_of_its_owners() {
    let admin = Cluster::start().await.admin();
    let long = |number: usize| {
        format!("this-key-is-rather-long-so-that-the-list-of-fields-is-large-as-well-{number}")
    };
    let large: serde_json::Map<String, Value> = (0..9_999).map(|number| (long(number), json!("A"))).collect();
    let maps = "/api/v1/namespaces/default/configmaps";
    let made = admin
        .post(maps, json!({"metadata": {"name": "c"}, "data": large.clone()}))
        .await
        .ok();
    assert!(made["metadata"]["managedFields"].is_null());
    let message = admin
        .apply(C, "fieldManager=m1", data(json!({})))
        .await
        .refused(500);
    assert!(message.contains("request is too large"), "{message}");
    admin
        .post(maps, json!({"metadata": {"name": "d"}, "data": {"k": "v"}}))
        .await
        .ok();
    let patched = admin
        .patch(&format!("{maps}/d"), "merge", json!({"data": large}))
        .await
        .ok();
    assert!(patched["metadata"]["managedFields"].is_null());
}

/// The status of a pod is applied with whatever its metadata says of owners and deletion.
#[tokio::test]
async fn an_applied_status_leaves_owners_and_deletion_alone() {
    let admin = Cluster::start().await.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin
        .post("/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    admin.post(PODS, pod("p")).await.ok();
    let config = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "deletionTimestamp": "2020-01-01T00:00:00Z", "ownerReferences": []},
        "status": {"conditions": [{"type": "Mine", "status": "True"}]}});
    let path = format!("{PODS}/p/status");
    let written = admin.apply(&path, "fieldManager=m1", config).await.ok();
    assert!(written["metadata"]["deletionTimestamp"].is_null());
    let (_, entry) = owned(&written, "m1").unwrap();
    assert!(
        entry["f:metadata"].is_null() && !entry["f:status"].is_null(),
        "{entry}"
    );
}

#[tokio::test]
async fn p09_a_field_of_another_is_a_conflict_until_forced() {
    let admin = Cluster::start().await.admin();
    admin
        .apply(C, "fieldManager=m1", data(json!({"a": "1"})))
        .await
        .ok();
    let reply = admin.apply(C, "fieldManager=m2", data(json!({"a": "2"}))).await;
    let status = reply.json();
    assert_eq!(
        reply.refused(409),
        "Apply failed with 1 conflict: conflict with \"m1\": .data.a"
    );
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".data.a"}])
    );
    let forced = admin
        .apply(C, "fieldManager=m2&force=true", data(json!({"a": "2"})))
        .await
        .ok();
    assert_eq!(owned(&forced, "m2"), applied(json!({"f:data": {"f:a": {}}})));
    assert_eq!(owned(&forced, "m1"), None);
    assert_eq!(forced["data"]["a"], "2");
}

#[tokio::test]
async fn p10_what_only_this_manager_owned_and_no_longer_applies_is_removed() {
    let admin = Cluster::start().await.admin();
    admin
        .apply(C, "fieldManager=m1", data(json!({"a": "1", "b": "1"})))
        .await
        .ok();
    admin
        .apply(C, "fieldManager=m2", data(json!({"b": "1"})))
        .await
        .ok();
    let object = admin.apply(C, "fieldManager=m1", data(json!({}))).await.ok();
    assert_eq!(object["data"], json!({"b": "1"}));
}

#[tokio::test]
async fn p11_an_apply_that_changes_nothing_writes_nothing() {
    let admin = Cluster::start().await.admin();
    let first = admin
        .apply(C, "fieldManager=m1", data(json!({"a": "1"})))
        .await
        .ok();
    let second = admin
        .apply(C, "fieldManager=m1", data(json!({"a": "1"})))
        .await
        .ok();
    assert_eq!(first, second);
}

#[tokio::test]
async fn p13_managed_fields_in_the_body_are_refused() {
    let admin = Cluster::start().await.admin();
    let mut body = data(json!({}));
    body["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let message = admin.apply(C, "fieldManager=m1", body).await.refused(400);
    assert_eq!(message, "metadata.managedFields must be nil");
}

#[tokio::test]
async fn p14_a_uid_never_creates() {
    let admin = Cluster::start().await.admin();
    let mut body = data(json!({}));
    body["metadata"]["uid"] = json!("x");
    let message = admin.apply(C, "fieldManager=m1", body).await.refused(409);
    assert!(
        message
            .contains("uid mismatch: the provided object specified uid x, and no existing object was found"),
        "{message}"
    );
}

#[tokio::test]
async fn p15_eleven_update_managers_leave_ancient_changes() {
    let admin = Cluster::start().await.admin();
    admin
        .post(&format!("{CONFIGMAPS}?fieldManager=m0"), data(json!({"k0": "v"})))
        .await
        .ok();
    for number in 1..11 {
        let path = format!("{C}?fieldManager=m{number}");
        admin
            .patch(&path, "merge", json!({"data": {format!("k{number}"): "v"}}))
            .await
            .ok();
    }
    let object = admin.get(C).await.ok();
    assert_eq!(object["metadata"]["managedFields"].as_array().unwrap().len(), 10);
    assert!(owned(&object, "ancient-changes").is_some());
    assert!(owned(&object, "m10").is_some());
}

#[tokio::test]
async fn unknown_fields_of_a_configuration_are_named() {
    let admin = Cluster::start().await.admin();
    let mut body = data(json!({}));
    body["bogus"] = json!(1);
    assert_eq!(
        admin.apply(C, "fieldManager=m1", body).await.refused(500),
        "failed to create typed patch object (default/c; /v1, Kind=ConfigMap): .bogus: field not declared in schema"
    );
}

/// Every writer owns what it changed: the creator the defaults too but not what admission added, a status writer the
/// status, a scaler the replicas.
#[tokio::test]
async fn writers_own_what_they_changed() {
    let admin = Cluster::start().await.admin();
    let path = format!("{PODS}?fieldManager=maker");
    let made = admin.post(&path, pod("p")).await.ok();
    let (operation, fields) = owned(&made, "maker").unwrap();
    assert_eq!(operation, "Update");
    let container = &fields["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"];
    for field in [".", "f:name", "f:image", "f:imagePullPolicy", "f:resources"] {
        assert!(container.get(field).is_some(), "{field}: {fields}");
    }
    assert!(fields["f:spec"].get("f:restartPolicy").is_some(), "{fields}");
    assert!(
        fields["f:spec"].get("f:tolerations").is_none(),
        "added by admission: {fields}"
    );
    assert!(fields.get("f:status").is_none() && fields["f:metadata"].get("f:uid").is_none());

    let status = json!({"status": {"message": "m"}});
    let path = format!("{PODS}/p/status?fieldManager=agent");
    let object = admin.patch(&path, "merge", status).await.ok();
    assert_eq!(
        owned(&object, "agent"),
        updated(json!({"f:status": {"f:message": {}}}))
    );
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        entries
            .iter()
            .any(|e| e["subresource"] == "status" && e["manager"] == "agent")
    );
    assert_eq!(owned(&object, "maker"), owned(&made, "maker"));
}

/// The client's own name serves when it names no manager.
#[tokio::test]
async fn the_user_agent_is_the_manager_of_last_resort() {
    let admin = Cluster::start().await.admin();
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "kubectl/v1.32 (linux)"),
    ];
    let body = data(json!({"a": "1"})).to_string();
    let object = admin
        .send(http::Method::POST, CONFIGMAPS, &headers, body)
        .await
        .ok();
    assert_eq!(
        owned(&object, "kubectl"),
        updated(json!({"f:data": {".": {}, "f:a": {}}}))
    );
}

/// One empty entry forgets all; only the next apply begins again.
#[tokio::test]
async fn managed_fields_are_cleared_by_one_empty_entry() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, data(json!({"a": "1"}))).await.ok();
    let clear = json!({"metadata": {"managedFields": [{}]}});
    let object = admin.patch(C, "merge", clear).await.ok();
    assert_eq!(object["metadata"].get("managedFields"), None);
    let object = admin.patch(C, "merge", json!({"data": {"b": "1"}})).await.ok();
    assert_eq!(object["metadata"].get("managedFields"), None);
    let object = admin
        .apply(C, "fieldManager=m1", data(json!({"c": "1"})))
        .await
        .ok();
    assert_eq!(owned(&object, "m1"), applied(json!({"f:data": {"f:c": {}}})));
    let before = owned(&object, "before-first-apply").unwrap().1;
    assert_eq!(before["f:data"], json!({".": {}, "f:a": {}, "f:b": {}}));
    // A PUT may bring an empty list as well.
    let mut body = data(json!({"a": "2"}));
    body["metadata"]["managedFields"] = json!([]);
    let object = admin.put(C, body).await.ok();
    assert_eq!(object["metadata"].get("managedFields"), None);
}

/// Whoever writes the status can't say who owns the rest.
#[tokio::test]
async fn managed_fields_are_not_changed_through_subresources() {
    let admin = Cluster::start().await.admin();
    let mut made = admin.post(PODS, pod("p")).await.ok();
    let before = made["metadata"]["managedFields"].clone();
    for list in [
        json!([{}]),
        json!([{"manager": "thief", "operation": "Update", "apiVersion": "v1", "time": "2020-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:containers": {}}}}]),
    ] {
        made["metadata"]["managedFields"] = list.clone();
        let put = admin.put(&format!("{PODS}/p/status"), made.clone()).await.ok();
        assert_eq!(put["metadata"]["managedFields"], before);
        let patch = json!({"metadata": {"managedFields": list}});
        let patched = admin
            .patch(&format!("{PODS}/p/status"), "merge", patch)
            .await
            .ok();
        assert_eq!(patched["metadata"]["managedFields"], before);
    }
}

/// A PUT keeps the list, whether it brings it or not; what it changes is its writer's from then on.
#[tokio::test]
async fn a_put_takes_over_what_it_changes_without_a_conflict() {
    let admin = Cluster::start().await.admin();
    let mut object = admin
        .apply(C, "fieldManager=m1", data(json!({"a": "1", "b": "1"})))
        .await
        .ok();
    object["data"]["a"] = json!("2");
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    let object = admin.put(&format!("{C}?fieldManager=m2"), object).await.ok();
    assert_eq!(owned(&object, "m1"), applied(json!({"f:data": {"f:b": {}}})));
    assert_eq!(owned(&object, "m2"), updated(json!({"f:data": {"f:a": {}}})));
}

/// An apply that would create needs the right to create.
#[tokio::test]
async fn creating_by_apply_needs_the_right_to_create() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]);
    let role = json!({"metadata": {"name": "patcher"}, "rules": rules});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    admin.post(&format!("{roles}/roles"), role).await.ok();
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "u"}]});
    admin.post(&format!("{roles}/rolebindings"), binding).await.ok();
    let user = cluster.user(orlop_apiserver::UserInfo::new("u", ["system:authenticated"]));
    user.apply(C, "fieldManager=m", data(json!({"a": "1"})))
        .await
        .refused(403);
    admin.post(CONFIGMAPS, data(json!({}))).await.ok();
    user.apply(C, "fieldManager=m", data(json!({"a": "1"})))
        .await
        .ok();
}

/// P10: what an owner alone has set in the metadata goes without the rest of it.
#[tokio::test]
async fn p10_the_last_label_and_the_last_finalizer_of_a_configuration_go() {
    let admin = Cluster::start().await.admin();
    let path = format!("{CONFIGMAPS}/c");
    let with = |metadata: Value| {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        map["metadata"]["name"] = json!("c");
        map
    };
    let first =
        with(json!({"labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["example.com/f"]}));
    let made = admin.apply(&path, "fieldManager=m1", first).await.ok();
    let bare = admin.apply(&path, "fieldManager=m1", with(json!({}))).await.ok();
    for gone in ["labels", "annotations", "finalizers"] {
        assert_eq!(bare["metadata"].get(gone), None, "{bare}");
    }
    for stays in ["name", "namespace", "uid", "creationTimestamp"] {
        assert_eq!(bare["metadata"][stays], made["metadata"][stays]);
    }
}
