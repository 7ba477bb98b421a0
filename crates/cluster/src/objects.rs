//! What a cluster keeps in its API about itself, and who may read and do what so that nodes can join (pure).
use crate::ClusterError;
use crate::certificates::ADMINS;
use crate::config::ClusterConfig;
use crate::token::GROUP;
use serde_json::{Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";
const NODES: &str = "system:nodes";

fn cluster_binding(name: &str, role: &str, group: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group}],
    })
}

/// A role for reading one object, and its binding.
pub(crate) fn reading(
    namespace: &str,
    name: &str,
    resource: &str,
    object: &str,
    subjects: &Value,
) -> [Value; 2] {
    [
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "Role",
            "metadata": {"name": name, "namespace": namespace},
            "rules": [{"apiGroups": [""], "resourceNames": [object], "resources": [resource], "verbs": ["get"]}],
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
            "subjects": subjects,
        }),
    ]
}

pub(crate) fn group(name: &str) -> Value {
    json!({"apiGroup": RBAC, "kind": "Group", "name": name})
}

fn config_map(namespace: &str, name: &str, key: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "data": {key: text},
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
    })
}

/// What lets the administrators of `admin.conf` in; made by who needs no leave.
pub fn administrators() -> Value {
    cluster_binding(ADMINS, "cluster-admin", ADMINS)
}

/// Where the configuration is that all node agents share.
pub const KUBELET_CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/kubelet-config";

/// The ConfigMaps that nodes which join are made after, with who may read them.
pub fn configuration(cluster: &ClusterConfig, kubelet: &Value) -> Result<Vec<Value>, ClusterError> {
    let mut objects = vec![config_map(
        "kube-system",
        "kubeadm-config",
        "ClusterConfiguration",
        &cluster.to_yaml()?,
    )];
    objects.extend(reading(
        "kube-system",
        "kubeadm:nodes-kubeadm-config",
        "configmaps",
        "kubeadm-config",
        &nodes(),
    ));
    objects.extend(kubelet_configuration(kubelet)?);
    Ok(objects)
}

/// The one of node agents alone.
pub fn kubelet_configuration(kubelet: &Value) -> Result<Vec<Value>, ClusterError> {
    let text = crate::yaml::write(kubelet)?;
    let mut objects = vec![config_map("kube-system", "kubelet-config", "kubelet", &text)];
    objects.extend(reading(
        "kube-system",
        "kubeadm:kubelet-config",
        "configmaps",
        "kubelet-config",
        &nodes(),
    ));
    Ok(objects)
}

/// Nodes, and machines that are to become some.
fn nodes() -> Value {
    json!([group(NODES), group(GROUP)])
}

/// What lets a node in that has a token, and keeps its certificate fresh.
pub fn joining(cluster_info: &str) -> Vec<Value> {
    let mut objects = vec![
        cluster_binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", GROUP),
        cluster_binding(
            "kubeadm:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            GROUP,
        ),
        cluster_binding(
            "kubeadm:node-autoapprove-certificate-rotation",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            NODES,
        ),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": "kubeadm:get-nodes"},
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}],
        }),
        cluster_binding("kubeadm:get-nodes", "kubeadm:get-nodes", GROUP),
        config_map("kube-public", "cluster-info", "kubeconfig", cluster_info),
    ];
    let anybody = json!([{"apiGroup": RBAC, "kind": "User", "name": "system:anonymous"}]);
    objects.extend(reading(
        "kube-public",
        "kubeadm:bootstrap-signer-clusterinfo",
        "configmaps",
        "cluster-info",
        &anybody,
    ));
    objects
}

/// What lets nodes see each other's ranges of pod addresses, to route them. They have the right to read themselves anyway.
pub fn routing() -> [Value; 2] {
    const NAME: &str = "orlop:pod-network";
    [
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": NAME},
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}],
        }),
        cluster_binding(NAME, NAME, NODES),
    ]
}

/// Who may fetch the encrypted certificates.
pub fn certificate_readers() -> [Value; 2] {
    reading(
        "kube-system",
        "kubeadm:kubeadm-certs",
        "secrets",
        "kubeadm-certs",
        &json!([group(GROUP)]),
    )
}

/// Path of a kind's objects in the API.
pub fn path(object: &Value) -> Option<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (prefix, plural) = match text("/kind")? {
        "ConfigMap" => ("/api/v1", "configmaps"),
        "Secret" => ("/api/v1", "secrets"),
        "Service" => ("/api/v1", "services"),
        "ServiceAccount" => ("/api/v1", "serviceaccounts"),
        "DaemonSet" => ("/apis/apps/v1", "daemonsets"),
        "Deployment" => ("/apis/apps/v1", "deployments"),
        "Role" => ("/apis/rbac.authorization.k8s.io/v1", "roles"),
        "RoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
        "ClusterRole" => ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
        "ClusterRoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
        _ => return None,
    };
    let name = text("/metadata/name")?;
    Some(match text("/metadata/namespace") {
        Some(namespace) => format!("{prefix}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("{prefix}/{plural}/{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_a_place_in_the_api() {
        let cluster = ClusterConfig::new("v1.36.0");
        let kubelet = crate::kubelet::configuration(&cluster).unwrap();
        let mut objects = configuration(&cluster, &kubelet).unwrap();
        objects.extend(joining("{}"));
        objects.extend(certificate_readers());
        objects.extend(routing());
        objects.push(administrators());
        let paths: Vec<String> = objects.iter().map(|object| path(object).unwrap()).collect();
        for want in [
            "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
            KUBELET_CONFIG,
            "/api/v1/namespaces/kube-public/configmaps/cluster-info",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:kubelet-bootstrap",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:node-autoapprove-bootstrap",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:node-autoapprove-certificate-rotation",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:cluster-admins",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings/kubeadm:kubelet-config",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-public/roles/kubeadm:bootstrap-signer-clusterinfo",
        ] {
            assert!(paths.iter().any(|path| path == want), "{want}");
        }
        assert_eq!(path(&json!({"kind": "Widget", "metadata": {"name": "x"}})), None);
    }

    /// What kubeadm's own suite for a running cluster looks for.
    #[test]
    fn rights_are_bound_as_kubeadms_suite_looks_for_them() {
        let cluster = ClusterConfig::new("v1.36.0");
        let mut objects = configuration(&cluster, &json!({})).unwrap();
        objects.extend(joining("{}"));
        objects.extend(certificate_readers());
        objects.extend(
            crate::addons::Addon::KubeProxy
                .objects(&cluster, "https://x", "image")
                .unwrap(),
        );
        let of = |kind: &str, name: &str| {
            let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
            let found = objects.iter().find(is_it);
            found.unwrap_or_else(|| panic!("{kind} {name}"))
        };
        let requests = "system:certificates.k8s.io:certificatesigningrequests";
        for (name, who, role) in [
            (
                "kubeadm:kubelet-bootstrap",
                GROUP,
                "system:node-bootstrapper".to_owned(),
            ),
            (
                "kubeadm:node-autoapprove-bootstrap",
                GROUP,
                format!("{requests}:nodeclient"),
            ),
            (
                "kubeadm:node-autoapprove-certificate-rotation",
                NODES,
                format!("{requests}:selfnodeclient"),
            ),
        ] {
            let binding = of("ClusterRoleBinding", name);
            assert_eq!(binding["subjects"], json!([group(who)]), "{name}");
            assert_eq!(binding["roleRef"]["name"], role, "{name}");
        }
        let machines = json!([group(GROUP)]);
        let anybody = json!([{"apiGroup": RBAC, "kind": "User", "name": "system:anonymous"}]);
        for (name, resource, object, subjects) in [
            (
                "kubeadm:nodes-kubeadm-config",
                "configmaps",
                "kubeadm-config",
                &nodes(),
            ),
            ("kubeadm:kubelet-config", "configmaps", "kubelet-config", &nodes()),
            (
                "kubeadm:bootstrap-signer-clusterinfo",
                "configmaps",
                "cluster-info",
                &anybody,
            ),
            ("kubeadm:kubeadm-certs", "secrets", "kubeadm-certs", &machines),
            ("kube-proxy", "configmaps", "kube-proxy", &machines),
        ] {
            let rule = &of("Role", name)["rules"][0];
            assert_eq!(
                (&rule["resources"], &rule["resourceNames"], &rule["verbs"]),
                (&json!([resource]), &json!([object]), &json!(["get"]))
            );
            let binding = of("RoleBinding", name);
            assert_eq!(&binding["subjects"], subjects, "{name}");
            assert_eq!(binding["roleRef"]["name"], name);
        }
    }

    #[test]
    fn only_the_named_object_may_be_read() {
        for object in joining("{}").iter().filter(|object| object["kind"] == "Role") {
            assert_eq!(object["rules"][0]["resourceNames"], json!(["cluster-info"]));
            assert_eq!(object["rules"][0]["verbs"], json!(["get"]));
        }
    }
}
