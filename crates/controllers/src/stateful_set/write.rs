//! What a StatefulSet writes: pods and their claims.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use orlop_client::events::EventType;
use orlop_client::informer::Lean;
use serde_json::json;

use super::claims::{claims, deleted_with_pod, deleted_with_set, pod_as_owner, set_as_owner};
use super::controller::StatefulSets;
use super::identity::{self, ordinal, pod_name};
use super::plan::Why;
use super::sync::SyncError;
use crate::api_error;
use crate::cache::{Pod, PodView, StatefulSet, cached};
use crate::owned::status::metadata_api;

impl StatefulSets {
    fn tell(&self, set: &StatefulSet, done: &Result<(), kube::Error>, reason: (&str, &str), what: String) {
        let name = &set.key.name;
        let (event_type, reason, message) = match done {
            Ok(()) => (
                EventType::Normal,
                reason.0,
                format!("{what} in StatefulSet {name} successful"),
            ),
            Err(error) => (
                EventType::Warning,
                reason.1,
                format!(
                    "{what} in StatefulSet {name} failed error: {}",
                    api_error::message(error)
                ),
            ),
        };
        self.recorder.event(&set.reference(), event_type, reason, message);
    }

    /// Creates the claims that pod `number` lacks.
    pub(super) async fn create_claims(&self, set: &StatefulSet, number: u32) -> Result<(), SyncError> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &set.key.namespace);
        for claim in claims(set, number) {
            let name = claim.metadata.name.clone().unwrap_or_default();
            if let Some(there) = api.get_opt(&name).await? {
                // It goes with a pod that went; the new pod must not get hold of it.
                if there.metadata.deletion_timestamp.is_some() {
                    return Err(SyncError::ClaimTerminating { name });
                }
                continue;
            }
            let done = match api.create(&PostParams::default(), &claim).await {
                Err(error) if api_error::is_already_exists(&error) => Ok(()),
                done => done.map(drop),
            };
            let what = format!("create Claim {name} Pod {}", pod_name(set, number));
            self.tell(set, &done, ("SuccessfulCreate", "FailedCreate"), what);
            done?;
        }
        Ok(())
    }

    /// Creates pod `number` with its claims, from the template of revision `revision`.
    pub(super) async fn create_pod(
        &self,
        set: &StatefulSet,
        template: &PodTemplateSpec,
        revision: &str,
        number: u32,
    ) -> Result<(), SyncError> {
        self.create_claims(set, number).await?;
        let api: Api<Lean<core::Pod>> = Api::namespaced(self.client.clone(), &set.key.namespace);
        let pod = Lean(identity::pod(set, template, revision, number));
        let created = match api.create(&PostParams::default(), &pod).await {
            Err(error)
                if api_error::is_already_exists(&error) || api_error::is_namespace_terminating(&error) =>
            {
                return Ok(());
            }
            created => created,
        };
        let done = created.map(|pod| {
            let pod = cached::<PodView>(pod);
            self.awaited
                .wrote(&set.uid, &pod.key, &pod.uid, pod.resource_version);
        });
        let what = format!("create Pod {}", pod_name(set, number));
        self.tell(set, &done, ("SuccessfulCreate", "FailedCreate"), what);
        Ok(done?)
    }

    /// Deletes a pod, and with it its claims if they go with pods that are scaled away.
    pub(super) async fn delete_pod(&self, set: &StatefulSet, pod: &Pod, why: Why) -> Result<(), SyncError> {
        if why == Why::Scaled && deleted_with_pod(set) {
            self.own_claims(set, pod).await?;
        }
        let name = &pod.key.name;
        if matches!(why, Why::Failed | Why::Succeeded) {
            let (event_type, reason, what) = match why {
                Why::Failed => (EventType::Warning, "RecreatingFailedPod", "failed"),
                _ => (EventType::Normal, "RecreatingTerminatedPod", "terminated"),
            };
            let message = format!("StatefulSet {} is recreating {what} Pod {name}", set.key);
            self.recorder.event(&set.reference(), event_type, reason, message);
        }
        let api: Api<core::Pod> = Api::namespaced(self.client.clone(), &set.key.namespace);
        let params = DeleteParams {
            // Another pod may have that name by now.
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.to_string()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let done = match api.delete(name, &params).await {
            Err(error) if api_error::is_not_found(&error) || api_error::is_conflict(&error) => {
                self.awaited.deleted(&set.uid, &pod.key, &pod.uid);
                return Ok(());
            }
            done => done.map(drop),
        };
        if done.is_ok() {
            self.awaited.deleted(&set.uid, &pod.key, &pod.uid);
        }
        let what = format!("delete Pod {name}");
        self.tell(set, &done, ("SuccessfulDelete", "FailedDelete"), what);
        Ok(done?)
    }

    /// The claims of a pod that is scaled away go with it, and with nothing else.
    async fn own_claims(&self, set: &StatefulSet, pod: &Pod) -> Result<(), SyncError> {
        let Some(number) = ordinal(set, pod) else {
            return Ok(());
        };
        let owner = pod_as_owner(&pod.key.name, &pod.uid);
        let references = json!([owner, {"$patch": "delete", "uid": *set.uid}]);
        let patch = Patch::Strategic(json!({"metadata": {"ownerReferences": references}}));
        self.patch_claims(set, number, &patch).await
    }

    /// The policy may have changed: claims go with the set, or don't.
    pub(super) async fn retain_claims(&self, set: &StatefulSet, pods: &[Pod]) -> Result<(), SyncError> {
        let owner = set_as_owner(set);
        let owner = match deleted_with_set(set) {
            true => json!(owner),
            false => json!({"$patch": "delete", "uid": owner.uid}),
        };
        for pod in pods {
            let Some(number) = ordinal(set, pod).filter(|number| set.ordinals().contains(number)) else {
                continue;
            };
            // It may have been about to be scaled away.
            let references = json!([owner, {"$patch": "delete", "uid": *pod.uid}]);
            let patch = Patch::Strategic(json!({"metadata": {"ownerReferences": references}}));
            self.patch_claims(set, number, &patch).await?;
        }
        Ok(())
    }

    async fn patch_claims(
        &self,
        set: &StatefulSet,
        number: u32,
        patch: &Patch<serde_json::Value>,
    ) -> Result<(), SyncError> {
        let api = metadata_api::<PersistentVolumeClaim>(&self.client, &set.key.namespace);
        for claim in claims(set, number) {
            let name = claim.metadata.name.unwrap_or_default();
            match api.patch(&name, &PatchParams::default(), patch).await {
                Err(error) if !api_error::is_not_found(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}
