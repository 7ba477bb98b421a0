//! What happens to the machine: its runtime dies, its disk is full, its clock jumps.
use crate::pods::{container, pod, running, wait_again, wait_running, wait_stopped, write};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_e2e::{Node, NodeOptions, eventually};
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// The node's own containerd.
fn containerd_of(node: &Node) -> Pid {
    let config = node.root().join("var/lib/orlop/containerd.toml");
    let found = std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let is_it = words.first()?.ends_with(b"containerd")
            && words
                .iter()
                .any(|word| *word == config.as_os_str().as_encoded_bytes());
        is_it.then_some(id)
    });
    Pid::from_raw(found.expect("the node's containerd"))
}

/// A28 and N04, killed in place of stopped: the runtime comes back, the node is Ready, no container was restarted or
/// reported as terminated, and pods start as before; one that came meanwhile runs.
#[test]
fn a28_killed_containerd_comes_back_and_no_container_restarts() {
    let mut node = Node::prepare(NodeOptions::default());
    node.launch();
    node.wait_ready();
    for number in 0..3 {
        write(&node, &pod(&format!("steady{number}"), container("c")));
    }
    let ids: Vec<String> = (0..3)
        .map(|number| wait_running(&node, &format!("steady{number}"), "c"))
        .collect();
    node.kubectl
        .ok("wait --for=condition=Ready pod --all --timeout=60s");
    for round in 0..3 {
        kill(containerd_of(&node), Signal::SIGKILL).unwrap();
        let name = format!("during{round}");
        write(&node, &pod(&name, container("c")));
        wait_running(&node, &name, "c");
    }
    let now: Vec<String> = (0..3)
        .map(|number| wait_running(&node, &format!("steady{number}"), "c"))
        .collect();
    assert_eq!(ids, now);
    node.kubectl.ok(&format!(
        "wait --for=condition=Ready --timeout=60s node/{}",
        node.name
    ));
    let pods = node.kubectl.json("get pods");
    for pod in pods["items"].as_array().unwrap() {
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(status["restartCount"], 0, "{pod:#}");
        assert!(status["state"]["running"].is_object(), "{pod:#}");
        assert!(
            status["lastState"].as_object().is_none_or(|last| last.is_empty()),
            "{pod:#}"
        );
    }
    // What the runtime tells is still heard.
    std::fs::remove_file(node.manifest("steady0.yaml")).unwrap();
    wait_stopped(&node, "steady0");
    let again = running(
        "c",
        "test -e /dev/shm/again && exec sleep 1000; touch /dev/shm/again; exit 1",
    );
    write(&node, &pod("again", again));
    wait_again(&node, "again");
}

/// The agent's disk is full: pods that run go on, a new one waits and says why, and starts once there is space.
#[test]
fn full_disk_of_the_agent_stops_no_pod_and_new_ones_start_when_there_is_space() {
    let mut node = Node::prepare(NodeOptions::default());
    let kubelet = node.root().join("var/lib/kubelet");
    std::fs::create_dir_all(&kubelet).unwrap();
    mount(
        Some("tmpfs"),
        &kubelet,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=4m"),
    )
    .unwrap();
    node.launch();
    node.wait_ready();
    write(&node, &pod("steady", container("c")));
    let steady = wait_running(&node, "steady", "c");
    let ballast = kubelet.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    let mut block = vec![1_u8; 64 * 1024];
    while !block.is_empty() {
        while file.write_all(&block).is_ok() {}
        block.truncate(block.len() / 2);
    }
    // What is removed while it is open is still there.
    drop(file);

    write(&node, &pod("waiting", container("c")));
    let name = format!("waiting-{}", node.name);
    let why = eventually("it is said why the pod waits", || {
        let events = node
            .kubectl
            .ok(&format!("get events --field-selector involvedObject.name={name}"));
        events
            .contains("No space left on device")
            .then_some(events.clone())
            .ok_or(events)
    });
    assert!(why.contains("Warning"), "{why}");
    assert_eq!(node.running().len(), 1, "{:#?}", node.running());
    // It is stopped as ever, and another in its place waits.
    write(&node, &pod("stopped", container("c")));
    std::fs::remove_file(node.manifest("stopped.yaml")).unwrap();

    std::fs::remove_file(&ballast).unwrap();
    wait_running(&node, "waiting", "c");
    assert_eq!(wait_running(&node, "steady", "c"), steady);
}

/// The wall clock as the node's process sees it.
struct Clock(std::fs::File);

impl Clock {
    /// Has the node's process look at this clock from its start on.
    fn of(node: &mut Node) -> Self {
        let library = node.root().join("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/clock.c");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .arg(source)
            .output()
            .expect("cc, which building needs too");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let path = node.root().join("clock-offset");
        std::fs::write(&path, 0_i64.to_ne_bytes()).unwrap();
        node.set_environment("LD_PRELOAD", library.as_os_str());
        node.set_environment("CLOCK_OFFSET_FILE", path.as_os_str());
        Self(std::fs::File::options().write(true).open(path).unwrap())
    }

    fn jump_to(&self, offset_seconds: i64) {
        self.0.write_all_at(&offset_seconds.to_ne_bytes(), 0).unwrap();
    }
}

/// The clock jumps by two hours, forward and back: nothing restarts, probes and heartbeats go on, pods start, and one
/// that waits to be started again does not wait for the hours that are to come twice.
#[test]
fn jumps_of_the_clock_restart_nothing_and_hold_up_nothing() {
    let mut node = Node::prepare(NodeOptions::default());
    let clock = Clock::of(&mut node);
    node.launch();
    node.wait_ready();
    let mut steady = pod("steady", container("c"));
    for probe in ["livenessProbe", "readinessProbe"] {
        steady["spec"]["containers"][0][probe] =
            json!({"exec": {"command": ["true"]}, "periodSeconds": 1, "initialDelaySeconds": 1});
    }
    write(&node, &steady);
    let id = wait_running(&node, "steady", "c");
    node.kubectl.ok(&format!(
        "wait --for=condition=Ready --timeout=60s pod/steady-{}",
        node.name
    ));
    let lease = || {
        node.kubectl.field(
            &format!("lease -n kube-node-lease {}", node.name),
            "/spec/renewTime",
        )
    };
    for (offset, name) in [(7200, "forward"), (0, "back")] {
        let mut renewed = lease();
        clock.jump_to(offset);
        let mut new = pod(name, container("c"));
        new["spec"]["containers"][0]["readinessProbe"] =
            json!({"exec": {"command": ["true"]}, "periodSeconds": 1, "initialDelaySeconds": 2});
        write(&node, &new);
        wait_running(&node, name, "c");
        node.kubectl.ok(&format!(
            "wait --for=condition=Ready --timeout=60s pod/{name}-{}",
            node.name
        ));
        // Twice: one renewal may have been under way.
        for _ in 0..2 {
            renewed = eventually("the lease is renewed", || {
                let now = lease();
                (now != renewed).then_some(now.clone()).ok_or(now)
            });
        }
        assert_eq!(wait_running(&node, "steady", "c"), id, "after the jump {name}");
        let ready = "/status/containerStatuses/0/ready";
        assert_eq!(
            node.kubectl.field(&format!("pod steady-{}", node.name), ready),
            "true"
        );
    }
    // Its second end is waited for ten seconds; meanwhile the clock goes back.
    let dying = running("c", "exit 1");
    write(&node, &pod("dying", dying));
    let restarts = || -> u64 {
        let count = node.kubectl.field(
            &format!("pod dying-{}", node.name),
            "/status/containerStatuses/0/restartCount",
        );
        count.parse().unwrap_or(0)
    };
    eventually("it was started again once", || {
        (restarts() >= 1).then_some(()).ok_or_else(String::new)
    });
    clock.jump_to(-7200);
    let jumped = Instant::now();
    eventually("it is started again a second time", || {
        (restarts() >= 2)
            .then_some(())
            .ok_or_else(|| restarts().to_string())
    });
    assert!(
        jumped.elapsed() < Duration::from_secs(40),
        "{:?}",
        jumped.elapsed()
    );
}
