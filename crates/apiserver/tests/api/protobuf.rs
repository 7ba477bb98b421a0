//! Answers in protobuf, as upstream's own components ask for them: T06, T08.
use crate::support::{CONFIGMAPS, Client, Cluster, PODS, configmap, pod, version};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use orlop_api::wire::protobuf;
use orlop_apiserver::{Body, UserInfo};
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const EITHER: &str = "application/vnd.kubernetes.protobuf,application/json";

/// Code, Content-Type and bytes of an answer.
async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    accept: &str,
    body: Vec<u8>,
) -> (u16, String, Vec<u8>) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("accept", accept)
        .header("content-type", PROTOBUF)
        .body(Full::new(body.into()))
        .unwrap();
    let response = client.raw(request).await;
    let code = response.status().as_u16();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let announced = http_body::Body::size_hint(response.body()).exact();
    let bytes = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    if let Some(announced) = announced {
        assert_eq!(announced, bytes.len() as u64, "{path}");
    }
    (code, content_type, bytes)
}

async fn get(client: &Client, path: &str, accept: &str) -> (u16, String, Vec<u8>) {
    ask(client, Method::GET, path, accept, Vec::new()).await
}

/// The parts of a message: numbers and contents of its length-delimited fields.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        match tag & 7 {
            0 => {
                varint(&mut bytes);
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                found.push((tag >> 3, content.to_vec()));
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

fn field(bytes: &[u8], number: u64) -> Vec<u8> {
    let found = fields(bytes).into_iter().find(|(n, _)| *n == number);
    found.unwrap_or_else(|| panic!("no field {number}")).1
}

/// Kind and message of an envelope.
fn opened(bytes: &[u8]) -> (String, Vec<u8>) {
    let envelope = bytes.strip_prefix(protobuf::MAGIC.as_slice()).unwrap();
    let kind = field(&field(envelope, 1), 2);
    (String::from_utf8(kind).unwrap(), field(envelope, 2))
}

/// The items of a list, as objects of that kind.
fn items(list: &[u8], api_version: &str, kind: &str) -> Vec<Value> {
    let messages = fields(list).into_iter().filter(|(number, _)| *number == 2);
    messages
        .map(|(_, item)| protobuf::decode(&protobuf::envelope(api_version, kind, &item)).unwrap())
        .collect()
}

#[tokio::test]
async fn t08_objects_are_answered_in_the_form_the_client_asked_for() {
    let admin = Cluster::start().await.admin();
    let body = protobuf::encode(&configmap("c", "1")).unwrap();
    let (code, content_type, created) = ask(&admin, Method::POST, CONFIGMAPS, EITHER, body).await;
    assert_eq!((code, content_type.as_str()), (201, PROTOBUF));
    let path = format!("{CONFIGMAPS}/c");
    let (code, content_type, read) = get(&admin, &path, PROTOBUF).await;
    assert_eq!((code, content_type.as_str()), (200, PROTOBUF));
    assert_eq!(created, read);
    let mut object = protobuf::decode(&read).unwrap();
    assert_eq!(
        (&object["kind"], &object["data"]["k"]),
        (&json!("ConfigMap"), &json!("1"))
    );
    // What was read can be sent back.
    object["data"]["k"] = json!("2");
    let body = protobuf::encode(&object).unwrap();
    let (code, _, changed) = ask(&admin, Method::PUT, &path, EITHER, body).await;
    assert_eq!(code, 200);
    assert!(version(&protobuf::decode(&changed).unwrap()) > version(&object));
    // JSON for those who would rather have it, and for those who don't say.
    for accept in ["application/json,application/vnd.kubernetes.protobuf", "*/*"] {
        assert_eq!(get(&admin, &path, accept).await.1, "application/json");
    }
}

#[tokio::test]
async fn t08_a_pod_is_the_same_in_both_forms() {
    let admin = Cluster::start().await.admin();
    admin
        .post(
            "/api/v1/namespaces/default/serviceaccounts",
            json!({"metadata": {"name": "default"}}),
        )
        .await
        .ok();
    let json = admin.post(PODS, pod("p")).await.ok();
    let (_, _, read) = get(&admin, &format!("{PODS}/p"), PROTOBUF).await;
    let decoded = orlop_api::wire::normalize("v1", "Pod", protobuf::decode(&read).unwrap()).unwrap();
    assert_eq!(decoded, orlop_api::wire::normalize("v1", "Pod", json).unwrap());
}

#[tokio::test]
async fn t08_lists_are_typed_and_as_long_as_announced() {
    let admin = Cluster::start().await.admin();
    // More than a list keeps encoded, so that both of its ways are gone.
    let text = "x".repeat(150_000);
    for n in 0..12 {
        admin
            .post(CONFIGMAPS, configmap(&format!("c{n:02}"), &text))
            .await
            .ok();
    }
    for _ in 0..2 {
        let (code, content_type, bytes) = get(&admin, CONFIGMAPS, EITHER).await;
        assert_eq!((code, content_type.as_str()), (200, PROTOBUF));
        let (kind, list) = opened(&bytes);
        assert_eq!(kind, "ConfigMapList");
        let items = items(&list, "v1", "ConfigMap");
        assert_eq!(items.len(), 12);
        for (n, item) in items.iter().enumerate() {
            assert_eq!(item["metadata"]["name"], format!("c{n:02}"));
            assert_eq!(item["data"]["k"], text);
        }
    }
    // One page of it: version and token are the list's metadata.
    let (_, _, bytes) = get(&admin, &format!("{CONFIGMAPS}?limit=2"), PROTOBUF).await;
    let list = opened(&bytes).1;
    let metadata = field(&list, 1);
    let json = admin.get(&format!("{CONFIGMAPS}?limit=2")).await.ok();
    let text = |number| String::from_utf8(field(&metadata, number)).unwrap();
    assert_eq!(json["metadata"]["resourceVersion"], text(2));
    assert_eq!(json["metadata"]["continue"], text(3));
    assert_eq!(items(&list, "v1", "ConfigMap").len(), 2);
    // An empty one.
    let (_, _, bytes) = get(&admin, "/api/v1/namespaces/none/configmaps", PROTOBUF).await;
    assert!(items(&opened(&bytes).1, "v1", "ConfigMap").is_empty());
}

#[tokio::test]
async fn t08_events_of_the_other_group_are_lists_of_their_own_kind() {
    let admin = Cluster::start().await.admin();
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Tested", "message": "hello", "type": "Normal"});
    admin.post("/api/v1/namespaces/default/events", event).await.ok();
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    for _ in 0..2 {
        let (kind, list) = opened(&get(&admin, path, PROTOBUF).await.2);
        assert_eq!(kind, "EventList");
        assert_eq!(items(&list, "events.k8s.io/v1", "Event")[0]["note"], "hello");
    }
    let one = protobuf::decode(&get(&admin, &format!("{path}/e"), PROTOBUF).await.2).unwrap();
    assert_eq!(
        (&one["apiVersion"], &one["note"]),
        (&json!("events.k8s.io/v1"), &json!("hello"))
    );
}

#[tokio::test]
async fn t08_refusals_are_statuses_in_protobuf() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let status = |bytes: &[u8]| protobuf::decode(bytes).unwrap();
    let (code, content_type, bytes) = get(&admin, &format!("{CONFIGMAPS}/none"), EITHER).await;
    assert_eq!((code, content_type.as_str()), (404, PROTOBUF));
    let refusal = status(&bytes);
    assert_eq!(
        (&refusal["kind"], &refusal["reason"]),
        (&json!("Status"), &json!("NotFound"))
    );
    assert_eq!(refusal["code"], 404);
    assert_eq!(refusal["details"]["name"], "none");
    let alice = cluster.user(UserInfo::new("alice", ["devs"]));
    let (code, _, bytes) = get(&alice, CONFIGMAPS, EITHER).await;
    assert_eq!((code, &status(&bytes)["reason"]), (403, &json!("Forbidden")));
    let (code, _, bytes) = get(&admin, "/api/v1/nope", EITHER).await;
    assert_eq!((code, &status(&bytes)["code"]), (404, &json!(404)));
    let (code, _, bytes) = get(&admin, &format!("{CONFIGMAPS}?limit=x"), EITHER).await;
    assert_eq!((code, &status(&bytes)["reason"]), (400, &json!("BadRequest")));
    // A deletion's success as well.
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    let body = protobuf::encode(&options).unwrap();
    let (code, _, bytes) = ask(&admin, Method::DELETE, &format!("{CONFIGMAPS}/c"), EITHER, body).await;
    assert_eq!((code, &status(&bytes)["status"]), (200, &json!("Success")));
}

/// §7.4: options in a body count, in protobuf as well.
#[tokio::test]
async fn delete_options_are_read_from_protobuf() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let delete = async |options: Value| {
        let body = protobuf::encode(&options).unwrap();
        ask(&admin, Method::DELETE, &path, EITHER, body).await.0
    };
    let kind = |rest: Value| {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        options
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        options
    };
    assert_eq!(
        delete(kind(json!({"preconditions": {"uid": "other"}}))).await,
        409
    );
    assert_eq!(delete(kind(json!({"dryRun": ["All"]}))).await, 200);
    admin.get(&path).await.ok();
    let wrong = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}});
    assert_eq!(delete(wrong).await, 400);
    assert_eq!(delete(kind(json!({"gracePeriodSeconds": 0}))).await, 200);
    assert_eq!(admin.get(&path).await.code, 404);
}

struct Events {
    body: Body,
    buffer: Vec<u8>,
}

impl Events {
    async fn open(client: &Client, path: &str, accept: &str) -> (String, Self) {
        let request = Request::get(path).header("accept", accept);
        let response = client.raw(request.body(Full::default()).unwrap()).await;
        assert_eq!(response.status(), 200);
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        let events = Self {
            body: response.into_body(),
            buffer: Vec::new(),
        };
        (content_type, events)
    }

    /// Type and object of the next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((length, rest)) = self.buffer.split_at_checked(4) {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if let Some((event, rest)) = rest.split_at_checked(length) {
                    let kind = String::from_utf8(field(event, 1)).unwrap();
                    let object = protobuf::decode(&field(&field(event, 2), 1)).unwrap();
                    self.buffer = rest.to_vec();
                    return Some((kind, object));
                }
            }
            let frame = tokio::time::timeout(std::time::Duration::from_secs(5), self.body.frame());
            let frame = frame.await.expect("an event within 5 s")?.unwrap();
            self.buffer.extend_from_slice(frame.data_ref().unwrap());
        }
    }
}

#[tokio::test]
async fn watches_are_streams_of_frames() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("a", "1")).await.ok();
    let path = format!(
        "{CONFIGMAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let (content_type, mut first) = Events::open(&admin, &path, EITHER).await;
    assert_eq!(content_type, "application/vnd.kubernetes.protobuf;stream=watch");
    // Two watchers, so that one gets what the other had encoded.
    let (_, mut second) =
        Events::open(&admin, &path, "application/vnd.kubernetes.protobuf;stream=watch").await;
    for events in [&mut first, &mut second] {
        let (kind, object) = events.next().await.unwrap();
        assert_eq!(
            (kind.as_str(), &object["metadata"]["name"]),
            ("ADDED", &json!("a"))
        );
        let (kind, object) = events.next().await.unwrap();
        assert_eq!(
            (kind.as_str(), &object["kind"]),
            ("BOOKMARK", &json!("ConfigMap"))
        );
        assert_eq!(
            object["metadata"]["annotations"]["k8s.io/initial-events-end"],
            "true"
        );
    }
    admin
        .put(&format!("{CONFIGMAPS}/a"), configmap("a", "2"))
        .await
        .ok();
    admin.delete(&format!("{CONFIGMAPS}/a"), Value::Null).await.ok();
    let mut versions = Vec::new();
    for events in [&mut first, &mut second] {
        let (kind, object) = events.next().await.unwrap();
        assert_eq!((kind.as_str(), &object["data"]["k"]), ("MODIFIED", &json!("2")));
        let (kind, deleted) = events.next().await.unwrap();
        assert_eq!((kind.as_str(), &deleted["data"]["k"]), ("DELETED", &json!("2")));
        assert!(version(&deleted) > version(&object));
        versions.push((version(&object), version(&deleted)));
    }
    assert_eq!(versions[0], versions[1]);
}

/// What leaves a selection is shown as it last was, at the version of the change; others see the change itself.
#[tokio::test]
async fn a_departure_is_not_what_other_watchers_see() {
    let admin = Cluster::start().await.admin();
    let mut labelled = configmap("c", "1");
    labelled["metadata"]["labels"] = json!({"app": "x"});
    admin.post(CONFIGMAPS, labelled).await.ok();
    let selected = format!("{CONFIGMAPS}?watch=true&labelSelector=app%3Dx");
    let (_, mut selected) = Events::open(&admin, &selected, PROTOBUF).await;
    let (_, mut all) = Events::open(&admin, &format!("{CONFIGMAPS}?watch=true"), PROTOBUF).await;
    selected.next().await.unwrap();
    all.next().await.unwrap();
    let patch = json!({"metadata": {"labels": {"app": null}}});
    admin.patch(&format!("{CONFIGMAPS}/c"), "merge", patch).await.ok();
    let (kind, gone) = selected.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), &gone["metadata"]["labels"]["app"]),
        ("DELETED", &json!("x"))
    );
    let (kind, changed) = all.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), &changed["metadata"]["labels"]),
        ("MODIFIED", &Value::Null)
    );
    assert_eq!(version(&gone), version(&changed));
}

/// W12
#[tokio::test]
async fn w12_errors_in_a_stream_are_events() {
    let admin = Cluster::start_in_a_hurry().await.admin();
    let path = format!(
        "{CONFIGMAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=99999"
    );
    let (_, mut events) = Events::open(&admin, &path, PROTOBUF).await;
    let (kind, status) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), &status["code"]), ("ERROR", &json!(504)));
    assert_eq!(events.next().await, None);
}

/// B07: what metadata informers and garbage collectors ask for.
#[tokio::test]
async fn b07_metadata_alone_in_protobuf() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let one =
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
    let many = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
    let (_, content_type, bytes) = get(&admin, &format!("{CONFIGMAPS}/c"), one).await;
    assert_eq!(content_type, PROTOBUF);
    let object = protobuf::decode(&bytes).unwrap();
    assert_eq!(
        (&object["kind"], &object["data"]),
        (&json!("PartialObjectMetadata"), &Value::Null)
    );
    assert_eq!(object["metadata"]["name"], "c");
    let (kind, list) = opened(&get(&admin, CONFIGMAPS, many).await.2);
    assert_eq!(kind, "PartialObjectMetadataList");
    let item = &items(&list, "meta.k8s.io/v1", "PartialObjectMetadata")[0];
    assert_eq!(item["metadata"]["name"], "c");
    assert!(get(&admin, CONFIGMAPS, one).await.0 == 406);
    let (_, mut events) = Events::open(&admin, &format!("{CONFIGMAPS}?watch=true"), one).await;
    let (kind, object) = events.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), &object["kind"]),
        ("ADDED", &json!("PartialObjectMetadata"))
    );
}

/// §2.1: custom resources have no protobuf form, their metadata has.
#[tokio::test]
async fn custom_resources_are_json_and_their_metadata_either() {
    let admin = Cluster::start().await.admin();
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"size": {"type": "integer", "minimum": 0, "maximum": 1.5e2, "default": 7},
                    "any": {"x-kubernetes-preserve-unknown-fields": true, "type": "object"},
                    "map": {"type": "object", "additionalProperties": {"type": "string"}},
                    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true}}}}}]}});
    let (code, content_type, bytes) = ask(
        &admin,
        Method::POST,
        crds,
        EITHER,
        protobuf::encode(&crd).unwrap(),
    )
    .await;
    assert_eq!(
        (code, content_type.as_str()),
        (201, PROTOBUF),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    let created = orlop_api::wire::normalize(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        protobuf::decode(&bytes).unwrap(),
    )
    .unwrap();
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties";
    let mut expected = crd.pointer(schema).unwrap().clone();
    expected["size"]["maximum"] = json!(150);
    assert_eq!(created.pointer(schema), Some(&expected));
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    assert_eq!(admin.post(widgets, widget).await.ok()["size"], 7);
    let path = format!("{widgets}/w");
    assert_eq!(get(&admin, &path, EITHER).await.1, "application/json");
    for path in [&path, widgets] {
        let (code, content_type, _) = get(&admin, path, PROTOBUF).await;
        assert_eq!((code, content_type.as_str()), (406, "application/json"));
    }
    let (code, ..) = ask(
        &admin,
        Method::POST,
        widgets,
        EITHER,
        protobuf::encode(&configmap("c", "1")).unwrap(),
    )
    .await;
    assert_eq!(code, 415);
    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let (_, content_type, bytes) = get(&admin, &path, metadata).await;
    assert_eq!(content_type, PROTOBUF);
    assert_eq!(protobuf::decode(&bytes).unwrap()["metadata"]["name"], "w");
    let (content_type, _) = Events::open(&admin, &format!("{widgets}?watch=true"), EITHER).await;
    assert_eq!(content_type, "application/json");
}

#[tokio::test]
async fn discovery_in_protobuf() {
    let admin = Cluster::start().await.admin();
    for (path, kind) in [
        ("/api", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/apis/apps", "APIGroup"),
        ("/api/v1", "APIResourceList"),
        ("/apis/apps/v1", "APIResourceList"),
    ] {
        let (_, content_type, bytes) = get(&admin, path, EITHER).await;
        assert_eq!(content_type, PROTOBUF, "{path}");
        let decoded = protobuf::decode(&bytes).unwrap();
        assert_eq!(decoded["kind"], kind, "{path}");
        let decoded = orlop_api::wire::normalize("v1", kind, decoded).unwrap();
        let mut json = admin.get(path).await.ok();
        json["apiVersion"] = json!("v1");
        assert_eq!(
            decoded,
            orlop_api::wire::normalize("v1", kind, json).unwrap(),
            "{path}"
        );
    }
    assert_eq!(get(&admin, "/version", EITHER).await.1, "application/json");
}
