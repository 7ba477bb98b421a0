//! "FieldValidation" of upstream's suite, and warnings.
use crate::support::{Client, Cluster, PODS, Reply};
use http::Method;
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GADGETS: &str = "/apis/example.com/v1/namespaces/default/gadgets";

/// A Deployment with an unknown field, an unknown field in its metadata, and fields that are there twice.
const DOUBTFUL: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment",
"metadata":{"name":"NAME","unknownMeta":"a","labels":{"app":"nginx"}},
"spec":{"unknown1":"val1","paused":true,"paused":false,"replicas":0,"selector":{"matchLabels":{"app":"nginx"}},
"template":{"metadata":{"labels":{"app":"nginx"}},"spec":{"containers":[
{"name":"nginx","image":"nginx:latest","unknownNested":"v","imagePullPolicy":"Always","imagePullPolicy":"Never"}]}}}}"#;

async fn post(admin: &Client, path: &str, content_type: &str, body: &str) -> Reply {
    let headers = [("content-type", content_type)];
    admin.send(Method::POST, path, &headers, body.to_owned()).await
}

/// The findings in any order.
fn texts(message: &str, prefix: &str) -> Vec<String> {
    let rest = message
        .strip_prefix(prefix)
        .unwrap_or_else(|| panic!("{message}"));
    let mut texts: Vec<String> = rest.split(", ").map(str::to_owned).collect();
    texts.sort();
    texts
}

const FINDINGS: [&str; 5] = [
    r#"duplicate field "spec.paused""#,
    r#"duplicate field "spec.template.spec.containers[0].imagePullPolicy""#,
    r#"unknown field "metadata.unknownMeta""#,
    r#"unknown field "spec.template.spec.containers[0].unknownNested""#,
    r#"unknown field "spec.unknown1""#,
];

/// "should detect unknown and duplicate fields of a typed object", "should detect unknown metadata fields of a typed
/// object"
#[tokio::test]
async fn v01_unknown_and_duplicate_fields_of_a_typed_object_are_told_in_every_way() {
    let admin = Cluster::start().await.admin();
    let strict = format!("{DEPLOYMENTS}?fieldValidation=Strict");
    let body = DOUBTFUL.replace("NAME", "a");
    let message = post(&admin, &strict, "application/json", &body)
        .await
        .refused(400);
    let prefix = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: ";
    assert_eq!(texts(&message, prefix), FINDINGS);
    let in_order =
        r#"unknown field "spec.unknown1", duplicate field "spec.paused", unknown field "spec.template"#;
    assert!(message.contains(in_order), "{message}");
    assert_eq!(admin.get(&format!("{DEPLOYMENTS}/a")).await.code, 404);
    let reply = post(&admin, DEPLOYMENTS, "application/json", &body).await;
    let mut warnings: Vec<String> = reply
        .warnings()
        .iter()
        .map(|w| {
            let quoted = w
                .strip_prefix("299 - \"")
                .and_then(|w| w.strip_suffix('"'))
                .unwrap();
            quoted.replace("\\\"", "\"")
        })
        .collect();
    warnings.sort();
    assert_eq!(warnings, FINDINGS);
    let made = reply.ok();
    assert_eq!(made["spec"].get("paused"), None, "the last value counts");
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Never");
    assert_eq!(container.get("unknownNested"), None);
    let ignore = format!("{DEPLOYMENTS}?fieldValidation=Ignore");
    let reply = post(
        &admin,
        &ignore,
        "application/json",
        &DOUBTFUL.replace("NAME", "b"),
    )
    .await;
    assert_eq!((reply.code, reply.warnings().len()), (201, 0));
}

/// The same through PUT, and through each of the patches.
#[tokio::test]
async fn v01_updates_and_patches_are_as_strict_as_creates() {
    let admin = Cluster::start().await.admin();
    post(
        &admin,
        &format!("{DEPLOYMENTS}?fieldValidation=Ignore"),
        "application/json",
        &DOUBTFUL.replace("NAME", "a"),
    )
    .await
    .ok();
    let path = format!("{DEPLOYMENTS}/a?fieldValidation=Strict");
    let headers = [("content-type", "application/json")];
    let put = admin
        .send(Method::PUT, &path, &headers, DOUBTFUL.replace("NAME", "a"))
        .await;
    assert!(put.refused(400).contains(FINDINGS[0]));
    for (kind, body) in [
        ("merge", r#"{"spec":{"foo":"bar","paused":true,"paused":false}}"#),
        (
            "strategic-merge",
            r#"{"spec":{"foo":"bar","paused":true,"paused":false}}"#,
        ),
    ] {
        let content_type = format!("application/{kind}-patch+json");
        let headers = [("content-type", content_type.as_str())];
        let message = admin
            .send(Method::PATCH, &path, &headers, body)
            .await
            .refused(422);
        for finding in [r#"unknown field "spec.foo""#, r#"duplicate field "spec.paused""#] {
            assert!(
                message.contains("strict decoding error") && message.contains(finding),
                "{kind}: {message}"
            );
        }
        let warn = path.replace("Strict", "Warn");
        let reply = admin.send(Method::PATCH, &warn, &headers, body).await;
        assert_eq!(reply.warnings().len(), 2, "{kind}: {:?}", reply.warnings());
        assert_eq!(reply.code, 200);
    }
    let json_patch = r#"[{"op":"add","path":"/spec/foo","value":"bar","bogus":1}]"#;
    let headers = [("content-type", "application/json-patch+json")];
    let message = admin
        .send(Method::PATCH, &path, &headers, json_patch)
        .await
        .refused(422);
    assert!(
        message.contains(r#"json patch unknown field "[0].bogus""#),
        "{message}"
    );
    assert!(message.contains(r#"unknown field "spec.foo""#), "{message}");
}

/// YAML: what is there twice is told by its line.
#[tokio::test]
async fn v01_duplicate_keys_in_yaml_are_told_with_their_line() {
    let admin = Cluster::start().await.admin();
    let body = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n  labels:\n    app: nginx\nspec:\n  unknown1: v\n  replicas: 0\n  paused: true\n  paused: false\n  selector:\n    matchLabels:\n      app: nginx\n  template:\n    metadata:\n      labels:\n        app: nginx\n    spec:\n      containers:\n      - name: nginx\n        image: nginx:1\n";
    let strict = format!("{DEPLOYMENTS}?fieldValidation=Strict");
    let message = post(&admin, &strict, "application/yaml", body).await.refused(400);
    for finding in [
        "strict decoding error: ",
        r#"line 11: key "paused" already set in map"#,
        r#"unknown field "spec.unknown1""#,
    ] {
        assert!(message.contains(finding), "{message}");
    }
    let reply = post(&admin, DEPLOYMENTS, "application/yaml", body).await;
    assert_eq!(reply.warnings().len(), 2, "{:?}", reply.warnings());
    assert_eq!(reply.code, 201);
}

fn gadgets(schema: Value) -> Value {
    json!({"metadata": {"name": "gadgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "gadgets", "kind": "Gadget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

/// "should create/apply a CR with unknown fields for CRD with no validation schema", "should detect duplicates in a CR
/// when preserving unknown fields"
#[tokio::test]
async fn v04_a_cr_that_keeps_unknown_fields_is_refused_for_duplicates_only() {
    let admin = Cluster::start().await.admin();
    admin
        .post(
            CRDS,
            gadgets(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        )
        .await
        .ok();
    let strict = format!("{GADGETS}?fieldValidation=Strict");
    let unknown = r#"{"apiVersion":"example.com/v1","kind":"Gadget","metadata":{"name":"a"},"foo":"bar","spec":{"x":1}}"#;
    let made = post(&admin, &strict, "application/json", unknown).await.ok();
    assert_eq!(made["foo"], "bar");
    let twice = r#"{"apiVersion":"example.com/v1","kind":"Gadget","metadata":{"name":"b"},"spec":{"foo":"a","foo":"b"}}"#;
    let message = post(&admin, &strict, "application/json", twice)
        .await
        .refused(400);
    assert!(
        message.contains(r#"strict decoding error: duplicate field "spec.foo""#),
        "{message}"
    );
    let applied =
        "apiVersion: example.com/v1\nkind: Gadget\nmetadata:\n  name: c\nspec:\n  foo: a\n  foo: b\n";
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{GADGETS}/c?fieldManager=m&fieldValidation=Strict");
    let reply = admin.send(Method::PATCH, &path, &headers, applied).await;
    assert_eq!(reply.code, 400, "{}", reply.text);
    assert!(
        reply.text.contains(r#"line 7: key \"foo\" already set in map"#),
        "{}",
        reply.text
    );
    let path = format!("{GADGETS}/c?fieldManager=m&fieldValidation=Strict");
    let fine = "apiVersion: example.com/v1\nkind: Gadget\nmetadata:\n  name: c\nspec:\n  foo: b\n";
    let reply = admin.send(Method::PATCH, &path, &headers, fine).await;
    assert_eq!(reply.ok()["spec"]["foo"], "b");
}

/// "should create/apply an invalid CR with extra properties for CRD with validation schema"
#[tokio::test]
async fn v04_unknown_fields_of_a_cr_with_a_schema_are_refused_by_strict_and_pruned_otherwise() {
    let admin = Cluster::start().await.admin();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"known": {"type": "string"}}}}});
    admin.post(CRDS, gadgets(schema)).await.ok();
    let body = r#"{"apiVersion":"example.com/v1","kind":"Gadget","metadata":{"name":"a"},"spec":{"known":"k","extra":1}}"#;
    let strict = format!("{GADGETS}?fieldValidation=Strict");
    let message = post(&admin, &strict, "application/json", body).await.refused(400);
    assert_eq!(
        message,
        "Gadget in version \"v1\" cannot be handled as a Gadget: strict decoding error: unknown field \"spec.extra\""
    );
    let reply = post(&admin, GADGETS, "application/json", body).await;
    assert_eq!(reply.warnings(), [r#"299 - "unknown field \"spec.extra\"""#]);
    assert_eq!(reply.ok()["spec"], json!({"known": "k"}));
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{GADGETS}/b?fieldManager=m&fieldValidation=Strict");
    let reply = admin
        .send(Method::PATCH, &path, &headers, body.replace("\"a\"", "\"b\""))
        .await;
    assert!(
        reply.code >= 400 && reply.text.contains(".spec.extra: field not declared in schema"),
        "{} {}",
        reply.code,
        reply.text
    );
}

#[tokio::test]
async fn v03_only_the_exact_words_choose_a_validation() {
    let admin = Cluster::start().await.admin();
    for wrong in ["strict", "STRICT", "Bogus"] {
        let message = admin
            .post(
                &format!("{PODS}?fieldValidation={wrong}"),
                crate::support::pod("p"),
            )
            .await
            .refused(422);
        assert!(
            message.ends_with(&format!(
                "fieldValidation: Unsupported value: \"{wrong}\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
            )),
            "{message}"
        );
    }
}

/// V06 and its neighbours: what is accepted although it is probably not meant.
#[tokio::test]
async fn v06_duplicate_env_names_and_other_doubtful_things_of_a_pod_warn() {
    let admin = Cluster::start().await.admin();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}, "containers": [
        {"name": "c", "image": "i:1", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
            "ports": [{"containerPort": 80}, {"containerPort": 80}], "resources": {"requests": {"memory": "0.5"}}}]}});
    let reply = admin.post(PODS, pod).await;
    let warnings = reply.warnings();
    reply.ok();
    for expected in [
        r#"spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply"#,
        r#"spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"#,
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
        r#"spec.containers[0].resources.requests[memory]: fractional byte value \"500m\" is invalid, must be an integer"#,
    ] {
        assert!(
            warnings.iter().any(|w| w.contains(expected)),
            "{expected} is not among {warnings:#?}"
        );
    }
    let template = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1",
            "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]}}}});
    let reply = admin.post(DEPLOYMENTS, template).await;
    assert_eq!(
        reply.warnings(),
        [
            r#"299 - "spec.template.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply""#
        ]
    );
    let deprecated = json!({"metadata": {"name": "e"}, "subsets": []});
    let reply = admin
        .post("/api/v1/namespaces/default/endpoints", deprecated)
        .await;
    assert_eq!(
        reply.warnings(),
        [r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#]
    );
}
