//! Static pods that these tests put on a node.
use orlop_e2e::{Node, eventually};
use serde_json::{Value, json};

pub const IMAGE: &str = "orlop.local/busybox:debian";
/// Ends at once when it is told to.
pub const FOREVER: &str = "trap exit TERM; while :; do sleep 0.1; done";

/// A container that runs until it is told to end.
pub fn container(name: &str) -> Value {
    running(name, FOREVER)
}

/// A container with this script.
pub fn running(name: &str, script: &str) -> Value {
    json!({"name": name, "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script]})
}

/// A pod of one container, on the node's network, that is stopped within a second.
pub fn pod(name: &str, container: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"hostNetwork": true, "terminationGracePeriodSeconds": 1, "containers": [container]},
    })
}

/// Puts the pod's manifest where the agent finds it, under the pod's name.
pub fn write(node: &Node, pod: &Value) {
    let name = pod["metadata"]["name"].as_str().unwrap();
    node.write_manifest(&format!("{name}.yaml"), &pod.to_string());
}

/// Waits until this container of this static pod runs; its id.
pub fn wait_running(node: &Node, name: &str, container: &str) -> String {
    let pod = format!("{name}-{}", node.name);
    eventually(&format!("container {container} of {name} runs"), || {
        let running = node.running();
        let found = running
            .iter()
            .find(|one| one.pod == pod && one.container == container);
        found
            .map(|one| one.id.clone())
            .ok_or_else(|| format!("{running:#?}"))
    })
}

/// Waits until a container of this static pod runs that was started again.
pub fn wait_again(node: &Node, name: &str) {
    let pod = format!("{name}-{}", node.name);
    eventually(&format!("a container of {name} is started again"), || {
        let running = node.running();
        let again = running.iter().any(|one| one.pod == pod && one.attempt > 0);
        again.then_some(()).ok_or_else(|| format!("{running:#?}"))
    });
}

/// Waits until nothing of this static pod runs.
pub fn wait_stopped(node: &Node, name: &str) {
    let pod = format!("{name}-{}", node.name);
    eventually(&format!("nothing of {name} runs"), || {
        let running = node.running();
        let is_gone = running.iter().all(|one| one.pod != pod);
        is_gone.then_some(()).ok_or_else(|| format!("{running:#?}"))
    });
}
