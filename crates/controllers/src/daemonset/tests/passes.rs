//! What one pass over all nodes asks of the server.

use std::sync::{Arc, Mutex};

use http::Method;
use k8s_openapi::api::core::v1 as core;
use orlop_api::annotations::PRE_PULL_SET;
use orlop_client::informer::{Lean, ObjectKey};
use serde_json::{Value, json};

use super::super::DaemonSets;
use super::super::sync::SyncError;
use super::{created, knowing, set};
use crate::cache::Cache;
use crate::owned::ClaimError;
use crate::testing::{Asked, server};

/// A controller of one set among `nodes` nodes, whose server does whatever it is asked for but where `answer` says otherwise.
fn controlled(
    nodes: usize,
    answer: impl Fn(&Method, &str) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> (Arc<Cache>, Arc<DaemonSets>, Asked) {
    let count = Mutex::new(0);
    let (client, asked) = server(move |method, path, body| {
        if path.contains("/events") {
            return (200, body);
        }
        if let Some(answer) = answer(method, path) {
            return answer;
        }
        match *method {
            Method::POST => {
                let mut count = count.lock().unwrap();
                *count += 1;
                (201, created(*count, body))
            }
            Method::PATCH | Method::DELETE => {
                let pod =
                    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}});
                (200, pod)
            }
            _ => (200, body),
        }
    });
    let (cache, sets) = knowing(client, nodes);
    (cache, sets, asked)
}

/// The bodies of what was asked by `method` of paths that end like this, with their paths' last part.
fn bodies(asked: &Asked, method: &Method, end: &str) -> Vec<(String, Value)> {
    let asked = asked.lock().unwrap();
    let these = asked
        .iter()
        .filter(|(by, path, _)| by == method && path.ends_with(end));
    these
        .map(|(_, path, body)| (path.rsplit('/').next().unwrap().to_owned(), body.clone()))
        .collect()
}

/// The status that was written last.
fn status(asked: &Asked) -> Value {
    let mut written = bodies(asked, &Method::PUT, "/daemonsets/d/status");
    written.pop().unwrap().1["status"].take()
}

/// A running pod of that age in seconds, with this label and that owner.
fn pod(name: &str, node: &str, age: usize, app: &str, owner: Option<&str>) -> Lean<core::Pod> {
    let owners: Vec<Value> = owner
        .map(|uid| json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": uid, "controller": true}))
        .into_iter()
        .collect();
    let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "7",
        "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", 59 - age), "labels": {"app": app}, "ownerReferences": owners},
        "spec": {"nodeName": node, "containers": []}, "status": {"phase": "Running"}});
    Lean(serde_json::from_value(pod).unwrap())
}

#[tokio::test]
async fn c01_of_five_nodes_two_get_a_pod_five_surplus_pods_go_and_two_relabelled_ones_are_let_go() {
    let (cache, sets, asked) = controlled(5, |_, _| None);
    for (node, count, app) in [("n1", 1, "d"), ("n2", 2, "d"), ("n3", 5, "d"), ("n4", 2, "other")] {
        for number in 0..count {
            let pod = pod(&format!("{node}-{number}"), node, 50 - number, app, Some("d-uid"));
            cache.pods.store().apply(pod);
        }
    }
    sets.sync(&ObjectKey::new("ns", "d")).await.unwrap();
    assert_eq!(bodies(&asked, &Method::POST, "/pods").len(), 2);
    let names = |method: &Method| {
        let asked = bodies(&asked, method, "");
        let mut names: Vec<String> = asked.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&Method::DELETE),
        ["n2-1", "n3-1", "n3-2", "n3-3", "n3-4"],
        "the oldest stay"
    );
    assert_eq!(names(&Method::PATCH), ["n4-0", "n4-1"]);
    for (_, patch) in bodies(&asked, &Method::PATCH, "") {
        let owners = &patch["metadata"]["ownerReferences"];
        assert_eq!(*owners, json!([{"$patch": "delete", "uid": "d-uid"}]));
    }
}

/// As the collector lets pods go when a set is deleted with `--cascade=orphan`, and the cache shows that of the pods first.
#[tokio::test]
async fn c09_of_a_set_that_only_the_server_knows_to_be_going_nothing_is_touched_beside_an_orphan() {
    let (cache, sets, asked) = controlled(2, |method, path| {
        let mut going = set();
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        (method == Method::GET && path.ends_with("/daemonsets/d")).then_some((200, going))
    });
    cache.pods.store().apply(pod("orphan", "n0", 9, "d", None));
    let error = sets.sync(&ObjectKey::new("ns", "d")).await.unwrap_err();
    assert!(
        matches!(error, SyncError::Claim(ClaimError::OwnerGone { .. })),
        "{error}"
    );
    let asked = asked.lock().unwrap();
    let asked: Vec<String> = asked
        .iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(
        asked,
        [
            "POST /apis/apps/v1/namespaces/ns/controllerrevisions",
            "GET /apis/apps/v1/namespaces/ns/daemonsets/d"
        ],
        "nothing is adopted, created, deleted or told"
    );
}

#[tokio::test]
async fn c12_creations_stop_with_the_batch_in_which_one_is_refused_and_the_status_tells_those_made() {
    let left = Mutex::new(10);
    let (cache, sets, asked) = controlled(100, move |method, path| {
        if method != Method::POST || !path.ends_with("/pods") {
            return None;
        }
        let mut left = left.lock().unwrap();
        if *left == 0 {
            let refused = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403,
                "message": "exceeded quota"});
            return Some((403, refused));
        }
        *left -= 1;
        None
    });
    let key = ObjectKey::new("ns", "d");
    sets.sync(&key).await.unwrap_err();
    let posts = || bodies(&asked, &Method::POST, "/pods");
    assert_eq!(posts().len(), 1 + 2 + 4 + 8);
    let told = status(&asked);
    let numbers = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "updatedNumberScheduled",
    ];
    assert_eq!(
        numbers.map(|number| told[number].clone()),
        [json!(100), json!(10), json!(10)]
    );
    // Nothing is awaited of those that came to nothing. The revision was the first creation.
    for (number, (_, pod)) in posts().into_iter().take(10).enumerate() {
        let pod = created(number + 2, pod);
        cache
            .pods
            .store()
            .apply(Lean(serde_json::from_value(pod).unwrap()));
    }
    assert_eq!(sets.awaited.behind("d-uid"), None);
}

#[tokio::test]
async fn c13_the_status_of_the_sync_that_creates_the_pods_shows_them() {
    let (_cache, sets, asked) = controlled(5, |_, _| None);
    sets.sync(&ObjectKey::new("ns", "d")).await.unwrap();
    assert_eq!(bodies(&asked, &Method::POST, "/pods").len(), 5);
    assert_eq!(
        bodies(&asked, &Method::PUT, "/status").len(),
        1,
        "it is written once"
    );
    let told = status(&asked);
    assert_eq!(
        [
            &told["desiredNumberScheduled"],
            &told["currentNumberScheduled"],
            &told["numberReady"]
        ],
        [5, 5, 0]
    );
}

#[tokio::test]
async fn pods_that_pull_go_when_their_set_asks_for_that_no_more() {
    let (cache, sets, asked) = controlled(1, |_, _| None);
    let mut puller = pod("d-pull-1", "n0", 9, "other", None);
    puller.0.metadata.labels = Some([(PRE_PULL_SET.to_owned(), "d-uid".to_owned())].into());
    cache.pods.store().apply(puller);
    cache.pods.store().apply(pod("orphan", "n0", 9, "other", None));
    sets.sync(&ObjectKey::new("ns", "d")).await.unwrap();
    let gone = bodies(&asked, &Method::DELETE, "");
    let gone: Vec<&str> = gone.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(gone, ["d-pull-1"]);
}
