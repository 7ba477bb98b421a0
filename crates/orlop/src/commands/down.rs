//! `orlop down`: stop a node and its pods.
use super::listings::recorded_endpoint;
use crate::cli::DownArgs;
use crate::lock::NodeLock;
use crate::paths::Root;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::api::ObjectMeta;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_cri::containerd::ContainerdConfig;
use orlop_cri::{Endpoint, Remote, RuntimeService, v1};
use orlop_kubelet::cgroups;
use orlop_kubelet::sources::order;
use std::path::Path;
use std::time::Duration;

/// Grace of pods that have no say in it any more: the node is going.
const POD_GRACE: Duration = Duration::from_secs(10);
/// A runtime that doesn't answer has no pods that could be stopped.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(3);
/// How long orlop itself may take to end before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

pub async fn down(arguments: DownArgs) -> Result<()> {
    let root = Root::new(arguments.root.root.as_deref())?;
    stop_orlop(&root).await?;
    if arguments.keep_pods {
        return Ok(());
    }
    stop_pods(&root).await?;
    // Also one that was started by who came no further than that, and recorded nothing.
    stop_containerd(&root).await
}

/// Ends the pods of the runtime that the node under a root was last started on.
async fn stop_pods(root: &Root) -> Result<()> {
    let Some(endpoint) = recorded_endpoint(root)? else {
        println!("no node has been started under {}", root.as_path().display());
        return Ok(());
    };
    let endpoint = Endpoint::parse(&endpoint)?;
    if endpoint.socket().exists() {
        let runtime = Remote::connect_within(&endpoint, RUNTIME_PATIENCE).await?;
        stop_in_reverse_order(root, &runtime).await?;
        let stopped = orlop_cri::sweep::remove_all_pods(&runtime, POD_GRACE).await?;
        println!("{stopped} pods stopped");
    }
    orlop_kubelet::volumes::unmount_all(&root.kubelet())?;
    remove_cgroups(root);
    Ok(())
}

/// Takes the cgroups of pods away. Those in which something runs on stay.
fn remove_cgroups(root: &Root) {
    let Ok(cgroup_root) = std::fs::read_to_string(root.cgroup_root_file()) else {
        return;
    };
    if let Err(error) = cgroups::remove_all(cgroup_root.trim(), Path::new(cgroups::MOUNT_POINT)) {
        eprintln!("{error}");
    }
}

/// Ends static pods that others start after (`orlop.dev/after`) only when those have ended.
async fn stop_in_reverse_order(root: &Root, runtime: &Remote) -> Result<()> {
    let sandboxes = runtime.list_pod_sandboxes(None).await?;
    let sandboxes: Vec<v1::PodSandbox> = sandboxes
        .into_iter()
        .filter(|sandbox| sandbox.state() == v1::PodSandboxState::SandboxReady)
        .collect();
    if !sandboxes
        .iter()
        .any(|sandbox| sandbox.annotations.contains_key(order::AFTER))
    {
        return Ok(());
    }
    let user = orlop_client::kubeconfig::user_name(&root.kubeconfig("kubelet"))?.unwrap_or_default();
    let node_name = user.strip_prefix("system:node:").unwrap_or_default();
    let pods: Vec<Pod> = sandboxes
        .iter()
        .map(|sandbox| pod_of(sandbox, node_name))
        .collect();
    let mut waves = order::reverse_waves(&pods.iter().collect::<Vec<_>>());
    // The last ones end with everything else.
    waves.pop();
    for wave in waves {
        let ids: Vec<&str> = wave.iter().map(|index| sandboxes[*index].id.as_str()).collect();
        orlop_cri::sweep::stop_pods(runtime, &ids, POD_GRACE).await?;
    }
    Ok(())
}

/// A pod as far as its order goes.
fn pod_of(sandbox: &v1::PodSandbox, node_name: &str) -> Pod {
    let metadata = sandbox.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            name: Some(metadata.name),
            namespace: Some(metadata.namespace),
            annotations: Some(sandbox.annotations.clone().into_iter().collect()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            node_name: Some(node_name.to_owned()),
            ..PodSpec::default()
        }),
        status: None,
    }
}

/// Ends the orlop process that holds the root's lock and waits until it is gone.
async fn stop_orlop(root: &Root) -> Result<()> {
    let lock = root.pid_file();
    let Some(pid) = NodeLock::holder(&lock)?.filter(|pid| *pid > 0) else {
        return Ok(());
    };
    let pid = Pid::from_raw(pid);
    signal(pid, Signal::SIGTERM)?;
    let path = lock.clone();
    let released = tokio::task::spawn_blocking(move || NodeLock::wait_released(&path));
    match tokio::time::timeout(STOP_TIMEOUT, released).await {
        Ok(done) => done??,
        Err(_) => {
            eprintln!("orlop (pid {pid}) does not end: killing it");
            signal(pid, Signal::SIGKILL)?;
            tokio::task::spawn_blocking(move || NodeLock::wait_released(&lock)).await??;
        }
    }
    println!("orlop (pid {pid}) stopped");
    Ok(())
}

fn signal(pid: Pid, signal: Signal) -> Result<()> {
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("cannot stop orlop (pid {pid})")),
    }
}

/// Ends the managed containerd of the root, if it runs, and takes its bridge away.
async fn stop_containerd(root: &Root) -> Result<()> {
    let config = ContainerdConfig::of_root(root.as_path());
    if orlop_cri::containerd::stop(&config).await? {
        println!("containerd stopped");
    }
    if let Some(network) = &config.network {
        orlop_cri::cni::remove_bridge(network)?;
    }
    Ok(())
}
