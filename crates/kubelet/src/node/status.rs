//! The node's status from what is known of the machine and the runtime (contract, node agent §20.2). Pure.
use super::cloud;
use super::machine::{Machine, Measures, threshold};
use super::register::architecture;
use crate::config::KubeletConfiguration;
use crate::devices::Count;
use crate::upkeep::eviction::signals::Pressure;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSwapStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::quantity::{Amount, amount, parse};
use orlop_cri::v1;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is reported as the agent's version: the API level it speaks.
pub const KUBELET_VERSION: &str = "v1.36.0+orlop.0.1.0";
/// The condition that tells of manifests that can't be used.
const MANIFEST_ERROR: &str = "StaticPodManifestError";
/// Names of one image that are reported.
const IMAGE_NAMES_MAX: usize = 5;

/// Everything the node's status is made of.
pub struct Facts<'a> {
    pub node_name: &'a str,
    pub configuration: &'a KubeletConfiguration,
    pub addresses: &'a [IpAddr],
    pub machine: &'a Machine,
    pub measures: Measures,
    /// `containerd://1.6.20`.
    pub runtime_version: &'a str,
    pub runtime_handlers: &'a [v1::RuntimeHandler],
    pub runtime_features: Option<&'a v1::RuntimeFeatures>,
    /// As [`images`] makes them.
    pub images: &'a [ContainerImage],
    /// What device plugins bring.
    pub devices: BTreeMap<String, Count>,
    /// What is wrong with manifests.
    pub manifest_error: Option<String>,
    /// What the node is short of.
    pub pressures: &'a [Pressure],
    /// Why the node isn't ready.
    pub troubles: Vec<String>,
}

/// A condition's two faces: reason and message when good, when bad.
struct Wording {
    kind: &'static str,
    good: (&'static str, &'static str),
    bad: (&'static str, &'static str),
    events: (&'static str, &'static str),
}

const PRESSURES: [Wording; 3] = [
    Wording {
        kind: "MemoryPressure",
        good: (
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        bad: (
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
        ),
        events: ("NodeHasSufficientMemory", "NodeHasInsufficientMemory"),
    },
    Wording {
        kind: "DiskPressure",
        good: ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        bad: ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        events: ("NodeHasNoDiskPressure", "NodeHasDiskPressure"),
    },
    Wording {
        kind: "PIDPressure",
        good: ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        bad: (
            "KubeletHasInsufficientPID",
            "kubelet has insufficient PID available",
        ),
        events: ("NodeHasSufficientPID", "NodeHasInsufficientPID"),
    },
];

/// The status to post; `previous` is the one in the API, whose times of transition are kept.
pub fn node_status(facts: &Facts<'_>, previous: Option<&NodeStatus>, now: Timestamp) -> NodeStatus {
    let capacity = capacity(facts);
    NodeStatus {
        addresses: addresses(facts),
        allocatable: Some(allocatable(facts, &capacity)),
        capacity: Some(capacity),
        conditions: Some(conditions(facts, previous, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(facts.configuration.port),
            }),
        }),
        images: (!facts.images.is_empty()).then(|| facts.images.to_vec()),
        node_info: Some(system(facts)),
        features: facts.runtime_features.map(|features| NodeFeatures {
            supplemental_groups_policy: Some(features.supplemental_groups_policy),
        }),
        runtime_handlers: (!facts.runtime_handlers.is_empty()).then(|| handlers(facts.runtime_handlers)),
        ..NodeStatus::default()
    }
}

fn conditions(facts: &Facts<'_>, previous: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        let status = if status { "True" } else { "False" };
        let before = previous.and_then(|status| status.conditions.as_ref()?.iter().find(|c| c.type_ == kind));
        let since = before
            .filter(|c| c.status == status)
            .and_then(|c| c.last_transition_time.clone());
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: since.or(Some(Time(now))),
        }
    };
    let pressures = PRESSURES.iter().map(|words| {
        let pressed = facts
            .pressures
            .iter()
            .any(|pressure| pressure.condition() == words.kind);
        let (reason, message) = if pressed { words.bad } else { words.good };
        condition(words.kind, pressed, reason, message)
    });
    let ready = match &facts.troubles[..] {
        [] => condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        [one] => condition("Ready", false, "KubeletNotReady", one),
        several => condition(
            "Ready",
            false,
            "KubeletNotReady",
            &format!("[{}]", several.join(", ")),
        ),
    };
    // Only nodes that ever had a faulty manifest speak of it.
    let known = previous.is_some_and(|status| value(status, MANIFEST_ERROR).is_some());
    let manifests = match &facts.manifest_error {
        Some(message) => Some(condition(MANIFEST_ERROR, true, "InvalidManifest", message)),
        None if known => Some(condition(
            MANIFEST_ERROR,
            false,
            "ManifestsValid",
            "every static pod manifest can be used",
        )),
        None => None,
    };
    pressures.chain(manifests).chain([ready]).collect()
}

/// A hard eviction threshold.
fn hard(configuration: &KubeletConfiguration, signal: &str, whole: i64) -> i64 {
    let text = configuration.eviction_hard.get(signal);
    text.map_or(0, |text| threshold(text, whole))
}

/// `None`: they are a cloud's to tell.
fn addresses(facts: &Facts<'_>) -> Option<Vec<NodeAddress>> {
    if facts.addresses.is_empty() && cloud::is_asked(facts.configuration) {
        return None;
    }
    let address = |kind: &str, address: String| NodeAddress {
        type_: kind.into(),
        address,
    };
    let internal = facts
        .addresses
        .iter()
        .map(|ip| address("InternalIP", ip.to_string()));
    let hostname = address("Hostname", facts.node_name.to_owned());
    Some(internal.chain([hostname]).collect())
}

fn kibibytes(bytes: i64) -> Quantity {
    Quantity(format!("{}Ki", bytes / 1024))
}

fn capacity(facts: &Facts<'_>) -> BTreeMap<String, Quantity> {
    let configuration = facts.configuration;
    let cores = facts.machine.cores;
    let most = i64::from(configuration.max_pods);
    let pods = match i64::from(configuration.pods_per_core) {
        0 => most,
        per_core => per_core.saturating_mul(cores).min(most),
    };
    let huge_pages = facts.machine.huge_pages.iter();
    let mut capacity: BTreeMap<String, Quantity> = huge_pages
        .map(|(size, bytes)| {
            (
                format!("hugepages-{size}"),
                Amount::from_bytes(*bytes).to_quantity(),
            )
        })
        .collect();
    capacity.extend([
        ("cpu".to_owned(), Quantity(cores.to_string())),
        ("memory".to_owned(), kibibytes(facts.measures.memory)),
        (
            "ephemeral-storage".to_owned(),
            kibibytes(facts.measures.disk.bytes),
        ),
        ("pods".to_owned(), Quantity(pods.to_string())),
    ]);
    let devices = facts.devices.iter();
    capacity.extend(devices.map(|(name, count)| (name.clone(), Quantity(count.all.to_string()))));
    capacity
}

/// What `systemReserved` and `kubeReserved` take together.
pub fn reserved(configuration: &KubeletConfiguration) -> BTreeMap<String, Amount> {
    let mut sum: BTreeMap<String, Amount> = BTreeMap::new();
    for (name, text) in configuration
        .system_reserved
        .iter()
        .chain(&configuration.kube_reserved)
    {
        if let Ok(amount) = parse(text) {
            let entry = sum.entry(name.clone()).or_default();
            *entry = entry.plus(amount);
        }
    }
    sum
}

/// What is not the pods': what is reserved, the hard eviction thresholds, and huge pages, which are nobody's ordinary memory.
pub fn kept_back(
    configuration: &KubeletConfiguration,
    measures: &Measures,
    machine: &Machine,
) -> BTreeMap<String, Amount> {
    let mut taken = reserved(configuration);
    let mut take = |name: &str, bytes: i64| {
        let entry = taken
            .entry(name.to_owned())
            .or_insert_with(|| Amount::from_bytes(0));
        *entry = entry.plus(Amount::from_bytes(bytes));
    };
    let Measures { memory, disk, .. } = measures;
    take("memory", hard(configuration, "memory.available", *memory));
    take(
        "ephemeral-storage",
        hard(configuration, "nodefs.available", disk.bytes),
    );
    take("memory", machine.huge_pages.values().sum());
    taken
}

/// Capacity less what is kept back.
fn allocatable(facts: &Facts<'_>, capacity: &BTreeMap<String, Quantity>) -> BTreeMap<String, Quantity> {
    let taken = kept_back(facts.configuration, &facts.measures, facts.machine);
    let left = capacity.iter().map(|(name, whole)| {
        let Some(taken) = taken.get(name).filter(|taken| !taken.is_zero()) else {
            return (name.clone(), whole.clone());
        };
        let left = amount(whole).minus(*taken);
        let left = if left.is_negative() {
            Amount::from_units(0)
        } else {
            left
        };
        (name.clone(), left.to_quantity())
    });
    let mut left: BTreeMap<String, Quantity> = left.collect();
    let devices = facts.devices.iter();
    left.extend(devices.map(|(name, count)| (name.clone(), Quantity(count.healthy.to_string()))));
    left
}

fn system(facts: &Facts<'_>) -> NodeSystemInfo {
    let machine = facts.machine;
    NodeSystemInfo {
        machine_id: machine.machine_id.clone(),
        system_uuid: machine.system_uuid.clone(),
        boot_id: machine.boot_id.clone(),
        kernel_version: machine.kernel.clone(),
        os_image: machine.os_image.clone(),
        container_runtime_version: facts.runtime_version.to_owned(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        kube_proxy_version: String::new(),
        operating_system: "linux".into(),
        architecture: architecture().into(),
        swap: (facts.measures.swap > 0).then_some(NodeSwapStatus {
            capacity: Some(facts.measures.swap),
        }),
    }
}

fn handlers(handlers: &[v1::RuntimeHandler]) -> Vec<NodeRuntimeHandler> {
    let handler = |handler: &v1::RuntimeHandler| NodeRuntimeHandler {
        name: Some(handler.name.clone()),
        features: handler
            .features
            .as_ref()
            .map(|features| NodeRuntimeHandlerFeatures {
                recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
                user_namespaces: Some(features.user_namespaces),
            }),
    };
    handlers.iter().map(handler).collect()
}

/// The images to report: at most `most` (negative: all), the largest first.
pub fn images(mut images: Vec<v1::Image>, most: i32) -> Vec<ContainerImage> {
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    images.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    let image = |image: v1::Image| ContainerImage {
        names: Some(
            image
                .repo_digests
                .into_iter()
                .chain(image.repo_tags)
                .take(IMAGE_NAMES_MAX)
                .collect(),
        ),
        size_bytes: Some(i64::try_from(image.size).unwrap_or(i64::MAX)),
    };
    images.into_iter().map(image).collect()
}

fn value(status: &NodeStatus, kind: &str) -> Option<bool> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|c| c.type_ == kind).map(|c| c.status == "True")
}

/// Whether the Ready condition is true.
pub fn is_ready(status: &NodeStatus) -> bool {
    value(status, "Ready") == Some(true)
}

/// Reasons of the node events that are due: `NodeReady`, `NodeHasSufficientMemory`, ….
pub fn transitions(before: Option<&NodeStatus>, now: &NodeStatus) -> Vec<&'static str> {
    let pressures = PRESSURES
        .iter()
        .map(|words| (words.kind, words.events.1, words.events.0));
    pressures
        .chain([("Ready", "NodeReady", "NodeNotReady")])
        .filter(|(kind, ..)| before.and_then(|before| value(before, kind)) != value(now, kind))
        .map(|(kind, yes, no)| if value(now, kind) == Some(true) { yes } else { no })
        .collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
