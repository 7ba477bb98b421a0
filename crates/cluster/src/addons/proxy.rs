//! The proxy of Services, on every node.
use super::{account, cluster_binding};
use crate::ClusterError;
use crate::config::ClusterConfig;
use crate::objects::{group, reading};
use crate::token::GROUP;
use orlop_api::annotations::SYSTEM_NODE_CRITICAL;
use serde_json::{Value, json};

const NAME: &str = "kube-proxy";

pub(super) fn objects(
    cluster: &ClusterConfig,
    server: &str,
    image: &str,
) -> Result<Vec<Value>, ClusterError> {
    let mut objects = vec![
        account(NAME),
        cluster_binding("kubeadm:node-proxier", "system:node-proxier", NAME),
    ];
    objects.extend(reading(
        "kube-system",
        NAME,
        "configmaps",
        NAME,
        &json!([group(GROUP)]),
    ));
    objects.push(configuration(cluster, server)?);
    objects.push(daemon_set(image));
    Ok(objects)
}

fn configuration(cluster: &ClusterConfig, server: &str) -> Result<Value, ClusterError> {
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let kubeconfig = json!({
        "apiVersion": "v1",
        "clusters": [{"cluster": {"certificate-authority": format!("{account}/ca.crt"), "server": server}, "name": "default"}],
        "contexts": [{"context": {"cluster": "default", "namespace": "default", "user": "default"}, "name": "default"}],
        "current-context": "default",
        "kind": "Config",
        "users": [{"name": "default", "user": {"tokenFile": format!("{account}/token")}}],
    });
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "bindAddress": "0.0.0.0",
        "clientConnection": {"kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf"},
        "clusterCIDR": cluster.pod_subnet.as_deref().unwrap_or_default(),
        "kind": "KubeProxyConfiguration",
    });
    Ok(json!({
        "apiVersion": "v1",
        "data": {
            "config.conf": crate::yaml::write(&config)?,
            "kubeconfig.conf": crate::yaml::write(&kubeconfig)?,
        },
        "kind": "ConfigMap",
        "metadata": {"labels": {"app": NAME}, "name": NAME, "namespace": "kube-system"},
    }))
}

fn daemon_set(image: &str) -> Value {
    let labels = json!({"k8s-app": NAME});
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"labels": labels, "name": NAME, "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [{
                        "command": [
                            "/usr/local/bin/kube-proxy",
                            "--config=/var/lib/kube-proxy/config.conf",
                            "--hostname-override=$(NODE_NAME)",
                        ],
                        "env": [{
                            "name": "NODE_NAME",
                            "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}},
                        }],
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "name": NAME,
                        "securityContext": {"privileged": true},
                        "volumeMounts": [
                            {"mountPath": "/var/lib/kube-proxy", "name": NAME},
                            {"mountPath": "/run/xtables.lock", "name": "xtables-lock"},
                            {"mountPath": "/lib/modules", "name": "lib-modules", "readOnly": true},
                        ],
                    }],
                    "hostNetwork": true,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "priorityClassName": SYSTEM_NODE_CRITICAL,
                    "serviceAccountName": NAME,
                    "tolerations": [{"operator": "Exists"}],
                    "volumes": [
                        {"configMap": {"name": NAME}, "name": NAME},
                        {"hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}, "name": "xtables-lock"},
                        {"hostPath": {"path": "/lib/modules"}, "name": "lib-modules"},
                    ],
                },
            },
            "updateStrategy": {"type": "RollingUpdate"},
        },
    })
}
