//! Which owners a pod's change makes worth a look.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use orlop_api::selector::LabelSelector;
use orlop_client::informer::{Cached, Change, Informer, ObjectKey, Projection};
use orlop_client::workqueue::WorkQueue;

use super::Awaited;
use crate::cache::{Cache, ControllerRef, Pod, PodView};

/// What a projection of an owner of pods tells.
pub trait OwnerView: Projection {
    /// Its kind, as owner references name it.
    const KIND: &'static str;
    /// Where it is remembered.
    fn informer(cache: &Cache) -> &Informer<Self>;
    /// Which pods are its own.
    fn selector(&self) -> &LabelSelector;
    /// spec.minReadySeconds.
    fn min_ready_seconds(&self) -> i32 {
        0
    }
}

/// Enqueues the owners of one kind for what happens to pods.
pub struct PodTriggers<O: OwnerView> {
    // The cache owns its handlers; they must not own the cache.
    cache: Weak<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
    awaited: Arc<Awaited>,
    kind: std::marker::PhantomData<fn(O)>,
}

impl<O: OwnerView> PodTriggers<O> {
    /// Enqueues into `queue`; what owners that are gone `awaited` is forgotten.
    pub fn new(cache: &Arc<Cache>, queue: &Arc<WorkQueue<ObjectKey>>, awaited: &Arc<Awaited>) -> Arc<Self> {
        Arc::new(Self {
            cache: Arc::downgrade(cache),
            queue: queue.clone(),
            awaited: awaited.clone(),
            kind: std::marker::PhantomData,
        })
    }

    /// An owner itself changed.
    pub fn owner_changed(&self, change: &Change<O>) {
        let owner = change.latest();
        if change.new.is_none() {
            self.awaited.forget(&owner.uid);
        }
        self.queue.add(owner.key.clone());
    }

    /// The owner that `controller` means, if it is the one we know.
    pub fn owner(&self, namespace: &Arc<str>, controller: Option<&ControllerRef>) -> Option<Arc<Cached<O>>> {
        let controller = controller.filter(|controller| *controller.kind == *O::KIND)?;
        let key = ObjectKey {
            namespace: namespace.clone(),
            name: controller.name.clone(),
        };
        let owner = O::informer(&*self.cache.upgrade()?).store().get(&key)?;
        (owner.uid == controller.uid).then_some(owner)
    }

    /// Calls `each` with every owner that might adopt something with these labels.
    pub fn each_matching(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        mut each: impl FnMut(&ObjectKey),
    ) {
        let Some(cache) = self.cache.upgrade() else { return };
        O::informer(&cache).store().for_each(|owner| {
            if &*owner.key.namespace == namespace && owner.selector().matches(labels) {
                each(&owner.key);
            }
        });
    }

    /// Enqueues every owner that might adopt something with these labels.
    pub fn enqueue_matching(&self, namespace: &str, labels: &BTreeMap<String, String>) {
        self.each_matching(namespace, labels, |owner| self.queue.add(owner.clone()));
    }

    /// A pod changed.
    pub fn pod(&self, change: &Change<PodView>) {
        match (&change.old, &change.new) {
            (None, Some(pod)) if pod.controller.is_none() && !pod.terminating => {
                self.enqueue_matching(&pod.key.namespace, &pod.labels);
            }
            (Some(old), Some(new)) => self.pod_updated(old, new),
            (None, Some(pod)) | (Some(pod), None) => self.enqueue_owner(pod),
            (None, None) => {}
        }
    }

    fn enqueue_owner(&self, pod: &Pod) {
        if let Some(owner) = self.owner(&pod.key.namespace, pod.controller.as_ref()) {
            self.queue.add(owner.key.clone());
        }
    }

    fn pod_updated(&self, old: &Pod, new: &Pod) {
        let moved = old.controller != new.controller;
        if moved {
            self.enqueue_owner(old);
        }
        if new.controller.is_none() {
            if moved || old.labels != new.labels {
                self.enqueue_matching(&new.key.namespace, &new.labels);
            }
        } else if let Some(owner) = self.owner(&new.key.namespace, new.controller.as_ref()) {
            self.queue.add(owner.key.clone());
            if !old.is_ready() && new.is_ready() && owner.min_ready_seconds() > 0 {
                let seconds = u64::try_from(owner.min_ready_seconds())
                    .unwrap_or(0)
                    .saturating_add(1);
                self.queue
                    .add_after(owner.key.clone(), Duration::from_secs(seconds));
            }
        }
    }
}
