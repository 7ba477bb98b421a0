//! What a StatefulSet writes: pods and their claims.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use orlop_client::events::EventType;
use orlop_client::informer::Lean;
use serde_json::json;

use super::claims::{
    Owners, PodOfClaim, claims, deleted_with_pod, is_managed_by_others, is_of_another_pod, owners,
};
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
                    orlop_client::message(error)
                ),
            ),
        };
        self.recorder.event(&set.reference(), event_type, reason, message);
    }

    /// Creates the claims that pod `number` lacks. If the pod is yet to be created itself, claims that it finds are
    /// made to go with what they should.
    pub(super) async fn create_claims(
        &self,
        set: &StatefulSet,
        number: u32,
        is_new: bool,
    ) -> Result<(), SyncError> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &set.key.namespace);
        let pod_name = pod_name(set, number);
        let pod = PodOfClaim {
            name: &pod_name,
            uid: None,
            scaled_away: false,
        };
        for claim in claims(set, number) {
            let name = claim.metadata.name.clone().unwrap_or_default();
            if let Some(there) = api.get_opt(&name).await? {
                let known = there.metadata.owner_references.as_deref().unwrap_or_default();
                let goes = is_new && deleted_with_pod(set) && is_of_another_pod(known, pod);
                // It goes with a pod that went; the new pod must not get hold of it.
                if there.metadata.deletion_timestamp.is_some() || goes {
                    return Err(SyncError::ClaimTerminating { name });
                }
                if is_new {
                    self.own_claim(set, &there.metadata, pod).await?;
                }
                continue;
            }
            let done = match api.create(&PostParams::default(), &claim).await {
                Err(error) if api_error::is_already_exists(&error) => Ok(()),
                done => done.map(drop),
            };
            let what = format!("create Claim {name} Pod {pod_name}");
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
        self.create_claims(set, number, true).await?;
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
            self.own_claims(set, pod, true).await?;
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

    /// The policy may have changed: claims go with the set, with their pod, or with nothing.
    pub(super) async fn retain_claims(&self, set: &StatefulSet, pods: &[Pod]) -> Result<(), SyncError> {
        for pod in pods {
            let scaled_away = ordinal(set, pod).is_some_and(|number| !set.ordinals().contains(&number));
            self.own_claims(set, pod, scaled_away).await?;
        }
        Ok(())
    }

    /// Makes the claims of a pod go with what they should.
    async fn own_claims(&self, set: &StatefulSet, pod: &Pod, scaled_away: bool) -> Result<(), SyncError> {
        let Some(number) = ordinal(set, pod) else {
            return Ok(());
        };
        let pod = PodOfClaim {
            name: &pod.key.name,
            uid: Some(&pod.uid),
            scaled_away,
        };
        let api = metadata_api::<PersistentVolumeClaim>(&self.client, &set.key.namespace);
        for claim in claims(set, number) {
            if let Some(there) = api.get_opt(&claim.metadata.name.unwrap_or_default()).await? {
                self.own_claim(set, &there.metadata, pod).await?;
            }
        }
        Ok(())
    }

    /// Makes one claim go with what it should, unless it changes meanwhile.
    async fn own_claim(
        &self,
        set: &StatefulSet,
        claim: &ObjectMeta,
        pod: PodOfClaim<'_>,
    ) -> Result<(), SyncError> {
        let name = claim.name.as_deref().unwrap_or_default();
        let known = claim.owner_references.as_deref().unwrap_or_default();
        if is_managed_by_others(set, known, pod) {
            let message = format!(
                "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a managing controller, \
                 the retention policy is ignored for this claim"
            );
            self.recorder.event(
                &set.reference(),
                EventType::Warning,
                "ConflictingController",
                message,
            );
        }
        let Owners::Wrong(owners) = owners(set, known, pod) else {
            return Ok(());
        };
        let api = metadata_api::<PersistentVolumeClaim>(&self.client, &set.key.namespace);
        let patch = json!({"metadata": {"uid": claim.uid, "resourceVersion": claim.resource_version,
            "ownerReferences": (!owners.is_empty()).then_some(owners)}});
        match api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Err(error) if !api_error::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
