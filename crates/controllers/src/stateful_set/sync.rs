//! One sync of one StatefulSet: claim its pods, ask the pure parts, write.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use orlop_client::informer::ObjectKey;
use serde_json::{Value, json};

use super::controller::StatefulSets;
use super::identity::{ordinal, revision};
use super::plan::{Plan, Revisions, plan};
use super::status::{self, FIELDS};
use crate::api_error;
use crate::cache::{BY_CONTROLLER, ORPHANS_BY_NAMESPACE, Pod, StatefulSet};
use crate::owned::status::{complete, metadata_api, write};
use crate::owned::{self, BEHIND_RETRY, ClaimError, Claimant, Owner};
use crate::revisions::{Given, HashLabel, History, Keeper, RevisionError};

/// Why a sync must be repeated.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The history couldn't be kept.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// A claim is on its way out.
    #[error("claim {name} is being deleted; its pod is created when it is gone")]
    ClaimTerminating {
        /// Its name.
        name: String,
    },
    /// It isn't known which pods belong to it.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The server refused or didn't answer.
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
    /// Something can't be read or written as JSON.
    #[error("cannot serialise a request: {0}")]
    Serialise(#[from] serde_json::Error),
}

impl SyncError {
    /// Whether waiting a little is all that is needed.
    pub fn is_ordinary(&self) -> bool {
        match self {
            Self::Api(error) | Self::Revision(RevisionError::Api(error)) => api_error::is_conflict(error),
            Self::Claim(error) | Self::Revision(RevisionError::Claim(error)) => error.is_ordinary(),
            Self::ClaimTerminating { .. } => true,
            _ => false,
        }
    }
}

/// The two revisions with their templates.
struct Templates {
    current: (String, PodTemplateSpec),
    update: (String, PodTemplateSpec),
    history: History,
}

impl StatefulSets {
    /// Brings the StatefulSet of that key one step closer to what it asks for.
    pub(super) async fn sync(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let Some(set) = self.cache.stateful_sets.store().get(key) else {
            self.own_status.forget(key);
            return Ok(());
        };
        let seen = self.cache.stateful_sets.store().resource_version();
        if !self.own_status.caught_up(key, seen) {
            self.queue.add_after(key.clone(), BEHIND_RETRY);
            return Ok(());
        }
        // Pods have names of their own: no answer that was lost has to be asked after.
        if let Some(wait) = self.awaited.behind(&set.uid) {
            self.queue.add_after(key.clone(), wait);
            return Ok(());
        }
        if set.selector.is_everything() {
            return Ok(());
        }
        let reference = set.owner_reference();
        let pods = self.claim_pods(&set, &reference).await?;
        let templates = self.templates(&set, &reference).await?;
        let revisions = Revisions {
            current: &templates.current.0,
            update: &templates.update.0,
        };
        let now = Timestamp::now();
        let plan = plan(&set, &pods, revisions, now);
        let done = self.carry_out(&set, &templates, plan).await;
        if !set.is_terminating() && set.status.observed_generation.unwrap_or(0) < set.generation() {
            self.retain_claims(&set, &pods).await?;
        }
        let counted = status::count(&set, &pods, revisions, now);
        if counted.ready_replicas.unwrap_or(0) != counted.available_replicas.unwrap_or(0) {
            let wait = u64::try_from(set.min_ready_seconds()).unwrap_or(0);
            self.queue.add_after(key.clone(), Duration::from_secs(wait));
        }
        if counted != set.status {
            let value = complete(&counted, &FIELDS)?;
            match write::<apps::StatefulSet, _>(&self.client, &set, value).await {
                Err(error) if api_error::is_not_found(&error) => {}
                result => self.own_status.wrote(key, result?),
            }
        }
        done?;
        self.prune(&set, &reference, &templates, &pods).await
    }

    fn claimant<'a>(&self, set: &'a StatefulSet, reference: &'a OwnerReference) -> Claimant<'a> {
        Claimant {
            owner: Owner {
                uid: &set.uid,
                selector: &set.selector,
                terminating: set.is_terminating(),
            },
            reference,
            owners: metadata_api::<apps::StatefulSet>(&self.client, &set.key.namespace),
            finalizer: None,
        }
    }

    async fn claim_pods(&self, set: &StatefulSet, reference: &OwnerReference) -> Result<Vec<Pod>, SyncError> {
        let store = self.cache.pods.store();
        let mut candidates = store.by_index(BY_CONTROLLER, &set.uid);
        candidates.extend(store.by_index(ORPHANS_BY_NAMESPACE, &set.key.namespace));
        candidates.retain(|pod| ordinal(set, pod).is_some());
        let objects = metadata_api::<core::Pod>(&self.client, &set.key.namespace);
        Ok(owned::claim(&self.claimant(set, reference), &objects, candidates).await?)
    }

    fn keeper<'a>(&'a self, set: &'a StatefulSet, reference: &'a OwnerReference) -> Keeper<'a> {
        Keeper {
            client: &self.client,
            key: &set.key,
            hash: HashLabel::OfData,
            claimant: self.claimant(set, reference),
        }
    }

    /// Makes sure that a revision has the template of `set`; that and the one pods were of before.
    async fn templates(&self, set: &StatefulSet, reference: &OwnerReference) -> Result<Templates, SyncError> {
        let keeper = self.keeper(set, reference);
        let bytes = set.revision_bytes.as_deref().ok_or(RevisionError::Template)?;
        let history = History::new(keeper.claim(&self.cache).await?, bytes);
        let update = match &history.current {
            Some(current) => {
                if current.revision < history.next {
                    keeper.renumber(current, history.next).await?;
                }
                current.key.name.to_string()
            }
            None => {
                let metadata = set.spec.template.metadata.as_ref();
                let given = Given {
                    labels: metadata.and_then(|metadata| metadata.labels.clone()),
                    annotations: set.metadata.annotations.clone(),
                    collisions: set.status.collision_count,
                };
                let created = keeper.create(bytes, history.next, given).await;
                if let Err(RevisionError::HashCollision { .. }) = &created {
                    let collisions = set.status.collision_count.unwrap_or(0).saturating_add(1);
                    let status = json!({"collisionCount": collisions});
                    write::<apps::StatefulSet, _>(&self.client, set, status).await?;
                }
                format!("{}-{}", set.key.name, created?)
            }
        };
        let before = set.status.current_revision.as_deref();
        let current = history
            .old
            .iter()
            .find(|revision| before == Some(&*revision.key.name))
            .map(|revision| Ok((revision.key.name.to_string(), template_of(&revision.bytes)?)))
            .transpose()
            .map_err(SyncError::Serialise)?
            .unwrap_or_else(|| (update.clone(), set.spec.template.clone()));
        Ok(Templates {
            current,
            update: (update, set.spec.template.clone()),
            history,
        })
    }

    async fn carry_out(&self, set: &StatefulSet, templates: &Templates, plan: Plan) -> Result<(), SyncError> {
        for number in plan.pending {
            self.create_claims(set, number, false).await?;
        }
        for (number, updated) in plan.create {
            let (name, template) = if updated {
                &templates.update
            } else {
                &templates.current
            };
            self.create_pod(set, template, name, number).await?;
        }
        for (pod, why) in plan.delete {
            self.delete_pod(set, &pod, why).await?;
        }
        Ok(())
    }

    /// Deletes old revisions beyond the history limit that nothing uses.
    async fn prune(
        &self,
        set: &StatefulSet,
        reference: &OwnerReference,
        templates: &Templates,
        pods: &[Pod],
    ) -> Result<(), SyncError> {
        let mut in_use: HashSet<&str> = pods.iter().filter_map(revision).collect();
        in_use.insert(&templates.current.0);
        let keeper = self.keeper(set, reference);
        for old in templates.history.surplus(set.history_limit(), |revision| {
            in_use.contains(&*revision.key.name)
        }) {
            keeper.delete(&old).await?;
        }
        Ok(())
    }
}

/// The template that a revision stores.
fn template_of(bytes: &[u8]) -> Result<PodTemplateSpec, serde_json::Error> {
    let mut patch: Value = serde_json::from_slice(bytes)?;
    let mut template = patch["spec"]["template"].take();
    if let Some(template) = template.as_object_mut() {
        template.remove("$patch");
    }
    serde_json::from_value(template)
}
