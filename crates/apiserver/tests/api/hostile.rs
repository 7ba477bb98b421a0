//! Input that nobody sends by intention: cut, mangled, nested without end, too large. It is refused, and the server goes
//! on answering. A corpus of real bodies is mutated here; `ORLOP_FUZZ_CASES` runs more than a few hundred of them.
use crate::support::{CONFIGMAPS, Client, Cluster, configmap};
use bytes::Bytes;
use http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Where a body is sent, as what, and what it looks like when nothing is wrong with it.
fn bodies() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"x": "\u{2028}<>"}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
            "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": "web"}, "periodSeconds": 3}}],
            "volumes": [{"name": "v", "configMap": {"name": "c", "defaultMode": 420}}], "activeDeadlineSeconds": 5}});
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"renewTime": "2026-01-02T03:04:05.000006Z", "leaseDurationSeconds": 40}});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aGVsbG8="}});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"a": {"type": "array", "items": {"type": "string", "enum": ["x"]}},
                    "m": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1.5}}}}}}]}});
    let mut bodies = Vec::new();
    for (path, object) in [
        ("/api/v1/namespaces/default/pods", pod),
        ("/apis/coordination.k8s.io/v1/namespaces/default/leases", lease),
        ("/api/v1/namespaces/default/secrets", secret),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", role),
        (CRDS, crd),
    ] {
        bodies.push((path, "application/json", object.to_string().into_bytes()));
        bodies.push((
            path,
            "application/yaml",
            orlop_api::wire::to_yaml(&object).into_bytes(),
        ));
        bodies.push((
            path,
            PROTOBUF,
            orlop_api::wire::protobuf::encode(&object).unwrap(),
        ));
    }
    bodies
}

/// What happens to a body on its way.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(prop::sample::Index),
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, u8),
    /// A run of its own bytes once more.
    Repeat(prop::sample::Index, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "null",
        "-1",
        "1e999",
        "\"\\ud800\"",
        "\0",
        "&a",
        "*a",
        "!!binary",
        "---\n",
        "\t",
        "18446744073709551616",
    ]);
    prop_oneof![
        at().prop_map(Mutation::Cut),
        (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at(), token).prop_map(|(at, token)| Mutation::Insert(at, token.as_bytes().to_vec())),
        (at(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (at(), any::<u8>()).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (at(), any::<u8>()).prop_map(|(at, count)| Mutation::Repeat(at, count)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match mutation {
            Mutation::Cut(at) => bytes.truncate(at.index(length)),
            Mutation::Set(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Insert(at, inserted) => {
                let at = at.index(length);
                bytes.splice(at..at, inserted.iter().copied());
            }
            Mutation::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..(at + usize::from(*count)).min(length));
            }
            Mutation::Repeat(at, count) => {
                let at = at.index(length);
                let run = bytes[at..(at + usize::from(*count)).min(length)].to_vec();
                bytes.splice(at..at, run);
            }
        }
    }
}

/// Runs a property against one server.
fn fuzz<S: Strategy>(strategy: S, check: impl AsyncFn(&Client, S::Value) -> Result<(), TestCaseError>)
where
    S::Value: Clone + std::fmt::Debug,
{
    let cases = std::env::var("ORLOP_FUZZ_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(async {
        let admin = Cluster::start().await.admin();
        admin
            .post(
                "/api/v1/namespaces/default/serviceaccounts",
                json!({"metadata": {"name": "default"}}),
            )
            .await
            .ok();
        admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
        admin
    });
    let config = Config {
        cases: cases.unwrap_or(400),
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&strategy, |value| runtime.block_on(check(&client, value)));
    if let Err(error) = result {
        panic!("{error}");
    }
    runtime.block_on(async { client.get(&format!("{CONFIGMAPS}/c")).await.ok() });
}

/// Sends a request; what comes back must be a success or a refusal that says what was wrong with it.
async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> Result<u16, TestCaseError> {
    let headers = [("content-type", content_type)];
    let reply = client.send(method, path, &headers, Bytes::from(body)).await;
    if reply.code >= 300 {
        let status: Value = serde_json::from_str(&reply.text)
            .map_err(|error| TestCaseError::fail(format!("{error}: {}", reply.text)))?;
        prop_assert_eq!(&status["kind"], "Status", "{}", reply.text);
        prop_assert_ne!(&status["reason"], "InternalError", "{}", reply.text);
        prop_assert!(
            !status["message"].as_str().unwrap_or_default().is_empty(),
            "{}",
            reply.text
        );
    }
    Ok(reply.code)
}

#[test]
fn mangled_bodies_are_taken_or_refused() {
    let which = any::<prop::sample::Index>();
    let mutations = prop::collection::vec(mutation(), 1..4);
    let bodies = bodies();
    fuzz((which, mutations), async |client, (which, mutations)| {
        let (path, content_type, mut body) = which.get(&bodies).clone();
        mutate(&mut body, &mutations);
        let query = format!("{path}?dryRun=All&fieldValidation=Strict");
        let code = send(client, Method::POST, &query, content_type, body).await?;
        prop_assert!(
            [201, 400, 403, 409, 413, 415, 422, 500].contains(&code),
            "{}",
            code
        );
        Ok(())
    });
}

#[test]
fn mangled_patches_are_taken_or_refused() {
    let patches = [
        (
            "application/json-patch+json",
            json!([{"op": "add", "path": "/data/x", "value": "y"}, {"op": "test", "path": "/data/k", "value": "1"},
            {"op": "move", "from": "/data/k", "path": "/data/j"}, {"op": "remove", "path": "/metadata/labels"}]),
        ),
        (
            "application/merge-patch+json",
            json!({"data": {"k": null, "z": "1"}, "metadata": {"labels": {"a": "b"}, "finalizers": ["x/y"]}}),
        ),
        (
            "application/strategic-merge-patch+json",
            json!({"$patch": "merge", "data": {"$retainKeys": ["k"], "k": "2"},
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["x/y"], "$setElementOrder/finalizers": ["a"], "ownerReferences": [{"$patch": "delete", "uid": "u"}]}}),
        ),
        (
            "application/apply-patch+yaml",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "3"}}),
        ),
    ];
    let which = any::<prop::sample::Index>();
    let mutations = prop::collection::vec(mutation(), 0..4);
    fuzz((which, mutations), async |client, (which, mutations)| {
        let (content_type, patch) = which.get(&patches).clone();
        let mut body = patch.to_string().into_bytes();
        mutate(&mut body, &mutations);
        let force = if content_type.contains("apply") {
            "&force=true"
        } else {
            ""
        };
        let path = format!("{CONFIGMAPS}/c?dryRun=All&fieldManager=f{force}");
        let code = send(client, Method::PATCH, &path, content_type, body).await?;
        prop_assert!([200, 400, 409, 413, 415, 422, 500].contains(&code), "{}", code);
        Ok(())
    });
}

#[test]
fn any_patch_of_any_form_is_taken_or_refused() {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z$/~0-9]{0,6}".prop_map(Value::from)
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "data",
        "spec",
        "labels",
        "name",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "containers",
        "op",
        "path",
        "value",
        "from",
        "uid",
        "managedFields",
        "",
    ]);
    let value = leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    });
    let form = prop::sample::select(vec![
        "json-patch+json",
        "merge-patch+json",
        "strategic-merge-patch+json",
        "apply-patch+yaml",
    ]);
    fuzz((form, value), async |client, (form, patch)| {
        let path = format!("{CONFIGMAPS}/c?dryRun=All&fieldManager=f");
        let code = send(
            client,
            Method::PATCH,
            &path,
            &format!("application/{form}"),
            patch.to_string().into_bytes(),
        )
        .await?;
        prop_assert!(
            [200, 400, 409, 413, 415, 422, 500].contains(&code),
            "{} {}",
            code,
            patch
        );
        Ok(())
    });
}

#[test]
fn any_selector_and_any_token_is_taken_or_refused() {
    let parameter = prop::sample::select(vec![
        "labelSelector",
        "fieldSelector",
        "continue",
        "limit",
        "resourceVersion",
        "resourceVersionMatch",
        "timeoutSeconds",
        "watch",
        "sendInitialEvents",
        "allowWatchBookmarks",
        "pretty",
        "timeout",
        "includeObject",
        "dryRun",
        "fieldValidation",
    ]);
    let token = |rv: i64, start: String| {
        use base64::Engine;
        let token = json!({"v": "meta.k8s.io/v1", "rv": rv, "start": start}).to_string();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token)
    };
    let value = prop_oneof![
        "[a-z(),=!<> .0-9/-]{0,24}",
        ".{0,12}",
        (any::<i64>(), ".{0,8}").prop_map(move |(rv, start)| token(rv, start)),
        prop::sample::select(vec![
            "0",
            "1",
            "-1",
            "true",
            "9223372036854775808",
            "Exact",
            "NotOlderThan",
            "a in (b,c),!d,e>5",
            "metadata.name=c",
            "1s",
            "All"
        ])
        .prop_map(str::to_owned),
    ];
    let parameters = prop::collection::vec((parameter, value), 1..4);
    fuzz(parameters, async |client, parameters| {
        let query: Vec<String> = parameters
            .iter()
            .map(|(key, value)| {
                let escaped: String = value.bytes().map(|b| format!("%{b:02X}")).collect();
                format!("{key}={escaped}")
            })
            .collect();
        let path = format!("{CONFIGMAPS}?{}", query.join("&"));
        let request = http::Request::get(&path).body(Default::default()).unwrap();
        // A watch is not read to its end, and a list of the future takes its three seconds.
        let response = tokio::time::timeout(std::time::Duration::from_secs(10), client.raw(request)).await;
        let code = response
            .map_err(|_| TestCaseError::fail(path.clone()))?
            .status()
            .as_u16();
        prop_assert!(
            [200, 400, 406, 410, 422, 500, 504].contains(&code),
            "{} {}",
            code,
            path
        );
        Ok(())
    });
}

/// 10,000 levels of nesting, in every format and at every door.
#[tokio::test]
async fn nesting_without_end_is_refused_and_the_server_goes_on() {
    const LEVELS: usize = 10_000;
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let arrays = "[".repeat(LEVELS) + &"]".repeat(LEVELS);
    let objects = "{\"a\":".repeat(LEVELS) + "1" + &"}".repeat(LEVELS);
    let wrapped = |inner: &str| {
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"x"}},"data":{inner}}}"#)
    };
    for inner in [&arrays, &objects] {
        for body in [inner.clone(), wrapped(inner)] {
            for content_type in ["application/json", "application/yaml"] {
                let headers = [("content-type", content_type)];
                let reply = admin.send(Method::POST, CONFIGMAPS, &headers, body.clone()).await;
                assert_eq!(reply.code, 400, "{content_type}: {:.200}", reply.text);
            }
            for form in [
                "json-patch+json",
                "merge-patch+json",
                "strategic-merge-patch+json",
                "apply-patch+yaml",
            ] {
                let content_type = format!("application/{form}");
                let headers = [("content-type", content_type.as_str())];
                let path = format!("{CONFIGMAPS}/c?fieldManager=m");
                let reply = admin.send(Method::PATCH, &path, &headers, body.clone()).await;
                assert!([400, 422].contains(&reply.code), "{form}: {:.200}", reply.text);
            }
        }
        let reply = admin
            .send(Method::DELETE, &format!("{CONFIGMAPS}/c"), &[], inner.clone())
            .await;
        assert_eq!(reply.code, 400);
    }
    // Block style and flow style of YAML, and aliases that grow without end.
    let indented: String = (0..LEVELS / 10)
        .map(|n| format!("{}a:\n", " ".repeat(n)))
        .collect();
    let laughs: String = (0..40).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        text + &format!(
            "a{}: &a{} [*a{n},*a{n},*a{n},*a{n},*a{n},*a{n},*a{n},*a{n},*a{n}]\n",
            n + 1,
            n + 1
        )
    });
    for body in [indented, laughs] {
        let reply = admin
            .send(
                Method::POST,
                CONFIGMAPS,
                &[("content-type", "application/yaml")],
                body,
            )
            .await;
        assert_eq!(reply.code, 400, "{:.200}", reply.text);
    }
    // Schemas are the only messages that hold their own kind.
    let mut schema = Vec::new();
    for _ in 0..LEVELS {
        schema = message(28, &schema);
    }
    let version = message(7, &message(4, &message(1, &schema)));
    let crd = message(2, &version);
    let body =
        orlop_api::wire::protobuf::envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd);
    let reply = admin
        .send(Method::POST, CRDS, &[("content-type", PROTOBUF)], body)
        .await;
    assert!(reply.refused(400).contains("nested too deep"));
    admin.get(&format!("{CONFIGMAPS}/c")).await.ok();
}

/// A message of one field.
fn message(number: u64, content: &[u8]) -> Vec<u8> {
    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    let mut out = Vec::with_capacity(content.len() + 8);
    varint(&mut out, number << 3 | 2);
    varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

/// §19: what the store would not take is told, in each of the formats.
#[tokio::test]
async fn objects_over_one_and_a_half_megabytes_are_refused() {
    let admin = Cluster::start().await.admin();
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    admin.post(CRDS, crd).await.ok();
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = |bytes: usize| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "x": "y".repeat(bytes)});
    let reply = admin.post(widgets, widget(1_600_000)).await;
    assert_eq!(
        (reply.code, reply.json()["kind"].as_str()),
        (500, Some("Status")),
        "{:.200}",
        reply.text
    );
    assert!(
        reply.json()["message"]
            .as_str()
            .unwrap()
            .contains("request is too large"),
        "{:.300}",
        reply.text
    );
    assert_eq!(admin.get(&format!("{widgets}/w")).await.code, 404);
    admin.post(widgets, widget(1_000_000)).await.ok();
    let patch = json!({"z": "y".repeat(700_000)});
    let reply = admin.patch(&format!("{widgets}/w"), "merge", patch).await;
    assert!(
        reply.json()["message"]
            .as_str()
            .unwrap()
            .contains("request is too large"),
        "{:.300}",
        reply.text
    );
    // Above the limit of bodies, before anything is read of it.
    let reply = admin.post(widgets, widget(3_200_000)).await;
    assert_eq!(reply.refused(413), "Request entity too large: limit is 3145728");
}

/// §9.2 and §20: what patches may not ask for, in upstream's words; nothing of the object is lost.
#[tokio::test]
async fn patches_that_are_too_large_or_make_too_much_are_refused() {
    let admin = Cluster::start().await.admin();
    let made = admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let many = |count: usize| {
        Value::Array(vec![
            json!({"op": "test", "path": "/data/k", "value": "1"});
            count
        ])
    };
    assert_eq!(
        admin.patch(&path, "json", many(10_001)).await.refused(413),
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
    admin.patch(&path, "json", many(10_000)).await.ok();
    // Each copy doubles the object: twenty are a terabyte.
    let bomb: Vec<Value> = (0..40)
        .map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/d{n}")}))
        .collect();
    let rejected = "the server rejected our request due to an error in our request";
    let reply = admin.patch(&path, "json", json!(bomb)).await;
    assert_eq!(reply.json()["reason"], "Invalid");
    assert_eq!(reply.refused(422), rejected);
    let huge = json!({"data": {"k": "x".repeat(3_200_000)}});
    for form in ["json", "merge", "strategic-merge"] {
        assert_eq!(
            admin.patch(&path, form, huge.clone()).await.refused(413),
            "Request entity too large: limit is 3145728",
            "{form}"
        );
    }
    let reply = admin.apply(&path, "fieldManager=m", huge).await;
    assert_eq!(reply.refused(413), "Request entity too large: limit is 3145728");
    // Small enough to be read, and of more than an object may have.
    let large = json!({"data": {"l": "x".repeat(1_100_000)}});
    let message = admin.patch(&path, "merge", large).await.refused(422);
    assert!(
        message.contains("Too long: may not be more than 1048576 bytes"),
        "{message}"
    );
    let annotations: Value = (0..300)
        .map(|n| (format!("a{n}"), Value::from("x".repeat(1000))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let message = admin
        .patch(&path, "merge", json!({"metadata": {"annotations": annotations}}))
        .await
        .refused(422);
    assert!(
        message.contains("metadata.annotations: Too long: may not be more than 262144 bytes"),
        "{message}"
    );
    assert_eq!(admin.get(&path).await.ok(), made);
}

/// Selectors of many requirements are answered; those that are none are refused with the parser's words.
#[tokio::test]
async fn huge_selectors_are_answered_or_refused_in_time() {
    let admin = Cluster::start().await.admin();
    for n in 0..200 {
        admin
            .post(CONFIGMAPS, configmap(&format!("c{n}"), "1"))
            .await
            .ok();
    }
    let began = std::time::Instant::now();
    let many: Vec<String> = (0..5_000).map(|n| format!("!l{n}")).collect();
    let list = admin
        .get(&format!("{CONFIGMAPS}?labelSelector={}", many.join(",")))
        .await
        .ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 200);
    let values: Vec<String> = (0..8_000).map(|n| format!("v{n}")).collect();
    let path = format!("{CONFIGMAPS}?labelSelector=l%20notin%20({})", values.join(","));
    assert_eq!(
        admin.get(&path).await.ok()["items"].as_array().unwrap().len(),
        200
    );
    let fields: Vec<String> = (0..2_500).map(|n| format!("metadata.name!=x{n}")).collect();
    let path = format!("{CONFIGMAPS}?fieldSelector={}", fields.join(","));
    assert_eq!(
        admin.get(&path).await.ok()["items"].as_array().unwrap().len(),
        200
    );
    for bad in [
        "(".repeat(30_000),
        "a in (".to_owned() + &"b,".repeat(25_000),
        "x".repeat(50_000),
    ] {
        let bad = bad.replace(' ', "%20");
        let reply = admin.get(&format!("{CONFIGMAPS}?labelSelector={bad}")).await;
        assert_eq!(reply.code, 400, "{:.200}", reply.text);
        assert_eq!(reply.json()["reason"], "BadRequest");
        assert_ne!(reply.json()["message"], "");
    }
    let mut watch = admin
        .watch(&format!("{CONFIGMAPS}?watch=1&labelSelector={}", many.join(",")))
        .await;
    assert_eq!(watch.event().await.0, "ADDED");
    assert!(
        began.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}
