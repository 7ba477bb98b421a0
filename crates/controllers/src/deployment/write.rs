//! What a Deployment writes: its ReplicaSets' sizes and annotations, and its own status.

use k8s_openapi::api::apps::v1::{
    Deployment as ApiDeployment, DeploymentStatus, ReplicaSet as ApiReplicaSet,
};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use orlop_client::events::EventType;
use serde_json::{Value, json};

use super::annotations;
use super::controller::Deployments;
use super::limits::Limits;
use super::rolling::Scale;
use super::status::FIELDS;
use super::sync::SyncError;
use super::template::new_set;
use crate::api_error;
use crate::cache::{Deployment, ReplicaSet, ReplicaSetView, cached};
use crate::owned::status::{at_version, complete, metadata_api};

impl Deployments {
    /// Gives sets other sizes; whether a size changed.
    pub(super) async fn scale(
        &self,
        deployment: &Deployment,
        limits: Limits,
        scales: Vec<Scale>,
    ) -> Result<bool, SyncError> {
        let api = metadata_api::<ApiReplicaSet>(&self.client, &deployment.key.namespace);
        let sizes = annotations::sizes(deployment, limits);
        let mut scaled = false;
        for Scale { set, to } in scales {
            let from = set.replicas;
            let annotated = sizes.iter().all(|(key, size)| set.annotation(key) == Some(size));
            if from == to && annotated {
                continue;
            }
            let mut patch = json!({"spec": {"replicas": to}});
            for (key, size) in &sizes {
                patch["metadata"]["annotations"][*key] = json!(size);
            }
            let patch = Patch::Merge(at_version(&set, patch));
            api.patch(&set.key.name, &PatchParams::default(), &patch).await?;
            if from != to {
                scaled = true;
                self.tell_scaled(deployment, &set.key.name, from, to);
            }
        }
        Ok(scaled)
    }

    fn tell_scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
        tracing::info!(deployment = %deployment.key, "{message}");
        self.recorder.event(
            &deployment.reference(),
            EventType::Normal,
            "ScalingReplicaSet",
            message,
        );
    }

    /// Creates the set for the current template. One of that name with that template is ours too;
    /// with another template it makes the next attempt use another name.
    pub(super) async fn create_set(
        &self,
        deployment: &Deployment,
        limits: Limits,
        replicas: i32,
        revision: i64,
    ) -> Result<ReplicaSet, SyncError> {
        let api: Api<ApiReplicaSet> = Api::namespaced(self.client.clone(), &deployment.key.namespace);
        let set = new_set(deployment, replicas, limits, revision);
        let name = set.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &set).await {
            Ok(created) => {
                if replicas > 0 {
                    self.tell_scaled(deployment, &name, 0, replicas);
                }
                return Ok(cached::<ReplicaSetView>(created));
            }
            Err(error) if api_error::is_already_exists(&error) => {}
            Err(error) => {
                return Err(SyncError::Create {
                    message: orlop_client::message(&error),
                    name,
                    source: error,
                });
            }
        }
        let taken = cached::<ReplicaSetView>(api.get(&name).await?);
        let ours = taken
            .controller
            .as_ref()
            .is_some_and(|controller| controller.uid == deployment.uid);
        if ours && taken.template_print == deployment.template_print {
            return Ok(taken);
        }
        let collisions = deployment.status.collision_count.unwrap_or(0).saturating_add(1);
        self.patch_status(deployment, json!({"collisionCount": collisions}), None)
            .await?;
        Err(SyncError::HashCollision { name })
    }

    /// Writes a whole status, and the revision if it is to be told.
    pub(super) async fn write_status(
        &self,
        deployment: &Deployment,
        status: &DeploymentStatus,
        revision: Option<i64>,
    ) -> Result<(), SyncError> {
        let status = complete(status, &FIELDS)?;
        self.patch_status(deployment, status, revision).await
    }

    /// Writes parts of the status.
    pub(super) async fn patch_status(
        &self,
        deployment: &Deployment,
        status: Value,
        revision: Option<i64>,
    ) -> Result<(), SyncError> {
        let mut patch = at_version(deployment, json!({"status": status}));
        if let Some(revision) = revision {
            patch["metadata"]["annotations"] = json!({annotations::REVISION: revision.to_string()});
        }
        let api = metadata_api::<ApiDeployment>(&self.client, &deployment.key.namespace);
        let params = PatchParams::default();
        match api
            .patch_status(&deployment.key.name, &params, &Patch::Merge(patch))
            .await
        {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }

    /// Deletes a set that has no pods.
    pub(super) async fn delete_set(&self, set: &ReplicaSet) -> Result<(), SyncError> {
        let api = metadata_api::<ApiReplicaSet>(&self.client, &set.key.namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(set.uid.to_string()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&set.key.name, &params).await {
            Err(error) if !api_error::is_not_found(&error) => Err(error.into()),
            _ => {
                tracing::info!(set = %set.key, "deleted an old replica set");
                Ok(())
            }
        }
    }
}
