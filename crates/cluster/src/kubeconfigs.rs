//! The kubeconfigs of a node.
use crate::ClusterError;
use crate::certificates::{ADMINS, MASTERS, Signer};
use crate::config::{ClusterConfig, NodeConfig};
use crate::layout::Layout;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_pki::{Identity, Kubeconfig, Leaf, LeafRequest, Usage};
use serde_json::{Value, json};

/// Name, identity, and whether it leads to the node's own API server rather than to all of them.
pub fn wanted(node: &NodeConfig) -> [(&'static str, Identity, bool); 5] {
    [
        ("admin", Identity::new("kubernetes-admin", &[ADMINS]), false),
        (
            "super-admin",
            Identity::new("kubernetes-super-admin", &[MASTERS]),
            false,
        ),
        (
            "kubelet",
            Identity::new(format!("system:node:{}", node.name), &["system:nodes"]),
            true,
        ),
        (
            "controller-manager",
            Identity::new("system:kube-controller-manager", &[]),
            true,
        ),
        ("scheduler", Identity::new("system:kube-scheduler", &[]), true),
    ]
}

/// Where a kubeconfig leads; `local` as [`wanted`] says it.
pub fn server(cluster: &ClusterConfig, node: &NodeConfig, local: bool) -> String {
    match local {
        true => format!("https://{}", node.api_endpoint()),
        false => cluster.server(node),
    }
}

/// Writes those of `names` that are missing or end soon. Where the authority's key is kept elsewhere they are somebody's own,
/// and [`crate::external::check`] tells of them.
pub fn ensure(
    layout: &Layout,
    cluster: &ClusterConfig,
    node: &NodeConfig,
    names: &[&str],
) -> Result<(), ClusterError> {
    if Signer::Cluster.is_external(layout) {
        return Ok(());
    }
    let authority = Signer::Cluster.ensure(layout)?;
    for (name, identity, local) in wanted(node) {
        if !names.contains(&name) {
            continue;
        }
        let server = server(cluster, node, local);
        let kubeconfig = Kubeconfig {
            server: &server,
            cluster: &cluster.cluster_name,
            identity,
        };
        kubeconfig.ensure(&layout.kubeconfig(name), &authority)?;
    }
    Ok(())
}

/// The client certificate of an identity.
pub fn request(identity: Identity) -> LeafRequest {
    LeafRequest {
        identity,
        usage: Usage::Client,
        dns_names: Vec::new(),
        addresses: Vec::new(),
    }
}

/// A kubeconfig whose user presents another certificate; everything else stays (pure).
pub fn with_identity(name: &str, text: &str, leaf: &Leaf) -> Result<String, ClusterError> {
    let mut document: Value = crate::yaml::read("the kubeconfig", text)?;
    let Some(user) = document.pointer_mut("/users/0/user") else {
        return Err(ClusterError::Document {
            what: name.to_owned(),
            reason: "it has no user".to_owned(),
        });
    };
    *user = json!({
        "client-certificate-data": STANDARD.encode(&leaf.certificate),
        "client-key-data": STANDARD.encode(&leaf.key),
    });
    crate::yaml::write(&document)
}

/// What everybody may read of the cluster: where it is and by whom its certificates are signed.
pub fn cluster_info(server: &str, authority: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "clusters": [{"cluster": {
            "certificate-authority-data": STANDARD.encode(authority),
            "server": server,
        }, "name": ""}],
        "contexts": Value::Null,
        "current-context": "",
        "kind": "Config",
        "preferences": {},
        "users": Value::Null,
    })
}

/// For a node that has no certificate yet. `user`: by what it is known until then.
pub fn for_bootstrap(server: &str, authority: &str, cluster: &str, user: &Value) -> Value {
    let name = "tls-bootstrap-token-user";
    let context = format!("{name}@{cluster}");
    json!({
        "apiVersion": "v1",
        "clusters": [{"cluster": {
            "certificate-authority-data": STANDARD.encode(authority),
            "server": server,
        }, "name": cluster}],
        "contexts": [{"context": {"cluster": cluster, "user": name}, "name": context}],
        "current-context": context,
        "kind": "Config",
        "preferences": {},
        "users": [{"name": name, "user": user}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn control_plane_parts_use_the_api_server_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let node = NodeConfig {
            name: "master-01".to_owned(),
            address: IpAddr::from([10, 0, 0, 1]),
            api_port: 6443,
        };
        let cluster = ClusterConfig {
            control_plane_endpoint: Some("10.0.0.100:6443".to_owned()),
            ..ClusterConfig::new("v1.36.0")
        };
        let names = wanted(&node).map(|(name, ..)| name);
        ensure(&layout, &cluster, &node, &names).unwrap();
        for (name, server) in [
            ("admin", "https://10.0.0.100:6443"),
            ("super-admin", "https://10.0.0.100:6443"),
            ("kubelet", "https://10.0.0.1:6443"),
            ("controller-manager", "https://10.0.0.1:6443"),
            ("scheduler", "https://10.0.0.1:6443"),
        ] {
            let text = std::fs::read_to_string(layout.kubeconfig(name)).unwrap();
            assert!(text.contains(server), "{name}");
        }
    }
}
