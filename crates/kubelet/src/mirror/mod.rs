//! Mirror pods: what the API server shows of static pods. [`decide`] says what is to be done, the rest does it; none
//! of it is ever in the way of the containers.
mod decide;
mod refusals;
mod shown;

pub use decide::{Upkeep, View, decide};
pub use refusals::{Refusals, refusal};

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use orlop_api::annotations::CONFIG_MIRROR;
use orlop_api::pod::{config_hash, name, namespace};

/// The object to create for a static pod; `None` while the pod or the node lack what it needs.
pub fn object(pod: &Pod, node: &Node) -> Option<Pod> {
    let mut mirror = shown::shown(pod.clone());
    let hash = config_hash(pod)?.to_owned();
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.metadata.name.clone()?,
        uid: node.metadata.uid.clone()?,
        controller: Some(true),
        block_owner_deletion: None,
    };
    mirror.metadata.owner_references = Some(vec![owner]);
    mirror
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(CONFIG_MIRROR.to_owned(), hash);
    mirror.metadata.uid = None;
    mirror.metadata.resource_version = None;
    mirror.status = None;
    Some(mirror)
}

/// Creates the mirror of a static pod.
pub async fn create(client: &kube::Client, pod: &Pod, node: &Node) -> Result<Option<Pod>, kube::Error> {
    let Some(mirror) = object(pod, node) else {
        return Ok(None);
    };
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace(pod));
    let created = api.create(&PostParams::default(), &mirror).await?;
    tracing::info!(pod = name(pod), namespace = namespace(pod), "mirror pod created");
    Ok(Some(created))
}

/// Deletes an object at once, if it still is the one with this UID. Whether it is gone by this.
pub async fn delete(client: &kube::Client, object: &Pod) -> Result<bool, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace(object));
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: object.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(name(object), &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a32_mirror_has_the_hash_and_exactly_the_node_as_owner() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web-n1", "namespace": "d", "uid": "abc",
                "annotations": {"kubernetes.io/config.hash": "abc", "kubernetes.io/config.source": "file"}},
            "status": {"phase": "Running"},
        }))
        .unwrap();
        let mut node: Node = serde_json::from_value(serde_json::json!({"metadata": {"name": "n1"}})).unwrap();
        assert!(
            object(&pod, &node).is_none(),
            "a node that has no UID yet owns nothing"
        );
        node.metadata.uid = Some("node-uid".into());
        let mirror = object(&pod, &node).unwrap();
        let annotations = mirror.metadata.annotations.unwrap();
        assert_eq!(annotations["kubernetes.io/config.mirror"], "abc");
        assert_eq!(annotations["kubernetes.io/config.source"], "file");
        let owners = mirror.metadata.owner_references.unwrap();
        assert_eq!(
            (owners.len(), owners[0].uid.as_str(), owners[0].controller),
            (1, "node-uid", Some(true))
        );
        assert_eq!(owners[0].block_owner_deletion, None);
        assert_eq!((mirror.metadata.uid, mirror.status), (None, None));
    }
}
