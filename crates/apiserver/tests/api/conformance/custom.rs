//! "CustomResourceDefinition resources", "CustomResourceFieldSelectors" and "…ConversionWebhook" of upstream's suite,
//! where `api/custom.rs` does not say it.
use crate::support::{Client, Cluster};
use serde_json::{Value, json};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition(name: &str, scope: &str, schema: Value) -> Value {
    json!({"metadata": {"name": format!("{name}s.example.com")}, "spec": {"group": "example.com", "scope": scope,
        "names": {"plural": format!("{name}s"), "kind": format!("{}{}", name[..1].to_uppercase(), &name[1..])},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": schema}}]}})
}

fn open() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

async fn with(definition: Value) -> Client {
    let admin = Cluster::start().await.admin();
    admin.post(CRDS, definition).await.ok();
    admin
}

/// "getting/updating/patching custom resource definition status sub-resource works"
#[tokio::test]
async fn the_status_of_a_definition_is_read_and_written_apart() {
    let admin = with(definition("noxu", "Cluster", open())).await;
    let path = format!("{CRDS}/noxus.example.com");
    let mut status = admin.get(&format!("{path}/status")).await.ok();
    assert_eq!(status["status"]["acceptedNames"]["plural"], "noxus");
    let conditions = status["status"]["conditions"].as_array_mut().unwrap();
    conditions.push(
        json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}),
    );
    let updated = admin.put(&format!("{path}/status"), status).await.ok();
    let has = |object: &Value, kind: &str| {
        let mut conditions = object["status"]["conditions"].as_array().unwrap().iter();
        conditions.any(|c| c["type"] == kind)
    };
    assert!(has(&updated, "StatusUpdate") && has(&updated, "Established"));
    let patch = json!({"spec": {"scope": "Namespaced"}, "status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}});
    let patched = admin.patch(&format!("{path}/status"), "merge", patch).await.ok();
    assert_eq!(patched["spec"]["scope"], "Cluster");
    assert!(has(&patched, "StatusPatched"));
}

/// "listing custom resource definition objects works", and their deletion by label.
#[tokio::test]
async fn definitions_are_listed_by_label_and_deleted_together() {
    let admin = Cluster::start().await.admin();
    for name in ["one", "two", "three"] {
        let mut definition = definition(name, "Namespaced", open());
        definition["metadata"]["labels"] = json!({"e2e": "x"});
        admin.post(CRDS, definition).await.ok();
    }
    let path = format!("{CRDS}?labelSelector=e2e%3Dx");
    assert_eq!(admin.get(&path).await.ok()["items"].as_array().unwrap().len(), 3);
    admin.delete(&path, Value::Null).await.ok();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while admin.get(&path).await.ok()["items"] != json!([]) {
        assert!(std::time::Instant::now() < deadline, "they stay");
        tokio::task::yield_now().await;
    }
}

/// "custom resource defaulting for requests and from storage works"
#[tokio::test]
async fn m09_defaults_fill_requests_and_what_was_stored_before() {
    let schema = |fields: Value| json!({"type": "object", "properties": fields});
    let admin = with(definition(
        "foo",
        "Cluster",
        schema(json!({"a": {"type": "string", "default": "A"}, "b": {"type": "string"}})),
    ))
    .await;
    let foos = "/apis/example.com/v1/foos";
    let name1 = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "name1"}});
    let made = admin.post(foos, name1).await.ok();
    assert_eq!((&made["a"], made.get("b")), (&json!("A"), None));
    let change = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/b/default", "value": "B"},
        {"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/a/default"}]);
    admin
        .patch(&format!("{CRDS}/foos.example.com"), "json", change)
        .await
        .ok();
    let read = admin.get(&format!("{foos}/name1")).await.ok();
    assert_eq!(
        (&read["a"], &read["b"]),
        (&json!("A"), &json!("B")),
        "a stays, b is filled on reading"
    );
    let name2 = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "name2"}});
    let made = admin.post(foos, name2).await.ok();
    assert_eq!((made.get("a"), &made["b"]), (None, &json!("B")));
    let list = admin.get(foos).await.ok();
    assert_eq!(list["items"][0]["b"], "B");
}

/// §7.3, §18: what custom objects need of a body.
#[tokio::test]
async fn custom_objects_say_what_they_are_and_which_version_they_replace() {
    let admin = with(definition("foo", "Namespaced", open())).await;
    let foos = "/apis/example.com/v1/namespaces/default/foos";
    let message = admin
        .post(foos, json!({"metadata": {"name": "f"}}))
        .await
        .refused(400);
    assert!(
        message.starts_with(
            "the object provided is unrecognized (must be of type Foo): Object 'Kind' is missing in '"
        ),
        "{message}"
    );
    let foo =
        json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "f"}, "spec": {"x": 1}});
    let made = admin.post(foos, foo.clone()).await.ok();
    let message = admin.put(&format!("{foos}/f"), foo.clone()).await.refused(422);
    assert_eq!(
        message,
        "foos.example.com \"f\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    let strategic = admin
        .patch(&format!("{foos}/f"), "strategic-merge", json!({"spec": {"x": 2}}))
        .await;
    assert_eq!(
        strategic.refused(415),
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    );
    // Status apart: the object's own path ignores it, its path ignores all else.
    let mut changed = made.clone();
    changed["spec"]["x"] = json!(2);
    changed["status"] = json!({"ready": true});
    let changed = admin.put(&format!("{foos}/f"), changed).await.ok();
    assert_eq!(
        (&changed["metadata"]["generation"], changed.get("status")),
        (&json!(2), None)
    );
    let mut status = changed.clone();
    status["spec"]["x"] = json!(3);
    status["metadata"]["labels"] = json!({"a": "b"});
    status["status"] = json!({"ready": true});
    let status = admin.put(&format!("{foos}/f/status"), status).await.ok();
    assert_eq!(
        (&status["spec"]["x"], &status["status"]["ready"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(status["metadata"].get("labels"), None);
    assert_eq!(status["metadata"]["generation"], 2);
}

/// "MUST list and watch custom resources matching the field selector"
#[tokio::test]
async fn m12_selectable_fields_are_of_their_version_and_unknown_ones_refused() {
    let mut two = definition(
        "foo",
        "Namespaced",
        json!({"type": "object", "properties": {"host": {"type": "string"}, "port": {"type": "string"}}}),
    );
    two["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".host"}]);
    let mut v2 = two["spec"]["versions"][0].clone();
    v2["name"] = json!("v2");
    v2["storage"] = json!(false);
    v2["selectableFields"] = json!([{"jsonPath": ".host"}, {"jsonPath": ".port"}]);
    two["spec"]["versions"].as_array_mut().unwrap().push(v2);
    let admin = with(two).await;
    let path = |version: &str| format!("/apis/example.com/{version}/namespaces/default/foos");
    for (name, host, port) in [("a", "host1", "80"), ("b", "host1", "8080"), ("c", "host2", "80")] {
        let foo = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}, "host": host, "port": port});
        admin.post(&path("v1"), foo).await.ok();
    }
    let names = async |url: String| -> Vec<String> {
        let list = admin.get(&url).await.ok();
        let items = list["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(format!("{}?fieldSelector=host%3Dhost1", path("v1"))).await,
        ["a", "b"]
    );
    assert_eq!(
        names(format!("{}?fieldSelector=host%3Dhost1,port%3D80", path("v2"))).await,
        ["a"]
    );
    assert_eq!(
        names(format!("{}?fieldSelector=host!%3Dhost1", path("v2"))).await,
        ["c"]
    );
    let refused = admin
        .get(&format!("{}?fieldSelector=port%3D80", path("v1")))
        .await
        .refused(400);
    assert_eq!(refused, "field label not supported: port");
    let mut watch = admin
        .watch(&format!("{}?watch=1&fieldSelector=host%3Dhost1", path("v1")))
        .await;
    assert_eq!(watch.event().await.1, "a");
    assert_eq!(watch.event().await.1, "b");
    let moved = json!({"host": "host2"});
    admin
        .patch(&format!("{}/a", path("v1")), "merge", moved)
        .await
        .ok();
    assert_eq!(watch.event().await, ("DELETED".to_owned(), "a".to_owned()));
}

/// §18: what a definition may not be.
#[tokio::test]
async fn definitions_that_break_the_rules_are_refused_with_their_text() {
    let admin = Cluster::start().await.admin();
    let mut wrong_name = definition("foo", "Namespaced", open());
    wrong_name["metadata"]["name"] = json!("foo.example.com");
    let mut protected = definition("foo", "Namespaced", open());
    protected["metadata"]["name"] = json!("foos.x.k8s.io");
    protected["spec"]["group"] = json!("x.k8s.io");
    let mut no_storage = definition("foo", "Namespaced", open());
    no_storage["spec"]["versions"][0]["storage"] = json!(false);
    let mut scope = definition("foo", "Namespaced", open());
    scope["spec"]["scope"] = json!("Global");
    let mut no_schema = definition("foo", "Namespaced", open());
    no_schema["spec"]["versions"][0]
        .as_object_mut()
        .unwrap()
        .remove("schema");
    for (definition, text) in [
        (
            wrong_name,
            "metadata.name: Invalid value: \"foo.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            protected,
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        ),
        (no_storage, "spec.versions: Invalid value"),
        (
            scope,
            "spec.scope: Unsupported value: \"Global\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            no_schema,
            "spec.versions[0].schema.openAPIV3Schema: Required value",
        ),
    ] {
        let message = admin.post(CRDS, definition).await.refused(422);
        assert!(message.contains(text), "{text}\nis not in\n{message}");
    }
}
