//! Log files of containers: how many there were, and the links log collectors follow.
use crate::config::DeadContainers;
use crate::runtime::sandbox::log_directory;
use crate::whole::gone;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{name, namespace};
use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names of container log links are at most so long, as file names are.
const LINK_NAME_MAX: usize = 255;

/// One more than the highest log file of a container says; 0 without any.
pub fn next_log_number(pod_logs: &Path, pod: &Pod, container: &Container) -> u32 {
    let directory = log_directory(pod_logs, pod).join(&container.name);
    let Ok(files) = std::fs::read_dir(directory) else {
        return 0;
    };
    let runs = files.flatten().filter_map(|file| run_of(&file));
    runs.max().map_or(0, |highest| highest.saturating_add(1))
}

/// Which run of its container a log is of: `3.log`, and what was rotated out of it.
fn run_of(file: &DirEntry) -> Option<u32> {
    let name = file.file_name();
    let (number, _) = name.to_str()?.split_once(".log")?;
    number.parse().ok()
}

/// Removes logs of runs that nobody asks for any more: all but the last two of each container, the current one and the one
/// that `kubectl logs --previous` shows, or as many as more is kept of ended containers. Those of a container that dies again
/// and again would fill the disk.
pub fn prune(pod_logs: &Path, kept: &DeadContainers) {
    let below = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    let pods = below(pod_logs.to_owned());
    for container in pods.flat_map(|pod| below(pod.path())) {
        let logs = below(container.path()).filter_map(|file| Some((run_of(&file)?, file.path())));
        let logs: Vec<(u32, PathBuf)> = logs.collect();
        let runs: BTreeSet<u32> = logs.iter().map(|(run, _)| *run).collect();
        let Some(first) = runs.iter().nth_back(kept.runs() - 1) else {
            continue;
        };
        let is_old = |path: &Path| age(path).is_none_or(|age| age >= kept.age_min);
        for (_, path) in logs.iter().filter(|(run, path)| run < first && is_old(path)) {
            if let Err(error) = gone(std::fs::remove_file(path)) {
                tracing::warn!(log = %path.display(), %error, "cannot remove the log of an earlier run");
            }
        }
    }
}

/// How long ago a file was last written to.
fn age(path: &Path) -> Option<Duration> {
    let written = std::fs::metadata(path).ok()?.modified().ok()?;
    written.elapsed().ok()
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

/// Removes links whose log is gone, and log directories of pods that nobody knows: each is asked about when its turn comes,
/// since pods start meanwhile.
pub fn sweep(pod_logs: &Path, container_logs: &Path, is_known: impl Fn(&str) -> bool) {
    for directory in std::fs::read_dir(pod_logs).into_iter().flatten().flatten() {
        let file_name = directory.file_name();
        let uid = file_name
            .to_str()
            .and_then(|name| name.rsplit_once('_'))
            .map(|(_, uid)| uid);
        let Some(uid) = uid else { continue };
        if !is_known(uid)
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
    fn logs_stay_with_the_records_of_ended_containers_that_are_kept() {
        let hour = Duration::from_secs(3600);
        for (of_each, age_min, kept) in [
            (0, Duration::ZERO, 2),
            (3, Duration::ZERO, 4),
            (-1, Duration::ZERO, 6),
            (1, hour, 6),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let directory = dir.path().join("d_p_u1/c");
            std::fs::create_dir_all(&directory).unwrap();
            for run in 0..6 {
                std::fs::write(directory.join(format!("{run}.log")), "").unwrap();
            }
            prune(dir.path(), &DeadContainers::of_flags(of_each, -1, age_min));
            let left = std::fs::read_dir(&directory).unwrap().count();
            assert_eq!(left, kept, "{of_each} {age_min:?}");
            assert!(directory.join("5.log").exists());
        }
    }

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
        sweep(dir.path(), &links, |uid| uid == "u1");
        assert!(links.join("p_d_c-id.log").exists());
        sweep(dir.path(), &links, |_| false);
        assert!(!logs.exists() && !links.join("p_d_c-id.log").is_symlink());
    }

    #[test]
    fn g06_of_each_container_the_logs_of_the_last_two_runs_stay() {
        let dir = tempfile::tempdir().unwrap();
        let names = |container: &str| {
            let entries = std::fs::read_dir(dir.path().join("d_p_u1").join(container)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        for (container, files, kept) in [
            ("one", vec!["0.log"], vec!["0.log"]),
            (
                "many",
                vec![
                    "0.log",
                    "2.log",
                    "2.log.20260101-000000.gz",
                    "9.log",
                    "10.log",
                    "10.log.1",
                    "x.log",
                    "other",
                ],
                vec!["9.log", "10.log", "10.log.1", "x.log", "other"],
            ),
            ("none", vec![], vec![]),
        ] {
            let directory = dir.path().join("d_p_u1").join(container);
            std::fs::create_dir_all(&directory).unwrap();
            for file in files {
                std::fs::write(directory.join(file), "").unwrap();
            }
            prune(dir.path(), &DeadContainers::default());
            assert_eq!(names(container), kept.into_iter().map(str::to_owned).collect());
        }
        prune(Path::new("/nowhere"), &DeadContainers::default());
    }
}
