//! Static pods with an order among them, to the end.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{Node, NodeOptions, eventually};

fn pod(node: &Node, name: &str, after: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, annotations: {{orlop.dev/after: "{after}"}}}}
spec:
  terminationGracePeriodSeconds: 10
  containers:
  - name: {name}
    image: orlop.local/busybox:debian
    command: [sh, -c, "echo {name} >> /out/begun; trap 'sleep 1; echo {name} >> /out/ended; exit' TERM; while :; do sleep 0.1; done"]
    volumeMounts: [{{name: out, mountPath: /out}}]
  volumes:
  - {{name: out, hostPath: {{path: {root}/out, type: DirectoryOrCreate}}}}
"#,
        root = node.root().display()
    )
}

#[test]
fn static_pods_start_in_order_and_end_in_its_reverse() {
    let node = Node::start(NodeOptions::default());
    let read = |file: &str| std::fs::read_to_string(node.root().join("out").join(file)).unwrap_or_default();
    node.write_manifest("a.yaml", &pod(&node, "manager", "server"));
    node.write_manifest("b.yaml", &pod(&node, "server", "db"));
    node.write_manifest("c.yaml", &pod(&node, "db", ""));
    eventually("all three", || match read("begun") {
        begun if begun.lines().count() == 3 => Ok(()),
        begun => Err(begun),
    });
    let down = node.orlop("down");
    assert!(down.status.success(), "{down:?}");
    assert_eq!(read("ended"), "manager\nserver\ndb\n");
}
