//! The node that these tests share, and pods on it.
use orlop_e2e::{Node, NodeOptions, eventually};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

pub const IMAGE: &str = "orlop.local/busybox:debian";
/// Ends well when it is told to.
pub const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

/// A node, the same as long as some test has it. It is taken down with the last.
pub fn node() -> Arc<Node> {
    static NODE: Mutex<Weak<Node>> = Mutex::new(Weak::new());
    let mut current = NODE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(node) = current.upgrade() {
        return node;
    }
    let node = Arc::new(Node::start(NodeOptions {
        kubelet_configuration: "clusterDomain: cluster.local\n".to_owned(),
        ..NodeOptions::default()
    }));
    node.kubectl
        .ok("wait --for=create --timeout=60s serviceaccount/default");
    *current = Arc::downgrade(&node);
    node
}

/// A directory that containers share with the test, mounted as `/shared`.
pub struct Shared(PathBuf);

impl Shared {
    pub fn new(node: &Node, name: &str) -> Self {
        let path = node.root().join("shared").join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn volume(&self) -> Value {
        json!({"name": "shared", "hostPath": {"path": self.0}})
    }

    /// What a file holds, without the blanks around it; empty when there is none.
    pub fn read(&self, file: &str) -> String {
        let text = std::fs::read_to_string(self.0.join(file)).unwrap_or_default();
        text.trim().to_owned()
    }

    /// Waits until there is a file with something in it.
    pub fn wait(&self, file: &str) -> String {
        eventually(&format!("something in {file}"), || {
            Some(self.read(file))
                .filter(|text| !text.is_empty())
                .ok_or_else(|| format!("{:?}", self.files()))
        })
    }

    /// The moment, in seconds since the machine's start, that a container has noted by [`note`].
    pub fn moment(&self, file: &str) -> f64 {
        let text = self.wait(file);
        let first = text.split_whitespace().next().unwrap();
        first.parse().unwrap_or_else(|_| panic!("{file}: {text:?}"))
    }

    pub fn write(&self, file: &str) {
        std::fs::write(self.0.join(file), "x").unwrap();
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// A script's words that note the moment in a file.
pub fn note(file: &str) -> String {
    format!("cat /proc/uptime > /shared/{file}.new; mv /shared/{file}.new /shared/{file}")
}

/// A container with a script, and the shared directory.
pub fn container(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    })
}

/// The same, as a sidecar.
pub fn sidecar(name: &str, script: &str) -> Value {
    let mut sidecar = container(name, script);
    sidecar["restartPolicy"] = json!("Always");
    sidecar
}

/// A pod on the node's network.
pub fn pod(name: &str, shared: &Shared, inits: Vec<Value>, containers: Vec<Value>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "hostNetwork": true, "terminationGracePeriodSeconds": 5, "automountServiceAccountToken": false,
            "volumes": [shared.volume()],
            "initContainers": inits, "containers": containers,
        },
    })
}

pub fn apply(node: &Node, pod: &Value) {
    node.kubectl.feed("apply", &pod.to_string());
}

/// Waits until the pod's phase is this.
pub fn wait_phase(node: &Node, name: &str, phase: &str) {
    node.kubectl.ok(&format!(
        "wait --for=jsonpath={{.status.phase}}={phase} --timeout=90s pod/{name}"
    ));
}

/// The last status of a pod that is deleted: it is kept by a finalizer, which is taken away here.
pub fn delete_and_see(node: &Node, name: &str) -> Value {
    node.kubectl.ok(&format!(
        r#"patch pod {name} --type=merge -p={{"metadata":{{"finalizers":["example.com/seen"]}}}}"#
    ));
    node.kubectl.ok(&format!("delete pod {name} --wait=false"));
    let last = eventually("the pod's last phase", || {
        let pod = node.kubectl.json(&format!("get pod {name}"));
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        matches!(phase, "Succeeded" | "Failed")
            .then(|| pod.clone())
            .ok_or_else(|| format!("{:#}", pod["status"]))
    });
    node.kubectl.ok(&format!(
        r#"patch pod {name} --type=merge -p={{"metadata":{{"finalizers":null}}}}"#
    ));
    last
}

/// How a container of a pod ended; of sidecars too.
pub fn exit_code(pod: &Value, name: &str) -> Option<i64> {
    let status = status_of(pod, name)?;
    status["state"]["terminated"]["exitCode"].as_i64()
}

pub fn restarts(pod: &Value, name: &str) -> u64 {
    let count = status_of(pod, name).and_then(|status| status["restartCount"].as_u64());
    count.unwrap_or(0)
}

pub fn status_of<'p>(pod: &'p Value, name: &str) -> Option<&'p Value> {
    let of = |list: &str| pod["status"][list].as_array().into_iter().flatten();
    of("containerStatuses")
        .chain(of("initContainerStatuses"))
        .find(|status| status["name"] == name)
}
