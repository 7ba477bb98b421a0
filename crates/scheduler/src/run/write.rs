//! What the scheduler writes: bindings, conditions, events.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{Binding, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use orlop_client::events::{ActionRecorder, EventType};
use orlop_client::informer::ObjectKey;
use serde_json::json;

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

/// Promises the volume to the claim, as its own claimRef; refused if it is another's by now.
pub async fn promise_volume(
    client: &kube::Client,
    volume: &str,
    claim: &ObjectKey,
    uid: &str,
) -> Result<(), kube::Error> {
    let api: Api<core::PersistentVolume> = Api::all(client.clone());
    let live = api.get(volume).await?;
    let known = live.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    if known.is_some_and(|known| known.uid.as_deref() == Some(uid)) {
        return Ok(());
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": live.metadata.resource_version,
            "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
        },
        "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": *claim.namespace,
            "name": *claim.name, "uid": uid}},
    });
    api.patch(volume, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(drop)
}

/// Asks the claim's provisioner for a volume that `node` can reach; without one, takes the wish back.
pub async fn select_node(
    client: &kube::Client,
    claim: &ObjectKey,
    uid: &str,
    node: Option<&str>,
) -> Result<(), kube::Error> {
    let patch =
        json!({"metadata": {"uid": uid, "annotations": {"volume.kubernetes.io/selected-node": node}}});
    let api: Api<core::PersistentVolumeClaim> = Api::namespaced(client.clone(), &claim.namespace);
    api.patch(&claim.name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(drop)
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
    let reference = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(victim.name.to_string()),
        namespace: Some(victim.namespace.to_string()),
        uid: Some(victim_uid.to_owned()),
        ..ObjectReference::default()
    };
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
