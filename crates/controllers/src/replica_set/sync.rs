//! One sync of one set: claim its pods, ask the plan, write.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use orlop_client::informer::{Cached, ObjectKey};

use super::ReplicaControllers;
use super::kind::ReplicaKind;
use super::plan::plan;
use super::status::{self, Failure};
use crate::api_error::{self, SyncError};
use crate::cache::{BY_CONTROLLER, ORPHANS_BY_NAMESPACE, Pod};
use crate::owned::status::{complete, metadata_api, write};
use crate::owned::{ClaimError, Claimant, OwnedPods, Owner, claim, from_template, is_active};

impl<K: ReplicaKind> ReplicaControllers<K> {
    /// Brings the set of that key one step closer to what it asks for.
    pub(super) async fn sync(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let Some(set) = K::informer(&self.cache).store().get(key) else {
            return Ok(());
        };
        let namespace = &key.namespace;
        let behind = self
            .awaited
            .caught_up(&self.client, namespace, &set.uid, set.selector())
            .await?;
        if let Some(wait) = behind {
            self.queue.add_after(key.clone(), wait);
            return Ok(());
        }
        let pods = self.claim_pods(&set).await?;
        let terminating = pods
            .iter()
            .filter(|pod| pod.terminating && !pod.is_terminal())
            .count();
        let active: Vec<Pod> = pods.into_iter().filter(|pod| is_active(pod)).collect();
        let (failure, error) = if !set.is_terminating() {
            self.manage(&set, &active).await
        } else {
            (None, None)
        };
        self.write_status(&set, &active, terminating, failure).await?;
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn claim_pods(&self, set: &Cached<K>) -> Result<Vec<Pod>, ClaimError> {
        let store = self.cache.pods.store();
        let mut candidates = store.by_index(BY_CONTROLLER, &set.uid);
        candidates.extend(
            store
                .by_index(ORPHANS_BY_NAMESPACE, &set.key.namespace)
                .into_iter()
                // What is over isn't worth taking on.
                .filter(|pod| is_active(pod)),
        );
        let reference = set.owner_reference(K::API_VERSION, K::KIND);
        let claimant = Claimant {
            owner: Owner {
                uid: &set.uid,
                selector: set.selector(),
                terminating: set.is_terminating(),
            },
            reference: &reference,
            owners: metadata_api::<K::Api>(&self.client, &set.key.namespace),
            finalizer: None,
        };
        let objects = metadata_api::<core::Pod>(&self.client, &set.key.namespace);
        claim(&claimant, &objects, candidates).await
    }

    /// Creates and deletes; what went wrong, to be told and to be tried again.
    async fn manage(&self, set: &Cached<K>, active: &[Pod]) -> (Option<Failure>, Option<kube::Error>) {
        let colocated = if active.len() > usize::try_from(set.replicas).unwrap_or(0) {
            self.colocated(set)
        } else {
            HashMap::new()
        };
        let plan = plan(set.replicas, active, &colocated, Timestamp::now());
        // A template is remembered whenever pods are wanted.
        let none = core::PodTemplateSpec::default();
        let template = set.template.as_deref().unwrap_or(&none);
        let reference = set.owner_reference(K::API_VERSION, K::KIND);
        let pods = OwnedPods {
            api: Api::namespaced(self.client.clone(), &set.key.namespace),
            recorder: &self.recorder,
            awaited: &self.awaited,
            uid: &set.uid,
            about: set.reference(K::API_VERSION, K::KIND),
        };
        let make = |_| from_template(template, &reference, &set.key.namespace);
        let written = pods.write(plan.create, make, &plan.delete).await;
        let failure = |reason: &'static str, error: &kube::Error| Failure {
            reason,
            message: orlop_client::message(error),
        };
        let failed = match (&written.create_error, &written.delete_error) {
            (Some(error), _) => Some(failure("FailedCreate", error)),
            (None, Some(error)) => Some(failure("FailedDelete", error)),
            (None, None) => None,
        };
        (failed, written.into_error())
    }

    /// The active pods of this and of related sets, by node.
    fn colocated(&self, set: &Cached<K>) -> HashMap<Arc<str>, usize> {
        let mut counts = HashMap::new();
        for uid in K::siblings(&self.cache, set) {
            for pod in self.cache.pods.store().by_index(BY_CONTROLLER, &uid) {
                if let Some(node) = pod.node.as_ref().filter(|_| is_active(&pod)) {
                    *counts.entry(node.clone()).or_insert(0) += 1;
                }
            }
        }
        counts
    }

    async fn write_status(
        &self,
        set: &Cached<K>,
        active: &[Pod],
        terminating: usize,
        failure: Option<Failure>,
    ) -> Result<(), SyncError> {
        let terminating = K::COUNTS_TERMINATING.then_some(terminating);
        let counted = status::count(set, active, terminating, failure.as_ref(), Timestamp::now());
        let ready = counted.ready_replicas.unwrap_or(0);
        if set.min_ready_seconds > 0 && ready != counted.available_replicas.unwrap_or(0) {
            let wait = u64::try_from(set.min_ready_seconds).unwrap_or(0);
            self.queue.add_after(set.key.clone(), Duration::from_secs(wait));
        }
        if status::says_the_same(&set.status, &counted) {
            return Ok(());
        }
        let status = complete(&counted, &status::FIELDS)?;
        match write::<K::Api, K>(&self.client, set, status).await {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}
