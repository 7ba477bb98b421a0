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

/// Who reads the log of a part as JSON reads all of it.
#[test]
fn what_a_part_says_of_its_flags_and_of_its_end_are_lines_of_its_log() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let node = Node::prepare(NodeOptions::default());
    let program = node.command().get_program().to_owned();
    let port = format!("--secure-port={port}");
    let output = std::process::Command::new(program)
        .args([
            "apiserver",
            "--ephemeral",
            "--bind-address=127.0.0.1",
            &port,
            "--feature-gates=A=true",
        ])
        .arg("--logging-format=json")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for said in ["--feature-gates", "cannot listen on"] {
        let says = |line: &serde_json::Value| line["msg"].as_str().unwrap().contains(said);
        assert!(lines.iter().any(says), "{text}");
    }
}
