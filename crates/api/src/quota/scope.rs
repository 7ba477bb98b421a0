//! Which objects a quota is about.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, ResourceQuotaSpec, ScopedResourceSelectorRequirement,
};
use serde::Deserialize;
use serde_json::Value;

use super::names::{Kind, Measured};
use crate::pod::{QosClass, qos_class};

/// Whether all of a quota's scopes hold for the object. Only pods, and claims for their attributes class, have any.
pub fn selects(quota: &ResourceQuotaSpec, kind: Kind<'_>, object: &Value) -> bool {
    let scopes = requirements(quota);
    if scopes.is_empty() {
        return true;
    }
    match kind.measured() {
        Measured::Pods => {
            Pod::deserialize(object).is_ok_and(|pod| scopes.iter().all(|scope| holds(scope, &pod)))
        }
        Measured::Claims => PersistentVolumeClaim::deserialize(object)
            .is_ok_and(|claim| scopes.iter().all(|scope| holds_of_claim(scope, &claim))),
        Measured::Services | Measured::Devices | Measured::No => false,
    }
}

/// Those of the requirements that hold for an object.
pub(super) fn holding<'r>(
    requirements: &'r [ScopedResourceSelectorRequirement],
    kind: Kind<'_>,
    object: &Value,
) -> Vec<&'r ScopedResourceSelectorRequirement> {
    match kind.measured() {
        Measured::Pods => Pod::deserialize(object)
            .map(|pod| requirements.iter().filter(|scope| holds(scope, &pod)).collect())
            .unwrap_or_default(),
        Measured::Claims => PersistentVolumeClaim::deserialize(object)
            .map(|claim| {
                requirements
                    .iter()
                    .filter(|scope| holds_of_claim(scope, &claim))
                    .collect()
            })
            .unwrap_or_default(),
        Measured::Services | Measured::Devices | Measured::No => Vec::new(),
    }
}

/// Both ways of naming scopes as one.
pub(super) fn requirements(quota: &ResourceQuotaSpec) -> Vec<ScopedResourceSelectorRequirement> {
    let named = quota
        .scopes
        .iter()
        .flatten()
        .map(|scope| ScopedResourceSelectorRequirement {
            operator: "Exists".to_owned(),
            scope_name: scope.clone(),
            values: None,
        });
    let selected = quota
        .scope_selector
        .iter()
        .filter_map(|s| s.match_expressions.clone());
    named.chain(selected.flatten()).collect()
}

fn holds(scope: &ScopedResourceSelectorRequirement, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    match scope.scope_name.as_str() {
        "Terminating" => spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0),
        "NotTerminating" => spec.active_deadline_seconds.is_none_or(|seconds| seconds < 0),
        "BestEffort" => qos_class(pod) == QosClass::BestEffort,
        "NotBestEffort" => qos_class(pod) != QosClass::BestEffort,
        "PriorityClass" => {
            let class = spec
                .priority_class_name
                .as_deref()
                .filter(|name| !name.is_empty());
            any_of(scope, class.as_slice())
        }
        "CrossNamespacePodAffinity" => reaches_other_namespaces(pod),
        _ => false,
    }
}

fn holds_of_claim(scope: &ScopedResourceSelectorRequirement, claim: &PersistentVolumeClaim) -> bool {
    if scope.scope_name != "VolumeAttributesClass" {
        return false;
    }
    let status = claim.status.as_ref();
    let classes: Vec<&str> = [
        claim
            .spec
            .as_ref()
            .and_then(|s| s.volume_attributes_class_name.as_deref()),
        status.and_then(|s| s.current_volume_attributes_class_name.as_deref()),
        status
            .and_then(|s| s.modify_volume_status.as_ref())
            .and_then(|m| m.target_volume_attributes_class_name.as_deref()),
    ]
    .into_iter()
    .flatten()
    .filter(|class| !class.is_empty())
    .collect();
    any_of(scope, &classes)
}

/// Whether the requirement holds for one of the names, or for having none.
fn any_of(scope: &ScopedResourceSelectorRequirement, names: &[&str]) -> bool {
    let listed = |name: &&str| scope.values.iter().flatten().any(|value| value == name);
    match scope.operator.as_str() {
        "In" => names.iter().any(listed),
        "NotIn" => names.is_empty() || names.iter().any(|name| !listed(name)),
        "Exists" => !names.is_empty(),
        "DoesNotExist" => names.is_empty(),
        _ => false,
    }
}

fn reaches_other_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else {
        return false;
    };
    let reaches = |term: &PodAffinityTerm| {
        term.namespaces.as_ref().is_some_and(|n| !n.is_empty()) || term.namespace_selector.is_some()
    };
    macro_rules! any_term {
        ($side:expr) => {
            $side.as_ref().is_some_and(|side| {
                let required = side
                    .required_during_scheduling_ignored_during_execution
                    .iter()
                    .flatten();
                let preferred = side
                    .preferred_during_scheduling_ignored_during_execution
                    .iter()
                    .flatten();
                required
                    .chain(preferred.map(|p| &p.pod_affinity_term))
                    .any(reaches)
            })
        };
    }
    any_term!(affinity.pod_affinity) || any_term!(affinity.pod_anti_affinity)
}
