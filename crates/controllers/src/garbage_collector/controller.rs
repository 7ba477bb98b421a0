//! Feeds the graph from the metadata of every kind, and carries verdicts out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::runtime::watcher;
use orlop_client::events::{EventType, Recorder};
use orlop_client::informer::{Informer, MetadataEvent, ObjectKey, Projection};
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::graph::{FOREGROUND, Graph, ORPHAN, Place, Task, Uid};
use super::verdict::{OwnerIs, Verdict, judge};
use crate::api_error;
use crate::cache::Cache;
use crate::resources::{self, Discovered, Existence, MetadataOnly, Served};
use crate::workers::Workers;

/// Objects looked at the same time.
const WORKERS: usize = 20;
/// How long the first list of all kinds may take. Objects of one kind that can't be read, such as one whose versions
/// nobody converts, must not keep those of all others for ever; upstream's time.
const FIRST_READ_MAX: Duration = Duration::from_secs(30);
/// Pause before asking again which kinds there are, when the server didn't say.
const DISCOVERY_RETRY: Duration = Duration::from_secs(1);

/// The garbage collector.
pub struct GarbageCollector {
    client: kube::Client,
    cache: Arc<Cache>,
    recorder: Recorder,
    queue: Arc<WorkQueue<Task>>,
    graph: Arc<Mutex<Graph>>,
    /// By number; a kind keeps its number though it may not be served any more.
    kinds: RwLock<Vec<Served>>,
    /// Definitions of kinds came, changed or went.
    definitions: Arc<Notify>,
}

/// The kinds watched by the shared cache already, in the order of the first kind numbers.
const SHARED: [(&str, &str); 17] = [
    ("", "Pod"),
    ("", "Node"),
    ("apps", "DaemonSet"),
    ("apps", "ControllerRevision"),
    ("", "Namespace"),
    ("coordination.k8s.io", "Lease"),
    ("apps", "ReplicaSet"),
    ("", "ReplicationController"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("policy", "PodDisruptionBudget"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("", "Service"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("", "Endpoints"),
];

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

fn group_of(owner: &OwnerReference) -> &str {
    owner.api_version.split_once('/').map_or("", |(group, _)| group)
}

fn shared_number(served: &Served) -> Option<usize> {
    let resource = &served.resource;
    SHARED
        .iter()
        .position(|(group, kind)| *group == resource.group && *kind == resource.kind)
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

    fn listen<P: Projection>(&self, kind: usize, informer: &Informer<P>) {
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

    async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let kinds = self.kinds().await.served;
        let mut informers = Vec::new();
        let mut watches = HashMap::new();
        for (number, served) in kinds.iter().enumerate().skip(SHARED.len()) {
            if !served.watchable {
                continue;
            }
            let informer = self.informer(number, served);
            informers.push(informer.clone());
            let api = served.api(&self.client, "");
            let watch = async move { informer.run(api, watcher::Config::default()).await };
            watches.insert(number, tasks.spawn(watch));
        }
        self.set_kinds(kinds);
        let all_read = join_all(informers.iter().map(|informer| informer.synced()));
        if tokio::time::timeout(FIRST_READ_MAX, all_read).await.is_err() {
            tracing::warn!("not all kinds can be read yet, garbage collection begins without them");
        }
        self.cache.synced().await;
        Workers {
            name: "garbage_collector",
            count: WORKERS,
            of: &self,
            queue: &self.queue,
        }
        .start(
            &mut tasks,
            |this, task| async move { this.look(&task).await },
            // Somebody else changed the object; its next version says how.
            api_error::is_conflict,
        );
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    // Ends only by a panic, which must not go unseen, or when a kind went.
                    Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Some(_) => {}
                    None => return,
                },
                () = self.definitions.notified() => self.follow(&mut tasks, &mut watches).await,
            }
        }
    }

    fn informer(&self, number: usize, served: &Served) -> Arc<Informer<Existence>> {
        let informer = Arc::new(Informer::new());
        self.listen(number, &informer);
        if served.resource.kind == "CustomResourceDefinition" {
            let definitions = self.definitions.clone();
            informer.on_metadata(move |_| definitions.notify_one());
        }
        informer
    }

    /// Watches kinds that have come and leaves those that have gone alone.
    async fn follow(self: &Arc<Self>, tasks: &mut JoinSet<()>, watches: &mut HashMap<usize, AbortHandle>) {
        let found = self.kinds().await;
        let same = |a: &Served, b: &Served| {
            a.resource.group == b.resource.group && a.resource.kind == b.resource.kind
        };
        let mut kinds = self.all_kinds();
        for served in &found.served {
            if !kinds.iter().any(|known| same(known, served)) {
                kinds.push(served.clone());
            }
        }
        self.set_kinds(kinds.clone());
        for (number, served) in kinds.iter().enumerate().skip(SHARED.len()) {
            // What is behind a server that doesn't answer at the moment has not gone.
            let is_served = served.watchable
                && (found.served.iter().any(|found| same(found, served))
                    || found.unknown.contains(&served.resource.api_version));
            if !is_served {
                if let Some(watch) = watches.remove(&number) {
                    watch.abort();
                }
                continue;
            }
            if watches.contains_key(&number) {
                continue;
            }
            tracing::debug!(kind = %served.resource.kind, group = %served.resource.group, "a kind has come");
            let (this, informer) = (self.clone(), self.informer(number, served));
            let api = served.api(&self.client, "");
            let watch = async move {
                let judge_again = async {
                    informer.synced().await;
                    // Objects with owners of this kind were left alone until now.
                    let waiting = this.graph().unsettled();
                    waiting.into_iter().for_each(|task| this.queue.add(task));
                };
                tokio::join!(informer.run(api, watcher::Config::default()), judge_again);
            };
            watches.insert(number, tasks.spawn(watch));
        }
    }

    fn all_kinds(&self) -> Vec<Served> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_kinds(&self, kinds: Vec<Served>) {
        *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = kinds;
    }

    /// The kinds, those of the shared cache first.
    async fn kinds(&self) -> Discovered {
        loop {
            match resources::discover(&self.client).await {
                Ok(found) => {
                    let (shared, others): (Vec<Served>, Vec<Served>) = found
                        .served
                        .into_iter()
                        .filter(|served| !resources::is_event(served))
                        .partition(|served| shared_number(served).is_some());
                    if shared.len() == SHARED.len() {
                        let mut kinds = shared;
                        kinds.sort_by_key(shared_number);
                        kinds.extend(others);
                        return Discovered {
                            served: kinds,
                            unknown: found.unknown,
                        };
                    }
                    tracing::warn!("the server doesn't serve all kinds yet, garbage collection waits");
                }
                Err(error) => tracing::debug!(%error, "cannot discover the server's kinds yet"),
            }
            tokio::time::sleep(DISCOVERY_RETRY).await;
        }
    }

    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn served(&self, kind: usize) -> Option<Served> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.get(kind).cloned()
    }

    async fn look(&self, task: &Task) -> Result<(), kube::Error> {
        let (Task::Check(uid) | Task::Foreground(uid) | Task::Orphan(uid)) = task;
        let place = self.graph().place(uid);
        let Some(place) = place else { return Ok(()) };
        let Some(served) = self.served(place.kind) else {
            return Ok(());
        };
        let api = served.api(&self.client, &place.namespace);
        let Some(live) = api.get_opt(&place.name).await? else {
            return self.vanished(uid);
        };
        if live.metadata.uid.as_deref() != Some(&**uid) {
            return self.vanished(uid);
        }
        match task {
            Task::Check(_) => self.check(&served, &place, &live).await,
            Task::Foreground(_) => {
                let blocking = self.graph().blocking(uid);
                if blocking.is_empty() {
                    self.remove_finalizer(&served, &place, &live, FOREGROUND).await
                } else {
                    blocking
                        .into_iter()
                        .for_each(|dependent| self.queue.add(Task::Check(dependent)));
                    Ok(())
                }
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
    fn vanished(&self, uid: &Uid) -> Result<(), kube::Error> {
        let tasks = self.graph().deleted(uid);
        tasks.into_iter().for_each(|task| self.queue.add(task));
        Ok(())
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
        if self.graph().is_alive(&owner.uid, &place.namespace) && !self.is_waiting(&owner.uid) {
            return Ok(Some(OwnerIs::Solid));
        }
        let was_deleted = self.graph().was_deleted(&owner.uid);
        let group = group_of(owner);
        let Some(kind) = self
            .all_kinds()
            .into_iter()
            .find(|kind| kind.resource.group == group && kind.resource.kind == owner.kind)
        else {
            // Its kind is gone with it, and nobody can be asked. Whether it had a namespace can't be told any more, and
            // what has none must not go with an owner that has one.
            let gone = was_deleted && !place.namespace.is_empty();
            return Ok(gone.then_some(OwnerIs::Gone));
        };
        let nowhere = kind.namespaced && place.namespace.is_empty();
        if nowhere || self.graph().is_abroad(&owner.uid, &place.namespace) {
            self.tell_invalid(owner, place, &dependent.object_ref(&served.resource));
        }
        if nowhere {
            return Ok(None);
        }
        if was_deleted {
            return Ok(Some(OwnerIs::Gone));
        }
        let live = kind
            .api(&self.client, &place.namespace)
            .get_opt(&owner.name)
            .await?;
        let Some(live) = live.filter(|live| live.metadata.uid.as_ref() == Some(&owner.uid)) else {
            return Ok(Some(OwnerIs::Gone));
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
            self.graph().found_alive(&owner.uid, &home);
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

    /// Strips references to `owners` from the object `uid`.
    async fn strip(&self, uid: &Uid, owners: &[String]) -> Result<(), kube::Error> {
        let place = self.graph().place(uid);
        let Some(place) = place else { return Ok(()) };
        let Some(served) = self.served(place.kind) else {
            return Ok(());
        };
        let api = served.api(&self.client, &place.namespace);
        let owners: HashSet<&str> = owners.iter().map(String::as_str).collect();
        // Read and replace the list as a whole: not every kind merges it by uid.
        let Some(live) = api.get_opt(&place.name).await? else {
            return Ok(());
        };
        if live.metadata.uid.as_deref() != Some(&**uid) {
            return Ok(());
        }
        let mut left = live.metadata.owner_references.unwrap_or_default();
        left.retain(|owner| !owners.contains(owner.uid.as_str()));
        let patch = json!({"metadata": {
            "uid": **uid,
            "resourceVersion": live.metadata.resource_version,
            "ownerReferences": if left.is_empty() { json!(null) } else { json!(left) },
        }});
        match api
            .patch(&place.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Lets no owner wait for the object any more; its version then.
    async fn unblock(
        &self,
        served: &Served,
        place: &Place,
        live: &MetadataOnly,
    ) -> Result<Option<String>, kube::Error> {
        let mut owners = live.metadata.owner_references.clone().unwrap_or_default();
        for owner in &mut owners {
            owner.block_owner_deletion = Some(false);
        }
        let patch = json!({"metadata": {
            "uid": live.metadata.uid,
            "resourceVersion": live.metadata.resource_version,
            "ownerReferences": owners,
        }});
        let patched = served
            .api(&self.client, &place.namespace)
            .patch(&place.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(patched.metadata.resource_version)
    }

    async fn remove_finalizer(
        &self,
        served: &Served,
        place: &Place,
        live: &MetadataOnly,
        finalizer: &str,
    ) -> Result<(), kube::Error> {
        let mut left = live.metadata.finalizers.clone().unwrap_or_default();
        let before = left.len();
        left.retain(|found| found != finalizer);
        if left.len() == before {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "uid": live.metadata.uid,
            "resourceVersion": live.metadata.resource_version,
            "finalizers": if left.is_empty() { json!(null) } else { json!(left) },
        }});
        let api = served.api(&self.client, &place.namespace);
        match api
            .patch(&place.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }
}
