//! Verdicts, against answers that the test gives.

use http::Method;
use orlop_client::informer::Lean;

use super::*;
use crate::testing::server;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// A list of Leases, as a server answers it.
fn leases(items: serde_json::Value) -> (u16, serde_json::Value) {
    let list =
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {}, "items": items});
    (200, list)
}

/// Shows a node that is ready.
fn see_node(cache: &Cache, lifecycle: &NodeLifecycle) {
    let node = json!({"metadata": {"name": "n", "uid": "n", "resourceVersion": "7"}, "status": {"conditions": [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}});
    let changes = cache
        .nodes
        .store()
        .apply(Lean(serde_json::from_value(node).unwrap()));
    changes.iter().for_each(|change| lifecycle.node(change));
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_renewals_are_shown_late_is_not_given_up() {
    let (reader, read) = server(|method, path, _| match (method, path) {
        (&Method::GET, LEASES) => leases(json!([{"metadata": {"name": "n"},
            "spec": {"renewTime": "2026-01-01T00:00:40.000000Z"}}])),
        _ => panic!("{method} {path}"),
    });
    let (client, written) = server(|method, path, body| match (method, path) {
        (_, path) if path.contains("/events") => (200, body),
        (&Method::PATCH, "/api/v1/nodes/n/status") => (
            200,
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}),
        ),
        _ => panic!("{method} {path}"),
    });
    let cache = Arc::new(Cache::default());
    let lifecycle = NodeLifecycle::new(client, reader, &cache, NodeLifecycleConfig::default());
    see_node(&cache, &lifecycle);
    let asked = || (read.lock().unwrap().len(), written.lock().unwrap().len());
    let name: Arc<str> = "n".into();
    tokio::time::advance(Duration::from_secs(51)).await;
    lifecycle.give_up(&name).await.unwrap();
    assert_eq!(asked(), (1, 0), "its Lease says that it lives");
    tokio::time::advance(Duration::from_secs(51)).await;
    lifecycle.give_up(&name).await.unwrap();
    assert_eq!(asked(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_about_the_node_as_it_was_seen_and_only_while_it_is_silent() {
    let (client, asked) = server(|method, path, body| match (method, path) {
        (_, path) if path.contains("/events") => (200, body),
        (&Method::PATCH, "/api/v1/nodes/n/status") => (
            409,
            json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409, "message": "changed"}),
        ),
        (&Method::GET, LEASES) => leases(json!([])),
        _ => panic!("{method} {path}"),
    });
    let cache = Arc::new(Cache::default());
    let lifecycle = NodeLifecycle::new(client.clone(), client, &cache, NodeLifecycleConfig::default());
    see_node(&cache, &lifecycle);
    let name: Arc<str> = "n".into();
    let patches = || -> Vec<serde_json::Value> {
        let asked = asked.lock().unwrap();
        let patches = asked.iter().filter(|(method, ..)| method == Method::PATCH);
        patches
            .map(|(.., body)| body["metadata"]["resourceVersion"].clone())
            .collect()
    };
    lifecycle.give_up(&name).await.unwrap();
    assert!(patches().is_empty(), "it was heard of meanwhile");
    tokio::time::advance(Duration::from_secs(51)).await;
    let conflict = lifecycle.give_up(&name).await.unwrap_err();
    assert!(api_error::is_conflict(&conflict));
    assert_eq!(patches(), ["7"]);
    let renewed = Some(Timestamp::now());
    lifecycle
        .state()
        .health
        .get_mut("n")
        .unwrap()
        .lease_seen(renewed, Instant::now());
    lifecycle.give_up(&name).await.unwrap();
    assert_eq!(patches().len(), 1);
}
