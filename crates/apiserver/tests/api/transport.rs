//! Paths, formats, discovery, who may: cases T, D, S.
use crate::support::{CONFIGMAPS, Cluster, PODS, configmap};
use http::Method;
use orlop_apiserver::UserInfo;
use serde_json::json;

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
async fn t05_t08_t09_t10_formats() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let yaml = admin
        .send(Method::GET, &path, &[("accept", "application/yaml")], "")
        .await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.text.contains("kind: ConfigMap"), "{}", yaml.text);
    let accept = "application/vnd.kubernetes.protobuf,application/json";
    let reply = admin.send(Method::GET, &path, &[("accept", accept)], "").await;
    assert_eq!(reply.headers["content-type"], "application/json");
    reply.ok();
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
    assert_eq!(admin.get(&format!("{CONFIGMAPS}?timeout=10h")).await.code, 200);
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
