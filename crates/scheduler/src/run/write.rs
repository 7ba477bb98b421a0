//! What the scheduler writes: bindings, conditions, events.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{Binding, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use orlop_client::events::{ActionRecorder, EventType, pod_reference};
use orlop_client::informer::{ObjectKey, version_of};
use serde_json::json;

use crate::known::volumes::SELECTED_NODE;

/// Binds the pod to `node`; refused if it is another pod of that name by now.
pub async fn bind(client: &kube::Client, pod: &ObjectKey, uid: &str, node: &str) -> Result<(), kube::Error> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(pod.name.to_string()),
            namespace: Some(pod.namespace.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let api: Api<core::Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let _: Status = api
        .create_subresource("binding", &pod.name, &PostParams::default(), &binding)
        .await?;
    Ok(())
}

/// Promises the volume to the claim, as its own claimRef, unless it is some claim's already; the volume's version
/// then.
pub async fn promise_volume(
    client: &kube::Client,
    volume: &str,
    claim: &ObjectKey,
    uid: &str,
) -> Result<u64, kube::Error> {
    let api: Api<core::PersistentVolume> = Api::all(client.clone());
    let live = api.get(volume).await?;
    let known = live.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let is_kept = |known: &ObjectReference| {
        known.uid.as_deref().is_none_or(str::is_empty)
            && known.name.as_deref() == Some(&*claim.name)
            && known.namespace.as_deref() == Some(&*claim.namespace)
    };
    if !known.is_none_or(is_kept) {
        return Ok(version_of(&live.metadata));
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": live.metadata.resource_version,
            "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
        },
        "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": *claim.namespace,
            "name": *claim.name, "uid": uid}},
    });
    let promised = api
        .patch(volume, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(version_of(&promised.metadata))
}

/// Asks the claim's provisioner for a volume that `node` can reach, unless one is asked for or there already; the claim's
/// version then.
pub async fn select_node(
    client: &kube::Client,
    claim: &ObjectKey,
    uid: &str,
    node: &str,
) -> Result<u64, kube::Error> {
    let api: Api<core::PersistentVolumeClaim> = Api::namespaced(client.clone(), &claim.namespace);
    let live = api.get(&claim.name).await?;
    let annotations = live.metadata.annotations.as_ref();
    let volume = live.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    let asked = annotations.is_some_and(|annotations| annotations.contains_key(SELECTED_NODE));
    if asked || volume.is_some_and(|volume| !volume.is_empty()) {
        return Ok(version_of(&live.metadata));
    }
    let patch = json!({"metadata": {"uid": uid, "resourceVersion": live.metadata.resource_version,
        "annotations": {SELECTED_NODE: node}}});
    let selected = api
        .patch(&claim.name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(version_of(&selected.metadata))
}

/// Why a pod isn't scheduled.
#[derive(Debug, Clone, Copy)]
pub struct Why<'a> {
    /// One word.
    pub reason: &'a str,
    /// One sentence.
    pub message: &'a str,
    /// metadata.generation of the pod that was looked at.
    pub generation: Option<i64>,
}

/// Says why the pod isn't scheduled.
pub async fn condition(
    client: &kube::Client,
    pod: &ObjectKey,
    uid: &str,
    why: Why<'_>,
) -> Result<(), kube::Error> {
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": why.reason,
        "message": why.message,
        "observedGeneration": why.generation,
        "lastProbeTime": null,
        "lastTransitionTime": Time(Timestamp::now()),
    });
    let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
    let api: Api<core::Pod> = Api::namespaced(client.clone(), &pod.namespace);
    api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .map(drop)
}

/// Deletes a pod to make room, after saying so in its status.
pub async fn evict(
    client: &kube::Client,
    pod: &ObjectKey,
    uid: &str,
    generation: Option<i64>,
    scheduler: &str,
) -> Result<(), kube::Error> {
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        "observedGeneration": generation,
        "lastTransitionTime": Time(Timestamp::now()),
    });
    let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
    let api: Api<core::Pod> = Api::namespaced(client.clone(), &pod.namespace);
    api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch))
        .await?;
    let preconditions = Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    };
    let params = DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    api.delete(&pod.name, &params).await.map(drop)
}

/// Notes where room is being made for the pod.
pub async fn nominate(
    client: &kube::Client,
    pod: &ObjectKey,
    uid: &str,
    node: &str,
) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"uid": uid}, "status": {"nominatedNodeName": node}});
    let api: Api<core::Pod> = Api::namespaced(client.clone(), &pod.namespace);
    api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .map(drop)
}

/// Tells a victim for whom it went.
pub fn tell_preempted(
    recorder: &ActionRecorder,
    victim: &ObjectKey,
    victim_uid: &str,
    by: &ObjectReference,
    node: &str,
) {
    let reference = pod_reference(victim, victim_uid);
    let uid = by.uid.as_deref().unwrap_or_default();
    let note = format!("Preempted by pod {uid} on node {node}");
    recorder.event_of_two(
        &reference,
        by,
        EventType::Normal,
        "Preempted",
        "Preempting",
        &note,
    );
}

/// Tells that the pod got its node.
pub fn tell_scheduled(
    recorder: &ActionRecorder,
    reference: &ObjectReference,
    pod: &ObjectKey,
    node: &Arc<str>,
) {
    let note = format!("Successfully assigned {pod} to {node}");
    recorder.event(reference, EventType::Normal, "Scheduled", "Binding", &note);
}

/// Tells that no node will do.
pub fn tell_failed(recorder: &ActionRecorder, reference: &ObjectReference, message: &str) {
    recorder.event(
        reference,
        EventType::Warning,
        "FailedScheduling",
        "Scheduling",
        message,
    );
}
