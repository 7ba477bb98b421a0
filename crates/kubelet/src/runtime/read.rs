//! Reads what the runtime has of a pod.
use super::seen::{SeenContainer, SeenPod, SeenSandbox, annotations, at, labels};
use futures::future::try_join_all;
use orlop_cri::{CriError, RuntimeService, v1};
use rustix::fs::{Mode, OFlags};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Bytes of a termination message that are kept, from its end.
const TERMINATION_MESSAGE_MAX: u64 = 4096;
/// What stands in for a message from the log: so many lines and bytes of its end.
const LOG_TAIL_LINES: usize = 80;
const LOG_TAIL_BYTES: u64 = 2048;
/// What stands before the text in a line of the log: time, stream and mark.
const LOG_LINE_HEAD_MAX: u64 = 64;

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
    let (text, _) = tail_of(&mount.host_path, TERMINATION_MESSAGE_MAX).unwrap_or_default();
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
    let heads = LOG_LINE_HEAD_MAX * LOG_TAIL_LINES as u64;
    let (log, is_whole) = tail_of(&status.log_path, LOG_TAIL_BYTES + heads)?;
    let lines: Vec<&str> = log
        .lines()
        // The first one may be the rest of a line.
        .skip(usize::from(!is_whole))
        .filter_map(|line| line.splitn(4, ' ').nth(3))
        .collect();
    // Of one line that is longer than all that was read, the end is better than nothing.
    let lines = match lines.is_empty() && !is_whole {
        true => log.lines().last().into_iter().collect(),
        false => lines,
    };
    let kept = lines.len().saturating_sub(LOG_TAIL_LINES);
    let text = lines[kept..].join("\n");
    let cut = text.len().saturating_sub(LOG_TAIL_BYTES as usize);
    let cut = (cut..text.len())
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(text.len());
    Some(text[cut..].to_owned()).filter(|text| !text.is_empty())
}

/// The end of a file, and whether that is all of it. The pod may have put something else under the path: a pipe would be
/// waited for.
fn tail_of(path: &str, bytes: u64) -> Option<(String, bool)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let start = metadata.len().saturating_sub(bytes);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut content = Vec::new();
    file.take(bytes).read_to_end(&mut content).ok()?;
    Some((String::from_utf8_lossy(&content).into_owned(), start == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container's end: what it wrote as its last words, and its log.
    fn told(words: &str, log: &str, policy: &str, exit_code: i32) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let (file, log_path) = (dir.path().join("words"), dir.path().join("0.log"));
        std::fs::write(&file, words).unwrap();
        std::fs::write(&log_path, log).unwrap();
        let notes = [
            (annotations::TERMINATION_MESSAGE_PATH, "/dev/termination-log"),
            (annotations::TERMINATION_MESSAGE_POLICY, policy),
        ];
        termination_message(&v1::ContainerStatus {
            exit_code,
            log_path: log_path.display().to_string(),
            annotations: notes
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            mounts: vec![v1::Mount {
                container_path: "/dev/termination-log".into(),
                host_path: file.display().to_string(),
                ..v1::Mount::default()
            }],
            ..v1::ContainerStatus::default()
        })
    }

    #[test]
    fn t08_last_words_are_the_files_or_where_it_is_asked_for_the_end_of_the_log() {
        let log = "2026-01-01T00:00:00.0Z stdout F one\n2026-01-01T00:00:00.1Z stderr F two words\n";
        let fallback = "FallbackToLogsOnError";
        assert_eq!(told("DONE", log, "File", 0).as_deref(), Some("DONE"));
        assert_eq!(told("DONE", log, fallback, 1).as_deref(), Some("DONE"));
        assert_eq!(told("", log, fallback, 1).as_deref(), Some("one\ntwo words"));
        assert_eq!(told("", log, fallback, 0), None, "it ended well and said nothing");
        assert_eq!(told("", log, "File", 1), None);
        let long = "x".repeat(5000);
        assert_eq!(told(&long, "", "File", 1).map(|text| text.len()), Some(4096));
        let lines = (0..200)
            .map(|n| format!("2026-01-01T00:00:00.0Z stdout F line {n}\n"))
            .collect::<String>();
        let tail = told("", &lines, fallback, 1).unwrap();
        assert!(
            tail.ends_with("line 199") && tail.lines().count() == 80 && tail.len() <= 2048,
            "{tail}"
        );
        let long = format!("2026-01-01T00:00:00.0Z stdout F {}\n", "a b c d ".repeat(2000));
        let last = "2026-01-01T00:00:00.1Z stderr F the end\n";
        let tail = told("", &(long + last), fallback, 1);
        assert_eq!(
            tail.as_deref(),
            Some("the end"),
            "no part of a line is taken for one"
        );
    }

    #[test]
    fn a_pipe_in_place_of_the_last_words_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(tail_of(pipe.to_str().unwrap(), 10), None);
        assert_eq!(tail_of(dir.path().to_str().unwrap(), 10), None);
    }
}
