//! What makes a Deployment worth a look, and the workers that look.

use std::sync::{Arc, Weak};

use orlop_client::events::Recorder;
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::limits::is_rolling;
use super::sync::SyncError;
use crate::cache::{Cache, ControllerRef, Deployment, DeploymentView, PodView, ReplicaSetView};
use crate::workers::Workers;

/// Deployments synced at the same time.
const WORKERS: usize = 2;

/// The Deployment controller.
pub struct Deployments {
    pub(super) client: kube::Client,
    pub(super) cache: Arc<Cache>,
    pub(super) queue: Arc<WorkQueue<ObjectKey>>,
    pub(super) recorder: Recorder,
}

impl Deployments {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("deployment");
        let triggers = Arc::new(Triggers {
            // The cache owns its handlers; they must not own the cache.
            cache: Arc::downgrade(cache),
            queue: queue.clone(),
        });
        let on = triggers.clone();
        cache.deployments.on_change(move |change| on.deployment(change));
        let on = triggers.clone();
        cache.replica_sets.on_change(move |change| on.set(change));
        cache.pods.on_change(move |change| triggers.pod(change));
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), "deployment-controller", None),
            client,
            cache: cache.clone(),
            queue,
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "deployment",
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

struct Triggers {
    cache: Weak<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
}

impl Triggers {
    fn deployment(&self, change: &Change<DeploymentView>) {
        self.queue.add(change.latest().key.clone());
    }

    fn owner(&self, namespace: &Arc<str>, controller: Option<&ControllerRef>) -> Option<Deployment> {
        let controller = controller.filter(|controller| *controller.kind == *"Deployment")?;
        let key = ObjectKey {
            namespace: namespace.clone(),
            name: controller.name.clone(),
        };
        let deployment = self.cache.upgrade()?.deployments.store().get(&key)?;
        (deployment.uid == controller.uid).then_some(deployment)
    }

    fn set(&self, change: &Change<ReplicaSetView>) {
        for set in [&change.old, &change.new].into_iter().flatten() {
            if let Some(deployment) = self.owner(&set.key.namespace, set.controller.as_ref()) {
                self.queue.add(deployment.key.clone());
            }
        }
        let (Some(set), Some(cache)) = (&change.new, self.cache.upgrade()) else {
            return;
        };
        let relabelled = change
            .old
            .as_ref()
            .is_none_or(|old| old.labels() != set.labels() || old.controller.is_some());
        if set.controller.is_none() && relabelled {
            cache.deployments.store().for_each(|deployment| {
                if deployment.key.namespace == set.key.namespace && deployment.selector.matches(set.labels())
                {
                    self.queue.add(deployment.key.clone());
                }
            });
        }
    }

    /// Where old and new pods must not run side by side, the end of an old one is waited for.
    fn pod(&self, change: &Change<PodView>) {
        let over = change.new.as_ref().is_none_or(|pod| pod.is_terminal());
        let (true, Some(pod), Some(cache)) = (over, &change.old, self.cache.upgrade()) else {
            return;
        };
        let Some(controller) = pod.controller.as_ref().filter(|c| *c.kind == *"ReplicaSet") else {
            return;
        };
        let key = ObjectKey {
            namespace: pod.key.namespace.clone(),
            name: controller.name.clone(),
        };
        if let Some(set) = cache.replica_sets.store().get(&key)
            && let Some(deployment) = self.owner(&key.namespace, set.controller.as_ref())
            && !is_rolling(&deployment)
        {
            self.queue.add(deployment.key.clone());
        }
    }
}
