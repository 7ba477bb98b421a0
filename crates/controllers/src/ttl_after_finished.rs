//! Jobs that end are deleted when their time is up: each is looked at again when it will be.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1 as batch;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use orlop_client::informer::ObjectKey;
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use crate::api_error;
use crate::cache::{Cache, JobView};
use crate::owned::status::metadata_api;
use crate::workers::Workers;

/// The controller.
pub struct TtlAfterFinished {
    client: kube::Client,
    cache: Arc<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
}

/// How long the Job may stay; `None` if it hasn't ended or may stay for ever.
fn left(job: &JobView, now: Timestamp) -> Option<Duration> {
    let ttl = job.spec.ttl_seconds_after_finished?;
    if job.is_terminating() {
        return None;
    }
    let (_, ended) = job.end()?;
    let due = ended?.checked_add(SignedDuration::from_secs(ttl.into())).ok()?;
    Some(Duration::try_from(due.duration_since(now)).unwrap_or_default())
}

impl TtlAfterFinished {
    /// Registers the handler at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("ttl_jobs_to_delete");
        let on = queue.clone();
        cache.jobs.on_change(move |change| {
            if let Some(job) = &change.new
                && let Some(left) = left(job, Timestamp::now())
            {
                on.add_after(job.key.clone(), left);
            }
        });
        Arc::new(Self {
            client,
            cache: cache.clone(),
            queue,
        })
    }

    /// Starts the worker. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "ttl-after-finished",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.delete_if_due(&key).await },
            api_error::is_conflict,
        );
    }

    async fn delete_if_due(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(job) = self.cache.jobs.store().get(key) else {
            return Ok(());
        };
        match left(&job, Timestamp::now()) {
            None => return Ok(()),
            Some(left) if !left.is_zero() => {
                self.queue.add_after(key.clone(), left);
                return Ok(());
            }
            Some(_) => {}
        }
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            // What the time was told for: another one may have been set meanwhile.
            preconditions: Some(Preconditions {
                uid: Some(job.uid.to_string()),
                resource_version: Some(job.resource_version.to_string()),
            }),
            ..DeleteParams::default()
        };
        match metadata_api::<batch::Job>(&self.client, &key.namespace)
            .delete(&key.name, &params)
            .await
        {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_client::informer::Projection;
    use serde_json::json;

    #[test]
    fn a_job_stays_for_its_time_after_it_ended() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let of = |ttl: Option<i32>, condition: &str| {
            let job = json!({"metadata": {"name": "j"}, "spec": {"ttlSecondsAfterFinished": ttl, "template": {}},
                "status": {"conditions": [{"type": condition, "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            left(&JobView::project(serde_json::from_value(job).unwrap()), now)
        };
        assert_eq!(of(Some(90), "Complete"), Some(Duration::from_secs(30)));
        assert_eq!(of(Some(10), "Failed"), Some(Duration::ZERO));
        assert_eq!(of(Some(10), "Suspended"), None);
        assert_eq!(of(None, "Complete"), None);
    }
}
