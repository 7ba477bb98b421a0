//! What the static pods of a control plane have in common.
use super::Machine;
use crate::extras::{Extras, Volume};
use orlop_api::annotations::SYSTEM_NODE_CRITICAL;
use serde_json::{Value, json};

/// Where machines keep authorities that programs trust; the first is always there for pods.
pub const CA_DIRECTORIES: [(&str, &str); 6] = [
    ("ca-certs", "/etc/ssl/certs"),
    ("etc-pki-ca-trust", "/etc/pki/ca-trust"),
    ("etc-pki-tls-certs", "/etc/pki/tls/certs"),
    ("etc-ca-certificates", "/etc/ca-certificates"),
    ("usr-share-ca-certificates", "/usr/share/ca-certificates"),
    (
        "usr-local-share-ca-certificates",
        "/usr/local/share/ca-certificates",
    ),
];

/// A file or directory of the host that the pod sees at the same place.
pub struct HostPath {
    pub name: &'static str,
    pub path: String,
    pub kind: &'static str,
    pub read_only: bool,
}

impl HostPath {
    pub fn directory(name: &'static str, path: &str) -> Self {
        Self {
            name,
            path: path.to_owned(),
            kind: "DirectoryOrCreate",
            read_only: true,
        }
    }

    pub fn writable(mut self) -> Self {
        self.read_only = false;
        self
    }

    pub fn file(name: &'static str, path: &str) -> Self {
        Self {
            kind: "FileOrCreate",
            ..Self::directory(name, path)
        }
    }
}

/// The authorities of the machine.
pub fn authorities(machine: Machine<'_>) -> impl Iterator<Item = HostPath> {
    CA_DIRECTORIES
        .iter()
        .filter(move |(name, path)| *name == "ca-certs" || machine.ca_directories.contains(path))
        .map(|(name, path)| HostPath::directory(name, path))
}

/// How the agent asks a component for its health.
pub struct Probes {
    pub scheme: &'static str,
    pub host: String,
    pub port: u16,
    pub live: &'static str,
    pub ready: Option<&'static str>,
    pub started: &'static str,
}

pub struct Component<'a> {
    pub name: &'static str,
    pub image: String,
    /// Flags in order of their names.
    pub flags: Vec<(&'a str, String)>,
    pub annotation: Option<(&'static str, String)>,
    pub probes: Probes,
    pub cpu: &'static str,
    pub memory: Option<&'static str>,
    pub paths: Vec<HostPath>,
}

impl Component<'_> {
    pub fn manifest(mut self, machine: Machine<'_>, extras: &Extras) -> Value {
        if let Some(address) = bound_to(extras) {
            address.clone_into(&mut self.probes.host);
        }
        let mut paths: Vec<(&str, Value, Value)> = self
            .paths
            .iter()
            .map(|path| (path.name, mount(path), volume(path, machine)))
            .chain(extras.volumes.iter().map(added))
            .collect();
        paths.sort_by_key(|(name, ..)| *name);
        let mut flags: Vec<(&str, &str)> = self
            .flags
            .iter()
            .map(|(flag, value)| (*flag, value.as_str()))
            .filter(|(flag, _)| extras.arg(flag).is_none())
            .chain(
                extras
                    .args
                    .iter()
                    .map(|(flag, value)| (flag.as_str(), value.as_str())),
            )
            .collect();
        flags.sort_by_key(|(flag, _)| *flag);
        let mut requests = json!({"cpu": self.cpu});
        if let Some(memory) = self.memory {
            requests["memory"] = json!(memory);
        }
        let command: Vec<String> = std::iter::once(self.name.to_owned())
            .chain(flags.iter().map(|(flag, value)| format!("--{flag}={value}")))
            .collect();
        let mut container = json!({
            "command": command,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "livenessProbe": self.probe(self.probes.live, 10, 8, 10),
            "name": self.name,
            "ports": [{"containerPort": self.probes.port, "name": "probe-port", "protocol": "TCP"}],
            "resources": {"requests": requests},
            "startupProbe": self.probe(self.probes.started, 10, 24, 10),
            "volumeMounts": paths.iter().map(|(_, mount, _)| mount).collect::<Vec<_>>(),
        });
        if !extras.envs.is_empty() {
            container["env"] = json!(extras.envs);
        }
        if let Some(path) = self.probes.ready {
            container["readinessProbe"] = self.probe(path, 0, 3, 1);
        }
        let mut metadata = json!({
            "labels": {"component": self.name, "tier": "control-plane"},
            "name": self.name,
            "namespace": "kube-system",
        });
        if let Some((key, value)) = &self.annotation {
            metadata["annotations"] = json!({*key: value});
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "containers": [container],
                "hostNetwork": true,
                "priority": 2_000_001_000,
                "priorityClassName": SYSTEM_NODE_CRITICAL,
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": paths.iter().map(|(.., volume)| volume).collect::<Vec<_>>(),
            },
        })
    }

    fn probe(&self, path: &str, delay: u32, failures: u32, period: u32) -> Value {
        let mut get = json!({"path": path, "port": "probe-port", "scheme": self.probes.scheme});
        if !self.probes.host.is_empty() {
            get["host"] = json!(self.probes.host);
        }
        let mut probe = json!({
            "failureThreshold": failures,
            "httpGet": get,
            "periodSeconds": period,
            "timeoutSeconds": 15,
        });
        if delay > 0 {
            probe["initialDelaySeconds"] = json!(delay);
        }
        probe
    }
}

fn mount(path: &HostPath) -> Value {
    let mut mount = json!({"mountPath": path.path, "name": path.name});
    if path.read_only {
        mount["readOnly"] = json!(true);
    }
    mount
}

fn volume(path: &HostPath, machine: Machine<'_>) -> Value {
    let host = machine.root.join(path.path.trim_start_matches('/'));
    json!({"hostPath": {"path": host, "type": path.kind}, "name": path.name})
}

/// Name, mount and volume of what a configuration adds. It lies where it is said, whatever the node's root.
fn added(extra: &Volume) -> (&str, Value, Value) {
    let mut mount = json!({"mountPath": extra.mount_path, "name": extra.name});
    if extra.is_read_only {
        mount["readOnly"] = json!(true);
    }
    let mut host = json!({"path": extra.host_path});
    if let Some(kind) = &extra.kind {
        host["type"] = json!(kind);
    }
    (&extra.name, mount, json!({"hostPath": host, "name": extra.name}))
}

/// The address at which alone a component is reached, if the configuration says one. Who listens everywhere is asked where it
/// is asked otherwise.
pub fn bound_to(extras: &Extras) -> Option<&str> {
    let address = extras.arg("bind-address");
    address.filter(|address| !is_everywhere(address))
}

pub(super) fn is_everywhere(address: &str) -> bool {
    address
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_unspecified())
}
