//! What makes a DaemonSet worth a look (contract §3.1), and the workers that look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use orlop_api::placement;
use orlop_client::events::Recorder;
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::FailedPodBackoff;
use super::expectations::Expectations;
use super::pacing::OwnWrites;
use super::sync::SyncError;
use crate::cache::{
    BY_NODE, Cache, ControllerRef, DaemonSet, DaemonSetView, Node, NodeView, Pod, PodView, RevisionView,
};
use crate::workers::work_off;

/// DaemonSets synced at the same time.
const WORKERS: usize = 2;

/// The DaemonSet controller.
pub struct DaemonSets {
    pub(super) client: kube::Client,
    pub(super) cache: Arc<Cache>,
    pub(super) queue: Arc<WorkQueue<ObjectKey>>,
    pub(super) expectations: Arc<Expectations>,
    pub(super) recorder: Recorder,
    pub(super) backoff: Mutex<FailedPodBackoff>,
    pub(super) own_writes: Mutex<HashMap<ObjectKey, OwnWrites>>,
    /// When each may be looked at again.
    pub(super) paced: Mutex<HashMap<ObjectKey, Instant>>,
}

impl DaemonSets {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = Arc::new(WorkQueue::new());
        let expectations = Arc::new(Expectations::default());
        let triggers = Arc::new(Triggers {
            // The cache owns its handlers; they must not own the cache.
            cache: Arc::downgrade(cache),
            queue: queue.clone(),
            expectations: expectations.clone(),
        });
        let on = triggers.clone();
        cache.daemon_sets.on_change(move |change| on.daemon_set(change));
        let on = triggers.clone();
        cache.pods.on_change(move |change| on.pod(change));
        let on = triggers.clone();
        cache.revisions.on_change(move |change| on.revision(change));
        cache.nodes.on_change(move |change| triggers.node(change));
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), "daemonset-controller", None),
            client,
            cache: cache.clone(),
            queue,
            expectations,
            backoff: Mutex::default(),
            own_writes: Mutex::default(),
            paced: Mutex::default(),
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        for _ in 0..WORKERS {
            let this = self.clone();
            tasks.spawn(work_off(
                "daemonset",
                self.queue.clone(),
                move |key: ObjectKey| {
                    let this = this.clone();
                    async move { this.sync(&key).await }
                },
                |_: &SyncError| false,
            ));
        }
    }
}

struct Triggers {
    cache: Weak<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
    expectations: Arc<Expectations>,
}

impl Triggers {
    fn daemon_set(&self, change: &Change<DaemonSetView>) {
        let set = change.latest();
        if change.new.is_none() {
            self.expectations.forget(&set.uid);
        }
        self.queue.add(set.key.clone());
    }

    /// The DaemonSet that `controller` means, if it is the one we know.
    fn owner(&self, namespace: &Arc<str>, controller: Option<&ControllerRef>) -> Option<DaemonSet> {
        let controller = controller.filter(|controller| controller.kind == "DaemonSet")?;
        let key = ObjectKey {
            namespace: namespace.clone(),
            name: controller.name.clone(),
        };
        let set = self.cache.upgrade()?.daemon_sets.store().get(&key)?;
        (set.uid == controller.uid).then_some(set)
    }

    /// Every DaemonSet that might adopt something with these labels.
    fn enqueue_matching(&self, namespace: &str, labels: &std::collections::BTreeMap<String, String>) {
        let Some(cache) = self.cache.upgrade() else { return };
        cache.daemon_sets.store().for_each(|set| {
            if &*set.key.namespace == namespace && set.selector.matches(labels) {
                self.queue.add(set.key.clone());
            }
        });
    }

    fn pod(&self, change: &Change<PodView>) {
        match (&change.old, &change.new) {
            (None, Some(pod)) => self.pod_added(pod),
            (Some(old), Some(new)) => self.pod_updated(old, new),
            (Some(pod), None) => self.pod_gone(pod),
            (None, None) => {}
        }
    }

    fn pod_added(&self, pod: &Pod) {
        // Also an add that was observed late and only as a deletion in progress.
        if pod.terminating {
            return self.pod_gone(pod);
        }
        match &pod.controller {
            None => self.enqueue_matching(&pod.key.namespace, &pod.labels),
            controller => {
                if let Some(set) = self.owner(&pod.key.namespace, controller.as_ref()) {
                    self.expectations.created(&set.uid, 1);
                    self.queue.add(set.key.clone());
                }
            }
        }
    }

    fn pod_updated(&self, old: &Pod, new: &Pod) {
        if new.terminating {
            self.pod_gone(new);
        }
        let moved = old.controller != new.controller;
        if moved && let Some(set) = self.owner(&old.key.namespace, old.controller.as_ref()) {
            self.queue.add(set.key.clone());
        }
        if new.controller.is_none() {
            if moved || old.labels != new.labels {
                self.enqueue_matching(&new.key.namespace, &new.labels);
            }
        } else if let Some(set) = self.owner(&new.key.namespace, new.controller.as_ref()) {
            self.queue.add(set.key.clone());
            if !old.is_ready() && new.is_ready() && set.min_ready_seconds() > 0 {
                let seconds = u64::try_from(set.min_ready_seconds())
                    .unwrap_or(0)
                    .saturating_add(1);
                self.queue
                    .add_after(set.key.clone(), Duration::from_secs(seconds));
            }
        }
    }

    fn pod_gone(&self, pod: &Pod) {
        if let Some(set) = self.owner(&pod.key.namespace, pod.controller.as_ref()) {
            self.expectations.deleted(&set.uid, &pod.uid);
            self.queue.add(set.key.clone());
        }
    }

    fn revision(&self, change: &Change<RevisionView>) {
        let revision = change.latest();
        match self.owner(&revision.key.namespace, revision.controller.as_ref()) {
            // Our own creation: the sync that made it knows.
            Some(_) if change.old.is_none() => {}
            Some(set) => self.queue.add(set.key.clone()),
            None if revision.controller.is_none() => {
                self.enqueue_matching(&revision.key.namespace, &revision.labels);
            }
            None => {}
        }
    }

    /// A deleted node triggers nothing: its pods' deletion by pod garbage collection does.
    fn node(&self, change: &Change<NodeView>) {
        let (old, Some(node)) = (&change.old, &change.new) else {
            return;
        };
        if old.as_ref().is_some_and(|old| !node.placed_differently(old)) {
            return;
        }
        let Some(cache) = self.cache.upgrade() else { return };
        if cache.daemon_sets.store().is_empty() {
            return;
        }
        let on_node = cache.pods.store().by_index(BY_NODE, &node.key.name);
        cache.daemon_sets.store().for_each(|set| {
            if concerns(set, node, &on_node) {
                self.queue.add(set.key.clone());
            }
        });
    }
}

/// Whether what happened to `node` matters to `set`.
fn concerns(set: &DaemonSet, node: &Node, pods_on_node: &[Pod]) -> bool {
    let has_pod = pods_on_node.iter().any(|pod| {
        pod.controller
            .as_ref()
            .is_some_and(|controller| controller.uid == set.uid)
    });
    let placement = placement::should_run(&set.placed, &node.node);
    let misscheduled = set
        .set
        .status
        .as_ref()
        .map_or(0, |status| status.number_misscheduled);
    (placement.run && !has_pod)
        || (!placement.run && !placement.continue_ && has_pod)
        || (has_pod && misscheduled > 0)
}
