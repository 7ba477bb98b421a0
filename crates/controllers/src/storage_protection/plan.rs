//! What is in use, and what remains to be waited for.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orlop_api::pod;
use orlop_client::informer::{ObjectKey, Projection};

/// On claims.
pub const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
/// On volumes.
pub const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
/// Index: claims by namespace.
pub const BY_NAMESPACE: usize = 0;

fn waits_for(metadata: &ObjectMeta, finalizer: &str) -> bool {
    metadata.deletion_timestamp.is_some() && metadata.finalizers.iter().flatten().any(|own| own == finalizer)
}

/// Whether the claim is being deleted and has our finalizer.
pub fn is_waiting(claim: &core::PersistentVolumeClaim) -> bool {
    waits_for(&claim.metadata, CLAIM_FINALIZER)
}

/// Whether the volume is being deleted, has our finalizer, and is bound to no claim.
pub fn is_free(volume: &core::PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    waits_for(&volume.metadata, VOLUME_FINALIZER) && phase != Some("Bound")
}

/// What is remembered of a claim.
#[derive(Debug, Clone)]
pub struct ClaimView {
    /// It is being deleted and has our finalizer.
    pub waiting: bool,
}

impl Projection for ClaimView {
    type Object = core::PersistentVolumeClaim;
    const INDEXES: usize = 1;

    fn project(claim: core::PersistentVolumeClaim) -> Self {
        Self {
            waiting: is_waiting(&claim),
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        // Only those that are waited for are looked for.
        if self.waiting {
            add(BY_NAMESPACE, &key.namespace);
        }
    }
}

/// What is remembered of a volume.
#[derive(Debug, Clone)]
pub struct VolumeView {
    /// It is being deleted, has our finalizer, and is bound to no claim.
    pub free: bool,
}

impl Projection for VolumeView {
    type Object = core::PersistentVolume;

    fn project(volume: core::PersistentVolume) -> Self {
        Self {
            free: is_free(&volume),
        }
    }
}

/// Whether a pod has the claim's volume: it is on a node and has not ended.
pub fn uses(pod: &core::Pod, claim: &str) -> bool {
    if pod::node_name(pod).is_empty() || pod::is_terminal(pod) {
        return false;
    }
    let volumes = pod::volumes(pod);
    volumes.into_iter().any(|volume| {
        let named = volume
            .persistent_volume_claim
            .as_ref()
            .map(|source| source.claim_name.as_str());
        let own = volume.ephemeral.is_some() && claim == format!("{}-{}", pod::name(pod), volume.name);
        named == Some(claim) || own
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_on_a_node_uses_its_claims_until_it_ends() {
        let pod = |node: &str, phase: &str, volume: Value| -> core::Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"},
                "spec": {"nodeName": node, "containers": [], "volumes": [volume]}, "status": {"phase": phase}}))
            .unwrap()
        };
        let claimed = || json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
        assert!(uses(&pod("n", "Running", claimed()), "c"));
        assert!(!uses(&pod("n", "Running", claimed()), "other"));
        assert!(!uses(&pod("n", "Succeeded", claimed()), "c"));
        assert!(
            !uses(&pod("", "Pending", claimed()), "c"),
            "it can still go elsewhere"
        );
        assert!(uses(
            &pod("n", "Running", json!({"name": "v", "ephemeral": {}})),
            "p-v"
        ));
    }

    #[test]
    fn only_what_is_being_deleted_is_waited_for() {
        let claim = |metadata: Value| {
            ClaimView::project(serde_json::from_value(json!({"metadata": metadata})).unwrap())
        };
        let going = "2026-01-01T00:00:00Z";
        assert!(claim(json!({"deletionTimestamp": going, "finalizers": [CLAIM_FINALIZER]})).waiting);
        assert!(!claim(json!({"finalizers": [CLAIM_FINALIZER]})).waiting);
        assert!(!claim(json!({"deletionTimestamp": going, "finalizers": ["other"]})).waiting);
        let volume = |phase: &str| {
            let metadata = json!({"deletionTimestamp": going, "finalizers": [VOLUME_FINALIZER]});
            VolumeView::project(
                serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase}})).unwrap(),
            )
        };
        assert!(volume("Released").free && !volume("Bound").free);
    }
}
