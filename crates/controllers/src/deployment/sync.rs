//! One sync of one Deployment: claim its sets, ask the pure parts, write.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use orlop_client::events::EventType;
use orlop_client::informer::ObjectKey;
use serde_json::json;

use super::conditions::{self, PROGRESSING, TIMED_OUT, condition, progresses_because};
use super::controller::Deployments;
use super::limits::{Limits, is_rolling};
use super::{annotations, history, proportional, rollback, rolling, status};
use crate::api_error;
use crate::cache::{
    BY_CONTROLLER, BY_DEPLOYMENT, Deployment, DeploymentView, ORPHAN_SETS_BY_NAMESPACE, ReplicaSet,
};
use crate::owned::status::{at_version, metadata_api};
use crate::owned::{ClaimError, Claimant, Owner, claim};

/// Why a sync must be repeated.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A ReplicaSet of that name has another template.
    #[error("replica set {name} has another template; trying the next name")]
    HashCollision {
        /// The taken name.
        name: String,
    },
    /// The server refused to create a ReplicaSet.
    #[error("cannot create replica set {name}: {message}")]
    Create {
        /// Its name.
        name: String,
        /// The server's words.
        message: String,
        /// What it answered.
        source: kube::Error,
    },
    /// It isn't known which ReplicaSets belong to it.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The server refused or didn't answer.
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
    /// A request can't be serialised.
    #[error("cannot serialise a request: {0}")]
    Serialise(#[from] serde_json::Error),
}

impl SyncError {
    /// Whether the cache was merely late.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Claim(error) => error.is_ordinary(),
            Self::Api(error) => api_error::is_conflict(error),
            _ => false,
        }
    }
}

/// The ReplicaSets of a Deployment.
struct Sets {
    /// The one with the current template.
    new: Option<ReplicaSet>,
    /// All others.
    old: Vec<ReplicaSet>,
}

impl Sets {
    fn of(deployment: &DeploymentView, sets: Vec<ReplicaSet>) -> Self {
        let mut old = rolling::by_age(&sets);
        // The oldest, if somebody made several.
        let new = old
            .iter()
            .position(|set| set.template_print == deployment.template_print)
            .map(|position| old.remove(position));
        Self { new, old }
    }

    fn all(&self) -> Vec<ReplicaSet> {
        self.old.iter().chain(&self.new).cloned().collect()
    }
}

/// What else a sync has to tell with the status.
#[derive(Default)]
struct Told {
    revision: Option<i64>,
    condition: Option<DeploymentCondition>,
}

impl Deployments {
    /// Brings the Deployment of that key one step closer to what it asks for.
    pub(super) async fn sync(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let Some(deployment) = self.cache.deployments.store().get(key) else {
            return Ok(());
        };
        if deployment.selector.is_everything() {
            return self.refuse_to_select_all(&deployment).await;
        }
        let limits = Limits::of(&deployment);
        let mut sets = Sets::of(&deployment, self.claim_sets(&deployment).await?);
        if deployment.is_terminating() {
            return self
                .sync_status(&deployment, limits, &sets, Told::default())
                .await;
        }
        if let Some(condition) = paused_condition(&deployment, Timestamp::now()) {
            let mut conditions = deployment.status.conditions.clone().unwrap_or_default();
            conditions::set(&mut conditions, condition);
            // What was written comes back and is looked at then.
            return self
                .patch_status(&deployment, json!({"conditions": conditions}), None)
                .await;
        }
        let mut told = Told::default();
        if !self.sync_revision(&deployment, &sets, &mut told).await? {
            return Ok(());
        }
        if let Some(wanted) = rollback::wanted(&deployment).filter(|_| !deployment.is_paused()) {
            // Sets have to be the revisions that they are before one of them is chosen.
            self.ensure_new(&deployment, limits, &mut sets, &mut told).await?;
            return self.roll_back(&deployment, wanted, &sets.all()).await;
        }
        if deployment.is_paused() || proportional::is_scaled(&deployment, &sets.all()) {
            let scales = proportional::scale(&deployment, limits, sets.new.as_ref(), &sets.old);
            let scaled = self.scale(&deployment, limits, scales).await?;
            if deployment.is_paused() && !scaled {
                self.clean_up(&deployment, &sets).await?;
            }
            return self.sync_status(&deployment, limits, &sets, told).await;
        }
        let scaled = if is_rolling(&deployment) {
            self.roll(&deployment, limits, &mut sets, &mut told).await?
        } else {
            self.recreate(&deployment, limits, &mut sets, &mut told).await?
        };
        let counted = self.sync_rollout(&deployment, limits, &sets, told).await?;
        if !scaled && status::is_complete(&deployment, &counted) {
            self.clean_up(&deployment, &sets).await?;
        }
        Ok(())
    }

    async fn refuse_to_select_all(&self, deployment: &Deployment) -> Result<(), SyncError> {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        self.recorder.event(
            &deployment.reference(),
            EventType::Warning,
            "SelectingAll",
            message.to_owned(),
        );
        if deployment.status.observed_generation.unwrap_or(0) < deployment.generation() {
            let status = json!({"observedGeneration": deployment.generation()});
            self.patch_status(deployment, status, None).await?;
        }
        Ok(())
    }

    async fn claim_sets(&self, deployment: &Deployment) -> Result<Vec<ReplicaSet>, ClaimError> {
        let store = self.cache.replica_sets.store();
        let mut candidates = store.by_index(BY_DEPLOYMENT, &deployment.uid);
        candidates.extend(store.by_index(ORPHAN_SETS_BY_NAMESPACE, &deployment.key.namespace));
        let reference = deployment.owner_reference();
        let claimant = Claimant {
            owner: Owner {
                uid: &deployment.uid,
                selector: &deployment.selector,
                terminating: deployment.is_terminating(),
            },
            reference: &reference,
            owners: metadata_api::<apps::Deployment>(&self.client, &deployment.key.namespace),
            finalizer: None,
        };
        let objects = metadata_api::<apps::ReplicaSet>(&self.client, &deployment.key.namespace);
        claim(&claimant, &objects, candidates).await
    }

    /// Makes sure that the set of the current template is the highest revision. False if it had to
    /// be written: it comes back and is looked at then.
    async fn sync_revision(
        &self,
        deployment: &Deployment,
        sets: &Sets,
        told: &mut Told,
    ) -> Result<bool, SyncError> {
        let Some(new) = &sets.new else { return Ok(true) };
        let revision = annotations::next_revision(&sets.old);
        let changes = annotations::updates(deployment, new, revision);
        let min_ready = deployment.spec.min_ready_seconds.unwrap_or(0);
        if !changes.is_empty() || new.min_ready_seconds != min_ready {
            let patch = json!({"metadata": {"annotations": changes}, "spec": {"minReadySeconds": min_ready}});
            let api = metadata_api::<apps::ReplicaSet>(&self.client, &new.key.namespace);
            let patch = kube::api::Patch::Merge(at_version(new, patch));
            api.patch(&new.key.name, &kube::api::PatchParams::default(), &patch)
                .await?;
            return Ok(false);
        }
        told.revision(deployment, annotations::revision(new));
        let conditions = deployment.status.conditions.as_deref().unwrap_or_default();
        if status::progress_deadline(deployment).is_some()
            && conditions::find(conditions, PROGRESSING).is_none()
        {
            let message = format!("Found new replica set \"{}\"", new.key.name);
            let now = Timestamp::now();
            told.condition = Some(condition(PROGRESSING, "True", "FoundNewReplicaSet", message, now));
        }
        Ok(true)
    }

    /// The set of the current template, created if there is none.
    async fn ensure_new(
        &self,
        deployment: &Deployment,
        limits: Limits,
        sets: &mut Sets,
        told: &mut Told,
    ) -> Result<ReplicaSet, SyncError> {
        if let Some(new) = &sets.new {
            return Ok(new.clone());
        }
        let size = rolling::new_size(deployment, limits, 0, rolling::pods_wanted(&sets.old));
        let revision = annotations::next_revision(&sets.old);
        let created = self.create_set(deployment, limits, size, revision).await;
        if let Err(SyncError::Create {
            name,
            message,
            source,
        }) = &created
            && !api_error::is_namespace_terminating(source)
        {
            self.tell_failure(deployment, name, message).await?;
        }
        let new = created?;
        told.revision(deployment, annotations::revision(&new));
        let message = format!("Created new replica set \"{}\"", new.key.name);
        let now = Timestamp::now();
        told.condition = status::progress_deadline(deployment)
            .map(|_| condition(PROGRESSING, "True", "NewReplicaSetCreated", message, now));
        sets.new = Some(new.clone());
        Ok(new)
    }

    /// The ReplicaSet `name` can't be created.
    async fn tell_failure(&self, deployment: &Deployment, name: &str, why: &str) -> Result<(), SyncError> {
        let message = format!("Failed to create new replica set \"{name}\": {why}");
        self.recorder.event(
            &deployment.reference(),
            EventType::Warning,
            "FailedCreate",
            message.clone(),
        );
        if status::progress_deadline(deployment).is_none() {
            return Ok(());
        }
        let mut conditions = deployment.status.conditions.clone().unwrap_or_default();
        let failed = condition(
            PROGRESSING,
            "False",
            "ReplicaSetCreateError",
            message,
            Timestamp::now(),
        );
        if progresses_because(&conditions, "ReplicaSetCreateError") {
            return Ok(());
        }
        conditions::set(&mut conditions, failed);
        self.patch_status(deployment, json!({"conditions": conditions}), None)
            .await
    }

    /// One step of a rolling update; whether a set was scaled.
    async fn roll(
        &self,
        deployment: &Deployment,
        limits: Limits,
        sets: &mut Sets,
        told: &mut Told,
    ) -> Result<bool, SyncError> {
        let new = self.ensure_new(deployment, limits, sets, told).await?;
        let size = rolling::new_size(deployment, limits, new.replicas, rolling::pods_wanted(&sets.old));
        let grow = vec![rolling::Scale { set: new, to: size }];
        if self.scale(deployment, limits, grow).await? {
            return Ok(true);
        }
        let shrink = rolling::shrink_old(deployment, limits, sets.new.as_ref(), &sets.old);
        self.scale(deployment, limits, shrink).await
    }

    /// One step of an update that has no old and new pods side by side.
    async fn recreate(
        &self,
        deployment: &Deployment,
        limits: Limits,
        sets: &mut Sets,
        told: &mut Told,
    ) -> Result<bool, SyncError> {
        let stop = rolling::stop_old(&sets.old);
        if self.scale(deployment, limits, stop).await? {
            return Ok(true);
        }
        let pods = self.cache.pods.store();
        // A set that still tells of its pods would be counted beside the new one.
        let running = |set: &ReplicaSet| {
            let pods = pods.by_index(BY_CONTROLLER, &set.uid);
            set.status.replicas > 0 || pods.iter().any(|pod| !pod.is_terminal())
        };
        if sets.old.iter().any(running) {
            return Ok(false);
        }
        let new = self.ensure_new(deployment, limits, sets, told).await?;
        let to = deployment.replicas();
        self.scale(deployment, limits, vec![rolling::Scale { set: new, to }])
            .await
    }

    /// Writes the status of a Deployment that isn't rolled out now.
    async fn sync_status(
        &self,
        deployment: &Deployment,
        limits: Limits,
        sets: &Sets,
        told: Told,
    ) -> Result<(), SyncError> {
        let counted = status::count(deployment, limits, sets.new.as_ref(), &sets.old, Timestamp::now());
        self.write_if_new(deployment, counted, told).await.map(drop)
    }

    /// Writes how the rollout goes.
    async fn sync_rollout(
        &self,
        deployment: &Deployment,
        limits: Limits,
        sets: &Sets,
        mut told: Told,
    ) -> Result<DeploymentStatus, SyncError> {
        let now = Timestamp::now();
        let new = sets.new.as_ref();
        let mut counted = status::count(deployment, limits, new, &sets.old, now);
        if let Some(condition) = told.condition.take() {
            conditions::set(counted.conditions.get_or_insert_default(), condition);
        }
        status::judge_rollout(deployment, &mut counted, new, &sets.old, now);
        if let Some(wait) = status::look_again(deployment, &counted, now) {
            self.queue.add_after(deployment.key.clone(), wait);
        }
        self.write_if_new(deployment, counted, told).await
    }

    async fn write_if_new(
        &self,
        deployment: &Deployment,
        mut counted: DeploymentStatus,
        told: Told,
    ) -> Result<DeploymentStatus, SyncError> {
        if let Some(condition) = told.condition {
            conditions::set(counted.conditions.get_or_insert_default(), condition);
        }
        if told.revision.is_some() || says_more(&deployment.status, &counted) {
            self.write_status(deployment, &counted, told.revision).await?;
        }
        Ok(counted)
    }

    async fn clean_up(&self, deployment: &Deployment, sets: &Sets) -> Result<(), SyncError> {
        for set in history::surplus(deployment, &sets.old) {
            self.delete_set(&set).await?;
        }
        Ok(())
    }
}

impl Told {
    /// The Deployment carries the revision of its current set.
    fn revision(&mut self, deployment: &DeploymentView, revision: i64) {
        let told = deployment.annotation(annotations::REVISION);
        if told != Some(revision.to_string().as_str()) {
            self.revision = Some(revision);
        }
    }
}

/// What is to be told about a Deployment that was paused or resumed.
fn paused_condition(deployment: &DeploymentView, now: Timestamp) -> Option<DeploymentCondition> {
    status::progress_deadline(deployment)?;
    let conditions = deployment.status.conditions.as_deref().unwrap_or_default();
    if progresses_because(conditions, TIMED_OUT) {
        return None;
    }
    let told = progresses_because(conditions, "DeploymentPaused");
    let (reason, message) = match (deployment.is_paused(), told) {
        (true, false) => ("DeploymentPaused", "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return None,
    };
    Some(condition(PROGRESSING, "Unknown", reason, message.to_owned(), now))
}

/// Whether `new` tells anything that `old` doesn't; an absent list of conditions is an empty one,
/// and their order tells nothing.
fn says_more(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let plain = |status: &DeploymentStatus| {
        let mut conditions = status.conditions.clone().unwrap_or_default();
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        DeploymentStatus {
            conditions: Some(conditions),
            ..status.clone()
        }
    };
    plain(old) != plain(new)
}
