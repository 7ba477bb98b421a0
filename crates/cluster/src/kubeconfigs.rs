//! The kubeconfigs of a node.
use crate::certificates::{ADMINS, MASTERS, Signer};
use crate::config::{ClusterConfig, NodeConfig};
use crate::layout::Layout;
use crate::{ClusterError, external};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_pki::{Authority, Identity, Kubeconfig, Leaf, LeafRequest, Usage};
use serde_json::{Value, json};
use std::time::Duration;

/// No authority lasts that long, which then says when its certificates end.
const LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

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
    *user = credentials(leaf);
    crate::yaml::write(&document)
}

/// What a kubeconfig has as its `user` who presents a certificate.
fn credentials(leaf: &Leaf) -> Value {
    json!({
        "client-certificate-data": STANDARD.encode(&leaf.certificate),
        "client-key-data": STANDARD.encode(&leaf.key),
    })
}

/// Credentials of a user of the cluster, who the authority on this node says that it is, for so long at most.
///
/// # Errors
/// The authority's key is not here.
pub fn signed(layout: &Layout, identity: Identity, lifetime: Duration) -> Result<Value, ClusterError> {
    let what = format!("a certificate of {}", identity.user);
    external::may_sign(layout, Signer::Cluster, &what)?;
    let authority = Authority::open(&Signer::Cluster.certificate(layout), &Signer::Cluster.key(layout))?;
    let leaf = authority.sign_for(&request(identity), lifetime.min(LIFETIME_MAX))?;
    Ok(credentials(&leaf))
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
    of_user(server, authority, cluster, "tls-bootstrap-token-user", user)
}

/// For somebody by a name, which only kubeconfigs know. `user`: by what the cluster knows who it is; `authority`: PEM.
pub fn of_user(server: &str, authority: &str, cluster: &str, name: &str, user: &Value) -> Value {
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
    use jiff::Timestamp;
    use std::net::IpAddr;

    #[test]
    fn another_user_is_signed_for_as_long_as_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        Signer::Cluster.ensure(&layout).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let alice = Identity::new("alice", &["devs", "ops"]);
        let user = signed(&layout, alice.clone(), day).unwrap();
        let authority = crate::files::read(&Signer::Cluster.certificate(&layout)).unwrap();
        let document = of_user("https://a:6443", &authority, "mine", "alice", &user);
        assert_eq!(document["current-context"], "alice@mine");
        let text = crate::yaml::write(&document).unwrap();
        let certificate = crate::expiration::client_certificate(&text).unwrap();
        assert_eq!(orlop_pki::identity_of(&certificate), Some(alice));
        let left = orlop_pki::expires(&certificate)
            .unwrap()
            .duration_since(Timestamp::now());
        assert!((86_000..=86_400).contains(&left.as_secs()), "{left:?}");

        std::fs::remove_file(Signer::Cluster.key(&layout)).unwrap();
        let error = signed(&layout, Identity::new("all", &[]), day).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("a certificate of all cannot be signed here")
        );
    }

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
