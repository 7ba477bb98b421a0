//! Builders for this crate's tests.

use orlop_api::quantity::Amount;
use orlop_client::informer::{ObjectKey, Projection, Store};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Holder};
use crate::view::{NodeView, Pending, PodView, Takes};

pub fn pending(spec: Value) -> Box<Pending> {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec});
    match PodView::project(serde_json::from_value(pod).unwrap()) {
        PodView::Pending(pending) => pending,
        other => panic!("not pending: {other:?}"),
    }
}

/// Nodes by name, each with 4 cpus, 4 GiB and room for 10 pods.
pub fn cluster(nodes: Value) -> Cluster {
    let store = Store::<NodeView>::new();
    let mut cluster = Cluster::default();
    for (name, node) in nodes.as_object().unwrap() {
        let mut node = node.clone();
        node["metadata"]["name"] = json!(name);
        node["status"] = json!({"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "10"}});
        store.apply(serde_json::from_value(node).unwrap());
    }
    store.for_each(|node| cluster.put_node(node.clone()));
    cluster
}

/// A pod on a node.
pub fn hold(cluster: &mut Cluster, pod: &str, node: &str, priority: i32, cpus: i64) {
    let mut takes = Takes::default();
    takes.requested.insert("cpu".into(), Amount::from_units(cpus));
    let holder = Holder {
        uid: pod.into(),
        priority,
        terminating: false,
        takes,
    };
    cluster.hold(&ObjectKey::new("ns", pod), &node.into(), holder);
}

pub fn with_cpu(cpu: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
}
