//! What the server tells about itself: contract §4.4, §4.5.
use crate::served::Served;
use crate::support::{CONFIGMAPS, Cluster, configmap};
use http::Method;
use orlop_apiserver::UserInfo;

fn has(text: &str, series: &str, labels: &[&str]) -> bool {
    text.lines().any(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    })
}

/// What the alerts and dashboards of kubernetes-mixin select of an API server.
#[tokio::test]
async fn dashboards_find_their_series() {
    let served = Served::start(|_, _| {}).await;
    let admin = served.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    admin.get(&format!("{CONFIGMAPS}/c")).await.ok();
    admin.get(CONFIGMAPS).await.ok();
    let mut watch = admin.watch(&format!("{CONFIGMAPS}?watch=1")).await;
    watch.event().await;
    served
        .whoami(Some(&served.leaf("alice", &[])), &[])
        .await
        .unwrap();
    let reply = admin.get("/metrics").await;
    assert_eq!(
        reply.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = reply.text;
    let requests = [
        r#"verb="POST""#,
        r#"resource="configmaps""#,
        r#"scope="namespace""#,
        r#"component="apiserver""#,
    ];
    for (series, labels) in [
        (
            "apiserver_request_total",
            &[r#"code="201""#, requests[0], requests[1]][..],
        ),
        ("apiserver_request_total", &[r#"code="200""#, r#"verb="LIST""#]),
        (
            "apiserver_request_duration_seconds_bucket",
            &[r#"le="1""#, requests[0]],
        ),
        ("apiserver_request_duration_seconds_count", &requests),
        (
            "apiserver_request_sli_duration_seconds_bucket",
            &[r#"le="0.05""#, r#"verb="GET""#, r#"scope="resource""#],
        ),
        ("apiserver_request_sli_duration_seconds_count", &requests),
        (
            "apiserver_response_sizes_bucket",
            &[r#"verb="LIST""#, r#"resource="configmaps""#],
        ),
        (
            "apiserver_current_inflight_requests",
            &[r#"request_kind="readOnly""#],
        ),
        (
            "apiserver_current_inflight_requests",
            &[r#"request_kind="mutating""#],
        ),
        ("apiserver_longrunning_requests", &[r#"verb="WATCH""#]),
        ("apiserver_watch_events_total", &[r#"resource="configmaps""#]),
        ("apiserver_storage_objects", &[r#"resource="configmaps""#]),
        ("apiserver_resource_objects", &[r#"resource="configmaps""#]),
        (
            "apiserver_client_certificate_expiration_seconds_bucket",
            &[r#"le="604800""#],
        ),
        ("apiserver_client_certificate_expiration_seconds_count", &[]),
        (
            "apiserver_flowcontrol_dispatched_requests_total",
            &[r#"priority_level="exempt""#],
        ),
        (
            "apiserver_flowcontrol_nominal_limit_seats",
            &[r#"priority_level="workload-low""#],
        ),
        (
            "apiserver_flowcontrol_current_inqueue_requests",
            &[r#"priority_level="global-default""#],
        ),
        (
            "apiserver_flowcontrol_current_executing_seats",
            &[r#"priority_level="system""#],
        ),
        (
            "etcd_request_duration_seconds_bucket",
            &[r#"operation="create""#, r#"type="configmaps""#],
        ),
        ("authentication_attempts_total", &[r#"result="success""#]),
        ("authenticated_user_requests_total", &[r#"username="other""#]),
        (
            "apiserver_authorization_decisions_total",
            &[r#"decision="allowed""#],
        ),
        ("apiserver_audit_event_total", &[]),
        ("apiserver_audit_requests_rejected_total", &[]),
        (
            "apiserver_request_terminations_total",
            &[r#"component="apiserver""#],
        ),
        ("kubernetes_build_info", &[r#"git_version="v1.36"#]),
        ("process_resident_memory_bytes", &[]),
        ("process_cpu_seconds_total", &[]),
        ("process_start_time_seconds", &[]),
        ("process_open_fds", &[]),
        ("go_goroutines", &[]),
        ("workqueue_adds_total", &[r#"name="apiservice-registration""#]),
        ("aggregator_unavailable_apiservice", &[r#"name="v1.apps""#]),
        ("workqueue_depth", &[r#"name="apiservice-registration""#]),
        (
            "workqueue_queue_duration_seconds_bucket",
            &[r#"name="apiservice-registration""#],
        ),
    ] {
        assert!(
            has(&text, series, labels),
            "{series} {labels:?} is not in\n{text}"
        );
    }
    drop(watch);
}

/// What indicators of a service level are made of; members of `system:monitoring` may read it.
#[tokio::test]
async fn outcomes_of_health_checks_have_a_page_of_their_own() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for path in ["/readyz", "/readyz?exclude=etcd", "/livez/ping"] {
        assert_eq!(admin.get(path).await.code, 200);
    }
    let page = "/metrics/slis";
    let monitor = cluster.user(UserInfo::new("prometheus", ["system:monitoring"]));
    let reply = monitor.get(page).await;
    assert_eq!(
        reply.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let count = |name: &str, endpoint: &str| {
        let labels = [&format!("name=\"{name}\""), &format!("type=\"{endpoint}\"")];
        let line = reply.text.lines().find(|line| {
            line.starts_with("kubernetes_healthchecks_total{")
                && labels.iter().all(|label| line.contains(*label))
                && line.contains("status=\"success\"")
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
    };
    // Excluded ones are not made; one that is asked for alone is made alone.
    for (name, endpoint, times) in [
        ("ping", "readyz", Some(2)),
        ("shutdown", "readyz", Some(2)),
        ("etcd", "readyz", Some(1)),
        ("ping", "livez", Some(1)),
        ("etcd", "livez", None),
    ] {
        assert_eq!(
            count(name, endpoint),
            times,
            "{name} {endpoint} in\n{}",
            reply.text
        );
    }
    assert!(
        reply
            .text
            .contains("kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1\n"),
        "{}",
        reply.text
    );
    let user = cluster.user(UserInfo::new("alice", ["devs"]));
    user.get(page).await.refused(403);
    let paths = admin.get("/").await.ok()["paths"].to_string();
    assert!(paths.contains(page), "{paths}");
}

/// Refusals are counted as well, under what was asked for.
#[tokio::test]
async fn refusals_are_counted() {
    let cluster = Cluster::start().await;
    cluster
        .user(UserInfo::new("alice", ["devs"]))
        .get(CONFIGMAPS)
        .await
        .refused(403);
    let text = cluster.admin().get("/metrics").await.text;
    assert!(
        has(
            &text,
            "apiserver_request_total",
            &[r#"code="403""#, r#"resource="configmaps""#, r#"verb="LIST""#]
        ),
        "{text}"
    );
}

/// T02, T03: one check alone, checks left out, and unknown ones.
#[tokio::test]
async fn t02_t03_checks_can_be_asked_for_and_left_out() {
    let nobody = Cluster::start().await.user(UserInfo::anonymous());
    let of = |path: &'static str| {
        let nobody = nobody.clone();
        async move {
            let reply = nobody.send(Method::GET, path, &[], "").await;
            (reply.code, reply.text)
        }
    };
    assert_eq!(of("/readyz/etcd").await.0, 403);
    let admin = Cluster::start().await.admin();
    assert_eq!(admin.get("/readyz/etcd").await.text, "ok");
    assert_eq!(
        admin.get("/livez/poststarthook/rbac/bootstrap-roles").await.text,
        "ok"
    );
    assert_eq!(admin.get("/livez/nonsense").await.code, 404);
    let (code, text) = of("/readyz?verbose&exclude=etcd&exclude=x").await;
    assert_eq!(code, 200);
    assert!(text.contains("[+]etcd excluded: ok\n"), "{text}");
    assert!(
        text.contains("warn: some health checks cannot be excluded: no matches for \"x\"\n"),
        "{text}"
    );
    assert!(text.ends_with("readyz check passed\n"), "{text}");
}

/// `kubectl get cs`: three parts, each with what it says of itself; deprecated, as every answer says.
#[tokio::test]
async fn component_statuses_are_listed_read_and_shown_as_a_table() {
    const PATH: &str = "/api/v1/componentstatuses";
    let admin = Cluster::start().await.admin();
    let reply = admin.get(PATH).await;
    assert_eq!(
        reply.warnings(),
        [r#"299 - "v1 ComponentStatus is deprecated in v1.19+""#]
    );
    let list = reply.ok();
    assert_eq!(list["kind"], "ComponentStatusList");
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["controller-manager", "etcd-0", "scheduler"]);
    let store = admin.get(&format!("{PATH}/etcd-0")).await.ok();
    let healthy = serde_json::json!([{"type": "Healthy", "status": "True", "message": "ok"}]);
    assert_eq!(store["conditions"], healthy);
    admin.get(&format!("{PATH}/etcd-1")).await.refused(404);
    admin
        .delete(&format!("{PATH}/etcd-0"), serde_json::json!({}))
        .await
        .refused(405);
    let table = admin
        .table(&format!("{PATH}?fieldSelector=metadata.name%3Detcd-0"))
        .await
        .ok();
    assert_eq!(
        table["rows"][0]["cells"],
        serde_json::json!(["etcd-0", "Healthy", "ok", ""])
    );
    assert_eq!(table["rows"].as_array().unwrap().len(), 1);
    let text = admin.get("/api/v1").await.ok().to_string();
    assert!(text.contains(r#""shortNames":["cs"]"#), "{text}");
}
