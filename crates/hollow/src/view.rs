//! A pod, as far as a hollow node cares: read from the watch without building the rest of it.

use std::sync::Arc;

use orlop_client::informer::{ObjectKey, PodGlimpse, Projection};
use serde::Deserialize;

/// Index: pods by the node they are bound to.
pub const BY_NODE: usize = 0;

/// What is read of a pod.
pub type ReadPod = PodGlimpse<ReadSpec, ReadStatus>;

/// What is read of `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadSpec {
    node_name: Option<String>,
    containers: Vec<ReadContainer>,
    restart_policy: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct ReadContainer {
    name: String,
    #[serde(default)]
    image: String,
}

/// What is read of `status`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReadStatus {
    phase: Option<String>,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not started.
    #[default]
    Pending,
    /// Started.
    Running,
    /// Ended.
    Ended,
}

/// What is remembered of a pod.
#[derive(Debug, Clone, Default)]
pub struct HollowPod {
    /// The node it is bound to.
    pub node: Option<Arc<str>>,
    /// Its containers with their images.
    pub containers: Vec<(String, String)>,
    /// Its containers run once and end.
    pub runs_once: bool,
    /// How far it is.
    pub phase: Phase,
    /// It was deleted and waits for its node.
    pub terminating: bool,
}

impl Projection for HollowPod {
    type Object = ReadPod;
    const INDEXES: usize = 1;

    fn project(pod: ReadPod) -> Self {
        let node = pod.spec.node_name.filter(|name| !name.is_empty());
        let containers = pod.spec.containers.into_iter();
        Self {
            // Names of containers are needed of a pod that some node has.
            containers: if node.is_some() {
                containers
                    .map(|container| (container.name, container.image))
                    .collect()
            } else {
                Vec::new()
            },
            node: node.map(Arc::from),
            runs_once: pod.spec.restart_policy.is_some_and(|policy| policy != "Always"),
            phase: match pod.status.phase.as_deref() {
                Some("Running") => Phase::Running,
                Some("Succeeded" | "Failed") => Phase::Ended,
                _ => Phase::Pending,
            },
            terminating: pod.metadata.deletion_timestamp.is_some(),
        }
    }

    fn index(&self, _: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        if let Some(node) = &self.node {
            add(BY_NODE, node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_pod_what_its_node_needs_is_read() {
        let pod: ReadPod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "env": []}]},
            "status": {"phase": "Running"},
        }))
        .unwrap();
        assert_eq!(pod.metadata.resource_version.as_deref(), Some("7"));
        let pod = HollowPod::project(pod);
        assert_eq!(pod.node.as_deref(), Some("n1"));
        assert_eq!(pod.containers, [("c".to_owned(), "i".to_owned())]);
        assert_eq!((pod.phase, pod.terminating), (Phase::Running, false));
    }
}
