//! What cannot start says why, quickly, and leaves a non-zero exit status.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{Node, NodeOptions};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(5);

/// Runs `orlop up`, which must fail within five seconds; what it said.
fn refused(node: &Node) -> String {
    let started = Instant::now();
    let output = node.command().output().unwrap();
    let took = started.elapsed();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!output.status.success(), "it should have failed:\n{text}");
    assert!(took < LIMIT, "it took {took:?}:\n{text}");
    text
}

#[test]
fn missing_runtime_socket_is_named() {
    let node = Node::prepare(NodeOptions {
        runtime_endpoint: Some("unix:///nowhere/containerd.sock".to_owned()),
        ..NodeOptions::default()
    });
    let text = refused(&node);
    assert!(text.contains("/nowhere/containerd.sock"), "{text}");
}

#[test]
fn taken_port_is_named() {
    let node = Node::prepare(NodeOptions::default());
    let _taken = TcpListener::bind(("127.0.0.1", node.api_port)).unwrap();
    let text = refused(&node);
    assert!(
        text.contains(&node.api_port.to_string()) && text.contains("--secure-port"),
        "{text}"
    );
}

#[test]
fn root_in_use_by_another_orlop_is_refused() {
    let node = Node::start(NodeOptions::default());
    let text = refused(&node);
    assert!(
        text.contains(&node.pid().to_string()),
        "it names the holder's pid:\n{text}"
    );
    node.kubectl.ok("get nodes");
}

#[test]
fn broken_kubelet_configuration_is_refused_with_its_place() {
    let node = Node::prepare(NodeOptions {
        kubelet_configuration: "maxPods: lots\n".to_owned(),
        ..NodeOptions::default()
    });
    let text = refused(&node);
    assert!(
        text.contains("maxPods") && text.contains("kubelet.yaml"),
        "{text}"
    );
}
