//! Questions about one pod: what class of service, what it asks for, is it ready, is it static.

pub mod conditions;
pub mod qos;
pub mod resources;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::annotations;

pub use conditions::{condition, condition_of, is_available, is_ready, set_condition};
pub use qos::{QosClass, qos_class};
pub use resources::{Resources, resource_limits, resource_requests};

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations
        .as_ref()
        .and_then(|a| a.get(key))
        .map(String::as_str)
}

/// Name, or nothing.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

/// Namespace, or nothing.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("")
}

/// UID, or nothing.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or("")
}

/// `<name>_<namespace>`: what a static pod and its mirror have in common.
pub fn full_name(pod: &Pod) -> String {
    format!("{}_{}", name(pod), namespace(pod))
}

/// `spec.nodeName`, or nothing.
pub fn node_name(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .unwrap_or("")
}

/// `status.phase`, or nothing.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}

/// The source the kubelet recorded: `file`, `http`, `api`.
pub fn source(pod: &Pod) -> Option<&str> {
    annotation(&pod.metadata, annotations::CONFIG_SOURCE)
}

/// From a manifest: the recorded source is not the API server. A mirror read from the API carries the
/// annotation of its static pod, so ask [`is_mirror`] first where both can occur.
pub fn is_static(pod: &Pod) -> bool {
    source(pod).is_some_and(|s| s != annotations::SOURCE_API)
}

/// The API object that stands for a static pod: annotation present, whatever its value.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(&pod.metadata, annotations::CONFIG_MIRROR).is_some()
}

/// `config.hash`, which a mirror's `config.mirror` must equal.
pub fn config_hash(pod: &Pod) -> Option<&str> {
    annotation(&pod.metadata, annotations::CONFIG_HASH)
}

/// `config.mirror`.
pub fn mirror_hash(pod: &Pod) -> Option<&str> {
    annotation(&pod.metadata, annotations::CONFIG_MIRROR)
}

/// Static, mirror, or priority of at least 2 000 000 000.
pub fn is_critical(pod: &Pod) -> bool {
    is_static(pod)
        || is_mirror(pod)
        || pod
            .spec
            .as_ref()
            .and_then(|s| s.priority)
            .is_some_and(|p| p >= annotations::SYSTEM_CRITICAL_PRIORITY)
}

/// Phase Succeeded or Failed: it will never run again.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Has a deletion timestamp.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// `hostNetwork: true`.
pub fn is_host_network(spec: &PodSpec) -> bool {
    spec.host_network == Some(true)
}

/// An init container with `restartPolicy: Always`.
pub fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

/// Init containers, as a slice.
pub fn init_containers(spec: &PodSpec) -> &[Container] {
    spec.init_containers.as_deref().unwrap_or(&[])
}

/// The volumes that a pod names.
pub fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// Every regular and init container with its field path.
pub fn containers_with_paths(spec: &PodSpec) -> impl Iterator<Item = (String, &Container)> {
    let init = init_containers(spec)
        .iter()
        .enumerate()
        .map(|(i, c)| (format!("spec.initContainers[{i}]"), c));
    let main = spec
        .containers
        .iter()
        .enumerate()
        .map(|(i, c)| (format!("spec.containers[{i}]"), c));
    init.chain(main)
}

/// When the pod became Ready, if it is.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")
        .filter(|c| c.status == "True")
        .and_then(|c| c.last_transition_time.as_ref())
        .map(|t| t.0)
}

/// A port a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Address it is taken on; empty and `0.0.0.0` mean all.
    pub ip: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Same port and protocol on overlapping addresses.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// Host ports of regular containers and sidecars.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = init_containers(spec).iter().filter(|c| is_sidecar(c));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.as_deref().unwrap_or(&[]))
        .filter_map(|p| {
            let port = p.host_port.filter(|n| *n > 0)?;
            Some(HostPort {
                ip: p.host_ip.clone().unwrap_or_default(),
                protocol: p
                    .protocol
                    .clone()
                    .filter(|s| !s.is_empty())
                    .unwrap_or_else(|| "TCP".to_owned()),
                port,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn static_mirror_and_critical() {
        let with = |key: &str, value: &str| pod(json!({"metadata": {"annotations": {key: value}}}));
        assert!(is_static(&with(annotations::CONFIG_SOURCE, "file")));
        assert!(is_static(&with(annotations::CONFIG_SOURCE, "http")));
        assert!(!is_static(&with(annotations::CONFIG_SOURCE, "api")));
        assert!(!is_static(&pod(json!({}))));
        assert!(is_mirror(&with(annotations::CONFIG_MIRROR, "")));
        assert!(is_critical(&with(annotations::CONFIG_SOURCE, "file")));
        assert!(is_critical(&pod(
            json!({"spec": {"priority": 2_000_000_000, "containers": []}})
        )));
        assert!(!is_critical(&pod(
            json!({"spec": {"priority": 1_999_999_999, "containers": []}})
        )));
    }

    #[test]
    fn host_ports_include_sidecars_and_conflict_by_address() {
        let spec = pod(json!({"spec": {
            "initContainers": [
                {"name": "i", "ports": [{"containerPort": 1, "hostPort": 1}]},
                {"name": "s", "restartPolicy": "Always", "ports": [{"containerPort": 2, "hostPort": 2, "protocol": "UDP"}]}],
            "containers": [{"name": "c", "ports": [{"containerPort": 3, "hostPort": 3, "hostIP": "10.0.0.1"}, {"containerPort": 4}]}],
        }}))
        .spec
        .unwrap();
        let ports = host_ports(&spec);
        assert_eq!(ports.iter().map(|p| p.port).collect::<Vec<_>>(), [3, 2]);
        let port = |ip: &str, protocol: &str| HostPort {
            ip: ip.into(),
            protocol: protocol.into(),
            port: 3,
        };
        assert!(ports[0].conflicts(&port("", "TCP")));
        assert!(ports[0].conflicts(&port("0.0.0.0", "TCP")));
        assert!(!ports[0].conflicts(&port("10.0.0.2", "TCP")));
        assert!(!ports[0].conflicts(&port("10.0.0.1", "UDP")));
    }
}
