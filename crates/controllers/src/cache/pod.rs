//! A pod, as far as controllers care.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use orlop_api::annotations::POD_NEED_UPGRADE;
use orlop_api::placement::daemon;
use orlop_api::pod::condition_of;
use orlop_api::taints::NO_EXECUTE;
use orlop_client::informer::{Lean, ObjectKey, Projection, Shared};

use super::pod_parts::{JobPod, PodAddress, Restarts, deletion_cost};

/// Index: pods by the node they are bound or pinned to.
pub const BY_NODE: usize = 0;
/// Index: pods by the uid of their controlling owner.
pub const BY_CONTROLLER: usize = 1;
/// Index: pods without a controlling owner, by namespace.
pub const ORPHANS_BY_NAMESPACE: usize = 2;
/// Index: pods by namespace.
pub const PODS_BY_NAMESPACE: usize = 3;

/// The condition of a pod that is about to be deleted through no fault of its own.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// Why a pod has it that its node agent ends: that may take as long as it takes.
const TERMINATION_BY_AGENT: &str = "TerminationByKubelet";

/// `status.phase`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Accepted, not all containers made yet; also what an empty phase means.
    #[default]
    Pending,
    /// At least one container runs.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, at least one badly.
    Failed,
}

/// Condition Ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ready {
    /// No such condition.
    #[default]
    Absent,
    /// Not True.
    No,
    /// True, since when if known.
    Since(Option<Timestamp>),
}

/// The owner that manages an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerRef {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its uid.
    pub uid: Arc<str>,
}

/// The controlling owner among `references`.
pub(super) fn controller_of(references: Option<&Vec<OwnerReference>>) -> Option<ControllerRef> {
    let owner = references?.iter().find(|owner| owner.controller == Some(true))?;
    let owner = OWNERS.share(Arc::new(ControllerRef {
        kind: owner.kind.as_str().into(),
        name: owner.name.as_str().into(),
        uid: owner.uid.as_str().into(),
    }));
    Some((*owner).clone())
}

// What pods of one owner have in common.
static OWNERS: Shared<ControllerRef> = Shared::new();
static LABELS: Shared<BTreeMap<String, String>> = Shared::new();
static TOLERATIONS: Shared<[Toleration]> = Shared::new();

/// What is remembered of a pod.
#[derive(Debug, Clone, Default)]
pub struct PodView {
    /// metadata.labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Who manages it.
    pub controller: Option<ControllerRef>,
    /// spec.nodeName, if it is bound.
    pub node: Option<Arc<str>>,
    /// The node it is bound or pinned to.
    pub target: Option<Arc<str>>,
    /// status.phase.
    pub phase: Phase,
    /// metadata.deletionTimestamp is set.
    pub terminating: bool,
    /// metadata.generation, which rises with each change of the spec.
    pub generation: i64,
    /// metadata.creationTimestamp.
    pub created: Option<Timestamp>,
    /// Condition Ready.
    pub ready: Ready,
    /// status.reason is `Evicted`.
    pub evicted: bool,
    /// Those of spec.tolerations that matter to a pod that runs already: for effect NoExecute or any.
    pub tolerations: Arc<[Toleration]>,
    /// How often its containers restarted.
    pub restarts: Restarts,
    /// Annotation `controller.kubernetes.io/pod-deletion-cost`.
    pub deletion_cost: i32,
    /// How it is reached; `None` until it has an address.
    pub address: Option<Box<PodAddress>>,
    /// What only its Job wants to know.
    pub job: Option<Box<JobPod>>,
    /// Since when condition DisruptionTarget is True; `None` also if the node agent said so.
    pub disrupted: Option<Box<Timestamp>>,
    /// Condition PodNeedUpgrade, which says that there is a newer template.
    pub needs_upgrade: Option<bool>,
    /// Some of its volumes have claims that go with it.
    pub has_ephemeral_claims: bool,
}

impl PodView {
    /// Whether it will never run again.
    pub fn is_terminal(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Whether condition Ready is True.
    pub fn is_ready(&self) -> bool {
        matches!(self.ready, Ready::Since(_))
    }

    /// Whether it has been ready for `min_ready_seconds` at `now`.
    pub fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        match self.ready {
            Ready::Since(_) if min_ready_seconds == 0 => true,
            _ => self
                .available_at(min_ready_seconds)
                .is_some_and(|available| available <= now),
        }
    }

    /// When it has been ready for `min_ready_seconds`, if it is ready and says since when.
    pub fn available_at(&self, min_ready_seconds: i32) -> Option<Timestamp> {
        match self.ready {
            Ready::Since(Some(since)) => since.checked_add(min_ready_seconds.seconds()).ok(),
            _ => None,
        }
    }
}

impl Projection for PodView {
    type Object = Lean<core::Pod>;
    const INDEXES: usize = 4;

    fn project(Lean(pod): Lean<core::Pod>) -> Self {
        let target = daemon::node_of(&pod).map(Arc::from);
        let restarts = Restarts::of(&pod);
        let address = PodAddress::of(&pod).map(Box::new);
        let job = JobPod::of(&pod).map(Box::new);
        let deletion_cost = deletion_cost(pod.metadata.annotations.as_ref());
        let metadata = pod.metadata;
        let status = pod.status.unwrap_or_default();
        let spec = pod.spec.unwrap_or_default();
        let node: Option<Arc<str>> = spec.node_name.filter(|name| !name.is_empty()).map(Arc::from);
        let ready = match condition_of(&status, "Ready") {
            None => Ready::Absent,
            Some(condition) if condition.status == "True" => {
                Ready::Since(condition.last_transition_time.as_ref().map(|time| time.0))
            }
            Some(_) => Ready::No,
        };
        let needs_upgrade =
            condition_of(&status, POD_NEED_UPGRADE).map(|condition| condition.status == "True");
        let disrupted = condition_of(&status, DISRUPTION_TARGET)
            .filter(|condition| condition.status == "True")
            .filter(|condition| condition.reason.as_deref() != Some(TERMINATION_BY_AGENT))
            .map(|condition| {
                let since = condition.last_transition_time.as_ref();
                Box::new(since.map_or(Timestamp::UNIX_EPOCH, |time| time.0))
            });
        let mut volumes = spec.volumes.iter().flatten();
        Self {
            disrupted,
            needs_upgrade,
            has_ephemeral_claims: volumes.any(|volume| volume.ephemeral.is_some()),
            controller: controller_of(metadata.owner_references.as_ref()),
            labels: LABELS.share(Arc::new(metadata.labels.unwrap_or_default())),
            // One allocation for both when the pod is bound.
            target: node.clone().or(target),
            node,
            phase: match status.phase.as_deref() {
                Some("Running") => Phase::Running,
                Some("Succeeded") => Phase::Succeeded,
                Some("Failed") => Phase::Failed,
                _ => Phase::Pending,
            },
            terminating: metadata.deletion_timestamp.is_some(),
            restarts,
            deletion_cost,
            address,
            job,
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.map(|time| time.0),
            ready,
            evicted: status.reason.as_deref() == Some("Evicted"),
            tolerations: TOLERATIONS.share(
                spec.tolerations
                    .into_iter()
                    .flatten()
                    .filter(|toleration| matches!(toleration.effect.as_deref(), None | Some("" | NO_EXECUTE)))
                    .collect(),
            ),
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        if let Some(node) = &self.target {
            add(BY_NODE, node);
        }
        add(PODS_BY_NAMESPACE, &key.namespace);
        match &self.controller {
            Some(controller) => add(BY_CONTROLLER, &controller.uid),
            None => add(ORPHANS_BY_NAMESPACE, &key.namespace),
        }
    }
}
