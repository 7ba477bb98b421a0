use super::Machine;
use super::pod::{Component, HostPath, Probes, authorities};
use crate::config::ClusterConfig;
use serde_json::Value;

const KUBECONFIG: &str = "/etc/kubernetes/controller-manager.conf";
pub const PORT: u16 = 10257;

pub(super) fn manifest(cluster: &ClusterConfig, machine: Machine<'_>) -> Value {
    let pki = |file: &str| format!("/etc/kubernetes/pki/{file}");
    // With nothing, as kubeadm has it, nobody here signs certificates that nodes ask for.
    let signing = |file: &str| match machine.has_key {
        true => pki(file),
        false => String::new(),
    };
    let mut flags = vec![
        ("authentication-kubeconfig", KUBECONFIG.to_owned()),
        ("authorization-kubeconfig", KUBECONFIG.to_owned()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("client-ca-file", pki("ca.crt")),
        ("cluster-name", cluster.cluster_name.clone()),
        ("cluster-signing-cert-file", signing("ca.crt")),
        ("cluster-signing-key-file", signing("ca.key")),
        ("controllers", "*,bootstrapsigner,tokencleaner".to_owned()),
        ("kubeconfig", KUBECONFIG.to_owned()),
        ("leader-elect", "true".to_owned()),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("root-ca-file", pki("ca.crt")),
        ("service-account-private-key-file", pki("sa.key")),
        ("use-service-account-credentials", "true".to_owned()),
    ];
    if let Some(subnet) = &cluster.pod_subnet {
        flags.push(("allocate-node-cidrs", "true".to_owned()));
        flags.push(("cluster-cidr", subnet.clone()));
        // What nodes get must not be in it.
        flags.push(("service-cluster-ip-range", cluster.service_subnet.clone()));
        flags.sort_by_key(|(name, _)| *name);
    }
    let mut paths = vec![
        HostPath::directory("k8s-certs", "/etc/kubernetes/pki"),
        HostPath::file("kubeconfig", KUBECONFIG),
    ];
    paths.extend(authorities(machine));
    Component {
        name: "kube-controller-manager",
        image: cluster.image("kube-controller-manager"),
        flags,
        annotation: None,
        probes: Probes {
            scheme: "HTTPS",
            host: "127.0.0.1".to_owned(),
            port: PORT,
            live: "/healthz",
            ready: None,
            started: "/healthz",
        },
        cpu: "200m",
        memory: None,
        paths,
    }
    .manifest(machine, cluster.extras("kube-controller-manager"))
}
