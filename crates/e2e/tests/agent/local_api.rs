//! `orlop kubelet --local-api`: what runs on a lone node is seen by an API of its own, which changes nothing.
use crate::pods::{container, pod, running, wait_running, wait_stopped, write};
use nix::sys::signal::{Signal, kill};
use orlop_e2e::{Kubectl, Node, NodeOptions, eventually};
use serde_json::json;

/// Waits until the API shows a static pod as Ready, this very container of it, which was never restarted.
fn wait_shown(node: &Node, kubectl: &Kubectl, name: &str, id: &str) {
    let shown = format!("pod {name}-{}", node.name);
    kubectl.patiently(&format!("wait --for=condition=Ready --timeout=30s {shown}"));
    let status = |field: &str| kubectl.field(&shown, &format!("/status/containerStatuses/0/{field}"));
    assert_eq!(status("restartCount"), "0");
    assert_eq!(status("containerID"), format!("containerd://{id}"));
}

fn refused(kubectl: &Kubectl, line: &str) {
    let said = kubectl.fails(line);
    assert!(said.contains("is forbidden"), "{line}: {said}");
}

#[test]
fn pods_of_a_lone_node_are_looked_at_through_its_own_api_and_outlive_the_agent() {
    let mut node = Node::lone(NodeOptions::default());
    let kubectl = node.serve_local_api();
    node.launch();
    let script = "echo hello; trap exit TERM; while :; do sleep 0.1; done";
    write(&node, &pod("web", running("c", script)));
    let id = wait_running(&node, "web", "c");
    wait_shown(&node, &kubectl, "web", &id);
    let web = format!("web-{}", node.name);
    eventually("its log", || {
        let log = kubectl.ok(&format!("logs {web}"));
        (log == "hello\n").then_some(()).ok_or(log)
    });
    assert_eq!(
        kubectl.ok(&format!("exec {web} -- echo from inside")),
        "from inside\n"
    );
    eventually("its events", || {
        let described = kubectl.ok(&format!("describe pod {web}"));
        described
            .contains("Container started")
            .then_some(())
            .ok_or(described)
    });
    kubectl.patiently(&format!(
        "wait --for=condition=Ready --timeout=30s node/{}",
        node.name
    ));

    refused(&kubectl, &format!("delete pod {web} --wait=false"));
    refused(&kubectl, &format!("annotate pod {web} example.com/a=b"));
    refused(&kubectl, &format!("label node {} example.com/a=b", node.name));
    refused(&kubectl, "create configmap m --from-literal=a=b");

    // Of a namespace that there is none of: it runs all the same.
    let mut elsewhere = pod("elsewhere", container("c"));
    elsewhere["metadata"]["namespace"] = json!("shop");
    write(&node, &elsewhere);
    wait_running(&node, "elsewhere", "c");

    for (signal, name) in [(Signal::SIGTERM, "told"), (Signal::SIGKILL, "killed")] {
        kill(node.pid(), signal).unwrap();
        node.ended();
        assert_eq!(wait_running(&node, "web", "c"), id, "{signal}");
        write(&node, &pod(name, container("c")));
        node.launch();
        let new = wait_running(&node, name, "c");
        wait_shown(&node, &kubectl, name, &new);
        wait_shown(&node, &kubectl, "web", &id);
    }
    let all = kubectl.ok("get pods -A");
    assert!(!all.contains("elsewhere"), "{all}");

    std::fs::remove_file(node.manifest("web.yaml")).unwrap();
    wait_stopped(&node, "web");
    eventually("its pod goes from the API", || {
        let pods = kubectl.ok("get pods -A -o name");
        (!pods.contains(&web)).then_some(()).ok_or(pods)
    });
}
