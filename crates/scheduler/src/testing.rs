//! Builders for this crate's tests.

use orlop_api::quantity::Amount;
use orlop_client::informer::{ObjectKey, Projection, Store};
use serde_json::{Value, json};

use crate::known::cluster::{Cluster, Holder};
use crate::known::traits::Traits;
use crate::known::view::{NodeView, Pending, PodView, Takes};
use crate::known::world::World;

pub fn pending(spec: Value) -> Box<Pending> {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec});
    match PodView::project(serde_json::from_value(pod).unwrap()) {
        PodView::Pending(pending) => pending,
        other => panic!("not pending: {other:?}"),
    }
}

/// Nodes by name, each with 4 cpus, 4 GiB and room for 10 pods where no status says otherwise.
pub fn cluster(nodes: Value) -> Cluster {
    let store = Store::<NodeView>::new();
    let mut cluster = Cluster::default();
    for (name, node) in nodes.as_object().unwrap() {
        let mut node = node.clone();
        node["metadata"]["name"] = json!(name);
        if node["status"].is_null() {
            node["status"] = json!({"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "10"}});
        }
        store.apply(serde_json::from_value(node).unwrap());
    }
    store.for_each(|node| cluster.put_node(node.clone()));
    cluster
}

/// A pod on a node.
pub fn hold(cluster: &mut Cluster, pod: &str, node: &str, priority: i32, cpus: i64) {
    let mut takes = Takes::default();
    takes.requested.insert("cpu".into(), Amount::from_units(cpus));
    takes.weight.cpu = cpus * 1000;
    let holder = Holder {
        uid: pod.into(),
        priority,
        terminating: false,
        preempted: false,
        family: None,
        takes: takes.into(),
        traits: std::sync::Arc::new(Traits {
            labels: [("name".to_owned(), pod.to_owned())].into(),
            ..Traits::default()
        }),
        claims: Box::default(),
        started: None,
    };
    cluster.hold(&ObjectKey::new("ns", pod), &node.into(), holder);
}

/// A waiting pod.
pub fn pending_pod(namespace: &str, name: &str, labels: Value, spec: Value) -> Box<Pending> {
    let metadata = json!({"name": name, "namespace": namespace, "uid": name, "labels": labels});
    let pod = json!({"metadata": metadata, "spec": spec});
    match PodView::project(serde_json::from_value(pod).unwrap()) {
        PodView::Pending(pending) => pending,
        other => panic!("not pending: {other:?}"),
    }
}

/// A pod with labels and rules on a node.
pub fn hold_pod(cluster: &mut Cluster, namespace: &str, name: &str, node: &str, labels: Value, spec: Value) {
    let pending = pending_pod(namespace, name, labels, spec);
    let holder = pending.holder(name.into());
    cluster.hold(&ObjectKey::new(namespace, name), &node.into(), holder);
}

/// Namespaces `default`, and `prod` of team red.
pub fn world() -> World {
    let world = World::default();
    for namespace in [
        json!({"metadata": {"name": "default"}}),
        json!({"metadata": {"name": "prod", "labels": {"team": "red"}}}),
    ] {
        world.namespaces.apply(serde_json::from_value(namespace).unwrap());
    }
    world
}

/// Protects the pod called `pod`, of which so many may go.
pub fn protect(world: &World, pod: &str, allowed: i32) {
    let budget = json!({"metadata": {"name": pod, "namespace": "ns"},
        "spec": {"selector": {"matchLabels": {"name": pod}}}, "status": {"disruptionsAllowed": allowed,
            "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    world.budgets.apply(serde_json::from_value(budget).unwrap());
}

pub fn with_cpu(cpu: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
}
