//! What is remembered of claims, volumes and classes, and what follows from a volume's own words.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{self as core, NodeSelector};
use k8s_openapi::api::storage::v1 as storage;
use orlop_api::placement;
use orlop_api::quantity::{Amount, amount};
use orlop_api::selector::LabelSelector;
use orlop_client::informer::{ObjectKey, Projection};

use super::csi::Attachment;
use super::traits::Labels;
use super::view::NodeView;

/// Labels of places by their old and their present names.
const PLACES: [(&str, &str); 2] = [
    (
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
];
/// Between the zones of a volume that is in several.
const ZONES: &str = "__";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The node that a claim's volume is to be made for.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// What is remembered of a PersistentVolumeClaim.
#[derive(Debug, PartialEq)]
pub struct ClaimView {
    /// Its volume, once it is completely bound.
    pub volume: Option<Arc<str>>,
    /// spec.volumeName is set, though the binding may not be complete.
    pub named: bool,
    /// Its volume, if that is gone for good (phase Lost).
    pub lost: Option<Arc<str>>,
    /// The uid of the pod that it is made for, if it is for one alone.
    pub made_for: Option<Arc<str>>,
    /// Annotation [`SELECTED_NODE`].
    pub selected: Option<Arc<str>>,
    /// Its class.
    pub class: Option<Arc<str>>,
    /// It is being deleted.
    pub terminating: bool,
    /// spec.resources.requests.storage.
    pub request: Amount,
    modes: Vec<String>,
    volume_mode: Option<String>,
    selector: Option<LabelSelector>,
}

/// Namespace, name and, if known, uid of the claim that a volume is for.
type ClaimOf = (Arc<str>, Arc<str>, Option<Arc<str>>);

/// What is remembered of a PersistentVolume.
#[derive(Debug, PartialEq)]
pub struct VolumeView {
    class: Option<Arc<str>>,
    terminating: bool,
    /// spec.capacity.storage.
    pub capacity: Amount,
    modes: Vec<String>,
    volume_mode: Option<String>,
    labels: Labels,
    reachable_from: Option<NodeSelector>,
    claim: Option<ClaimOf>,
    /// What a driver of CSI attaches to nodes for it, if it is such a one's.
    pub attachment: Option<Attachment>,
}

/// What is remembered of a StorageClass.
#[derive(Debug, PartialEq)]
pub struct ClassView {
    /// Its claims wait for their first consumer (volumeBindingMode).
    pub waits: bool,
    /// Who makes its volumes.
    pub provisioner: String,
    /// allowedTopologies.
    pub topologies: Vec<core::TopologySelectorTerm>,
}

fn text(text: Option<String>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty()).map(Arc::from)
}

/// The annotation that came before the field of the class.
fn class(
    field: Option<String>,
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Option<Arc<str>> {
    let annotation = metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get("volume.beta.kubernetes.io/storage-class"));
    text(annotation.cloned().or(field))
}

impl ClaimView {
    /// Whether one pod alone may use it at a time.
    pub fn is_exclusive(&self) -> bool {
        self.modes.iter().any(|mode| mode == "ReadWriteOncePod")
    }
}

impl Projection for ClaimView {
    type Object = core::PersistentVolumeClaim;

    fn project(claim: core::PersistentVolumeClaim) -> Self {
        let spec = claim.spec.unwrap_or_default();
        let annotation = |key: &str| claim.metadata.annotations.as_ref()?.get(key).cloned();
        let complete = annotation(BIND_COMPLETED).is_some();
        let volume = text(spec.volume_name);
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let mut owners = claim.metadata.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true));
        Self {
            lost: volume.clone().filter(|_| phase == Some("Lost")),
            made_for: owner.map(|owner| owner.uid.as_str().into()),
            selected: text(annotation(SELECTED_NODE)),
            named: volume.is_some(),
            volume: volume.filter(|_| complete),
            class: class(spec.storage_class_name, &claim.metadata),
            terminating: claim.metadata.deletion_timestamp.is_some(),
            request: spec
                .resources
                .and_then(|resources| resources.requests?.get("storage").map(amount))
                .unwrap_or(Amount::ZERO),
            modes: spec.access_modes.unwrap_or_default(),
            volume_mode: spec.volume_mode,
            selector: spec.selector.map(|selector| {
                LabelSelector::from_meta(&selector).unwrap_or_else(|_| LabelSelector::nothing())
            }),
        }
    }
}

impl Projection for VolumeView {
    type Object = core::PersistentVolume;

    fn project(volume: core::PersistentVolume) -> Self {
        let spec = volume.spec.unwrap_or_default();
        Self {
            attachment: spec.csi.as_ref().map(Attachment::of),
            class: class(spec.storage_class_name, &volume.metadata),
            terminating: volume.metadata.deletion_timestamp.is_some(),
            capacity: spec
                .capacity
                .and_then(|capacity| capacity.get("storage").map(amount))
                .unwrap_or(Amount::ZERO),
            modes: spec.access_modes.unwrap_or_default(),
            volume_mode: spec.volume_mode,
            labels: volume.metadata.labels.unwrap_or_default(),
            reachable_from: spec.node_affinity.and_then(|affinity| affinity.required),
            claim: spec.claim_ref.map(|claim| {
                let [namespace, name] =
                    [claim.namespace, claim.name].map(|text| text.unwrap_or_default().into());
                (namespace, name, text(claim.uid))
            }),
        }
    }
}

impl Projection for ClassView {
    type Object = storage::StorageClass;

    fn project(class: storage::StorageClass) -> Self {
        Self {
            waits: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisioner: class.provisioner,
            topologies: class.allowed_topologies.unwrap_or_default(),
        }
    }
}

impl VolumeView {
    /// Whether it is some claim's.
    pub fn is_claimed(&self) -> bool {
        self.claim.is_some()
    }

    /// Whether the node is where the volume's labels say that it is; a node that doesn't say where it is may be there.
    pub fn is_in_zone_of(&self, node: &NodeView) -> bool {
        let keys = PLACES.iter().flat_map(|(old, new)| [(old, new), (new, new)]);
        let mut places = keys
            .filter_map(|(key, new)| Some((key, new, self.labels.get(*key)?)))
            .peekable();
        // Most volumes say nothing of places: then the node isn't looked at.
        if places.peek().is_none() {
            return true;
        }
        let labels = &node.node.labels;
        let says_where = PLACES
            .iter()
            .any(|(old, new)| labels.get(old).or(labels.get(new)).is_some());
        !says_where
            || places.all(|(key, new, zones)| {
                let there = labels.get(key).or(labels.get(new));
                there.is_some_and(|there| zones.split(ZONES).any(|zone| zone == there))
            })
    }

    /// Whether its node affinity allows the node.
    pub fn is_reachable_from(&self, node: &NodeView) -> bool {
        let terms = self
            .reachable_from
            .as_ref()
            .map(|selector| &selector.node_selector_terms);
        terms.is_none_or(|terms| terms.iter().any(|term| placement::term_matches(term, &node.node)))
    }

    /// Whether it is for the claim, or for one of its name.
    pub fn is_for(&self, key: &ObjectKey, uid: &str) -> bool {
        self.claim.as_ref().is_some_and(|(namespace, name, of)| {
            *namespace == key.namespace && *name == key.name && of.as_deref().is_none_or(|of| of == uid)
        })
    }

    /// Whether it could be the volume of a claim, wherever it is.
    pub fn meets(&self, key: &ObjectKey, uid: &str, claim: &ClaimView) -> bool {
        // What costs least to compare first: every volume is asked for every claim.
        !self.terminating
            && self.class == claim.class
            && self.capacity >= claim.request
            && mode(self.volume_mode.as_ref()) == mode(claim.volume_mode.as_ref())
            && claim.modes.iter().all(|mode| self.modes.contains(mode))
            && match (&self.claim, &claim.selector) {
                (Some(_), _) => self.is_for(key, uid),
                (None, Some(selector)) => selector.matches(&self.labels),
                (None, None) => true,
            }
    }
}

fn mode(volume_mode: Option<&String>) -> &str {
    volume_mode.map_or("Filesystem", String::as_str)
}

/// The names of the claims that a pod's volumes mean.
pub fn claims_of(pod: &str, volumes: Option<&Vec<core::Volume>>) -> Box<[Arc<str>]> {
    volumes
        .into_iter()
        .flatten()
        .filter_map(
            |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(claim), _) => Some(claim.claim_name.as_str().into()),
                (None, Some(_)) => Some(format!("{pod}-{}", volume.name).into()),
                (None, None) => None,
            },
        )
        .collect()
}

/// The names of those that are made for the pod's own ephemeral volumes.
pub fn made_for(pod: &str, volumes: Option<&Vec<core::Volume>>) -> Box<[Arc<str>]> {
    volumes
        .into_iter()
        .flatten()
        .filter(|volume| volume.persistent_volume_claim.is_none() && volume.ephemeral.is_some())
        .map(|volume| format!("{pod}-{}", volume.name).into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ephemeral_volumes_have_claims_named_after_pod_and_volume() {
        let volumes: Vec<core::Volume> = serde_json::from_value(json!([
            {"name": "a", "persistentVolumeClaim": {"claimName": "c"}},
            {"name": "b", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
            {"name": "c", "emptyDir": {}}]))
        .unwrap();
        assert_eq!(
            *claims_of("p", Some(&volumes)),
            ["c".into(), Arc::<str>::from("p-b")]
        );
        assert_eq!(*made_for("p", Some(&volumes)), [Arc::<str>::from("p-b")]);
    }
}
