//! The status of a pod from what was seen: container statuses, phase, conditions (contract, node
//! agent §5 and §6). Pure; the writer decides what of it goes to the API.
use super::decide::Waiting;
use super::ephemeral::{as_container, ephemeral_containers};
use super::resize::apply::{canonical, in_force};
use super::resize::{self, Resizing};
use super::restart_all;
use super::verdict::Verdict;
use crate::probes_view::ProbeView;
use crate::runtime::seen::{Exit, SeenContainer, SeenPod, SeenResources, SeenState};
use crate::volumes::mount_path;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, HostIP, LinuxContainerUser, Pod, PodCondition, PodIP, PodSpec, PodStatus,
    ResourceRequirements, ResourceStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::pod::resources::{amounts, container_requests};
use orlop_api::pod::{init_containers, is_host_network, is_sidecar};
use std::collections::{BTreeMap, HashMap};

/// Everything a status is made of.
pub struct Facts<'a> {
    pub pod: &'a Pod,
    /// The status that was last made for this pod: keeps transition times, start time and the last
    /// termination of containers whose records are gone.
    pub previous: &'a PodStatus,
    pub seen: &'a SeenPod,
    pub probes: &'a HashMap<String, ProbeView>,
    /// Why containers wait, by name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    pub host_ips: &'a [String],
    /// The devices of a container, and how they are.
    pub devices: &'a dyn Fn(&str) -> Vec<ResourceStatus>,
    /// `containerd`, as the runtime names itself.
    pub runtime_name: &'a str,
    pub now: Timestamp,
    /// How far a resize has got.
    pub resizing: &'a Resizing,
    /// What containers have that do not have what they were given, by id.
    pub unapplied: &'a HashMap<String, SeenResources>,
    /// The pod has been stopped for good.
    pub terminating: bool,
    /// Why it was stopped, if not for its own containers' sake.
    pub verdict: Option<&'a Verdict>,
}

/// The status of a pod that is not let in.
pub fn rejected(pod: &Pod, reason: &str, detail: &str, now: Timestamp) -> PodStatus {
    PodStatus {
        phase: Some("Failed".into()),
        reason: Some(reason.to_owned()),
        message: Some(format!("Pod was rejected: {detail}")),
        start_time: Some(whole_seconds(now)),
        qos_class: Some(orlop_api::pod::qos_class(pod).to_string()),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// Times in statuses have whole seconds.
fn whole_seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// The status.
pub fn pod_status(facts: &Facts<'_>) -> PodStatus {
    let Some(spec) = facts.pod.spec.as_ref() else {
        return PodStatus::default();
    };
    let inits = init_containers(spec);
    let init_statuses: Vec<ContainerStatus> = inits
        .iter()
        .map(|container| container_status(facts, container, true))
        .collect();
    let mut statuses: Vec<ContainerStatus> = spec
        .containers
        .iter()
        .map(|container| container_status(facts, container, false))
        .collect();
    let ephemeral_statuses: Vec<ContainerStatus> = ephemeral_containers(facts.pod)
        .iter()
        .map(|container| ephemeral_status(facts, &as_container(container)))
        .collect();
    let mut phase = phase(facts, &init_statuses, &statuses);
    let ended = facts.terminating && facts.verdict.is_some() && phase != "Succeeded";
    if ended {
        phase = "Failed".into();
    }
    let said = facts.verdict.filter(|_| ended);
    let conditions = conditions(facts, &phase, &init_statuses, &statuses);
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    let host_network = is_host_network(spec);
    let mut pod_ips: Vec<String> = match facts.seen.sandbox() {
        _ if host_network => facts.host_ips.to_vec(),
        Some(sandbox) => sandbox.ips.clone(),
        None => Vec::new(),
    };
    if pod_ips.is_empty() {
        // Addresses stay in the status when the sandbox goes.
        pod_ips = facts
            .previous
            .pod_ips
            .iter()
            .flatten()
            .map(|ip| ip.ip.clone())
            .collect();
    }
    PodStatus {
        phase: Some(phase),
        conditions: Some(conditions),
        start_time: facts
            .previous
            .start_time
            .clone()
            .or(Some(whole_seconds(facts.now))),
        host_ip: facts.host_ips.first().cloned(),
        host_ips: (!facts.host_ips.is_empty()).then(|| {
            facts
                .host_ips
                .iter()
                .map(|ip| HostIP { ip: ip.clone() })
                .collect()
        }),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: (!pod_ips.is_empty()).then(|| pod_ips.into_iter().map(|ip| PodIP { ip }).collect()),
        qos_class: Some(orlop_api::pod::qos_class(facts.pod).to_string()),
        init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
        container_statuses: (!statuses.is_empty()).then_some(statuses),
        ephemeral_container_statuses: (!ephemeral_statuses.is_empty()).then_some(ephemeral_statuses),
        observed_generation: facts.pod.metadata.generation,
        allocated_resources: allocated(spec),
        resources: whole(facts, spec),
        reason: said
            .map(|verdict| verdict.reason.clone())
            .or_else(|| facts.previous.reason.clone()),
        message: said
            .map(|verdict| verdict.message.clone())
            .or_else(|| facts.previous.message.clone()),
        ..PodStatus::default()
    }
}

/// What the pod was given as a whole, or in all.
fn allocated(spec: &PodSpec) -> Option<BTreeMap<String, Quantity>> {
    let whole = spec.resources.as_ref().and_then(|whole| whole.requests.as_ref());
    let requests = match whole {
        Some(requests) => amounts(Some(requests)),
        None => container_requests(spec),
    };
    let quantities = requests
        .into_iter()
        .map(|(resource, amount)| (resource, amount.to_quantity()));
    Some(quantities.collect()).filter(|all: &BTreeMap<_, _>| !all.is_empty())
}

/// What is in force for the pod as a whole: as long as a resize is under way, what was before.
fn whole(facts: &Facts<'_>, spec: &PodSpec) -> Option<ResourceRequirements> {
    let given = spec.resources.as_ref()?;
    let before = facts.previous.resources.clone();
    before
        .filter(|_| facts.resizing.in_progress.is_some())
        .or_else(|| Some(canonical(given.clone())))
}

/// An ephemeral container is never ready or started, as nothing waits for it; its end is remembered when its record goes.
fn ephemeral_status(facts: &Facts<'_>, container: &Container) -> ContainerStatus {
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

fn container_status(facts: &Facts<'_>, container: &Container, init: bool) -> ContainerStatus {
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
fn mount_status(
    mount: &k8s_openapi::api::core::v1::VolumeMount,
    made: Option<&SeenContainer>,
) -> VolumeMountStatus {
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
        .and_then(|previous| last_end(previous, &container_id(facts, &newest.id)))
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
            let started = container.startup_probe.is_none() || probes.started == Some(true);
            status.started = Some(if init && !sidecar { false } else { started });
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

/// The end before the run `id`, as an earlier status tells it: that of the run it was about, whose record may have gone
/// before this one began, or the one before that.
fn last_end(previous: &ContainerStatus, id: &str) -> Option<ContainerState> {
    let of_another = |state: &&ContainerState| {
        let ended = state.terminated.as_ref();
        ended.is_some_and(|ended| ended.container_id.as_deref() != Some(id))
    };
    let state = previous.state.as_ref().filter(of_another);
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
    status.last_state = Some(ContainerState::default());
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
    if was_running && let Some(previous) = previous {
        let lost = ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".into()),
                message: Some(
                    "The container could not be located when the pod was deleted.  The container used to be Running"
                        .into(),
                ),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        };
        if facts.terminating {
            status.restart_count = previous.restart_count;
            status.state = Some(lost);
        } else {
            status.restart_count = previous.restart_count + 1;
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

fn phase(facts: &Facts<'_>, inits: &[ContainerStatus], regulars: &[ContainerStatus]) -> String {
    let pod = facts.pod;
    let before = facts.previous.phase.as_deref();
    if matches!(before, Some("Succeeded" | "Failed")) {
        return before.unwrap_or_default().to_owned();
    }
    let Some(spec) = pod.spec.as_ref() else {
        return "Pending".into();
    };
    let restarts =
        |container: &Container, code: i32| super::decide::should_restart(pod, container, false, code);
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

/// Own conditions that are there for a while only.
const PASSING: &[&str] = &[resize::PENDING, resize::IN_PROGRESS];

fn conditions(
    facts: &Facts<'_>,
    phase: &str,
    inits: &[ContainerStatus],
    regulars: &[ContainerStatus],
) -> Vec<PodCondition> {
    let mut own = vec![ready_to_start(facts), initialized(facts, phase, inits, regulars)];
    let containers_ready = containers_ready(facts, phase, inits, regulars);
    own.push(ready(facts, &containers_ready));
    own.push(containers_ready);
    own.push(condition(facts, "PodScheduled", Ok(())));
    if let Some(message) = facts.verdict.and_then(|verdict| verdict.disruption.clone()) {
        let mut disrupted = condition(facts, "DisruptionTarget", Ok(()));
        disrupted.reason = Some("TerminationByKubelet".into());
        disrupted.message = Some(message);
        own.push(disrupted);
    }
    own.extend(restarting(facts, phase));
    own.extend(facts.resizing.conditions(facts.previous, facts.now));
    let kept = facts.previous.conditions.iter().flatten().chain(
        // Conditions of others (gates, the scheduler's) live in the API object.
        facts
            .pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten()),
    );
    for other in kept {
        let is_over = PASSING.contains(&other.type_.as_str());
        if !is_over && !own.iter().any(|condition| condition.type_ == other.type_) {
            own.push(other.clone());
        }
    }
    own
}

/// Whether all containers are on their way out because one has ended so; only of pods with such a rule.
fn restarting(facts: &Facts<'_>, phase: &str) -> Option<PodCondition> {
    const KIND: &str = "AllContainersRestarting";
    if !restart_all::may_happen(facts.pod) {
        return None;
    }
    let sandbox = facts.seen.sandbox();
    Some(match phase {
        "Succeeded" => condition(facts, KIND, Err(("PodCompleted", String::new()))),
        "Failed" => condition(facts, KIND, Err(("PodFailed", String::new()))),
        _ if sandbox
            .is_some_and(|sandbox| restart_all::ended(facts.pod, facts.seen, &sandbox.id).is_some()) =>
        {
            let mut restarting = condition(facts, KIND, Ok(()));
            restarting.reason = Some("RestartAllContainersStarted".into());
            restarting.message = Some("container exited with restart policy rule".into());
            restarting
        }
        _ => condition(facts, KIND, Err(("", String::new()))).without_empty_reason(),
    })
}

/// A condition with its transition time: that of the previous one while the value stays.
fn condition(facts: &Facts<'_>, kind: &str, value: Result<(), (&str, String)>) -> PodCondition {
    let status = if value.is_ok() { "True" } else { "False" };
    let before = facts
        .previous
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == kind);
    let since = before
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time.clone());
    let (reason, message) = match value {
        Ok(()) => (None, None),
        Err((reason, message)) => (Some(reason.to_owned()), Some(message).filter(|m| !m.is_empty())),
    };
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: since.or(Some(whole_seconds(facts.now))),
        observed_generation: facts.pod.metadata.generation,
        last_probe_time: None,
    }
}

fn ready_to_start(facts: &Facts<'_>) -> PodCondition {
    let host_network = facts.pod.spec.as_ref().is_some_and(is_host_network);
    let up = facts
        .seen
        .sandbox()
        .is_some_and(|s| s.ready && (host_network || !s.ips.is_empty()));
    condition(
        facts,
        "PodReadyToStartContainers",
        if up { Ok(()) } else { Err(("", String::new())) },
    )
    .without_empty_reason()
}

trait WithoutEmptyReason {
    fn without_empty_reason(self) -> Self;
}

impl WithoutEmptyReason for PodCondition {
    fn without_empty_reason(mut self) -> Self {
        self.reason = self.reason.filter(|reason| !reason.is_empty());
        self
    }
}

fn initialized(
    facts: &Facts<'_>,
    phase: &str,
    inits: &[ContainerStatus],
    regulars: &[ContainerStatus],
) -> PodCondition {
    let Some(spec) = facts.pod.spec.as_ref() else {
        return condition(facts, "Initialized", Ok(()));
    };
    let began = regulars.iter().any(|status| {
        let ran = |state: &Option<ContainerState>| {
            state
                .as_ref()
                .is_some_and(|s| s.running.is_some() || s.terminated.is_some())
        };
        ran(&status.state) || ran(&status.last_state)
    });
    let incomplete: Vec<&str> = init_containers(spec)
        .iter()
        .zip(inits)
        .filter(|(container, status)| {
            if is_sidecar(container) {
                status.started != Some(true)
            } else {
                !status.ready
            }
        })
        .map(|(container, _)| container.name.as_str())
        .collect();
    if phase == "Succeeded" {
        let mut done = condition(facts, "Initialized", Ok(()));
        done.reason = Some("PodCompleted".into());
        return done;
    }
    if began || incomplete.is_empty() {
        return condition(facts, "Initialized", Ok(()));
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    condition(facts, "Initialized", Err(("ContainersNotInitialized", message)))
}

fn containers_ready(
    facts: &Facts<'_>,
    phase: &str,
    inits: &[ContainerStatus],
    regulars: &[ContainerStatus],
) -> PodCondition {
    const KIND: &str = "ContainersReady";
    match phase {
        "Succeeded" => return condition(facts, KIND, Err(("PodCompleted", String::new()))),
        "Failed" => return condition(facts, KIND, Err(("PodFailed", String::new()))),
        _ => {}
    }
    let Some(spec) = facts.pod.spec.as_ref() else {
        return condition(facts, KIND, Ok(()));
    };
    let sidecars = init_containers(spec)
        .iter()
        .zip(inits)
        .filter(|(container, _)| is_sidecar(container));
    let unready: Vec<&str> = sidecars
        .chain(spec.containers.iter().zip(regulars))
        .filter(|(_, status)| !status.ready)
        .map(|(container, _)| container.name.as_str())
        .collect();
    if unready.is_empty() {
        return condition(facts, KIND, Ok(()));
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    condition(facts, KIND, Err(("ContainersNotReady", message)))
}

fn ready(facts: &Facts<'_>, containers_ready: &PodCondition) -> PodCondition {
    if containers_ready.status != "True" {
        let reason = containers_ready.reason.clone().unwrap_or_default();
        let message = containers_ready.message.clone().unwrap_or_default();
        return condition(facts, "Ready", Err((&reason, message)));
    }
    let gates = facts
        .pod
        .spec
        .iter()
        .flat_map(|spec| spec.readiness_gates.iter().flatten());
    let conditions = facts
        .pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let conditions: Vec<&PodCondition> = conditions.collect();
    let closed: Vec<String> = gates
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match conditions.iter().find(|condition| condition.type_ == *kind) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{kind}\" does not exist."
                )),
                Some(found) if found.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                    found.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if closed.is_empty() {
        condition(facts, "Ready", Ok(()))
    } else {
        condition(facts, "Ready", Err(("ReadinessGatesNotReady", closed.join(", "))))
    }
}

#[cfg(test)]
mod tests;
