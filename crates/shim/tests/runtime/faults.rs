//! containerd is killed; the shim is killed.

use crate::node::{self, Node};
use crate::tasks::{shims, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_cri::containerd::Managed;
use orlop_cri::{RuntimeService, v1};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_a_killed_containerd_with_their_output_and_their_end() {
    if !node::is_possible() {
        return;
    }
    let mut node = Node::start().await;
    node.import_busybox().await;
    let (_, id) = node
        .run(
            "survivor",
            true,
            "n=0; while [ ! -e /stop ]; do n=$((n+1)); echo line $n; sleep 0.05; done; echo last; exit 7",
        )
        .await;
    // One that ends while nobody looks.
    let (_, brief) = node
        .run(
            "brief",
            true,
            "while [ ! -e /stop ]; do sleep 0.05; done; echo unheard; exit 8",
        )
        .await;
    until("output", async || node.log("survivor").contains("line 3")).await;
    let config = node.managed.config().clone();
    let pid_of = |status: &str| -> i32 {
        let info: Vec<&str> = status.split("\"pid\":").collect();
        info[1]
            .trim_start()
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let status = node.remote().container_status(&brief, true).await.unwrap();
    let brief_pid = pid_of(&status.info["info"]);
    kill(Pid::from_raw(node.managed.pid()), Signal::SIGKILL).unwrap();
    std::fs::write(format!("/proc/{brief_pid}/root/stop"), "").unwrap();
    until("the container to end", async || {
        !std::path::Path::new(&format!("/proc/{brief_pid}")).exists()
    })
    .await;
    let lines = node.log("survivor").lines().count();
    node.managed = Managed::ensure(config).await.unwrap();

    let after = node.state(&id).await;
    assert_eq!(after.state, v1::ContainerState::ContainerRunning as i32);
    until("more output", async || {
        node.log("survivor").lines().count() > lines + 3
    })
    .await;
    let outcome = node
        .remote()
        .exec_sync(
            &id,
            ["touch", "/stop"].map(str::to_owned).to_vec(),
            Duration::from_secs(5),
        )
        .await
        .unwrap();
    assert_eq!(outcome.exit_code, 0);
    for (id, code) in [(&id, 7), (&brief, 8)] {
        until("the container's end", async || {
            node.state(id).await.state == v1::ContainerState::ContainerExited as i32
        })
        .await;
        assert_eq!(node.state(id).await.exit_code, code);
    }
    let log = node.log("survivor");
    assert!(log.contains("stdout F last"), "{log}");
    let numbers: Vec<u64> = log
        .lines()
        .filter_map(|line| line.rsplit_once("line ")?.1.parse().ok())
        .collect();
    // What containerd had read but not written when it was killed is lost; nothing comes twice or out of order.
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_shim_is_noticed_and_its_pod_cleared_away() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (sandbox, id) = node.run("orphan", true, "sleep 1000").await;
    let (_, other) = node.run("other", true, "sleep 1000").await;
    let killed = {
        let info = node.remote().pod_sandbox_status(&sandbox, false).await.unwrap();
        let id = info.status.unwrap().id;
        let of_sandbox = node::processes_with(&format!("-id {id}"));
        of_sandbox[0].0
    };
    assert_eq!(shims(&node).len(), 2);
    kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
    until("containerd to notice", async || {
        node.state(&id).await.state == v1::ContainerState::ContainerExited as i32
    })
    .await;
    // 137 says the delete call, 255 containerd when it can't ask.
    assert!([137, 255].contains(&node.state(&id).await.exit_code));
    assert_eq!(
        node.state(&other).await.state,
        v1::ContainerState::ContainerRunning as i32
    );
    until("its sandbox to be seen as not ready", async || {
        let status = node.remote().pod_sandbox_status(&sandbox, false).await.unwrap();
        status.status.unwrap().state == v1::PodSandboxState::SandboxNotready as i32
    })
    .await;
    // What the delete calls clear away: CRI doesn't wait for them.
    let bundles = node
        .managed
        .config()
        .state
        .join("io.containerd.runtime.v2.task/k8s.io");
    until("what is left of its containers to be gone", async || {
        std::fs::read_dir(&bundles).unwrap().count() == 2
    })
    .await;
    node.finish().await;
}

/// As when the agent is killed in between: containerd then deletes what it had asked for, which runc may be making still.
#[tokio::test(flavor = "multi_thread")]
async fn creation_that_was_given_up_leaves_no_process() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let sandbox = node.sandbox("given-up", true);
    let sandbox_id = node.remote().run_pod_sandbox(sandbox.clone(), "").await.unwrap();
    for milliseconds in (0..160).step_by(20) {
        let name = format!("after-{milliseconds}");
        let id = node
            .remote()
            .create_container(&sandbox_id, node.container(&name, "sleep 1000"), sandbox.clone())
            .await
            .unwrap();
        let patience = Duration::from_millis(milliseconds);
        let _ = tokio::time::timeout(patience, node.remote().start_container(&id)).await;
    }
    // A start that was given up may come to its end in between; an agent asks again then.
    until("the pod to be gone", async || {
        node.remote().stop_pod_sandbox(&sandbox_id).await.is_ok()
            && node.remote().remove_pod_sandbox(&sandbox_id).await.is_ok()
    })
    .await;
    until("the pod's processes to end", async || {
        node::processes_with("").iter().all(|(pid, _)| {
            let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            !cgroups.contains(&node.cgroup)
        })
    })
    .await;
    node.finish().await;
}
