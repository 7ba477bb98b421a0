//! Templates compared, and the ReplicaSet made for one.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::annotations;
use super::limits::Limits;
use crate::cache::DeploymentView;
use crate::revisions::bytes as revision_bytes;

/// The label that tells the pods of a Deployment's ReplicaSets apart.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Tells templates apart; the label that tells their pods apart doesn't count.
pub fn template_print(template: &PodTemplateSpec) -> u128 {
    orlop_api::fnv::fnv1a128(bytes(template).as_bytes())
}

fn bytes(template: &PodTemplateSpec) -> String {
    let mut template = template.clone();
    if let Some(labels) = template
        .metadata
        .as_mut()
        .and_then(|metadata| metadata.labels.as_mut())
    {
        labels.remove(POD_TEMPLATE_HASH);
    }
    // Types of the API always serialise.
    revision_bytes::of_template(&template).unwrap_or_default()
}

/// The ReplicaSet for the Deployment's template, with `replicas` pods, as revision `revision`.
pub fn new_set(deployment: &DeploymentView, replicas: i32, limits: Limits, revision: i64) -> ReplicaSet {
    let spec = &deployment.spec;
    let hash = revision_bytes::hash(&bytes(&spec.template), deployment.status.collision_count);
    let mut template = spec.template.clone();
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let metadata = &deployment.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations::of_new_set(deployment, limits, revision)),
            owner_references: Some(vec![deployment.owner_reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::deployment;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_set_is_told_apart_by_the_hash_of_the_template() {
        let deployment = deployment(json!({"replicas": 3}));
        let limits = Limits {
            max_surge: 1,
            max_unavailable: 0,
        };
        let set = serde_json::to_value(new_set(&deployment, 2, limits, 4)).unwrap();
        let hash = set["metadata"]["labels"][POD_TEMPLATE_HASH].clone();
        assert_eq!(set["metadata"]["name"], format!("web-{}", hash.as_str().unwrap()));
        assert_eq!(
            set["spec"]["selector"]["matchLabels"],
            json!({"app": "web", POD_TEMPLATE_HASH: hash})
        );
        assert_eq!(
            set["spec"]["template"]["metadata"]["labels"],
            json!({"app": "web", POD_TEMPLATE_HASH: hash})
        );
        assert_eq!(
            set["metadata"]["annotations"],
            json!({"deployment.kubernetes.io/desired-replicas": "3",
                "deployment.kubernetes.io/max-replicas": "4", "deployment.kubernetes.io/revision": "4"})
        );
        let made: PodTemplateSpec = serde_json::from_value(set["spec"]["template"].clone()).unwrap();
        assert_eq!(template_print(&made), deployment.template_print);
    }

    #[test]
    fn a_collision_gives_another_name() {
        let mut deployment = deployment(json!({}));
        let limits = Limits::default();
        let first = new_set(&deployment, 1, limits, 1).metadata.name;
        deployment.status.collision_count = Some(1);
        assert_ne!(first, new_set(&deployment, 1, limits, 1).metadata.name);
    }
}
