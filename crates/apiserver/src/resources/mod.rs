//! The resources this server knows: one declaration each, one table that lists them.
//!
//! Kinds with rules of their own have a file of their own; kinds that are only stored share a file per
//! API group. To add a resource: declare it and add it to [`TABLE`].
mod definition;
mod meaning;
mod rules;

mod admissionregistration;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod configmaps;
mod controllerrevisions;
mod core;
mod customresourcedefinitions;
mod daemonsets;
mod devices;
mod discovery;
mod endpoints;
mod events;
mod flowcontrol;
mod leases;
mod limits;
mod mutatingpolicies;
mod namespaces;
mod networking;
mod node;
mod nodes;
mod pods;
mod policy;
mod priorityclasses;
mod rbac;
mod reviews;
mod secrets;
pub(crate) mod services;
mod storage;
mod validation;
mod volumes;
mod webhooks;

pub(crate) use certificates::{stamp as stamp_decision, validate_approval};
pub use customresourcedefinitions::FINALIZER;
pub(crate) use customresourcedefinitions::approval_condition;
pub use definition::{ALL_VERBS, Field, Read, Resource, SCALE, STATUS, Subresource, api_version};
pub(crate) use meaning::{amount, edit, fill, read};
pub use rules::{NameRule, Rules, StatusMetadata};
pub(crate) use validation::{keep_resized, pod_ephemeral, pod_resize};

pub(crate) use nodes::NOT_READY_TAINT;
pub(crate) use pods::{is_mirror, qos_class};

/// Every key begins with this.
pub const ROOT: &str = "/registry/";

/// Everything served, in the order discovery prefers kinds.
pub static TABLE: &[Resource] = &[
    core::BINDINGS,
    configmaps::CONFIGMAPS,
    endpoints::ENDPOINTS,
    events::EVENTS,
    limits::LIMITRANGES,
    namespaces::NAMESPACES,
    nodes::NODES,
    volumes::PERSISTENTVOLUMECLAIMS,
    volumes::PERSISTENTVOLUMES,
    pods::PODS,
    core::PODTEMPLATES,
    core::REPLICATIONCONTROLLERS,
    limits::RESOURCEQUOTAS,
    secrets::SECRETS,
    core::SERVICEACCOUNTS,
    services::SERVICES,
    apiregistration::APISERVICES,
    controllerrevisions::CONTROLLERREVISIONS,
    daemonsets::DAEMONSETS,
    apps::DEPLOYMENTS,
    apps::REPLICASETS,
    apps::STATEFULSETS,
    events::EVENTS_V1,
    reviews::SELFSUBJECTREVIEWS,
    reviews::TOKENREVIEWS,
    reviews::LOCALSUBJECTACCESSREVIEWS,
    reviews::SELFSUBJECTACCESSREVIEWS,
    reviews::SELFSUBJECTRULESREVIEWS,
    reviews::SUBJECTACCESSREVIEWS,
    autoscaling::AUTOSCALERS,
    autoscaling::AUTOSCALERS_V1,
    batch::CRONJOBS,
    batch::JOBS,
    certificates::CERTIFICATESIGNINGREQUESTS,
    networking::INGRESSCLASSES,
    networking::INGRESSES,
    networking::IPADDRESSES,
    networking::NETWORKPOLICIES,
    networking::SERVICECIDRS,
    policy::PODDISRUPTIONBUDGETS,
    rbac::CLUSTERROLEBINDINGS,
    rbac::CLUSTERROLES,
    rbac::ROLEBINDINGS,
    rbac::ROLES,
    storage::CSIDRIVERS,
    storage::CSINODES,
    storage::CSISTORAGECAPACITIES,
    storage::STORAGECLASSES,
    storage::VOLUMEATTACHMENTS,
    storage::VOLUMEATTRIBUTESCLASSES,
    mutatingpolicies::MUTATINGADMISSIONPOLICIES,
    mutatingpolicies::MUTATINGADMISSIONPOLICYBINDINGS,
    webhooks::MUTATINGWEBHOOKCONFIGURATIONS,
    admissionregistration::VALIDATINGADMISSIONPOLICIES,
    admissionregistration::VALIDATINGADMISSIONPOLICYBINDINGS,
    webhooks::VALIDATINGWEBHOOKCONFIGURATIONS,
    customresourcedefinitions::CUSTOMRESOURCEDEFINITIONS,
    priorityclasses::PRIORITYCLASSES,
    leases::LEASES,
    node::RUNTIMECLASSES,
    discovery::ENDPOINTSLICES,
    devices::DEVICECLASSES,
    devices::RESOURCECLAIMS,
    devices::RESOURCECLAIMTEMPLATES,
    devices::RESOURCESLICES,
    flowcontrol::FLOWSCHEMAS,
    flowcontrol::PRIORITYLEVELCONFIGURATIONS,
    crate::components::COMPONENTSTATUSES,
    crate::usage::NODES,
    crate::usage::PODS,
];

/// Every served resource.
pub fn all() -> &'static [Resource] {
    TABLE
}

/// The resource of a path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    TABLE
        .iter()
        .find(|r| r.plural == plural && r.group == group && r.version == version)
}

/// Whether any resource of this group-version is served.
pub fn serves(group: &str, version: &str) -> bool {
    TABLE.iter().any(|r| r.group == group && r.version == version)
}

/// The named groups of what is served, in order of preference, each with its versions, the preferred one first.
pub fn groups(served: impl Iterator<Item = &'static Resource>) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in served.filter(|r| !r.group.is_empty()) {
        match groups.iter_mut().find(|(group, _)| *group == resource.group) {
            Some((_, versions)) if versions.contains(&resource.version) => {}
            Some((_, versions)) => versions.push(resource.version),
            None => groups.push((resource.group, vec![resource.version])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_path_and_no_storage_is_declared_twice() {
        let mut paths = HashSet::new();
        let mut prefixes = HashSet::new();
        for resource in TABLE {
            assert!(paths.insert((resource.group, resource.version, resource.plural)));
            if resource.owns_storage() {
                assert!(prefixes.insert(resource.storage), "{}", resource.storage);
            }
        }
    }

    /// Contract §4.3: the order that decides which kind a short name means.
    #[test]
    fn groups_come_in_upstreams_order() {
        let names: Vec<&str> = groups(TABLE.iter()).iter().map(|(g, _)| *g).collect();
        assert_eq!(
            names,
            [
                "apiregistration.k8s.io",
                "apps",
                "events.k8s.io",
                "authentication.k8s.io",
                "authorization.k8s.io",
                "autoscaling",
                "batch",
                "certificates.k8s.io",
                "networking.k8s.io",
                "policy",
                "rbac.authorization.k8s.io",
                "storage.k8s.io",
                "admissionregistration.k8s.io",
                "apiextensions.k8s.io",
                "scheduling.k8s.io",
                "coordination.k8s.io",
                "node.k8s.io",
                "discovery.k8s.io",
                "resource.k8s.io",
                "flowcontrol.apiserver.k8s.io",
                "metrics.k8s.io",
            ]
        );
    }
}
