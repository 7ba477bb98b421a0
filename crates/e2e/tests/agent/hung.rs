//! What hangs: a mount, a probe, a container that doesn't end. Its pod alone suffers.
use crate::pods::{container, pod, running, wait_again, wait_running, wait_stopped, write};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use orlop_e2e::{Node, NodeOptions, eventually};
use serde_json::json;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file system whose server never answers; whoever looks into it waits until it is dropped.
struct HungMount {
    path: PathBuf,
    // The kernel ends what waits when it is closed.
    _device: File,
}

impl HungMount {
    fn at(path: &Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .expect("/dev/fuse, for a file system that hangs");
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        mount(
            Some("hung"),
            path,
            Some("fuse"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .unwrap();
        Self {
            path: path.to_owned(),
            _device: device,
        }
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// P26: a pod with a volume that can never be mounted goes within its grace plus a minute; until then, whatever hangs,
/// other pods start, are looked at and stop as ever, and the agent ends when it is told to.
#[test]
fn p26_hung_mount_holds_up_its_own_pod_only() {
    let mut node = Node::lone(NodeOptions::default());
    node.launch();
    let hung = HungMount::at(&node.root().join("hung"));
    // More than there are threads that the agent's work is done on.
    for number in 0..4 {
        let mut stuck = pod(&format!("stuck{number}"), container("c"));
        let (path, kind) = match number {
            0 | 1 => (hung.path.clone(), "Directory"),
            _ => (hung.path.join("below"), "DirectoryOrCreate"),
        };
        stuck["spec"]["volumes"] = json!([{"name": "v", "hostPath": {"path": path, "type": kind}}]);
        stuck["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        write(&node, &stuck);
    }
    let mut fine = pod("fine", container("c"));
    fine["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    write(&node, &fine);
    wait_running(&node, "fine", "c");
    node.wait_healthy();
    assert_eq!(node.running().len(), 1, "nothing runs of pods that lack a volume");
    std::fs::remove_file(node.manifest("fine.yaml")).unwrap();
    wait_stopped(&node, "fine");

    // One of the stuck ones goes: nothing is left of it.
    let removed = Instant::now();
    std::fs::remove_file(node.manifest("stuck0.yaml")).unwrap();
    let gone = format!("stuck0-{}\" namespace=\"default\"", node.name);
    eventually("the stuck pod is gone", || {
        let log = node.log();
        let is_gone = log
            .lines()
            .any(|line| line.contains("pod stopped") && line.contains(&format!("stuck0-{}", node.name)));
        is_gone.then_some(()).ok_or_else(|| gone.clone())
    });
    assert!(
        removed.elapsed() < Duration::from_secs(60),
        "{:?}",
        removed.elapsed()
    );

    // The mount heals into an error, then goes: the directory is there, and the others run.
    drop(hung);
    std::fs::create_dir_all(node.root().join("hung/below")).unwrap();
    wait_running(&node, "stuck1", "c");
    wait_running(&node, "stuck2", "c");

    let hung = HungMount::at(&node.root().join("hung"));
    let mut stuck = pod("again", container("c"));
    stuck["spec"]["volumes"] = json!([{"name": "v", "hostPath": {"path": hung.path, "type": "Directory"}}]);
    stuck["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    write(&node, &stuck);
    write(&node, &pod("last", container("c")));
    wait_running(&node, "last", "c");
    let told = Instant::now();
    nix::sys::signal::kill(node.pid(), nix::sys::signal::Signal::SIGTERM).unwrap();
    node.ended();
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}

/// R04 and T01: a probe that hangs fails by its timeout and restarts its container; a container that ignores its signal
/// is killed at the end of its grace; a bystander is restarted by neither and goes on being probed.
#[test]
fn r04_hung_probes_and_t01_ignored_signals_are_their_pods_own() {
    let mut node = Node::lone(NodeOptions::default());
    node.launch();
    let probe = |command: &[&str]| json!({"exec": {"command": command}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1});
    let mut bystander = pod("bystander", container("c"));
    bystander["spec"]["containers"][0]["livenessProbe"] = probe(&["true"]);
    write(&node, &bystander);
    for number in 0..3 {
        let name = format!("hung{number}");
        let mut hung = pod(&name, running("c", "trap '' TERM; while :; do sleep 0.1; done"));
        hung["spec"]["containers"][0]["livenessProbe"] = probe(&["sh", "-c", "trap '' TERM; sleep 1000"]);
        hung["spec"]["terminationGracePeriodSeconds"] = json!(3);
        write(&node, &hung);
    }
    let steady = wait_running(&node, "bystander", "c");
    for number in 0..3 {
        wait_again(&node, &format!("hung{number}"));
    }
    let removed = Instant::now();
    for number in 0..3 {
        std::fs::remove_file(node.manifest(&format!("hung{number}.yaml"))).unwrap();
    }
    for number in 0..3 {
        wait_stopped(&node, &format!("hung{number}"));
    }
    let took = removed.elapsed();
    assert!(took > Duration::from_secs(1), "the grace is given: {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(wait_running(&node, "bystander", "c"), steady);
}
