//! What makes a Job worth a look, and the workers that look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use orlop_api::selector::LabelSelector;
use orlop_client::events::Recorder;
use orlop_client::informer::{Change, Informer, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::backoff::Record;
use crate::api_error::SyncError;
use crate::cache::{BY_CONTROLLER, Cache, ControllerRef, Job, JobView, Pod, PodView};
use crate::owned::{Awaited, OwnWrites, OwnerView, PodTriggers};
use crate::workers::Workers;

/// Jobs synced at the same time.
const WORKERS: usize = 4;

/// The Job controller.
pub struct Jobs {
    pub(super) client: kube::Client,
    pub(super) cache: Arc<Cache>,
    pub(super) queue: Arc<WorkQueue<ObjectKey>>,
    orphans: Arc<WorkQueue<ObjectKey>>,
    pub(super) awaited: Arc<Awaited>,
    pub(super) recorder: Recorder,
    pub(super) own_status: OwnWrites,
    backoff: Mutex<HashMap<ObjectKey, Record>>,
}

impl OwnerView for JobView {
    const KIND: &'static str = "Job";
    fn informer(cache: &Cache) -> &Informer<Self> {
        &cache.jobs
    }
    fn selector(&self) -> &LabelSelector {
        &self.selector
    }
}

impl Jobs {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("job");
        let orphans = cache.queue("job_orphan_pod");
        let awaited = Arc::new(Awaited::new(cache.pods.store()));
        let triggers = PodTriggers::<JobView>::new(cache, &queue, &awaited);
        let orphaned = Arc::new(Orphaned {
            // The cache owns its handlers; they must not own the cache.
            cache: Arc::downgrade(cache),
            orphans: orphans.clone(),
        });
        let (on, also) = (triggers.clone(), orphaned.clone());
        cache.jobs.on_change(move |change| {
            on.owner_changed(change);
            also.job(change);
        });
        cache.pods.on_change(move |change| {
            triggers.pod(change);
            orphaned.pod(change);
        });
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), "job-controller", None),
            client,
            cache: cache.clone(),
            queue,
            orphans,
            awaited,
            own_status: OwnWrites::default(),
            backoff: Mutex::default(),
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "job",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            SyncError::is_conflict,
        );
        Workers {
            name: "job",
            count: 1,
            of: self,
            queue: &self.orphans,
        }
        .start(
            tasks,
            |this, key| async move { this.free_orphan(&key).await },
            |_: &SyncError| false,
        );
    }

    /// A pod whose Job is gone or over is counted by nobody: nothing must hold it.
    async fn free_orphan(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let Some(pod) = self.cache.pods.store().get(key) else {
            return Ok(());
        };
        if is_tracked(&pod) && !is_counted(&self.cache, &pod) {
            self.free_one(&pod).await?;
        }
        Ok(())
    }

    pub(super) fn record(&self, key: &ObjectKey) -> Record {
        let records = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(key).copied().unwrap_or_default()
    }

    pub(super) fn remember(&self, key: &ObjectKey, record: Record) {
        let mut records = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        if record == Record::default() {
            records.remove(key);
        } else {
            records.insert(key.clone(), record);
        }
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        self.remember(key, Record::default());
        self.own_status.forget(key);
    }
}

struct Orphaned {
    cache: Weak<Cache>,
    orphans: Arc<WorkQueue<ObjectKey>>,
}

impl Orphaned {
    fn pod(&self, change: &Change<PodView>) {
        let (Some(pod), Some(cache)) = (&change.new, self.cache.upgrade()) else {
            return;
        };
        // Before the first list of Jobs nothing is known to be gone; workers start afterwards and look again.
        if is_tracked(pod) && !is_counted(&cache, pod) {
            self.orphans.add(pod.key.clone());
        }
    }

    fn job(&self, change: &Change<JobView>) {
        let job = change.latest();
        let is_over = change.new.as_ref().is_none_or(|job| job.end().is_some());
        let Some(cache) = self.cache.upgrade().filter(|_| is_over) else {
            return;
        };
        for pod in cache.pods.store().by_index(BY_CONTROLLER, &job.uid) {
            if is_tracked(&pod) {
                self.orphans.add(pod.key.clone());
            }
        }
    }
}

fn is_tracked(pod: &Pod) -> bool {
    pod.job.as_ref().is_some_and(|details| details.tracked)
}

/// Whether the Job that the pod says it belongs to is there, and not over yet.
fn is_counted(cache: &Cache, pod: &Pod) -> bool {
    let Some(ControllerRef { kind, name, uid }) = &pod.controller else {
        return false;
    };
    let key = ObjectKey {
        namespace: pod.key.namespace.clone(),
        name: name.clone(),
    };
    // Who tracks pods under another kind, or keeps Jobs himself, knows himself when to let go.
    let counts = |job: &Job| job.uid == *uid && (!job.is_ours() || job.end().is_none());
    **kind != *"Job" || cache.jobs.store().get(&key).as_ref().is_some_and(counts)
}
