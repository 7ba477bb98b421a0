//! One sync of one DaemonSet (contract §3.2): snapshot, ask the pure parts, write.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::apps::v1::DaemonSetStatus;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::PostParams;
use orlop_api::placement;
use orlop_client::events::{EventType, reference};
use orlop_client::informer::{ObjectKey, version_of};
use tokio::time::Instant;

use super::DaemonSets;
use super::grouping::{NodeChoice, PodsByNode};
use super::manage::{Circumstances, manage};
use super::options::Updates;
use super::pacing::lock;
use super::rolling::{self, Current};
use super::status::{OnNode, Totals};
use super::strategy::Strategy;
use super::{conditions, status, write};
use crate::api_error;
use crate::cache::{BY_CONTROLLER, DaemonSet, ORPHANS_BY_NAMESPACE, Phase, Pod};
use crate::owned::status::metadata_api;
use crate::owned::{self, ClaimError, Claimant, Owner};
use crate::revisions::RevisionError;

/// Why a sync must be repeated.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The history couldn't be kept.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// It isn't known which pods belong to it.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The server refused or didn't answer.
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
}

impl DaemonSets {
    /// Brings the DaemonSet of that key one step closer to what it asks for.
    pub(super) async fn sync(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let Some(set) = self.cache.daemon_sets.store().get(key) else {
            lock(&self.settled).remove(key);
            self.dirty.take(key);
            lock(&self.paced).remove(key);
            lock(&self.told_status).remove(key);
            lock(&self.told).remove(key);
            self.own_status.forget(key);
            return Ok(());
        };
        if set.selector.is_everything() {
            self.refuse_to_select_all(&set);
            return Ok(());
        }
        if set.is_terminating() {
            return Ok(());
        }
        if let Some(wait) = self.behind(&set).await? {
            self.queue.add_after(key.clone(), wait);
            return Ok(());
        }
        let work = self.dirty.take(key);
        let done = if !work.all && self.is_settled(&set) {
            self.sync_nodes(&set, work.nodes).await
        } else if let Some(wait) = self.pace(key) {
            self.dirty.all(key);
            self.queue.add_after(key.clone(), wait);
            return Ok(());
        } else {
            self.sync_all(&set).await
        };
        if done.is_err() {
            // Whatever went wrong: the next attempt looks at everything.
            self.dirty.all(key);
        }
        done
    }

    fn refuse_to_select_all(&self, set: &DaemonSet) {
        let message = "This daemon set is selecting all pods. A non-empty selector is required.";
        self.recorder.event(
            &reference(&set.set),
            EventType::Warning,
            "SelectingAll",
            message.to_owned(),
        );
    }

    /// Looks at every node.
    async fn sync_all(&self, set: &DaemonSet) -> Result<(), SyncError> {
        lock(&self.settled).remove(&set.key);
        let current = self.current_revision(set).await?;
        let nodes = self.choose_nodes(set);
        let mut created = Vec::new();
        let progress = self.progress(set, &current, &nodes, &mut created).await;
        if matches!(progress, Err(SyncError::Claim(ClaimError::OwnerGone { .. }))) {
            // It is as if the cache had shown that already: its status isn't touched either.
            return progress.map(drop);
        }
        let mut pods = self.owned_pods(set);
        // The status must not lag behind what this very sync did.
        let known: HashSet<&ObjectKey> = pods.iter().map(|pod| &pod.key).collect();
        created.retain(|pod| !known.contains(&pod.key));
        pods.append(&mut created);
        let failure = progress.as_ref().err().map(ToString::to_string);
        let status = self
            .write_status(
                set,
                &current.hash,
                &nodes,
                &pods,
                set.generation(),
                failure.as_deref(),
            )
            .await;
        let left = progress?;
        status?;
        self.settle(set, current.hash, &nodes, &pods);
        if !left.is_empty() {
            self.dirty.put_back(&set.key, left);
            self.queue.add(set.key.clone());
        }
        Ok(())
    }

    /// Manage pass, rolling update, pruning. The nodes for which there was too much for one sync.
    async fn progress(
        &self,
        set: &DaemonSet,
        current: &super::revisions::CurrentRevision,
        nodes: &[NodeChoice],
        created: &mut Vec<Pod>,
    ) -> Result<HashSet<Arc<str>>, SyncError> {
        let claimed = self.claim_pods(set).await?;
        let pods = PodsByNode::new(&claimed);
        let strategy = Strategy::of(&set.set);
        let now = Timestamp::now();
        let circumstances = Circumstances::of(set, &current.hash, now);
        let changes = {
            let mut backoff = lock(&self.backoff);
            manage(&circumstances, nodes, &pods, &mut backoff)
        };
        if let Some(wait) = changes.look_again {
            self.dirty
                .put_back(&set.key, changes.waiting.iter().cloned().collect());
            self.queue.add_after(set.key.clone(), to_std(wait));
        }
        for (pod, node) in &changes.finished {
            self.tell_finished(set, pod, node);
        }
        let left = changes.beyond(write::WRITES_MAX);
        let deleted: Vec<Pod> = changes.delete.iter().take(write::WRITES_MAX).cloned().collect();
        self.write_pods(set, &current.hash, changes.create, changes.delete, created)
            .await?;
        if set.options.replaces(&strategy) {
            // As the server has them now, whether or not the cache shows it yet.
            let pods = pods.after(created, &deleted);
            let desired = nodes.iter().filter(|node| node.run).count();
            let generation = set.template_generation();
            let template = Current {
                hash: &current.hash,
                generation: generation.as_deref(),
                min_ready_seconds: set.min_ready_seconds(),
                now,
            };
            let mut replacements =
                rolling::replace(&template, &set.options, &strategy, desired, nodes, &pods);
            if let Some(parallel) = set.options.pre_pull {
                self.pre_pull(set, &current.hash, parallel, &mut replacements)
                    .await?;
            }
            self.write_pods(
                set,
                &current.hash,
                replacements.create,
                replacements.delete,
                created,
            )
            .await?;
        }
        if set.options.pre_pull.is_none() || !set.options.replaces(&strategy) {
            self.end_pulls(set).await?;
        }
        if set.options.updates == Updates::OverTheAir {
            let generation = set.template_generation();
            let template = Current {
                hash: &current.hash,
                generation: generation.as_deref(),
                min_ready_seconds: 0,
                now,
            };
            self.tell_upgrades(set, &template, &claimed).await?;
        }
        self.prune(set, &current.history, &claimed).await?;
        Ok(left)
    }

    pub(super) async fn write_pods(
        &self,
        set: &DaemonSet,
        hash: &str,
        create: Vec<Arc<str>>,
        delete: Vec<Pod>,
        created: &mut Vec<Pod>,
    ) -> Result<(), SyncError> {
        let mut written = write::write(
            &self.client,
            &self.recorder,
            &self.awaited,
            set,
            hash,
            create,
            delete,
        )
        .await;
        created.append(&mut written.created);
        written.into_error().map_or(Ok(()), |error| Err(error.into()))
    }

    pub(super) fn tell_finished(&self, set: &DaemonSet, pod: &Pod, node: &str) {
        let pod_key = &pod.key;
        let (event_type, reason, message) = if pod.phase == Phase::Failed {
            let message = format!("Found failed daemon pod {pod_key} on node {node}, will try to kill it");
            (EventType::Warning, "FailedDaemonPod", message)
        } else {
            let message =
                format!("Found succeeded daemon pod {pod_key} on node {node}, will try to delete it");
            (EventType::Normal, "SucceededDaemonPod", message)
        };
        self.recorder
            .event(&reference(&set.set), event_type, reason, message);
    }

    /// Where the pods of `set` belong, by node name.
    fn choose_nodes(&self, set: &DaemonSet) -> Vec<NodeChoice> {
        let store = self.cache.nodes.store();
        let mut nodes = Vec::with_capacity(store.len());
        store.for_each(|node| {
            nodes.push(NodeChoice::of(set, node));
        });
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// The pods that are ours already.
    pub(super) fn owned_pods(&self, set: &DaemonSet) -> Vec<Pod> {
        let mut pods = self.cache.pods.store().by_index(BY_CONTROLLER, &set.uid);
        pods.retain(|pod| set.selector.matches(&pod.labels));
        pods
    }

    /// The pods that are ours, after adopting and releasing.
    pub(super) async fn claim_pods(&self, set: &DaemonSet) -> Result<Vec<Pod>, SyncError> {
        let store = self.cache.pods.store();
        let mut candidates = store.by_index(BY_CONTROLLER, &set.uid);
        candidates.extend(store.by_index(ORPHANS_BY_NAMESPACE, &set.key.namespace));
        let objects = metadata_api::<core::Pod>(&self.client, &set.key.namespace);
        let reference = placement::daemon::owner_reference(&set.set);
        let claimant = self.claimant(set, &reference);
        Ok(owned::claim(&claimant, &objects, candidates).await?)
    }

    pub(super) fn claimant<'a>(&self, set: &'a DaemonSet, reference: &'a OwnerReference) -> Claimant<'a> {
        Claimant {
            owner: Owner {
                uid: &set.uid,
                selector: &set.selector,
                terminating: set.is_terminating(),
            },
            reference,
            owners: metadata_api::<apps::DaemonSet>(&self.client, &set.key.namespace),
            finalizer: None,
        }
    }

    async fn write_status(
        &self,
        set: &DaemonSet,
        hash: &str,
        nodes: &[NodeChoice],
        pods: &[Pod],
        observed_generation: i64,
        failure: Option<&str>,
    ) -> Result<(), SyncError> {
        let generation = set.template_generation();
        let current = Current {
            hash,
            generation: generation.as_deref(),
            min_ready_seconds: set.min_ready_seconds(),
            now: Timestamp::now(),
        };
        let pods = PodsByNode::new(pods);
        let mut totals = Totals::default();
        for node in nodes {
            totals.add(OnNode::of(&current, node, pods.on(&node.name)));
        }
        let mut counted = totals.status();
        counted.observed_generation = Some(observed_generation);
        if set.min_ready_seconds() > 0 && counted.number_ready != counted.number_available.unwrap_or(0) {
            let wait = u64::try_from(set.min_ready_seconds()).unwrap_or(0);
            self.queue.add_after(set.key.clone(), Duration::from_secs(wait));
        }
        self.write_counted(set, counted, failure).await
    }

    /// Writes the status if it tells something new.
    pub(super) async fn write_counted(
        &self,
        set: &DaemonSet,
        mut counted: DaemonSetStatus,
        failure: Option<&str>,
    ) -> Result<(), SyncError> {
        counted.conditions = Some(conditions::of(set, &counted, failure));
        let now = Timestamp::now();
        let mut object = set.set.clone();
        let old = object.status.clone().unwrap_or_default();
        if status::says_the_same(&old, &counted) {
            return Ok(());
        }
        if status::can_wait(&old, &counted)
            && let Some(wait) = self.status_pause(&set.key)
        {
            self.queue.add_after(set.key.clone(), wait);
            return Ok(());
        }
        lock(&self.told_status).insert(set.key.clone(), Instant::now());
        let api: Api<apps::DaemonSet> = Api::namespaced(self.client.clone(), &set.key.namespace);
        object.status = Some(status::to_write(&old, &counted, now));
        let answer = api
            .replace_status(&set.key.name, &PostParams::default(), &object)
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if api_error::is_not_found(&error) => return Ok(()),
            // One more attempt on what is there now; then the key is requeued.
            Err(_) => {
                let Some(mut live) = api.get_opt(&set.key.name).await? else {
                    return Ok(());
                };
                if live.metadata.uid.as_deref() != Some(&*set.uid) {
                    return Ok(());
                }
                live.status = Some(status::to_write(
                    &live.status.clone().unwrap_or_default(),
                    &counted,
                    now,
                ));
                api.replace_status(&set.key.name, &PostParams::default(), &live)
                    .await?
            }
        };
        self.own_status.wrote(&set.key, version_of(&answer.metadata));
        Ok(())
    }
}

pub(super) fn to_std(wait: SignedDuration) -> Duration {
    Duration::try_from(wait).unwrap_or_default()
}
