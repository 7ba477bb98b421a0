//! CustomResourceDefinitions and their objects (contract §18, cases M08 to M13, V04, V05, P12, B06, D11).
use crate::support::*;
use serde_json::{Value, json};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector"}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["color"], "properties": {
                        "color": {"type": "string", "enum": ["red", "blue"], "description": "What it looks like."},
                        "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
                        "parts": {"type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "required": ["name"], "properties": {
                                "name": {"type": "string"}, "size": {"type": "integer"}}}},
                        "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                            "x-kubernetes-preserve-unknown-fields": true}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]
        }
    })
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn with_widgets() -> Client {
    let admin = Cluster::start().await.admin();
    let made = admin.post(CRDS, definition()).await.ok();
    let conditions = made["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions
            .iter()
            .any(|c| c["type"] == "Established" && c["status"] == "True")
    );
    admin
}

/// Until the definition is gone.
async fn gone(admin: &Client, mut watch: Watch) {
    loop {
        if watch.event().await.0 == "DELETED" {
            break;
        }
    }
    assert_eq!(admin.get(&format!("{CRDS}/widgets.example.com")).await.code, 404);
}

#[tokio::test]
async fn m08_a_definition_is_established_its_objects_served_and_cleaned_up_on_deletion() {
    let admin = with_widgets().await;
    let made = admin.post(WIDGETS, widget("w", json!({"color": "red"}))).await;
    assert_eq!(made.code, 201);
    assert_eq!(made.json()["metadata"]["generation"], 1);
    let list = admin.get(WIDGETS).await.ok();
    assert_eq!(
        (&list["kind"], &list["items"][0]["kind"]),
        (&json!("WidgetList"), &json!("Widget"))
    );
    let mut held = widget("held", json!({"color": "red"}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.post(WIDGETS, held).await.ok();

    let watch = admin
        .watch(&format!(
            "{CRDS}?watch=1&fieldSelector=metadata.name%3Dwidgets.example.com"
        ))
        .await;
    let mut objects = admin.watch(&format!("{WIDGETS}?watch=1")).await;
    let marked = admin
        .delete(&format!("{CRDS}/widgets.example.com"), Value::Null)
        .await
        .ok();
    let conditions = marked["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "Terminating"));
    assert_eq!(
        admin
            .post(WIDGETS, widget("late", json!({"color": "red"})))
            .await
            .code,
        405
    );
    loop {
        if objects.event().await == ("MODIFIED".to_owned(), "held".to_owned()) {
            break;
        }
    }
    let path = format!("{WIDGETS}/held");
    admin
        .patch(&path, "merge", json!({"metadata": {"finalizers": null}}))
        .await
        .ok();
    gone(&admin, watch).await;
    assert_eq!(admin.get(WIDGETS).await.code, 404);
}

#[tokio::test]
async fn m09_violations_are_named_defaults_filled_and_unknown_fields_pruned() {
    let admin = with_widgets().await;
    let message = admin
        .post(WIDGETS, widget("w", json!({"color": "green"})))
        .await
        .refused(422);
    assert_eq!(
        message,
        "Widget.example.com \"w\" is invalid: spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\""
    );
    let message = admin
        .post(WIDGETS, widget("w", json!({"replicas": 11})))
        .await
        .refused(422);
    assert!(message.contains("spec.color: Required value"), "{message}");
    assert!(
        message.contains("spec.replicas in body should be less than or equal to 10"),
        "{message}"
    );
    let reply = admin
        .post(WIDGETS, widget("w", json!({"color": "red", "bogus": 1})))
        .await;
    assert_eq!(reply.warnings(), ["299 - \"unknown field \\\"spec.bogus\\\"\""]);
    assert_eq!(reply.ok()["spec"], json!({"color": "red", "replicas": 1}));
}

/// Strict refuses and names what it found; a schema that preserves unknown fields accepts them.
#[tokio::test]
async fn v04_v05_strict_validation_follows_the_schema() {
    let admin = with_widgets().await;
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    admin
        .post(&strict, widget("w", json!({"color": "red"})))
        .await
        .ok();
    let mut odd = widget(
        "x",
        json!({"color": "red", "template": {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "t"}, "anything": 1}}),
    );
    admin.post(&strict, odd.clone()).await.ok();
    odd["metadata"]["odd"] = json!(1);
    odd["spec"]["bogus"] = json!(1);
    odd["spec"]["template"]["metadata"]["odd"] = json!(1);
    let message = admin.post(&strict, odd.clone()).await.refused(400);
    for field in ["metadata.odd", "spec.bogus", "spec.template.metadata.odd"] {
        let unknown = format!("unknown field \"{field}\"");
        assert!(
            message.contains("strict decoding error: ") && message.contains(&unknown),
            "{message}"
        );
    }
    // An apply is always as strict, and names all as well.
    let path = format!("{WIDGETS}/x");
    let message = admin.apply(&path, "fieldManager=m", odd).await.refused(500);
    for field in [".metadata.odd", ".spec.bogus", ".spec.template.metadata.odd"] {
        let undeclared = format!("\n  {field}: field not declared in schema");
        assert!(message.contains(&undeclared), "{message}");
    }
    let mut free = definition();
    free["metadata"]["name"] = json!("frees.example.com");
    free["spec"]["names"] = json!({"plural": "frees", "kind": "Free"});
    free["spec"]["versions"] = json!([{"name": "v1", "served": true, "storage": true, "schema": {
        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]);
    admin.post(CRDS, free).await.ok();
    let path = "/apis/example.com/v1/namespaces/default/frees?fieldValidation=Strict";
    let body = json!({"apiVersion": "example.com/v1", "kind": "Free", "metadata": {"name": "f"}, "any": {"thing": [1]}});
    assert_eq!(admin.post(path, body).await.ok()["any"], json!({"thing": [1]}));
}

#[tokio::test]
async fn m11_an_invalid_field_that_does_not_change_is_tolerated() {
    let admin = with_widgets().await;
    admin
        .post(WIDGETS, widget("w", json!({"color": "red"})))
        .await
        .ok();
    let path = format!("{CRDS}/widgets.example.com");
    let pointer = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color/enum";
    let narrower = json!([{"op": "replace", "path": pointer, "value": ["blue"]}]);
    admin.patch(&path, "json", narrower).await.ok();
    let object = format!("{WIDGETS}/w");
    admin
        .patch(&object, "merge", json!({"spec": {"replicas": 2}}))
        .await
        .ok();
    admin
        .patch(&object, "merge", json!({"spec": {"color": "green"}}))
        .await
        .refused(422);
}

#[tokio::test]
async fn m12_selectable_fields_select() {
    let admin = with_widgets().await;
    admin
        .post(WIDGETS, widget("a", json!({"color": "red"})))
        .await
        .ok();
    admin
        .post(WIDGETS, widget("b", json!({"color": "blue"})))
        .await
        .ok();
    let list = admin
        .get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dblue"))
        .await
        .ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["metadata"]["name"], "b");
    admin
        .get(&format!("{WIDGETS}?fieldSelector=spec.replicas%3D1"))
        .await
        .refused(400);
}

#[tokio::test]
async fn m13_scale_changes_the_replicas_that_the_definition_names() {
    let admin = with_widgets().await;
    admin
        .post(WIDGETS, widget("w", json!({"color": "red"})))
        .await
        .ok();
    let path = format!("{WIDGETS}/w/scale");
    assert_eq!(admin.get(&path).await.ok()["spec"]["replicas"], 1);
    let scaled = admin
        .patch(&path, "merge", json!({"spec": {"replicas": 4}}))
        .await
        .ok();
    assert_eq!(scaled["spec"]["replicas"], 4);
    let object = admin.get(&format!("{WIDGETS}/w")).await.ok();
    assert_eq!(
        (&object["spec"]["replicas"], &object["metadata"]["generation"]),
        (&json!(4), &json!(2))
    );
}

/// A write of the status changes nothing else, metadata neither; one of the object leaves the status.
#[tokio::test]
async fn the_status_is_a_part_of_its_own() {
    let admin = with_widgets().await;
    admin
        .post(WIDGETS, widget("w", json!({"color": "red"})))
        .await
        .ok();
    let both =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"color": "blue"}, "status": {"replicas": 1}});
    let object = admin
        .patch(&format!("{WIDGETS}/w/status"), "merge", both.clone())
        .await
        .ok();
    assert_eq!(
        (&object["spec"]["color"], &object["status"]),
        (&json!("red"), &json!({"replicas": 1}))
    );
    assert!(object["metadata"].get("labels").is_none());
    assert_eq!(object["metadata"]["generation"], 1);
    let mut both = both;
    both["status"]["replicas"] = json!(9);
    let object = admin.patch(&format!("{WIDGETS}/w"), "merge", both).await.ok();
    assert_eq!(
        (&object["spec"]["color"], &object["status"]["replicas"]),
        (&json!("blue"), &json!(1))
    );
    assert_eq!(object["metadata"]["generation"], 2);
}

#[tokio::test]
async fn p12_two_managers_apply_different_items_of_a_keyed_list() {
    let admin = with_widgets().await;
    let part = |name: &str| widget("w", json!({"color": "red", "parts": [{"name": name, "size": 1}]}));
    let path = format!("{WIDGETS}/w");
    assert_eq!(admin.apply(&path, "fieldManager=m1", part("a")).await.code, 201);
    let both = admin.apply(&path, "fieldManager=m2", part("b")).await.ok();
    assert_eq!(
        both["spec"]["parts"],
        json!([{"name": "a", "size": 1}, {"name": "b", "size": 1}])
    );
    let message = admin
        .patch(&path, "strategic-merge", json!({}))
        .await
        .refused(415);
    assert!(message.contains("application/apply-patch+yaml"), "{message}");
}

#[tokio::test]
async fn b06_tables_have_the_columns_of_the_definition() {
    let admin = with_widgets().await;
    admin
        .post(WIDGETS, widget("w", json!({"color": "red"})))
        .await
        .ok();
    let table = admin.table(WIDGETS).await.ok();
    let names: Vec<&Value> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["Name", "Color", "Replicas"]);
    assert_eq!(table["columnDefinitions"][2]["priority"], 1);
    assert_eq!(table["rows"][0]["cells"], json!(["w", "red", 1]));
}

#[tokio::test]
async fn d11_a_definition_appears_in_discovery_and_disappears_with_it() {
    let admin = with_widgets().await;
    let groups = admin.get("/apis").await.ok();
    let group = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["name"] == "example.com");
    assert_eq!(
        group.unwrap()["preferredVersion"]["groupVersion"],
        "example.com/v1"
    );
    let resources = admin.get("/apis/example.com/v1").await.ok();
    let names: Vec<&Value> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["name"])
        .collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = admin
        .send(http::Method::GET, "/apis", &[("accept", accept)], "")
        .await
        .json();
    assert!(
        all["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|g| g["metadata"]["name"] == "example.com")
    );
    let index = admin.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    let document = admin.get(&url).await.ok();
    let color = &document["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]
        ["color"];
    assert_eq!(color["description"], "What it looks like.");
    let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(
        widget["x-kubernetes-selectable-fields"],
        json!([{"fieldPath": "spec.color"}])
    );

    let watch = admin
        .watch(&format!(
            "{CRDS}?watch=1&fieldSelector=metadata.name%3Dwidgets.example.com"
        ))
        .await;
    admin
        .delete(&format!("{CRDS}/widgets.example.com"), Value::Null)
        .await
        .ok();
    gone(&admin, watch).await;
    assert_eq!(admin.get("/apis/example.com/v1").await.code, 404);
}

#[tokio::test]
async fn definitions_that_cannot_be_served_are_refused() {
    let admin = Cluster::start().await.admin();
    let refused = async |change: fn(&mut Value)| {
        let mut crd = definition();
        change(&mut crd);
        admin.post(CRDS, crd).await.refused(422)
    };
    let message = refused(|crd| crd["metadata"]["name"] = json!("other.example.com")).await;
    assert!(
        message.contains("must be spec.names.plural+\".\"+spec.group"),
        "{message}"
    );
    let message = refused(|crd| crd["spec"]["versions"][0]["storage"] = json!(false)).await;
    assert!(
        message.contains("must have exactly one version marked as storage version"),
        "{message}"
    );
    let message = refused(|crd| {
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"] =
            json!({});
    })
    .await;
    assert!(
        message.contains(
            "spec.validation.openAPIV3Schema.properties[spec].properties[color].type: Required value"
        ),
        "{message}"
    );
}

/// Two versions without conversion are one object under two names; a restart keeps what is stored.
#[tokio::test]
async fn every_served_version_shows_the_same_objects() {
    let store = TestStore::new().await;
    let admin = Cluster::over(store.clone()).await.admin();
    let mut crd = definition();
    let mut second = crd["spec"]["versions"][0].clone();
    second["name"] = json!("v1beta1");
    second["storage"] = json!(false);
    crd["spec"]["versions"].as_array_mut().unwrap().push(second);
    admin.post(CRDS, crd).await.ok();
    let beta = WIDGETS.replace("/v1/", "/v1beta1/");
    let mut body = widget("w", json!({"color": "red"}));
    body["apiVersion"] = json!("example.com/v1beta1");
    let made = admin.post(&beta, body).await.ok();
    assert_eq!(made["apiVersion"], "example.com/v1beta1");
    let stable = admin.get(&format!("{WIDGETS}/w")).await.ok();
    assert_eq!(
        (&stable["apiVersion"], &stable["spec"]),
        (&json!("example.com/v1"), &made["spec"])
    );
    let again = Cluster::over(store).await.admin();
    assert_eq!(
        again.get(&format!("{beta}/w")).await.ok()["apiVersion"],
        "example.com/v1beta1"
    );
    assert_eq!(again.get(&format!("{WIDGETS}/w")).await.ok(), stable);
}

/// M10
#[tokio::test]
async fn m10_a_rule_that_does_not_hold_is_refused_with_its_message_and_transitions_are_enforced() {
    let admin = Cluster::start().await.admin();
    let mut crd = definition();
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["x-kubernetes-validations"] = json!([
        {"rule": "self.color != 'blue' || self.replicas < 3", "message": "too many"},
        {"rule": "self.replicas >= oldSelf.replicas", "message": "may only grow"}]);
    let made = admin.post(CRDS, crd).await;
    assert_eq!(made.warnings(), Vec::<String>::new());
    made.ok();
    let message = admin
        .post(WIDGETS, widget("w", json!({"color": "blue", "replicas": 3})))
        .await
        .refused(422);
    assert_eq!(
        message,
        "Widget.example.com \"w\" is invalid: spec: Invalid value: too many"
    );
    admin
        .post(WIDGETS, widget("w", json!({"color": "blue", "replicas": 2})))
        .await
        .ok();
    let path = format!("{WIDGETS}/w");
    let message = admin
        .patch(&path, "merge", json!({"spec": {"replicas": 1}}))
        .await
        .refused(422);
    assert_eq!(
        message,
        "Widget.example.com \"w\" is invalid: spec: Invalid value: may only grow"
    );
    admin
        .patch(&path, "merge", json!({"spec": {"color": "red", "replicas": 4}}))
        .await
        .ok();
}

#[tokio::test]
async fn a_definition_whose_rule_cannot_hold_is_refused_with_the_path() {
    let admin = Cluster::start().await.admin();
    let mut crd = definition();
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["x-kubernetes-validations"] = json!([{"rule": "self.colour == 'red'"}]);
    let refused = admin.post(CRDS, crd).await;
    let cause = refused.json()["details"]["causes"][0].clone();
    let message = refused.refused(422);
    assert_eq!(
        cause["field"],
        "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    );
    assert!(
        message.contains("compilation failed: ERROR: <input>:1:5: undefined field 'colour'"),
        "{message}"
    );
}

/// A rule that could take too long with the largest object its schema allows is refused with the schema.
#[tokio::test]
async fn a_definition_with_a_rule_that_may_take_too_long_is_refused() {
    let admin = Cluster::start().await.admin();
    let mut crd = definition();
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"]["words"] = json!({"type": "array", "items": {"type": "string"}});
    spec["x-kubernetes-validations"] =
        json!([{"rule": "self.words.all(a, self.words.all(b, a == b || a != b))"}]);
    let message = admin.post(CRDS, crd.clone()).await.refused(422);
    assert!(
        message.contains("x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"),
        "{message}"
    );
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"]["words"] =
        json!({"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 30}});
    admin.post(CRDS, crd).await.ok();
}

/// Defaults are filled in when an object is read, whatever was stored before they were declared.
#[tokio::test]
async fn m09_what_was_stored_before_a_default_is_read_with_it() {
    let store = TestStore::new().await;
    let admin = Cluster::over(store.clone()).await.admin();
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let crd = |properties: Value| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "cups.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"plural": "cups", "singular": "cup", "kind": "Cup", "listKind": "CupList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}}}]}})
    };
    admin
        .post(crds, crd(json!({"size": {"type": "integer"}})))
        .await
        .ok();
    let cups = "/apis/example.com/v1/namespaces/default/cups";
    let cup = json!({"apiVersion": "example.com/v1", "kind": "Cup", "metadata": {"name": "c"}, "spec": {"size": 2}});
    let stored = admin.post(cups, cup.clone()).await.ok();
    let with_default =
        crd(json!({"size": {"type": "integer"}, "colour": {"type": "string", "default": "white"}}));
    let patch = json!({"spec": with_default["spec"]});
    admin
        .patch(&format!("{crds}/cups.example.com"), "merge", patch)
        .await
        .ok();
    let path = format!("{cups}/c");
    let expected = json!({"size": 2, "colour": "white"});
    let read = admin.get(&path).await.ok();
    assert_eq!(read["spec"], expected);
    assert_eq!(version(&read), version(&stored), "it is the same version");
    assert_eq!(admin.get(cups).await.ok()["items"][0]["spec"], expected);
    let mut watch = admin.watch(&format!("{cups}?watch=true")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["spec"], expected);
    // After a restart as well.
    let again = Cluster::over(store).await.admin();
    assert_eq!(again.get(&path).await.ok()["spec"], expected);
    // What was never stored goes with its default, and others come with theirs.
    let with_another = crd(
        json!({"size": {"type": "integer"}, "colour": {"type": "string"}, "shape": {"type": "string", "default": "tall"}}),
    );
    let patch = json!({"spec": with_another["spec"]});
    again
        .patch(&format!("{crds}/cups.example.com"), "merge", patch)
        .await
        .ok();
    let expected = json!({"size": 2, "shape": "tall"});
    // The definition is effective at once; the objects are read again right after that.
    let mut read = again.get(&path).await.ok();
    for _ in 0..100 {
        if read["spec"] == expected {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        read = again.get(&path).await.ok();
    }
    assert_eq!(read["spec"], expected);
    assert_eq!(version(&read), version(&stored), "it is the same version");
}

/// Of a widget's definition with two versions, of which the older one is deprecated.
#[tokio::test]
async fn lists_have_the_kind_that_the_definition_gives_them_and_old_versions_warn() {
    let admin = Cluster::start().await.admin();
    let mut crd = definition();
    crd["spec"]["names"]["listKind"] = json!("BagOfWidgets");
    let mut old = crd["spec"]["versions"][0].clone();
    (old["name"], old["storage"], old["deprecated"]) = (json!("v1beta1"), json!(false), json!(true));
    let mut older = old.clone();
    (older["name"], older["deprecationWarning"]) = (json!("v1alpha1"), json!("take v1, please"));
    let versions = crd["spec"]["versions"].as_array_mut().unwrap();
    versions.extend([old, older]);
    admin.post(CRDS, crd).await.ok();
    let list = admin.get(WIDGETS).await;
    assert!(list.warnings().is_empty());
    assert_eq!(list.ok()["kind"], "BagOfWidgets");
    for (version, warning) in [
        (
            "v1beta1",
            "example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget",
        ),
        ("v1alpha1", "take v1, please"),
    ] {
        let reply = admin.get(&WIDGETS.replace("/v1/", &format!("/{version}/"))).await;
        assert_eq!(reply.warnings(), [format!("299 - \"{warning}\"")]);
    }
}

#[tokio::test]
async fn finalizers_of_custom_objects_need_no_domain_but_are_warned_about() {
    let admin = with_widgets().await;
    let mut held = widget("held", json!({"color": "red"}));
    held["metadata"]["finalizers"] = json!(["widgets-finalizer.example.com"]);
    let made = admin.post(WIDGETS, held).await;
    assert_eq!(
        made.warnings(),
        [
            "299 - \"metadata.finalizers: \\\"widgets-finalizer.example.com\\\": prefer a domain-qualified finalizer name including \
          a path (/) to avoid accidental conflicts with other finalizer writers\""
        ]
    );
    assert_eq!(made.code, 201);
    let path = format!("{WIDGETS}/held");
    let blue = json!({"spec": {"color": "blue"}});
    assert!(admin.patch(&path, "merge", blue).await.warnings().is_empty());
}

#[tokio::test]
async fn objects_in_custom_objects_are_checked_like_objects() {
    let admin = with_widgets().await;
    let of = |template: Value| widget("w", json!({"color": "red", "template": template}));
    let message = admin
        .post(
            WIDGETS,
            of(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": ".."}})),
        )
        .await
        .refused(422);
    assert_eq!(
        message,
        "Widget.example.com \"w\" is invalid: spec.template.metadata.name: Invalid value: \"..\": may not be '..'"
    );
    let message = admin
        .post(
            WIDGETS,
            of(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": 42}})),
        )
        .await
        .refused(400);
    assert_eq!(
        message,
        "Widget in version \"v1\" cannot be handled as a Widget: spec.template.metadata: Invalid value: {\"namespace\":42}: json: \
         cannot unmarshal number into Go struct field ObjectMeta.namespace of type string"
    );
}

#[tokio::test]
async fn what_claims_to_be_something_else_is_refused() {
    let admin = with_widgets().await;
    let mut other = widget("w", json!({"color": "red"}));
    other["kind"] = json!("Gadget");
    assert_eq!(
        admin.post(WIDGETS, other.clone()).await.refused(422),
        "Gadget.example.com \"w\" is invalid: kind: Invalid value: \"Gadget\": must be Widget"
    );
    other["apiVersion"] = json!("example.com/v2");
    assert_eq!(
        admin.post(WIDGETS, other).await.refused(400),
        "the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)"
    );
}

#[tokio::test]
async fn a_definition_without_its_names_gets_them_when_they_are_free() {
    let admin = with_widgets().await;
    let mut second = definition();
    second["metadata"]["name"] = json!("gadgets.example.com");
    second["spec"]["names"]["plural"] = json!("gadgets");
    second["spec"]["names"]["singular"] = json!("gadget");
    second["spec"]["names"]["listKind"] = json!("GadgetList");
    let waits = admin.post(CRDS, second).await.ok();
    let accepted = |crd: &Value| {
        let conditions = crd["status"]["conditions"].as_array().unwrap();
        conditions
            .iter()
            .any(|c| c["type"] == "NamesAccepted" && c["status"] == "True")
    };
    assert!(!accepted(&waits));
    let name = "fieldSelector=metadata.name%3Dgadgets.example.com";
    let mut watch = admin
        .watch(&format!(
            "{CRDS}?watch=1&{name}&resourceVersion={}",
            version(&waits)
        ))
        .await;
    admin
        .delete(&format!("{CRDS}/widgets.example.com"), Value::Null)
        .await
        .ok();
    let now = watch.next().await.unwrap();
    assert!(accepted(&now["object"]), "{now}");
    assert_eq!(now["object"]["status"]["acceptedNames"]["kind"], "Widget");
}

/// Who writes a status isn't refused for what has become wrong with the rest of the object.
#[tokio::test]
async fn a_status_is_taken_of_an_object_that_would_be_refused_now() {
    let admin = Cluster::start().await.admin();
    let mut strict = definition();
    let fields = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    *strict.pointer_mut(&format!("{fields}/replicas")).unwrap() = json!({"type": "integer"});
    let mut lenient = strict.clone();
    *lenient.pointer_mut(&format!("{fields}/template")).unwrap() =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    *lenient.pointer_mut("/spec/versions/0/subresources").unwrap() = json!({"status": {}});
    admin.post(CRDS, lenient).await.ok();
    let template = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": ".."}});
    let spec = json!({"color": "red", "replicas": -1, "template": template});
    admin.post(WIDGETS, widget("w", spec)).await.ok();
    let path = format!("{CRDS}/widgets.example.com");
    let change = json!({"spec": strict["spec"]});
    admin.patch(&path, "merge", change).await.ok();
    let path = format!("{WIDGETS}/w");
    let blue = json!({"spec": {"color": "blue"}});
    let message = admin.patch(&path, "merge", blue).await.refused(422);
    assert!(
        message.contains(".spec.replicas") && message.contains("spec.template.metadata.name"),
        "{message}"
    );
    let path = format!("{path}/status");
    let status = |replicas: i64| json!({"status": {"replicas": replicas}});
    let written = admin.patch(&path, "merge", status(2)).await.ok();
    assert_eq!(written["status"]["replicas"], 2);
    let message = admin.patch(&path, "merge", status(-1)).await.refused(422);
    assert!(
        message.ends_with(".status.replicas: Invalid value: -1: should be a non-negative integer"),
        "{message}"
    );
}

/// Who owns what is the same, however it was written.
#[tokio::test]
async fn owners_of_custom_objects_fields_are_known() {
    let admin = with_widgets().await;
    let owned = |object: &Value| -> Vec<(String, String, bool)> {
        let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entry = |entry: &Value| {
            let color = entry["fieldsV1"]["f:spec"]["f:color"].is_object();
            (text(&entry["manager"]), text(&entry["subresource"]), color)
        };
        entries.map(entry).collect()
    };
    let mine = |manager: &str, part: &str, color: bool| (manager.to_owned(), part.to_owned(), color);
    let made = admin
        .post(
            &format!("{WIDGETS}?fieldManager=maker"),
            widget("w", json!({"color": "red"})),
        )
        .await
        .ok();
    assert_eq!(owned(&made), [mine("maker", "", true)]);
    let mut put = made.clone();
    put["spec"]["color"] = json!("blue");
    let put = admin
        .put(&format!("{WIDGETS}/w?fieldManager=painter"), put)
        .await
        .ok();
    assert_eq!(owned(&put), [mine("maker", "", false), mine("painter", "", true)]);
    let patched = admin
        .patch(
            &format!("{WIDGETS}/w/status?fieldManager=teller"),
            "merge",
            json!({"status": {"replicas": 1}}),
        )
        .await
        .ok();
    assert_eq!(
        owned(&patched),
        [
            mine("maker", "", false),
            mine("painter", "", true),
            mine("teller", "status", false)
        ]
    );
    let seen = admin.get(&format!("{WIDGETS}/w")).await.ok();
    assert_eq!(seen, patched);
    let same = admin
        .put(&format!("{WIDGETS}/w?fieldManager=nobody"), seen.clone())
        .await
        .ok();
    assert_eq!(same, seen, "nothing was written");
}
