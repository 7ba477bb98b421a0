//! What a status says of one container.
use super::{Facts, whole_seconds};
use crate::pods::resize::apply::in_force;
use crate::runtime::seen::{Exit, SeenContainer, SeenState};
use crate::volumes::mount_path;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, VolumeMount, VolumeMountStatus,
};
use orlop_api::names::cut;
use orlop_api::pod::{init_containers, is_sidecar};

/// Bytes that the last words of all containers of a pod may have together.
const LAST_WORDS_MAX: usize = 12 << 10;

/// Cuts the last words of a pod's containers to equal parts of what they may have together.
pub fn share_last_words(lists: [&mut [ContainerStatus]; 3]) {
    let containers: usize = lists.iter().map(|list| list.len()).sum();
    let share = LAST_WORDS_MAX / containers.max(1);
    for status in lists.into_iter().flatten() {
        for state in [&mut status.state, &mut status.last_state] {
            let ended = state.as_mut().and_then(|state| state.terminated.as_mut());
            let message = ended.and_then(|ended| ended.message.as_mut());
            if let Some(message) = message {
                let end = cut(message, share).len();
                message.truncate(end);
            }
        }
    }
}

/// An ephemeral container is never ready or started, as nothing waits for it; its end is remembered when its record goes.
pub fn ephemeral_status(facts: &Facts<'_>, container: &Container) -> ContainerStatus {
    if facts.seen.newest(&container.name).is_none() {
        let previous = facts.previous.ephemeral_container_statuses.iter().flatten();
        let ended = |status: &&ContainerStatus| {
            let state = status.state.as_ref();
            status.name == container.name && state.is_some_and(|state| state.terminated.is_some())
        };
        if let Some(ended) = previous.into_iter().find(ended) {
            return ended.clone();
        }
    }
    ContainerStatus {
        ready: false,
        started: None,
        ..container_status(facts, container, false)
    }
}

fn previous_of<'a>(facts: &'a Facts<'_>, name: &str, init: bool) -> Option<&'a ContainerStatus> {
    let list = if init {
        &facts.previous.init_container_statuses
    } else {
        &facts.previous.container_statuses
    };
    list.iter().flatten().find(|status| status.name == name)
}

/// The status of one container.
pub fn container_status(facts: &Facts<'_>, container: &Container, init: bool) -> ContainerStatus {
    let mut status = state_of(facts, container, init);
    let newest = facts.seen.newest(&container.name);
    let actual = newest.and_then(|seen| facts.unapplied.get(&seen.id));
    let requests = in_force(container, None).requests;
    status.allocated_resources = requests.filter(|requests| !requests.is_empty());
    status.resources = Some(in_force(container, actual));
    if !init {
        let devices = (facts.devices)(&container.name);
        status.allocated_resources_status = (!devices.is_empty()).then_some(devices);
    }
    let mounts: Vec<VolumeMountStatus> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| mount_status(mount, newest))
        .collect();
    status.volume_mounts = (!mounts.is_empty()).then_some(mounts);
    let lifecycle = container.lifecycle.as_ref().filter(|_| newest.is_some());
    status.stop_signal = lifecycle.and_then(|lifecycle| lifecycle.stop_signal.clone());
    let user = newest.and_then(|seen| seen.user.as_ref());
    status.user = user.map(|user| ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: Some(user.groups.clone()).filter(|groups| !groups.is_empty()),
        }),
    });
    status
}

/// A mount as it was made.
fn mount_status(mount: &VolumeMount, made: Option<&SeenContainer>) -> VolumeMountStatus {
    let path = mount_path(mount);
    let is_recursive = made.is_some_and(|made| made.recursively_read_only.contains(&path));
    let mode = if is_recursive { "Enabled" } else { "Disabled" };
    let read_only = mount.read_only.filter(|read_only| *read_only);
    VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only,
        recursive_read_only: read_only.map(|_| mode.to_owned()),
        ..VolumeMountStatus::default()
    }
}

fn state_of(facts: &Facts<'_>, container: &Container, init: bool) -> ContainerStatus {
    let spec_has_init = facts
        .pod
        .spec
        .as_ref()
        .is_some_and(|spec| !init_containers(spec).is_empty());
    let sidecar = init && is_sidecar(container);
    let name = &container.name;
    let previous = previous_of(facts, name, init);
    let image = container.image.clone().unwrap_or_default();
    let all: Vec<&SeenContainer> = facts.seen.containers.iter().filter(|c| c.name == *name).collect();
    let mut status = ContainerStatus {
        name: name.clone(),
        image,
        ..ContainerStatus::default()
    };
    let waiting_by_default = || {
        let reason = if spec_has_init {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
        waiting(reason, None)
    };
    let Some(newest) = all.first() else {
        return without_record(facts, status, previous, init, waiting_by_default());
    };
    status.image = newest.image.clone();
    status.image_id = newest.image_ref.clone();
    status.container_id = Some(container_id(facts, &newest.id));
    status.restart_count = i32::try_from(newest.attempt).unwrap_or(i32::MAX);
    // An earlier run's end, from its record or from the status that told of it.
    let earlier = all
        .get(1)
        .and_then(|earlier| earlier.exit().map(|exit| terminated(facts, earlier, exit)));
    let kept = previous
        .and_then(|previous| last_end(previous, |ended| ended.container_id != status.container_id))
        .filter(|_| newest.attempt > 0);
    let last = earlier.or(kept);
    let probes = facts.probes.get(&newest.id).copied().unwrap_or_default();
    match &newest.state {
        SeenState::Running { started_at } => {
            status.state = Some(ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: Some(whole_seconds(*started_at)),
                }),
                ..ContainerState::default()
            });
            status.last_state = Some(last.unwrap_or_default());
            // Init containers have no startup probe: they have started as soon as they run.
            let started = container.startup_probe.is_none() || probes.started == Some(true);
            status.started = Some(started);
            let ready = match &container.readiness_probe {
                Some(_) => probes.ready == Some(true),
                None => true,
            };
            status.ready = started && ready && (!init || sidecar);
        }
        SeenState::Exited(exit) => {
            let ended = terminated(facts, newest, exit);
            status.started = Some(false);
            match facts.waiting.get(name) {
                Some(why) if !facts.terminating => {
                    status.state = Some(waiting(&why.reason, Some(&why.message)));
                    status.last_state = Some(ended);
                }
                _ => {
                    status.ready = init && !sidecar && exit.code == 0;
                    status.state = Some(ended);
                    status.last_state = Some(last.unwrap_or_default());
                }
            }
        }
        SeenState::Created | SeenState::Unknown => {
            status.started = Some(false);
            status.state = Some(match facts.waiting.get(name) {
                Some(why) => waiting(&why.reason, Some(&why.message)),
                None => waiting_by_default(),
            });
            status.last_state = Some(last.unwrap_or_default());
        }
    }
    status
}

/// The end of the run before, as an earlier status tells it: that of the run it was about, if it `is_earlier` (its record
/// may have gone since), or the one before that.
fn last_end(
    previous: &ContainerStatus,
    is_earlier: impl Fn(&ContainerStateTerminated) -> bool,
) -> Option<ContainerState> {
    let has_ended = |state: &&ContainerState| state.terminated.as_ref().is_some_and(&is_earlier);
    let state = previous.state.as_ref().filter(has_ended);
    state.or(previous.last_state.as_ref()).cloned()
}

/// A container of which the runtime has nothing.
fn without_record(
    facts: &Facts<'_>,
    mut status: ContainerStatus,
    previous: Option<&ContainerStatus>,
    init: bool,
    default: ContainerState,
) -> ContainerStatus {
    status.started = Some(false);
    // What was told of its earlier runs stays true.
    status.restart_count = previous.map_or(0, |previous| previous.restart_count);
    let last = previous.and_then(|previous| last_end(previous, |_| true));
    status.last_state = Some(last.unwrap_or_default());
    if let Some(why) = facts.waiting.get(&status.name) {
        status.state = Some(waiting(&why.reason, Some(&why.message)));
        return status;
    }
    let regular_exists = facts.pod.spec.as_ref().is_some_and(|spec| {
        spec.containers
            .iter()
            .any(|container| facts.seen.newest(&container.name).is_some())
    });
    if init && regular_exists {
        // It ended once: what stands in for that end is not the end of another run.
        let last = previous.and_then(|previous| previous.last_state.clone());
        status.last_state = Some(last.unwrap_or_default());
        status.ready = true;
        status.state = Some(ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: 0,
                reason: Some("Completed".into()),
                message: Some(
                    "Unable to get init container status from container runtime and pod has been initialized, \
                     treat it as exit normally"
                        .into(),
                ),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        });
        return status;
    }
    let was_running = previous
        .and_then(|p| p.state.as_ref())
        .is_some_and(|state| state.running.is_some());
    if was_running {
        let lost = lost(
            "The container could not be located when the pod was deleted.  The container used to be Running",
        );
        if facts.terminating {
            status.state = Some(lost);
        } else {
            status.restart_count = status.restart_count.saturating_add(1);
            status.state = Some(default);
            status.last_state = Some(lost);
        }
        return status;
    }
    if let Some(previous) = previous.filter(|p| p.state.as_ref().is_some_and(|s| s.terminated.is_some())) {
        return previous.clone();
    }
    status.state = Some(default);
    status
}

fn lost(message: &str) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some(message.to_owned()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

/// Of a pod that was stopped for good, no container waits any more: those that nobody saw end have, if their turn had come.
pub fn end_all(inits: &mut [ContainerStatus], regulars: &mut [ContainerStatus]) {
    let ended = |state: &Option<ContainerState>| state.as_ref()?.terminated.clone();
    let has_begun = |status: &ContainerStatus| {
        let waits = status.state.as_ref().is_none_or(|state| state.waiting.is_some());
        !waits || ended(&status.last_state).is_some()
    };
    let is_done = |status: &ContainerStatus| {
        let end = ended(&status.state).or_else(|| ended(&status.last_state));
        status.started == Some(true) || end.is_some_and(|end| end.exit_code == 0)
    };
    let is_initialized = inits.last().is_none_or(is_done) || regulars.iter().any(has_begun);
    // The first one's turn had come in any case.
    let begun = inits.iter().rposition(has_begun).map_or(1, |last| last + 1);
    let regulars = regulars.iter_mut().filter(|_| is_initialized);
    for status in inits.iter_mut().take(begun).chain(regulars) {
        if ended(&status.state).is_none() {
            status.state = Some(lost(
                "The container could not be located when the pod was terminated",
            ));
            status.ready = false;
            status.started = Some(false);
        }
    }
}

fn container_id(facts: &Facts<'_>, id: &str) -> String {
    format!("{}://{id}", facts.runtime_name)
}

fn waiting(reason: &str, message: Option<&str>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: message.filter(|m| !m.is_empty()).map(str::to_owned),
        }),
        ..ContainerState::default()
    }
}

fn terminated(facts: &Facts<'_>, container: &SeenContainer, exit: &Exit) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: exit.code,
            reason: Some(exit.reason.clone()).filter(|reason| !reason.is_empty()),
            message: Some(exit.message.clone()).filter(|message| !message.is_empty()),
            started_at: exit.started_at.map(whole_seconds),
            finished_at: Some(whole_seconds(exit.finished_at)),
            container_id: Some(container_id(facts, &container.id)),
            signal: None,
        }),
        ..ContainerState::default()
    }
}
