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

/// A pod that claims may go with.
#[derive(Debug, Clone, Copy)]
pub struct PodOfClaim<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uid; none if it is yet to be created.
    pub uid: Option<&'a str>,
    /// Whether the set has no place for it any more.
    pub scaled_away: bool,
}

/// What is to be done about a claim's owners.
#[derive(Debug, PartialEq)]
pub enum Owners {
    /// Nothing.
    Right,
    /// These are to be all of them.
    Wrong(Vec<OwnerReference>),
}

fn pod_as_owner(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn is_called(owner: &OwnerReference, other: &OwnerReference) -> bool {
    (&owner.api_version, &owner.kind, &owner.name) == (&other.api_version, &other.kind, &other.name)
}

/// Whether a claim goes with an earlier pod of that name.
pub fn is_of_another_pod(owners: &[OwnerReference], pod: PodOfClaim<'_>) -> bool {
    let pod = pod_as_owner(pod.name, pod.uid.unwrap_or_default());
    owners
        .iter()
        .any(|owner| is_called(owner, &pod) && owner.uid != pod.uid)
}

/// Whether somebody else manages a claim that should go with the set or a pod.
pub fn is_managed_by_others(set: &StatefulSetView, owners: &[OwnerReference], pod: PodOfClaim<'_>) -> bool {
    if !deleted_with_set(set) && !deleted_with_pod(set) {
        return false;
    }
    let ours = [
        set.owner_reference(),
        pod_as_owner(pod.name, pod.uid.unwrap_or_default()),
    ];
    owners
        .iter()
        .filter(|owner| !ours.iter().any(|ours| is_called(owner, ours)))
        .any(|owner| owner.controller == Some(true))
}

/// The owners that a claim should have which has these.
pub fn owners(set: &StatefulSetView, owners: &[OwnerReference], pod: PodOfClaim<'_>) -> Owners {
    let by_set = set.owner_reference();
    let by_pod = pod_as_owner(pod.name, pod.uid.unwrap_or_default());
    let stale = |ours: &OwnerReference| {
        owners
            .iter()
            .any(|owner| is_called(owner, ours) && owner.uid != ours.uid)
    };
    // It is of an earlier set or pod: the garbage collector's.
    if stale(&by_set) || stale(&by_pod) {
        return Owners::Right;
    }
    let wanted = if is_managed_by_others(set, owners, pod) {
        None
    } else if pod.scaled_away && deleted_with_pod(set) {
        Some(by_pod.clone())
    } else {
        deleted_with_set(set).then(|| by_set.clone())
    };
    let (ours, mut others): (Vec<OwnerReference>, Vec<OwnerReference>) = owners
        .iter()
        .cloned()
        .partition(|owner| is_called(owner, &by_set) || is_called(owner, &by_pod));
    let managed_by = |owner: &OwnerReference| (owner.uid.clone(), owner.controller == Some(true));
    if ours.iter().map(managed_by).eq(wanted.iter().map(managed_by)) {
        return Owners::Right;
    }
    others.extend(wanted);
    Owners::Wrong(others)
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
            claim.metadata.owner_references = deleted_with_set(set).then(|| vec![set.owner_reference()]);
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
            json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s", "controller": true,
                "blockOwnerDeletion": true}])
        );
    }

    fn reference(kind: &str, name: &str, uid: &str, controller: bool) -> OwnerReference {
        let api_version = if kind == "StatefulSet" { "apps/v1" } else { "v1" };
        OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: controller.then_some(true),
            block_owner_deletion: controller.then_some(true),
        }
    }

    fn after(deleted: &str, scaled: &str, scaled_away: bool, before: &[OwnerReference]) -> Owners {
        let policy = json!({"whenDeleted": deleted, "whenScaled": scaled});
        let set = set(json!({"persistentVolumeClaimRetentionPolicy": policy}));
        let pod = PodOfClaim {
            name: "web-1",
            uid: Some("p"),
            scaled_away,
        };
        owners(&set, before, pod)
    }

    #[test]
    fn claims_are_managed_by_what_they_go_with() {
        let by_set = reference("StatefulSet", "web", "s", true);
        let by_pod = reference("Pod", "web-1", "p", true);
        for (deleted, scaled, scaled_away, want) in [
            ("Retain", "Retain", true, None),
            ("Delete", "Retain", false, Some(&by_set)),
            ("Delete", "Retain", true, Some(&by_set)),
            ("Retain", "Delete", false, None),
            ("Retain", "Delete", true, Some(&by_pod)),
            ("Delete", "Delete", false, Some(&by_set)),
            ("Delete", "Delete", true, Some(&by_pod)),
        ] {
            let want: Vec<OwnerReference> = want.into_iter().cloned().collect();
            let what = format!("{deleted} {scaled} {scaled_away}");
            for before in [vec![], vec![by_set.clone()], vec![by_pod.clone()]] {
                let after = after(deleted, scaled, scaled_away, &before);
                let right = if before == want {
                    Owners::Right
                } else {
                    Owners::Wrong(want.clone())
                };
                assert_eq!(after, right, "{what} {before:?}");
            }
        }
    }

    #[test]
    fn owners_that_only_own_are_joined_and_those_that_manage_are_left_alone() {
        let by_set = reference("StatefulSet", "web", "s", true);
        let owner = reference("ConfigMap", "m", "m", false);
        assert_eq!(
            after("Delete", "Retain", false, std::slice::from_ref(&owner)),
            Owners::Wrong(vec![owner.clone(), by_set.clone()])
        );
        let no_longer = reference("StatefulSet", "web", "s", false);
        assert_eq!(
            after("Delete", "Delete", false, &[no_longer]),
            Owners::Wrong(vec![by_set.clone()])
        );
        let other = reference("ConfigMap", "m", "m", true);
        assert_eq!(
            after("Delete", "Delete", true, std::slice::from_ref(&other)),
            Owners::Right
        );
        assert_eq!(
            after("Delete", "Delete", false, &[by_set, other.clone()]),
            Owners::Wrong(vec![other])
        );
        let earlier = reference("StatefulSet", "web", "another", true);
        assert_eq!(after("Retain", "Retain", false, &[earlier]), Owners::Right);
        let earlier = reference("Pod", "web-1", "another", true);
        assert_eq!(after("Delete", "Delete", false, &[earlier]), Owners::Right);
    }
}
