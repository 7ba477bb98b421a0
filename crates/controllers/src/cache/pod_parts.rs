//! What some controllers want to know of some pods.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::ContainerStatus;

/// The finalizer by which a Job keeps its pods until it has counted them.
pub const JOB_TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Label and annotation with the completion index of a Job's pod.
pub const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Annotation: how often the index failed before.
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// Annotation: how often the index failed before in ways that the failure policy ignores.
pub const INDEX_IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The highest restart counts among a pod's containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Restarts {
    /// Of its containers.
    pub containers: i32,
    /// Of its sidecars.
    pub sidecars: i32,
}

impl Restarts {
    pub(super) fn of(pod: &core::Pod) -> Self {
        let Some(status) = &pod.status else {
            return Self::default();
        };
        let highest = |statuses: &mut dyn Iterator<Item = &ContainerStatus>| {
            statuses.map(|status| status.restart_count).max().unwrap_or(0)
        };
        let sidecars: Vec<&str> = pod
            .spec
            .as_ref()
            .map(orlop_api::pod::init_containers)
            .unwrap_or_default()
            .iter()
            .filter(|container| orlop_api::pod::is_sidecar(container))
            .map(|container| container.name.as_str())
            .collect();
        Self {
            containers: highest(&mut status.container_statuses.iter().flatten()),
            sidecars: highest(
                &mut status
                    .init_container_statuses
                    .iter()
                    .flatten()
                    .filter(|status| sidecars.contains(&status.name.as_str())),
            ),
        }
    }
}

/// What a pod says its deletion costs; nothing if it says nothing readable.
pub(super) fn deletion_cost(annotations: Option<&BTreeMap<String, String>>) -> i32 {
    annotations
        .and_then(|annotations| annotations.get(DELETION_COST)?.parse().ok())
        .unwrap_or(0)
}

/// A port of a container that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// Its name.
    pub name: Box<str>,
    /// Its number.
    pub port: i32,
    /// Its protocol.
    pub protocol: Box<str>,
}

/// How a pod is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAddress {
    /// status.podIPs.
    pub ips: Box<[Box<str>]>,
    /// spec.hostname.
    pub hostname: Option<Box<str>>,
    /// spec.subdomain.
    pub subdomain: Option<Box<str>>,
    /// The named ports of its containers and sidecars.
    pub ports: Box<[NamedPort]>,
}

impl PodAddress {
    pub(super) fn of(pod: &core::Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        let mut ips: Vec<Box<str>> = status
            .pod_ips
            .iter()
            .flatten()
            .map(|ip| ip.ip.as_str().into())
            .collect();
        if ips.is_empty() {
            ips.extend(
                status
                    .pod_ip
                    .as_deref()
                    .filter(|ip| !ip.is_empty())
                    .map(Box::from),
            );
        }
        if ips.is_empty() {
            return None;
        }
        let spec = pod.spec.as_ref()?;
        let sidecars = orlop_api::pod::init_containers(spec)
            .iter()
            .filter(|container| orlop_api::pod::is_sidecar(container));
        let ports = spec
            .containers
            .iter()
            .chain(sidecars)
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| {
                Some(NamedPort {
                    name: port.name.as_deref()?.into(),
                    port: port.container_port,
                    protocol: port.protocol.as_deref().unwrap_or("TCP").into(),
                })
            })
            .collect();
        let text = |value: &Option<String>| value.as_deref().filter(|text| !text.is_empty()).map(Box::from);
        Some(Self {
            ips: ips.into(),
            hostname: text(&spec.hostname),
            subdomain: text(&spec.subdomain),
            ports,
        })
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerExit {
    /// Its name.
    pub container: Box<str>,
    /// Its exit code.
    pub code: i32,
    /// Whether it is an init container.
    pub init: bool,
}

/// What a Job wants to know of its pods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobPod {
    /// Whether it isn't counted yet: it has the tracking finalizer.
    pub tracked: bool,
    /// Its completion index.
    pub index: Option<u32>,
    /// How often its index failed before.
    pub index_failures: i32,
    /// How often its index failed before in ways that the failure policy ignores.
    pub index_ignored_failures: i32,
    /// When it was deleted: metadata.deletionTimestamp is when it has to be gone.
    pub deleted_at: Option<Timestamp>,
    /// How often its containers restarted in all.
    pub restarts: i32,
    /// When the last of its containers ended, or else when it ceased to be ready.
    pub finished_at: Option<Timestamp>,
    /// How its containers ended, those that did.
    pub exits: Box<[ContainerExit]>,
    /// The types of its conditions with their statuses.
    pub conditions: Box<[(Box<str>, Box<str>)]>,
}

impl JobPod {
    pub(super) fn of(pod: &core::Pod) -> Option<Self> {
        let metadata = &pod.metadata;
        let tracked = metadata.finalizers.iter().flatten().any(|f| f == JOB_TRACKING);
        let owned = metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.controller == Some(true) && owner.kind == "Job");
        if !tracked && !owned {
            return None;
        }
        let annotation = |key: &str| metadata.annotations.as_ref()?.get(key);
        let count = |key: &str| annotation(key).and_then(|text| text.parse().ok()).unwrap_or(0);
        let empty = core::PodStatus::default();
        let status = pod.status.as_ref().unwrap_or(&empty);
        let ended = |statuses: &Option<Vec<ContainerStatus>>, init: bool| {
            let ended: Vec<(ContainerExit, Option<Timestamp>)> = statuses
                .iter()
                .flatten()
                .filter_map(|status| {
                    let ended = status.state.as_ref()?.terminated.as_ref()?;
                    let exit = ContainerExit {
                        container: status.name.as_str().into(),
                        code: ended.exit_code,
                        init,
                    };
                    Some((exit, ended.finished_at.as_ref().map(|time| time.0)))
                })
                .collect();
            ended
        };
        let mut exits = ended(&status.container_statuses, false);
        exits.extend(ended(&status.init_container_statuses, true));
        Some(Self {
            tracked,
            index: annotation(COMPLETION_INDEX).and_then(|text| text.parse().ok()),
            index_failures: count(INDEX_FAILURES),
            index_ignored_failures: count(INDEX_IGNORED_FAILURES),
            deleted_at: metadata.deletion_timestamp.as_ref().and_then(|time| {
                let grace = metadata.deletion_grace_period_seconds.unwrap_or(0);
                time.0.checked_sub(SignedDuration::from_secs(grace)).ok()
            }),
            restarts: status
                .container_statuses
                .iter()
                .chain(&status.init_container_statuses)
                .flatten()
                .map(|status| status.restart_count)
                .fold(0, i32::saturating_add),
            finished_at: exits.iter().filter_map(|(_, at)| *at).max().or_else(|| {
                let conditions = status.conditions.iter().flatten();
                let mut unready = conditions.filter(|c| c.type_ == "Ready" && c.status == "False");
                unready.find_map(|condition| condition.last_transition_time.as_ref().map(|time| time.0))
            }),
            exits: exits.into_iter().map(|(exit, _)| exit).collect(),
            conditions: status
                .conditions
                .iter()
                .flatten()
                .map(|condition| (condition.type_.as_str().into(), condition.status.as_str().into()))
                .collect(),
        })
    }
}
