//! What the node agent of a member is told: its configuration, and the flags beside it (pure).
use crate::ClusterError;
use crate::config::{ClusterConfig, NodeConfig};
use crate::given::Registration;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Where systemd-resolved writes which name servers it asks.
pub const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// The taint that keeps ordinary pods off the control plane.
pub const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// The configuration that all nodes share; kept in the ConfigMap `kubelet-config`.
pub fn configuration(cluster: &ClusterConfig) -> Result<Value, ClusterError> {
    let mut document = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"cacheTTL": "0s", "enabled": true},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {
            "mode": "Webhook",
            "webhook": {"cacheAuthorizedTTL": "0s", "cacheUnauthorizedTTL": "0s"},
        },
        "clusterDNS": [cluster.service_address(10)?.to_string()],
        "clusterDomain": cluster.dns_domain,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "kind": "KubeletConfiguration",
        "rotateCertificates": true,
        "staticPodPath": "/etc/kubernetes/manifests",
    });
    if let Some(given) = &cluster.kubelet {
        orlop_api::patch::merge(&mut document, given);
    }
    Ok(document)
}

/// What the machine itself asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineFacts {
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// It runs cgroup v1.
    pub cgroup_v1: bool,
    /// Pages can be swapped out.
    pub swap: bool,
    /// CRI socket, unless the runtime is the node's own.
    pub runtime_endpoint: Option<String>,
    /// The file of name servers that pods can ask, where the machine's own is none; see [`names_itself_only`].
    pub resolv_conf: Option<String>,
}

impl MachineFacts {
    /// Those that [`of_node`] has written into a node's file.
    pub fn of(document: &Value) -> Self {
        let text = |field: &str| document[field].as_str().map(str::to_owned);
        Self {
            cgroup_driver: text("cgroupDriver").unwrap_or_else(|| "cgroupfs".to_owned()),
            cgroup_v1: document["failCgroupV1"] == false,
            swap: document["failSwapOn"] == false,
            runtime_endpoint: text("containerRuntimeEndpoint"),
            resolv_conf: text("resolvConf").filter(|path| path == RESOLVED),
        }
    }
}

/// Whether all name servers of a `resolv.conf` are on this machine itself, as systemd-resolved's is: in a pod nobody answers
/// there, and CoreDNS would ask itself.
pub fn names_itself_only(text: &str) -> bool {
    let servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    let mut servers = servers
        .filter_map(|server| server.trim().parse::<IpAddr>().ok())
        .peekable();
    servers.peek().is_some() && servers.all(|server| server.is_loopback())
}

/// The file of one node: the shared configuration, what the machine asks for, and what `instance` says, which wins.
pub fn of_node(shared: &Value, machine: &MachineFacts, root: &str, instance: Option<&Value>) -> Value {
    let mut document = shared.clone();
    document["cgroupDriver"] = json!(machine.cgroup_driver);
    if machine.cgroup_v1 {
        document["failCgroupV1"] = json!(false);
    }
    if machine.swap {
        document["failSwapOn"] = json!(false);
    }
    if let Some(endpoint) = &machine.runtime_endpoint {
        document["containerRuntimeEndpoint"] = json!(endpoint);
    }
    if let Some(path) = &machine.resolv_conf
        && document["resolvConf"].is_null()
    {
        document["resolvConf"] = json!(path);
    }
    for path in ["/staticPodPath", "/authentication/x509/clientCAFile"] {
        if let Some(Value::String(text)) = document.pointer_mut(path) {
            *text = format!("{root}{text}");
        }
    }
    if let Some(instance) = instance {
        orlop_api::patch::merge(&mut document, instance);
    }
    document
}

/// The taints with which a node registers, as `key=value:effect`.
pub fn taints(registration: &Registration, control_plane: bool) -> Vec<String> {
    let usual = || match control_plane {
        true => vec![format!("{CONTROL_PLANE}=:NoSchedule")],
        false => Vec::new(),
    };
    registration.taints.clone().unwrap_or_else(usual)
}

/// The flags' file.
pub fn flags(node: &NodeConfig, host_name: &str, control_plane: bool, registration: &Registration) -> String {
    let mut words = Vec::new();
    if node.name != host_name {
        words.push(format!("--hostname-override={}", node.name));
    }
    words.push(format!("--node-ip={}", node.address));
    let taints = taints(registration, control_plane);
    if !taints.is_empty() {
        words.push(format!("--register-with-taints={}", taints.join(",")));
    }
    let args = &registration.agent_args;
    // In the place of ours: of a list, the agent would take both.
    words.retain(|word: &String| {
        let is_given = |name: &str| {
            let rest = word.strip_prefix("--").and_then(|word| word.strip_prefix(name));
            rest.is_some_and(|rest| rest.starts_with('='))
        };
        !args.iter().any(|(name, _)| is_given(name))
    });
    words.extend(args.iter().map(|(name, value)| format!("--{name}={value}")));
    format!("KUBELET_KUBEADM_ARGS=\"{}\"\n", words.join(" "))
}

/// The words of a flags' file.
pub fn read_flags(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("KUBELET_KUBEADM_ARGS="))
        .flat_map(|value| value.trim().trim_matches('"').split_whitespace())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kubeadm: otherwise pods with `dnsPolicy: Default`, CoreDNS among them, would get a server that is theirs alone.
    #[test]
    fn pods_get_the_name_servers_behind_systemd_resolved() {
        for (text, itself) in [
            ("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", true),
            ("nameserver ::1\nnameserver 127.0.0.1\n", true),
            ("nameserver 127.0.0.53\nnameserver 10.0.0.2\n", false),
            ("nameserver 10.0.0.2\n", false),
            ("# nameserver 127.0.0.53\n", false),
            ("", false),
        ] {
            assert_eq!(names_itself_only(text), itself, "{text}");
        }
        let machine = MachineFacts {
            resolv_conf: Some(RESOLVED.to_owned()),
            ..MachineFacts::default()
        };
        let shared = configuration(&ClusterConfig::new("v1.36.0")).unwrap();
        assert!(shared.get("resolvConf").is_none(), "other machines may have none");
        let document = of_node(&shared, &machine, "", None);
        assert_eq!(document["resolvConf"], RESOLVED);
        let again = of_node(&shared, &MachineFacts::of(&document), "", None);
        assert_eq!(again, document);
        for given in ["/etc/resolv.conf", ""] {
            let shared = json!({"resolvConf": given});
            let document = of_node(&shared, &machine, "", None);
            assert_eq!(document["resolvConf"], given, "what is said counts");
        }
    }

    #[test]
    fn the_machine_and_the_instance_add_to_what_all_share() {
        let shared = configuration(&ClusterConfig::new("v1.36.0")).unwrap();
        let machine = MachineFacts {
            cgroup_driver: "cgroupfs".to_owned(),
            cgroup_v1: true,
            ..MachineFacts::default()
        };
        let instance = json!({"cgroupRoot": "/n1", "healthzPort": 1});
        let document = of_node(&shared, &machine, "", Some(&instance));
        assert_eq!(document["clusterDNS"], json!(["10.96.0.10"]));
        assert_eq!(document["staticPodPath"], "/etc/kubernetes/manifests");
        assert_eq!(document["failCgroupV1"], false);
        assert!(document.get("failSwapOn").is_none());
        assert_eq!(
            (&document["cgroupRoot"], &document["healthzPort"]),
            (&json!("/n1"), &json!(1))
        );
        // A cluster's new configuration changes nothing of what the machine asks for.
        let again = of_node(&shared, &MachineFacts::of(&document), "", Some(&instance));
        assert_eq!(again, document);
        assert_eq!(MachineFacts::of(&of_node(&shared, &machine, "", None)), machine);
        let given = ClusterConfig {
            kubelet: Some(json!({"maxPods": 7, "authentication": {"anonymous": {"enabled": true}}})),
            ..ClusterConfig::new("v1.36.0")
        };
        let given = configuration(&given).unwrap();
        assert_eq!(
            (&given["maxPods"], &given["healthzPort"]),
            (&json!(7), &json!(10248))
        );
        assert_eq!(given["authentication"]["anonymous"]["enabled"], true);
        let moved = of_node(&shared, &machine, "/srv/n1", None);
        assert_eq!(moved["staticPodPath"], "/srv/n1/etc/kubernetes/manifests");
    }

    #[test]
    fn flags_read_back() {
        let node = NodeConfig {
            name: "master-01".to_owned(),
            address: IpAddr::from([10, 0, 0, 1]),
            api_port: 6443,
        };
        let text = flags(&node, "elsewhere", true, &Registration::default());
        assert_eq!(
            read_flags(&text),
            [
                "--hostname-override=master-01",
                "--node-ip=10.0.0.1",
                "--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule"
            ]
        );
        assert_eq!(
            read_flags(&flags(&node, "master-01", false, &Registration::default())),
            ["--node-ip=10.0.0.1"]
        );
        let registration = Registration {
            taints: Some(Vec::new()),
            agent_args: vec![("v".to_owned(), "4".to_owned())],
            ..Registration::default()
        };
        assert_eq!(
            read_flags(&flags(&node, "master-01", true, &registration)),
            ["--node-ip=10.0.0.1", "--v=4"]
        );
        let elsewhere = Registration {
            agent_args: vec![("node-ip".to_owned(), "10.0.0.9".to_owned())],
            ..Registration::default()
        };
        assert_eq!(
            read_flags(&flags(&node, "master-01", false, &elsewhere)),
            ["--node-ip=10.0.0.9"],
            "what is given is in the place of ours"
        );
        assert_eq!(read_flags("KUBELET_KUBEADM_ARGS=--a=b\nOTHER=--c\n"), ["--a=b"]);
    }
}
