//! One sync of one CronJob: follow its Jobs, start one if it is time.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::batch::v1::CronJobStatus;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use orlop_client::events::EventType;
use orlop_client::informer::{ObjectKey, Projection};

use super::controller::CronJobs;
use super::plan::{self, News};
use crate::api_error::{self, SyncError};
use crate::cache::{CronJob, JOBS_BY_CONTROLLER, Job, JobView};
use crate::owned::BEHIND_RETRY;
use crate::owned::status::{complete, metadata_api, write};

const FIELDS: [&str; 3] = ["active", "lastScheduleTime", "lastSuccessfulTime"];

impl CronJobs {
    /// Follows the Jobs of the CronJob of that key, and starts one if it is time.
    pub(super) async fn sync(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let Some(cron) = self.cache.cron_jobs.store().get(key) else {
            self.own_writes.forget(key);
            return Ok(());
        };
        // A Job that this list doesn't show as active yet would be taken for somebody else's.
        if !self
            .own_writes
            .caught_up(key, self.cache.cron_jobs.store().resource_version())
        {
            self.queue.add_after(key.clone(), BEHIND_RETRY);
            return Ok(());
        }
        let jobs = self.cache.jobs.store().by_index(JOBS_BY_CONTROLLER, &cron.uid);
        for job in plan::surplus(&cron, &jobs) {
            // One that stays is told of, and is no reason to start none any more.
            if let Err(error) = self.delete(&cron, &job.key.name).await {
                tracing::debug!(job = ?job.key, %error, "an old Job stays");
            }
        }
        let mut status = cron.status.clone();
        let mut news = Vec::new();
        for name in plan::follow(&mut status, &jobs, &mut news) {
            if !self.exists(&cron, &name).await? {
                plan::drop_missing(&mut status, &name, &mut news);
            }
        }
        let mut due = plan::due(&cron, &status, Timestamp::now());
        news.append(&mut due.news);
        self.tell(&cron, news);
        let started = match &due.start {
            None => Ok(()),
            Some(time) => self.start_job(&cron, &mut status, time, due.replace).await,
        };
        if status != cron.status {
            let value = complete(&status, &FIELDS)?;
            match write::<batch::CronJob, _>(&self.client, &cron, value).await {
                Err(error) if api_error::is_not_found(&error) => {}
                result => self.own_writes.wrote(key, result?),
            }
        }
        started?;
        if let Some(wait) = due.wait {
            self.queue.add_after(key.clone(), wait);
        }
        Ok(())
    }

    fn tell(&self, cron: &CronJob, news: Vec<News>) {
        for News {
            event_type,
            reason,
            message,
        } in news
        {
            self.recorder
                .event(&cron.reference(), event_type, reason, message);
        }
    }

    /// Asks the server itself: the cache may be late.
    async fn exists(&self, cron: &CronJob, name: &str) -> Result<bool, SyncError> {
        let api = metadata_api::<batch::Job>(&self.client, &cron.key.namespace);
        Ok(api.get_opt(name).await?.is_some())
    }

    async fn delete(&self, cron: &CronJob, name: &str) -> Result<(), SyncError> {
        let api = metadata_api::<batch::Job>(&self.client, &cron.key.namespace);
        match api.delete(name, &DeleteParams::background()).await {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            Err(error) => {
                let message = format!("Deleted job: {}", orlop_client::message(&error));
                self.recorder
                    .event(&cron.reference(), EventType::Warning, "FailedDelete", message);
                Err(error.into())
            }
            Ok(_) => {
                let message = format!("Deleted job {name}");
                self.recorder
                    .event(&cron.reference(), EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
        }
    }

    async fn start_job(
        &self,
        cron: &CronJob,
        status: &mut CronJobStatus,
        time: &jiff::Zoned,
        replace: bool,
    ) -> Result<(), SyncError> {
        if replace {
            for entry in status.active.clone().unwrap_or_default() {
                let name = entry.name.unwrap_or_default();
                self.delete(cron, &name).await?;
                // Only now: one that could not be deleted is still active.
                plan::take_off(status, &name);
            }
        }
        let api: Api<batch::Job> = Api::namespaced(self.client.clone(), &cron.key.namespace);
        let job = plan::job(cron, time);
        let name = job.metadata.name.clone().unwrap_or_default();
        let created = match api.create(&PostParams::default(), &job).await {
            Ok(created) => {
                let message = format!("Created job {name}");
                self.recorder
                    .event(&cron.reference(), EventType::Normal, "SuccessfulCreate", message);
                created
            }
            Err(error) if api_error::is_namespace_terminating(&error) => return Ok(()),
            // An earlier attempt made it and failed to say so.
            Err(error) if api_error::is_already_exists(&error) => {
                let taken = api.get(&name).await?;
                let ours = |job: &batch::Job| {
                    job.metadata
                        .owner_references
                        .iter()
                        .flatten()
                        .any(|owner| *owner.uid == *cron.uid)
                };
                // The name is somebody else's, until the next time at least.
                if !ours(&taken) {
                    return Ok(());
                }
                let ended = JobView::project(taken.clone()).end().is_some();
                let uid = &taken.metadata.uid;
                let listed = status.active.iter().flatten().any(|entry| entry.uid == *uid);
                if ended || listed {
                    // Of times within one minute the first counts.
                    status.last_schedule_time = Some(plan::status_time(time));
                    return Ok(());
                }
                taken
            }
            Err(error) => {
                let message = format!("Error creating job: {}", orlop_client::message(&error));
                self.recorder
                    .event(&cron.reference(), EventType::Warning, "FailedCreate", message);
                return Err(error.into());
            }
        };
        status.active.get_or_insert_default().push(ObjectReference {
            api_version: Some("batch/v1".to_owned()),
            kind: Some("Job".to_owned()),
            name: created.metadata.name,
            namespace: created.metadata.namespace,
            uid: created.metadata.uid,
            resource_version: created.metadata.resource_version,
            field_path: None,
        });
        status.last_schedule_time = Some(plan::status_time(time));
        Ok(())
    }
}

/// The CronJob that made a Job.
pub fn owner_key(job: &Job) -> Option<ObjectKey> {
    let controller = job.controller.as_ref()?;
    (*controller.kind == *"CronJob").then(|| ObjectKey {
        namespace: job.key.namespace.clone(),
        name: controller.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::cache::Cache;
    use crate::testing::server;

    const JOBS: &str = "/apis/batch/v1/namespaces/ns/jobs";

    fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn job(name: &str) -> batch::Job {
        of(
            json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "3",
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "c-uid",
                "controller": true}]}, "spec": {"template": {}}}),
        )
    }

    #[tokio::test]
    async fn a_job_that_cannot_be_deleted_for_its_successor_stays_active() {
        let (client, asked) = server(|method, path, body| match (method, path) {
            (_, path) if path.contains("/events") => (200, body),
            (&Method::DELETE, path) if path.ends_with("/stuck") => (
                500,
                json!({"kind": "Status", "status": "Failure", "code": 500, "message": "no"}),
            ),
            (&Method::DELETE, _) => (200, json!({"kind": "Status", "status": "Success"})),
            (&Method::PATCH, "/apis/batch/v1/namespaces/ns/cronjobs/c/status") => (200, body),
            _ => panic!("{method} {path}"),
        });
        let cache = Arc::new(Cache::default());
        let controller = CronJobs::new(client, &cache);
        let active =
            ["first", "stuck", "third"].map(|name| json!({"name": name, "namespace": "ns", "uid": name}));
        cache.cron_jobs.store().apply(of(json!({
            "metadata": {"name": "c", "namespace": "ns", "uid": "c-uid", "resourceVersion": "5",
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Replace", "jobTemplate": {"spec": {"template": {}}}},
            "status": {"active": active}})));
        for name in ["first", "stuck", "third"] {
            cache.jobs.store().apply(job(name));
        }
        let key = ObjectKey::new("ns", "c");
        assert!(controller.sync(&key).await.is_err(), "it is tried again");
        let asked = asked.lock().unwrap();
        let told: Vec<&Value> = asked
            .iter()
            .filter(|(method, ..)| method == Method::PATCH)
            .flat_map(|(_, _, body)| body["status"]["active"].as_array().unwrap())
            .map(|entry| &entry["name"])
            .collect();
        assert_eq!(told, ["stuck", "third"]);
        assert!(
            !asked
                .iter()
                .any(|(method, path, _)| method == Method::POST && path == JOBS)
        );
    }

    fn every_minute(spec: Value) -> batch::CronJob {
        let mut cron = json!({
            "metadata": {"name": "c", "namespace": "ns", "uid": "c-uid", "resourceVersion": "5",
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {}}}}});
        orlop_api::patch::merge(&mut cron["spec"], &spec);
        of(cron)
    }

    #[tokio::test]
    async fn an_old_job_that_cannot_be_deleted_holds_up_no_new_one() {
        let (client, asked) = server(|method, path, mut body| match (method, path) {
            (_, path) if path.contains("/events") => (200, body),
            (&Method::DELETE, _) => (
                403,
                json!({"kind": "Status", "status": "Failure", "code": 403, "message": "no"}),
            ),
            (&Method::POST, JOBS) => {
                body["metadata"]["uid"] = json!("new");
                (201, body)
            }
            (&Method::PATCH, "/apis/batch/v1/namespaces/ns/cronjobs/c/status") => (200, body),
            _ => panic!("{method} {path}"),
        });
        let cache = Arc::new(Cache::default());
        let controller = CronJobs::new(client, &cache);
        let cron = every_minute(json!({"successfulJobsHistoryLimit": 0}));
        cache.cron_jobs.store().apply(cron);
        let mut old = job("old");
        old.status = Some(of(
            json!({"conditions": [{"type": "Complete", "status": "True"}]}),
        ));
        cache.jobs.store().apply(old);
        controller.sync(&ObjectKey::new("ns", "c")).await.unwrap();
        let asked = asked.lock().unwrap();
        let of_jobs: Vec<&Method> = asked
            .iter()
            .filter(|(_, path, _)| path.starts_with(JOBS))
            .map(|(method, ..)| method)
            .collect();
        assert_eq!(of_jobs, [Method::DELETE, Method::POST]);
    }

    #[tokio::test]
    async fn a_job_of_somebody_else_that_has_the_name_is_left_alone() {
        let (client, asked) = server(|method, path, body| match (method, path) {
            (_, path) if path.contains("/events") => (200, body),
            (&Method::POST, JOBS) => (
                409,
                json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "AlreadyExists"}),
            ),
            (&Method::GET, path) if path.starts_with(JOBS) => (
                200,
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "taken", "namespace": "ns", "uid": "t"}}),
            ),
            _ => panic!("{method} {path}"),
        });
        let cache = Arc::new(Cache::default());
        let controller = CronJobs::new(client, &cache);
        cache.cron_jobs.store().apply(every_minute(json!({})));
        controller.sync(&ObjectKey::new("ns", "c")).await.unwrap();
        assert_eq!(asked.lock().unwrap().len(), 2, "nothing is written about it");
    }

    #[tokio::test]
    async fn of_a_cron_job_that_is_gone_nothing_is_kept() {
        let (client, _) = server(|method, path, _| panic!("{method} {path}"));
        let controller = CronJobs::new(client, &Arc::new(Cache::default()));
        let key = ObjectKey::new("ns", "c");
        controller.own_writes.wrote(&key, 7);
        controller.sync(&key).await.unwrap();
        assert_eq!(controller.own_writes.len(), 0);
    }
}
