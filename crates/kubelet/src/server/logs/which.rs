//! Which run of a container's log is meant, or why there is none (contract, node agent §22.2). Pure.
use http::StatusCode;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use orlop_api::pod::{name, namespace, uid};
use std::path::{Path, PathBuf};

/// Status and text of the answer.
pub type Refusal = (StatusCode, String);

/// The status of a container, init or ephemeral container.
pub fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let own = status.container_statuses.iter().flatten();
    let init = status.init_container_statuses.iter().flatten();
    let ephemeral = status.ephemeral_container_statuses.iter().flatten();
    own.chain(init)
        .chain(ephemeral)
        .find(|status| status.name == container)
}

/// This very run of the container runs now.
pub fn runs(pod: &Pod, container: &str, restarts: i32) -> bool {
    status_of(pod, container).is_some_and(|status| {
        status.restart_count == restarts && status.state.as_ref().is_some_and(|state| state.running.is_some())
    })
}

pub fn file(pod_logs: &Path, pod: &Pod, container: &str, restarts: i32) -> PathBuf {
    let directory = format!("{}_{}_{}", namespace(pod), name(pod), uid(pod));
    pod_logs
        .join(directory)
        .join(container)
        .join(format!("{restarts}.log"))
}

/// `container "c" in pod "p" …`, as a refusal.
pub fn refused(pod: &Pod, container: &str, what: &str) -> Refusal {
    (
        StatusCode::BAD_REQUEST,
        format!("container \"{container}\" in pod \"{}\" {what}", name(pod)),
    )
}

/// Whether a pod has a container, init or ephemeral container of that name.
pub fn has_container(pod: &Pod, container: &str) -> bool {
    pod.spec.as_ref().is_some_and(|spec| {
        let init = spec.init_containers.iter().flatten();
        let mut ephemeral = spec.ephemeral_containers.iter().flatten();
        spec.containers.iter().chain(init).any(|c| c.name == container)
            || ephemeral.any(|c| c.name == container)
    })
}

/// The restart count of the run whose log is wanted.
pub fn run(pod: &Pod, container: &str, previous: bool) -> Result<i32, Refusal> {
    if !has_container(pod, container) {
        let text = format!("container \"{container}\" not found in pod \"{}\"", name(pod));
        return Err((StatusCode::NOT_FOUND, text));
    }
    let refuse = |what: &str| Err(refused(pod, container, what));
    let Some(status) = status_of(pod, container) else {
        return refuse("is not available");
    };
    let state = status.state.clone().unwrap_or_default();
    let ended_before = ended_with_id(status.last_state.as_ref());
    if previous {
        // While it waits to run again, the last run is the one its status counts.
        let run = status.restart_count - i32::from(state.waiting.is_none());
        if ended_before != Some(true) || run < 0 {
            let name = name(pod);
            let text = format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
            return Err((StatusCode::BAD_REQUEST, text));
        }
        return Ok(run);
    }
    if state.running.is_some() {
        return Ok(status.restart_count);
    }
    match (ended_with_id(Some(&state)), ended_before) {
        (Some(true), _) => Ok(status.restart_count),
        // Nothing ran this time; the run before did.
        (Some(false), Some(true)) => Ok((status.restart_count - 1).max(0)),
        (None, Some(true)) => Ok(status.restart_count),
        (Some(false), _) | (None, Some(false)) => refuse("is terminated"),
        (None, None) => match state.waiting {
            Some(waiting) => refuse(&waits(waiting.reason.as_deref())),
            None => refuse("is not available"),
        },
    }
}

/// Whether the state is an end, and if so, of a container that is known.
fn ended_with_id(state: Option<&ContainerState>) -> Option<bool> {
    let ended = state?.terminated.as_ref()?;
    Some(ended.container_id.as_ref().is_some_and(|id| !id.is_empty()))
}

fn waits(reason: Option<&str>) -> String {
    let why = match reason.unwrap_or_default() {
        "ImagePullBackOff" => "trying and failing to pull image",
        "ErrImagePull" => "image can't be pulled",
        reason => reason,
    };
    format!("is waiting to start: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(restarts: i32, state: Value, last: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "shop", "uid": "u1"},
            "spec": {"containers": [{"name": "c"}, {"name": "new"}], "initContainers": [{"name": "i"}]},
            "status": {
                "containerStatuses": [{"name": "c", "restartCount": restarts, "state": state, "lastState": last,
                    "image": "", "imageID": "", "ready": false}],
                "initContainerStatuses": [{"name": "i", "restartCount": 4, "image": "", "imageID": "", "ready": true,
                    "state": {"terminated": {"exitCode": 0, "containerID": "containerd://i"}}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn n09_run_follows_the_restart_count() {
        let runs = || json!({"running": {}});
        let ended = || json!({"terminated": {"exitCode": 1, "containerID": "containerd://1"}});
        let lost = || json!({"terminated": {"exitCode": 137}});
        let waits = |reason: &str| json!({"waiting": {"reason": reason}});
        let none = || json!({});
        let bad = |what: &str| {
            Err((
                StatusCode::BAD_REQUEST,
                format!("container \"c\" in pod \"p\" {what}"),
            ))
        };
        let no_previous = Err((
            StatusCode::BAD_REQUEST,
            "previous terminated container \"c\" in pod \"p\" not found".to_owned(),
        ));
        let table = [
            ("running", 2, runs(), ended(), false, Ok(2)),
            ("running, previous", 2, runs(), ended(), true, Ok(1)),
            (
                "first run, previous",
                0,
                runs(),
                none(),
                true,
                no_previous.clone(),
            ),
            ("previous run lost", 1, runs(), lost(), true, no_previous),
            ("ended", 0, ended(), none(), false, Ok(0)),
            ("crash loop", 3, waits("CrashLoopBackOff"), ended(), false, Ok(3)),
            (
                "crash loop, previous",
                3,
                waits("CrashLoopBackOff"),
                ended(),
                true,
                Ok(3),
            ),
            (
                "creating",
                0,
                waits("ContainerCreating"),
                none(),
                false,
                bad("is waiting to start: ContainerCreating"),
            ),
            (
                "image back-off",
                0,
                waits("ImagePullBackOff"),
                none(),
                false,
                bad("is waiting to start: trying and failing to pull image"),
            ),
            (
                "image",
                0,
                waits("ErrImagePull"),
                none(),
                false,
                bad("is waiting to start: image can't be pulled"),
            ),
            ("ended without id", 0, lost(), none(), false, bad("is terminated")),
            (
                "lost, then waiting",
                1,
                waits("ContainerCreating"),
                lost(),
                false,
                bad("is terminated"),
            ),
            ("lost after a run", 2, lost(), ended(), false, Ok(1)),
            ("no state", 0, none(), none(), false, bad("is not available")),
        ];
        for (case, restarts, state, last, previous, expected) in table {
            assert_eq!(
                run(&pod(restarts, state, last), "c", previous),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn n09_unknown_unobserved_and_init_containers() {
        let pod = pod(0, json!({"running": {}}), json!({}));
        let (status, text) = run(&pod, "x", false).unwrap_err();
        assert_eq!(
            (status, &*text),
            (StatusCode::NOT_FOUND, "container \"x\" not found in pod \"p\"")
        );
        assert_eq!(
            run(&pod, "new", false).unwrap_err().1,
            "container \"new\" in pod \"p\" is not available"
        );
        assert_eq!(run(&pod, "i", false), Ok(4));
    }

    #[test]
    fn p01_file_is_named_by_pod_container_and_run() {
        let pod = pod(0, json!({"running": {}}), json!({}));
        assert_eq!(
            file(Path::new("/var/log/pods"), &pod, "c", 0),
            Path::new("/var/log/pods/shop_p_u1/c/0.log")
        );
    }

    #[test]
    fn following_ends_when_another_run_begins() {
        let pod = pod(1, json!({"running": {}}), json!({}));
        assert!(runs(&pod, "c", 1));
        assert!(!runs(&pod, "c", 0));
    }
}
