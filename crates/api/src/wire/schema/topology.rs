//! How server-side apply sees a field: which lists are keyed or sets, what is owned only as a whole (contract
//! api-server §9.5). Most of it follows from the strategic merge marks; here is what differs from them.
use super::{Field, Merge, Message, Shape, Type};
use serde_json::{Value, json};

/// The parts in which a field can be owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Member by member; a scalar as itself.
    Granular,
    /// Only as a whole.
    Atomic,
    /// A list whose items are told apart by some of their fields.
    Keyed(&'static [&'static str]),
    /// A list of different scalars.
    Set,
}

/// Messages that are owned as a whole, by apiVersion and name.
const ATOMIC_MESSAGES: &[(&str, &str)] = &[
    (ADMISSION, "MatchResources"),
    (ADMISSION, "NamedRuleWithOperations"),
    (ADMISSION, "ParamKind"),
    (ADMISSION, "ParamRef"),
    (ADMISSION, "Variable"),
    ("autoscaling/v1", "CrossVersionObjectReference"),
    ("meta.k8s.io/v1", "LabelSelector"),
    ("meta.k8s.io/v1", "OwnerReference"),
    ("networking.k8s.io/v1", "ServiceBackendPort"),
    ("rbac.authorization.k8s.io/v1", "RoleRef"),
    ("rbac.authorization.k8s.io/v1", "Subject"),
    ("discovery.k8s.io/v1", "EndpointPort"),
    ("v1", "ConfigMapKeySelector"),
    ("v1", "EndpointAddress"),
    ("v1", "EndpointPort"),
    ("v1", "FileKeySelector"),
    ("v1", "LocalObjectReference"),
    ("v1", "NodeSelector"),
    ("v1", "NodeSelectorTerm"),
    ("v1", "ObjectFieldSelector"),
    ("v1", "ObjectReference"),
    ("v1", "ResourceFieldSelector"),
    ("v1", "ScopeSelector"),
    ("v1", "SecretKeySelector"),
    ("v1", "SecretReference"),
    ("v1", "TopologySelectorTerm"),
    ("v1", "TypedLocalObjectReference"),
];

/// Fields that differ from what their merge mark says, by the message's apiVersion and name.
const FIELDS: &[(&str, &str, &str, Topology)] = &[
    ("v1", "Container", "ports", CONTAINER_PORTS),
    ("v1", "ContainerRestartRuleOnExitCodes", "values", Topology::Set),
    ("v1", "EphemeralContainer", "ports", CONTAINER_PORTS),
    ("v1", "EphemeralContainerCommon", "ports", CONTAINER_PORTS),
    (
        "v1",
        "NodeAllocatableResourceClaimStatus",
        "containers",
        Topology::Set,
    ),
    // A claim is named by a user and completed by the binder.
    ("v1", "PersistentVolumeSpec", "claimRef", Topology::Granular),
    ("v1", "PodSpec", "nodeSelector", Topology::Atomic),
    (
        "v1",
        "PodSpec",
        "topologySpreadConstraints",
        Topology::Keyed(&["topologyKey", "whenUnsatisfiable"]),
    ),
    ("v1", "PodStatus", "hostIPs", Topology::Atomic),
    ("v1", "ReplicationControllerSpec", "selector", Topology::Atomic),
    ("v1", "ResourceRequirements", "claims", Topology::Keyed(&["name"])),
    (
        "v1",
        "ResourceStatus",
        "resources",
        Topology::Keyed(&["resourceID"]),
    ),
    (
        "v1",
        "ServiceSpec",
        "ports",
        Topology::Keyed(&["port", "protocol"]),
    ),
    ("v1", "ServiceSpec", "selector", Topology::Atomic),
    ("v1", "ServiceStatus", "conditions", CONDITIONS),
    (
        ADMISSION,
        "ValidatingAdmissionPolicyBindingSpec",
        "validationActions",
        Topology::Set,
    ),
    (
        ADMISSION,
        "ValidatingAdmissionPolicyStatus",
        "conditions",
        CONDITIONS,
    ),
    (
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinitionStatus",
        "conditions",
        CONDITIONS,
    ),
    ("batch/v1", "JobStatus", "conditions", Topology::Atomic),
    (
        "batch/v1",
        "PodFailurePolicyOnExitCodesRequirement",
        "values",
        Topology::Set,
    ),
    ("batch/v1", "UncountedTerminatedPods", "succeeded", Topology::Set),
    ("batch/v1", "UncountedTerminatedPods", "failed", Topology::Set),
    (
        "certificates.k8s.io/v1",
        "CertificateSigningRequestStatus",
        "conditions",
        CONDITIONS,
    ),
    ("discovery.k8s.io/v1", "Endpoint", "addresses", Topology::Set),
    (FLOW_CONTROL, "NonResourcePolicyRule", "verbs", Topology::Set),
    (
        FLOW_CONTROL,
        "NonResourcePolicyRule",
        "nonResourceURLs",
        Topology::Set,
    ),
    (FLOW_CONTROL, "ResourcePolicyRule", "verbs", Topology::Set),
    (FLOW_CONTROL, "ResourcePolicyRule", "apiGroups", Topology::Set),
    (FLOW_CONTROL, "ResourcePolicyRule", "resources", Topology::Set),
    (FLOW_CONTROL, "ResourcePolicyRule", "namespaces", Topology::Set),
    ("node.k8s.io/v1", "Scheduling", "nodeSelector", Topology::Atomic),
    (
        "resource.k8s.io/v1",
        "AllocatedDeviceStatus",
        "conditions",
        CONDITIONS,
    ),
    (
        "resource.k8s.io/v1",
        "ResourceClaimStatus",
        "devices",
        // A device that is shared out has an id for each share, others have none.
        Topology::Keyed(&["driver", "device", "pool", "shareID"]),
    ),
    (
        "storage.k8s.io/v1",
        "CSIDriverSpec",
        "volumeLifecycleModes",
        Topology::Set,
    ),
];

const ADMISSION: &str = "admissionregistration.k8s.io/v1";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io/v1";
const CONDITIONS: Topology = Topology::Keyed(&["type"]);
const CONTAINER_PORTS: Topology = Topology::Keyed(&["containerPort", "protocol"]);

/// Messages whose protocol is TCP when it is not given, although that is not written.
const OVER_TCP: &[&str] = &["ContainerPort", "ServicePort"];

impl Message {
    /// What a scalar field of this message means when it is absent, if schemas tell.
    pub fn silence(&self, field: &str) -> Option<Value> {
        if field == "protocol" && self.api_version == "v1" && OVER_TCP.contains(&self.name) {
            return Some(json!("TCP"));
        }
        let field = self.field(field)?;
        match (field.shape, field.ty) {
            _ if !field.always => None,
            (Shape::One, Type::String) => Some(json!("")),
            (Shape::One, Type::Int32 | Type::Int64) => Some(json!(0)),
            (Shape::One, Type::Double) => Some(json!(0.0)),
            (Shape::One, Type::Bool) => Some(json!(false)),
            _ => None,
        }
    }
}

pub(super) fn is_atomic(api_version: &str, message: &str) -> bool {
    ATOMIC_MESSAGES.contains(&(api_version, message))
}

/// The topology of a field of this message; `atomic` says whether the field's own message is.
pub(super) fn of(api_version: &str, message: &str, field: &Field, atomic: bool) -> Topology {
    let differs = FIELDS
        .iter()
        .find(|(v, m, f, _)| *v == api_version && *m == message && *f == field.name);
    if let Some((.., topology)) = differs {
        return *topology;
    }
    match (field.shape, field.merge) {
        // The table is read once for good.
        (Shape::List, Merge::Key(key)) => Topology::Keyed(Vec::leak(vec![key])),
        (Shape::List, Merge::Set) => Topology::Set,
        (Shape::List, _) => Topology::Atomic,
        (Shape::Map, _) => Topology::Granular,
        (Shape::One, _) if matches!(field.ty, Type::Strings | Type::Raw) || atomic => Topology::Atomic,
        (Shape::One, _) => Topology::Granular,
    }
}
