//! Log files of containers: how many there were, and the links log collectors follow.
use crate::runtime::sandbox::log_directory;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{name, namespace};
use std::collections::HashSet;
use std::path::Path;

/// Names of container log links are at most so long, as file names are.
const LINK_NAME_MAX: usize = 255;

/// One more than the highest log file of a container says; 0 without any.
pub fn next_log_number(pod_logs: &Path, pod: &Pod, container: &Container) -> u32 {
    let directory = log_directory(pod_logs, pod).join(&container.name);
    let Ok(files) = std::fs::read_dir(directory) else {
        return 0;
    };
    let number = |file: std::fs::DirEntry| {
        file.file_name()
            .to_str()?
            .split_once(".log")
            .and_then(|(number, _)| number.parse::<u32>().ok())
    };
    files
        .flatten()
        .filter_map(number)
        .max()
        .map_or(0, |highest| highest + 1)
}

/// `/var/log/containers/<pod>_<ns>_<container>-<id>.log`.
pub fn link_log(container_logs: &Path, pod: &Pod, container: &Container, id: &str, log: &Path) {
    let tail = format!("-{id}.log");
    let mut front = format!("{}_{}_{}", name(pod), namespace(pod), container.name);
    front.truncate(LINK_NAME_MAX.saturating_sub(tail.len()));
    let link = container_logs.join(front + &tail);
    let linked =
        std::fs::create_dir_all(container_logs).and_then(|()| std::os::unix::fs::symlink(log, &link));
    if let Err(error) = linked
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        tracing::warn!(link = %link.display(), %error, "cannot link the container's log");
    }
}

/// Removes links whose log is gone, and log directories of pods that nobody knows.
pub fn sweep(pod_logs: &Path, container_logs: &Path, known_uids: &HashSet<String>) {
    for directory in std::fs::read_dir(pod_logs).into_iter().flatten().flatten() {
        let file_name = directory.file_name();
        let uid = file_name
            .to_str()
            .and_then(|name| name.rsplit_once('_'))
            .map(|(_, uid)| uid);
        let Some(uid) = uid else { continue };
        if !known_uids.contains(uid)
            && let Err(error) = std::fs::remove_dir_all(directory.path())
        {
            tracing::warn!(directory = %directory.path().display(), %error, "cannot remove a gone pod's logs");
        }
    }
    for link in std::fs::read_dir(container_logs).into_iter().flatten().flatten() {
        let path = link.path();
        let dangling = path.is_symlink() && !path.exists();
        // Another agent on this machine may have its own links here: only what pointed to our logs is ours.
        let ours = std::fs::read_link(&path).is_ok_and(|target| target.starts_with(pod_logs));
        if dangling && ours {
            // Tried again at the next sweep.
            let _ = std::fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_logs_of_an_earlier_run_count_as_restarts_until_the_pod_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let object = serde_json::json!({"metadata": {"name": "p", "namespace": "d", "uid": "u1"}});
        let pod: Pod = serde_json::from_value(object).unwrap();
        let container = Container {
            name: "c".into(),
            ..Container::default()
        };
        assert_eq!(next_log_number(dir.path(), &pod, &container), 0);
        let logs = dir.path().join("d_p_u1/c");
        std::fs::create_dir_all(&logs).unwrap();
        std::fs::write(logs.join("0.log"), "").unwrap();
        std::fs::write(logs.join("2.log.20260101-000000.gz"), "").unwrap();
        assert_eq!(next_log_number(dir.path(), &pod, &container), 3);
        let links = dir.path().join("containers");
        link_log(&links, &pod, &container, "id", &logs.join("0.log"));
        assert!(links.join("p_d_c-id.log").exists());
        sweep(dir.path(), &links, &HashSet::from(["u1".to_owned()]));
        assert!(links.join("p_d_c-id.log").exists());
        sweep(dir.path(), &links, &HashSet::new());
        assert!(!logs.exists() && !links.join("p_d_c-id.log").is_symlink());
    }
}
