use super::Machine;
use super::pod::{Component, HostPath, Probes};
use crate::config::ClusterConfig;
use serde_json::Value;

const KUBECONFIG: &str = "/etc/kubernetes/scheduler.conf";
pub const PORT: u16 = 10259;

pub(super) fn manifest(cluster: &ClusterConfig, machine: Machine<'_>) -> Value {
    Component {
        name: "kube-scheduler",
        image: cluster.image("kube-scheduler"),
        flags: vec![
            ("authentication-kubeconfig", KUBECONFIG.to_owned()),
            ("authorization-kubeconfig", KUBECONFIG.to_owned()),
            ("bind-address", "127.0.0.1".to_owned()),
            ("kubeconfig", KUBECONFIG.to_owned()),
            ("leader-elect", "true".to_owned()),
        ],
        annotation: None,
        probes: Probes {
            scheme: "HTTPS",
            host: "127.0.0.1".to_owned(),
            port: PORT,
            live: "/livez",
            ready: Some("/readyz"),
            started: "/livez",
        },
        cpu: "100m",
        memory: None,
        paths: vec![HostPath::file("kubeconfig", KUBECONFIG)],
    }
    .manifest(machine, cluster.extras("kube-scheduler"))
}
