//! One sync of one Job: count its pods, ask the pure parts, write.

use std::collections::HashSet;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_client::events::EventType;
use orlop_client::informer::{ObjectKey, version_of};
use serde_json::json;

use super::conditions::{self, SUSPENDED};
use super::controller::Jobs;
use super::count::{Counts, count};
use super::finish::{self, Finish};
use super::manage::{Actions, manage};
use super::{pods, tracking};
use crate::api_error::{self, SyncError};
use crate::cache::{BY_CONTROLLER, JOB_TRACKING, Job, JobEnd, ORPHANS_BY_NAMESPACE, Pod};
use crate::owned::status::{at_version, complete, metadata_api};
use crate::owned::{BEHIND_RETRY, ClaimError, Claimant, OwnedPods, Owner, claim};

/// The fields of the status, all of which are written.
const FIELDS: [&str; 11] = [
    "active",
    "completedIndexes",
    "completionTime",
    "conditions",
    "failed",
    "failedIndexes",
    "ready",
    "startTime",
    "succeeded",
    "terminating",
    "uncountedTerminatedPods",
];
/// Finalizers removed at the same time.
const FREED_AT_ONCE: usize = 50;

/// What is to be told once the status is written.
type News = (EventType, String, String);

impl Jobs {
    /// Brings the Job of that key one step closer to its end.
    pub(super) async fn sync(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let Some(job) = self.cache.jobs.store().get(key) else {
            self.forget(key);
            return Ok(());
        };
        if !job.is_ours() {
            return Ok(());
        }
        if job.end().is_some() {
            self.forget(key);
            return Ok(());
        }
        if let Some(wait) = finish::stands(&job, Timestamp::now()) {
            self.queue.add_after(key.clone(), wait);
            return Ok(());
        }
        // What was counted must not be counted again.
        let seen = self.cache.jobs.store().resource_version();
        if !self.own_status.caught_up(key, seen) {
            self.queue.add_after(key.clone(), BEHIND_RETRY);
            return Ok(());
        }
        let behind = self
            .awaited
            .caught_up(&self.client, &key.namespace, &job.uid, &job.selector)
            .await?;
        if let Some(wait) = behind {
            self.queue.add_after(key.clone(), wait);
            return Ok(());
        }
        let pods = self.claim_pods(&job).await?;
        let now = Timestamp::now();
        let mut counts = count(&job, &pods);
        let finish = finish::finish(&job, &counts, now);
        let record = self.record(key).with(&counts, now);
        let actions = match &finish {
            Some(_) => Actions {
                delete: counts.active.clone(),
                ..Actions::default()
            },
            None => manage(&job, &counts, record.wait(now), now),
        };
        let mut failed = None;
        if !job.is_terminating() {
            failed = self
                .write_pods(&job, &actions, finish.is_some(), &mut counts)
                .await;
        }
        let ending = finish.as_ref().filter(|_| counts.active.is_empty());
        if ending.is_some_and(|finish| finish.end == JobEnd::Failed) {
            counts.fail_the_rest(&job, &pods);
        }
        if let Some(wait) = actions.wait {
            self.queue.add_after(key.clone(), wait);
        }
        if let Some(left) = finish::deadline(&job, now).filter(|_| finish.is_none()) {
            self.queue.add_after(key.clone(), left);
        }
        let mut status = job.status.clone();
        let tracked = tracked(&pods);
        tracking::settle(&mut status, &tracked);
        let all_named = tracking::name(&job, &counts, &mut status);
        let news = describe(
            &job,
            &counts,
            finish.as_ref(),
            tracked.is_empty(),
            &mut status,
            now,
        );
        self.write_status(&job, &status).await?;
        self.remember(key, record);
        for (event_type, reason, message) in news {
            self.recorder
                .event(&job.reference(), event_type, &reason, message);
        }
        let freed = tracking::freed(&job, &counts, &status, &pods, ending.is_some());
        let (_, error) = self.free(&job, &freed).await;
        if let Some(error) = error {
            return Err(error.into());
        }
        if !all_named {
            self.queue.add(key.clone());
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn claim_pods(&self, job: &Job) -> Result<Vec<Pod>, ClaimError> {
        let store = self.cache.pods.store();
        let mut candidates = store.by_index(BY_CONTROLLER, &job.uid);
        candidates.extend(store.by_index(ORPHANS_BY_NAMESPACE, &job.key.namespace));
        let reference = job.owner_reference();
        let claimant = Claimant {
            owner: Owner {
                uid: &job.uid,
                selector: &job.selector,
                terminating: job.is_terminating(),
            },
            reference: &reference,
            owners: metadata_api::<batch::Job>(&self.client, &job.key.namespace),
            finalizer: Some(JOB_TRACKING),
        };
        let objects = metadata_api::<core::Pod>(&self.client, &job.key.namespace);
        claim(&claimant, &objects, candidates).await
    }

    /// Creates and deletes pods; the status must not lag behind what this very sync did. Pods that go before the Job's
    /// end, for it is suspended or wants fewer, have not failed: nothing holds them until they are counted.
    async fn write_pods(
        &self,
        job: &Job,
        actions: &Actions,
        ending: bool,
        counts: &mut Counts,
    ) -> Option<kube::Error> {
        let (delete, not_freed) = match ending {
            true => (actions.delete.clone(), None),
            false => self.free(job, &actions.delete).await,
        };
        let owned = OwnedPods {
            api: Api::namespaced(self.client.clone(), &job.key.namespace),
            recorder: &self.recorder,
            awaited: &self.awaited,
            uid: &job.uid,
            about: job.reference(),
        };
        let make = |number: usize| pods::pod(job, actions.create[number]);
        let mut written = owned.write(actions.create.len(), make, &delete).await;
        counts.active.append(&mut written.created);
        let deleted: HashSet<&str> = delete.iter().map(|pod| &*pod.uid).collect();
        if written.delete_error.is_none() {
            counts.active.retain(|pod| !deleted.contains(&*pod.uid));
            counts.ready =
                i32::try_from(counts.active.iter().filter(|pod| pod.is_ready()).count()).unwrap_or(0);
            counts.terminating.extend(delete.iter().cloned());
        }
        written.into_error().or(not_freed)
    }

    async fn write_status(&self, job: &Job, status: &JobStatus) -> Result<(), SyncError> {
        if *status == job.status {
            return Ok(());
        }
        let mut value = complete(status, &FIELDS)?;
        value["uncountedTerminatedPods"] = complete(
            &status.uncounted_terminated_pods.clone().unwrap_or_default(),
            &["succeeded", "failed"],
        )?;
        let api = metadata_api::<batch::Job>(&self.client, &job.key.namespace);
        let patch = Patch::Merge(at_version(job, json!({"status": value})));
        let params = PatchParams::default();
        match api.patch_status(&job.key.name, &params, &patch).await {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            answer => {
                self.own_status.wrote(&job.key, version_of(&answer?.metadata));
                Ok(())
            }
        }
    }

    /// Takes the finalizer off pods that are counted, or never will be; those that are without it now.
    async fn free(&self, job: &Job, pods: &[Pod]) -> (Vec<Pod>, Option<kube::Error>) {
        let (mut free, mut first_error) = (Vec::new(), None);
        for pods in pods.chunks(FREED_AT_ONCE) {
            let answers = join_all(pods.iter().map(|pod| self.free_one(pod))).await;
            for (pod, answer) in pods.iter().zip(answers) {
                match answer {
                    Ok(version) => {
                        if let Some(version) = version {
                            self.awaited.wrote(&job.uid, &pod.key, &pod.uid, version);
                        }
                        free.push(pod.clone());
                    }
                    Err(error) => first_error = first_error.or(Some(error)),
                }
            }
        }
        (free, first_error)
    }

    /// The version of the pod afterwards, if it is still there and its version is a number.
    pub(super) async fn free_one(&self, pod: &Pod) -> Result<Option<u64>, kube::Error> {
        let api = metadata_api::<core::Pod>(&self.client, &pod.key.namespace);
        let patch =
            json!({"metadata": {"uid": *pod.uid, "$deleteFromPrimitiveList/finalizers": [JOB_TRACKING]}});
        match api
            .patch(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(pod) => {
                let version = pod.metadata.resource_version;
                // A pod that was only held by the finalizer went with it.
                Ok(match pod.metadata.deletion_timestamp {
                    Some(_) => None,
                    None => version.and_then(|version| version.parse().ok()),
                })
            }
            Err(error) if api_error::is_not_found(&error) || api_error::is_conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The pods that aren't counted yet.
fn tracked(pods: &[Pod]) -> HashSet<&str> {
    pods.iter()
        .filter(|pod| pod.job.as_ref().is_some_and(|details| details.tracked))
        .map(|pod| &*pod.uid)
        .collect()
}

/// Fills in the rest of the status; what there is to tell about it. `settled` if no pod has its
/// finalizer any more.
fn describe(
    job: &Job,
    counts: &Counts,
    finish: Option<&Finish>,
    settled: bool,
    status: &mut JobStatus,
    now: Timestamp,
) -> Vec<News> {
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let mut news: Vec<News> = Vec::new();
    status.active = Some(number(counts.active.len())).filter(|active| *active != 0);
    status.ready = Some(counts.ready);
    let mut leaving = number(counts.terminating.len());
    // Failures that had to go for the end are told of together with their number, even if they are gone by now.
    if finish.is_some() && status.failed > job.status.failed {
        leaving = leaving.max(job.status.terminating.unwrap_or(0));
    }
    status.terminating = Some(leaving);
    let mut conditions = status.conditions.take().unwrap_or_default();
    let normal = |reason: &str, message: &str| (EventType::Normal, reason.to_owned(), message.to_owned());
    match finish {
        None => {
            let suspended = job.is_suspended();
            let (value, reason, message, event) = if suspended {
                ("True", "JobSuspended", "Job suspended", "Suspended")
            } else {
                ("False", "JobResumed", "Job resumed", "Resumed")
            };
            let changed = conditions::set(&mut conditions, SUSPENDED, value, reason, message, now);
            if changed {
                news.push(normal(event, message));
            }
            // Time starts anew when the work does.
            if suspended {
                status.start_time = None;
            } else if changed || status.start_time.is_none() {
                status.start_time = Some(Time(now));
            }
        }
        Some(finish) => {
            if !job.is_suspended() {
                status.start_time.get_or_insert(Time(now));
            }
            let mut set = |type_: &str| {
                conditions::set(
                    &mut conditions,
                    type_,
                    "True",
                    &finish.reason,
                    &finish.message,
                    now,
                )
            };
            set(finish.announced_by());
            let uncounted = status.uncounted_terminated_pods.as_ref();
            let counted = uncounted.is_none_or(|pods| pods.succeeded.is_none() && pods.failed.is_none());
            if counts.active.is_empty() && leaving == 0 && settled && counted {
                set(finish.told_by());
                status.ready = Some(0);
                // One that was suspended all the while has a beginning with its end.
                status.start_time.get_or_insert(Time(now));
                match finish.end {
                    JobEnd::Complete => {
                        status.completion_time = Some(Time(now));
                        let wanted = job.spec.completions.unwrap_or(i32::MAX);
                        if status.succeeded.unwrap_or(0) > wanted {
                            news.push((
                                EventType::Warning,
                                "TooManySucceededPods".to_owned(),
                                "Too many succeeded pods running after completion count reached".to_owned(),
                            ));
                        }
                        news.push(normal("Completed", "Job completed"));
                    }
                    JobEnd::Failed => {
                        news.push((EventType::Warning, finish.reason.clone(), finish.message.clone()))
                    }
                }
            }
        }
    }
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    news
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ago, job, now, with_status};
    use super::*;
    use orlop_client::informer::Cached;
    use serde_json::Value;
    use std::sync::Arc;

    fn cached(spec: Value, status: Value) -> Job {
        Arc::new(Cached {
            key: ObjectKey::new("ns", "work"),
            uid: "j".into(),
            resource_version: 1,
            object: with_status(job(spec), status),
        })
    }

    /// The start and what is told after a look at a Job that started a minute ago, if `started`.
    fn looked_at(suspend: bool, started: bool, condition: Option<&str>) -> (Option<Timestamp>, Vec<String>) {
        let conditions = condition.map(|status| json!([{"type": SUSPENDED, "status": status}]));
        let start = started.then(|| ago(60).to_string());
        let job = cached(
            json!({"suspend": suspend}),
            json!({"startTime": start, "conditions": conditions}),
        );
        let mut status = job.status.clone();
        let news = describe(&job, &Counts::default(), None, true, &mut status, now());
        let told = news.into_iter().map(|(_, reason, _)| reason).collect();
        (status.start_time.map(|time| time.0), told)
    }

    #[test]
    fn pods_that_had_to_go_for_the_end_are_told_of_together_with_their_number() {
        let finish = Finish {
            end: JobEnd::Failed,
            reason: "BackoffLimitExceeded".to_owned(),
            message: String::new(),
        };
        let ended = |failed: i32| {
            let job = cached(json!({}), json!({"failed": 1, "terminating": 2}));
            let mut status = job.status.clone();
            status.failed = Some(failed);
            describe(&job, &Counts::default(), Some(&finish), true, &mut status, now());
            let conditions = status.conditions.unwrap_or_default();
            let told: Vec<String> = conditions.into_iter().map(|condition| condition.type_).collect();
            (status.terminating, told)
        };
        let told =
            |types: &[&str]| -> Vec<String> { types.iter().map(|type_| (*type_).to_owned()).collect() };
        assert_eq!(ended(3), (Some(2), told(&["FailureTarget"])));
        assert_eq!(ended(1), (Some(0), told(&["FailureTarget", "Failed"])));
    }

    #[test]
    fn more_pods_that_succeeded_than_were_wanted_are_told_of_at_the_end() {
        let finish = Finish {
            end: JobEnd::Complete,
            reason: "CompletionsReached".to_owned(),
            message: String::new(),
        };
        let told = |completions: Value, succeeded: i32| -> Vec<String> {
            let status = json!({"succeeded": succeeded});
            let job = cached(json!({"completions": completions}), status);
            let mut status = job.status.clone();
            let news = describe(&job, &Counts::default(), Some(&finish), true, &mut status, now());
            news.into_iter().map(|(_, reason, _)| reason).collect()
        };
        assert_eq!(told(json!(3), 3), ["Completed"]);
        assert_eq!(told(json!(3), 4), ["TooManySucceededPods", "Completed"]);
        assert_eq!(told(Value::Null, 4), ["Completed"]);
    }

    #[test]
    fn a_job_that_was_suspended_to_its_end_says_when_it_began() {
        let finish = Finish {
            end: JobEnd::Complete,
            reason: "CompletionsReached".to_owned(),
            message: String::new(),
        };
        let job = cached(json!({"suspend": true, "completions": 0}), json!({}));
        let mut status = job.status.clone();
        describe(&job, &Counts::default(), Some(&finish), true, &mut status, now());
        assert_eq!(status.start_time.map(|time| time.0), Some(now()));
        assert_eq!(status.completion_time.map(|time| time.0), Some(now()));
    }

    #[tokio::test]
    async fn of_a_job_that_has_ended_nothing_is_kept() {
        let (client, _) = crate::testing::server(|method, path, _| panic!("{method} {path}"));
        let cache = Arc::new(crate::cache::Cache::default());
        let jobs = Jobs::new(client, &cache);
        let key = ObjectKey::new("ns", "work");
        let ended = json!({"metadata": {"name": "work", "namespace": "ns", "uid": "j", "resourceVersion": "9"},
            "spec": {"template": {}}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}});
        cache.jobs.store().apply(serde_json::from_value(ended).unwrap());
        jobs.own_status.wrote(&key, 9);
        jobs.sync(&key).await.unwrap();
        assert_eq!(jobs.own_status.len(), 0);
        cache.jobs.store().remove(&key, 12);
        jobs.own_status.wrote(&key, 11);
        jobs.sync(&key).await.unwrap();
        assert_eq!(jobs.own_status.len(), 0);
    }

    #[test]
    fn time_stops_while_a_job_is_suspended_and_starts_anew() {
        assert_eq!(looked_at(false, true, None), (Some(ago(60)), vec![]));
        assert_eq!(looked_at(false, false, None), (Some(now()), vec![]));
        assert_eq!(looked_at(true, true, None), (None, vec!["Suspended".to_owned()]));
        assert_eq!(looked_at(true, true, Some("True")), (None, vec![]));
        assert_eq!(
            looked_at(false, true, Some("True")),
            (Some(now()), vec!["Resumed".to_owned()])
        );
    }
}
