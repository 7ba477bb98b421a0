//! Feeds the graph from the metadata of every kind, and carries verdicts out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use orlop_client::events::{EventType, Recorder};
use orlop_client::informer::{Informer, MetadataEvent, ObjectKey, Projection};
use orlop_client::workqueue::WorkQueue;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::alive::group_of;
use super::graph::{FOREGROUND, Graph, ORPHAN, Place, Task, Uid};
use super::verdict::{OwnerIs, Verdict, judge};
use crate::api_error;
use crate::cache::Cache;
use crate::resources::{MetadataOnly, Served};

/// The garbage collector.
pub struct GarbageCollector {
    pub(super) client: kube::Client,
    pub(super) cache: Arc<Cache>,
    recorder: Recorder,
    pub(super) queue: Arc<WorkQueue<Task>>,
    graph: Arc<Mutex<Graph>>,
    /// By number; a kind keeps its number though it may not be served any more.
    pub(super) kinds: RwLock<Vec<Served>>,
    /// Definitions of kinds came, changed or went.
    pub(super) definitions: Arc<Notify>,
}

/// The namespace of the object that `owner` means (empty if it has none), if the shared cache shows it. Its deletion will
/// be seen there, too.
fn home_of(cache: &Cache, owner: &OwnerReference, namespace: &str) -> Option<Arc<str>> {
    fn has<P: Projection>(
        informer: &Informer<P>,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Option<Arc<str>> {
        let key = ObjectKey::new(namespace, owner.name.as_str());
        let known = informer.store().get(&key)?;
        (*known.uid == *owner.uid).then(|| known.key.namespace.clone())
    }
    match (group_of(owner), owner.kind.as_str()) {
        ("", "Node") => has(&cache.nodes, "", owner),
        ("apps", "DaemonSet") => has(&cache.daemon_sets, namespace, owner),
        ("apps", "ReplicaSet") => has(&cache.replica_sets, namespace, owner),
        ("apps", "Deployment") => has(&cache.deployments, namespace, owner),
        ("apps", "StatefulSet") => has(&cache.stateful_sets, namespace, owner),
        ("batch", "Job") => has(&cache.jobs, namespace, owner),
        ("batch", "CronJob") => has(&cache.cron_jobs, namespace, owner),
        _ => None,
    }
}

impl GarbageCollector {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let this = Arc::new(Self {
            recorder: Recorder::new(client.clone(), "garbage-collector-controller", None),
            client,
            cache: cache.clone(),
            queue: cache.queue("garbage_collector_attempt_to_delete"),
            graph: Arc::default(),
            kinds: RwLock::default(),
            definitions: Arc::default(),
        });
        this.listen(0, &cache.pods);
        this.listen(1, &cache.nodes);
        this.listen(2, &cache.daemon_sets);
        this.listen(3, &cache.revisions);
        this.listen(4, &cache.namespaces);
        this.listen(5, &cache.leases);
        this.listen(6, &cache.replica_sets);
        this.listen(7, &cache.replication_controllers);
        this.listen(8, &cache.deployments);
        this.listen(9, &cache.stateful_sets);
        this.listen(10, &cache.jobs);
        this.listen(11, &cache.cron_jobs);
        this.listen(12, &cache.budgets);
        this.listen(13, &cache.certificate_requests);
        this.listen(14, &cache.services);
        this.listen(15, &cache.slices);
        this.listen(16, &cache.endpoints);
        this
    }

    pub(super) fn listen<P: Projection>(&self, kind: usize, informer: &Informer<P>) {
        let (graph, queue) = (self.graph.clone(), self.queue.clone());
        // The cache owns its handlers; they must not own the cache.
        let cache = Arc::downgrade(&self.cache);
        informer.on_metadata(move |event| {
            let Some(cache) = cache.upgrade() else { return };
            let tasks = {
                let mut graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    MetadataEvent::Applied(metadata) => {
                        let namespace = metadata.namespace.as_deref().unwrap_or_default();
                        graph.applied(kind, metadata, |owner| home_of(&cache, owner, namespace))
                    }
                    MetadataEvent::Deleted { uid } => graph.deleted(uid),
                }
            };
            tasks.into_iter().for_each(|task| queue.add(task));
        });
    }

    /// Starts watches for the kinds that the cache doesn't watch, then the workers.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().run());
    }

    pub(super) fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn served(&self, kind: usize) -> Option<Served> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.get(kind).cloned()
    }

    pub(super) async fn look(&self, task: &Task) -> Result<(), kube::Error> {
        let (Task::Check(uid) | Task::Foreground(uid) | Task::Orphan(uid)) = task;
        let place = self.graph().place(uid);
        let Some(place) = place else { return Ok(()) };
        let Some(served) = self.served(place.kind) else {
            return Ok(());
        };
        let live = self.live(&served, &place.namespace, &place.name).await?;
        let Some(live) = live.filter(|live| live.metadata.uid.as_deref() == Some(&**uid)) else {
            self.vanished(uid);
            return Ok(());
        };
        match task {
            Task::Check(_) => self.check(&served, &place, &live).await,
            Task::Foreground(_) => {
                let blocking = self.graph().blocking(uid);
                if blocking.is_empty() {
                    return self.remove_finalizer(&served, &place, &live, FOREGROUND).await;
                }
                // Each that goes leads here again, and the others are mostly going, too.
                let mut staying = blocking;
                staying.retain(|dependent| !self.graph().is_terminating(dependent));
                staying
                    .into_iter()
                    .for_each(|dependent| self.queue.add(Task::Check(dependent)));
                Ok(())
            }
            Task::Orphan(_) => {
                let dependents = self.graph().dependents_of(uid);
                for dependent in dependents {
                    self.strip(&dependent, std::slice::from_ref(&uid.to_string()))
                        .await?;
                }
                self.remove_finalizer(&served, &place, &live, ORPHAN).await
            }
        }
    }

    /// The server doesn't have it any more though no watch said so yet.
    fn vanished(&self, uid: &Uid) {
        let tasks = self.graph().deleted(uid);
        tasks.into_iter().for_each(|task| self.queue.add(task));
    }

    /// An object as the server has it.
    async fn live(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
    ) -> Result<Option<MetadataOnly>, kube::Error> {
        match served.api(&self.client, namespace).get(name).await {
            // Where the kind isn't served in that version, nothing is said of its objects: versions come and go, and one
            // server behind the address may know what another one doesn't know yet.
            Err(error) if api_error::is_not_found(&error) && !api_error::names_object(&error) => {
                let denied = api_error::is_unserved(&error);
                match self.is_served_all_the_same(served, denied).await? {
                    true => Err(error),
                    false => Ok(None),
                }
            }
            Err(error) if api_error::is_not_found(&error) => Ok(None),
            answer => answer.map(Some),
        }
    }

    async fn check(&self, served: &Served, place: &Place, live: &MetadataOnly) -> Result<(), kube::Error> {
        let metadata = &live.metadata;
        if metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let uid = metadata.uid.as_deref().unwrap_or_default();
        let mut owners = Vec::new();
        for owner in metadata.owner_references.iter().flatten() {
            match self.owner_is(owner, place, served, live).await? {
                Some(state) => owners.push((owner.uid.clone(), state)),
                // Of a kind or in a place we cannot judge: hands off.
                None => return Ok(()),
            }
        }
        let dependents = self.graph().dependents_are(uid);
        let mut version = metadata.resource_version.clone();
        let policy = match judge(&owners, dependents) {
            Verdict::Keep => return Ok(()),
            Verdict::Strip(gone) => return self.strip(&Uid::from(uid), &gone).await,
            Verdict::DeleteForeground => PropagationPolicy::Foreground,
            Verdict::UnblockAndDeleteForeground => {
                version = self.unblock(served, place, live).await?;
                PropagationPolicy::Foreground
            }
            Verdict::Delete => {
                let own = |finalizer: &str| metadata.finalizers.iter().flatten().any(|own| own == finalizer);
                if own(ORPHAN) {
                    PropagationPolicy::Orphan
                } else if own(FOREGROUND) {
                    PropagationPolicy::Foreground
                } else {
                    PropagationPolicy::Background
                }
            }
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: metadata.uid.clone(),
                resource_version: version,
            }),
            ..DeleteParams::default()
        };
        match served
            .api(&self.client, &place.namespace)
            .delete(&place.name, &params)
            .await
        {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                let kind = &served.resource.kind;
                tracing::info!(%kind, namespace = %place.namespace, name = %place.name, uid, "owners are gone, deleted");
                Ok(())
            }
        }
    }

    /// How an owner is; `None` if that can't be told.
    async fn owner_is(
        &self,
        owner: &OwnerReference,
        place: &Place,
        served: &Served,
        dependent: &MetadataOnly,
    ) -> Result<Option<OwnerIs>, kube::Error> {
        if self.graph().is_there(owner, &place.namespace) && !self.is_waiting(&owner.uid) {
            return Ok(Some(OwnerIs::Solid));
        }
        let (was_deleted, gone) = {
            let graph = self.graph();
            let created = dependent.metadata.creation_timestamp.as_ref();
            let let_go = created.is_some_and(|created| graph.let_go(&owner.uid, created));
            let gone = if let_go { OwnerIs::LetGo } else { OwnerIs::Gone };
            (graph.was_deleted(&owner.uid), gone)
        };
        let group = group_of(owner);
        let Some(kind) = self
            .all_kinds()
            .into_iter()
            .find(|kind| kind.resource.group == group && kind.resource.kind == owner.kind)
        else {
            // Its kind is gone with it, and nobody can be asked. Whether it had a namespace can't be told any more, and
            // what has none must not go with an owner that has one.
            return Ok((was_deleted && !place.namespace.is_empty()).then_some(gone));
        };
        let nowhere = kind.namespaced && place.namespace.is_empty();
        if nowhere || self.graph().is_abroad(&owner.uid, &place.namespace) {
            self.tell_invalid(owner, place, &dependent.object_ref(&served.resource));
        }
        if nowhere {
            return Ok(None);
        }
        if was_deleted {
            return Ok(Some(gone));
        }
        let live = self.live(&kind, &place.namespace, &owner.name).await?;
        let Some(live) = live.filter(|live| live.metadata.uid.as_ref() == Some(&owner.uid)) else {
            return Ok(Some(gone));
        };
        let waiting = live.metadata.deletion_timestamp.is_some()
            && live
                .metadata
                .finalizers
                .iter()
                .flatten()
                .any(|finalizer| finalizer == FOREGROUND);
        if waiting {
            return Ok(Some(OwnerIs::Waiting));
        }
        if kind.watchable {
            let home = match kind.namespaced {
                true => place.namespace.clone(),
                false => Arc::from(""),
            };
            self.graph().found_alive(owner, &home);
        }
        Ok(Some(OwnerIs::Solid))
    }

    fn is_waiting(&self, uid: &str) -> bool {
        self.graph().is_foreground(uid)
    }

    /// Tells that what an object names as its owner can't be that: it is in another namespace, or in one at all.
    fn tell_invalid(&self, owner: &OwnerReference, place: &Place, dependent: &ObjectReference) {
        let namespace = &place.namespace;
        let message = format!(
            "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace \"{namespace}\"",
            owner.api_version, owner.kind, owner.name, owner.uid
        );
        self.recorder
            .event(dependent, EventType::Warning, "OwnerRefInvalidNamespace", message);
    }
}

#[cfg(test)]
mod tests;
