//! The PodSandboxConfig of a pod (contract, node agent §11.2). Pure.
use super::seen::labels;
use crate::cgroups::resources::of_overhead;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use orlop_api::pod::{is_host_network, name, namespace, uid};
use orlop_cri::v1;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The longest host name Linux takes.
const HOSTNAME_MAX: usize = 63;

/// The longest that the kernel takes as a host name.
const FQDN_MAX: usize = 64;

/// A host name that the pod asks for and cannot have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long ({FQDN_MAX} characters is the \
     max, {} characters requested)",
    fqdn.len()
)]
pub struct HostnameTooLong {
    fqdn: String,
}

/// What of the node goes into a sandbox.
pub struct SandboxSettings<'a> {
    /// See [`full_hostname`].
    pub hostname: String,
    pub pod_logs: &'a Path,
    pub dns: v1::DnsConfig,
    pub cgroup_parent: String,
    pub resources: v1::LinuxContainerResources,
    /// The pod's own users; `None` where they are the node's.
    pub users: Option<v1::UserNamespace>,
}

/// `<podLogsDir>/<namespace>_<name>_<uid>`.
pub fn log_directory(pod_logs: &Path, pod: &Pod) -> PathBuf {
    pod_logs.join(format!("{}_{}_{}", namespace(pod), name(pod), uid(pod)))
}

/// The host name inside the pod; empty on the host's network, where it is the node's.
pub fn hostname(pod: &Pod) -> String {
    let Some(spec) = pod.spec.as_ref() else {
        return String::new();
    };
    if let Some(given) = spec.hostname_override.as_ref().filter(|given| !given.is_empty()) {
        return given.clone();
    }
    if is_host_network(spec) {
        return String::new();
    }
    let wanted = spec
        .hostname
        .as_deref()
        .filter(|h| !h.is_empty())
        .unwrap_or_else(|| name(pod));
    let cut: String = wanted.chars().take(HOSTNAME_MAX).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The same, with the domain where the pod wants to be called so (`setHostnameAsFQDN`).
pub fn full_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, HostnameTooLong> {
    let host = hostname(pod);
    let spec = pod.spec.as_ref();
    let subdomain = spec
        .and_then(|spec| spec.subdomain.as_deref())
        .unwrap_or_default();
    let wanted =
        spec.is_some_and(|spec| spec.set_hostname_as_fqdn == Some(true) && spec.hostname_override.is_none());
    if !wanted || host.is_empty() || subdomain.is_empty() {
        return Ok(host);
    }
    let fqdn = fqdn(pod, &host, subdomain, cluster_domain);
    if fqdn.len() > FQDN_MAX {
        return Err(HostnameTooLong { fqdn });
    }
    Ok(fqdn)
}

/// A host below its pod's subdomain; a node may know no cluster domain.
pub fn fqdn(pod: &Pod, host: &str, subdomain: &str, cluster_domain: &str) -> String {
    let fqdn = format!("{host}.{subdomain}.{}.svc.{cluster_domain}", namespace(pod));
    fqdn.trim_end_matches('.').to_owned()
}

/// The namespaces a pod's containers run in.
pub fn namespaces(spec: &PodSpec) -> v1::NamespaceOption {
    let node_or = |host: Option<bool>, other: v1::NamespaceMode| {
        if host == Some(true) {
            v1::NamespaceMode::Node as i32
        } else {
            other as i32
        }
    };
    let pid = if spec.share_process_namespace == Some(true) {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: node_or(spec.host_network, v1::NamespaceMode::Pod),
        ipc: node_or(spec.host_ipc, v1::NamespaceMode::Pod),
        pid: node_or(spec.host_pid, pid),
        ..v1::NamespaceOption::default()
    }
}

/// The request for a pod's sandbox.
pub fn sandbox_config(pod: &Pod, attempt: u32, settings: SandboxSettings<'_>) -> v1::PodSandboxConfig {
    let metadata = v1::PodSandboxMetadata {
        name: name(pod).to_owned(),
        namespace: namespace(pod).to_owned(),
        uid: uid(pod).to_owned(),
        attempt,
    };
    let Some(spec) = pod.spec.as_ref() else {
        return v1::PodSandboxConfig {
            metadata: Some(metadata),
            ..v1::PodSandboxConfig::default()
        };
    };
    let mut all_labels: HashMap<String, String> = pod
        .metadata
        .labels
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    all_labels.insert(labels::POD_NAME.into(), metadata.name.clone());
    all_labels.insert(labels::POD_NAMESPACE.into(), metadata.namespace.clone());
    all_labels.insert(labels::POD_UID.into(), metadata.uid.clone());
    v1::PodSandboxConfig {
        hostname: settings.hostname,
        log_directory: log_directory(settings.pod_logs, pod).display().to_string(),
        dns_config: Some(settings.dns),
        port_mappings: port_mappings(spec),
        labels: all_labels,
        annotations: pod
            .metadata
            .annotations
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: settings.cgroup_parent,
            security_context: Some(security_context(spec, settings.users)),
            sysctls: sysctls(spec),
            resources: Some(settings.resources),
            overhead: of_overhead(spec),
        }),
        metadata: Some(metadata),
        ..v1::PodSandboxConfig::default()
    }
}

fn port_mappings(spec: &PodSpec) -> Vec<v1::PortMapping> {
    let ports = spec
        .containers
        .iter()
        .flat_map(|container| container.ports.iter().flatten());
    ports
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

fn sysctls(spec: &PodSpec) -> HashMap<String, String> {
    let given = spec
        .security_context
        .iter()
        .flat_map(|context| context.sysctls.iter().flatten());
    given
        .map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone()))
        .collect()
}

fn security_context(spec: &PodSpec, users: Option<v1::UserNamespace>) -> v1::LinuxSandboxSecurityContext {
    let privileged = |container: &k8s_openapi::api::core::v1::Container| {
        container
            .security_context
            .as_ref()
            .and_then(|context| context.privileged)
            == Some(true)
    };
    let all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let mut context = v1::LinuxSandboxSecurityContext {
        privileged: all.into_iter().any(privileged),
        // The sandbox's own process is ours: always under the runtime's profile.
        seccomp: Some(v1::SecurityProfile {
            profile_type: v1::security_profile::ProfileType::RuntimeDefault as i32,
            localhost_ref: String::new(),
        }),
        namespace_options: Some(v1::NamespaceOption {
            userns_options: users,
            ..namespaces(spec)
        }),
        ..v1::LinuxSandboxSecurityContext::default()
    };
    if let Some(pod) = &spec.security_context {
        context.run_as_user = pod.run_as_user.map(|value| v1::Int64Value { value });
        context.run_as_group = pod.run_as_group.map(|value| v1::Int64Value { value });
        context.supplemental_groups = super::container::supplemental_groups(pod);
        context.supplemental_groups_policy = super::container::groups_policy(pod) as i32;
        context.selinux_options = pod.se_linux_options.as_ref().map(super::container::selinux);
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        let object = serde_json::json!({
            "metadata": {"name": "web-n1", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
            "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn host_name_is_cut_to_what_linux_takes() {
        let mut long = pod(serde_json::json!({"containers": []}));
        long.metadata.name = Some(format!("{}-{}", "a".repeat(62), "b"));
        assert_eq!(hostname(&long), "a".repeat(62));
        let host = pod(serde_json::json!({"containers": [], "hostNetwork": true}));
        assert_eq!(hostname(&host), "");
    }

    /// E16.
    #[test]
    fn e16_fully_qualified_host_names_are_made_where_they_fit() {
        let named = |host: &str| {
            let spec = serde_json::json!({"containers": [], "hostname": host, "subdomain": "sub", "setHostnameAsFQDN": true});
            full_hostname(&pod(spec), "cluster.local")
        };
        assert_eq!(named("h").unwrap(), "h.sub.shop.svc.cluster.local");
        let fits = "h".repeat(FQDN_MAX - ".sub.shop.svc.cluster.local".len());
        assert!(named(&fits).is_ok());
        let error = named(&format!("{fits}h")).unwrap_err().to_string();
        assert!(
            error.ends_with("(64 characters is the max, 65 characters requested)"),
            "{error}"
        );
        let given = serde_json::json!({"containers": [], "subdomain": "sub", "setHostnameAsFQDN": true,
            "hostnameOverride": "exactly.this"});
        assert_eq!(full_hostname(&pod(given), "d").unwrap(), "exactly.this");
    }

    #[test]
    fn s04_host_namespaces_are_asked_for() {
        let spec = pod(serde_json::json!({"containers": [], "hostPID": true, "hostIPC": true}))
            .spec
            .unwrap();
        let options = namespaces(&spec);
        assert_eq!(options.pid, v1::NamespaceMode::Node as i32);
        assert_eq!(options.ipc, v1::NamespaceMode::Node as i32);
        assert_eq!(options.network, v1::NamespaceMode::Pod as i32);
        let host = pod(serde_json::json!({"containers": [], "hostNetwork": true}))
            .spec
            .unwrap();
        let options = namespaces(&host);
        assert_eq!(options.network, v1::NamespaceMode::Node as i32);
        assert_eq!(options.ipc, v1::NamespaceMode::Pod as i32);
        assert_eq!(options.pid, v1::NamespaceMode::Container as i32);
        let shared = pod(serde_json::json!({"containers": [], "shareProcessNamespace": true}))
            .spec
            .unwrap();
        assert_eq!(namespaces(&shared).pid, v1::NamespaceMode::Pod as i32);
    }

    #[test]
    fn sandbox_carries_labels_logs_and_ports() {
        let pod = pod(serde_json::json!({"containers": [
            {"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}]}]}));
        let config = sandbox_config(
            &pod,
            3,
            SandboxSettings {
                hostname: hostname(&pod),
                pod_logs: Path::new("/var/log/pods"),
                dns: v1::DnsConfig::default(),
                cgroup_parent: "/kubepods/podu1".into(),
                resources: v1::LinuxContainerResources::default(),
                users: None,
            },
        );
        assert_eq!(config.log_directory, "/var/log/pods/shop_web-n1_u1");
        assert_eq!(config.labels[labels::POD_UID], "u1");
        assert_eq!(config.labels["app"], "web");
        assert_eq!(config.metadata.unwrap().attempt, 3);
        assert_eq!(
            (
                config.port_mappings[0].host_port,
                config.port_mappings[0].protocol
            ),
            (8080, 1)
        );
    }
}
