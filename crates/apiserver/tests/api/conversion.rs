//! Versions of a definition that a webhook converts into each other (contract §18, case M14), and what becomes of
//! objects whose schema has changed.
use crate::support::*;
use crate::webhook_server::{Does, WebhookServer};
use http::Method;
use orlop_apiserver::Config;
use orlop_store::RangeRequest;
use serde_json::{Value, json};
use std::time::Duration;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/doors.example.com";
const V1: &str = "/apis/example.com/v1/namespaces/default/doors";
const V2: &str = "/apis/example.com/v2/namespaces/default/doors";

fn schema(spec: Value) -> Value {
    json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": spec},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}})
}

/// Version 1 has `hostPort`, version 2 `host` and `port`. The first is stored.
fn definition(client: &Value) -> Value {
    let version = |name: &str, storage: bool, field: &str, spec: Value| {
        json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": format!(".spec.{field}")}],
            "additionalPrinterColumns": [{"name": field, "type": "string", "jsonPath": format!(".spec.{field}")}],
            "schema": schema(spec)})
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "doors.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "doors", "kind": "Door"},
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": client, "conversionReviewVersions": ["v1"]}},
            "versions": [
                version("v1", true, "hostPort", json!({"hostPort": {"type": "string"}})),
                version("v2", false, "host", json!({"host": {"type": "string"}, "port": {"type": "string"}}))]}
    })
}

/// The other form of each object.
fn convert(request: &Value) -> Value {
    let desired = request["desiredAPIVersion"].as_str().unwrap();
    let objects = request["objects"].as_array().unwrap();
    let converted: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut object = object.clone();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            object["spec"] = if desired == "example.com/v2" {
                let joined = text(&object["spec"]["hostPort"]);
                let (host, port) = joined.split_once(':').unwrap_or((&joined, ""));
                json!({"host": host, "port": port})
            } else {
                let spec = &object["spec"];
                json!({"hostPort": format!("{}:{}", text(&spec["host"]), text(&spec["port"]))})
            };
            object["apiVersion"] = json!(desired);
            // Not for webhooks to change.
            object["metadata"]["generation"] = json!(77);
            object
        })
        .collect();
    json!({"result": {"status": "Success"}, "convertedObjects": converted})
}

fn refuse(_: &Value) -> Value {
    json!({"result": {"status": "Failure", "message": "out of paint"}, "convertedObjects": []})
}

fn door(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Door", "metadata": {"name": name}, "spec": spec})
}

struct Doors {
    admin: Client,
    webhook: WebhookServer,
    store: TestStore,
}

impl Doors {
    async fn start(does: Does) -> Self {
        let webhook = WebhookServer::start(does).await;
        let store = TestStore::new().await;
        let config = Config::new("127.0.0.1:6443".parse().unwrap());
        let admin = Cluster::configured(config, store.clone()).await.admin();
        admin
            .post(CRDS, definition(&webhook.by_url("/convert")))
            .await
            .ok();
        Self {
            admin,
            webhook,
            store,
        }
    }

    /// How many objects each review was about so far.
    fn asked(&self) -> Vec<usize> {
        let asked = self.webhook.asked();
        let count = |(_, request): &(String, Value)| request["objects"].as_array().unwrap().len();
        asked.iter().map(count).collect()
    }

    /// An object as it is stored.
    async fn stored(&self, name: &str) -> Value {
        let key = format!("/registry/example.com/doors/default/{name}");
        let found = self.store.store.range(RangeRequest::key(key)).await.unwrap();
        serde_json::from_slice(&found.kvs[0].value).unwrap()
    }

    /// From now on, version 2 is stored.
    async fn store_v2(&self) {
        let flip = json!([
            {"op": "replace", "path": "/spec/versions/0/storage", "value": false},
            {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
        let crd = self.admin.patch(CRD, "json", flip).await.ok();
        assert_eq!(crd["status"]["storedVersions"], json!(["v1", "v2"]));
    }
}

/// M14: given two CRD versions with a conversion webhook, when read as v2, then converted.
#[tokio::test]
async fn m14_two_crd_versions_with_a_conversion_webhook_are_converted_when_read_as_v2() {
    let doors = Doors::start(Does::Answers(convert)).await;
    let admin = &doors.admin;
    for name in ["a", "b", "c"] {
        let made = admin
            .post(V1, door("v1", name, json!({"hostPort": format!("{name}:80")})))
            .await;
        assert_eq!(made.ok()["apiVersion"], "example.com/v1");
    }
    assert!(doors.asked().is_empty(), "what is stored as v1 is read as v1");
    let read = admin.get(&format!("{V2}/a")).await.ok();
    assert_eq!(read["apiVersion"], "example.com/v2");
    assert_eq!(read["spec"], json!({"host": "a", "port": "80"}));
    assert_eq!(read["metadata"]["generation"], 1, "metadata is the server's");
    let (path, request) = doors.webhook.asked().remove(0);
    assert_eq!(path, "/convert?timeout=30s");
    assert_eq!(request["desiredAPIVersion"], "example.com/v2");
    assert_eq!(request["objects"][0]["apiVersion"], "example.com/v1");
    // All that has not been converted before, at once.
    let list = admin.get(V2).await.ok();
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("DoorList"), &json!("example.com/v2"))
    );
    assert_eq!(list["items"][2]["spec"], json!({"host": "c", "port": "80"}));
    assert_eq!(doors.asked(), [1, 2]);
    let table = admin.table(V2).await.ok();
    assert_eq!(table["rows"][1]["cells"][1], "b");
    let selected = admin.get(&format!("{V2}?fieldSelector=spec.host%3Dc")).await.ok();
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    assert_eq!(selected["items"][0]["metadata"]["name"], "c");
    let selected = admin
        .get(&format!("{V1}?fieldSelector=spec.hostPort%3Dc:80"))
        .await
        .ok();
    assert_eq!(selected["items"][0]["apiVersion"], "example.com/v1");
}

#[tokio::test]
async fn m14_what_is_written_as_v2_is_stored_as_v1_and_answered_as_v2() {
    let doors = Doors::start(Does::Answers(convert)).await;
    let admin = &doors.admin;
    let made = admin
        .post(V2, door("v2", "a", json!({"host": "h", "port": "1"})))
        .await
        .ok();
    assert_eq!(
        (&made["apiVersion"], &made["spec"]),
        (&json!("example.com/v2"), &json!({"host": "h", "port": "1"}))
    );
    let stored = doors.stored("a").await;
    assert_eq!(
        (&stored["apiVersion"], &stored["spec"]),
        (&json!("example.com/v1"), &json!({"hostPort": "h:1"}))
    );
    let path = format!("{V2}/a");
    let patched = admin
        .patch(&path, "merge", json!({"spec": {"port": "2"}}))
        .await
        .ok();
    assert_eq!(patched["spec"], json!({"host": "h", "port": "2"}));
    assert_eq!(patched["metadata"]["generation"], 2);
    let mut whole = patched.clone();
    whole["spec"]["host"] = json!("g");
    admin.put(&path, whole.clone()).await.ok();
    assert_eq!(doors.stored("a").await["spec"], json!({"hostPort": "g:2"}));
    whole["metadata"]["resourceVersion"] = Value::Null;
    whole["metadata"]["resourceVersion"] = admin.get(&path).await.ok()["metadata"]["resourceVersion"].clone();
    let again = admin.put(&path, whole.clone()).await.ok();
    assert_eq!(
        again["metadata"]["resourceVersion"], whole["metadata"]["resourceVersion"],
        "nothing has changed"
    );
    let status = admin
        .patch(
            &format!("{path}/status"),
            "merge",
            json!({"status": {"open": true}}),
        )
        .await
        .ok();
    assert_eq!(
        (&status["status"], &status["spec"]["host"]),
        (&json!({"open": true}), &json!("g"))
    );
    let applied = admin
        .apply(
            &path,
            "fieldManager=m&force=true",
            door("v2", "a", json!({"port": "9"})),
        )
        .await
        .ok();
    assert_eq!(applied["spec"], json!({"host": "g", "port": "9"}));
    assert_eq!(
        admin.get(&format!("{V1}/a")).await.ok()["spec"],
        json!({"hostPort": "g:9"})
    );
    admin.delete(&path, Value::Null).await.ok();
    assert_eq!(admin.get(&format!("{V1}/a")).await.code, 404);
}

#[tokio::test]
async fn m14_watches_deliver_the_version_they_ask_for() {
    let doors = Doors::start(Does::Answers(convert)).await;
    let admin = &doors.admin;
    admin
        .post(V1, door("v1", "a", json!({"hostPort": "a:80"})))
        .await
        .ok();
    let mut watch = admin.watch(&format!("{V2}?watch=1")).await;
    let mut narrow = admin
        .watch(&format!("{V2}?watch=1&fieldSelector=spec.host%3Dx"))
        .await;
    let mut old = admin.watch(&format!("{V1}?watch=1")).await;
    admin
        .patch(&format!("{V1}/a"), "merge", json!({"spec": {"hostPort": "x:81"}}))
        .await
        .ok();
    admin.delete(&format!("{V2}/a"), Value::Null).await.ok();
    for (kind, host) in [("ADDED", "a"), ("MODIFIED", "x"), ("DELETED", "x")] {
        let event = watch.next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["spec"]["host"]),
            (&json!(kind), &json!(host)),
            "{event}"
        );
        assert_eq!(event["object"]["apiVersion"], "example.com/v2");
        let event = old.next().await.unwrap();
        assert_eq!(event["object"]["apiVersion"], "example.com/v1");
    }
    for kind in ["ADDED", "DELETED"] {
        let event = narrow.next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["spec"]["host"]),
            (&json!(kind), &json!("x"))
        );
    }
}

#[tokio::test]
async fn m14_objects_move_to_the_version_that_is_stored_now_when_they_are_written() {
    let doors = Doors::start(Does::Answers(convert)).await;
    let admin = &doors.admin;
    let made = admin
        .post(V1, door("v1", "a", json!({"hostPort": "a:80"})))
        .await
        .ok();
    doors.store_v2().await;
    let read = admin.get(&format!("{V2}/a")).await.ok();
    assert_eq!(read["spec"], json!({"host": "a", "port": "80"}));
    assert_eq!(version(&read), version(&made));
    assert_eq!(doors.stored("a").await["apiVersion"], "example.com/v1");
    // A server that starts now reads what is stored, whatever its version.
    let config = Config::new("127.0.0.1:6443".parse().unwrap());
    let other = Cluster::configured(config, doors.store.clone()).await.admin();
    assert_eq!(
        other.get(&format!("{V1}/a")).await.ok()["spec"],
        json!({"hostPort": "a:80"})
    );
    assert_eq!(
        other.get(&format!("{V2}/a")).await.ok()["spec"],
        json!({"host": "a", "port": "80"})
    );
    // A write that changes nothing else moves it.
    let moved = admin.put(&format!("{V2}/a"), read).await.ok();
    assert!(version(&moved) > version(&made));
    assert_eq!(doors.stored("a").await["apiVersion"], "example.com/v2");
    assert_eq!(
        doors.stored("a").await["spec"],
        json!({"host": "a", "port": "80"})
    );
    let before = doors.asked().len();
    admin.get(&format!("{V2}/a")).await.ok();
    assert_eq!(doors.asked().len(), before, "nothing is to be converted");
}

#[tokio::test]
async fn m14_a_webhook_that_fails_is_named_and_only_its_versions_suffer() {
    let doors = Doors::start(Does::Answers(refuse)).await;
    let admin = &doors.admin;
    admin
        .post(V1, door("v1", "a", json!({"hostPort": "a:80"})))
        .await
        .ok();
    let expected = "conversion webhook for example.com/v1, Kind=Door failed: out of paint";
    assert_eq!(admin.get(&format!("{V2}/a")).await.refused(500), expected);
    assert_eq!(admin.get(V2).await.refused(500), expected);
    let message = admin
        .post(V2, door("v2", "b", json!({"host": "h"})))
        .await
        .refused(500);
    assert_eq!(
        message,
        "conversion webhook for example.com/v2, Kind=Door failed: out of paint"
    );
    admin.get(&format!("{V1}/a")).await.ok();
    let at = admin.get(V1).await.ok()["metadata"]["resourceVersion"].clone();
    let mut watch = admin
        .watch(&format!("{V2}?watch=1&resourceVersion={}", at.as_str().unwrap()))
        .await;
    admin
        .patch(&format!("{V1}/a"), "merge", json!({"spec": {"hostPort": "b:1"}}))
        .await
        .ok();
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["message"]),
        (&json!("ERROR"), &json!(expected))
    );
    assert!(watch.next().await.is_none());

    let nobody = json!({"url": "https://127.0.0.1:1/convert"});
    admin
        .patch(
            CRD,
            "merge",
            json!({"spec": {"conversion": {"webhook": {"clientConfig": nobody}}}}),
        )
        .await
        .ok();
    let message = admin.get(&format!("{V2}/a")).await.refused(500);
    let expected = "conversion webhook for example.com/v1, Kind=Door failed: Post \"https://127.0.0.1:1/convert?timeout=30s\": ";
    assert!(message.starts_with(expected), "{message}");
}

#[tokio::test]
async fn m14_admission_webhooks_see_the_version_that_they_ask_for() {
    let doors = Doors::start(Does::Answers(convert)).await;
    let judge = WebhookServer::start(Does::Answers(|_| json!({"allowed": true}))).await;
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "judge"},
        "webhooks": [{"name": "judge.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": judge.by_url("/judge"),
            "rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v2"], "resources": ["doors"]}]}]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    doors.admin.post(path, configuration).await.ok();
    doors
        .admin
        .post(V1, door("v1", "a", json!({"hostPort": "a:80"})))
        .await
        .ok();
    let (_, request) = judge.asked().remove(0);
    assert_eq!(request["object"]["apiVersion"], "example.com/v2");
    assert_eq!(request["object"]["spec"], json!({"host": "a", "port": "80"}));
    assert_eq!(request["requestKind"]["version"], "v1");
}

/// Upstream ends the watches of a definition's objects when what it says changes: clients list them anew.
#[tokio::test]
async fn watches_end_when_their_definition_changes_and_not_when_something_is_noted_on_it() {
    let doors = Doors::start(Does::Answers(convert)).await;
    let admin = &doors.admin;
    let changes = [
        json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]),
        json!([{"op": "replace", "path": "/spec/versions/1/served", "value": true}]),
        json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
            {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]),
        json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/new",
            "value": {"type": "string"}}]),
        json!([{"op": "replace", "path": "/spec/conversion", "value": {"strategy": "None"}}]),
        json!([{"op": "add", "path": "/spec/names/shortNames", "value": ["dr"]}]),
    ];
    let from_now = async || {
        let at = admin.get(V1).await.ok()["metadata"]["resourceVersion"].clone();
        let path = format!("{V1}?watch=1&resourceVersion={}", at.as_str().unwrap());
        admin.watch(&path).await
    };
    for (number, change) in changes.into_iter().enumerate() {
        let mut watch = from_now().await;
        let note = json!({"metadata": {"labels": {"note": number.to_string()}}});
        admin.patch(CRD, "merge", note).await.ok();
        let name = format!("d{number}");
        let made = door("v1", &name, json!({"hostPort": "a:80"}));
        admin.post(V1, made).await.ok();
        assert_eq!(watch.event().await, ("ADDED".to_owned(), name));
        admin.patch(CRD, "json", change.clone()).await.ok();
        let end = tokio::time::timeout(Duration::from_secs(5), watch.next()).await;
        assert_eq!(end.expect("an end"), None, "{change}");
    }
    // The objects' own end is told first.
    let mut watch = from_now().await;
    admin.delete(CRD, Value::Null).await.ok();
    let mut deleted = 0;
    while let Some(event) = watch.next().await {
        deleted += usize::from(event["type"] == "DELETED");
    }
    assert_eq!(deleted, 6);
}

#[tokio::test]
async fn m14_a_conversion_that_cannot_work_is_refused() {
    let admin = Cluster::start().await.admin();
    let client = json!({"url": "https://h/c"});
    type Change = fn(&mut Value);
    let cases: &[(Change, &str)] = &[
        (
            |c| c["webhook"] = Value::Null,
            "[spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook, spec.conversion.conversionReviewVersions: Required value]",
        ),
        (
            |c| c["webhook"]["conversionReviewVersions"] = json!(["v9"]),
            "spec.conversion.conversionReviewVersions: Invalid value: [\"v9\"]: must include at least one of v1, v1beta1",
        ),
        (
            |c| c["webhook"]["clientConfig"] = json!({}),
            "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required",
        ),
        (
            |c| c["strategy"] = json!("None"),
            "[spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook, spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook]",
        ),
        (
            |c| c["strategy"] = json!("Magic"),
            "[spec.conversion.strategy: Unsupported value: \"Magic\": supported values: \"None\", \"Webhook\", spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook, spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook]",
        ),
    ];
    for (change, expected) in cases {
        let mut crd = definition(&client);
        change(&mut crd["spec"]["conversion"]);
        let message = admin.post(CRDS, crd).await.refused(422);
        let expected = format!(
            "CustomResourceDefinition.apiextensions.k8s.io \"doors.example.com\" is invalid: {expected}"
        );
        assert_eq!(message, expected);
    }
    let service = json!({"service": {"name": "s", "namespace": "n"}});
    let made = admin.post(CRDS, definition(&service)).await.ok();
    assert_eq!(
        made["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"],
        443
    );
}

/// What a schema no longer specifies isn't shown any more, and is again once it is specified again.
#[tokio::test]
async fn stored_fields_that_the_schema_does_not_specify_are_pruned_when_they_are_read() {
    let admin = Cluster::start().await.admin();
    let mut crd = definition(&Value::Null);
    crd["spec"]["conversion"] = json!({"strategy": "None"});
    admin.post(CRDS, crd).await.ok();
    let object = door("v2", "a", json!({"host": "h", "port": "1"}));
    admin.post(V2, object).await.ok();
    // The same fields, stored as v1: what that doesn't know is not stored.
    assert_eq!(admin.get(&format!("{V2}/a")).await.ok()["spec"], json!({}));
    admin
        .post(V1, door("v1", "b", json!({"hostPort": "h:1"})))
        .await
        .ok();
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let narrower = json!([{"op": "replace", "path": properties, "value": {"other": {"type": "string"}}},
        {"op": "remove", "path": "/spec/versions/0/selectableFields"}]);
    admin.patch(CRD, "json", narrower).await.ok();
    assert_eq!(admin.get(&format!("{V1}/b")).await.ok()["spec"], json!({}));
    assert_eq!(admin.get(V1).await.ok()["items"][1]["spec"], json!({}));
    let wider = json!([{"op": "replace", "path": properties, "value": {"hostPort": {"type": "string"}}}]);
    admin.patch(CRD, "json", wider).await.ok();
    let reply = admin.send(Method::GET, &format!("{V1}/b"), &[], "").await;
    assert_eq!(reply.ok()["spec"], json!({"hostPort": "h:1"}));
}

#[tokio::test]
async fn readers_see_the_defaults_of_the_version_that_is_stored_and_no_others() {
    let admin = Cluster::start().await.admin();
    let mut crd = definition(&Value::Null);
    crd["spec"]["conversion"] = json!({"strategy": "None"});
    let spec = |v1: &str, v2: &str| {
        let of = |default: &str| match default {
            "" => json!({"type": "string"}),
            default => json!({"type": "string", "default": default}),
        };
        [schema(json!({"color": of(v1)})), schema(json!({"color": of(v2)}))]
    };
    for (number, schema) in spec("", "red").into_iter().enumerate() {
        crd["spec"]["versions"][number]["schema"] = schema;
        crd["spec"]["versions"][number]["selectableFields"] = Value::Null;
    }
    admin.post(CRDS, crd.clone()).await.ok();
    let door = json!({"apiVersion": "example.com/v1", "kind": "Door", "metadata": {"name": "d"}, "spec": {}});
    admin.post(V1, door).await.ok();
    let mut seen = admin.get(&format!("{V2}/d")).await.ok();
    assert_eq!(seen["spec"], json!({}), "it is the default of another version");
    let list = admin.get(V2).await.ok();
    assert_eq!(list["items"][0]["spec"], json!({}));
    // What comes in gets it.
    seen["metadata"]["labels"] = json!({"a": "b"});
    let put = admin.put(&format!("{V2}/d"), seen).await.ok();
    assert_eq!(put["spec"], json!({"color": "red"}));
}
