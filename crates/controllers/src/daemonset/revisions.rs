//! Claims, creates, renumbers and prunes a DaemonSet's ControllerRevisions.

use std::collections::HashSet;

use http::header::CONTENT_TYPE;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use orlop_api::annotations::CONTROLLER_REVISION_HASH;
use orlop_api::placement::daemon;
use orlop_client::informer::Projection;
use serde_json::json;
use serde_json::value::RawValue;

use super::history::History;
use super::sync::SyncError;
use super::{DaemonSets, revision_bytes};
use crate::api_error;
use crate::cache::{BY_OWNER, DaemonSet, ORPHAN_REVISIONS_BY_NAMESPACE, Pod, Revision, RevisionView};
use crate::owned;
use crate::owned::status::metadata_api;

/// The label and the old revisions of a DaemonSet whose current revision exists.
pub struct CurrentRevision {
    /// Hash label of the current revision, and so of pods made now.
    pub hash: String,
    /// All about its revisions.
    pub history: History,
}

impl DaemonSets {
    /// Makes sure that exactly one revision has the template of `set` and the highest number.
    pub(super) async fn current_revision(&self, set: &DaemonSet) -> Result<CurrentRevision, SyncError> {
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &set.key.namespace);
        let bytes = set.revision_bytes.as_deref().ok_or(SyncError::Template)?;
        let history = History::new(self.claim_revisions(&api, set).await?, bytes);
        let Some(current) = &history.current else {
            let hash = self.create_revision(&api, set, bytes, history.next).await?;
            return Ok(CurrentRevision { hash, history });
        };
        let hash = hash_of(current);
        if current.revision < history.next {
            let patch = json!({"revision": history.next});
            api.patch(&current.key.name, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
            tracing::info!(daemonset = %set.key, revision = history.next, hash, "an old revision is current again");
        }
        for duplicate in &history.duplicates {
            self.merge_revision(&api, set, duplicate, &hash).await?;
        }
        Ok(CurrentRevision { hash, history })
    }

    async fn claim_revisions(
        &self,
        api: &Api<ControllerRevision>,
        set: &DaemonSet,
    ) -> Result<Vec<Revision>, SyncError> {
        let store = self.cache.revisions.store();
        let mut candidates = store.by_index(BY_OWNER, &set.uid);
        candidates.extend(store.by_index(ORPHAN_REVISIONS_BY_NAMESPACE, &set.key.namespace));
        let objects = metadata_api::<ControllerRevision>(&self.client, &set.key.namespace);
        let reference = daemon::owner_reference(&set.set);
        let claimed = owned::claim(&self.claimant(set, &reference), &objects, candidates).await?;
        for revision in &claimed {
            let name = &revision.key.name;
            if !revision.labels.contains_key(CONTROLLER_REVISION_HASH) {
                let patch = json!({"metadata": {"labels": {CONTROLLER_REVISION_HASH: **name}}});
                api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
            }
        }
        Ok(claimed)
    }

    /// Creates the revision for `bytes`; its hash. A taken name is ours if it holds the same.
    async fn create_revision(
        &self,
        api: &Api<ControllerRevision>,
        set: &DaemonSet,
        bytes: &str,
        number: i64,
    ) -> Result<String, SyncError> {
        let collisions = set.set.status.as_ref().and_then(|status| status.collision_count);
        let hash = revision_bytes::hash(bytes, collisions);
        let name = format!("{}-{hash}", set.key.name);
        let mut labels = set
            .set
            .spec
            .as_ref()
            .and_then(|spec| spec.template.metadata.as_ref())
            .and_then(|metadata| metadata.labels.clone())
            .unwrap_or_default();
        labels.insert(CONTROLLER_REVISION_HASH.to_owned(), hash.clone());
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(set.key.namespace.to_string()),
            labels: Some(labels),
            annotations: set.set.metadata.annotations.clone(),
            owner_references: Some(vec![daemon::owner_reference(&set.set)]),
            ..ObjectMeta::default()
        };
        match self
            .post_revision(&set.key.namespace, &metadata, bytes, number)
            .await
        {
            Ok(()) => {
                tracing::info!(daemonset = %set.key, revision = number, hash, "new revision");
                return Ok(hash);
            }
            Err(SyncError::Api(error)) if api_error::is_conflict(&error) => {}
            Err(error) => return Err(error),
        }
        let taken = RevisionView::project(api.get(&name).await?);
        if *taken.bytes == *bytes.as_bytes() {
            return Ok(hash);
        }
        self.count_collision(set, collisions).await?;
        Err(SyncError::HashCollision { name })
    }

    /// POSTs with `data` as the very bytes: a typed client would escape them in its own way.
    async fn post_revision(
        &self,
        namespace: &str,
        metadata: &ObjectMeta,
        bytes: &str,
        number: i64,
    ) -> Result<(), SyncError> {
        let data: &RawValue = serde_json::from_str(bytes)?;
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Posted<'a> {
            api_version: &'a str,
            kind: &'a str,
            metadata: &'a ObjectMeta,
            data: &'a RawValue,
            revision: i64,
        }
        let posted = Posted {
            api_version: "apps/v1",
            kind: "ControllerRevision",
            metadata,
            data,
            revision: number,
        };
        let request = http::Request::post(format!(
            "/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
        ))
        .header(CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&posted)?)
        .map_err(|error| SyncError::Request(error.to_string()))?;
        let request: http::Request<Vec<u8>> = request;
        let _: ControllerRevision = self.client.request(request).await?;
        Ok(())
    }

    /// Makes the next attempt use another name, unless somebody did so already.
    async fn count_collision(&self, set: &DaemonSet, seen: Option<i32>) -> Result<(), SyncError> {
        let api = Api::namespaced(self.client.clone(), &set.key.namespace);
        let mut live: k8s_openapi::api::apps::v1::DaemonSet = api.get(&set.key.name).await?;
        let status = live.status.get_or_insert_default();
        if status.collision_count != seen {
            return Ok(());
        }
        status.collision_count = Some(seen.unwrap_or(0).saturating_add(1));
        api.replace_status(&set.key.name, &PostParams::default(), &live)
            .await?;
        Ok(())
    }

    /// Gives the pods of a duplicate the current hash, then deletes it.
    async fn merge_revision(
        &self,
        api: &Api<ControllerRevision>,
        set: &DaemonSet,
        duplicate: &Revision,
        hash: &str,
    ) -> Result<(), SyncError> {
        let pods: Api<core::Pod> = Api::namespaced(self.client.clone(), &set.key.namespace);
        let patch = json!({"metadata": {"labels": {CONTROLLER_REVISION_HASH: hash}}});
        for pod in self.claim_pods(set).await? {
            if pod.labels.get(CONTROLLER_REVISION_HASH).map(String::as_str) != Some(hash) {
                pods.patch(&pod.key.name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await?;
            }
        }
        delete(api, duplicate).await
    }

    /// Deletes old revisions beyond the history limit that no pod uses.
    pub(super) async fn prune(
        &self,
        set: &DaemonSet,
        history: &History,
        pods: &[Pod],
    ) -> Result<(), SyncError> {
        let in_use: HashSet<String> = pods
            .iter()
            .filter_map(|pod| pod.labels.get(CONTROLLER_REVISION_HASH).cloned())
            .collect();
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &set.key.namespace);
        for revision in history.surplus(set.history_limit(), &in_use) {
            delete(&api, &revision).await?;
            tracing::info!(daemonset = %set.key, revision = revision.revision, "pruned an old revision");
        }
        Ok(())
    }
}

fn hash_of(revision: &Revision) -> String {
    revision
        .labels
        .get(CONTROLLER_REVISION_HASH)
        .cloned()
        .unwrap_or_else(|| revision.key.name.to_string())
}

async fn delete(api: &Api<ControllerRevision>, revision: &Revision) -> Result<(), SyncError> {
    match api.delete(&revision.key.name, &DeleteParams::default()).await {
        Err(error) if !api_error::is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
