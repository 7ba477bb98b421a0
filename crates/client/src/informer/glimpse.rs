//! Pods read for a few of their fields, by who watches thousands of them: which pod it is, whether it is being deleted, and
//! what the reader names of `spec` and `status`.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};

/// A pod, of whose `spec` an informer reads what `S` has, and of its `status` what `T` has.
#[derive(Clone, Debug, Deserialize)]
pub struct PodGlimpse<S, T> {
    /// Name, namespace, uid, resourceVersion and deletionTimestamp.
    #[serde(default, deserialize_with = "identity")]
    pub metadata: ObjectMeta,
    /// spec.
    #[serde(default)]
    pub spec: S,
    /// status.
    #[serde(default)]
    pub status: T,
}

/// The metadata that is looked at; what manages the fields of a pod is most of the rest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
}

fn identity<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let read = Identity::deserialize(from)?;
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        deletion_timestamp: read.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

impl<S, T> Resource for PodGlimpse<S, T> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Clone, Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        node_name: Option<String>,
    }

    #[derive(Clone, Debug, Default, Deserialize)]
    #[serde(default)]
    struct Status {
        phase: Option<String>,
    }

    type Glimpse = PodGlimpse<Spec, Status>;

    #[test]
    fn of_a_pod_is_read_which_one_it_is_and_what_was_named() {
        let pod: Glimpse = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"},
                "deletionTimestamp": "2026-01-02T00:00:00Z", "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "env": []}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        }))
        .unwrap();
        assert_eq!(pod.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(pod.meta().labels, None);
        assert!(pod.meta().deletion_timestamp.is_some());
        assert_eq!(pod.spec.node_name.as_deref(), Some("n1"));
        assert_eq!(pod.status.phase.as_deref(), Some("Running"));
        assert_eq!(Glimpse::url_path(&(), Some("ns")), "/api/v1/namespaces/ns/pods");
    }

    #[test]
    fn a_pod_may_lack_all_that_is_read() {
        let pod: Glimpse = serde_json::from_value(json!({})).unwrap();
        assert_eq!(pod.meta().name, None);
        assert_eq!((pod.spec.node_name, pod.status.phase), (None, None));
    }
}
