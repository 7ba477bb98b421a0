//! Reads what the runtime has of a pod.
use super::seen::{SeenContainer, SeenPod, SeenSandbox, annotations, at, labels};
use futures::future::try_join_all;
use orlop_cri::{CriError, RuntimeService, v1};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};

/// Bytes of a termination message that are kept, from its end.
const TERMINATION_MESSAGE_MAX: u64 = 4096;
/// What stands in for a message from the log: so many lines and bytes of its end.
const LOG_TAIL_LINES: usize = 80;
const LOG_TAIL_BYTES: u64 = 2048;

/// Reads one pod. `known` is the previous reading: running containers that still run aren't asked
/// about again.
pub async fn read_pod(runtime: &dyn RuntimeService, uid: &str, known: &SeenPod) -> Result<SeenPod, CriError> {
    let selector = HashMap::from([(labels::POD_UID.to_owned(), uid.to_owned())]);
    let sandbox_filter = v1::PodSandboxFilter {
        label_selector: selector.clone(),
        ..v1::PodSandboxFilter::default()
    };
    let filter = v1::ContainerFilter {
        label_selector: selector,
        ..v1::ContainerFilter::default()
    };
    let (sandboxes, containers) = tokio::try_join!(
        runtime.list_pod_sandboxes(Some(sandbox_filter)),
        runtime.list_containers(Some(filter))
    )?;
    assemble(runtime, sandboxes, containers, known, Known::MayGetAddresses).await
}

/// Reads all pods of the runtime, by pod UID. What has not changed since `known`, an earlier reading, isn't asked about
/// again: on a node where nothing happens these are two calls.
pub async fn read_all(
    runtime: &dyn RuntimeService,
    known: &HashMap<String, SeenPod>,
) -> Result<HashMap<String, SeenPod>, CriError> {
    let (sandboxes, containers) =
        tokio::try_join!(runtime.list_pod_sandboxes(None), runtime.list_containers(None))?;
    let uid_of = |labels: &HashMap<String, String>| labels.get(labels::POD_UID).cloned();
    let uids: HashSet<String> = sandboxes
        .iter()
        .filter_map(|s| uid_of(&s.labels))
        .chain(containers.iter().filter_map(|c| uid_of(&c.labels)))
        .collect();
    let mut pods = HashMap::new();
    for uid in uids {
        let mine = |labels: &HashMap<String, String>| labels.get(labels::POD_UID) == Some(&uid);
        let sandboxes = sandboxes.iter().filter(|s| mine(&s.labels)).cloned().collect();
        let containers = containers.iter().filter(|c| mine(&c.labels)).cloned().collect();
        let nothing = SeenPod::default();
        let known = known.get(&uid).unwrap_or(&nothing);
        let pod = assemble(runtime, sandboxes, containers, known, Known::IsWhole).await?;
        pods.insert(uid, pod);
    }
    Ok(pods)
}

/// What an earlier reading says of addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// A sandbox without one is asked for it again.
    MayGetAddresses,
    /// One that had none then is on the host's network.
    IsWhole,
}

async fn assemble(
    runtime: &dyn RuntimeService,
    sandboxes: Vec<v1::PodSandbox>,
    containers: Vec<v1::Container>,
    known: &SeenPod,
    addresses: Known,
) -> Result<SeenPod, CriError> {
    let containers = containers.into_iter().map(|container| async move {
        let running = container.state == v1::ContainerState::ContainerRunning as i32;
        let exited = container.state == v1::ContainerState::ContainerExited as i32;
        let is_same = |k: &&SeenContainer| {
            k.id == container.id && ((running && k.is_running()) || (exited && k.exit().is_some()))
        };
        if let Some(same) = known.containers.iter().find(is_same) {
            return Ok(Some(same.clone()));
        }
        read_container(runtime, &container.id, &container.pod_sandbox_id).await
    });
    let sandboxes = sandboxes.into_iter().map(|sandbox| async move {
        let ready = sandbox.state == v1::PodSandboxState::SandboxReady as i32;
        let mut seen = SeenSandbox {
            id: sandbox.id.clone(),
            attempt: sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
            ready,
            created_at: at(sandbox.created_at),
            ips: Vec::new(),
        };
        if !ready {
            return Ok(seen);
        }
        let is_same = |k: &&SeenSandbox| {
            k.id == sandbox.id && k.ready && (addresses == Known::IsWhole || !k.ips.is_empty())
        };
        if let Some(same) = known.sandboxes.iter().find(is_same) {
            return Ok(same.clone());
        }
        seen.ips = sandbox_ips(runtime, &sandbox.id).await?;
        Ok::<_, CriError>(seen)
    });
    let (containers, sandboxes) = tokio::try_join!(try_join_all(containers), try_join_all(sandboxes))?;
    let mut pod = SeenPod {
        sandboxes,
        containers: containers.into_iter().flatten().collect(),
    };
    pod.sort();
    Ok(pod)
}

/// One container; `None` if it is gone.
pub async fn read_container(
    runtime: &dyn RuntimeService,
    id: &str,
    sandbox_id: &str,
) -> Result<Option<SeenContainer>, CriError> {
    let status = match runtime.container_status(id, false).await {
        Ok(answer) => answer.status.unwrap_or_default(),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut seen = SeenContainer::from_status(&status, sandbox_id);
    if let super::seen::SeenState::Exited(exit) = &mut seen.state
        && let Some(text) = termination_message(&status)
    {
        exit.message = if exit.message.is_empty() {
            text
        } else {
            format!("{}: {text}", exit.message)
        };
    }
    Ok(Some(seen))
}

/// The addresses of a sandbox.
pub async fn sandbox_ips(runtime: &dyn RuntimeService, id: &str) -> Result<Vec<String>, CriError> {
    let status = match runtime.pod_sandbox_status(id, false).await {
        Ok(answer) => answer.status.unwrap_or_default(),
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let network = status.network.unwrap_or_default();
    let first = Some(network.ip).filter(|ip| !ip.is_empty());
    Ok(first
        .into_iter()
        .chain(network.additional_ips.into_iter().map(|ip| ip.ip))
        .collect())
}

/// What an ended container left as its last words.
fn termination_message(status: &v1::ContainerStatus) -> Option<String> {
    let path = status.annotations.get(annotations::TERMINATION_MESSAGE_PATH)?;
    let mount = status.mounts.iter().find(|mount| mount.container_path == *path)?;
    let text = tail_of(&mount.host_path, TERMINATION_MESSAGE_MAX).unwrap_or_default();
    if !text.is_empty() {
        return Some(text);
    }
    let from_log = status
        .annotations
        .get(annotations::TERMINATION_MESSAGE_POLICY)
        .map(String::as_str)
        == Some("FallbackToLogsOnError");
    if !from_log || status.exit_code == 0 || status.reason == "ContainerCannotRun" {
        return None;
    }
    let log = tail_of(&status.log_path, LOG_TAIL_BYTES * 2)?;
    let lines: Vec<&str> = log
        .lines()
        .filter_map(|line| line.splitn(4, ' ').nth(3))
        .collect();
    let kept = lines.len().saturating_sub(LOG_TAIL_LINES);
    let text = lines[kept..].join("\n");
    let cut = text.len().saturating_sub(LOG_TAIL_BYTES as usize);
    let cut = (cut..text.len())
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(text.len());
    Some(text[cut..].to_owned()).filter(|text| !text.is_empty())
}

fn tail_of(path: &str, bytes: u64) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes))).ok()?;
    let mut content = Vec::new();
    file.take(bytes).read_to_end(&mut content).ok()?;
    Some(String::from_utf8_lossy(&content).into_owned())
}
