//! "Watchers" of upstream's suite, and the streams that newer informers read.
use crate::support::{CONFIGMAPS, Client, Cluster, PODS, Watch, configmap, pod, version};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

fn labelled(name: &str, label: &str) -> Value {
    let mut map = configmap(name, "0");
    map["metadata"]["labels"] = json!({"watch-this-configmap": label});
    map
}

async fn watch(admin: &Client, selector: &str) -> Watch {
    admin
        .watch(&format!("{CONFIGMAPS}?watch=true&labelSelector={selector}"))
        .await
}

/// "should observe add, update, and delete watch notifications on configmaps"
#[tokio::test]
async fn w01_watches_with_overlapping_selectors_see_theirs_and_nothing_else() {
    let admin = Cluster::start().await.admin();
    let a = "watch-this-configmap%3Da";
    let both = "watch-this-configmap%20in%20(a,b)";
    let (mut watch_a, mut watch_b, mut watch_both) = (
        watch(&admin, a).await,
        watch(&admin, "watch-this-configmap%3Db").await,
        watch(&admin, both).await,
    );
    admin.post(CONFIGMAPS, labelled("a", "a")).await.ok();
    for value in ["1", "2"] {
        let change = json!({"data": {"mutation": value}});
        admin
            .patch(&format!("{CONFIGMAPS}/a"), "merge", change)
            .await
            .ok();
    }
    admin.delete(&format!("{CONFIGMAPS}/a"), Value::Null).await.ok();
    admin.post(CONFIGMAPS, labelled("b", "b")).await.ok();
    admin.delete(&format!("{CONFIGMAPS}/b"), Value::Null).await.ok();
    let event = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    for watch in [&mut watch_a, &mut watch_both] {
        for kind in ["ADDED", "MODIFIED", "MODIFIED", "DELETED"] {
            assert_eq!(watch.event().await, event(kind, "a"));
        }
    }
    for watch in [&mut watch_b, &mut watch_both] {
        for kind in ["ADDED", "DELETED"] {
            assert_eq!(watch.event().await, event(kind, "b"));
        }
    }
}

/// "should observe an object deletion if it stops meeting the requirements of the selector"
#[tokio::test]
async fn an_object_that_leaves_a_selection_is_told_as_it_was_and_comes_back_as_new() {
    let admin = Cluster::start().await.admin();
    let mut watch = watch(&admin, "watch-this-configmap%3Dhere").await;
    let path = format!("{CONFIGMAPS}/m");
    admin.post(CONFIGMAPS, labelled("m", "here")).await.ok();
    admin
        .patch(&path, "merge", json!({"data": {"mutation": "1"}}))
        .await
        .ok();
    let away = json!({"metadata": {"labels": {"watch-this-configmap": "gone"}}, "data": {"mutation": "2"}});
    let away = admin.patch(&path, "merge", away).await.ok();
    admin
        .patch(&path, "merge", json!({"data": {"mutation": "3"}}))
        .await
        .ok();
    let back = json!({"metadata": {"labels": {"watch-this-configmap": "here"}}});
    admin.patch(&path, "merge", back).await.ok();
    let last = admin.delete(&path, Value::Null).await;
    assert_eq!(last.code, 200);
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(watch.next().await.unwrap());
    }
    let kinds: Vec<_> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]);
    assert_eq!(
        events[2]["object"]["data"]["mutation"], "1",
        "the last state that matched"
    );
    assert_eq!(
        version(&events[2]["object"]),
        version(&away),
        "the version of the change"
    );
    assert_eq!(events[3]["object"]["data"]["mutation"], "3");
    assert!(version(&events[4]["object"]) > version(&events[3]["object"]));
}

/// "should receive events on concurrent watches in same order"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_watches_see_one_order_wherever_they_begin() {
    let admin = Cluster::start().await.admin();
    let begin = version(&admin.get(CONFIGMAPS).await.ok());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let admin = admin.clone();
            tokio::spawn(async move {
                for n in 0..25 {
                    let name = format!("w{writer}-{}", n % 3);
                    match n % 3 {
                        _ if n < 3 => admin.post(CONFIGMAPS, configmap(&name, "0")).await.ok(),
                        0 => admin
                            .put(&format!("{CONFIGMAPS}/{name}"), configmap(&name, &n.to_string()))
                            .await
                            .ok(),
                        1 => admin
                            .delete(&format!("{CONFIGMAPS}/{name}"), Value::Null)
                            .await
                            .ok(),
                        _ => {
                            let change = json!({"data": {"n": n.to_string()}});
                            let path = format!("{CONFIGMAPS}/{name}");
                            admin.patch(&path, "merge", change).await.ok()
                        }
                    };
                    if n % 3 == 1 && n >= 3 {
                        admin.post(CONFIGMAPS, configmap(&name, "again")).await.ok();
                    }
                }
            })
        })
        .collect();
    // One from the beginning, the others from each of its events: what follows is the same for all.
    let path = |from: u64| format!("{CONFIGMAPS}?watch=true&resourceVersion={from}");
    let mut first = admin.watch(&path(begin)).await;
    let mut seen = Vec::new();
    for _ in 0..100 {
        let event = first.next().await.unwrap();
        seen.push((event["type"].clone(), version(&event["object"])));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(seen.windows(2).all(|pair| pair[0].1 < pair[1].1), "{seen:?}");
    for (position, (_, from)) in seen.iter().enumerate().step_by(7) {
        let mut watch = admin.watch(&path(*from)).await;
        for expected in &seen[position + 1..] {
            let event = watch.next().await.unwrap();
            assert_eq!((event["type"].clone(), version(&event["object"])), *expected);
        }
    }
}

/// Informers of metadata (the garbage collector, kubectl delete) read streaming lists as well.
#[tokio::test]
async fn w08_streaming_lists_end_with_a_bookmark_in_every_form() {
    let admin = Cluster::start().await.admin();
    for name in ["a", "b"] {
        admin.post(CONFIGMAPS, configmap(name, "1")).await.ok();
    }
    let path = format!(
        "{CONFIGMAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let or_objects = format!("{table},application/json");
    for accept in ["application/json", partial, &or_objects] {
        let mut watch = admin.watch_as(&path, accept).await;
        let mut next = async || {
            tokio::time::timeout(Duration::from_secs(5), watch.next())
                .await
                .unwrap()
                .unwrap()
        };
        for _ in 0..2 {
            assert_eq!(next().await["type"], "ADDED", "{accept}");
        }
        let bookmark = next().await;
        assert_eq!(bookmark["type"], "BOOKMARK", "{accept}");
        let object = &bookmark["object"];
        let kind = if accept == partial {
            "PartialObjectMetadata"
        } else {
            "ConfigMap"
        };
        let meta = &object["metadata"];
        assert_eq!(object["kind"], kind, "{bookmark}");
        assert_eq!(
            meta["annotations"]["k8s.io/initial-events-end"], "true",
            "{bookmark}"
        );
        assert!(meta["resourceVersion"].is_string(), "{bookmark}");
        admin.post(CONFIGMAPS, configmap("live", "1")).await.ok();
        assert_eq!(next().await["type"], "ADDED");
        admin
            .delete(&format!("{CONFIGMAPS}/live"), Value::Null)
            .await
            .ok();
    }
    // "doesn't support receiving resources as Tables"
    let reply = admin.send(Method::GET, &path, &[("accept", table)], "").await;
    assert_eq!(reply.json()["reason"], "NotAcceptable");
    reply.refused(406);
}

#[tokio::test]
async fn w08_a_streaming_list_honours_selectors_and_comes_without_a_bookmark_unasked() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, labelled("in", "x")).await.ok();
    admin.post(CONFIGMAPS, labelled("out", "y")).await.ok();
    let mut watch = admin
        .watch(&format!(
            "{CONFIGMAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&labelSelector=watch-this-configmap%3Dx"
        ))
        .await;
    assert_eq!(watch.event().await, ("ADDED".to_owned(), "in".to_owned()));
    admin
        .patch(&format!("{CONFIGMAPS}/in"), "merge", json!({"data": {"k": "2"}}))
        .await
        .ok();
    assert_eq!(watch.event().await, ("MODIFIED".to_owned(), "in".to_owned()));
    // Without initial events: only what happens from now on.
    let mut quiet = admin
        .watch(&format!(
            "{CONFIGMAPS}?watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        ))
        .await;
    admin.post(CONFIGMAPS, labelled("new", "x")).await.ok();
    assert_eq!(quiet.event().await, ("ADDED".to_owned(), "new".to_owned()));
}

#[tokio::test]
async fn w09_streaming_lists_are_asked_for_in_one_way_only() {
    let admin = Cluster::start().await.admin();
    for (query, message) in [
        (
            "watch=1&sendInitialEvents=true",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "sendInitialEvents=true",
            "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        ),
        (
            "resourceVersionMatch=Exact",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        (
            "resourceVersionMatch=Bogus&resourceVersion=1",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \"Bogus\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
        ),
    ] {
        assert_eq!(
            admin.get(&format!("{CONFIGMAPS}?{query}")).await.refused(422),
            message,
            "{query}"
        );
    }
}

/// The old paths of watches, and a GET of a name that asks for a watch.
#[tokio::test]
async fn watches_under_their_old_paths_still_work() {
    let admin = Cluster::start().await.admin();
    admin.post(CONFIGMAPS, configmap("a", "1")).await.ok();
    for path in [
        "/api/v1/watch/configmaps",
        "/api/v1/watch/namespaces/default/configmaps",
        "/api/v1/watch/namespaces/default/configmaps/a",
        "/api/v1/namespaces/default/configmaps/?watch=true",
    ] {
        let mut watch = admin.watch(path).await;
        assert_eq!(
            watch.event().await,
            ("ADDED".to_owned(), "a".to_owned()),
            "{path}"
        );
    }
    let one = admin.get(&format!("{CONFIGMAPS}/a?watch=1")).await.ok();
    assert_eq!(one["kind"], "ConfigMap");
}

/// kubectl's `get -w` of one object, and what `kubectl wait` reads.
#[tokio::test]
async fn a_watch_of_one_name_sees_that_object_only() {
    let admin = Cluster::start().await.admin();
    for name in ["p", "q"] {
        admin.post(PODS, pod(name)).await.ok();
    }
    let path = format!("{PODS}?watch=true&fieldSelector=metadata.name%3Dq&resourceVersion=0");
    let mut watch = admin.watch(&path).await;
    assert_eq!(watch.event().await, ("ADDED".to_owned(), "q".to_owned()));
    for name in ["p", "q"] {
        let change = json!({"metadata": {"labels": {"x": "y"}}});
        admin.patch(&format!("{PODS}/{name}"), "merge", change).await.ok();
    }
    assert_eq!(watch.event().await, ("MODIFIED".to_owned(), "q".to_owned()));
    admin
        .send(Method::DELETE, &format!("{PODS}/q?gracePeriodSeconds=0"), &[], "")
        .await
        .ok();
    assert_eq!(watch.event().await, ("DELETED".to_owned(), "q".to_owned()));
}

/// §8.4: a status alone, metadata alone: changes like others, and each event is a whole object.
#[tokio::test]
async fn every_change_is_an_event_with_the_whole_object() {
    let admin = Cluster::start().await.admin();
    let from = version(&admin.post(PODS, pod("p")).await.ok());
    let mut watch = admin
        .watch(&format!("{PODS}?watch=true&resourceVersion={from}"))
        .await;
    let path = format!("{PODS}/p");
    admin
        .patch(
            &format!("{path}/status"),
            "merge",
            json!({"status": {"message": "m"}}),
        )
        .await
        .ok();
    admin
        .patch(
            &path,
            "merge",
            json!({"metadata": {"finalizers": ["example.com/f"]}}),
        )
        .await
        .ok();
    admin
        .patch(&path, "merge", json!({"metadata": {"managedFields": [{}]}}))
        .await
        .ok();
    admin.delete(&path, Value::Null).await.ok();
    admin
        .patch(&path, "merge", json!({"metadata": {"finalizers": null}}))
        .await
        .ok();
    let expected = ["MODIFIED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"];
    for (number, kind) in expected.iter().enumerate() {
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], *kind, "{number}");
        let object = &event["object"];
        assert_eq!(
            (object["kind"].as_str(), object["apiVersion"].as_str()),
            (Some("Pod"), Some("v1"))
        );
        assert_eq!(object["spec"]["containers"][0]["name"], "c");
        assert_eq!(
            object["metadata"]["deletionTimestamp"].is_string(),
            number >= 3,
            "{number}"
        );
    }
}

/// W06: bookmarks name the kind and a version, and nothing more than required.
#[tokio::test]
async fn w06_a_bookmark_before_the_timeout_has_only_a_version() {
    let admin = Cluster::start_in_a_hurry().await.admin();
    let mut watch = admin
        .watch(&format!(
            "{PODS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=5&resourceVersion=1"
        ))
        .await;
    let mut bookmarks = 0;
    while let Some(event) = watch.next().await {
        assert_eq!(event["type"], "BOOKMARK");
        let object = &event["object"];
        assert_eq!(object["kind"], "Pod");
        let meta: Vec<&String> = object["metadata"].as_object().unwrap().keys().collect();
        assert_eq!(meta, ["resourceVersion"], "{event}");
        bookmarks += 1;
    }
    assert!(bookmarks >= 1);
}
