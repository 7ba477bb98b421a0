//! The claims of a StatefulSet's pods, and whether they outlive them.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::identity::claim_name;
use crate::cache::StatefulSetView;

/// Whether claims go with the set.
pub fn deleted_with_set(set: &StatefulSetView) -> bool {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    policy.and_then(|policy| policy.when_deleted.as_deref()) == Some("Delete")
}

/// Whether claims go with pods that are scaled away.
pub fn deleted_with_pod(set: &StatefulSetView) -> bool {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    policy.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete")
}

/// The owner of claims that go with the set. It doesn't manage them.
pub fn set_as_owner(set: &StatefulSetView) -> OwnerReference {
    OwnerReference {
        controller: None,
        block_owner_deletion: None,
        ..set.owner_reference()
    }
}

/// The owner of claims that go with a pod.
pub fn pod_as_owner(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: None,
        block_owner_deletion: None,
    }
}

/// The claims of the pod with that ordinal.
pub fn claims(set: &StatefulSetView, ordinal: u32) -> Vec<PersistentVolumeClaim> {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    templates
        .filter_map(|template| {
            let mut claim = template.clone();
            let name = claim_name(set, claim.metadata.name.as_deref()?, ordinal);
            claim.metadata.name = Some(name);
            claim.metadata.namespace.clone_from(&set.metadata.namespace);
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.extend(set.spec.selector.match_labels.clone().unwrap_or_default());
            claim.metadata.owner_references = deleted_with_set(set).then(|| vec![set_as_owner(set)]);
            claim.status = None;
            Some(claim)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::set;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_is_named_after_its_pod_and_may_go_with_the_set() {
        let of = |policy: &str| {
            let set = set(
                json!({"volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"a": "b"}}}],
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": policy, "whenScaled": "Retain"}}),
            );
            assert!(!deleted_with_pod(&set));
            serde_json::to_value(&claims(&set, 2)[0].metadata).unwrap()
        };
        assert_eq!(
            of("Retain"),
            json!({"name": "data-web-2", "namespace": "ns", "labels": {"a": "b", "app": "web"}})
        );
        assert_eq!(
            of("Delete")["ownerReferences"],
            json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s"}])
        );
    }
}
