//! The names of what quotas bound.

/// What sort of object is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind<'a> {
    /// API group; empty for core.
    pub group: &'a str,
    /// Plural name.
    pub plural: &'a str,
}

/// Kinds that are measured, not only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    Pods,
    Services,
    Claims,
    /// ResourceClaims, by the devices they ask for.
    Devices,
    No,
}

impl Kind<'_> {
    pub(super) fn measured(self) -> Measured {
        match (self.group, self.plural) {
            ("", "pods") => Measured::Pods,
            ("", "services") => Measured::Services,
            ("", "persistentvolumeclaims") => Measured::Claims,
            ("resource.k8s.io", "resourceclaims") => Measured::Devices,
            _ => Measured::No,
        }
    }

    /// The name under which it could be counted before `count/` came.
    pub(super) fn old_name(self) -> Option<&'static str> {
        match (self.group, self.plural) {
            ("", "configmaps") => Some("configmaps"),
            ("", "resourcequotas") => Some("resourcequotas"),
            ("", "replicationcontrollers") => Some("replicationcontrollers"),
            ("", "secrets") => Some("secrets"),
            _ => None,
        }
    }
}

/// `count/deployments.apps`.
pub fn count_name(kind: Kind<'_>) -> String {
    match kind.group {
        "" => format!("count/{}", kind.plural),
        group => format!("count/{}.{group}", kind.plural),
    }
}

/// The kind that a quota's resource counts or measures.
pub fn kind_of_count(resource: &str) -> Option<Kind<'_>> {
    let core = |plural| Some(Kind { group: "", plural });
    if let Some(counted) = resource.strip_prefix("count/") {
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some(Kind { group, plural });
    }
    if resource.ends_with(DEVICES_OF_CLASS) {
        return Some(RESOURCE_CLAIMS);
    }
    for plural in ["pods", "services", "persistentvolumeclaims"] {
        if concerns(Kind { group: "", plural }, resource) {
            return core(plural);
        }
    }
    let counted = [
        "configmaps",
        "resourcequotas",
        "replicationcontrollers",
        "secrets",
    ];
    counted.into_iter().find(|name| *name == resource).and_then(core)
}

pub(super) const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";

/// Follows the name of a DeviceClass.
pub(super) const DEVICES_OF_CLASS: &str = ".deviceclass.resource.k8s.io/devices";

const RESOURCE_CLAIMS: Kind<'static> = Kind {
    group: "resource.k8s.io",
    plural: "resourceclaims",
};

/// Whether objects of this kind can use `resource`.
pub fn concerns(kind: Kind<'_>, resource: &str) -> bool {
    if resource.strip_prefix("count/").is_some() {
        return resource == count_name(kind);
    }
    match kind.measured() {
        Measured::Pods => {
            matches!(
                resource,
                "pods"
                    | "cpu"
                    | "memory"
                    | "ephemeral-storage"
                    | "requests.cpu"
                    | "requests.memory"
                    | "requests.ephemeral-storage"
                    | "limits.cpu"
                    | "limits.memory"
                    | "limits.ephemeral-storage"
            ) || resource.starts_with("hugepages-")
                || resource.starts_with("requests.hugepages-")
                || resource.strip_prefix("requests.").is_some_and(is_extended)
        }
        Measured::Services => matches!(
            resource,
            "services" | "services.nodeports" | "services.loadbalancers"
        ),
        Measured::Claims => {
            let own = |name: &str| matches!(name, "persistentvolumeclaims" | "requests.storage");
            own(resource)
                || resource
                    .split_once(STORAGE_CLASS)
                    .is_some_and(|(_, name)| own(name))
        }
        Measured::Devices => resource.ends_with(DEVICES_OF_CLASS),
        Measured::No => kind.old_name() == Some(resource),
    }
}

/// A resource of somebody's own: `example.com/gpu`.
pub fn is_extended(resource: &str) -> bool {
    resource.split_once('/').is_some_and(|(domain, _)| {
        let native = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
        !native && !domain.starts_with("requests.")
    })
}
