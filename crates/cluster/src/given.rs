//! What a configuration file of kubeadm's says (`--config`): documents of `kubeadm.k8s.io/v1beta3` or `v1beta4`, and a
//! KubeletConfiguration beside them (pure). What is not followed is refused by its field path.
use crate::ClusterError;
use crate::endpoint::Endpoint;
use crate::shared_certificates::CertificateKey;
use crate::token::{GROUP, Token};
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Of kubeadm's documents.
const VERSIONS: [&str; 2] = ["kubeadm.k8s.io/v1beta3", "kubeadm.k8s.io/v1beta4"];
const KUBELET: &str = "kubelet.config.k8s.io/v1beta1";
/// Where the cluster's authority is, of which a JoinConfiguration may speak.
const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";

/// A file, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// The ClusterConfiguration.
    pub cluster: Option<Value>,
    /// The KubeletConfiguration.
    pub kubelet: Option<Value>,
    /// By an InitConfiguration.
    pub init: Option<Init>,
    /// By a JoinConfiguration.
    pub join: Option<Join>,
}

/// What is said of the node itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registration {
    pub name: Option<String>,
    pub cri_socket: Option<String>,
    /// As flags have them; `None`: the usual ones.
    pub taints: Option<Vec<String>>,
    /// Flags of the node agent without dashes.
    pub agent_args: Vec<(String, String)>,
    pub ignored_checks: Vec<String>,
}

/// Where its API server is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Local {
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Init {
    pub node: Registration,
    pub local: Local,
    pub tokens: Vec<GivenToken>,
    pub certificate_key: Option<CertificateKey>,
    pub skip_phases: Vec<String>,
    /// The directory of patches.
    pub patches: Option<PathBuf>,
    pub dry_run: bool,
    pub patience: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GivenToken {
    pub token: Token,
    /// Zero: for ever.
    pub ttl: Option<Duration>,
    pub usages: Vec<String>,
    pub groups: Vec<String>,
    pub description: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Join {
    pub node: Registration,
    pub local: Local,
    pub endpoint: Option<Endpoint>,
    /// The kubeconfig by which the cluster is trusted.
    pub discovery_file: Option<PathBuf>,
    /// By which the cluster is trusted.
    pub discovery: Option<Token>,
    /// With which the node asks for its certificate.
    pub bootstrap: Option<Token>,
    pub hashes: Vec<String>,
    pub any_authority: bool,
    pub control_plane: bool,
    pub certificate_key: Option<CertificateKey>,
    /// The directory of patches.
    pub patches: Option<PathBuf>,
    pub dry_run: bool,
    pub patience: Option<Duration>,
}

/// Reads a file's documents.
pub fn read(documents: Vec<Value>) -> Result<Given, ClusterError> {
    let mut given = Given::default();
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        let word = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
        let (version, kind) = (word("apiVersion"), word("kind"));
        let is_kubeadms = VERSIONS.contains(&version.as_str());
        match kind.as_str() {
            "ClusterConfiguration" if is_kubeadms => given.cluster = Some(document),
            "InitConfiguration" if is_kubeadms => given.init = Some(init(&document)?),
            "JoinConfiguration" if is_kubeadms => given.join = Some(join(&document)?),
            "KubeletConfiguration" if version == KUBELET => given.kubelet = Some(document),
            _ => {
                return Err(refused(format!(
                    "{kind} of {version} in it is not known: known are ClusterConfiguration, InitConfiguration and JoinConfiguration of {}, and KubeletConfiguration",
                    VERSIONS.join(" and ")
                )));
            }
        }
    }
    Ok(given)
}

fn refused(why: impl std::fmt::Display) -> ClusterError {
    ClusterError::Configuration(format!("the configuration file: {why}"))
}

fn init(document: &Value) -> Result<Init, ClusterError> {
    let at = Place::of(document, "InitConfiguration");
    at.knows(&[
        "bootstrapTokens",
        "certificateKey",
        "dryRun",
        "localAPIEndpoint",
        "nodeRegistration",
        "patches",
        "skipPhases",
        "timeouts",
    ])?;
    let tokens = at.items("bootstrapTokens")?;
    Ok(Init {
        node: registration(&at.inner("nodeRegistration"))?,
        local: local(&at.inner("localAPIEndpoint"))?,
        tokens: tokens.iter().map(token).collect::<Result<_, _>>()?,
        certificate_key: at.parsed("certificateKey")?,
        skip_phases: at.words("skipPhases")?,
        patches: patches(&at)?,
        dry_run: at.is_set("dryRun"),
        patience: patience(&at)?,
    })
}

fn join(document: &Value) -> Result<Join, ClusterError> {
    let at = Place::of(document, "JoinConfiguration");
    at.knows(&[
        "caCertPath",
        "controlPlane",
        "discovery",
        "dryRun",
        "nodeRegistration",
        "patches",
        "timeouts",
    ])?;
    if at.text("caCertPath").is_some_and(|path| path != AUTHORITY) {
        return Err(refused(format!("caCertPath can be {AUTHORITY} only")));
    }
    let discovery = at.inner("discovery");
    discovery.knows(&["bootstrapToken", "file", "timeout", "tlsBootstrapToken"])?;
    let by_token = discovery.inner("bootstrapToken");
    by_token.knows(&[
        "apiServerEndpoint",
        "caCertHashes",
        "token",
        "unsafeSkipCAVerification",
    ])?;
    let by_file = discovery.inner("file");
    by_file.knows(&["kubeConfigPath"])?;
    if by_file.value.is_object() && by_token.value.is_object() {
        return Err(refused(format!(
            "{} has both bootstrapToken and file: the cluster is trusted by one of them",
            discovery.at
        )));
    }
    let plane = at.inner("controlPlane");
    plane.knows(&["certificateKey", "localAPIEndpoint"])?;
    let token: Option<Token> = by_token.parsed("token")?;
    Ok(Join {
        node: registration(&at.inner("nodeRegistration"))?,
        local: local(&plane.inner("localAPIEndpoint"))?,
        endpoint: by_token.parsed("apiServerEndpoint")?,
        discovery_file: by_file.text("kubeConfigPath").map(PathBuf::from),
        bootstrap: discovery.parsed("tlsBootstrapToken")?.or_else(|| token.clone()),
        discovery: token,
        hashes: by_token.words("caCertHashes")?,
        any_authority: by_token.is_set("unsafeSkipCAVerification"),
        control_plane: plane.value.is_object(),
        certificate_key: plane.parsed("certificateKey")?,
        patches: patches(&at)?,
        dry_run: at.is_set("dryRun"),
        patience: patience(&at)?,
    })
}

fn registration(at: &Place<'_>) -> Result<Registration, ClusterError> {
    at.knows(&[
        "criSocket",
        "ignorePreflightErrors",
        // Images are imported, or pulled when a pod wants them.
        "imagePullPolicy",
        "imagePullSerial",
        "kubeletExtraArgs",
        "name",
        "taints",
    ])?;
    let taints = match &at.value["taints"] {
        Value::Null => None,
        _ => {
            let taint = |taint: &Place<'_>| {
                let key = taint.text("key").unwrap_or_default();
                let value = taint.text("value").unwrap_or_default();
                let effect = taint.text("effect").unwrap_or_default();
                format!("{key}={value}:{effect}")
            };
            Some(at.items("taints")?.iter().map(taint).collect())
        }
    };
    let agent_args: Option<Vec<(String, String)>> = match &at.value["kubeletExtraArgs"] {
        // Up to v1beta3.
        Value::Object(args) => args
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        _ => {
            let items = at.items("kubeletExtraArgs")?;
            let arg = |arg: &Place<'_>| Some((arg.text("name")?, arg.text("value").unwrap_or_default()));
            items.iter().map(arg).collect()
        }
    };
    let agent_args = agent_args.ok_or_else(|| at.unreadable("kubeletExtraArgs"))?;
    // The flags' file is read word by word.
    let is_word = |text: &str| !text.contains(|c: char| c.is_whitespace() || c == '"');
    if let Some((name, _)) = agent_args
        .iter()
        .find(|(name, value)| !is_word(name) || !is_word(value))
    {
        return Err(refused(format!(
            "{}.kubeletExtraArgs: {name} has blanks or quotes, which no flag of the agent may have",
            at.at
        )));
    }
    Ok(Registration {
        name: at.text("name"),
        cri_socket: at.text("criSocket"),
        taints,
        agent_args,
        ignored_checks: at.words("ignorePreflightErrors")?,
    })
}

fn local(at: &Place<'_>) -> Result<Local, ClusterError> {
    at.knows(&["advertiseAddress", "bindPort"])?;
    let port = match &at.value["bindPort"] {
        Value::Null => None,
        port => {
            let port = port.as_u64().and_then(|port| u16::try_from(port).ok());
            Some(port.ok_or_else(|| at.unreadable("bindPort"))?)
        }
    };
    Ok(Local {
        address: at.parsed("advertiseAddress")?,
        // As kubeadm: none is the usual one.
        port: port.filter(|port| *port != 0),
    })
}

fn token(at: &Place<'_>) -> Result<GivenToken, ClusterError> {
    at.knows(&["description", "groups", "token", "ttl", "usages"])?;
    let or = |words: Vec<String>, usual: &[&str]| match words.is_empty() {
        true => usual.iter().map(ToString::to_string).collect(),
        false => words,
    };
    Ok(GivenToken {
        token: at.parsed("token")?.ok_or_else(|| at.unreadable("token"))?,
        ttl: at.duration("ttl")?,
        usages: or(at.words("usages")?, &["signing", "authentication"]),
        groups: or(at.words("groups")?, &[GROUP]),
        description: at.text("description"),
    })
}

/// Where patches are.
fn patches(at: &Place<'_>) -> Result<Option<PathBuf>, ClusterError> {
    let patches = at.inner("patches");
    patches.knows(&["directory"])?;
    Ok(patches.text("directory").map(PathBuf::from))
}

/// How long each part may take.
fn patience(at: &Place<'_>) -> Result<Option<Duration>, ClusterError> {
    at.inner("timeouts").duration("controlPlaneComponentHealthCheck")
}

/// A part of a document, and where it is.
struct Place<'a> {
    value: &'a Value,
    at: String,
}

impl<'a> Place<'a> {
    fn of(value: &'a Value, at: &str) -> Self {
        let at = at.to_owned();
        Self { value, at }
    }

    fn inner(&self, field: &str) -> Self {
        Self::of(&self.value[field], &format!("{}.{field}", self.at))
    }

    fn unreadable(&self, field: &str) -> ClusterError {
        refused(format!("{}.{field} cannot be read", self.at))
    }

    /// Refuses what says something and is none of these.
    fn knows(&self, fields: &[&str]) -> Result<(), ClusterError> {
        let nothing = Map::new();
        let all = match self.value {
            Value::Null => &nothing,
            Value::Object(all) => all,
            _ => return Err(refused(format!("{} is no object", self.at))),
        };
        let mut unknown = all.iter().filter(|(field, value)| {
            let is_known =
                fields.contains(&field.as_str()) || ["apiVersion", "kind"].contains(&field.as_str());
            !is_known && !crate::extras::is_empty(value)
        });
        match unknown.next() {
            None => Ok(()),
            Some((field, _)) => Err(refused(format!(
                "{}.{field} is not followed; if the node can do without, take it out",
                self.at
            ))),
        }
    }

    fn text(&self, field: &str) -> Option<String> {
        let text = self.value[field].as_str().filter(|text| !text.is_empty());
        text.map(str::to_owned)
    }

    fn is_set(&self, field: &str) -> bool {
        self.value[field] == true
    }

    fn parsed<T: std::str::FromStr>(&self, field: &str) -> Result<Option<T>, ClusterError>
    where
        T::Err: std::fmt::Display,
    {
        let parsed = self.text(field).map(|text| text.parse());
        parsed
            .transpose()
            .map_err(|why| refused(format!("{}.{field}: {why}", self.at)))
    }

    fn duration(&self, field: &str) -> Result<Option<Duration>, ClusterError> {
        let text = self.text(field);
        let parsed = text.map(|text| orlop_api::duration::parse_go_duration(&text));
        match parsed {
            Some(None) => Err(self.unreadable(field)),
            other => Ok(other.flatten()),
        }
    }

    fn items(&self, field: &str) -> Result<Vec<Place<'a>>, ClusterError> {
        match &self.value[field] {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => {
                let item =
                    |(nth, item): (usize, &'a Value)| Place::of(item, &format!("{}.{field}[{nth}]", self.at));
                Ok(items.iter().enumerate().map(item).collect())
            }
            _ => Err(self.unreadable(field)),
        }
    }

    fn words(&self, field: &str) -> Result<Vec<String>, ClusterError> {
        let words = self.items(field)?;
        let words = words.iter().map(|word| word.value.as_str().map(str::to_owned));
        words.collect::<Option<_>>().ok_or_else(|| self.unreadable(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The forms of kubeadm's documentation.
    #[test]
    fn an_init_is_read() {
        let file = json!([
            {
                "apiVersion": "kubeadm.k8s.io/v1beta4",
                "kind": "InitConfiguration",
                "bootstrapTokens": [{
                    "token": "9a08jv.c0izixklcxtmnze7", "description": "mine", "ttl": "24h",
                    "usages": ["authentication"],
                }],
                "nodeRegistration": {
                    "name": "ec2-10-100-0-1",
                    "criSocket": "unix:///var/run/containerd/containerd.sock",
                    "taints": [{"key": "kubeadmNode", "value": "someValue", "effect": "NoSchedule"}],
                    "kubeletExtraArgs": [{"name": "v", "value": "5"}],
                    "ignorePreflightErrors": ["IsPrivilegedUser"],
                    "imagePullPolicy": "IfNotPresent",
                },
                "localAPIEndpoint": {"advertiseAddress": "10.100.0.1", "bindPort": 6444},
                "certificateKey": "e6a2eb8581237ab72a4f494f30285ec12a9694d750b9785706a83bfcbbbd2204",
                "skipPhases": ["addon/kube-proxy"],
                "patches": {"directory": "/home/user/somedir"},
                "timeouts": {"controlPlaneComponentHealthCheck": "60s", "kubernetesAPICall": "1m0s"},
            },
            {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration", "clusterName": "mine"},
            {"apiVersion": KUBELET, "kind": "KubeletConfiguration", "maxPods": 7},
            null,
        ]);
        let given = read(file.as_array().unwrap().clone()).unwrap();
        assert_eq!(given.cluster.unwrap()["clusterName"], "mine");
        assert_eq!(given.kubelet.unwrap()["maxPods"], 7);
        let init = given.init.unwrap();
        assert_eq!(
            init.node,
            Registration {
                name: Some("ec2-10-100-0-1".to_owned()),
                cri_socket: Some("unix:///var/run/containerd/containerd.sock".to_owned()),
                taints: Some(vec!["kubeadmNode=someValue:NoSchedule".to_owned()]),
                agent_args: vec![("v".to_owned(), "5".to_owned())],
                ignored_checks: vec!["IsPrivilegedUser".to_owned()],
            }
        );
        assert_eq!(init.local.address, Some(IpAddr::from([10, 100, 0, 1])));
        assert_eq!(init.local.port, Some(6444));
        assert_eq!(init.patience, Some(Duration::from_secs(60)));
        assert_eq!(init.skip_phases, ["addon/kube-proxy"]);
        assert_eq!(init.patches, Some(PathBuf::from("/home/user/somedir")));
        assert!(init.certificate_key.is_some() && !init.dry_run);
        let token = &init.tokens[0];
        assert_eq!(token.token.to_string(), "9a08jv.c0izixklcxtmnze7");
        assert_eq!(token.ttl, Some(Duration::from_secs(24 * 3600)));
        assert_eq!(
            (token.usages.as_slice(), token.groups.as_slice()),
            (&["authentication".to_owned()][..], &[GROUP.to_owned()][..])
        );
    }

    #[test]
    fn a_join_is_read() {
        let file = |plane: Value| {
            json!({
                "apiVersion": "kubeadm.k8s.io/v1beta3",
                "kind": "JoinConfiguration",
                "caCertPath": "/etc/kubernetes/pki/ca.crt",
                "controlPlane": plane,
                "discovery": {
                    "bootstrapToken": {
                        "apiServerEndpoint": "kube-apiserver:6443",
                        "token": "abcdef.0123456789abcdef",
                        "caCertHashes": ["sha256:00"],
                    },
                    "tlsBootstrapToken": "ghijkl.0123456789abcdef",
                },
                "nodeRegistration": {"kubeletExtraArgs": {"node-labels": "a=b"}, "taints": []},
            })
        };
        let join = |plane: Value| read(vec![file(plane)]).unwrap().join.unwrap();
        let worker = join(Value::Null);
        assert_eq!(worker.endpoint.unwrap().with_port(1), "kube-apiserver:6443");
        assert_eq!(worker.discovery.unwrap().id, "abcdef");
        assert_eq!(worker.bootstrap.unwrap().id, "ghijkl");
        assert_eq!(worker.hashes, ["sha256:00"]);
        assert_eq!(worker.node.taints, Some(Vec::new()));
        assert_eq!(
            worker.node.agent_args,
            [("node-labels".to_owned(), "a=b".to_owned())]
        );
        assert!(!worker.control_plane && !worker.any_authority);
        let master = join(json!({"localAPIEndpoint": {"advertiseAddress": "10.0.0.2", "bindPort": 0}}));
        assert!(master.control_plane);
        assert_eq!(master.local.address, Some(IpAddr::from([10, 0, 0, 2])));
        assert_eq!(master.local.port, None);
    }

    #[test]
    fn a_join_may_trust_a_file() {
        let document = json!({
            "apiVersion": VERSIONS[1],
            "kind": "JoinConfiguration",
            "discovery": {
                "file": {"kubeConfigPath": "/etc/kubernetes/discovery.conf"},
                "tlsBootstrapToken": "ghijkl.0123456789abcdef",
            },
        });
        let join = read(vec![document]).unwrap().join.unwrap();
        assert_eq!(
            join.discovery_file,
            Some(PathBuf::from("/etc/kubernetes/discovery.conf"))
        );
        assert_eq!((join.endpoint, join.discovery), (None, None));
        assert_eq!(join.bootstrap.unwrap().id, "ghijkl");
    }

    #[test]
    fn what_is_not_followed_is_refused_by_its_path() {
        let of = |kind: &str, fields: Value| {
            let mut document = json!({"apiVersion": VERSIONS[1], "kind": kind});
            orlop_api::patch::merge(&mut document, &fields);
            read(vec![document]).unwrap_err().to_string()
        };
        for (kind, fields, want) in [
            (
                "InitConfiguration",
                json!({"patches": {"url": "/p"}}),
                "InitConfiguration.patches.url is not followed",
            ),
            (
                "InitConfiguration",
                json!({"localAPIEndpoint": {"bindPort": 70_000}}),
                "localAPIEndpoint.bindPort cannot be read",
            ),
            (
                "InitConfiguration",
                json!({"bootstrapTokens": [{"token": "x"}]}),
                "bootstrapTokens[0].token: \"x\" is no token",
            ),
            (
                "JoinConfiguration",
                json!({"discovery": {"file": {"url": "/x"}}}),
                "JoinConfiguration.discovery.file.url is not followed",
            ),
            (
                "JoinConfiguration",
                json!({"discovery": {"file": {"kubeConfigPath": "/x"}, "bootstrapToken": {"token": ""}}}),
                "JoinConfiguration.discovery has both",
            ),
            (
                "JoinConfiguration",
                json!({"caCertPath": "/x"}),
                "caCertPath can be",
            ),
            (
                "InitConfiguration",
                json!({"nodeRegistration": {"kubeletExtraArgs": [{"name": "system-reserved", "value": "cpu=1, memory=1Gi"}]}}),
                "kubeletExtraArgs: system-reserved has blanks",
            ),
            ("KubeProxyConfiguration", json!({}), "KubeProxyConfiguration of"),
        ] {
            let error = of(kind, fields);
            assert!(error.contains(want), "{error}");
        }
        let old = json!({"apiVersion": "kubeadm.k8s.io/v1beta2", "kind": "InitConfiguration"});
        assert!(read(vec![old]).unwrap_err().to_string().contains("v1beta2"));
    }
}
