//! What to do next about a pod that should run: the whole of restart policy, init order, sidecars
//! and sandbox replacement (contract, node agent §8), as one function without I/O.
use super::backoff::Backoff;
use super::ephemeral::{as_container, ephemeral_containers};
use super::resize::apply::Change;
use super::restart_all;
use crate::probes_view::ProbeView;
use crate::runtime::hash::container_hash;
use crate::runtime::seen::{SeenContainer, SeenPod, SeenState};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{init_containers, is_host_network, is_sidecar};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Everything the decision looks at.
pub struct Situation<'a> {
    pub pod: &'a Pod,
    pub seen: &'a SeenPod,
    /// Probe results by container id.
    pub probes: &'a HashMap<String, ProbeView>,
    pub backoff: &'a Backoff,
    /// Running containers that do not have what the pod was given.
    pub resizes: &'a [Change],
    pub now: Timestamp,
}

/// Which container of the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    Init(usize),
    Regular(usize),
    Ephemeral(usize),
}

impl Which {
    /// The container of this name; one that the definition no longer has counts as one of the regular ones.
    pub fn named(pod: &Pod, name: &str) -> Self {
        let spec = pod.spec.as_ref();
        let inits = spec.and_then(|spec| spec.init_containers.as_ref());
        let init = inits.and_then(|inits| inits.iter().position(|own| own.name == name));
        let regular = || spec?.containers.iter().position(|own| own.name == name);
        let ephemeral = || ephemeral_containers(pod).iter().position(|own| own.name == name);
        match (init, regular()) {
            (Some(index), _) => Self::Init(index),
            (None, Some(index)) => Self::Regular(index),
            (None, None) => ephemeral().map_or(Self::Regular(usize::MAX), Self::Ephemeral),
        }
    }

    /// The container's definition.
    pub fn of<'a>(&self, pod: &'a Pod) -> Option<Cow<'a, Container>> {
        let spec = pod.spec.as_ref()?;
        match *self {
            Self::Init(index) => spec.init_containers.as_ref()?.get(index).map(Cow::Borrowed),
            Self::Regular(index) => spec.containers.get(index).map(Cow::Borrowed),
            Self::Ephemeral(index) => {
                let ephemeral = ephemeral_containers(pod).get(index)?;
                Some(Cow::Owned(as_container(ephemeral)))
            }
        }
    }

    /// What it is counted as.
    pub fn container_type(&self) -> &'static str {
        match self {
            Self::Init(_) => "init_container",
            Self::Regular(_) => "container",
            Self::Ephemeral(_) => "ephemeral_container",
        }
    }

    /// The field path that container events carry.
    pub fn field_path(&self, name: &str) -> String {
        match self {
            Self::Init(_) => format!("spec.initContainers{{{name}}}"),
            Self::Regular(_) => format!("spec.containers{{{name}}}"),
            Self::Ephemeral(_) => format!("spec.ephemeralContainers{{{name}}}"),
        }
    }
}

/// A container to kill, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    pub which: Which,
    pub id: String,
    /// The message of the `Killing` event.
    pub message: String,
    /// The kill is for a failed liveness or startup probe, whose own grace then counts.
    pub probe: Option<FailedProbe>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedProbe {
    Liveness,
    Startup,
}

/// A container that waits to be started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

impl Waiting {
    /// With the reason and message of the container's waiting state.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Nothing is left to run: stop what remains, sidecars and sandbox included.
    pub finish: bool,
    /// Make a new sandbox with this attempt, after everything of the old ones is stopped.
    pub sandbox: Option<u32>,
    pub kill: Vec<Kill>,
    /// Containers that get other resources while they run, in order.
    pub resize: Vec<Change>,
    /// All containers go, this one's record last, and start anew.
    pub restart_all: Option<String>,
    /// Containers to start, in order.
    pub start: Vec<Which>,
    /// Containers held back by crash-loop back-off.
    pub waiting: BTreeMap<String, Waiting>,
    /// When to decide again if nothing happens before.
    pub again_at: Option<Timestamp>,
}

impl Plan {
    /// There is nothing to do but wait.
    pub fn is_idle(&self) -> bool {
        self.sandbox.is_none()
            && self.kill.is_empty()
            && self.start.is_empty()
            && self.resize.is_empty()
            && self.restart_all.is_none()
    }

    fn hold(&mut self, pod: &Pod, name: &str, until: Timestamp, wait: jiff::SignedDuration) {
        let message = format!(
            "back-off {} restarting failed container={name} pod={}({})",
            go_duration(wait),
            orlop_api::pod::full_name(pod),
            orlop_api::pod::uid(pod),
        );
        self.waiting.insert(
            name.to_owned(),
            Waiting {
                reason: "CrashLoopBackOff".into(),
                message,
            },
        );
        self.again_at = Some(self.again_at.map_or(until, |at| at.min(until)));
    }
}

/// Go's form of a whole number of seconds: `10s`, `1m20s`, `5m0s`.
fn go_duration(duration: jiff::SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}

fn policy(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|s| s.restart_policy.as_deref())
        .unwrap_or("Always")
}

/// Whether a container that ended with `code` is to run again.
pub fn should_restart(pod: &Pod, container: &Container, sidecar: bool, code: i32) -> bool {
    if sidecar {
        return true;
    }
    if restart_all::action(container, code).is_some() {
        return true;
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| policy(pod)) {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// The decision.
pub fn decide(situation: &Situation<'_>) -> Plan {
    let Some(spec) = situation.pod.spec.as_ref() else {
        return Plan::default();
    };
    match usable_sandbox(situation) {
        Ok(sandbox_id) => in_sandbox(situation, &sandbox_id),
        Err(()) => {
            let attempt = situation.seen.sandbox().map_or(0, |newest| newest.attempt + 1);
            let first_time = situation.seen.containers.is_empty();
            // Containers that won't run again need no sandbox.
            let start: Vec<Which> = (0..spec.containers.len())
                .map(Which::Regular)
                .filter(|which| {
                    let Some(container) = which.of(situation.pod) else {
                        return false;
                    };
                    match situation.seen.newest(&container.name).map(|seen| &seen.state) {
                        Some(SeenState::Exited(exit)) => {
                            should_restart(situation.pod, &container, false, exit.code)
                        }
                        Some(_) => policy(situation.pod) != "Never",
                        // Never started: the init containers may have been at work.
                        None => true,
                    }
                })
                .collect();
            if !first_time && (start.is_empty() || policy(situation.pod) == "Never") {
                return Plan {
                    finish: true,
                    ..Plan::default()
                };
            }
            let start = match init_containers(spec).first() {
                Some(_) => vec![Which::Init(0)],
                None => start,
            };
            Plan {
                sandbox: Some(attempt),
                start,
                ..Plan::default()
            }
        }
    }
}

/// The sandbox that containers can be started in; `Err` when a new one is needed.
fn usable_sandbox(situation: &Situation<'_>) -> Result<String, ()> {
    let newest = situation.seen.sandbox().ok_or(())?;
    let several = situation.seen.sandboxes.iter().filter(|s| s.ready).count() > 1;
    let host_network = situation.pod.spec.as_ref().is_some_and(is_host_network);
    let addressed = host_network || !newest.ips.is_empty();
    if newest.ready && !several && addressed {
        Ok(newest.id.clone())
    } else {
        Err(())
    }
}

fn in_sandbox(situation: &Situation<'_>, sandbox_id: &str) -> Plan {
    let mut plan = Plan::default();
    let pod = situation.pod;
    let Some(spec) = pod.spec.as_ref() else {
        return plan;
    };
    if let Some(trigger) = restart_all::ended(pod, situation.seen, sandbox_id) {
        start_or_hold(
            situation,
            trigger.which,
            trigger.container,
            trigger.seen,
            &mut plan,
        );
        if plan.start.pop().is_some() {
            plan.restart_all = Some(trigger.seen.id.clone());
        }
        return plan;
    }
    // Before the init containers: they may be what somebody wants to look at.
    let ephemeral = ephemeral_containers(pod).iter().enumerate();
    plan.start.extend(
        ephemeral
            .filter(|(_, container)| situation.seen.newest(&container.name).is_none())
            .map(|(index, _)| Which::Ephemeral(index)),
    );
    let here = |name: &str| situation.seen.newest_in(sandbox_id, name);
    let regular_began = spec
        .containers
        .iter()
        .any(|c| here(&c.name).is_some_and(|seen| !matches!(seen.state, SeenState::Exited(_))));
    if !init_progress(situation, sandbox_id, regular_began, &mut plan) {
        if !plan.finish {
            resize(situation, &mut plan);
        }
        return plan;
    }
    let mut kept = 0;
    for (index, container) in spec.containers.iter().enumerate() {
        kept += usize::from(regular(
            situation,
            sandbox_id,
            Which::Regular(index),
            container,
            &mut plan,
        ));
    }
    if kept == 0 {
        return Plan {
            finish: true,
            ..Plan::default()
        };
    }
    resize(situation, &mut plan);
    plan
}

/// Gives what runs on its resources: in place, or by a new container where its policy says so.
fn resize(situation: &Situation<'_>, plan: &mut Plan) {
    for change in situation.resizes {
        if plan.kill.iter().any(|kill| kill.id == change.id) {
            continue;
        }
        match change.kill() {
            Some(kill) => {
                plan.kill.push(kill);
                // At once: how it ends, and what its restart policy says to that, does not matter.
                plan.start.push(change.which);
            }
            None => plan.resize.push(change.clone()),
        }
    }
}

/// Moves the init containers on; true when the regular ones may run.
fn init_progress(situation: &Situation<'_>, sandbox_id: &str, regular_began: bool, plan: &mut Plan) -> bool {
    let pod = situation.pod;
    let Some(spec) = pod.spec.as_ref() else {
        return true;
    };
    let inits = init_containers(spec);
    let here = |name: &str| situation.seen.newest_in(sandbox_id, name);
    let latest = inits
        .iter()
        .rposition(|container| here(&container.name).is_some());
    for (index, container) in inits.iter().enumerate() {
        let which = Which::Init(index);
        let seen = here(&container.name);
        if is_sidecar(container) {
            let started = sidecar(situation, which, container, seen, plan);
            // Once what comes after it has begun, how it fares holds nothing back any more.
            let is_passed = latest.is_some_and(|latest| latest > index);
            if !started && !regular_began && !is_passed {
                return false;
            }
            continue;
        }
        if regular_began {
            continue;
        }
        match seen.map(|seen| (&seen.state, seen)) {
            // Its record is gone, but a later one exists: it has done its work.
            None if latest.is_some_and(|latest| latest > index) => {}
            None => {
                plan.start.push(which);
                return false;
            }
            Some((SeenState::Exited(exit), seen)) if exit.code != 0 || exit.reason == "OOMKilled" => {
                if should_restart(pod, container, false, exit.code.max(1)) {
                    start_or_hold(situation, which, container, seen, plan);
                } else {
                    *plan = Plan {
                        finish: true,
                        ..Plan::default()
                    };
                }
                return false;
            }
            Some((SeenState::Exited(_), _)) => {}
            Some((SeenState::Running { .. }, _)) => return false,
            Some((SeenState::Created, _)) => {
                plan.start.push(which);
                return false;
            }
            Some((SeenState::Unknown, seen)) => {
                plan.kill.push(unknown(which, seen));
                return false;
            }
        }
    }
    true
}

/// Keeps a sidecar going; true when what comes after it may start.
fn sidecar(
    situation: &Situation<'_>,
    which: Which,
    container: &Container,
    seen: Option<&SeenContainer>,
    plan: &mut Plan,
) -> bool {
    let Some(seen) = seen else {
        plan.start.push(which);
        return false;
    };
    match &seen.state {
        SeenState::Running { .. } => {
            let probes = situation.probes.get(&seen.id).copied().unwrap_or_default();
            if let Some(kill) = unwanted(which, container, seen, probes, true) {
                plan.kill.push(kill);
                return false;
            }
            container.startup_probe.is_none() || probes.started == Some(true)
        }
        SeenState::Exited(_) => {
            start_or_hold(situation, which, container, seen, plan);
            false
        }
        SeenState::Created => {
            plan.start.push(which);
            false
        }
        SeenState::Unknown => {
            plan.kill.push(unknown(which, seen));
            false
        }
    }
}

/// Decides about one regular container; true when it runs or will run.
fn regular(
    situation: &Situation<'_>,
    sandbox_id: &str,
    which: Which,
    container: &Container,
    plan: &mut Plan,
) -> bool {
    let pod = situation.pod;
    let Some(seen) = situation.seen.newest_in(sandbox_id, &container.name) else {
        // A record from an earlier sandbox may say that it has done its work.
        let done = situation
            .seen
            .newest(&container.name)
            .and_then(SeenContainer::exit);
        if done.is_some_and(|exit| !should_restart(pod, container, false, exit.code)) {
            return false;
        }
        plan.start.push(which);
        return true;
    };
    match &seen.state {
        SeenState::Running { .. } => {
            let probes = situation.probes.get(&seen.id).copied().unwrap_or_default();
            let again = should_restart(pod, container, false, 137);
            let Some(kill) = unwanted(which, container, seen, probes, again) else {
                return true;
            };
            let changed = kill.probe.is_none();
            plan.kill.push(kill);
            again || changed
        }
        SeenState::Exited(exit) => {
            // A changed definition runs again whatever the policy says.
            let changed = seen
                .hash
                .as_ref()
                .is_some_and(|hash| *hash != container_hash(container));
            if !changed && !should_restart(pod, container, false, exit.code) {
                return false;
            }
            start_or_hold(situation, which, container, seen, plan);
            true
        }
        SeenState::Created => {
            plan.start.push(which);
            true
        }
        SeenState::Unknown => {
            plan.kill.push(unknown(which, seen));
            true
        }
    }
}

/// Why a running container has to go, if it has.
fn unwanted(
    which: Which,
    container: &Container,
    seen: &SeenContainer,
    probes: ProbeView,
    again: bool,
) -> Option<Kill> {
    let name = &container.name;
    let kind = if matches!(which, Which::Init(_)) {
        "Init container"
    } else {
        "Container"
    };
    let (what, probe) = if seen
        .hash
        .as_ref()
        .is_some_and(|hash| *hash != container_hash(container))
    {
        ("definition changed", None)
    } else if probes.liveness_failed {
        ("failed liveness probe", Some(FailedProbe::Liveness))
    } else if probes.startup_failed {
        ("failed startup probe", Some(FailedProbe::Startup))
    } else {
        return None;
    };
    let restarts = again || probe.is_none();
    let tail = if restarts && matches!(which, Which::Regular(_)) {
        ", will be restarted"
    } else {
        ""
    };
    Some(Kill {
        which,
        id: seen.id.clone(),
        message: format!("{kind} {name} {what}{tail}"),
        probe,
    })
}

fn unknown(which: Which, seen: &SeenContainer) -> Kill {
    let message = format!(
        "Container {} is in unknown state, try killing it before restart",
        seen.name
    );
    Kill {
        which,
        id: seen.id.clone(),
        message,
        probe: None,
    }
}

/// The key under which a container's restarts are spaced out: another definition, or other resources, start anew.
pub fn backoff_key(container: &Container) -> String {
    let resources = container.resources.as_ref();
    let resources = resources.and_then(|resources| serde_json::to_string(resources).ok());
    format!(
        "{}/{}/{}",
        container.name,
        container_hash(container),
        resources.unwrap_or_default()
    )
}

fn start_or_hold(
    situation: &Situation<'_>,
    which: Which,
    container: &Container,
    seen: &SeenContainer,
    plan: &mut Plan,
) {
    let ended = seen.exit().map_or(seen.created_at, |exit| exit.finished_at);
    match situation
        .backoff
        .waiting(&backoff_key(container), ended, situation.now)
    {
        Some((until, wait)) => plan.hold(situation.pod, &container.name, until, wait),
        None => plan.start.push(which),
    }
}

#[cfg(test)]
mod tests;
