//! What to do next about a pod that should run: the whole of restart policy, init order, sidecars
//! and sandbox replacement (contract, node agent §8), as one function without I/O.
use super::backoff::Backoff;
use super::ephemeral::ephemeral_containers;
use super::plan::{FailedProbe, Kill, Plan, Which};
use super::resize::apply::Change;
use super::restart_all;
use super::restart_policy::{policy, should_restart};
use crate::probes_view::ProbeView;
use crate::runtime::hash::container_hash;
use crate::runtime::seen::{SeenContainer, SeenPod, SeenState};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{init_containers, is_host_network, is_sidecar};
use std::collections::HashMap;

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
