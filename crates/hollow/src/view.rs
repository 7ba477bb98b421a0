//! A pod, as far as a hollow node cares: read from the watch without building the rest of it.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::NamespaceResourceScope;
use orlop_client::informer::{ObjectKey, Projection};
use serde::{Deserialize, Deserializer};

/// Index: pods by the node they are bound to.
pub const BY_NODE: usize = 0;

/// What is read of a pod.
#[derive(Debug, Clone, Deserialize)]
pub struct ReadPod {
    #[serde(default, deserialize_with = "read_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ReadSpec,
    #[serde(default)]
    status: ReadStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadSpec {
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

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ReadStatus {
    phase: Option<String>,
}

/// The metadata that is looked at; what manages the fields of a pod is most of the rest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
}

fn read_metadata<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let read = ReadMetadata::deserialize(from)?;
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        deletion_timestamp: read.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

impl kube::Resource for ReadPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
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
    use kube::Resource;
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
        assert_eq!(pod.meta().resource_version.as_deref(), Some("7"));
        let pod = HollowPod::project(pod);
        assert_eq!(pod.node.as_deref(), Some("n1"));
        assert_eq!(pod.containers, [("c".to_owned(), "i".to_owned())]);
        assert_eq!((pod.phase, pod.terminating), (Phase::Running, false));
    }
}
