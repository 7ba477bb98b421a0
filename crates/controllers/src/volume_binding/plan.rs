//! Which volume a claim gets, and what a volume's phase is.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orlop_api::quantity::{Amount, amount};
use orlop_api::selector::LabelSelector;

/// Says of a claim that it is bound for good.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Says that the volume was chosen by a controller rather than by its maker.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// The provisioner of classes whose volumes are made by people.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// What a claim's class does for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It waits until a pod was given a node.
    Waits,
    /// Somebody makes volumes for it, at once.
    Provisions,
    /// There are only the volumes there are.
    Nothing,
}

impl Class {
    /// From `volumeBindingMode` and provisioner.
    pub fn of(waits: bool, provisioner: &str) -> Self {
        if waits {
            Self::Waits
        } else if provisioner == NO_PROVISIONER {
            Self::Nothing
        } else {
            Self::Provisions
        }
    }
}

/// What to do about a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Bind it to the volume of this name.
    Bind(String),
    /// It waits, for this reason: an event's reason and message.
    Wait(&'static str, &'static str),
    /// It has lost the volume that it was bound to: an event's reason and message.
    Lost(&'static str, &'static str),
    /// Nothing.
    Leave,
}

/// The class that a claim or volume names.
pub fn class<'a>(metadata: &'a ObjectMeta, field: Option<&'a String>) -> &'a str {
    let annotations = metadata.annotations.as_ref();
    let annotation = annotations.and_then(|annotations| annotations.get(CLASS_ANNOTATION));
    annotation.or(field).map_or("", String::as_str)
}

/// The class that a claim names.
pub fn class_of_claim(claim: &core::PersistentVolumeClaim) -> &str {
    let field = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.as_ref());
    class(&claim.metadata, field)
}

/// Whether the volume is promised to the claim, or to one of its name.
pub fn is_promised(volume: &core::PersistentVolume, claim: &core::PersistentVolumeClaim) -> bool {
    let Some(promise) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return false;
    };
    promise.name == claim.metadata.name
        && promise.namespace == claim.metadata.namespace
        && promise
            .uid
            .as_ref()
            .is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref())
}

/// Whether the claim was bound for good.
pub fn is_complete(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(BIND_COMPLETED))
}

/// The volume that a claim names.
pub fn named(claim: &core::PersistentVolumeClaim) -> Option<&String> {
    let name = claim.spec.as_ref()?.volume_name.as_ref();
    name.filter(|name| !name.is_empty())
}

/// Decides for one claim among volumes: that which it names, or else all that are promised to it and all that may be
/// chosen for it.
pub fn verdict(
    claim: &core::PersistentVolumeClaim,
    volumes: &[core::PersistentVolume],
    class: Class,
) -> Verdict {
    if let Some(named) = named(claim) {
        let volume = volumes
            .iter()
            .find(|volume| volume.metadata.name.as_ref() == Some(named));
        let free = volume.is_some_and(|volume| {
            is_promised(volume, claim) || volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none())
        });
        return match volume {
            Some(_) if free => Verdict::Bind(named.clone()),
            _ if !is_complete(&claim.metadata) => Verdict::Leave,
            Some(_) => Verdict::Lost(
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            ),
            None => Verdict::Lost(
                "ClaimLost",
                "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            ),
        };
    }
    if is_complete(&claim.metadata) {
        return Verdict::Lost(
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        );
    }
    let name = |volume: &core::PersistentVolume| volume.metadata.name.clone().unwrap_or_default();
    if let Some(promised) = volumes.iter().find(|volume| is_promised(volume, claim)) {
        return Verdict::Bind(name(promised));
    }
    if class == Class::Waits {
        return Verdict::Wait(
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        );
    }
    let mut fitting: Vec<&core::PersistentVolume> =
        volumes.iter().filter(|volume| fits(volume, claim)).collect();
    fitting.sort_by_key(|volume| (capacity(volume), volume.metadata.name.clone()));
    match (fitting.first(), class) {
        (Some(volume), _) => Verdict::Bind(name(volume)),
        (None, Class::Provisions) => Verdict::Wait(
            "ExternalProvisioning",
            "Waiting for a volume to be created by the external provisioner. If volume creation is delayed, please verify \
             that the provisioner is running and correctly registered.",
        ),
        (None, _) => Verdict::Wait(
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        ),
    }
}

fn capacity(volume: &core::PersistentVolume) -> Amount {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    capacity
        .and_then(|capacity| capacity.get("storage"))
        .map_or(Amount::ZERO, amount)
}

/// Whether a free volume meets the claim.
fn fits(volume: &core::PersistentVolume, claim: &core::PersistentVolumeClaim) -> bool {
    let (Some(volume_spec), Some(spec)) = (&volume.spec, &claim.spec) else {
        return false;
    };
    let requests = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    let request = requests
        .and_then(|requests| requests.get("storage"))
        .map_or(Amount::ZERO, amount);
    let attributes = |class: &Option<String>| class.clone().unwrap_or_default();
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let selected = spec.selector.as_ref().is_none_or(|selector| {
        LabelSelector::from_meta(selector).is_ok_and(|selector| selector.matches_meta(&volume.metadata))
    });
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    volume_spec.claim_ref.is_none()
        && volume.metadata.deletion_timestamp.is_none()
        && matches!(phase, None | Some("" | "Pending" | "Available"))
        && class(&volume.metadata, volume_spec.storage_class_name.as_ref()) == class_of_claim(claim)
        && attributes(&volume_spec.volume_attributes_class_name)
            == attributes(&spec.volume_attributes_class_name)
        && capacity(volume) >= request
        && mode(&volume_spec.volume_mode) == mode(&spec.volume_mode)
        && selected
        && spec
            .access_modes
            .iter()
            .flatten()
            .all(|mode| volume_spec.access_modes.iter().flatten().any(|have| have == mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(more: Value) -> core::PersistentVolumeClaim {
        let mut claim = json!({"metadata": {"name": "c", "namespace": "ns", "uid": "u"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}});
        orlop_api::patch::merge(&mut claim, &more);
        serde_json::from_value(claim).unwrap()
    }

    fn volume(name: &str, size: &str, more: Value) -> core::PersistentVolume {
        let mut volume = json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}});
        orlop_api::patch::merge(&mut volume, &more);
        serde_json::from_value(volume).unwrap()
    }

    fn promised(namespace: &str, name: &str, uid: &str) -> Value {
        json!({"spec": {"claimRef": {"namespace": namespace, "name": name, "uid": uid}}})
    }

    #[test]
    fn the_smallest_free_volume_that_is_large_enough_is_chosen() {
        let volumes = [
            volume("tiny", "1Gi", json!({})),
            volume("large", "9Gi", json!({})),
            volume("fitting", "3Gi", json!({})),
            volume("taken", "2Gi", promised("ns", "other", "x")),
            volume("classy", "2Gi", json!({"spec": {"storageClassName": "fast"}})),
            volume("block", "2Gi", json!({"spec": {"volumeMode": "Block"}})),
            volume(
                "tuned",
                "2Gi",
                json!({"spec": {"volumeAttributesClassName": "gold"}}),
            ),
            volume("released", "2Gi", json!({"status": {"phase": "Released"}})),
        ];
        let chosen = |claim: Value| verdict(&self::claim(claim), &volumes, Class::Nothing);
        assert_eq!(chosen(json!({})), Verdict::Bind("fitting".to_owned()));
        let fast = json!({"spec": {"storageClassName": "fast"}});
        assert_eq!(chosen(fast), Verdict::Bind("classy".to_owned()));
        let gold = json!({"spec": {"volumeAttributesClassName": "gold"}});
        assert_eq!(chosen(gold), Verdict::Bind("tuned".to_owned()));
        let many = json!({"spec": {"accessModes": ["ReadWriteMany"]}});
        assert!(matches!(chosen(many), Verdict::Wait("FailedBinding", _)));
    }

    #[test]
    fn a_promised_or_named_volume_comes_before_all_others_and_before_waiting() {
        let volumes = [
            volume("free", "3Gi", json!({})),
            volume("mine", "9Gi", promised("ns", "c", "")),
            volume("before", "9Gi", promised("ns", "c", "another life")),
        ];
        assert_eq!(
            verdict(&claim(json!({})), &volumes, Class::Waits),
            Verdict::Bind("mine".to_owned())
        );
        let named = claim(json!({"spec": {"volumeName": "free"}}));
        assert_eq!(
            verdict(&named, &volumes, Class::Nothing),
            Verdict::Bind("free".to_owned())
        );
        let gone = claim(json!({"spec": {"volumeName": "before"}}));
        assert_eq!(verdict(&gone, &volumes, Class::Nothing), Verdict::Leave);
    }

    #[test]
    fn a_bound_claim_whose_volume_is_gone_or_anothers_is_lost_until_there_is_one_again() {
        let bound = |volume: Value| {
            claim(
                json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}}, "spec": {"volumeName": volume}}),
            )
        };
        let volumes = [
            volume("mine", "2Gi", promised("ns", "c", "u")),
            volume("free", "2Gi", json!({})),
            volume("taken", "2Gi", promised("ns", "other", "x")),
        ];
        let verdict = |volume: Value| verdict(&bound(volume), &volumes, Class::Provisions);
        assert_eq!(verdict(json!("mine")), Verdict::Bind("mine".to_owned()));
        assert_eq!(verdict(json!("free")), Verdict::Bind("free".to_owned()));
        assert!(matches!(verdict(json!("gone")), Verdict::Lost("ClaimLost", _)));
        assert!(matches!(
            verdict(json!("taken")),
            Verdict::Lost("ClaimMisbound", _)
        ));
        assert!(matches!(verdict(json!(null)), Verdict::Lost("ClaimLost", _)));
    }

    #[test]
    fn who_waits_is_told_for_what() {
        let volumes = [volume("free", "3Gi", json!({}))];
        let reason = |class: Class, volumes: &[core::PersistentVolume]| match verdict(
            &claim(json!({})),
            volumes,
            class,
        ) {
            Verdict::Wait(reason, _) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(Class::Waits, &volumes), "WaitForFirstConsumer");
        assert_eq!(reason(Class::Provisions, &[]), "ExternalProvisioning");
        assert_eq!(reason(Class::Nothing, &[]), "FailedBinding");
        assert_eq!(Class::of(false, NO_PROVISIONER), Class::Nothing);
    }
}
