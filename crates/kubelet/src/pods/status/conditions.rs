//! The conditions of a pod.
use super::{Facts, whole_seconds};
use crate::pods::{resize, restart_all};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodCondition};
use orlop_api::pod::{condition_of, init_containers, is_host_network, is_sidecar};

/// Own conditions that are there for a while only.
const PASSING: &[&str] = &[resize::PENDING, resize::IN_PROGRESS];

/// status.conditions: ours, and those of others as they are.
pub fn conditions(
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
    let disruption = facts.verdict.and_then(|verdict| verdict.disruption.clone());
    // Told with the pod's end: what is still being stopped may end by itself.
    if let Some(message) = disruption.filter(|_| matches!(phase, "Succeeded" | "Failed")) {
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
    let since = condition_of(facts.previous, kind)
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
