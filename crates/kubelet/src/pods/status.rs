//! The status of a pod from what was seen: container statuses, phase, conditions (contract, node
//! agent §5 and §6). Pure; the writer decides what of it goes to the API.
mod conditions;
mod containers;
mod phase;

use super::addresses;
use super::ephemeral::{as_container, ephemeral_containers};
use super::plan::Waiting;
use super::resize::Resizing;
use super::resize::apply::canonical;
use super::verdict::Verdict;
use crate::probes_view::ProbeView;
use crate::runtime::seen::{SeenPod, SeenResources};
use conditions::conditions;
use containers::{container_status, end_all, ephemeral_status, share_last_words};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerStatus, HostIP, Pod, PodIP, PodSpec, PodStatus, ResourceRequirements, ResourceStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::pod::init_containers;
use orlop_api::pod::resources::{amounts, container_requests};
use phase::phase;
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
    let mut init_statuses: Vec<ContainerStatus> = inits
        .iter()
        .map(|container| container_status(facts, container, true))
        .collect();
    let mut statuses: Vec<ContainerStatus> = spec
        .containers
        .iter()
        .map(|container| container_status(facts, container, false))
        .collect();
    let mut ephemeral_statuses: Vec<ContainerStatus> = ephemeral_containers(facts.pod)
        .iter()
        .map(|container| ephemeral_status(facts, &as_container(container)))
        .collect();
    let mut phase = phase(facts, &init_statuses, &statuses);
    let was_done = facts.previous.phase.as_deref() == Some("Succeeded");
    let outweighs = |verdict: &Verdict| phase != "Succeeded" || (verdict.outweighs_success() && !was_done);
    let said = facts
        .verdict
        .filter(|verdict| facts.terminating && outweighs(verdict));
    if said.is_some() {
        phase = "Failed".into();
    }
    let conditions = conditions(facts, &phase, &init_statuses, &statuses);
    if facts.terminating {
        end_all(&mut init_statuses, &mut statuses);
    }
    share_last_words([&mut init_statuses, &mut statuses, &mut ephemeral_statuses]);
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    let mut pod_ips = addresses::of_pod(facts.pod, facts.seen, facts.host_ips);
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

#[cfg(test)]
mod tests;
