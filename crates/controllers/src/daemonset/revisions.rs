//! Which revision of a DaemonSet is current, and what becomes of the others.

use std::collections::HashSet;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use orlop_api::annotations::CONTROLLER_REVISION_HASH;
use orlop_api::placement::daemon;
use serde_json::json;

use super::DaemonSets;
use super::sync::SyncError;
use crate::cache::{DaemonSet, Pod, Revision};
use crate::revisions::{Given, HashLabel, History, Keeper, RevisionError, hash_of};

/// The label and the old revisions of a DaemonSet whose current revision exists.
pub struct CurrentRevision {
    /// Hash label of the current revision, and so of pods made now.
    pub hash: String,
    /// All about its revisions.
    pub history: History,
}

impl DaemonSets {
    fn keeper<'a>(&'a self, set: &'a DaemonSet, reference: &'a OwnerReference) -> Keeper<'a> {
        Keeper {
            client: &self.client,
            key: &set.key,
            hash: HashLabel::OfPods,
            claimant: self.claimant(set, reference),
        }
    }

    /// Makes sure that exactly one revision has the template of `set` and the highest number.
    pub(super) async fn current_revision(&self, set: &DaemonSet) -> Result<CurrentRevision, SyncError> {
        let reference = daemon::owner_reference(&set.set);
        let keeper = self.keeper(set, &reference);
        let bytes = set.revision_bytes.as_deref().ok_or(RevisionError::Template)?;
        let history = History::new(keeper.claim(&self.cache).await?, bytes);
        let Some(current) = &history.current else {
            let collisions = set.set.status.as_ref().and_then(|status| status.collision_count);
            let template = set.set.spec.as_ref().map(|spec| &spec.template);
            let given = Given {
                labels: template.and_then(|template| template.metadata.as_ref()?.labels.clone()),
                annotations: set.set.metadata.annotations.clone(),
                collisions,
            };
            let created = keeper.create(bytes, history.next, given).await;
            if let Err(RevisionError::HashCollision { .. }) = &created {
                self.count_collision(set, collisions).await?;
            }
            let hash = created?;
            return Ok(CurrentRevision { hash, history });
        };
        let hash = hash_of(current);
        if current.revision < history.next {
            keeper.renumber(current, history.next).await?;
        }
        for duplicate in &history.duplicates {
            self.merge_revision(set, duplicate, &hash).await?;
        }
        Ok(CurrentRevision { hash, history })
    }

    /// Makes the next attempt use another name, unless somebody did so already.
    async fn count_collision(&self, set: &DaemonSet, seen: Option<i32>) -> Result<(), SyncError> {
        let api = Api::namespaced(self.client.clone(), &set.key.namespace);
        let mut live: apps::DaemonSet = api.get(&set.key.name).await?;
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
        let reference = daemon::owner_reference(&set.set);
        Ok(self.keeper(set, &reference).delete(duplicate).await?)
    }

    /// Deletes old revisions beyond the history limit that no pod uses.
    pub(super) async fn prune(
        &self,
        set: &DaemonSet,
        history: &History,
        pods: &[Pod],
    ) -> Result<(), SyncError> {
        let in_use: HashSet<&str> = pods
            .iter()
            .filter_map(|pod| pod.labels.get(CONTROLLER_REVISION_HASH).map(String::as_str))
            .collect();
        let reference = daemon::owner_reference(&set.set);
        let keeper = self.keeper(set, &reference);
        for revision in history.surplus(set.history_limit(), |revision| {
            revision
                .labels
                .get(CONTROLLER_REVISION_HASH)
                .is_some_and(|hash| in_use.contains(hash.as_str()))
        }) {
            keeper.delete(&revision).await?;
        }
        Ok(())
    }
}
