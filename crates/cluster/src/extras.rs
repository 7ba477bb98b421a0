//! What a cluster's configuration adds to a component: flags, files of the host, variables. And what it says that no
//! manifest of ours follows (pure).
use crate::ClusterError;
use serde_json::{Map, Value};

/// Where certificates are, unless somebody says otherwise, whom manifests don't follow.
const CERTIFICATES: &str = "/etc/kubernetes/pki";
const ETCD_DATA: &str = "/var/lib/etcd";

/// Of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Flags without dashes; one that is usual too takes its place, and one may come several times.
    pub args: Vec<(String, String)>,
    pub volumes: Vec<Volume>,
    /// As the container has them.
    pub envs: Vec<Value>,
}

/// A file or directory of the host that the component sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    pub host_path: String,
    pub mount_path: String,
    pub is_read_only: bool,
    /// `Directory`, `FileOrCreate` and so on; `None`: nothing is looked at.
    pub kind: Option<String>,
}

impl Extras {
    /// Nothing.
    pub const NONE: Self = Self {
        args: Vec::new(),
        volumes: Vec::new(),
        envs: Vec::new(),
    };

    /// Reads a component's part of a ClusterConfiguration; `at` is its field path.
    pub fn read(part: &Value, at: &str) -> Result<Self, ClusterError> {
        let wrong = |field: &str| {
            ClusterError::Configuration(format!("{at}.{field} of the ClusterConfiguration cannot be read"))
        };
        let list = |field: &str| match &part[field] {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => Ok(items.clone()),
            _ => Err(wrong(field)),
        };
        let args = match &part["extraArgs"] {
            // Up to v1beta3.
            Value::Object(args) => args
                .iter()
                .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect::<Option<_>>(),
            _ => list("extraArgs")?
                .iter()
                .map(|arg| Some((text(arg, "name")?, text(arg, "value").unwrap_or_default())))
                .collect(),
        };
        let volumes = list("extraVolumes")?
            .iter()
            .map(Volume::read)
            .collect::<Option<_>>();
        Ok(Self {
            args: args.ok_or_else(|| wrong("extraArgs"))?,
            volumes: volumes.ok_or_else(|| wrong("extraVolumes"))?,
            envs: list("extraEnvs")?,
        })
    }

    /// What is given for a flag, the last of several.
    pub fn arg(&self, name: &str) -> Option<&str> {
        let given = self.args.iter().rev().find(|(given, _)| given == name);
        given.map(|(_, value)| value.as_str())
    }
}

impl Volume {
    fn read(volume: &Value) -> Option<Self> {
        Some(Self {
            name: text(volume, "name")?,
            host_path: text(volume, "hostPath")?,
            mount_path: text(volume, "mountPath")?,
            is_read_only: volume["readOnly"].as_bool().unwrap_or(false),
            kind: text(volume, "pathType").filter(|kind| !kind.is_empty()),
        })
    }
}

fn text(value: &Value, field: &str) -> Option<String> {
    value[field].as_str().map(str::to_owned)
}

/// What a ClusterConfiguration says that is not followed, by field paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// In the manifests of API server, controllers and scheduler.
    pub components: Vec<String>,
    /// In that of etcd.
    pub etcd: Vec<String>,
}

impl Ignored {
    pub fn of(document: &Value) -> Self {
        let mut components = Vec::new();
        let mut etcd = Vec::new();
        let nothing = Map::new();
        for (field, value) in document.as_object().unwrap_or(&nothing) {
            let known: &[&str] = match field.as_str() {
                "apiVersion"
                | "kind"
                | "kubernetesVersion"
                | "clusterName"
                | "imageRepository"
                | "controlPlaneEndpoint"
                | "encryptionAlgorithm"
                | "caCertificateValidityPeriod"
                | "certificateValidityPeriod" => continue,
                // Of add-ons, which have no manifests on nodes.
                "dns" | "proxy" => continue,
                "certificatesDir" if value == CERTIFICATES => continue,
                "networking" => &["dnsDomain", "podSubnet", "serviceSubnet"],
                "apiServer" => &[
                    "extraArgs",
                    "extraEnvs",
                    "extraVolumes",
                    "certSANs",
                    // How long kubeadm waits.
                    "timeoutForControlPlane",
                ],
                "controllerManager" | "scheduler" => &["extraArgs", "extraEnvs", "extraVolumes"],
                "etcd" => {
                    let usual = |field: &str| match field {
                        "dataDir" => value["local"]["dataDir"] == ETCD_DATA,
                        _ => matches!(field, "imageTag" | "extraArgs" | "extraEnvs"),
                    };
                    note(&mut etcd, &value["local"], "etcd.local", usual);
                    &["local"]
                }
                _ if is_empty(value) => continue,
                _ => {
                    components.push(field.clone());
                    continue;
                }
            };
            note(&mut components, value, field, |inner| known.contains(&inner));
        }
        Self { components, etcd }
    }

    /// Fails if there is something.
    pub fn refuse(fields: &[String]) -> Result<(), ClusterError> {
        match fields {
            [] => Ok(()),
            fields => Err(ClusterError::Configuration(format!(
                "nothing was changed, for the cluster's configuration says what orlop does not follow: {}; if the cluster can do without, take that out of the ConfigMap kubeadm-config in kube-system",
                fields.join(", ")
            ))),
        }
    }
}

/// Notes what an object says beside what is known of it.
fn note(ignored: &mut Vec<String>, object: &Value, at: &str, is_known: impl Fn(&str) -> bool) {
    let fields = object.as_object().into_iter().flatten();
    let unknown = fields.filter(|(field, value)| !is_known(field) && !is_empty(value));
    ignored.extend(unknown.map(|(field, _)| format!("{at}.{field}")));
}

/// Whether a field is as if it were not there.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterConfig;
    use serde_json::json;

    #[test]
    fn flags_are_read_in_both_of_kubeadms_forms() {
        let old = json!({"extraArgs": {"audit-log-path": "/var/log/audit.log", "v": "4"}});
        let new = json!({"extraArgs": [
            {"name": "audit-log-path", "value": "/var/log/audit.log"},
            {"name": "v", "value": "4"},
        ]});
        let want = [("audit-log-path", "/var/log/audit.log"), ("v", "4")];
        for part in [old, new] {
            let extras = Extras::read(&part, "apiServer").unwrap();
            let args: Vec<(&str, &str)> = extras
                .args
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            assert_eq!(args, want);
            assert_eq!(extras.arg("v"), Some("4"));
        }
        assert_eq!(Extras::read(&json!({}), "scheduler").unwrap(), Extras::NONE);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (part, field) in [
            (json!({"extraArgs": {"v": 4}}), "apiServer.extraArgs"),
            (json!({"extraArgs": [{"value": "4"}]}), "apiServer.extraArgs"),
            (json!({"extraVolumes": [{"name": "x"}]}), "apiServer.extraVolumes"),
            (json!({"extraEnvs": "x"}), "apiServer.extraEnvs"),
        ] {
            let error = Extras::read(&part, "apiServer").unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn what_no_manifest_follows_is_named() {
        let document = json!({
            "apiVersion": "kubeadm.k8s.io/v1beta3",
            "apiServer": {"extraArgs": {"v": "4"}, "timeoutForControlPlane": "4m0s", "surprise": {"a": 1}},
            "certificatesDir": "/srv/pki",
            "controllerManager": {},
            "dns": {"imageTag": "v1.11.1"},
            "etcd": {
                "external": {"endpoints": ["https://10.0.0.9:2379"]},
                "local": {"dataDir": "/data/etcd", "imageTag": "3.5.21-0", "serverCertSANs": ["e"]},
            },
            "featureGates": {"PublicKeysECDSA": true, "Other": false},
            "networking": {"serviceSubnet": "10.96.0.0/12"},
            "scheduler": {"extraVolumes": []},
            "useHyperKubeImage": false,
        });
        let ignored = Ignored::of(&document);
        assert_eq!(
            ignored.components,
            [
                "apiServer.surprise",
                "certificatesDir",
                "etcd.external",
                "featureGates"
            ]
        );
        assert_eq!(ignored.etcd, ["etcd.local.dataDir", "etcd.local.serverCertSANs"]);
        let sentence = Ignored::refuse(&ignored.components).unwrap_err().to_string();
        assert!(sentence.contains("etcd.external, featureGates"), "{sentence}");
    }

    #[test]
    fn what_init_writes_is_followed_whole() {
        let text = ClusterConfig::new("v1.36.0").to_yaml().unwrap();
        let document = crate::yaml::read("ClusterConfiguration", &text).unwrap();
        assert_eq!(Ignored::of(&document), Ignored::default());
        Ignored::refuse(&[]).unwrap();
    }
}
