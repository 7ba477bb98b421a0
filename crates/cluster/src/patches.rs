//! What people lay over what a node is made with (`--patches`): files of one directory, named as kubeadm has it,
//! `target[suffix][+type].extension`, in the order of their names.
use crate::{ClusterError, files};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::patch::{self, PatchError};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The node agent's configuration.
pub const KUBELET: &str = "kubeletconfiguration";
/// What runs the names of Services.
pub const COREDNS: &str = "corednsdeployment";

/// What a target's documents are; its lists are merged as those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pod,
    Deployment,
    KubeletConfiguration,
}

/// No name is the beginning of another.
const TARGETS: [(&str, Kind); 6] = [
    ("etcd", Kind::Pod),
    ("kube-apiserver", Kind::Pod),
    ("kube-controller-manager", Kind::Pod),
    ("kube-scheduler", Kind::Pod),
    (KUBELET, Kind::KubeletConfiguration),
    (COREDNS, Kind::Deployment),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Strategic,
    Merge,
    Json,
}

#[derive(Clone, Debug)]
struct Patch {
    target: &'static str,
    kind: Kind,
    method: Method,
    file: PathBuf,
    content: Value,
}

/// All of a directory.
#[derive(Clone, Debug, Default)]
pub struct Patches {
    patches: Vec<Patch>,
    /// Why a file is none of them: nothing is wrong with that, but people may have meant otherwise.
    pub passed_over: Vec<String>,
}

impl Patches {
    pub fn read(directory: &Path) -> Result<Self, ClusterError> {
        let mut paths = std::fs::read_dir(directory)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect::<std::io::Result<Vec<_>>>()
            })
            .map_err(ClusterError::file("read the directory of patches", directory))?;
        paths.sort();
        let mut all = Self::default();
        for path in paths.into_iter().filter(|path| !path.is_dir()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let named = match named(&name) {
                Ok(named) => named,
                Err(Unnamed::PassedOver(why)) => {
                    all.passed_over
                        .push(format!("{} is passed over: {why}", path.display()));
                    continue;
                }
                Err(Unnamed::Wrong(why)) => return Err(ClusterError::unusable(&path, why)),
            };
            let text = files::read(&path)?;
            let contents =
                contents(&text, named.is_json).map_err(|why| ClusterError::unusable(&path, why))?;
            if contents.is_empty() {
                all.passed_over
                    .push(format!("{} is passed over: it is empty", path.display()));
            }
            all.patches.extend(contents.into_iter().map(|content| Patch {
                target: named.target,
                kind: named.kind,
                method: named.method,
                file: path.clone(),
                content,
            }));
        }
        Ok(all)
    }

    /// Whether there is one of a target.
    pub fn has(&self, target: &str) -> bool {
        self.patches.iter().any(|patch| patch.target == target)
    }

    /// A target's document with all that is laid over it.
    pub fn apply(&self, target: &str, mut document: Value) -> Result<Value, ClusterError> {
        for patch in self.patches.iter().filter(|patch| patch.target == target) {
            document = patch
                .applied(&document)
                .map_err(|why| ClusterError::unusable(&patch.file, why))?;
        }
        Ok(document)
    }
}

impl Patch {
    fn applied(&self, document: &Value) -> Result<Value, String> {
        let patched = match (self.method, self.kind) {
            (Method::Json, _) => patch::json(document, &self.content),
            // No list of it is merged.
            (Method::Merge, _) | (Method::Strategic, Kind::KubeletConfiguration) => {
                patch::merge_object(document, &self.content)
            }
            (Method::Strategic, Kind::Pod) => patch::strategic("Pod", document, &self.content),
            (Method::Strategic, Kind::Deployment) => patch::strategic("Deployment", document, &self.content),
        };
        let patched = patched.map_err(|error| match error {
            // Its text is for clients of an API server, who are not told.
            PatchError::NotApplicable { operation, cause } => format!("operation {operation}: {cause}"),
            other => other.to_string(),
        })?;
        let fits = match self.kind {
            Kind::Pod => serde_json::from_value::<Pod>(patched.clone()).map(drop),
            Kind::Deployment => serde_json::from_value::<Deployment>(patched.clone()).map(drop),
            Kind::KubeletConfiguration => {
                serde_json::from_value::<Map<String, Value>>(patched.clone()).map(drop)
            }
        };
        fits.map_err(|why| format!("what comes of {} with it can't be read: {why}", self.target))?;
        Ok(patched)
    }
}

/// What a file's name says.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    target: &'static str,
    kind: Kind,
    method: Method,
    is_json: bool,
}

/// Why a file's name says nothing.
#[derive(Debug, PartialEq, Eq)]
enum Unnamed {
    /// It is no patch, or one for others.
    PassedOver(String),
    Wrong(String),
}

fn named(name: &str) -> Result<Named, Unnamed> {
    let (stem, is_json) = match (name.strip_suffix(".yaml"), name.strip_suffix(".json")) {
        (Some(stem), _) => (stem, false),
        (None, Some(stem)) => (stem, true),
        (None, None) => {
            let why = "its name ends neither in .yaml nor in .json";
            return Err(Unnamed::PassedOver(why.to_owned()));
        }
    };
    let Some((target, kind)) = TARGETS.into_iter().find(|(target, _)| stem.starts_with(target)) else {
        let targets = TARGETS.map(|(target, _)| target).join(", ");
        let why = format!("its name begins with none of {targets}");
        return Err(Unnamed::PassedOver(why));
    };
    let method = match stem.split_once('+').map(|(_, word)| word) {
        None | Some("strategic") => Method::Strategic,
        Some("merge") => Method::Merge,
        Some("json") => Method::Json,
        Some(other) => {
            let why = format!("{other:?} in its name is no type of patches: strategic, merge and json are");
            return Err(Unnamed::Wrong(why));
        }
    };
    Ok(Named {
        target,
        kind,
        method,
        is_json,
    })
}

/// The documents of a file, without those that say nothing.
fn contents(text: &str, is_json: bool) -> Result<Vec<Value>, String> {
    let says_nothing = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    let all = match is_json {
        _ if text.trim().is_empty() => Vec::new(),
        true => vec![serde_json::from_str(text).map_err(|error| error.to_string())?],
        false => serde_saphyr::from_multiple::<Value>(text).map_err(|error| error.to_string())?,
    };
    Ok(all.into_iter().filter(|value| !says_nothing(value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn pod() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "kube-apiserver"},
            "spec": {"containers": [{"name": "kube-apiserver", "image": "a", "command": ["x", "--v=1"]}]},
        })
    }

    #[test]
    fn names_are_kubeadms() {
        let of = |name: &str| named(name).map(|named| (named.target, named.method, named.is_json));
        assert_eq!(of("etcd.json"), Ok(("etcd", Method::Strategic, true)));
        assert_eq!(
            of("kube-apiserver0+merge.yaml"),
            Ok(("kube-apiserver", Method::Merge, false))
        );
        assert_eq!(
            of("kubeletconfiguration+json.yaml"),
            Ok((KUBELET, Method::Json, false))
        );
        for other in [
            "README.md",
            "kube-scheduler.yml",
            "kube-proxy.yaml",
            "+merge.yaml",
        ] {
            assert!(matches!(of(other), Err(Unnamed::PassedOver(_))), "{other}");
        }
        for wrong in ["etcd+.yaml", "etcd+merge+json.yaml", "etcd+x.json"] {
            assert!(matches!(of(wrong), Err(Unnamed::Wrong(_))), "{wrong}");
        }
    }

    #[test]
    fn patches_of_a_target_are_applied_in_the_order_of_their_names() {
        let directory = directory(&[
            ("notes.txt", "x"),
            ("etcd.yaml", ""),
            (
                "kube-apiserver0.yaml",
                "spec: {containers: [{name: kube-apiserver, image: b, resources: {limits: {cpu: \"1\"}}}]}\n---\n\
                 metadata: {labels: {a: \"1\"}}\n",
            ),
            (
                "kube-apiserver1+json.json",
                r#"[{"op": "replace", "path": "/spec/containers/0/image", "value": "c"}]"#,
            ),
            ("kube-apiserver2+merge.yaml", "metadata: {labels: {a: \"2\"}}\n"),
            (
                "kubeletconfiguration.yaml",
                "maxPods: 7\nregisterWithTaints: []\n",
            ),
        ]);
        let patches = Patches::read(directory.path()).unwrap();
        let patched = patches.apply("kube-apiserver", pod()).unwrap();
        let mut want = pod();
        want["metadata"]["labels"] = json!({"a": "2"});
        want["spec"]["containers"][0]["image"] = json!("c");
        want["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        assert_eq!(patched, want, "the container is merged by its name");
        let agents = json!({"maxPods": 1, "registerWithTaints": ["x"], "kind": "KubeletConfiguration"});
        let agents = patches.apply(KUBELET, agents).unwrap();
        assert_eq!(
            agents,
            json!({"maxPods": 7, "registerWithTaints": [], "kind": "KubeletConfiguration"})
        );
        assert_eq!(patches.apply("kube-scheduler", pod()).unwrap(), pod());
        assert!(patches.has(KUBELET) && !patches.has("etcd"));
        let passed_over = patches.passed_over.join("\n");
        assert!(
            passed_over.contains("notes.txt")
                && passed_over.contains("etcd.yaml is passed over: it is empty")
        );
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_file() {
        for (name, text, want) in [
            (
                "kube-apiserver+json.yaml",
                "- {op: remove, path: /spec/nothing}\n",
                "operation 0",
            ),
            ("kube-apiserver.yaml", "- a\n", "is an object"),
            ("kube-apiserver.yaml", "spec: 7\n", "can't be read"),
            (
                "kube-apiserver+merge.yaml",
                "metadata: {name: [1]}\n",
                "can't be read",
            ),
        ] {
            let directory = directory(&[(name, text)]);
            let patches = Patches::read(directory.path()).unwrap();
            let error = patches.apply("kube-apiserver", pod()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(want), "{error}");
        }
        for (name, text) in [("etcd.yaml", "a: ["), ("etcd.json", "{"), ("etcd+x.yaml", "a: 1")] {
            let directory = directory(&[(name, text)]);
            let error = Patches::read(directory.path()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let error = Patches::read(Path::new("/nowhere/patches"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/patches"), "{error}");
    }
}
