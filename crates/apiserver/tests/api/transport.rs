//! Paths, formats, discovery, who may: cases T, D, S.
use crate::served::Served;
use crate::support::{CONFIGMAPS, Cluster, PODS, TestStore, configmap};
use http::Method;
use orlop_apiserver::{Cors, RequestTimes, UserInfo};
use orlop_store::embedded::EmbeddedStore;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn t01_t02_t04_health_and_version_need_nobody() {
    let nobody = Cluster::start().await.user(UserInfo::anonymous());
    for path in ["/livez", "/readyz", "/healthz"] {
        let reply = nobody.get(path).await;
        assert_eq!((reply.code, reply.text.as_str()), (200, "ok"));
    }
    let verbose = nobody.get("/readyz?verbose").await.text;
    assert!(
        verbose.contains("[+]ping ok\n") && verbose.contains("[+]etcd ok\n"),
        "{verbose}"
    );
    // What suites of different releases look for.
    for step in [
        "start-apiserver-admission-initializer",
        "start-kube-apiserver-admission-initializer",
        "apiservice-status-available-controller",
    ] {
        assert!(
            verbose.contains(&format!("[+]poststarthook/{step} ok\n")),
            "{verbose}"
        );
    }
    assert!(verbose.ends_with("readyz check passed\n"));
    let version = nobody.get("/version").await.ok();
    assert_eq!(
        (version["major"].as_str(), version["minor"].as_str()),
        (Some("1"), Some("36"))
    );
    assert!(
        version["gitVersion"]
            .as_str()
            .unwrap()
            .starts_with("v1.36.0+orlop.")
    );
    assert_eq!(nobody.get("/api").await.code, 403);
}

#[tokio::test]
async fn t05_t09_t10_formats() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let yaml = admin
        .send(Method::GET, &path, &[("accept", "application/yaml")], "")
        .await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.text.contains("kind: ConfigMap"), "{}", yaml.text);
    let reply = admin
        .send(Method::POST, CONFIGMAPS, &[("content-type", "text/plain")], "x")
        .await;
    assert!(
        reply
            .refused(415)
            .contains("application/json, application/yaml, application/vnd.kubernetes.protobuf")
    );
    assert_eq!(
        admin
            .send(Method::GET, &path, &[("accept", "text/plain")], "")
            .await
            .code,
        406
    );
}

#[tokio::test]
async fn t06_protobuf_bodies_are_read() {
    let admin = Cluster::start().await.admin();
    let body = orlop_api::wire::protobuf::encode(&configmap("c", "1")).unwrap();
    let headers = [("content-type", "application/vnd.kubernetes.protobuf")];
    let reply = admin.send(Method::POST, CONFIGMAPS, &headers, body).await;
    assert_eq!(reply.code, 201, "{}", reply.text);
    assert_eq!(admin.get(&format!("{CONFIGMAPS}/c")).await.ok()["data"]["k"], "1");
}

#[tokio::test]
async fn t11_t12_wrong_methods_and_paths() {
    let admin = Cluster::start().await.admin();
    admin.put(CONFIGMAPS, configmap("c", "1")).await.refused(405);
    admin
        .post(&format!("{CONFIGMAPS}/c"), configmap("c", "1"))
        .await
        .refused(405);
    admin
        .post("/api/v1/configmaps", configmap("c", "1"))
        .await
        .refused(405);
    let unknown = admin.get("/apis/nope.io/v1").await;
    assert_eq!(
        (unknown.code, unknown.text.as_str()),
        (404, "404 page not found\n")
    );
    assert_eq!(
        admin.get("/api/v1/nope").await.refused(404),
        "the server could not find the requested resource"
    );
    assert_eq!(admin.get("/api/v1/namespaces/default/nodes").await.code, 404);
}

#[tokio::test]
async fn t13_t16_timeouts_and_big_bodies() {
    let admin = Cluster::start().await.admin();
    let message = admin.get(&format!("{CONFIGMAPS}?timeout=abc")).await.refused(400);
    assert_eq!(
        message,
        "invalid timeout specified in the request URL - time: invalid duration \"abc\""
    );
    let message = admin
        .post(CONFIGMAPS, configmap("c", &"x".repeat(3_200_000)))
        .await
        .refused(413);
    assert_eq!(message, "Request entity too large: limit is 3145728");
}

#[tokio::test]
async fn d01_d02_d03_discovery() {
    let admin = Cluster::start().await.admin();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let reply = admin.send(Method::GET, "/apis", &[("accept", accept)], "").await;
    assert_eq!(
        reply.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let etag = reply.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(reply.ok()["items"][1]["metadata"]["name"], "apps");
    let headers = [("accept", accept), ("if-none-match", etag.as_str())];
    assert_eq!(admin.send(Method::GET, "/apis", &headers, "").await.code, 304);
    let groups = admin.get("/apis").await.ok();
    assert_eq!(groups["groups"][1]["preferredVersion"]["groupVersion"], "apps/v1");
    let core = admin.get("/api/v1").await.ok();
    assert_eq!(core["groupVersion"], "v1");
}

#[tokio::test]
async fn s01_s03_s04_who_may() {
    let cluster = Cluster::start().await;
    let alice = cluster.user(UserInfo::new("alice", ["devs"]));
    assert_eq!(
        alice.get(PODS).await.refused(403),
        "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(alice.get("/apis/nope.io/v1/things").await.code, 403);
    let reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = alice.post(reviews, json!({})).await.ok();
    assert_eq!(review["status"]["userInfo"]["username"], "alice");
    assert_eq!(
        review["status"]["userInfo"]["groups"],
        json!(["devs", "system:authenticated"])
    );
    let access = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let question =
        json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    assert_eq!(
        alice.post(access, question.clone()).await.ok()["status"]["allowed"],
        false
    );
    assert_eq!(
        cluster.admin().post(access, question).await.ok()["status"]["allowed"],
        true
    );
}

#[tokio::test]
async fn t15_large_answers_are_compressed_and_small_ones_not() {
    let admin = Cluster::start().await.admin();
    let text = "x".repeat(50_000);
    for name in ["a", "b", "c"] {
        admin.post(CONFIGMAPS, configmap(name, &text)).await.ok();
    }
    let ask = |path: String| {
        let request = http::Request::get(path).header("accept-encoding", "gzip");
        admin.raw(request.body(Default::default()).unwrap())
    };
    let list = ask(CONFIGMAPS.to_owned()).await;
    assert_eq!(list.headers()["content-encoding"], "gzip");
    let packed = http_body_util::BodyExt::collect(list.into_body())
        .await
        .unwrap()
        .to_bytes();
    let list: serde_json::Value = serde_json::from_reader(flate2::read::GzDecoder::new(&packed[..])).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    let one = ask(format!("{CONFIGMAPS}/a")).await;
    assert!(!one.headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn metrics_have_upstreams_names() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("a", "1")).await.ok();
    admin.get(&format!("{CONFIGMAPS}/a")).await.ok();
    admin.get(&format!("{CONFIGMAPS}/none")).await.refused(404);
    let text = admin.get("/metrics").await.text;
    let series = |parts: &[&str]| {
        text.lines()
            .find(|line| parts.iter().all(|part| line.contains(part)))
    };
    for parts in [
        &[
            "apiserver_request_total{",
            r#"verb="POST""#,
            r#"resource="configmaps""#,
            r#"code="201""#,
            r#"scope="namespace""#,
        ][..],
        &[
            "apiserver_request_total{",
            r#"verb="GET""#,
            r#"resource="configmaps""#,
            r#"code="404""#,
            r#"scope="resource""#,
        ],
        &[
            "apiserver_request_duration_seconds_bucket{",
            r#"verb="POST""#,
            r#"le="0.005""#,
        ],
        &["apiserver_request_duration_seconds_count{", r#"verb="GET""#],
        &[
            "apiserver_current_inflight_requests{",
            r#"request_kind="readOnly""#,
        ],
        &["apiserver_storage_objects{", r#"resource="configmaps""#],
        &["process_resident_memory_bytes"],
        &["process_start_time_seconds"],
        &["process_cpu_seconds_total"],
    ] {
        assert!(series(parts).is_some(), "no {parts:?} in\n{text}");
    }
    assert!(
        series(&["apiserver_storage_objects{", r#"resource="configmaps""#])
            .unwrap()
            .ends_with(" 1")
    );
}

#[tokio::test]
async fn t03_a_stopped_store_fails_the_health_checks() {
    let store = EmbeddedStore::in_memory().unwrap();
    let nobody = Cluster::over(TestStore::of(store.clone()))
        .await
        .user(UserInfo::anonymous());
    assert_eq!(nobody.get("/livez").await.code, 200);
    store.close().await;
    let failed = async {
        loop {
            let reply = nobody.get("/livez").await;
            if reply.code == 500 {
                return reply.text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = tokio::time::timeout(std::time::Duration::from_secs(10), failed).await;
    let text = text.expect("livez fails within 10 s");
    assert!(text.contains("[-]etcd failed: reason withheld\n"), "{text}");
    assert!(text.ends_with("livez check failed\n"), "{text}");
    let reply = nobody.get("/livez?exclude=etcd").await;
    assert_eq!((reply.code, reply.text.as_str()), (200, "ok"));
    assert_eq!(nobody.get("/readyz").await.code, 500);
}

/// What kubectl 1.32 sends for `create configmap a --from-literal=k=v` and `create namespace n`, byte for byte; it takes
/// either form of answer.
#[tokio::test]
async fn t07_what_kubectl_creates_in_protobuf() {
    let admin = Cluster::start().await.admin();
    let bytes = |hex: &str| -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digits).collect()
    };
    let headers = [
        ("content-type", "application/vnd.kubernetes.protobuf"),
        ("accept", "application/json"),
    ];
    let configmap = bytes(
        "6b3873000a0f0a0276311209436f6e6669674d6170121b0a110a016112001a0022002a0032003800420012060a016b1201761a002200",
    );
    let url = format!("{CONFIGMAPS}?fieldManager=kubectl-create&fieldValidation=Strict");
    let created = admin.send(Method::POST, &url, &headers, configmap).await.ok();
    assert_eq!(created["data"], json!({"k": "v"}));
    let namespace = bytes(
        "6b3873000a0f0a02763112094e616d65737061636512190a110a016e12001a0022002a00320038004200120012001a001a002200",
    );
    let created = admin
        .send(Method::POST, "/api/v1/namespaces", &headers, namespace)
        .await
        .ok();
    assert_eq!(created["status"]["phase"], "Active");
}

#[tokio::test]
async fn t14_a_timeout_above_the_limit_means_the_limit() {
    let admin = Cluster::start().await.admin();
    for timeout in ["10h", "61s", "0s", "-5s"] {
        assert_eq!(
            admin.get(&format!("{CONFIGMAPS}?timeout={timeout}")).await.code,
            200,
            "{timeout}"
        );
    }
}

#[tokio::test]
async fn d05_what_discovery_does_not_name_is_not_served() {
    let admin = Cluster::start().await.admin();
    for path in ["/api/v1", "/apis/apps/v1"] {
        let list = admin.get(path).await.ok();
        let resources = list["resources"].as_array().unwrap();
        assert!(resources.iter().all(|r| r["name"] != "gadgets"));
        let message = admin.get(&format!("{path}/gadgets")).await.refused(404);
        assert_eq!(message, "the server could not find the requested resource");
    }
}

/// `kubectl api-versions` and `api-resources`.
#[tokio::test]
async fn d06_group_versions_and_short_names() {
    let admin = Cluster::start().await.admin();
    assert_eq!(admin.get("/api").await.ok()["versions"], json!(["v1"]));
    let groups = admin.get("/apis").await.ok();
    let mut versions = groups["groups"].as_array().unwrap().iter();
    assert!(versions.any(|g| g["versions"][0]["groupVersion"] == "apps/v1"));
    let core = admin.get("/api/v1").await.ok();
    let apps = admin.get("/apis/apps/v1").await.ok();
    for (list, name, short) in [
        (&core, "pods", "po"),
        (&core, "nodes", "no"),
        (&core, "configmaps", "cm"),
        (&core, "namespaces", "ns"),
        (&apps, "daemonsets", "ds"),
    ] {
        let mut resources = list["resources"].as_array().unwrap().iter();
        let resource = resources.find(|r| r["name"] == name).unwrap();
        assert_eq!(resource["shortNames"], json!([short]), "{name}");
    }
}

#[tokio::test]
async fn d08_d09_documents_are_kept_under_their_hash() {
    let admin = Cluster::start().await.admin();
    let index = admin.get("/openapi/v3").await.ok();
    for (path, document) in index["paths"].as_object().unwrap() {
        let url = document["serverRelativeURL"].as_str().unwrap();
        let reply = admin.get(url).await;
        assert_eq!(reply.headers["cache-control"], "public, immutable", "{path}");
        assert!(reply.headers.contains_key("etag") && reply.headers.contains_key("expires"));
        assert_eq!(reply.ok()["openapi"], "3.0.0");
        let stale = admin.get(&format!("/openapi/v3/{path}?hash=OLD")).await;
        assert_eq!(
            (stale.code, stale.headers["location"].to_str().unwrap()),
            (301, url)
        );
    }
    assert_eq!(admin.get("/openapi/v3/apis/none/v1").await.code, 404);
}

/// The document for clients from before v3 and for generators: JSON and protobuf, with a tag.
#[tokio::test]
async fn openapi_v2_is_one_document_in_json_and_protobuf() {
    let admin = Cluster::start().await.admin();
    let reply = admin.get("/openapi/v2").await;
    assert_eq!(reply.headers["content-type"], "application/json");
    let etag = reply.headers["etag"].to_str().unwrap().to_owned();
    let document = reply.ok();
    assert_eq!(document["swagger"], "2.0");
    let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let headers = [("if-none-match", etag.as_str())];
    assert_eq!(
        admin.send(Method::GET, "/openapi/v2", &headers, "").await.code,
        304
    );
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let request = http::Request::get("/openapi/v2").header("accept", accept);
    let response = admin.raw(request.body(Default::default()).unwrap()).await;
    assert_eq!(
        response.headers()["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    let bytes = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    assert!(bytes.starts_with(b"\x0a\x032.0"));
    let accept = [("accept", "text/plain")];
    assert_eq!(
        admin.send(Method::GET, "/openapi/v2", &accept, "").await.code,
        406
    );
    // A custom resource is in it as soon as it is served, and the tag is another.
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"port": {"x-kubernetes-int-or-string": true}}}}}]}});
    admin
        .post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
        .await
        .ok();
    let reply = admin.send(Method::GET, "/openapi/v2", &headers, "").await;
    assert_eq!(reply.code, 200);
    let widget = &reply.ok()["definitions"]["com.example.v1.Widget"];
    assert_eq!(
        widget["properties"]["port"],
        json!({"type": "string", "format": "int-or-string"})
    );
    assert_eq!(
        widget["properties"]["metadata"]["$ref"],
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
}

/// D08: every document there is in the other form as well.
#[tokio::test]
async fn d08_openapi_v3_is_served_in_json_and_protobuf() {
    let admin = Cluster::start().await.admin();
    let index = admin.get("/openapi/v3").await.ok();
    for (path, entry) in index["paths"].as_object().unwrap() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        for asked in ["v3@v1.0", "v3.v1.0"] {
            let accept = format!("application/com.github.proto-openapi.spec.{asked}+protobuf");
            let request = http::Request::get(url).header("accept", accept);
            let response = admin.raw(request.body(Default::default()).unwrap()).await;
            let headers = response.headers();
            assert_eq!(
                headers["content-type"],
                "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
            );
            assert_eq!(headers["cache-control"], "public, immutable");
            let bytes = http_body_util::BodyExt::collect(response.into_body())
                .await
                .unwrap()
                .to_bytes();
            // openapi 1, info 2 { title 1 }
            assert!(bytes.starts_with(b"\x0a\x053.0.0\x12"), "{path}");
            assert!(bytes[9..].starts_with(b"\x0a\x0aKubernetes"), "{path}");
        }
        let accept = [("accept", "text/plain")];
        assert_eq!(admin.send(Method::GET, url, &accept, "").await.code, 406);
    }
}

/// `kubectl explain widget.metadata.name`
#[tokio::test]
async fn documents_of_custom_resources_describe_metadata_as_well() {
    let admin = Cluster::start().await.admin();
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    admin
        .post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
        .await
        .ok();
    let document = admin.get("/openapi/v3/apis/example.com/v1").await.ok();
    let schemas = &document["components"]["schemas"];
    let meta = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"];
    assert!(meta["properties"]["name"]["description"].is_string(), "{meta}");
    assert_eq!(
        meta["properties"]["ownerReferences"]["x-kubernetes-patch-merge-key"],
        "uid"
    );
    // "CustomResourcePublishOpenAPI works for CRD with validation schema": the words that `kubectl explain` has to print.
    let widget = &schemas["com.example.v1.Widget"]["properties"];
    for (field, words) in [
        ("apiVersion", "APIVersion defines"),
        ("kind", "Kind is a string value"),
        ("metadata", "Standard object's metadata"),
    ] {
        let text = widget[field]["description"].as_str().unwrap_or_default();
        assert!(text.starts_with(words), "{field}: {text}");
    }
}

/// §2.2
#[tokio::test]
async fn answers_are_compact_unless_somebody_reads_them() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let text = async |query: &str, agent: &str| {
        let headers = [("user-agent", agent)];
        admin
            .send(Method::GET, &format!("{path}{query}"), &headers, "")
            .await
            .text
    };
    let compact = text("", "kubectl/v1.32.4").await;
    assert!(
        compact.ends_with("}\n") && compact.matches('\n').count() == 1,
        "{compact}"
    );
    for (query, agent) in [
        ("?pretty=true", "kubectl"),
        ("?pretty=1", "kubectl"),
        ("", "curl/8.0"),
        ("", "Wget/1.21"),
        ("", "Mozilla/5.0 (X11)"),
    ] {
        let pretty = text(query, agent).await;
        assert!(
            pretty.starts_with("{\n  \"kind\": \"ConfigMap\",\n  \"apiVersion\": \"v1\",\n"),
            "{pretty}"
        );
    }
    assert_eq!(text("?pretty=false", "curl/8.0").await, compact);
}

/// §2.2
#[tokio::test]
async fn bodies_are_matched_to_the_kind_of_the_url() {
    let admin = Cluster::start().await.admin();
    let send = async |content_type: &str, body: &str| {
        let headers: &[(&str, &str)] = match content_type {
            "" => &[],
            _ => &[("content-type", content_type)],
        };
        admin
            .send(Method::POST, CONFIGMAPS, headers, body.to_owned())
            .await
    };
    // No Content-Type is JSON; kind and apiVersion come from the URL.
    let created = send("", r#"{"metadata":{"name":"a"},"Data":{"k":"v"},"data":null}"#).await;
    assert_eq!(created.code, 201, "{}", created.text);
    assert_eq!(created.warnings(), [r#"299 - "unknown field \"Data\"""#]);
    assert_eq!(created.json().get("data"), None, "names are matched by case");
    assert_eq!(
        send("application/json; charset=utf-8", r#"{"metadata":{"name":"b"}}"#)
            .await
            .code,
        201
    );
    for (content_type, body, code, message) in [
        (
            "application/json",
            "",
            400,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        ),
        (
            "application/json",
            "{",
            400,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input",
        ),
        (
            "application/json",
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            400,
            "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion",
        ),
        (
            "application/json",
            r#"{"data":{"a":1}}"#,
            400,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "application/json",
            r#"{"binaryData":{"a":"?"}}"#,
            400,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: illegal base64 data at input byte 0",
        ),
        (
            "application/cbor",
            "x",
            415,
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ),
        ("application/vnd.kubernetes.protobuf", "{}", 400, "k8s\\0"),
    ] {
        let refused = send(content_type, body).await.refused(code);
        assert!(refused.contains(message), "{refused}");
    }
    let patched = admin
        .send(
            Method::PATCH,
            &format!("{CONFIGMAPS}/a"),
            &[("content-type", "application/json")],
            "{}",
        )
        .await;
    assert_eq!(patched.refused(415), "415: Unsupported Media Type");
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_answers_and_ask_before() {
    let cors = Cors::new(&[r"^https://shell\.example$".to_owned()]).unwrap();
    let served = Served::start(|config, _| config.cors = Some(cors)).await;
    let nobody = served.user(UserInfo::anonymous());
    let origin = [("origin", "https://shell.example")];
    let asked = nobody.send(Method::OPTIONS, PODS, &origin, "").await;
    assert_eq!((asked.code, asked.text.as_str()), (204, ""));
    assert_eq!(
        asked.headers["access-control-allow-methods"],
        "POST, GET, OPTIONS, PUT, DELETE, PATCH"
    );
    // The rights of whoever looks at the page go on to count.
    let refused = nobody.send(Method::GET, PODS, &origin, "").await;
    assert_eq!(refused.code, 403);
    for reply in [asked, refused] {
        assert_eq!(
            reply.headers["access-control-allow-origin"],
            "https://shell.example"
        );
        assert_eq!(reply.headers["access-control-allow-credentials"], "true");
    }
    let other = [("origin", "https://shell.example.org")];
    let reply = nobody.send(Method::GET, "/version", &other, "").await;
    assert_eq!(reply.code, 200);
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_watch_that_does_not_say_how_long_ends_when_the_server_says() {
    let times = RequestTimes {
        watch_min: Duration::from_millis(50),
        ..RequestTimes::default()
    };
    let served = Served::start(|config, _| config.request_times = times).await;
    let admin = served.admin();
    let mut watch = admin
        .watch(&format!("{CONFIGMAPS}?watch=1&resourceVersion=0"))
        .await;
    assert_eq!(watch.next().await, None);
}
