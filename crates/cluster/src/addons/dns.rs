//! The names of Services.
use super::{account, cluster_binding};
use crate::ClusterError;
use crate::config::ClusterConfig;
use crate::kubelet::CONTROL_PLANE;
use orlop_api::annotations::SYSTEM_CLUSTER_CRITICAL;
use serde_json::{Value, json};

const NAME: &str = "coredns";
const ROLE: &str = "system:coredns";
/// What its pods and its Service are known by, from the time before CoreDNS.
const APP: &str = "kube-dns";

pub(super) fn objects(cluster: &ClusterConfig, image: &str) -> Result<Vec<Value>, ClusterError> {
    Ok(vec![
        account(NAME),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": ROLE},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["endpoints", "services", "pods", "namespaces"],
                    "verbs": ["list", "watch"],
                },
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                },
            ],
        }),
        cluster_binding(ROLE, ROLE, NAME),
        json!({
            "apiVersion": "v1",
            "data": {"Corefile": corefile(&cluster.dns_domain)},
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": "kube-system"},
        }),
        service(cluster)?,
        deployment(image),
    ])
}

fn corefile(domain: &str) -> String {
    format!(
        ".:53 {{\n    errors\n    health {{\n       lameduck 5s\n    }}\n    ready\n    \
         kubernetes {domain} in-addr.arpa ip6.arpa {{\n       pods insecure\n       \
         fallthrough in-addr.arpa ip6.arpa\n       ttl 30\n    }}\n    prometheus :9153\n    \
         forward . /etc/resolv.conf {{\n       max_concurrent 1000\n    }}\n    \
         cache 30 {{\n       disable success {domain}\n       disable denial {domain}\n    }}\n    \
         loop\n    reload\n    loadbalance\n}}\n"
    )
}

fn service(cluster: &ClusterConfig) -> Result<Value, ClusterError> {
    let port = |name: &str, protocol: &str, port: u16| json!({"name": name, "port": port, "protocol": protocol, "targetPort": port});
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "annotations": {"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
            "labels": {
                "k8s-app": APP,
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
            "name": APP,
            "namespace": "kube-system",
        },
        "spec": {
            "clusterIP": cluster.service_address(10)?.to_string(),
            "ports": [port("dns", "UDP", 53), port("dns-tcp", "TCP", 53), port("metrics", "TCP", 9153)],
            "selector": {"k8s-app": APP},
        },
    }))
}

fn deployment(image: &str) -> Value {
    let labels = json!({"k8s-app": APP});
    let port = |name: &str, protocol: &str, port: u16| json!({"containerPort": port, "name": name, "protocol": protocol});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"labels": labels, "name": NAME, "namespace": "kube-system"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 1}, "type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "affinity": {"podAntiAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [{
                            "podAffinityTerm": {
                                "labelSelector": {"matchExpressions": [
                                    {"key": "k8s-app", "operator": "In", "values": [APP]},
                                ]},
                                "topologyKey": "kubernetes.io/hostname",
                            },
                            "weight": 100,
                        }],
                    }},
                    "containers": [{
                        "args": ["-conf", "/etc/coredns/Corefile"],
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "livenessProbe": {
                            "failureThreshold": 5,
                            "httpGet": {"path": "/health", "port": "liveness-probe", "scheme": "HTTP"},
                            "initialDelaySeconds": 60,
                            "successThreshold": 1,
                            "timeoutSeconds": 5,
                        },
                        "name": NAME,
                        "ports": [
                            port("dns", "UDP", 53),
                            port("dns-tcp", "TCP", 53),
                            port("metrics", "TCP", 9153),
                            port("liveness-probe", "TCP", 8080),
                            port("readiness-probe", "TCP", 8181),
                        ],
                        "readinessProbe": {
                            "httpGet": {"path": "/ready", "port": "readiness-probe", "scheme": "HTTP"},
                        },
                        "resources": {
                            "limits": {"memory": "170Mi"},
                            "requests": {"cpu": "100m", "memory": "70Mi"},
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
                            "readOnlyRootFilesystem": true,
                        },
                        "volumeMounts": [
                            {"mountPath": "/etc/coredns", "name": "config-volume", "readOnly": true},
                        ],
                    }],
                    "dnsPolicy": "Default",
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "priorityClassName": SYSTEM_CLUSTER_CRITICAL,
                    "serviceAccountName": NAME,
                    "tolerations": [
                        {"key": "CriticalAddonsOnly", "operator": "Exists"},
                        {"effect": "NoSchedule", "key": CONTROL_PLANE},
                    ],
                    "volumes": [{
                        "configMap": {"items": [{"key": "Corefile", "path": "Corefile"}], "name": NAME},
                        "name": "config-volume",
                    }],
                },
            },
        },
    })
}
