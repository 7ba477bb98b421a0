//! One agent works in a directory, and no other.
use crate::pods::{container, pod, wait_running, write};
use orlop_e2e::{Node, NodeOptions};
use std::process::Output;

/// What was said by an agent that must not start.
fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it should have failed:\n{said}");
    said
}

/// One that starts in place of a killed one is not held up by it.
#[test]
fn second_agent_is_refused_and_the_first_goes_on_also_after_kill_9() {
    let mut node = Node::lone(NodeOptions::default());
    node.launch();
    node.wait_healthy();
    write(&node, &pod("steady", container("c")));
    let steady = wait_running(&node, "steady", "c");
    let place = node.root().join("var/lib/kubelet").display().to_string();
    for output in [
        node.command().output().unwrap(),
        node.orlop("up --bind-address=127.0.0.1"),
    ] {
        let said = refused(&output);
        assert!(
            said.contains("another node agent") && said.contains(&place),
            "{said}"
        );
    }
    assert!(node.is_alive(), "{}", node.log());
    for _ in 0..2 {
        node.kill();
        node.launch();
        node.wait_healthy();
    }
    assert_eq!(wait_running(&node, "steady", "c"), steady);
    write(&node, &pod("next", container("c")));
    wait_running(&node, "next", "c");
}
