use crate::node::{self, Node, processes_with};
use orlop_cri::images::Importer;
use orlop_cri::{RuntimeService, remove_lost_sandboxes, v1};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// What a killed agent leaves: a sandbox, its process and its shim, which CRI never came to know.
fn leave_half_made(node: &Node, id: &str) {
    let socket = node.remote().endpoint().socket().display().to_string();
    let output = Command::new("ctr")
        .args(["--address", &socket, "--namespace", "k8s.io", "run", "--detach"])
        .args([
            "--label",
            "io.cri-containerd.kind=sandbox",
            "--label",
            "io.kubernetes.pod.uid=u",
        ])
        .args(["--cgroup", &format!("{}/{id}", node.cgroup)])
        .args([node::BUSYBOX, id, "sleep", "1000"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_left_half_made_goes_with_its_shim_and_others_stay() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    Importer::new(node.remote())
        .unwrap()
        .ensure_sandbox_image()
        .await
        .unwrap();
    leave_half_made(&node, "half-made");
    let shims = |id: &str| processes_with(&format!("-id {id} ")).len();
    assert_eq!(shims("half-made"), 1);
    let (sandbox, container) = node.run("whole", true, "sleep 1000").await;

    // It may still be on its way: it was made after this moment.
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    assert_eq!(
        remove_lost_sandboxes(node.remote(), long_ago, None)
            .await
            .unwrap(),
        0
    );
    assert_eq!(shims("half-made"), 1);

    let later = SystemTime::now() + Duration::from_secs(2);
    assert_eq!(
        remove_lost_sandboxes(node.remote(), later, None).await.unwrap(),
        1
    );
    assert_eq!(shims("half-made"), 0, "its shim is gone");
    assert_eq!(
        remove_lost_sandboxes(node.remote(), later, None).await.unwrap(),
        0
    );
    let running = v1::ContainerState::ContainerRunning as i32;
    assert_eq!(node.state(&container).await.state, running);
    let sandboxes = node.remote().list_pod_sandboxes(None).await.unwrap();
    assert_eq!(
        sandboxes.iter().map(|one| &one.id).collect::<Vec<_>>(),
        [&sandbox]
    );
    node.finish().await;
}
