//! Looks at objects, against answers that the test gives.

use super::*;
use crate::testing::{Asked, server};
use http::Method;
use kube::core::ApiResource;
use serde_json::{Value, json};

const THING: &str = "/apis/example.com/v1/namespaces/ns/things/owner";

/// Looks at a Pod whose owner is a Thing, which a server answers for that serves Things in these versions; whether
/// that came to an end, and what was deleted.
async fn looked_at(owner: (u16, Value), versions: &'static [&'static str]) -> (bool, usize) {
    let (ended, asked) = looked_at_after(owner, versions, |_| ()).await;
    (
        ended,
        asked.iter().filter(|method| **method == Method::DELETE).count(),
    )
}

/// The same, after the graph was told something; how the server was asked.
async fn looked_at_after(
    owner: (u16, Value),
    versions: &'static [&'static str],
    told: impl FnOnce(&mut Graph),
) -> (bool, Vec<Method>) {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "p", "resourceVersion": "5",
        "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Thing", "name": "owner", "uid": "o"}]}});
    let live = pod.clone();
    let (client, asked): (_, Asked) = server(move |method, path, _| match (method, path) {
        (&Method::DELETE, _) => (200, json!({"kind": "Status", "status": "Success"})),
        (&Method::PATCH, _) => (200, live.clone()),
        (_, THING) => owner.clone(),
        (_, "/api/v1/namespaces/ns/pods/p") => (200, live.clone()),
        (_, "/api") => (
            200,
            json!({"items": [{"metadata": {}, "versions": [{"version": "v1", "resources": []}]}]}),
        ),
        (_, "/apis") => {
            let things = |version: &&str| {
                json!({"version": version, "resources": [{"resource": "things",
                "responseKind": {"group": "example.com", "version": version, "kind": "Thing"},
                "scope": "Namespaced", "verbs": ["list", "watch", "delete"]}]})
            };
            let versions: Vec<Value> = versions.iter().map(things).collect();
            (
                200,
                json!({"items": [{"metadata": {"name": "example.com"}, "versions": versions}]}),
            )
        }
        (method, path) => panic!("{method} {path}"),
    });
    let collector = GarbageCollector::new(client, &Arc::new(Cache::default()));
    let kind = |group: &str, kind: &str, plural: &str| Served {
        resource: ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: if group.is_empty() {
                "v1".to_owned()
            } else {
                format!("{group}/v1")
            },
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        },
        namespaced: true,
        watchable: true,
        delete_collection: true,
    };
    *collector.kinds.write().unwrap() = vec![kind("", "Pod", "pods"), kind("example.com", "Thing", "things")];
    told(&mut collector.graph());
    let metadata = serde_json::from_value(pod["metadata"].clone()).unwrap();
    let tasks = collector.graph().applied(0, &metadata, |_| None);
    assert_eq!(tasks, [Task::Check("p".into())]);
    let ended = collector.look(&tasks[0]).await.is_ok();
    let asked = asked.lock().unwrap();
    (ended, asked.iter().map(|(method, ..)| method.clone()).collect())
}

fn not_found(message: &str, details: Value) -> (u16, Value) {
    let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": message, "details": details});
    (404, status)
}

#[tokio::test]
async fn a_place_that_is_not_served_says_nothing_of_an_owner_whose_kind_is() {
    let named = not_found(
        "things \"owner\" not found",
        json!({"name": "owner", "kind": "things"}),
    );
    assert_eq!(looked_at(named, &["v1"]).await, (true, 1), "the owner is gone");
    let unserved = || not_found("404 page not found", json!({}));
    assert_eq!(
        looked_at(unserved(), &["v2"]).await,
        (false, 0),
        "its kind has moved"
    );
    let lagging = looked_at(unserved(), &["v1"]).await;
    assert_eq!(lagging, (false, 0), "another server behind the address has it");
    assert_eq!(
        looked_at(unserved(), &[]).await,
        (true, 1),
        "it went with its kind"
    );
}

#[tokio::test]
async fn an_owner_of_the_right_uid_and_another_name_is_none() {
    let named = not_found(
        "things \"owner\" not found",
        json!({"name": "owner", "kind": "things"}),
    );
    let seen = OwnerReference {
        api_version: "example.com/v1".to_owned(),
        kind: "Thing".to_owned(),
        name: "other".to_owned(),
        uid: "o".to_owned(),
        ..OwnerReference::default()
    };
    let told = |graph: &mut Graph| graph.found_alive(&seen, &"ns".into());
    let (ended, asked) = looked_at_after(named, &["v1"], told).await;
    assert!(ended && asked.contains(&Method::DELETE), "{asked:?}");
}

#[tokio::test]
async fn what_is_seen_only_after_its_owner_let_it_go_stays() {
    for (deleted, written) in [
        ("2026-01-01T00:00:05Z", Method::PATCH),
        ("2025-12-31T23:59:59Z", Method::DELETE),
    ] {
        let named = not_found(
            "things \"owner\" not found",
            json!({"name": "owner", "kind": "things"}),
        );
        let told = |graph: &mut Graph| {
            let going = json!({"name": "owner", "namespace": "ns", "uid": "o", "finalizers": [ORPHAN],
                "deletionTimestamp": deleted});
            graph.applied(1, &serde_json::from_value(going).unwrap(), |_| None);
            graph.deleted("o");
        };
        let (ended, mut asked) = looked_at_after(named, &["v1"], told).await;
        asked.retain(|method| method != Method::GET);
        assert!(
            ended && asked == [written],
            "made before or after {deleted}: {asked:?}"
        );
    }
}
