//! The objects that the server is filled with.
use bytes::Bytes;
use serde_json::{Value, json};

/// What brings a pod to its size.
const POD_PADDING: usize = 329;

fn bytes(object: &Value) -> Bytes {
    object.to_string().into()
}

/// A pod that lists as 5.6 kB of JSON, its managed fields included, as running ones do. Every 50th
/// carries `rare=yes`.
pub fn pod(number: usize) -> Bytes {
    let padding = "x".repeat(POD_PADDING);
    let containers: Vec<Value> = ["main", "sidecar"]
        .iter()
        .map(|name| {
            json!({
                "name": name, "image": "registry.example/team/service:1.2.3",
                "command": ["/bin/service", "--listen=:8080", "--config=/etc/service/config.yaml"],
                "env": (0..2).map(|n| json!({"name": format!("SETTING_{n}"), "value": "a-value"})).collect::<Vec<_>>(),
                "ports": [{"containerPort": 8080, "name": "http"}],
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
                "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}},
            })
        })
        .collect();
    bytes(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("pod-{number:06}"),
            "labels": {"app": "service", "rare": if number.is_multiple_of(50) { "yes" } else { "no" }},
            "annotations": {"padding": padding},
        },
        "spec": {"nodeName": format!("node-{:04}", number % 1000), "containers": containers},
    }))
}

/// A ConfigMap with so many bytes of data.
pub fn config_map(number: usize, data: usize, labels: &Value) -> Bytes {
    bytes(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("map-{number:06}"), "labels": labels},
        "data": {"k": "v".repeat(data)},
    }))
}

/// A Secret with so many bytes of base64.
pub fn secret(number: usize, encoded: usize) -> Bytes {
    bytes(&json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": format!("secret-{number:06}")},
        "data": {"k": "A".repeat(encoded / 4 * 4)},
    }))
}

pub fn node(number: usize) -> Bytes {
    bytes(&json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("node-{number:04}"), "labels": {"kubernetes.io/os": "linux"}},
        "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
    }))
}

pub fn service_account() -> Bytes {
    bytes(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}))
}
