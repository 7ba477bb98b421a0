//! Sandboxes that containerd has and that its CRI half does not know: an agent that is killed while one is being made can
//! leave it there, process and address and all, and no CRI call can take it away.

use crate::images::{NAMESPACE, in_cri_namespace};
use crate::{CriError, Remote, RuntimeService};
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::RemoveSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Container, DeleteContainerRequest, DeleteTaskRequest, KillRequest, ListContainersRequest, WaitRequest,
};
use nix::mount::{MntFlags, umount2};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

/// How the CRI half marks the containers that are sandboxes.
const SANDBOXES: &str = r#"labels."io.cri-containerd.kind"==sandbox"#;
const SIGKILL: u32 = 9;
/// How long a killed process may take to be gone.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Removes sandboxes made before `before` that CRI does not list; how many. One that is being made is not listed either:
/// `before` has to lie so far back that whoever made it has long gone on or given up. `addresses` is where the network
/// notes whom it gave which address.
pub async fn remove_lost_sandboxes(
    remote: &Remote,
    before: SystemTime,
    addresses: Option<&Path>,
) -> Result<usize, CriError> {
    if remote.runtime_name() != "containerd" {
        return Ok(0);
    }
    let request = ListContainersRequest {
        filters: vec![SANDBOXES.to_owned()],
    };
    let mut containers = ContainersClient::new(remote.channel());
    let found = containers
        .list(in_cri_namespace(request, None))
        .await
        .map_err(|status| failed("Containers.List", status))?
        .into_inner()
        .containers;
    // Asked for afterwards: what was finished meanwhile is known by now.
    let known = remote.list_pod_sandboxes(None).await?;
    let known: HashSet<&str> = known.iter().map(|sandbox| sandbox.id.as_str()).collect();
    let mut removed = 0;
    for lost in found
        .iter()
        .filter(|container| is_lost(container, &known, before))
    {
        tracing::warn!(
            sandbox = lost.id,
            namespace = NAMESPACE,
            "removing a sandbox that was left half made"
        );
        remove(remote, lost, addresses).await?;
        removed += 1;
    }
    Ok(removed)
}

fn is_lost(container: &Container, known: &HashSet<&str>, before: SystemTime) -> bool {
    let made = container.created_at.as_ref().and_then(|at| {
        let seconds = u64::try_from(at.seconds).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    });
    !known.contains(container.id.as_str()) && made.is_some_and(|made| made < before)
}

async fn remove(remote: &Remote, lost: &Container, addresses: Option<&Path>) -> Result<(), CriError> {
    let container_id = lost.id.clone();
    let mut tasks = TasksClient::new(remote.channel());
    let kill = KillRequest {
        container_id: container_id.clone(),
        signal: SIGKILL,
        all: true,
        ..KillRequest::default()
    };
    let killed = tasks.kill(in_cri_namespace(kill, None)).await;
    if gone(killed.map(drop), "Tasks.Kill")? {
        let wait = WaitRequest {
            container_id: container_id.clone(),
            ..WaitRequest::default()
        };
        let ended = tokio::time::timeout(END_PATIENCE, tasks.wait(in_cri_namespace(wait, None)));
        if let Ok(ended) = ended.await {
            gone(ended.map(drop), "Tasks.Wait")?;
        }
    }
    let delete = DeleteTaskRequest {
        container_id: container_id.clone(),
    };
    let deleted = tasks.delete(in_cri_namespace(delete, None)).await;
    gone(deleted.map(drop), "Tasks.Delete")?;
    if let Some(network) = network_of(lost) {
        // Its interfaces go with it.
        let _ = umount2(&network, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_file(&network);
    }
    if let Some(addresses) = addresses {
        give_back(addresses, &lost.id);
    }
    let delete = DeleteContainerRequest { id: container_id };
    let mut containers = ContainersClient::new(remote.channel());
    let deleted = containers.delete(in_cri_namespace(delete, None)).await;
    gone(deleted.map(drop), "Containers.Delete")?;
    if lost.snapshot_key.is_empty() {
        return Ok(());
    }
    let snapshot = RemoveSnapshotRequest {
        snapshotter: lost.snapshotter.clone(),
        key: lost.snapshot_key.clone(),
    };
    let mut snapshots = SnapshotsClient::new(remote.channel());
    let removed = snapshots.remove(in_cri_namespace(snapshot, None)).await;
    gone(removed.map(drop), "Snapshots.Remove").map(drop)
}

/// Whether it was there; that it wasn't is no failure.
fn gone(outcome: Result<(), tonic::Status>, call: &'static str) -> Result<bool, CriError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
        Err(status) => Err(failed(call, status)),
    }
}

fn failed(call: &'static str, status: tonic::Status) -> CriError {
    CriError::new(call, status.code(), status.message())
}

/// The network namespace that was mounted for it.
fn network_of(container: &Container) -> Option<PathBuf> {
    let spec: serde_json::Value = serde_json::from_slice(&container.spec.as_ref()?.value).ok()?;
    let namespaces = spec["linux"]["namespaces"].as_array()?;
    let network = namespaces
        .iter()
        .find(|namespace| namespace["type"] == "network")?;
    let path = PathBuf::from(network["path"].as_str()?);
    // Of this process or another: nothing to unmount.
    (!path.starts_with("/proc")).then_some(path)
}

/// Strikes out an address: each is a file that begins with its holder.
fn give_back(addresses: &Path, id: &str) {
    let entries = std::fs::read_dir(addresses).into_iter().flatten().flatten();
    for file in entries.map(|entry| entry.path()) {
        let holder = std::fs::read_to_string(&file).unwrap_or_default();
        if holder.lines().next().map(str::trim) == Some(id) {
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_and_unknown_is_lost() {
        let container = |id: &str, seconds: i64| {
            let mut container = Container {
                id: id.to_owned(),
                ..Container::default()
            };
            container.created_at.get_or_insert_default().seconds = seconds;
            container
        };
        let known = HashSet::from(["known"]);
        let before = UNIX_EPOCH + Duration::from_secs(100);
        assert!(is_lost(&container("lost", 99), &known, before));
        assert!(!is_lost(&container("known", 99), &known, before));
        assert!(!is_lost(&container("being-made", 100), &known, before));
        let undated = Container::default();
        assert!(!is_lost(&undated, &known, before));
    }

    #[test]
    fn address_of_a_lost_sandbox_can_be_given_out_again() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("10.0.0.2"), "lost\r\neth0").unwrap();
        std::fs::write(dir.path().join("10.0.0.3"), "other\r\neth0").unwrap();
        std::fs::write(dir.path().join("last_reserved_ip.0"), "10.0.0.3").unwrap();
        give_back(dir.path(), "lost");
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["10.0.0.3", "last_reserved_ip.0"]);
    }

    #[test]
    fn network_namespace_is_read_from_the_specification() {
        let with = |path: &str| {
            let spec = serde_json::json!({"linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": path}]}});
            let mut container = Container::default();
            container.spec.get_or_insert_default().value = spec.to_string().into_bytes();
            network_of(&container)
        };
        assert_eq!(
            with("/var/run/netns/cni-1"),
            Some(PathBuf::from("/var/run/netns/cni-1"))
        );
        assert_eq!(with("/proc/1/ns/net"), None);
    }
}
