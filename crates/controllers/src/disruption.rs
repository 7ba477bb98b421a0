//! Marks a pod that is about to be deleted through no fault of its own.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cache::DISRUPTION_TARGET;

/// What condition DisruptionTarget says.
#[derive(Debug, Clone, Copy)]
pub struct Why {
    /// metadata.generation of the pod that was looked at, if it is known.
    pub generation: Option<i64>,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub message: &'static str,
}

/// Sets condition DisruptionTarget, and the phase if one is given, on the pod with that uid.
pub async fn mark(
    api: &Api<core::Pod>,
    name: &str,
    uid: &str,
    why: Why,
    phase: Option<&str>,
) -> Result<(), kube::Error> {
    let condition = json!({
        "type": DISRUPTION_TARGET,
        "status": "True",
        "reason": why.reason,
        "message": why.message,
        "observedGeneration": why.generation.filter(|generation| *generation > 0),
        "lastTransitionTime": Time(Timestamp::now()),
    });
    let mut patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
    if let Some(phase) = phase {
        patch["status"]["phase"] = json!(phase);
    }
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .map(drop)
}
