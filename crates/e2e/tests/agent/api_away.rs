//! An API server that isn't there at first, goes, and comes back.
use crate::pods::{container, pod, wait_running, wait_stopped, write};
use orlop_e2e::{Node, NodeOptions, Part, eventually};
use serde_json::json;
use std::path::{Path, PathBuf};

fn kubelet_with_server() -> (Node, String) {
    let mut node = Node::lone(NodeOptions::default());
    let kubeconfig = node.root().join("etc/kubernetes/kubelet.conf");
    node.point_at(&kubeconfig);
    let words = format!(
        "--root={} --bind-address=127.0.0.1 --secure-port={}",
        node.root().display(),
        node.api_port
    );
    (node, words)
}

/// The mirror of a static pod shows this container.
fn wait_mirror(node: &Node, name: &str, container_name: &str) {
    let mirror = format!("{name}-{}", node.name);
    eventually(&format!("a mirror of {name} with {container_name}"), || {
        let output = node.kubectl.run(&format!(
            "get pod {mirror} -o jsonpath={{.status.phase}}/{{.spec.containers[0].name}}"
        ));
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        (shown == format!("Running/{container_name}"))
            .then_some(())
            .ok_or_else(|| shown + &String::from_utf8_lossy(&output.stderr))
    });
}

/// A37 and A41: static pods run without an API server and get their mirrors when it comes up; while it is away manifests
/// are followed; when it is back the mirrors are those of the manifests, and no container was restarted for it.
#[test]
fn a37_a41_static_pods_run_without_an_api_server_and_mirrors_follow_when_it_is_back() {
    let (mut node, words) = kubelet_with_server();
    node.launch();
    write(&node, &pod("early", container("c")));
    let early = wait_running(&node, "early", "c");

    let server = Part::start(node.root(), "apiserver", &words);
    wait_mirror(&node, "early", "c");
    node.kubectl.ok(&format!(
        "wait --for=condition=Ready --timeout=60s node/{}",
        node.name
    ));
    write(&node, &pod("edited", container("old")));
    wait_mirror(&node, "edited", "old");
    write(&node, &pod("removed", container("c")));
    wait_mirror(&node, "removed", "c");

    drop(server);
    write(&node, &pod("edited", container("new")));
    let edited = wait_running(&node, "edited", "new");
    std::fs::remove_file(node.manifest("removed.yaml")).unwrap();
    wait_stopped(&node, "removed");
    write(&node, &pod("late", container("c")));
    wait_running(&node, "late", "c");
    // An agent that starts while it is away takes over what runs.
    node.kill();
    node.launch();
    node.wait_healthy();

    let _server = Part::start(node.root(), "apiserver", &words);
    wait_mirror(&node, "edited", "new");
    wait_mirror(&node, "late", "c");
    eventually("the mirror of what was removed goes", || {
        let pods = node.kubectl.ok("get pods -o name");
        (!pods.contains("removed")).then_some(()).ok_or(pods)
    });
    assert_eq!(wait_running(&node, "early", "c"), early);
    assert_eq!(wait_running(&node, "edited", "new"), edited);
}

fn entries(node: &Node, directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(node.root().join(directory))
        .into_iter()
        .flatten();
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Directories of the pod's cgroup, in whichever hierarchies there are.
fn cgroups(node: &Node, uid: &str) -> Vec<PathBuf> {
    let mount_point = Path::new("/sys/fs/cgroup");
    let below = format!("{}/kubepods", node.name);
    let hierarchies = std::fs::read_dir(mount_point).unwrap().flatten();
    let mut places: Vec<PathBuf> = hierarchies.map(|entry| entry.path().join(&below)).collect();
    places.push(mount_point.join(&below));
    let of_classes = places
        .iter()
        .flat_map(|place| ["", "besteffort", "burstable"].map(|class| place.join(class)));
    of_classes
        .map(|class| class.join(format!("pod{uid}")))
        .filter(|cgroup| cgroup.exists())
        .collect()
}

/// P25 and A26: of what happened while the agent was away nothing is missed: a pod that was deleted by force is stopped
/// and all of it goes; one that was terminal and being deleted is removed from the API.
#[test]
fn p25_a26_deletions_while_the_agent_is_down_are_carried_out_when_it_is_back() {
    let (mut node, words) = kubelet_with_server();
    let _server = Part::start(node.root(), "apiserver", &words);
    node.launch();
    node.kubectl.patiently(&format!(
        "wait --for=condition=Ready --timeout=30s node/{}",
        node.name
    ));
    node.kubectl.run("create serviceaccount default");
    let bound = |name: &str| {
        let mut pod = pod(name, container("c"));
        pod["spec"]["nodeName"] = json!(node.name);
        pod["spec"]["automountServiceAccountToken"] = json!(false);
        pod["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {"medium": "Memory"}}]);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        pod
    };
    let forced = bound("forced").to_string();
    let terminal = bound("terminal").to_string();
    node.kubectl.feed("create", &forced);
    node.kubectl
        .ok("wait --for=condition=Ready --timeout=60s pod/forced");
    let uid = node.kubectl.field("pod forced", "/metadata/uid");
    assert!(!cgroups(&node, &uid).is_empty());
    node.kill();
    node.kubectl.ok("delete pod forced --force --grace-period=0");
    node.kubectl.feed("create", &terminal);
    node.kubectl
        .ok(r#"patch pod terminal --subresource=status --type=merge -p={"status":{"phase":"Failed"}}"#);
    node.kubectl.ok("delete pod terminal --wait=false");
    assert_eq!(node.running().len(), 1);
    node.launch();
    node.kubectl.ok("wait --for=delete --timeout=60s pod/terminal");
    eventually("nothing is left of the pod", || {
        let left = (
            node.running(),
            node.sandboxes(),
            entries(&node, "var/lib/kubelet/pods"),
            cgroups(&node, &uid),
        );
        let is_gone = left.0.is_empty() && left.1.is_empty() && left.2.is_empty() && left.3.is_empty();
        is_gone.then_some(()).ok_or_else(|| format!("{left:#?}"))
    });
}
