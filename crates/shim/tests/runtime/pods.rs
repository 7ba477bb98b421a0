//! Pods from their start to their end.

use crate::containers::ended;
use crate::node::{self, Node};
use crate::tasks::{program, shims, until};
use orlop_cri::containerd::{ContainerdConfig, Managed, Shim};
use orlop_cri::{RuntimeService, v1};
use std::time::Duration;

const OURS: &str = "containerd-shim-orlop-v2";
const CONTAINERDS: &str = "containerd-shim-runc-v2";

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_reach_cri_and_all_containers_of_a_pod_have_one_shim() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (sandbox, first) = node.run("exit", true, "echo out; echo err >&2; exit 3").await;
    let config = node.sandbox("exit", true);
    let second = node
        .remote()
        .create_container(
            &sandbox,
            node.container("second", "kill -TERM $$; sleep 1000"),
            config,
        )
        .await
        .unwrap();
    node.remote().start_container(&second).await.unwrap();
    assert_eq!(ended(&node, &first).await.exit_code, 3);
    assert_eq!(ended(&node, &first).await.reason, "Error");
    assert_eq!(ended(&node, &second).await.exit_code, 143);
    let log = node.log("exit");
    assert!(log.contains("stdout F out"), "{log}");
    assert!(log.contains("stderr F err"), "{log}");

    let shims = shims(&node);
    assert_eq!(shims.len(), 1, "one shim for three containers");
    assert_eq!(program(shims[0]), OURS);
    let threads = std::fs::read_dir(format!("/proc/{}/task", shims[0]))
        .unwrap()
        .count();
    assert_eq!(threads, 1);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn container_that_cannot_start_says_why() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let sandbox = node.sandbox("nope", true);
    let sandbox_id = node.remote().run_pod_sandbox(sandbox.clone(), "").await.unwrap();
    let mut container = node.container("nope", "");
    container.command = vec!["/no/such/program".to_owned()];
    let id = node
        .remote()
        .create_container(&sandbox_id, container, sandbox)
        .await
        .unwrap();
    let error = node.remote().start_container(&id).await.unwrap_err().to_string();
    for words in [
        "OCI runtime create failed",
        "/no/such/program",
        "no such file or directory",
    ] {
        assert!(error.contains(words), "{words} is not in {error}");
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_pod_leaves_no_process_mount_or_socket() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    for round in 0..3 {
        let (sandbox, _) = node
            .run(&format!("gone-{round}"), true, "sleep 1000 & sleep 1000")
            .await;
        assert_eq!(shims(&node).len(), 1);
        node.remote().stop_pod_sandbox(&sandbox).await.unwrap();
        node.remote().remove_pod_sandbox(&sandbox).await.unwrap();
        until("the shim to end", async || shims(&node).is_empty()).await;
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let rootfs: Vec<&str> = mounts
        .lines()
        .filter(|line| line.contains(node.dir.path().to_str().unwrap()) && line.contains("rootfs"))
        .collect();
    assert!(rootfs.is_empty(), "{rootfs:#?}");
    let sockets = std::fs::read_dir(node.dir.path().join("run/orlop/s")).unwrap();
    assert_eq!(sockets.count(), 0);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filter_of_a_sandbox_is_for_its_own_architecture_and_that_of_a_container_for_all() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let profile = || {
        Some(v1::SecurityProfile {
            profile_type: v1::security_profile::ProfileType::RuntimeDefault as i32,
            ..v1::SecurityProfile::default()
        })
    };
    let mut sandbox = node.sandbox("filtered", true);
    let context = sandbox.linux.as_mut().unwrap().security_context.as_mut();
    context.unwrap().seccomp = profile();
    let sandbox_id = node.remote().run_pod_sandbox(sandbox.clone(), "").await.unwrap();
    let mut container = node.container("filtered", "sleep 1000");
    container.linux.as_mut().unwrap().security_context = Some(v1::LinuxContainerSecurityContext {
        seccomp: profile(),
        ..v1::LinuxContainerSecurityContext::default()
    });
    let id = node
        .remote()
        .create_container(&sandbox_id, container, sandbox)
        .await
        .unwrap();
    node.remote().start_container(&id).await.unwrap();
    let state = &node.managed.config().state;
    let bundles = state.join("io.containerd.runtime.v2.task/k8s.io");
    let architectures = |id: &str| {
        let text = std::fs::read(bundles.join(id).join("config.json")).unwrap();
        let spec: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let listed = spec.pointer("/linux/seccomp/architectures").unwrap();
        listed.as_array().unwrap().len()
    };
    assert_eq!(architectures(&sandbox_id), 1);
    assert!(architectures(&id) > 1);
    for id in [&sandbox_id, &id] {
        let pid = std::fs::read_to_string(bundles.join(id).join("init.pid")).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
    node.finish().await;
}

/// A node that gets this shim has pods of containerd's still.
#[tokio::test(flavor = "multi_thread")]
async fn pods_of_containerds_shim_live_on_when_ours_takes_over_and_the_other_way_round() {
    if !node::is_possible() {
        return;
    }
    let mut node = Node::start_with(|config| config.shim = Shim::Containerd).await;
    node.import_busybox().await;
    let (old_sandbox, old) = node.run("old", true, "sleep 1000").await;
    let before = node.state(&old).await;
    for (shim, expected, name) in [
        (node::shim(), OURS, "new"),
        (Shim::At("/no/such/shim".into()), CONTAINERDS, "newest"),
    ] {
        let config = ContainerdConfig {
            shim,
            ..ContainerdConfig::of_root(node.dir.path())
        };
        node.managed = Managed::ensure(config).await.unwrap();
        let already = shims(&node);
        let (_, id) = node.run(name, true, "sleep 1000").await;
        let added: Vec<i32> = shims(&node)
            .into_iter()
            .filter(|pid| !already.contains(pid))
            .collect();
        assert_eq!(added.len(), 1);
        assert_eq!(program(added[0]), expected);
        assert_eq!(node.state(&old).await.started_at, before.started_at);
        for id in [&old, &id] {
            let outcome = node
                .remote()
                .exec_sync(id, vec!["true".to_owned()], Duration::from_secs(5))
                .await
                .unwrap();
            assert_eq!(outcome.exit_code, 0);
        }
        // A container that joins the old pod.
        let joining = node
            .remote()
            .create_container(
                &old_sandbox,
                node.container(&format!("joins-{name}"), "exit 6"),
                node.sandbox("old", true),
            )
            .await
            .unwrap();
        node.remote().start_container(&joining).await.unwrap();
        assert_eq!(ended(&node, &joining).await.exit_code, 6);
    }
    node.finish().await;
}

/// runc is slow to start: what is done by files alone is done without it.
#[tokio::test(flavor = "multi_thread")]
async fn containers_start_and_end_without_a_call_of_runc() {
    if !node::is_possible() {
        return;
    }
    let node = Node::start().await;
    node.import_busybox().await;
    let (_, id) = node
        .run("plain", true, "trap 'exit 4' TERM; while :; do sleep 0.1; done")
        .await;
    let state = &node.managed.config().state;
    let bundle = state.join("io.containerd.runtime.v2.task/k8s.io").join(&id);
    let calls = Calls::of(&bundle);
    let resources = v1::LinuxContainerResources {
        cpu_shares: 512,
        ..v1::LinuxContainerResources::default()
    };
    node.remote()
        .update_container_resources(v1::UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(resources),
            ..v1::UpdateContainerResourcesRequest::default()
        })
        .await
        .unwrap();
    assert_eq!(calls.seen(), ["runc-2.log"], "the first was to make it");
    let cgroup = std::fs::read_to_string(bundle.join("init.pid")).unwrap();
    let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", cgroup.trim())).unwrap();
    assert!(cgroup.contains(&id), "{cgroup}");
    node.remote()
        .stop_container(&id, Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(ended(&node, &id).await.exit_code, 4);
    assert!(!bundle.exists(), "it is deleted");
    assert_eq!(calls.seen(), Vec::<String>::new());
    for line in cgroup.lines() {
        let path = line.rsplit(':').next().unwrap();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let left = hierarchy.path().join(path.trim_start_matches('/'));
            assert!(!path.contains(&id) || !left.exists(), "{}", left.display());
        }
    }
    node.finish().await;
}

/// The calls of runc for one container: each writes a log into its bundle.
struct Calls(std::os::fd::OwnedFd);

impl Calls {
    fn of(bundle: &std::path::Path) -> Self {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let calls = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        add_watch(&calls, bundle, WatchFlags::CREATE).unwrap();
        Self(calls)
    }

    /// Those since the last time.
    fn seen(&self) -> Vec<String> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = rustix::fs::inotify::Reader::new(&self.0, &mut buffer);
        let mut seen = Vec::new();
        while let Ok(event) = events.next() {
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            seen.extend(name.filter(|name| name.starts_with("runc-")));
        }
        seen
    }
}
