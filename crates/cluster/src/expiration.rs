//! When the certificates of a node end, and making new ones.
use crate::certificates::{Signer, Wanted};
use crate::config::{ClusterConfig, NodeConfig};
use crate::layout::Layout;
use crate::{ClusterError, certificates, files, kubeconfigs};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use orlop_pki::{Authority, Kubeconfig};
use serde_json::Value;

/// One line of `certs check-expiration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    pub name: String,
    pub expires: Timestamp,
    /// Empty for an authority.
    pub authority: &'static str,
}

impl Ends {
    /// As kubeadm prints it: days, or hours of the last one.
    pub fn residual(&self, now: Timestamp) -> String {
        let left = self.expires.duration_since(now);
        if left.is_positive() {
            orlop_api::age::seconds(left.as_secs())
        } else {
            "<invalid>".to_owned()
        }
    }
}

/// The certificate that a kubeconfig presents, PEM.
pub fn client_certificate(kubeconfig: &str) -> Option<String> {
    let document: Value = serde_saphyr::from_str(kubeconfig).ok()?;
    let data = document
        .pointer("/users/0/user/client-certificate-data")?
        .as_str()?;
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

/// When each certificate of the node ends: leaves, then authorities. What is not there is left out.
pub fn check(
    layout: &Layout,
    cluster: &ClusterConfig,
    node: &NodeConfig,
) -> Result<(Vec<Ends>, Vec<Ends>), ClusterError> {
    let mut leaves = Vec::new();
    for (name, ..) in kubeconfigs::wanted(node) {
        // The agent's own is renewed by itself.
        if name == "kubelet" {
            continue;
        }
        let text = files::read_optional(&layout.kubeconfig(name))?;
        if let Some(expires) = text
            .as_deref()
            .and_then(client_certificate)
            .as_deref()
            .and_then(orlop_pki::expires)
        {
            leaves.push(Ends {
                name: format!("{name}.conf"),
                expires,
                authority: Signer::Cluster.label(),
            });
        }
    }
    for wanted in certificates::wanted(cluster, node)? {
        let text = files::read_optional(&layout.pki().join(format!("{}.crt", wanted.file)))?;
        if let Some(expires) = text.as_deref().and_then(orlop_pki::expires) {
            leaves.push(Ends {
                name: wanted.label(),
                expires,
                authority: wanted.signer.label(),
            });
        }
    }
    leaves.sort_by(|one, other| one.name.cmp(&other.name));
    let mut authorities = Vec::new();
    for signer in Signer::ALL {
        let text = files::read_optional(&signer.certificate(layout))?;
        if let Some(expires) = text.as_deref().and_then(orlop_pki::expires) {
            authorities.push(Ends {
                name: signer.label().to_owned(),
                expires,
                authority: "",
            });
        }
    }
    Ok((leaves, authorities))
}

/// Signs certificates anew, however long the old ones would last: `which` is a name of the listing, or `all`.
pub fn renew(
    layout: &Layout,
    cluster: &ClusterConfig,
    node: &NodeConfig,
    which: &str,
) -> Result<Vec<String>, ClusterError> {
    let is_meant = |name: &str| which == "all" || which == name;
    let mut renewed = Vec::new();
    for wanted in certificates::wanted(cluster, node)? {
        let label = wanted.label();
        if is_meant(&label) {
            sign(layout, &wanted)?;
            renewed.push(label);
        }
    }
    for (name, identity, local) in kubeconfigs::wanted(node) {
        let label = format!("{name}.conf");
        let path = layout.kubeconfig(name);
        if name == "kubelet" || !is_meant(&label) || !path.is_file() {
            continue;
        }
        let server = kubeconfigs::server(cluster, node, local);
        let kubeconfig = Kubeconfig {
            server: &server,
            cluster: &cluster.cluster_name,
            identity,
        };
        kubeconfig.write(&path, &authority(layout, Signer::Cluster)?)?;
        renewed.push(label);
    }
    if renewed.is_empty() {
        return Err(ClusterError::Configuration(format!(
            "{which} is no certificate of this node: `orlop certs check-expiration` lists them"
        )));
    }
    Ok(renewed)
}

fn authority(layout: &Layout, signer: Signer) -> Result<Authority, ClusterError> {
    Ok(Authority::open(&signer.certificate(layout), &signer.key(layout))?)
}

fn sign(layout: &Layout, wanted: &Wanted) -> Result<(), ClusterError> {
    let leaf = authority(layout, wanted.signer)?.sign(&wanted.request)?;
    let at = |ending: &str| layout.pki().join(format!("{}.{ending}", wanted.file));
    files::write_private(&at("key"), &leaf.key)?;
    files::write_public(&at("crt"), &leaf.certificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn certificates_are_listed_and_renewed_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let cluster = ClusterConfig::new("v1.36.0");
        let node = NodeConfig {
            name: "master-01".to_owned(),
            address: IpAddr::from([10, 0, 0, 1]),
            api_port: 6443,
        };
        certificates::ensure(&layout, &cluster, &node).unwrap();
        kubeconfigs::ensure(&layout, &cluster, &node, &["admin", "scheduler"]).unwrap();
        let (leaves, authorities) = check(&layout, &cluster, &node).unwrap();
        let names: Vec<&str> = leaves.iter().map(|ends| ends.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "admin.conf",
                "apiserver",
                "apiserver-etcd-client",
                "apiserver-kubelet-client",
                "etcd-healthcheck-client",
                "etcd-peer",
                "etcd-server",
                "front-proxy-client",
                "scheduler.conf",
            ]
        );
        assert_eq!(authorities.len(), 3);
        let now = Timestamp::now();
        assert!(
            leaves[0].residual(now).ends_with('d'),
            "{}",
            leaves[0].residual(now)
        );

        let read = |name: &str| files::read(&layout.pki().join(name)).unwrap();
        let (apiserver, peer) = (read("apiserver.crt"), read("etcd/peer.crt"));
        assert_eq!(
            renew(&layout, &cluster, &node, "etcd-peer").unwrap(),
            ["etcd-peer"]
        );
        assert_eq!(read("apiserver.crt"), apiserver);
        assert_ne!(read("etcd/peer.crt"), peer);
        let all = renew(&layout, &cluster, &node, "all").unwrap();
        assert_eq!(all.len(), 9);
        assert_ne!(read("apiserver.crt"), apiserver);
        let error = renew(&layout, &cluster, &node, "nonsense")
            .unwrap_err()
            .to_string();
        assert!(error.contains("check-expiration"), "{error}");
    }
}
