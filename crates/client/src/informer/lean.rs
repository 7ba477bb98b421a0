//! Objects read without what manages their fields: that is about half of a pod's text, becomes a tree of values when
//! it is read, and no informer looks at it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An object without managedFields, in place of `K` as what an informer reads.
#[derive(Clone, Debug)]
pub struct Lean<K>(pub K);

impl<K: Serialize> Serialize for Lean<K> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Lean<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }
    fn api_version((): &()) -> Cow<'_, str> {
        K::api_version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

/// All of the metadata but managedFields.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
}

impl From<Metadata> for ObjectMeta {
    fn from(read: Metadata) -> Self {
        Self {
            name: read.name,
            generate_name: read.generate_name,
            namespace: read.namespace,
            uid: read.uid,
            resource_version: read.resource_version,
            generation: read.generation,
            creation_timestamp: read.creation_timestamp,
            deletion_timestamp: read.deletion_timestamp,
            deletion_grace_period_seconds: read.deletion_grace_period_seconds,
            labels: read.labels,
            annotations: read.annotations,
            owner_references: read.owner_references,
            finalizers: read.finalizers,
            managed_fields: None,
            self_link: None,
        }
    }
}

#[derive(Deserialize)]
struct Parts<S, T> {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<S>,
    status: Option<T>,
}

impl<'de> Deserialize<'de> for Lean<Pod> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let parts = Parts::<PodSpec, PodStatus>::deserialize(from)?;
        Ok(Self(Pod {
            metadata: parts.metadata.into(),
            spec: parts.spec,
            status: parts.status,
        }))
    }
}

impl<'de> Deserialize<'de> for Lean<Node> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let parts = Parts::<NodeSpec, NodeStatus>::deserialize(from)?;
        Ok(Self(Node {
            metadata: parts.metadata.into(),
            spec: parts.spec,
            status: parts.status,
        }))
    }
}

impl<'de> Deserialize<'de> for Lean<Lease> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let parts = Parts::<LeaseSpec, serde::de::IgnoredAny>::deserialize(from)?;
        Ok(Self(Lease {
            metadata: parts.metadata.into(),
            spec: parts.spec,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_read_as_it_is_but_for_managed_fields() {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "generateName": "p-", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
                "deletionGracePeriodSeconds": 30, "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["e/f"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "nu", "controller": true}]},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let plain: Pod = serde_json::from_value(pod.clone()).unwrap();
        pod["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Update", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]);
        let lean: Lean<Pod> = serde_json::from_value(pod).unwrap();
        assert_eq!(lean.0, plain);
        assert_eq!(
            Lean::<Pod>::url_path(&(), Some("ns")),
            "/api/v1/namespaces/ns/pods"
        );
        let node: Lean<Node> = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        assert_eq!(node.meta().name.as_deref(), Some("n"));
    }
}
