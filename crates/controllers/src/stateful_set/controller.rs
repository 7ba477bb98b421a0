//! What makes a StatefulSet worth a look, and the workers that look.

use std::sync::Arc;

use orlop_api::selector::LabelSelector;
use orlop_client::events::Recorder;
use orlop_client::informer::{Change, Informer, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::sync::SyncError;
use crate::cache::{Cache, RevisionView, StatefulSetView};
use crate::owned::{Awaited, OwnWrites, OwnerView, PodTriggers};
use crate::workers::Workers;

/// StatefulSets synced at the same time.
const WORKERS: usize = 2;

/// The StatefulSet controller.
pub struct StatefulSets {
    pub(super) client: kube::Client,
    pub(super) cache: Arc<Cache>,
    pub(super) queue: Arc<WorkQueue<ObjectKey>>,
    pub(super) recorder: Recorder,
    pub(super) own_status: OwnWrites,
    pub(super) awaited: Arc<Awaited>,
}

impl OwnerView for StatefulSetView {
    const KIND: &'static str = "StatefulSet";
    fn informer(cache: &Cache) -> &Informer<Self> {
        &cache.stateful_sets
    }
    fn selector(&self) -> &LabelSelector {
        &self.selector
    }
    fn min_ready_seconds(&self) -> i32 {
        Self::min_ready_seconds(self)
    }
}

impl StatefulSets {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("statefulset");
        let awaited = Arc::new(Awaited::new(cache.pods.store()));
        let triggers = PodTriggers::<StatefulSetView>::new(cache, &queue, &awaited);
        let on = triggers.clone();
        cache
            .stateful_sets
            .on_change(move |change| on.owner_changed(change));
        let on = triggers.clone();
        cache.pods.on_change(move |change| on.pod(change));
        let on = queue.clone();
        cache.revisions.on_change(move |change: &Change<RevisionView>| {
            let revision = change.latest();
            if let Some(set) = triggers.owner(&revision.key.namespace, revision.controller.as_ref()) {
                on.add(set.key.clone());
            }
        });
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), "statefulset-controller", None),
            client,
            cache: cache.clone(),
            queue,
            own_status: OwnWrites::default(),
            awaited,
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "statefulset",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            SyncError::is_ordinary,
        );
    }
}
