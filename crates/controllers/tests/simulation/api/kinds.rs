//! The kinds that are served, and discovery of them.

use serde_json::{Value, json};

/// One kind.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
}

impl Kind {
    /// Plural and group.
    pub fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

const fn kind(group: &'static str, plural: &'static str, kind: &'static str, namespaced: bool) -> Kind {
    Kind {
        group,
        version: "v1",
        plural,
        kind,
        namespaced,
    }
}

pub static PODS: Kind = kind("", "pods", "Pod", true);
pub static NODES: Kind = kind("", "nodes", "Node", false);
pub static DAEMON_SETS: Kind = kind("apps", "daemonsets", "DaemonSet", true);
pub static LEASES: Kind = kind("coordination.k8s.io", "leases", "Lease", true);
pub static NAMESPACES: Kind = kind("", "namespaces", "Namespace", false);
pub static EVENTS: Kind = kind("", "events", "Event", true);
pub static REVISIONS: Kind = kind("apps", "controllerrevisions", "ControllerRevision", true);

static OTHERS: [Kind; 22] = [
    kind("", "serviceaccounts", "ServiceAccount", true),
    kind("", "configmaps", "ConfigMap", true),
    kind("", "secrets", "Secret", true),
    kind("", "services", "Service", true),
    kind("", "endpoints", "Endpoints", true),
    kind("", "resourcequotas", "ResourceQuota", true),
    kind("", "replicationcontrollers", "ReplicationController", true),
    kind("", "persistentvolumes", "PersistentVolume", false),
    kind("", "persistentvolumeclaims", "PersistentVolumeClaim", true),
    kind("apps", "replicasets", "ReplicaSet", true),
    kind("apps", "deployments", "Deployment", true),
    kind("apps", "statefulsets", "StatefulSet", true),
    kind("batch", "jobs", "Job", true),
    kind("batch", "cronjobs", "CronJob", true),
    kind(
        "certificates.k8s.io",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        false,
    ),
    kind("discovery.k8s.io", "endpointslices", "EndpointSlice", true),
    kind("events.k8s.io", "events", "Event", true),
    kind("policy", "poddisruptionbudgets", "PodDisruptionBudget", true),
    kind("scheduling.k8s.io", "priorityclasses", "PriorityClass", false),
    kind("storage.k8s.io", "storageclasses", "StorageClass", false),
    kind("storage.k8s.io", "csinodes", "CSINode", false),
    kind("storage.k8s.io", "csidrivers", "CSIDriver", false),
];

/// All kinds.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    [
        &PODS,
        &NODES,
        &DAEMON_SETS,
        &LEASES,
        &NAMESPACES,
        &EVENTS,
        &REVISIONS,
    ]
    .into_iter()
    .chain(OTHERS.iter())
}

pub fn find(group: &str, plural: &str) -> Option<&'static Kind> {
    all().find(|kind| kind.group == group && kind.plural == plural)
}

/// What `/api`, `/apis` and the paths of single groups answer.
pub fn discovery(path: &[&str]) -> Option<Value> {
    match path {
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let mut names: Vec<&str> = all()
                .map(|kind| kind.group)
                .filter(|group| !group.is_empty())
                .collect();
            names.sort_unstable();
            names.dedup();
            let groups: Vec<Value> = names
                .into_iter()
                .map(|group| {
                    let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
                    json!({"name": group, "versions": [version], "preferredVersion": version})
                })
                .collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["api", "v1"] => Some(resources("")),
        ["apis", group, "v1"] => Some(resources(group)),
        _ => None,
    }
}

fn resources(group: &str) -> Value {
    let kinds: Vec<&Kind> = all().filter(|kind| kind.group == group).collect();
    let group_version = if group.is_empty() {
        "v1".to_owned()
    } else {
        format!("{group}/v1")
    };
    let resources: Vec<Value> = kinds
        .into_iter()
        .map(|kind| {
            json!({"name": kind.plural, "singularName": "", "namespaced": kind.namespaced, "kind": kind.kind,
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]})
        })
        .collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}
