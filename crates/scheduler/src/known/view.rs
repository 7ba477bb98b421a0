//! What the scheduler remembers of pods and nodes.

mod node;
mod takes;

pub use node::NodeView;
pub use takes::{Takes, Weight};

use std::num::NonZeroU64;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{ObjectReference, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use orlop_api::pod;
use orlop_api::quantity::amount;
use orlop_client::events;
use orlop_client::informer::{Lean, Projection, Shared};

use super::volumes::{claims_of, made_for};
use crate::known::cluster::{Holder, Nominee};
use crate::known::images::WantedImages;
use crate::known::traits::Traits;

/// The schedulerName of pods that are ours unless we are told another one.
pub const NAME: &str = "default-scheduler";

/// Tells apart whose copies pods are: made from the uid of what manages them.
pub type Family = NonZeroU64;

/// The family of a pod that is one of several copies.
fn family_of(owners: Option<&Vec<OwnerReference>>) -> Option<Family> {
    let owner = owners?.iter().find(|owner| owner.controller == Some(true))?;
    let makes_copies = matches!(
        owner.kind.as_str(),
        "ReplicaSet" | "ReplicationController" | "StatefulSet"
    );
    let print = orlop_api::fnv::fnv1a128(owner.uid.as_bytes());
    // Half of it tells enough apart.
    makes_copies.then(|| NonZeroU64::new(print as u64)).flatten()
}

// What pods of one owner have in common.
static TRAITS: Shared<Traits> = Shared::new();
static SCHEDULERS: Shared<str> = Shared::new();

/// A pod that waits for a node.
#[derive(Debug)]
pub struct Pending {
    /// What placement reads of its spec.
    pub spec: PodSpec,
    /// What it will take.
    pub takes: Arc<Takes>,
    /// The images it needs.
    pub images: WantedImages,
    /// spec.schedulerName.
    pub scheduler: Arc<str>,
    /// metadata.generation.
    pub generation: Option<i64>,
    /// Whose copy it is, if it is one of several.
    pub family: Option<Family>,
    /// Its labels, and what company it wants.
    pub traits: Arc<Traits>,
    /// The names of its claims for volumes.
    pub claims: Box<[Arc<str>]>,
    /// Those of them that are made for it alone.
    pub made_for_it: Box<[Arc<str>]>,
    /// For events.
    pub reference: ObjectReference,
    /// The nodes its affinity names; `None` for any.
    pub confined_to: Option<Vec<Arc<str>>>,
    /// The node where room is being made for it.
    pub nominated: Option<Arc<str>>,
    /// Reason and message of condition PodScheduled, if it is False.
    pub told: Option<(String, String)>,
}

impl Pending {
    /// spec.priority.
    pub fn priority(&self) -> i32 {
        self.spec.priority.unwrap_or(0)
    }

    /// What it is to others while room is made for it.
    pub fn nominee(&self) -> Nominee {
        Nominee {
            priority: self.priority(),
            takes: self.takes.clone(),
            traits: self.traits.clone(),
            claims: self.claims.clone(),
        }
    }

    /// What it is to others once it has a node.
    pub fn holder(&self, uid: Arc<str>) -> Holder {
        Holder {
            uid,
            priority: self.priority(),
            terminating: false,
            preempted: false,
            family: self.family,
            takes: self.takes.clone(),
            traits: self.traits.clone(),
            claims: self.claims.clone(),
            started: None,
        }
    }
}

/// A pod that is not to be scheduled yet.
#[derive(Debug)]
pub struct Gated {
    /// spec.schedulerName.
    pub scheduler: Arc<str>,
    /// spec.priority.
    pub priority: i32,
    /// What it will take.
    pub takes: Arc<Takes>,
}

/// What is remembered of a pod.
#[derive(Debug)]
pub enum PodView {
    /// It waits for a scheduler, maybe not for us.
    Pending(Box<Pending>),
    /// It holds a part of a node.
    Bound {
        /// The node.
        node: Arc<str>,
        /// spec.schedulerName.
        scheduler: Arc<str>,
        /// spec.priority.
        priority: i32,
        /// It is on its way out.
        terminating: bool,
        /// It is, to make room for another.
        preempted: bool,
        /// metadata.generation.
        generation: Option<i64>,
        /// Whose copy it is, if it is one of several.
        family: Option<Family>,
        /// What it takes.
        takes: Arc<Takes>,
        /// Its labels, and what company it wants.
        traits: Arc<Traits>,
        /// The names of its claims for volumes.
        claims: Box<[Arc<str>]>,
        /// status.startTime.
        started: Option<Timestamp>,
    },
    /// It is not to be scheduled yet.
    Gated(Box<Gated>),
    /// It neither waits nor holds anything: finished, or going unbound.
    Other,
}

impl PodView {
    /// The node that the pod of that uid holds a part of, and what it is to others there.
    pub fn holder(&self, uid: &Arc<str>) -> Option<(&Arc<str>, Holder)> {
        let Self::Bound {
            node,
            scheduler: _,
            priority,
            terminating,
            preempted,
            generation: _,
            family,
            takes,
            traits,
            claims,
            started,
        } = self
        else {
            return None;
        };
        let holder = Holder {
            uid: uid.clone(),
            priority: *priority,
            terminating: *terminating,
            preempted: *preempted,
            family: *family,
            takes: takes.clone(),
            traits: traits.clone(),
            claims: claims.clone(),
            started: *started,
        };
        Some((node, holder))
    }
}

/// Whether the scheduler deletes the pod to make room.
fn is_preempted(status: Option<&core::PodStatus>) -> bool {
    let target = status.and_then(|status| pod::condition_of(status, "DisruptionTarget"));
    target.is_some_and(|condition| {
        condition.status == "True" && condition.reason.as_deref() == Some("PreemptionByScheduler")
    })
}

impl Projection for PodView {
    type Object = Lean<core::Pod>;

    fn project(Lean(object): Lean<core::Pod>) -> Self {
        if pod::is_terminal(&object) {
            return Self::Other;
        }
        let reference = events::reference(&object);
        let terminating = object.metadata.deletion_timestamp.is_some();
        let generation = object.metadata.generation;
        let family = family_of(object.metadata.owner_references.as_ref());
        let Some(mut spec) = object.spec else {
            return Self::Other;
        };
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let labels = object.metadata.labels.unwrap_or_default();
        let traits = TRAITS.share(Arc::new(Traits::of(namespace, labels, &spec)));
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let claims = claims_of(name, spec.volumes.as_ref());
        let made_for_it = made_for(name, spec.volumes.as_ref());
        let scheduler = spec.scheduler_name.as_deref().filter(|name| !name.is_empty());
        let scheduler = SCHEDULERS.share(Arc::from(scheduler.unwrap_or(NAME)));
        if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
            let node: Arc<str> = node.into();
            if let Some(status) = &object.status {
                keep_what_is_held(&mut spec, status);
            }
            return Self::Bound {
                node,
                scheduler,
                priority: spec.priority.unwrap_or(0),
                terminating,
                preempted: terminating && is_preempted(object.status.as_ref()),
                generation,
                family,
                takes: Takes::of(&spec),
                traits,
                claims,
                started: object
                    .status
                    .and_then(|status| status.start_time)
                    .map(|time| time.0),
            };
        }
        let gated = spec
            .scheduling_gates
            .as_ref()
            .is_some_and(|gates| !gates.is_empty());
        if terminating {
            return Self::Other;
        }
        if gated {
            return Self::Gated(Box::new(Gated {
                scheduler,
                priority: spec.priority.unwrap_or(0),
                takes: Takes::of(&spec),
            }));
        }
        let confined_to = orlop_api::placement::affinity::confined_to(&spec)
            .map(|names| names.into_iter().map(Arc::from).collect());
        let status = object.status.unwrap_or_default();
        let nominated = status
            .nominated_node_name
            .filter(|name| !name.is_empty())
            .map(Arc::from);
        let conditions = status.conditions.unwrap_or_default();
        let told = conditions
            .into_iter()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
            .map(|condition| {
                (
                    condition.reason.unwrap_or_default(),
                    condition.message.unwrap_or_default(),
                )
            });
        let images = WantedImages::of(&spec);
        trim(&mut spec);
        Self::Pending(Box::new(Pending {
            takes: Takes::of(&spec),
            images,
            spec,
            scheduler,
            generation,
            family,
            traits,
            claims,
            made_for_it,
            reference,
            confined_to,
            nominated,
            told,
        }))
    }
}

/// A pod that is being resized holds what it was given until it has what it asks for; one whose wish can't be met goes on
/// with what it has.
fn keep_what_is_held(spec: &mut PodSpec, status: &core::PodStatus) {
    let pending = pod::condition_of(status, "PodResizePending");
    let in_vain = pending.is_some_and(|condition| {
        condition.status == "True" && condition.reason.as_deref() == Some("Infeasible")
    });
    let told = || {
        let inits = status.init_container_statuses.iter().flatten();
        status.container_statuses.iter().flatten().chain(inits)
    };
    let containers = spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten());
    for container in containers {
        let Some(known) = told().find(|status| status.name == container.name) else {
            continue;
        };
        let actual = known
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref());
        let held = [actual, known.allocated_resources.as_ref()];
        let Some(requests) = container
            .resources
            .as_mut()
            .and_then(|resources| resources.requests.as_mut())
        else {
            continue;
        };
        for (name, wished) in requests {
            let held = held.iter().filter_map(|held| held.as_ref()?.get(name));
            let most = held.max_by_key(|held| amount(held));
            if let Some(most) = most.filter(|most| in_vain || amount(most) > amount(wished)) {
                *wished = most.clone();
            }
        }
    }
}

/// Drops what no filter reads.
fn trim(spec: &mut PodSpec) {
    spec.volumes = None;
    spec.ephemeral_containers = None;
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        *container = core::Container {
            name: std::mem::take(&mut container.name),
            ports: container.ports.take(),
            resources: container.resources.take(),
            restart_policy: container.restart_policy.take(),
            ..core::Container::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The cpus, in thousandths, that a pod takes which asks for `wished` and was given `given`.
    fn taken(wished: &str, given: Value, pending: Option<&str>) -> i64 {
        let conditions =
            pending.map(|reason| json!([{"type": "PodResizePending", "status": "True", "reason": reason}]));
        let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"nodeName": "n", "containers": [
            {"name": "c", "resources": {"requests": {"cpu": wished}}}, {"name": "d"}]},
            "status": {"conditions": conditions, "containerStatuses": [{"name": "c", "image": "", "imageID": "",
                "ready": true, "restartCount": 0, "allocatedResources": given, "resources": {"requests": given}}]}});
        match PodView::project(serde_json::from_value(pod).unwrap()) {
            PodView::Bound { takes, .. } => takes.requested["cpu"].milli_value(),
            other => panic!("not bound: {other:?}"),
        }
    }

    #[test]
    fn a_pod_that_is_resized_holds_the_more_of_what_it_has_and_wants() {
        assert_eq!(
            taken("500m", json!({"cpu": "1"}), None),
            1000,
            "it has not shrunk yet"
        );
        assert_eq!(
            taken("2", json!({"cpu": "1"}), Some("Deferred")),
            2000,
            "it may grow soon"
        );
        assert_eq!(
            taken("2", json!({"cpu": "1"}), Some("Infeasible")),
            1000,
            "it never will"
        );
        assert_eq!(taken("2", json!(null), None), 2000);
    }
}
