//! What makes a CronJob worth a look, and the worker that looks.

use std::sync::Arc;

use orlop_client::events::Recorder;
use orlop_client::informer::ObjectKey;
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::sync::owner_key;
use crate::api_error::SyncError;
use crate::cache::Cache;
use crate::owned::OwnWrites;
use crate::workers::Workers;

/// CronJobs synced at the same time.
const WORKERS: usize = 2;

/// The CronJob controller.
pub struct CronJobs {
    pub(super) client: kube::Client,
    pub(super) cache: Arc<Cache>,
    pub(super) queue: Arc<WorkQueue<ObjectKey>>,
    pub(super) recorder: Recorder,
    pub(super) own_writes: OwnWrites,
}

impl CronJobs {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("cronjob");
        let on = queue.clone();
        cache
            .cron_jobs
            .on_change(move |change| on.add(change.latest().key.clone()));
        let on = queue.clone();
        cache.jobs.on_change(move |change| {
            for job in [&change.old, &change.new].into_iter().flatten() {
                owner_key(job).into_iter().for_each(|key| on.add(key));
            }
        });
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), "cronjob-controller", None),
            client,
            cache: cache.clone(),
            queue,
            own_writes: OwnWrites::default(),
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "cronjob",
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
