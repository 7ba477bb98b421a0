//! watch: cases W01 to W12.
use crate::support::{CONFIGMAPS, Cluster, configmap, version};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn w01_w02_changes_arrive_in_order() {
    let admin = Cluster::start().await.admin();
    let mut watch = admin.watch(&format!("{CONFIGMAPS}?watch=true")).await;
    let first = admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let second = admin.put(&path, configmap("c", "2")).await.ok();
    admin.delete(&path, Value::Null).await.ok();
    let mut last = 0;
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], kind);
        assert_eq!(event["object"]["kind"], "ConfigMap");
        assert!(version(&event["object"]) > last);
        last = version(&event["object"]);
    }
    assert!(last > version(&second));
    let mut later = admin
        .watch(&format!(
            "{CONFIGMAPS}?watch=1&resourceVersion={}",
            version(&first)
        ))
        .await;
    assert_eq!(later.event().await.0, "MODIFIED");
    assert_eq!(later.event().await.0, "DELETED");
}

#[tokio::test]
async fn w01_existing_objects_come_first() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    admin
        .put(&format!("{CONFIGMAPS}/c"), configmap("c", "2"))
        .await
        .ok();
    let mut watch = admin
        .watch(&format!("{CONFIGMAPS}?watch=true&resourceVersion=0"))
        .await;
    assert_eq!(watch.event().await, ("ADDED".into(), "c".into()));
}

#[tokio::test]
async fn w04_a_watch_ends_when_asked() {
    let admin = Cluster::start_in_a_hurry().await.admin();
    let mut watch = admin
        .watch(&format!("{CONFIGMAPS}?watch=true&timeoutSeconds=1"))
        .await;
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn w06_bookmarks_come_only_when_allowed() {
    let admin = Cluster::start_in_a_hurry().await.admin();
    let mut silent = admin.watch(&format!("{CONFIGMAPS}?watch=true")).await;
    let mut watch = admin
        .watch(&format!("{CONFIGMAPS}?watch=true&allowWatchBookmarks=true"))
        .await;
    let a_minute = Duration::from_secs(70);
    let (bookmark, silence) = tokio::join!(
        tokio::time::timeout(a_minute, watch.next()),
        tokio::time::timeout(a_minute, silent.next()),
    );
    let bookmark = bookmark.unwrap().unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    assert!(version(&bookmark["object"]) > 0);
    assert!(silence.is_err());
}

#[tokio::test]
async fn w07_too_old_versions_are_told() {
    let admin = Cluster::start().await.admin();
    // The history begins with the server.
    for n in 0..3 {
        admin
            .post(CONFIGMAPS, configmap(&format!("c{n}"), "1"))
            .await
            .ok();
    }
    for n in 0..1100 {
        admin
            .put(&format!("{CONFIGMAPS}/c0"), configmap("c0", &n.to_string()))
            .await
            .ok();
    }
    let mut watch = admin
        .watch(&format!("{CONFIGMAPS}?watch=true&resourceVersion=2"))
        .await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!(
        (
            event["object"]["code"].as_u64(),
            event["object"]["reason"].as_str()
        ),
        (Some(410), Some("Expired"))
    );
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn w08_streaming_lists_end_with_a_bookmark() {
    let admin = Cluster::start().await.admin();
    for name in ["a", "b"] {
        admin.post(CONFIGMAPS, configmap(name, "1")).await.ok();
    }
    let path = format!(
        "{CONFIGMAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = admin.watch(&path).await;
    assert_eq!(watch.event().await, ("ADDED".into(), "a".into()));
    assert_eq!(watch.event().await, ("ADDED".into(), "b".into()));
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    assert_eq!(watch.event().await, ("ADDED".into(), "c".into()));
    let reply = admin
        .get(&format!("{CONFIGMAPS}?watch=true&sendInitialEvents=true"))
        .await;
    assert!(
        reply
            .refused(422)
            .contains("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    );
}

#[tokio::test]
async fn w12_a_streaming_list_of_the_future_is_told() {
    let admin = Cluster::start_in_a_hurry().await.admin();
    let path = format!(
        "{CONFIGMAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=99999"
    );
    let event = admin.watch(&path).await.next().await.unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!(event["object"]["code"], 504);
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let admin = Cluster::start().await.admin();
    let mut watch = admin
        .watch(&format!("{CONFIGMAPS}?watch=true&labelSelector=app%3Dx"))
        .await;
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    let labelled = |value: Value| json!({"metadata": {"labels": {"app": value}}});
    admin.patch(&path, "merge", labelled(json!("x"))).await.ok();
    let left = admin.patch(&path, "merge", labelled(Value::Null)).await.ok();
    assert_eq!(watch.event().await, ("ADDED".into(), "c".into()));
    let gone = watch.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["metadata"]["labels"]["app"], "x");
    assert_eq!(version(&gone["object"]), version(&left));
}

#[tokio::test]
async fn b04_tables_name_their_columns_once() {
    let admin = Cluster::start().await.admin();
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut watch = admin.watch_as(&format!("{CONFIGMAPS}?watch=true"), accept).await;
    admin.post(CONFIGMAPS, configmap("a", "1")).await.ok();
    admin.post(CONFIGMAPS, configmap("b", "1")).await.ok();
    let first = watch.next().await.unwrap();
    assert!(first["object"]["columnDefinitions"].is_array());
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    let second = watch.next().await.unwrap();
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
}

#[tokio::test]
async fn w03_a_watch_goes_on_from_the_last_version_seen() {
    let admin = Cluster::start().await.admin();
    let mut watch = admin.watch(&format!("{CONFIGMAPS}?watch=true")).await;
    for n in 0..5 {
        admin
            .post(CONFIGMAPS, configmap(&format!("a{n}"), "1"))
            .await
            .ok();
    }
    let mut seen = Vec::new();
    let mut last = 0;
    for _ in 0..3 {
        let event = watch.next().await.unwrap();
        last = version(&event["object"]);
        seen.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
    }
    drop(watch);
    admin.post(CONFIGMAPS, configmap("b", "1")).await.ok();
    let mut watch = admin
        .watch(&format!("{CONFIGMAPS}?watch=true&resourceVersion={last}"))
        .await;
    for _ in 0..3 {
        seen.push(watch.event().await.1);
    }
    assert_eq!(seen, ["a0", "a1", "a2", "a3", "a4", "b"]);
}

/// What an informer of client-go 1.35 does: a streaming list, then the same stream; a list call is a list.
#[tokio::test]
async fn w10_an_informer_syncs_through_a_streaming_list() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("a", "1")).await.ok();
    let path = format!(
        "{CONFIGMAPS}?allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeout=9m12s&timeoutSeconds=552&watch=true"
    );
    let mut watch = admin.watch(&path).await;
    assert_eq!(watch.event().await, ("ADDED".into(), "a".into()));
    let synced = watch.next().await.unwrap();
    assert_eq!(
        synced["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let at = version(&synced["object"]);
    drop(watch);
    admin.post(CONFIGMAPS, configmap("b", "1")).await.ok();
    let path =
        format!("{CONFIGMAPS}?allowWatchBookmarks=true&resourceVersion={at}&timeoutSeconds=552&watch=true");
    let mut watch = admin.watch(&path).await;
    assert_eq!(watch.event().await, ("ADDED".into(), "b".into()));
    let list = admin
        .get(&format!("{CONFIGMAPS}?limit=500&resourceVersion=0"))
        .await
        .ok();
    assert_eq!(
        (list["kind"].as_str(), list["items"].as_array().unwrap().len()),
        (Some("ConfigMapList"), 2)
    );
    let refused = admin
        .get(&format!("{CONFIGMAPS}?sendInitialEvents=true"))
        .await
        .refused(422);
    assert!(
        refused.contains("sendInitialEvents is forbidden for list"),
        "{refused}"
    );
}

#[tokio::test]
async fn b04_other_encodings_of_a_stream_are_refused() {
    let admin = Cluster::start().await.admin();
    let headers = [("accept", "application/yaml")];
    let path = format!("{CONFIGMAPS}?watch=true");
    let refused = admin
        .send(http::Method::GET, &path, &headers, "")
        .await
        .refused(406);
    assert_eq!(
        refused,
        "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    );
}
