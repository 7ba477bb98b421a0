//! What makes a Service worth a look, and the workers that look.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::kept::Kept;
use super::labels as label;
use super::sync::SyncError;
use crate::cache::{BY_NAMESPACE, BY_NODE, Cache, EndpointsView, NodeView, PodView, ServiceView, SliceView};
use crate::owned::OwnWrites;
use crate::workers::Workers;

/// Services synced at the same time.
const WORKERS: usize = 2;

/// The controller of EndpointSlices and Endpoints.
pub struct ServiceEndpoints {
    pub(super) client: kube::Client,
    pub(super) cache: Arc<Cache>,
    pub(super) queue: Arc<WorkQueue<ObjectKey>>,
    pub(super) own_writes: OwnWrites,
    pub(super) gone: Arc<Mutex<HashSet<ObjectKey>>>,
    pub(super) kept: Kept,
}

impl ServiceEndpoints {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>, kept: Kept) -> Arc<Self> {
        let queue = cache.queue("endpoint_slice");
        let gone = Arc::<Mutex<HashSet<ObjectKey>>>::default();
        let triggers = Arc::new(Triggers {
            // The cache owns its handlers; they must not own the cache.
            cache: Arc::downgrade(cache),
            queue: queue.clone(),
            gone: gone.clone(),
        });
        let on = triggers.clone();
        cache.services.on_change(move |change| on.service(change));
        let on = triggers.clone();
        cache.slices.on_change(move |change| on.slice(change));
        let on = triggers.clone();
        cache.endpoints.on_change(move |change| on.endpoints(change));
        let on = triggers.clone();
        cache.nodes.on_change(move |change| on.node(change));
        cache.pods.on_change(move |change| triggers.pod(change));
        Arc::new(Self {
            client,
            cache: cache.clone(),
            queue,
            own_writes: OwnWrites::default(),
            gone,
            kept,
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "endpoints",
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

struct Triggers {
    cache: Weak<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
    /// Services that were deleted, whose Endpoints go with them. Other Endpoints without a Service
    /// are none of our business.
    gone: Arc<Mutex<HashSet<ObjectKey>>>,
}

impl Triggers {
    fn service(&self, change: &Change<ServiceView>) {
        if change.new.is_none() {
            let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
            gone.insert(change.latest().key.clone());
        }
        self.queue.add(change.latest().key.clone());
    }

    /// A slice that came or changed as it was written is found to be right; any other isn't.
    fn slice(&self, change: &Change<SliceView>) {
        for slice in [&change.old, &change.new].into_iter().flatten() {
            let ours = matches!(
                slice.managed_by.as_deref(),
                Some(label::SLICE_CONTROLLER | label::MIRROR_CONTROLLER)
            );
            if let Some(service) = slice.service.as_deref().filter(|_| ours) {
                self.queue
                    .add(ObjectKey::new(slice.key.namespace.clone(), service));
            }
        }
    }

    fn endpoints(&self, change: &Change<EndpointsView>) {
        self.queue.add(change.latest().key.clone());
    }

    fn pod(&self, change: &Change<PodView>) {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && old.labels == new.labels
            && old.address == new.address
            && old.is_ready() == new.is_ready()
            && old.terminating == new.terminating
            && old.phase == new.phase
        {
            return;
        }
        for pod in [&change.old, &change.new].into_iter().flatten() {
            // Before it has an address nothing leads to it.
            if pod.address.is_some() {
                self.selecting(&pod.key.namespace, &pod.labels);
            }
        }
    }

    fn selecting(&self, namespace: &str, labels: &BTreeMap<String, String>) {
        let Some(cache) = self.cache.upgrade() else { return };
        for service in cache.services.store().by_index(BY_NAMESPACE, namespace) {
            if service.selects(labels) {
                self.queue.add(service.key.clone());
            }
        }
    }

    /// A node that turns out to be in another zone.
    fn node(&self, change: &Change<NodeView>) {
        let zone = |node: &Option<Arc<_>>| -> Option<String> {
            let node: &Arc<orlop_client::informer::Cached<NodeView>> = node.as_ref()?;
            node.label(label::ZONE).map(str::to_owned)
        };
        let (Some(node), Some(cache)) = (&change.new, self.cache.upgrade()) else {
            return;
        };
        if zone(&change.old) == zone(&change.new) {
            return;
        }
        for pod in cache.pods.store().by_index(BY_NODE, &node.key.name) {
            self.selecting(&pod.key.namespace, &pod.labels);
        }
    }
}
