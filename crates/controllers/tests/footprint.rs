//! What controllers remember of a fleet, in bytes of live memory: a large cluster is mostly its nodes and daemon pods.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use orlop_client::informer::{Projection, Store};
use orlop_controllers::cache::{LeaseView, NodeView, PodView};
use serde_json::{Value, json};

/// Counts what is in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(taken(layout), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(taken(layout), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What the C library's allocator takes for it: eight bytes more, in steps of sixteen, at least thirty-two.
fn taken(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const OBJECTS: usize = 5000;

/// Bytes that the store of `P` takes of each of many objects.
fn each<P: Projection>(object: impl Fn(usize) -> Value) -> usize {
    let before = IN_USE.load(Ordering::Relaxed);
    let store = Store::<P>::new();
    for number in 0..OBJECTS {
        store.apply(serde_json::from_value(object(number)).unwrap());
    }
    let each = (IN_USE.load(Ordering::Relaxed) - before) / OBJECTS;
    drop(store);
    each
}

fn metadata(name: &str, namespace: &str, number: usize, more: &Value) -> Value {
    let mut metadata = json!({
        "name": name, "namespace": namespace, "resourceVersion": (number + 1).to_string(),
        "uid": format!("3f5a7e0c-9d1b-4c57-8a2e-{number:012}"), "creationTimestamp": "2026-01-02T03:04:05Z",
    });
    for (key, value) in more.as_object().unwrap() {
        metadata[key] = value.clone();
    }
    metadata
}

fn node(number: usize) -> Value {
    let name = format!("fleet-node-{number:05}");
    let condition = |of: &str, status: &str| {
        json!({"type": of, "status": status, "reason": "KubeletHasSufficient", "message": "kubelet has sufficient of it",
            "lastHeartbeatTime": "2026-01-02T03:04:05Z", "lastTransitionTime": "2026-01-02T03:04:05Z"})
    };
    let labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": format!("zone-{}", number % 3), "node.kubernetes.io/instance-type": "large"});
    json!({
        "metadata": metadata(&name, "", number, &json!({"labels": labels,
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}})),
        "spec": {"podCIDR": format!("10.{}.{}.0/24", number / 256, number % 256)},
        "status": {"allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"},
            "conditions": [condition("MemoryPressure", "False"), condition("DiskPressure", "False"),
                condition("PIDPressure", "False"), condition("Ready", "True")]},
    })
}

fn pod(number: usize) -> Value {
    let (name, node) = (format!("agent-{number:05}"), format!("fleet-node-{number:05}"));
    let tolerations: Vec<Value> = ["not-ready", "unreachable"]
        .iter()
        .map(|key| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute"}))
        .collect();
    json!({
        "metadata": metadata(&name, "default", number, &json!({
            "generateName": "agent-",
            "labels": {"app": "agent", "controller-revision-hash": "5d9c7b4f6", "pod-template-generation": "1"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "controller": true,
                "blockOwnerDeletion": true, "uid": "11111111-9d1b-4c57-8a2e-000000000000"}]})),
        "spec": {"nodeName": node, "tolerations": tolerations, "containers": [{"name": "agent", "image": "agent:1"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}]},
    })
}

fn lease(number: usize) -> Value {
    let name = format!("fleet-node-{number:05}");
    json!({
        "metadata": metadata(&name, "kube-node-lease", number, &json!({})),
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": "2026-01-02T03:04:05.000000Z"},
    })
}

#[test]
fn what_is_remembered_of_a_fleet_is_small() {
    for (what, bytes, most) in [
        ("pod", each::<PodView>(pod), 1100),
        ("node", each::<NodeView>(node), 700),
        ("lease", each::<LeaseView>(lease), 400),
    ] {
        println!("{what}: {bytes} bytes");
        assert!(bytes <= most, "a {what} takes {bytes} bytes, more than {most}");
    }
}
