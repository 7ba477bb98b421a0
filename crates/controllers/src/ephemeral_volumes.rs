//! Claims of pods whose volumes live no longer than they do: each generic ephemeral volume has one, named after the pod
//! and the volume, and owned by the pod.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;
use orlop_client::events::{EventType, Recorder, reference};
use orlop_client::informer::{Change, Informer, Lean, ObjectKey, Projection};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use crate::api_error;
use crate::cache::{Cache, PodView};
use crate::run::watch_all;
use crate::workers::Workers;

/// Pods looked at at the same time.
const WORKERS: usize = 2;

/// The pod that a claim goes with.
#[derive(Debug)]
struct ClaimView {
    pod: Option<Box<str>>,
}

impl Projection for ClaimView {
    type Object = core::PersistentVolumeClaim;

    fn project(claim: core::PersistentVolumeClaim) -> Self {
        let mut owners = claim.metadata.owner_references.into_iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true) && owner.kind == "Pod");
        Self {
            pod: owner.map(|owner| owner.name.into()),
        }
    }
}

/// The controller.
pub struct EphemeralVolumes {
    client: kube::Client,
    recorder: Recorder,
    claims: Arc<Informer<ClaimView>>,
    queue: Arc<WorkQueue<ObjectKey>>,
}

/// Why a pod hasn't all of its claims.
#[derive(Debug, thiserror::Error)]
enum Unclaimed {
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
    #[error("PVC {claim} was not created for pod {pod} (pod is not owner)")]
    NotOurs { claim: ObjectKey, pod: ObjectKey },
}

/// The claims that the pod's volumes ask for, each with the name of its volume.
fn claims(pod: &core::Pod) -> Vec<(String, core::PersistentVolumeClaim)> {
    let name = orlop_api::pod::name(pod);
    let volumes = orlop_api::pod::volumes(pod);
    let claim = |volume: &core::Volume| {
        let template = volume.ephemeral.as_ref()?.volume_claim_template.clone()?;
        let from = template.metadata.unwrap_or_default();
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: name.to_owned(),
            uid: orlop_api::pod::uid(pod).to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        let claim = core::PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(format!("{name}-{}", volume.name)),
                labels: from.labels,
                annotations: from.annotations,
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(template.spec),
            status: None,
        };
        Some((volume.name.clone(), claim))
    };
    volumes.filter_map(claim).collect()
}

impl EphemeralVolumes {
    /// Registers the handler at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("ephemeral_volume");
        let on = queue.clone();
        cache.pods.on_change(move |change: &Change<PodView>| {
            let is_new = change.old.is_none();
            if let Some(pod) = &change.new
                && is_new
                && pod.has_ephemeral_claims
                && !pod.terminating
            {
                on.add(pod.key.clone());
            }
        });
        let claims = Arc::new(Informer::new());
        let on = queue.clone();
        claims.on_change(move |change: &Change<ClaimView>| {
            // One that somebody deleted is made again for a pod that is there still.
            let claim = change.latest();
            if change.new.is_none()
                && let Some(pod) = &claim.pod
            {
                on.add(ObjectKey::new(claim.key.namespace.clone(), &**pod));
            }
        });
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), "ephemeral_volume", None),
            client,
            claims,
            queue,
        })
    }

    /// Starts the watch of claims, and the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        watch_all(&self.claims, &self.client, tasks);
        Workers {
            name: "ephemeral_volumes",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            |error: &Unclaimed| matches!(error, Unclaimed::Api(error) if api_error::is_namespace_terminating(error)),
        );
    }

    async fn sync(&self, key: &ObjectKey) -> Result<(), Unclaimed> {
        let pods: Api<Lean<core::Pod>> = Api::namespaced(self.client.clone(), &key.namespace);
        let Some(Lean(pod)) = pods.get_opt(&key.name).await? else {
            return Ok(());
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        for (volume, claim) in claims(&pod) {
            if let Err(error) = self.ensure(key, &pod, &claim).await {
                let message = format!("ephemeral volume {volume}: {error}");
                self.recorder
                    .event(&reference(&pod), EventType::Warning, "FailedBinding", message);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn ensure(
        &self,
        key: &ObjectKey,
        pod: &core::Pod,
        claim: &core::PersistentVolumeClaim,
    ) -> Result<(), Unclaimed> {
        let api: Api<core::PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let Some(known) = api.get_opt(name).await? else {
            api.create(&PostParams::default(), claim).await?;
            return Ok(());
        };
        let mut owners = known.metadata.owner_references.iter().flatten();
        let is_ours =
            owners.any(|owner| owner.controller == Some(true) && owner.uid == orlop_api::pod::uid(pod));
        match is_ours {
            true => Ok(()),
            false => Err(Unclaimed::NotOurs {
                claim: ObjectKey::new(key.namespace.clone(), name),
                pod: key.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_ephemeral_volume_has_a_claim_that_goes_with_its_pod() {
        let pod: core::Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [], "volumes": [
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}},
                    "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}}}},
                {"name": "other", "emptyDir": {}}]},
        }))
        .unwrap();
        let claims = claims(&pod);
        assert_eq!(claims.len(), 1);
        assert_eq!(
            (claims[0].0.as_str(), serde_json::to_value(&claims[0].1).unwrap()),
            (
                "scratch",
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "p-scratch", "labels": {"a": "b"}, "ownerReferences": [{"apiVersion": "v1",
                        "kind": "Pod", "name": "p", "uid": "u", "controller": true, "blockOwnerDeletion": true}]},
                    "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}})
            )
        );
    }
}
