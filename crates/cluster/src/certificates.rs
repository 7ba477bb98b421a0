//! The certificates of a control plane: which there are (pure), and making those that are missing.
use crate::ClusterError;
use crate::config::{ClusterConfig, NodeConfig};
use crate::endpoint::Endpoint;
use crate::external;
use crate::layout::Layout;
use orlop_pki::{Authority, Identity, LeafRequest, TokenSigner, Usage};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Who administers the cluster with rights that RBAC gives.
pub const ADMINS: &str = "kubeadm:cluster-admins";
/// Who does without RBAC.
pub const MASTERS: &str = "system:masters";

/// An authority of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    Cluster,
    Etcd,
    FrontProxy,
}

impl Signer {
    pub const ALL: [Signer; 3] = [Signer::Cluster, Signer::FrontProxy, Signer::Etcd];

    /// Directory below the PKI's, name of the files, common name.
    pub fn place(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Signer::Cluster => ("", "ca", "kubernetes"),
            Signer::Etcd => ("etcd", "ca", "etcd-ca"),
            Signer::FrontProxy => ("", "front-proxy-ca", "front-proxy-ca"),
        }
    }

    /// What it is called in listings.
    pub fn label(self) -> &'static str {
        match self {
            Signer::Cluster => "ca",
            Signer::Etcd => "etcd-ca",
            Signer::FrontProxy => "front-proxy-ca",
        }
    }

    /// The certificate's file, below the PKI directory.
    pub fn certificate(self, layout: &Layout) -> PathBuf {
        let (directory, name, _) = self.place();
        layout.pki().join(directory).join(format!("{name}.crt"))
    }

    pub fn key(self, layout: &Layout) -> PathBuf {
        let (directory, name, _) = self.place();
        layout.pki().join(directory).join(format!("{name}.key"))
    }

    /// Makes it, if it is missing.
    pub fn ensure(self, layout: &Layout) -> Result<Authority, ClusterError> {
        let (directory, name, common_name) = self.place();
        Ok(Authority::ensure(
            &layout.pki().join(directory),
            name,
            common_name,
        )?)
    }
}

/// A certificate that one of the authorities signs.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its files below the PKI directory, without their endings.
    pub file: &'static str,
    pub signer: Signer,
    pub request: LeafRequest,
}

impl Wanted {
    /// `apiserver`, `etcd-server`: what it is called in listings.
    pub fn label(&self) -> String {
        self.file.replace('/', "-")
    }

    /// One of its files: `crt` or `key`.
    pub fn path(&self, layout: &Layout, ending: &str) -> PathBuf {
        layout.pki().join(format!("{}.{ending}", self.file))
    }
}

fn client(user: &str, groups: &[&str]) -> LeafRequest {
    LeafRequest {
        identity: Identity::new(user, groups),
        usage: Usage::Client,
        dns_names: Vec::new(),
        addresses: Vec::new(),
    }
}

/// All certificates of a control plane node.
pub fn wanted(cluster: &ClusterConfig, node: &NodeConfig) -> Result<Vec<Wanted>, ClusterError> {
    let of = |file, signer, request| Wanted {
        file,
        signer,
        request,
    };
    let member = || LeafRequest {
        identity: Identity::new(node.name.clone(), &[]),
        usage: Usage::ServerAndClient,
        dns_names: vec![node.name.clone(), "localhost".to_owned()],
        addresses: vec![
            node.address,
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ],
    };
    Ok(vec![
        of("apiserver", Signer::Cluster, apiserver(cluster, node)?),
        of(
            "apiserver-kubelet-client",
            Signer::Cluster,
            client("kube-apiserver-kubelet-client", &[ADMINS]),
        ),
        of(
            "front-proxy-client",
            Signer::FrontProxy,
            client("front-proxy-client", &[]),
        ),
        of("etcd/server", Signer::Etcd, member()),
        of("etcd/peer", Signer::Etcd, member()),
        of(
            "etcd/healthcheck-client",
            Signer::Etcd,
            client("kube-etcd-healthcheck-client", &[]),
        ),
        of(
            "apiserver-etcd-client",
            Signer::Etcd,
            client("kube-apiserver-etcd-client", &[]),
        ),
    ])
}

fn apiserver(cluster: &ClusterConfig, node: &NodeConfig) -> Result<LeafRequest, ClusterError> {
    let domain = &cluster.dns_domain;
    let mut dns_names = vec![
        node.name.clone(),
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        format!("kubernetes.default.svc.{domain}"),
    ];
    let mut addresses = vec![cluster.service_address(1)?, node.address];
    let endpoint = cluster.control_plane_endpoint.as_deref();
    let endpoint = endpoint.map(str::parse::<Endpoint>).transpose()?;
    for name in endpoint
        .iter()
        .map(Endpoint::host)
        .chain(cluster.cert_sans.iter().map(String::as_str))
    {
        match name.parse::<IpAddr>() {
            Ok(address) => addresses.push(address),
            Err(_) => dns_names.push(name.to_owned()),
        }
    }
    dns_names.sort();
    dns_names.dedup();
    addresses.sort();
    addresses.dedup();
    Ok(LeafRequest {
        identity: Identity::new("kube-apiserver", &[]),
        usage: Usage::Server,
        dns_names,
        addresses,
    })
}

/// Tells, before anything is made, of what [`ensure`] would fail for: a key of an authority without its certificate, what is
/// none, and what is missing of all that an authority would sign whose key is kept elsewhere.
pub fn check(layout: &Layout, cluster: &ClusterConfig, node: &NodeConfig) -> Result<(), ClusterError> {
    for signer in Signer::ALL {
        if !signer.is_external(layout) {
            let (directory, name, _) = signer.place();
            Authority::check(&layout.pki().join(directory), name)?;
        }
    }
    external::check(layout, cluster, node)
}

/// Makes what is missing or ends soon: authorities, the key of service accounts, certificates. What an authority signs whose
/// key is kept elsewhere is left as it is.
pub fn ensure(layout: &Layout, cluster: &ClusterConfig, node: &NodeConfig) -> Result<(), ClusterError> {
    external::check(layout, cluster, node)?;
    let is_ours = |signer: Signer| !signer.is_external(layout);
    for signer in Signer::ALL.into_iter().filter(|signer| is_ours(*signer)) {
        signer.ensure(layout)?;
    }
    TokenSigner::ensure(&layout.pki())?;
    for wanted in wanted(cluster, node)? {
        if is_ours(wanted.signer) {
            wanted
                .signer
                .ensure(layout)?
                .ensure_leaf_in(&layout.pki(), wanted.file, &wanted.request)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeConfig {
        crate::testing::node("master-01")
    }

    /// Contract, static and mirror pods, §9: the files of `/etc/kubernetes/pki`.
    #[test]
    fn files_are_kubeadms_and_a_second_run_changes_none() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let cluster = ClusterConfig::new("v1.36.0");
        ensure(&layout, &cluster, &node()).unwrap();
        let read = |name: &str| std::fs::read_to_string(layout.pki().join(name)).unwrap();
        let names = [
            "ca",
            "apiserver",
            "apiserver-kubelet-client",
            "apiserver-etcd-client",
            "front-proxy-ca",
            "front-proxy-client",
            "etcd/ca",
            "etcd/server",
            "etcd/peer",
            "etcd/healthcheck-client",
        ];
        let all = || -> Vec<String> {
            let pairs = names
                .iter()
                .flat_map(|name| [format!("{name}.crt"), format!("{name}.key")]);
            let keys = ["sa.key", "sa.pub"].map(str::to_owned);
            pairs.chain(keys).map(|name| read(&name)).collect()
        };
        let first = all();
        ensure(&layout, &cluster, &node()).unwrap();
        assert_eq!(first, all());
    }

    /// Whoever put a key there may have its certificate elsewhere: neither is made up.
    #[test]
    fn a_key_of_an_authority_without_its_certificate_is_told_of_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let checked = || check(&layout, &ClusterConfig::new("v1.36.0"), &node());
        checked().unwrap();
        assert!(!layout.pki().exists());
        for signer in Signer::ALL {
            signer.ensure(&layout).unwrap();
            checked().unwrap();
            let certificate = signer.certificate(&layout);
            std::fs::remove_file(&certificate).unwrap();
            let error = checked().unwrap_err().to_string();
            let missing = format!("{} is missing beside it", certificate.display());
            assert!(error.contains(&missing), "{error}");
            std::fs::remove_file(signer.key(&layout)).unwrap();
        }
    }

    #[test]
    fn the_api_servers_certificate_is_for_every_way_to_it() {
        let cluster = ClusterConfig {
            control_plane_endpoint: Some("lb.example:6443".to_owned()),
            cert_sans: vec!["127.0.0.1".to_owned(), "api.example".to_owned()],
            ..ClusterConfig::new("v1.36.0")
        };
        let request = apiserver(&cluster, &node()).unwrap();
        for name in [
            "master-01",
            "lb.example",
            "api.example",
            "kubernetes.default.svc.cluster.local",
        ] {
            assert!(request.dns_names.iter().any(|have| have == name), "{name}");
        }
        for address in ["10.96.0.1", "10.0.0.1", "127.0.0.1"] {
            assert!(request.addresses.contains(&address.parse().unwrap()), "{address}");
        }
    }
}
