//! What is remembered of claims, volumes and classes, and which claims a volume's change concerns.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::storage::v1::StorageClass;
use orlop_client::informer::{Change, ObjectKey, Projection, Store};

use super::plan;

/// How far the binding of a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// It waits for its volume, or for all of the binding to be written.
    Pending,
    /// It is bound, or on its way out: nothing is to be done.
    Settled,
    /// It says that it lost its volume.
    Lost,
}

/// How far the binding of a claim is, and which volume it names.
#[derive(Debug)]
pub struct ClaimView {
    /// By what it says itself.
    pub binding: Binding,
    /// spec.volumeName.
    pub volume: Option<Box<str>>,
}

/// Index of claims by their volume.
pub const BY_VOLUME: usize = 0;

impl Projection for ClaimView {
    type Object = core::PersistentVolumeClaim;
    const INDEXES: usize = 1;

    fn project(claim: core::PersistentVolumeClaim) -> Self {
        let phase = claim.status.and_then(|status| status.phase);
        Self {
            binding: match phase.as_deref() {
                _ if claim.metadata.deletion_timestamp.is_some() => Binding::Settled,
                Some("Bound") if plan::is_complete(&claim.metadata) => Binding::Settled,
                Some("Lost") if plan::is_complete(&claim.metadata) => Binding::Lost,
                _ => Binding::Pending,
            },
            volume: claim
                .spec
                .and_then(|spec| spec.volume_name)
                .filter(|name| !name.is_empty())
                .map(Into::into),
        }
    }

    fn index(&self, _: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        if let Some(volume) = &self.volume {
            add(BY_VOLUME, volume);
        }
    }
}

/// The claim that a volume is promised to.
#[derive(Debug)]
pub struct VolumeView {
    /// spec.claimRef.
    pub claim: Option<ObjectKey>,
    /// Its class.
    class: Box<str>,
}

/// Index of volumes by `namespace/name` of the claim.
pub const BY_CLAIM: usize = 0;
/// Index of volumes that are promised to nobody by their class.
pub const FREE: usize = 1;

impl Projection for VolumeView {
    type Object = core::PersistentVolume;
    const INDEXES: usize = 2;

    fn project(volume: core::PersistentVolume) -> Self {
        let spec = volume.spec.unwrap_or_default();
        let class = plan::class(&volume.metadata, spec.storage_class_name.as_ref());
        let claim = spec.claim_ref;
        Self {
            class: class.into(),
            claim: claim.map(|claim| {
                ObjectKey::new(
                    claim.namespace.unwrap_or_default().as_str(),
                    claim.name.unwrap_or_default().as_str(),
                )
            }),
        }
    }

    fn index(&self, _: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        match &self.claim {
            Some(claim) => add(BY_CLAIM, &claim.to_string()),
            None => add(FREE, &self.class),
        }
    }
}

/// A class exists; what it says is read when it matters.
#[derive(Debug)]
pub struct ClassView;

impl Projection for ClassView {
    type Object = StorageClass;

    fn project(_: StorageClass) -> Self {
        Self
    }
}

/// The claims that name a volume and to which its change may matter: they may have lost it, or have it back.
pub fn bound_to(change: &Change<VolumeView>, claims: &Store<ClaimView>) -> Vec<ObjectKey> {
    let is_moved = match (&change.old, &change.new) {
        (Some(old), Some(new)) => old.claim != new.claim,
        (_, new) => new.is_none(),
    };
    let mut bound = claims.by_index(BY_VOLUME, &change.latest().key.name);
    // A volume that comes matters to those who lost it; the others are bound, or wait and are looked at anyway.
    bound.retain(|claim| is_moved || claim.binding == Binding::Lost);
    bound.iter().map(|claim| claim.key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(name: &str, phase: Value, complete: bool) -> core::PersistentVolumeClaim {
        let annotations = complete.then(|| json!({plan::BIND_COMPLETED: "yes"}));
        let claim = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "annotations": annotations},
            "spec": {"volumeName": "v"}, "status": {"phase": phase}});
        serde_json::from_value(claim).unwrap()
    }

    #[test]
    fn a_claim_that_lost_its_volume_does_not_wait_for_one() {
        let binding = |phase: Value, complete| ClaimView::project(claim("c", phase, complete)).binding;
        assert_eq!(binding(json!("Bound"), true), Binding::Settled);
        assert_eq!(binding(json!("Lost"), true), Binding::Lost);
        for (phase, complete) in [("Pending", true), ("Bound", false), ("Lost", false)] {
            assert_eq!(binding(json!(phase), complete), Binding::Pending, "{phase}");
        }
        let mut going = claim("c", json!("Lost"), true);
        going.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert_eq!(ClaimView::project(going).binding, Binding::Settled);
    }

    #[test]
    fn a_volume_that_comes_back_concerns_who_lost_it_and_one_that_goes_all() {
        let (claims, volumes) = (Store::<ClaimView>::new(), Store::<VolumeView>::new());
        claims.apply(claim("bound", json!("Bound"), true));
        claims.apply(claim("lost", json!("Lost"), true));
        let volume = |version: &str, of: Value| -> core::PersistentVolume {
            let volume = json!({"metadata": {"name": "v", "uid": "v", "resourceVersion": version}, "spec": {"claimRef": of}});
            serde_json::from_value(volume).unwrap()
        };
        let concerned = |change: &Change<VolumeView>| {
            let mut names: Vec<String> = bound_to(change, &claims)
                .iter()
                .map(|key| key.name.to_string())
                .collect();
            names.sort();
            names
        };
        let of = json!({"namespace": "ns", "name": "bound"});
        assert_eq!(concerned(&volumes.apply(volume("1", of.clone()))[0]), ["lost"]);
        assert_eq!(concerned(&volumes.apply(volume("2", of))[0]), ["lost"]);
        assert_eq!(
            concerned(&volumes.apply(volume("3", json!(null)))[0]),
            ["bound", "lost"]
        );
        assert_eq!(
            concerned(&volumes.remove(&ObjectKey::new("", "v"), 4).unwrap()),
            ["bound", "lost"]
        );
    }
}
