//! What a KubeletConfiguration says and what comes of it, on nodes of their own; and what the machine tells the node.
use crate::shared::{FOREVER, IMAGE, node};
use orlop_e2e::{Node, NodeOptions, eventually};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Programs that stand between this node's containerd and its containers.
fn shims(node: &Node) -> Vec<String> {
    let root = node.root().display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    let of_node = lines.filter(|line| line.contains("containerd-shim") && line.contains(&root));
    of_node
        .filter_map(|line| {
            let program = line.split(' ').next().map(PathBuf::from)?;
            Some(program.file_name()?.to_string_lossy().into_owned())
        })
        .collect()
}

fn pod(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "hostNetwork": true, "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
        "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", FOREVER]}]}})
    .to_string()
}

fn start(configuration: &str) -> Node {
    let node = Node::start(NodeOptions {
        kubelet_configuration: configuration.to_owned(),
        ..NodeOptions::default()
    });
    node.kubectl
        .ok("wait --for=create --timeout=60s serviceaccount/default");
    node
}

/// Pods get orlop's small shim; a node that was told otherwise gives new ones containerd's, and those that run keep theirs.
#[test]
fn pods_get_the_small_shim_unless_the_configuration_says_otherwise() {
    let mut node = start("");
    node.kubectl.feed("apply", &pod("small"));
    node.kubectl
        .ok("wait --for=condition=Ready --timeout=60s pod/small");
    assert_eq!(shims(&node), ["containerd-shim-orlop-v2"]);
    node.kill();
    let config = node.root().join("kubelet.yaml");
    let text = std::fs::read_to_string(&config).unwrap() + "orlop.dev/shim: containerd\n";
    std::fs::write(config, text).unwrap();
    node.launch();
    node.wait_ready();
    node.kubectl.feed("apply", &pod("large"));
    node.kubectl
        .ok("wait --for=condition=Ready --timeout=60s pod/large");
    let mut both = shims(&node);
    both.sort();
    assert_eq!(both, ["containerd-shim-orlop-v2", "containerd-shim-runc-v2"]);
    assert_eq!(
        node.kubectl
            .field("pod small", "/status/containerStatuses/0/restartCount"),
        "0"
    );
    for name in ["small", "large"] {
        assert_eq!(
            node.kubectl.ok(&format!("exec {name} -- echo heard")).trim(),
            "heard"
        );
    }
}

/// A binary without the shim beside it says so once, and its pods run all the same.
#[test]
fn node_without_the_small_shim_runs_its_pods_on_containerds() {
    let mut node = Node::prepare(NodeOptions::default());
    let alone = node.root().join("alone/orlop");
    std::fs::create_dir_all(alone.parent().unwrap()).unwrap();
    std::fs::copy(orlop_e2e::orlop(), &alone).unwrap();
    node.set_program(&alone);
    node.launch();
    node.wait_ready();
    node.kubectl
        .ok("wait --for=create --timeout=60s serviceaccount/default");
    node.kubectl.feed("apply", &pod("any"));
    node.kubectl
        .ok("wait --for=condition=Ready --timeout=60s pod/any");
    assert_eq!(shims(&node), ["containerd-shim-runc-v2"]);
    let log = node.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("shim")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("containerd-shim-orlop-v2 is not used (it is not there)"),
        "{}",
        lines[0]
    );
}

/// `streamingConnectionIdleTimeout`: a stream in which nothing is said ends; one in which something is goes on.
#[test]
fn silent_streams_end_after_the_configured_time() {
    let node = start("streamingConnectionIdleTimeout: 3s\n");
    node.kubectl.feed("apply", &pod("streams"));
    node.kubectl
        .ok("wait --for=condition=Ready --timeout=60s pod/streams");
    let began = Instant::now();
    let silent = node.kubectl.run("exec streams -- sleep 60");
    let took = began.elapsed();
    assert!(!silent.status.success());
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(30),
        "{took:?}"
    );
    let mut talking = node.kubectl.command("exec streams -- sh -c");
    let said = talking
        .arg("for i in 1 2 3 4 5 6 7; do echo $i; sleep 1; done")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.ends_with("7\n"), "{text}");
}

/// Where the machine's memory cgroups are, and the file that limits one.
fn memory_cgroups() -> (&'static Path, &'static str) {
    let unified = Path::new("/sys/fs/cgroup");
    match unified.join("cgroup.controllers").exists() {
        true => (unified, "memory.max"),
        false => (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    }
}

/// What the kernel kills outside of pods is told on the Node.
#[test]
fn process_that_the_kernel_kills_outside_of_pods_is_told_on_the_node() {
    if std::fs::File::open("/dev/kmsg").is_err() {
        return eprintln!("skipped: the kernel's log cannot be read here");
    }
    let node = node();
    let (root, limit) = memory_cgroups();
    let cgroup = root.join(format!("{}-oom", node.name));
    std::fs::create_dir(&cgroup).unwrap();
    std::fs::write(cgroup.join(limit), "16777216").unwrap();
    let script = format!(
        "echo $$ > {}/cgroup.procs; x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo survived",
        cgroup.display()
    );
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let told = || {
        let field = "involvedObject.kind=Node,reason=SystemOOM";
        node.kubectl.ok(&format!("get events --field-selector {field}"))
    };
    let events = eventually("the event", || {
        let events = told();
        events
            .contains("System OOM encountered, victim process: ")
            .then(|| events.clone())
            .ok_or(events)
    });
    println!("{events}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("survived"));
    eventually("the cgroup is empty", || {
        std::fs::remove_dir(&cgroup).map_err(|error| error.to_string())
    });
}
