//! What makes a DaemonSet worth a look (contract §3.1), and the workers that look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use orlop_api::annotations::PRE_PULL_SET;
use orlop_api::placement;
use orlop_api::selector::LabelSelector;
use orlop_client::events::Recorder;
use orlop_client::informer::{Change, Informer, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::FailedPodBackoff;
use super::dirty::Dirty;
use super::left_out::Told;
use super::settled::Settled;
use super::sync::SyncError;
use crate::cache::{BY_NODE, Cache, DaemonSet, DaemonSetView, Node, NodeView, Pod, PodView, RevisionView};
use crate::owned::{Awaited, OwnWrites, OwnerView, PodTriggers};
use crate::workers::Workers;

/// DaemonSets synced at the same time.
const WORKERS: usize = 2;

/// The DaemonSet controller.
pub struct DaemonSets {
    pub(super) client: kube::Client,
    pub(super) cache: Arc<Cache>,
    pub(super) queue: Arc<WorkQueue<ObjectKey>>,
    pub(super) awaited: Arc<Awaited>,
    pub(super) recorder: Recorder,
    pub(super) backoff: Mutex<FailedPodBackoff>,
    pub(super) dirty: Arc<Dirty>,
    pub(super) settled: Mutex<HashMap<ObjectKey, Settled>>,
    pub(super) own_status: OwnWrites,
    /// When each may be looked at again.
    pub(super) paced: Mutex<HashMap<ObjectKey, Instant>>,
    /// When the status of each was written last.
    pub(super) told_status: Mutex<HashMap<ObjectKey, Instant>>,
    pub(super) told: Mutex<HashMap<ObjectKey, Told>>,
}

impl DaemonSets {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("daemonset");
        let awaited = Arc::new(Awaited::new(cache.pods.store()));
        let dirty = Arc::new(Dirty::default());
        let triggers = Arc::new(Triggers::new(cache, &queue, &dirty, &awaited));
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
            awaited,
            backoff: Mutex::default(),
            dirty,
            settled: Mutex::default(),
            own_status: OwnWrites::default(),
            paced: Mutex::default(),
            told_status: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "daemonset",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            |_: &SyncError| false,
        );
    }
}

impl OwnerView for DaemonSetView {
    const KIND: &'static str = "DaemonSet";
    fn informer(cache: &Cache) -> &Informer<Self> {
        &cache.daemon_sets
    }
    fn selector(&self) -> &LabelSelector {
        &self.selector
    }
    fn min_ready_seconds(&self) -> i32 {
        Self::min_ready_seconds(self)
    }
}

/// Enqueues DaemonSets for what happens around them.
pub(super) struct Triggers {
    // The cache owns its handlers; they must not own the cache.
    cache: Weak<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
    dirty: Arc<Dirty>,
    pods: Arc<PodTriggers<DaemonSetView>>,
}

impl Triggers {
    pub(super) fn new(
        cache: &Arc<Cache>,
        queue: &Arc<WorkQueue<ObjectKey>>,
        dirty: &Arc<Dirty>,
        awaited: &Arc<Awaited>,
    ) -> Self {
        Self {
            cache: Arc::downgrade(cache),
            queue: queue.clone(),
            dirty: dirty.clone(),
            pods: PodTriggers::new(cache, queue, awaited),
        }
    }

    fn daemon_set(&self, change: &Change<DaemonSetView>) {
        // Its own status coming back tells nothing new.
        let same = match (&change.old, &change.new) {
            (Some(old), Some(new)) => {
                old.generation() == new.generation()
                    && old.is_terminating() == new.is_terminating()
                    && old.set.metadata.labels == new.set.metadata.labels
                    && old.set.metadata.annotations == new.set.metadata.annotations
            }
            _ => false,
        };
        if !same {
            self.dirty.all(&change.latest().key);
        }
        self.pods.owner_changed(change);
    }

    fn all(&self, set: &ObjectKey) {
        self.dirty.all(set);
        self.queue.add(set.clone());
    }

    /// A pod that pulls images is nobody's, but somebody waits for it.
    fn puller(&self, change: &Change<PodView>) {
        let Some(uid) = change.latest().labels.get(PRE_PULL_SET) else {
            return;
        };
        let Some(cache) = self.cache.upgrade() else { return };
        cache.daemon_sets.store().for_each(|set| {
            if *set.uid == **uid {
                self.all(&set.key);
            }
        });
    }

    /// A pod's owner looks at the pod's node; at all of them if it is about more than that.
    fn pod(&self, change: &Change<PodView>) {
        self.puller(change);
        let sides = [&change.old, &change.new];
        let relabelled = match (&change.old, &change.new) {
            (Some(old), Some(new)) => old.labels != new.labels || old.controller != new.controller,
            _ => false,
        };
        for pod in sides.into_iter().flatten() {
            let namespace = &pod.key.namespace;
            match (self.pods.owner(namespace, pod.controller.as_ref()), &pod.target) {
                (Some(set), Some(node)) if !relabelled => self.dirty.node(&set.key, node),
                (Some(set), _) => self.dirty.all(&set.key),
                (None, _) if pod.controller.is_none() => {
                    self.pods
                        .each_matching(namespace, &pod.labels, |set| self.dirty.all(set));
                }
                (None, _) => {}
            }
        }
        self.pods.pod(change);
    }

    pub(super) fn revision(&self, change: &Change<RevisionView>) {
        let revision = change.latest();
        match self
            .pods
            .owner(&revision.key.namespace, revision.controller.as_ref())
        {
            // Mostly our own creation, and the sync that made it knows. But for somebody else's, which may be the current
            // one from now on, what was found of each node no longer holds, whenever the next look is.
            Some(set) if change.old.is_none() => self.dirty.all(&set.key),
            Some(set) => self.all(&set.key),
            None if revision.controller.is_none() => {
                let namespace = &revision.key.namespace;
                self.pods
                    .each_matching(namespace, &revision.labels, |set| self.dirty.all(set));
                self.pods
                    .enqueue_matching(&revision.key.namespace, &revision.labels);
            }
            None => {}
        }
    }

    pub(super) fn node(&self, change: &Change<NodeView>) {
        let (old, Some(node)) = (&change.old, &change.new) else {
            return self.node_gone(&change.latest().key.name);
        };
        let Some(cache) = self.cache.upgrade() else { return };
        if cache.daemon_sets.store().is_empty() {
            return;
        }
        if let Some(old) = old
            && old.is_ready() != node.is_ready()
        {
            // Updates that such nodes don't hold up go by it.
            cache.daemon_sets.store().for_each(|set| {
                if set.options.skips_not_ready() {
                    self.all(&set.key);
                }
            });
        }
        if old.as_ref().is_some_and(|old| !node.placed_differently(old)) {
            return;
        }
        let on_node = cache.pods.store().by_index(BY_NODE, &node.key.name);
        cache.daemon_sets.store().for_each(|set| {
            if concerns(set, old.as_ref(), node, &on_node) {
                self.dirty.node(&set.key, &node.key.name);
                self.queue.add(set.key.clone());
            }
        });
    }
}

impl Triggers {
    /// Its pods are deleted by pod garbage collection; it only no longer counts.
    fn node_gone(&self, node: &Arc<str>) {
        let Some(cache) = self.cache.upgrade() else { return };
        cache.daemon_sets.store().for_each(|set| {
            self.dirty.node(&set.key, node);
            self.queue.add(set.key.clone());
        });
    }
}

/// Whether what happened to `node` matters to `set`: what belongs there is another than before, or than what is there.
fn concerns(set: &DaemonSet, old: Option<&Node>, node: &Node, pods_on_node: &[Pod]) -> bool {
    let has_pod = pods_on_node.iter().any(|pod| {
        pod.controller
            .as_ref()
            .is_some_and(|controller| controller.uid == set.uid)
    });
    let belongs = |node: &Node| {
        let placement = placement::should_run(&set.placed, &node.node);
        (placement.run, placement.run || placement.continue_)
    };
    let now @ (run, may_stay) = belongs(node);
    let misscheduled = set
        .set
        .status
        .as_ref()
        .map_or(0, |status| status.number_misscheduled);
    // A pod that stays where it no longer belongs, or belongs again, changes what the status says. The status that
    // would tell may be on its way still.
    let changed = old.map(belongs) != Some(now);
    let concerned = match has_pod {
        true => !may_stay || changed || misscheduled > 0,
        false => run,
    };
    concerned || (changed && old.is_some_and(|old| belongs(old).0))
}
