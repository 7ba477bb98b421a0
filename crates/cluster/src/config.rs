//! What a cluster is made with: kubeadm's ClusterConfiguration, and what is said of one node.
use crate::ClusterError;
use crate::addons::Addon;
use crate::endpoint::Endpoint;
use crate::extras::{Extras, Ignored};
use orlop_api::cidr::Cidr;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The port of an API server.
pub const API_PORT: u16 = 6443;
/// Where upstream's images are.
pub const IMAGE_REPOSITORY: &str = "registry.k8s.io";

/// The same on all nodes; kept in the ConfigMap `kubeadm-config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// `v1.36.0`; the tag of the control plane's images.
    pub kubernetes_version: String,
    pub cluster_name: String,
    pub image_repository: String,
    /// Tag of etcd's image, such as `3.5.21-0`.
    pub etcd_tag: String,
    /// `host:port` behind which all API servers are; without a port it is that of each.
    pub control_plane_endpoint: Option<String>,
    /// Further names and addresses of the API servers' certificates.
    pub cert_sans: Vec<String>,
    /// One IPv4 range or, behind a comma, one of IPv6 as well.
    pub service_subnet: String,
    pub pod_subnet: Option<String>,
    pub dns_domain: String,
    /// Which CoreDNS is run.
    pub dns: DnsImage,
    /// Add-ons that the cluster is to do without.
    pub without: Vec<Addon>,
    /// What is added to components, by their names.
    pub extras: BTreeMap<&'static str, Extras>,
    /// What the document says beside all this.
    pub ignored: Ignored,
    /// The document that it is made by, if it is.
    pub document: Option<Value>,
    /// What all node agents are told beside the usual.
    pub kubelet: Option<Value>,
}

/// What is said of CoreDNS's image, if anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsImage {
    pub repository: Option<String>,
    pub tag: Option<String>,
}

/// Where a component's part of the document is.
const PARTS: [(&str, &str, &str); 4] = [
    ("kube-apiserver", "/apiServer", "apiServer"),
    (
        "kube-controller-manager",
        "/controllerManager",
        "controllerManager",
    ),
    ("kube-scheduler", "/scheduler", "scheduler"),
    ("etcd", "/etcd/local", "etcd.local"),
];

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    pub name: String,
    /// Where its API server, its etcd and its agent are reached.
    pub address: IpAddr,
    pub api_port: u16,
}

impl NodeConfig {
    /// `host:port` of its API server.
    pub fn api_endpoint(&self) -> String {
        std::net::SocketAddr::new(self.address, self.api_port).to_string()
    }
}

impl ClusterConfig {
    pub fn new(kubernetes_version: &str) -> Self {
        Self {
            kubernetes_version: kubernetes_version.to_owned(),
            cluster_name: "kubernetes".to_owned(),
            image_repository: IMAGE_REPOSITORY.to_owned(),
            etcd_tag: String::new(),
            control_plane_endpoint: None,
            cert_sans: Vec::new(),
            service_subnet: "10.96.0.0/12".to_owned(),
            pod_subnet: None,
            dns_domain: "cluster.local".to_owned(),
            dns: DnsImage::default(),
            without: Vec::new(),
            extras: BTreeMap::new(),
            ignored: Ignored::default(),
            document: None,
            kubelet: None,
        }
    }

    /// What a cluster is to be made with, by a ClusterConfiguration of a person's. `version`: unless that says one.
    pub fn from_given(document: &Value, version: &str) -> Result<Self, ClusterError> {
        let mut document = document.clone();
        let asked = document["kubernetesVersion"].as_str().unwrap_or_default();
        let version = match asked.chars().next() {
            None => version.to_owned(),
            // As `kubeadm config print init-defaults` says it.
            Some(first) if first.is_ascii_digit() => format!("v{asked}"),
            Some(_) => asked.to_owned(),
        };
        document["kubernetesVersion"] = json!(version);
        let is_part = |part: &Value| part.is_null() || part.is_object();
        let etcd = document.get("etcd").unwrap_or(&Value::Null);
        if !is_part(etcd) || !is_part(etcd.get("local").unwrap_or(&Value::Null)) {
            return Err(ClusterError::Configuration(
                "the configuration file: etcd.local of the ClusterConfiguration is no object".to_owned(),
            ));
        }
        let config = Self::from_yaml(&crate::yaml::write(&document)?)?;
        let ignored = [config.ignored.components.as_slice(), &config.ignored.etcd].concat();
        if !ignored.is_empty() {
            return Err(ClusterError::Configuration(format!(
                "the configuration file says what orlop does not follow: {}; if the cluster can do without, take it out",
                ignored.join(", ")
            )));
        }
        Ok(Self {
            document: Some(document),
            ..config
        })
    }

    /// The same without further add-ons.
    pub fn also_without(mut self, addons: &[Addon]) -> Self {
        for addon in addons {
            if !self.without.contains(addon) {
                self.without.push(*addon);
            }
        }
        self
    }

    /// What is added to a component.
    pub fn extras(&self, component: &str) -> &Extras {
        static NONE: Extras = Extras::NONE;
        self.extras.get(component).unwrap_or(&NONE)
    }

    /// The image of a component.
    pub fn image(&self, component: &str) -> String {
        let tag = match component {
            "etcd" => &self.etcd_tag,
            _ => &self.kubernetes_version,
        };
        format!("{}/{component}:{tag}", self.image_repository)
    }

    /// URL by which nodes other than `node` reach the API.
    pub fn server(&self, node: &NodeConfig) -> String {
        match &self.control_plane_endpoint {
            Some(endpoint) => match endpoint.parse::<Endpoint>() {
                Ok(endpoint) => format!("https://{}", endpoint.with_port(node.api_port)),
                Err(_) => format!("https://{endpoint}"),
            },
            None => format!("https://{}", node.api_endpoint()),
        }
    }

    /// An address of the first service range by its place in it: the first is that of the API, the tenth that of DNS.
    pub fn service_address(&self, nth: u8) -> Result<IpAddr, ClusterError> {
        let (range, second) = match self.service_subnet.split_once(',') {
            Some((first, second)) => (first, Some(second)),
            None => (self.service_subnet.as_str(), None),
        };
        if let Some(second) = second.filter(|second| !is_ipv6_range(second)) {
            return Err(ClusterError::Configuration(format!(
                "service range {second:?} beside {range} is no IPv6 CIDR such as fd00:10:96::/112"
            )));
        }
        let unusable = || {
            ClusterError::Configuration(format!(
                "service range {range:?} is no IPv4 CIDR such as 10.96.0.0/12"
            ))
        };
        let range = Cidr::read(range).ok_or_else(unusable)?;
        let IpAddr::V4(first) = range.masked() else {
            return Err(unusable());
        };
        if range.host_bits() < 5 {
            return Err(ClusterError::Configuration(format!(
                "service range {range} is too small: give it at least /27"
            )));
        }
        Ok(IpAddr::V4(Ipv4Addr::from(u32::from(first) + u32::from(nth))))
    }

    /// The document of a cluster in the making, as kubeadm keeps it. That of one that is there is changed by
    /// [`with_version`], which keeps what is not read here.
    pub fn to_yaml(&self) -> Result<String, ClusterError> {
        let mut document = json!({
            "apiServer": {},
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "caCertificateValidityPeriod": "87600h0m0s",
            "certificateValidityPeriod": "8760h0m0s",
            "certificatesDir": "/etc/kubernetes/pki",
            "clusterName": self.cluster_name,
            "controllerManager": {},
            "dns": {},
            "encryptionAlgorithm": "ECDSA-P256",
            "etcd": {"local": {"dataDir": "/var/lib/etcd", "imageTag": self.etcd_tag}},
            "imageRepository": self.image_repository,
            "kind": "ClusterConfiguration",
            "kubernetesVersion": self.kubernetes_version,
            "networking": {"dnsDomain": self.dns_domain, "serviceSubnet": self.service_subnet},
            "proxy": {},
            "scheduler": {},
        });
        if !self.cert_sans.is_empty() {
            document["apiServer"]["certSANs"] = json!(self.cert_sans);
        }
        if let Some(endpoint) = &self.control_plane_endpoint {
            document["controlPlaneEndpoint"] = json!(endpoint);
        }
        if let Some(subnet) = &self.pod_subnet {
            document["networking"]["podSubnet"] = json!(subnet);
        }
        if let Some(given) = &self.document {
            lay_over(&mut document, given);
            document["etcd"]["local"]["imageTag"] = json!(self.etcd_tag);
        }
        // v1beta3 has no word for it.
        if document["apiVersion"] == "kubeadm.k8s.io/v1beta4" {
            for addon in &self.without {
                let field = addon.field();
                orlop_api::patch::merge(&mut document, &json!({field: {"disabled": true}}));
            }
        }
        crate::yaml::write(&document)
    }

    /// Reads what [`Self::to_yaml`], or kubeadm, wrote.
    pub fn from_yaml(text: &str) -> Result<Self, ClusterError> {
        let document: Value = crate::yaml::read("ClusterConfiguration", text)?;
        let word = |pointer: &str| {
            document
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
        };
        let version = word("/kubernetesVersion").ok_or_else(|| {
            ClusterError::Configuration("the ClusterConfiguration has no kubernetesVersion".to_owned())
        })?;
        let defaults = Self::new(&version);
        let mut extras = BTreeMap::new();
        for (component, pointer, at) in PARTS {
            let part = document.pointer(pointer).unwrap_or(&Value::Null);
            let added = Extras::read(part, at)?;
            if added != Extras::NONE {
                extras.insert(component, added);
            }
        }
        let sans = document.pointer("/apiServer/certSANs").and_then(Value::as_array);
        Ok(Self {
            kubernetes_version: version,
            cluster_name: word("/clusterName").unwrap_or(defaults.cluster_name),
            image_repository: word("/imageRepository").unwrap_or(defaults.image_repository),
            etcd_tag: word("/etcd/local/imageTag").unwrap_or_default(),
            control_plane_endpoint: word("/controlPlaneEndpoint"),
            cert_sans: sans
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            service_subnet: word("/networking/serviceSubnet").unwrap_or(defaults.service_subnet),
            pod_subnet: word("/networking/podSubnet"),
            dns_domain: word("/networking/dnsDomain").unwrap_or(defaults.dns_domain),
            dns: DnsImage {
                repository: word("/dns/imageRepository"),
                tag: word("/dns/imageTag"),
            },
            without: Addon::ALL
                .into_iter()
                .filter(|addon| document[addon.field()]["disabled"] == true)
                .collect(),
            extras,
            ignored: Ignored::of(&document),
            document: None,
            kubelet: None,
        })
    }
}

fn is_ipv6_range(text: &str) -> bool {
    Cidr::read(text).is_some_and(|range| range.address.is_ipv6() && range.host_bits() >= 2)
}

/// Lays a document of a person's over the usual one, in the form of its version.
fn lay_over(document: &mut Value, given: &Value) {
    const NEWER: [&str; 4] = [
        "caCertificateValidityPeriod",
        "certificateValidityPeriod",
        "encryptionAlgorithm",
        "proxy",
    ];
    if given["apiVersion"] == "kubeadm.k8s.io/v1beta3"
        && let Some(fields) = document.as_object_mut()
    {
        fields.retain(|field, _| !NEWER.contains(&field.as_str()));
    }
    orlop_api::patch::merge(document, given);
}

/// A cluster's document with another version, and everything else that it says.
pub fn with_version(text: &str, version: &str) -> Result<String, ClusterError> {
    let mut document: Value = crate::yaml::read("ClusterConfiguration", text)?;
    let Some(fields) = document.as_object_mut() else {
        return Err(ClusterError::Configuration(
            "the ClusterConfiguration is no document".to_owned(),
        ));
    };
    fields.insert("kubernetesVersion".to_owned(), json!(version));
    crate::yaml::write(&document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_reads_back() {
        let mut config = ClusterConfig::new("v1.36.0");
        config.etcd_tag = "3.5.21-0".to_owned();
        config.control_plane_endpoint = Some("10.0.0.1:6443".to_owned());
        config.pod_subnet = Some("10.244.0.0/16".to_owned());
        config.cert_sans = vec!["127.0.0.1".to_owned()];
        assert_eq!(
            ClusterConfig::from_yaml(&config.to_yaml().unwrap()).unwrap(),
            config
        );
        assert!(ClusterConfig::from_yaml("kind: ClusterConfiguration").is_err());
    }

    #[test]
    fn a_persons_document_is_followed_and_kept() {
        let given = json!({
            "apiVersion": "kubeadm.k8s.io/v1beta3",
            "kind": "ClusterConfiguration",
            "clusterName": "mine",
            "networking": {"podSubnet": "10.244.0.0/16"},
            "scheduler": {"extraArgs": {"v": "4"}},
            "etcd": {"local": {"dataDir": "/var/lib/etcd"}},
        });
        let mut config = ClusterConfig::from_given(&given, "v1.36.0").unwrap();
        assert_eq!(config.kubernetes_version, "v1.36.0");
        assert_eq!(config.pod_subnet.as_deref(), Some("10.244.0.0/16"));
        assert_eq!(config.extras("kube-scheduler").arg("v"), Some("4"));
        config.etcd_tag = "3.5.21-0".to_owned();
        let text = config.to_yaml().unwrap();
        let kept = crate::yaml::read("it", &text).unwrap();
        assert_eq!(kept["scheduler"], given["scheduler"]);
        assert_eq!(kept["networking"]["serviceSubnet"], "10.96.0.0/12");
        assert_eq!(kept["etcd"]["local"]["imageTag"], "3.5.21-0");
        assert!(kept.get("encryptionAlgorithm").is_none());
        let read = ClusterConfig::from_yaml(&text).unwrap();
        assert_eq!(
            read,
            ClusterConfig {
                document: None,
                ..config
            }
        );
        let error =
            ClusterConfig::from_given(&json!({"etcd": {"external": {"endpoints": ["x"]}}}), "v1.36.0");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("does not follow: etcd.external"), "{error}");
        let empty = json!({"kubernetesVersion": "1.35.2", "clusterName": "", "imageRepository": "",
            "networking": {"serviceSubnet": "", "dnsDomain": ""}});
        let config = ClusterConfig::from_given(&empty, "v1.36.0").unwrap();
        let usual = ClusterConfig::new("v1.35.2");
        assert_eq!(config.kubernetes_version, "v1.35.2");
        assert_eq!(config.image_repository, usual.image_repository);
        assert_eq!(config.service_subnet, usual.service_subnet);
        for odd in [
            json!({"etcd": "x"}),
            json!({"etcd": []}),
            json!({"etcd": {"local": "x"}}),
        ] {
            let error = ClusterConfig::from_given(&odd, "v1.36.0").unwrap_err();
            assert!(error.to_string().contains("is no object"), "{odd}: {error}");
        }
    }

    #[test]
    fn another_version_changes_nothing_else() {
        let text = "apiServer:\n  extraArgs:\n  - name: audit-log-path\n    value: /var/log/audit.log\n\
                    apiVersion: kubeadm.k8s.io/v1beta4\nclusterName: mine\ndns:\n  imageTag: v1.11.1\n\
                    etcd:\n  local:\n    dataDir: /var/lib/etcd\nkubernetesVersion: v1.36.0\nsurprise: {a: [1, true]}\n";
        let read = |text: &str| crate::yaml::read("it", text).unwrap();
        let changed = read(&with_version(text, "v1.37.0").unwrap());
        let mut want = read(text);
        want["kubernetesVersion"] = json!("v1.37.0");
        assert_eq!(changed, want);
    }

    #[test]
    fn what_is_added_to_components_is_read() {
        let text = "kubernetesVersion: v1.36.0\nscheduler: {extraArgs: {v: \"4\"}}\n\
                    etcd: {local: {extraArgs: [{name: quota-backend-bytes, value: \"1\"}]}}\n";
        let config = ClusterConfig::from_yaml(text).unwrap();
        assert_eq!(config.extras("kube-scheduler").arg("v"), Some("4"));
        assert_eq!(config.extras("etcd").arg("quota-backend-bytes"), Some("1"));
        assert_eq!(config.extras("kube-apiserver"), &Extras::NONE);
    }

    /// kubeadm keeps the endpoint as it was given.
    #[test]
    fn an_endpoint_without_a_port_has_that_of_the_api_server() {
        let node = NodeConfig {
            name: "master-01".to_owned(),
            address: IpAddr::from([10, 0, 0, 1]),
            api_port: 8443,
        };
        for (endpoint, want) in [
            (None, "https://10.0.0.1:8443"),
            (Some("lb.example"), "https://lb.example:8443"),
            (Some("lb.example:443"), "https://lb.example:443"),
        ] {
            let config = ClusterConfig {
                control_plane_endpoint: endpoint.map(str::to_owned),
                ..ClusterConfig::new("v1.36.0")
            };
            assert_eq!(config.server(&node), want);
        }
    }

    #[test]
    fn addresses_of_the_service_range() {
        let of = |range: &str, nth| {
            let config = ClusterConfig {
                service_subnet: range.to_owned(),
                ..ClusterConfig::new("v1.36.0")
            };
            config
                .service_address(nth)
                .map(|address| address.to_string())
                .ok()
        };
        for (range, nth, want) in [
            ("10.96.0.0/12", 1, Some("10.96.0.1")),
            ("10.96.0.0/12", 10, Some("10.96.0.10")),
            ("192.168.77.64/27", 10, Some("192.168.77.74")),
            ("10.0.0.0/30", 10, None),
            ("10.0.0.0/40", 1, None),
            ("fd00::/108", 1, None),
            ("x", 1, None),
            ("10.96.0.0/16,fd00:10:96::/112", 10, Some("10.96.0.10")),
            ("fd00:10:96::/112,10.96.0.0/16", 10, None),
            ("10.96.0.0/16,10.97.0.0/16", 10, None),
            ("10.96.0.0/16,fd00:10:96::/112,fd01::/112", 10, None),
            ("10.96.0.0/16,fd00:10:96::/128", 10, None),
            ("10.96.0.0/16,", 10, None),
        ] {
            assert_eq!(of(range, nth).as_deref(), want, "{range}");
        }
    }
}
