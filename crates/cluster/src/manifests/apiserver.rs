use super::Machine;
use super::etcd::CLIENT_PORT;
use super::pod::{Component, HostPath, Probes, authorities};
use crate::config::{ClusterConfig, NodeConfig};
use serde_json::Value;

pub(super) fn manifest(cluster: &ClusterConfig, node: &NodeConfig, machine: Machine<'_>) -> Value {
    let pki = |file: &str| format!("/etc/kubernetes/pki/{file}");
    let address = node.address.to_string();
    let flags = vec![
        ("advertise-address", address.clone()),
        ("allow-privileged", "true".to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("client-ca-file", pki("ca.crt")),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("enable-bootstrap-token-auth", "true".to_owned()),
        ("etcd-cafile", pki("etcd/ca.crt")),
        ("etcd-certfile", pki("apiserver-etcd-client.crt")),
        ("etcd-keyfile", pki("apiserver-etcd-client.key")),
        ("etcd-servers", format!("https://127.0.0.1:{CLIENT_PORT}")),
        ("kubelet-client-certificate", pki("apiserver-kubelet-client.crt")),
        ("kubelet-client-key", pki("apiserver-kubelet-client.key")),
        (
            "kubelet-preferred-address-types",
            "InternalIP,ExternalIP,Hostname".to_owned(),
        ),
        ("proxy-client-cert-file", pki("front-proxy-client.crt")),
        ("proxy-client-key-file", pki("front-proxy-client.key")),
        ("requestheader-allowed-names", "front-proxy-client".to_owned()),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-".to_owned()),
        ("requestheader-group-headers", "X-Remote-Group".to_owned()),
        ("requestheader-username-headers", "X-Remote-User".to_owned()),
        ("secure-port", node.api_port.to_string()),
        (
            "service-account-issuer",
            format!("https://kubernetes.default.svc.{}", cluster.dns_domain),
        ),
        ("service-account-key-file", pki("sa.pub")),
        ("service-account-signing-key-file", pki("sa.key")),
        ("service-cluster-ip-range", cluster.service_subnet.clone()),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
    ];
    let mut paths = vec![HostPath::directory("k8s-certs", "/etc/kubernetes/pki")];
    paths.extend(authorities(machine));
    Component {
        name: "kube-apiserver",
        image: cluster.image("kube-apiserver"),
        flags,
        annotation: Some((
            "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint",
            node.api_endpoint(),
        )),
        probes: Probes {
            scheme: "HTTPS",
            host: address,
            port: node.api_port,
            live: "/livez",
            ready: Some("/readyz"),
            started: "/livez",
        },
        cpu: "250m",
        memory: None,
        paths,
    }
    .manifest(machine, cluster.extras("kube-apiserver"))
}
