//! The certificates and kubeconfigs of a node that is its own cluster, in kubeadm's layout.
use crate::commands::apiserver::authorities;
use crate::paths::Root;
use anyhow::{Context, Result};
use orlop_apiserver::TrustedAuthorities;
use orlop_kubelet::directories;
use orlop_pki::{
    Authority, FollowedAuthority, Identity, Kubeconfig, LeafRequest, Pair, Presented, ServingFiles,
    TlsLimits, Usage, server_config_presenting,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

const CLUSTER: &str = "kubernetes";
/// Who issues service account tokens, unless a flag says otherwise.
pub const SERVICE_ACCOUNT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// First address of the default service range: the `kubernetes` Service.
const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// Everything a single-process node presents and trusts. What it presents and signs with follows its files.
pub struct NodeIdentity {
    authority: Authority,
    pki: PathBuf,
}

/// The address under which clients reach a server bound to `bound`.
pub fn advertised(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), bound.port())
    } else {
        bound
    }
}

impl NodeIdentity {
    /// Makes what is missing, renews what ends soon, and writes the kubeconfigs.
    pub fn ensure(root: &Root, node_name: &str, bound: SocketAddr) -> Result<Self> {
        let authority = Authority::ensure(&root.pki(), "ca", CLUSTER)?;
        let front_proxy = Authority::ensure(&root.pki(), "front-proxy-ca", "front-proxy-ca")?;
        front_proxy.ensure_leaf(
            "front-proxy-client",
            &LeafRequest {
                identity: Identity::new("front-proxy-client", &[]),
                usage: Usage::Client,
                dns_names: Vec::new(),
                addresses: Vec::new(),
            },
        )?;
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(SERVICE_ADDRESS)];
        if bound.ip().is_unspecified() {
            addresses.extend(orlop_kubelet::node::addresses(&[], node_name));
        } else {
            addresses.push(bound.ip());
        }
        addresses.sort();
        addresses.dedup();
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
        ];
        let mut dns_names: Vec<String> = names.map(str::to_owned).to_vec();
        dns_names.push(node_name.to_owned());
        let server = |identity: Identity, dns_names: Vec<String>, addresses: Vec<IpAddr>| LeafRequest {
            identity,
            usage: Usage::Server,
            dns_names,
            addresses,
        };
        let request = server(Identity::new("kube-apiserver", &[]), dns_names, addresses.clone());
        authority.ensure_leaf("apiserver", &request)?;
        let client = LeafRequest {
            identity: Identity::new("kube-apiserver-kubelet-client", &["system:masters"]),
            usage: Usage::Client,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        };
        authority.ensure_leaf("apiserver-kubelet-client", &client)?;
        addresses.extend(orlop_kubelet::node::addresses(&[], node_name));
        addresses.sort();
        addresses.dedup();
        let request = server(
            Identity::new(format!("system:node:{node_name}"), &["system:nodes"]),
            vec![node_name.to_owned(), "localhost".to_owned()],
            addresses,
        );
        // The agent's certificate is the first thing in its directory.
        directories::make(&root.kubelet())?;
        authority.ensure_leaf_in(&root.kubelet().join("pki"), "kubelet", &request)?;
        let url = format!("https://{}", advertised(bound));
        for (file, identity) in [
            ("admin", Identity::new("kubernetes-admin", &["system:masters"])),
            (
                "kubelet",
                Identity::new(format!("system:node:{node_name}"), &["system:nodes"]),
            ),
            (
                "controller-manager",
                Identity::new("system:kube-controller-manager", &[]),
            ),
            ("scheduler", Identity::new("system:kube-scheduler", &[])),
        ] {
            let config = Kubeconfig {
                server: &url,
                cluster: CLUSTER,
                identity,
            };
            config.ensure(&root.kubeconfig(file), &authority)?;
        }
        Ok(Self {
            authority,
            pki: root.pki(),
        })
    }

    /// The authority's certificate, PEM.
    pub fn authority(&self) -> &str {
        self.authority.certificate()
    }

    /// Who signs the certificates of node agents that join.
    pub fn signing_authority(&self) -> Result<FollowedAuthority> {
        Ok(FollowedAuthority::files(self.pair("ca"))?)
    }

    fn pair(&self, name: &str) -> Pair {
        let file = |ending: &str| self.pki.join(format!("{name}.{ending}"));
        Pair {
            certificate: file("crt"),
            key: file("key"),
        }
    }

    fn presented(&self, name: &str) -> Result<Presented> {
        Ok(Presented::files(self.pair(name))?)
    }

    /// How the API server presents itself to node agents.
    pub fn kubelet_client(&self) -> Result<Presented> {
        self.presented("apiserver-kubelet-client")
    }

    /// `trusted`: the authorities that clients are told of; who has signed is looked at later.
    pub fn apiserver_tls(
        &self,
        trusted: Vec<TrustedAuthorities>,
    ) -> Result<watch::Receiver<Arc<rustls::ServerConfig>>> {
        let presented = self.presented("apiserver")?;
        let make = move |client_cas: &str| {
            server_config_presenting(presented.clone(), Vec::new(), client_cas, &TlsLimits::default())
        };
        authorities::told_to_clients(trusted, make).context("the API server's certificate")
    }

    /// How the API server presents itself to extension servers.
    pub fn front_proxy_client(&self) -> Result<Presented> {
        self.presented("front-proxy-client")
    }

    /// The node agent's server, whose files may be renewed while it runs.
    pub fn kubelet_tls(&self, root: &Root, limits: TlsLimits) -> Result<ServingFiles> {
        let directory = root.kubelet().join("pki");
        let pair = Pair {
            certificate: directory.join("kubelet.crt"),
            key: directory.join("kubelet.key"),
        };
        ServingFiles::open_within(vec![pair], vec![root.pki().join("ca.crt")], limits)
            .context("the node agent's certificate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_agents_directory_is_not_for_everybody_on_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(Some(dir.path())).unwrap();
        NodeIdentity::ensure(&root, "n1", "127.0.0.1:6443".parse().unwrap()).unwrap();
        let made = root.kubelet().metadata().unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o750);
    }
}
