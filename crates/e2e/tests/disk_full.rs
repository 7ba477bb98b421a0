//! A full disk: writes fail with an error, reads go on, and what was acknowledged is still there.
#![allow(clippy::unwrap_used)]
use nix::mount::{MsFlags, mount};
use orlop_e2e::{Node, NodeOptions, eventually};
use std::io::Write;

#[test]
fn writes_fail_reads_go_on_and_nothing_is_lost() {
    let mut node = Node::prepare(NodeOptions::default());
    let store = node.root().join("var/lib/orlop/store");
    std::fs::create_dir_all(&store).unwrap();
    mount(
        Some("tmpfs"),
        &store,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=16m"),
    )
    .unwrap();
    node.launch();
    node.wait_ready();
    node.kubectl.ok("create configmap before --from-literal=a=b");

    // Whatever is left goes to somebody else.
    let ballast = store.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    let block = vec![1_u8; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    drop(file);

    let text = "x".repeat(100 * 1024);
    let refusal = eventually("a write that is refused", || {
        let name = format!("big-{}", moment());
        let output = node
            .kubectl
            .run(&format!("create configmap {name} --from-literal=a={text}"));
        if output.status.success() {
            return Err("it was accepted".to_owned());
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    });
    assert!(refusal.contains("disk") && refusal.contains("full"), "{refusal}");
    assert_eq!(
        node.kubectl.field("configmap/before", "/data/a"),
        "b",
        "reads go on"
    );

    std::fs::remove_file(&ballast).unwrap();
    eventually("a write once there is space", || {
        let output = node.kubectl.run("create configmap after --from-literal=a=c");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() || error.contains("already exists") {
            Ok(())
        } else {
            Err(error)
        }
    });
    // Nothing is lost over a kill and a restart either.
    node.kill();
    node.launch();
    node.wait_ready();
    assert_eq!(node.kubectl.field("configmap/before", "/data/a"), "b");
    assert_eq!(node.kubectl.field("configmap/after", "/data/a"), "c");
}

/// A name that no earlier try has used.
fn moment() -> String {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos()
        .to_string()
}
