//! How far a pod has got as a whole, from how far its containers have.
use super::Facts;
use crate::pods::restart_policy::should_restart;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus};
use orlop_api::pod::{init_containers, is_sidecar};

/// How far a container has got, for the phase.
enum Progress {
    /// Waiting and never ended before.
    Unstarted,
    Running,
    /// Ended, or waiting to run again after an end.
    Stopped {
        code: i32,
    },
}

fn progress(status: &ContainerStatus) -> Progress {
    let ended = |state: &Option<ContainerState>| {
        state
            .as_ref()
            .and_then(|s| s.terminated.as_ref())
            .map(|t| (t.exit_code, t.reason.clone()))
    };
    if status.state.as_ref().is_some_and(|s| s.running.is_some()) {
        return Progress::Running;
    }
    match ended(&status.state).or_else(|| ended(&status.last_state)) {
        Some((code, reason)) => {
            // Out of memory is a failure even when the main process ended well.
            Progress::Stopped {
                code: if code == 0 && reason.as_deref() == Some("OOMKilled") {
                    137
                } else {
                    code
                },
            }
        }
        None => Progress::Unstarted,
    }
}

/// status.phase.
pub fn phase(facts: &Facts<'_>, inits: &[ContainerStatus], regulars: &[ContainerStatus]) -> String {
    let pod = facts.pod;
    let before = facts.previous.phase.as_deref();
    if matches!(before, Some("Succeeded" | "Failed")) {
        return before.unwrap_or_default().to_owned();
    }
    let Some(spec) = pod.spec.as_ref() else {
        return "Pending".into();
    };
    let restarts = |container: &Container, code: i32| should_restart(pod, container, false, code);
    let sandbox_has_regular = facts.seen.sandbox().is_some_and(|sandbox| {
        spec.containers
            .iter()
            .any(|c| facts.seen.newest_in(&sandbox.id, &c.name).is_some())
    });
    let (mut pending_init, mut failed_init, mut pending_sidecar) = (false, false, false);
    let mut running = 0;
    for (container, status) in init_containers(spec).iter().zip(inits) {
        let progress = progress(status);
        if is_sidecar(container) {
            match progress {
                Progress::Running => {
                    running += 1;
                    pending_sidecar |= status.started != Some(true);
                }
                Progress::Unstarted => pending_sidecar = true,
                Progress::Stopped { .. } => {}
            }
            continue;
        }
        match progress {
            Progress::Stopped { code: 0 } => {}
            Progress::Stopped { code } => {
                let ended_for_good = status.state.as_ref().is_some_and(|s| s.terminated.is_some());
                if ended_for_good && !restarts(container, code) {
                    failed_init = true;
                } else {
                    pending_init = true;
                }
            }
            Progress::Running | Progress::Unstarted => pending_init = true,
        }
    }
    let (mut unstarted, mut stopped, mut all_well, mut any_restarts) = (0, 0, true, false);
    for (container, status) in spec.containers.iter().zip(regulars) {
        match progress(status) {
            Progress::Unstarted => unstarted += 1,
            Progress::Running => running += 1,
            Progress::Stopped { code } => {
                stopped += 1;
                all_well &= code == 0;
                any_restarts |= restarts(container, code);
            }
        }
    }
    let finished = |all_well: bool| if all_well { "Succeeded" } else { "Failed" }.to_owned();
    // Final phases are told only when nothing of the pod can run any more.
    let alive = facts.seen.running().next().is_some();
    if failed_init && !alive {
        return "Failed".into();
    }
    let static_pod = orlop_api::pod::is_static(pod);
    if facts.terminating && !static_pod && running == 0 {
        // Deleted before anything ran still ends as Failed.
        return finished(all_well && unstarted == 0 && !pending_init);
    }
    if failed_init || pending_init || (pending_sidecar && !sandbox_has_regular) || unstarted > 0 {
        return "Pending".into();
    }
    if running > 0 {
        return "Running".into();
    }
    if stopped > 0 {
        return if any_restarts {
            "Running".into()
        } else {
            finished(all_well)
        };
    }
    "Pending".into()
}
