//! What makes a set worth a look, and the workers that look.

use std::sync::Arc;

use orlop_client::events::Recorder;
use orlop_client::informer::ObjectKey;
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::kind::ReplicaKind;
use crate::api_error::SyncError;
use crate::cache::Cache;
use crate::owned::{Awaited, PodTriggers};
use crate::workers::Workers;

/// Sets synced at the same time.
const WORKERS: usize = 4;

/// The controller of one of the two kinds.
pub struct ReplicaControllers<K: ReplicaKind> {
    pub(super) client: kube::Client,
    pub(super) cache: Arc<Cache>,
    pub(super) queue: Arc<WorkQueue<ObjectKey>>,
    pub(super) awaited: Arc<Awaited>,
    pub(super) recorder: Recorder,
    kind: std::marker::PhantomData<fn(K)>,
}

impl<K: ReplicaKind> ReplicaControllers<K> {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue(K::CONTROLLER);
        let awaited = Arc::new(Awaited::new(cache.pods.store()));
        let triggers = PodTriggers::<K>::new(cache, &queue, &awaited);
        let on = triggers.clone();
        K::informer(cache).on_change(move |change| on.owner_changed(change));
        cache.pods.on_change(move |change| triggers.pod(change));
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), K::COMPONENT, None),
            client,
            cache: cache.clone(),
            queue,
            awaited,
            kind: std::marker::PhantomData,
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: K::CONTROLLER,
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            SyncError::is_conflict,
        );
    }
}
