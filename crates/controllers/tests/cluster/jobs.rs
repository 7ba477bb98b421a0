//! Jobs and CronJobs.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually, eventually_within};

pub struct Batch<'a> {
    cluster: &'a Cluster,
    pub jobs: Api<Job>,
    cron_jobs: Api<CronJob>,
}

impl<'a> Batch<'a> {
    pub async fn of(cluster: &'a Cluster) -> Self {
        cluster.add_node("n1", json!({})).await;
        Self {
            cluster,
            jobs: Api::namespaced(cluster.client.clone(), "default"),
            cron_jobs: Api::namespaced(cluster.client.clone(), "default"),
        }
    }

    /// Pods with images `done…` succeed at once, those with `fail-N` end with that code.
    pub async fn create(&self, name: &str, image: &str, spec: Value) -> Job {
        let mut job = json!({"metadata": {"name": name}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}}}});
        orlop_api::patch::merge(&mut job["spec"], &spec);
        let job = serde_json::from_value(job).unwrap();
        self.jobs.create(&PostParams::default(), &job).await.unwrap()
    }

    /// A Job of two pods at a time, which run.
    pub async fn create_with_two_pods(&self, name: &str) {
        self.create(name, "img", json!({"parallelism": 2, "completions": 2}))
            .await;
        eventually("two pods", || async {
            (self.pods(name).await.len() == 2).then_some(())
        })
        .await;
    }

    pub async fn patch(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.jobs
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits for a condition; the Job then.
    pub async fn until(&self, name: &str, condition: &str) -> Job {
        eventually(condition, || async {
            let job = self.jobs.get(name).await.unwrap();
            let conditions = job
                .status
                .clone()
                .unwrap_or_default()
                .conditions
                .unwrap_or_default();
            let holds = conditions
                .iter()
                .any(|c| c.type_ == condition && c.status == "True");
            holds.then_some(job)
        })
        .await
    }

    pub async fn pods(&self, name: &str) -> Vec<Pod> {
        let params = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
        self.cluster.pods().list(&params).await.unwrap().items
    }
}

pub fn reasons(job: &Job) -> BTreeMap<String, String> {
    let conditions = job.status.clone().unwrap().conditions.unwrap_or_default();
    conditions
        .into_iter()
        .filter(|condition| condition.status == "True")
        .map(|condition| (condition.type_, condition.reason.unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn a_job_completes_after_enough_pods_succeeded() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    batch
        .create("j", "done", json!({"completions": 4, "parallelism": 2}))
        .await;
    let job = batch.until("j", "Complete").await;
    let status = job.status.clone().unwrap();
    assert_eq!(
        (status.succeeded, status.failed, status.active),
        (Some(4), None, None)
    );
    assert_eq!((status.ready, status.terminating), (Some(0), Some(0)));
    assert!(status.start_time.is_some() && status.completion_time.is_some());
    assert_eq!(reasons(&job)["SuccessCriteriaMet"], "CompletionsReached");
    let pods = batch.pods("j").await;
    assert_eq!(pods.len(), 4);
    assert!(
        pods.iter().all(|pod| pod.metadata.finalizers.is_none()),
        "nothing holds counted pods"
    );
}

#[tokio::test]
async fn an_indexed_job_runs_each_index_once_and_tells_the_pods_theirs() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let spec = json!({"completions": 3, "parallelism": 2, "completionMode": "Indexed"});
    batch.create("j", "done", spec).await;
    let status = batch.until("j", "Complete").await.status.unwrap();
    assert_eq!(
        (status.completed_indexes.as_deref(), status.succeeded),
        (Some("0-2"), Some(3))
    );
    let mut hostnames: Vec<String> = batch
        .pods("j")
        .await
        .into_iter()
        .map(|pod| pod.spec.unwrap().hostname.unwrap())
        .collect();
    hostnames.sort();
    assert_eq!(hostnames, ["j-0", "j-1", "j-2"]);
}

#[tokio::test]
async fn a_job_gives_up_after_its_backoff_limit() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    batch.create("j", "fail-1", json!({"backoffLimit": 0})).await;
    let job = batch.until("j", "Failed").await;
    let status = job.status.clone().unwrap();
    assert_eq!((status.failed, status.completion_time), (Some(1), None));
    assert_eq!(reasons(&job)["FailureTarget"], "BackoffLimitExceeded");
}

#[tokio::test]
async fn the_failure_policy_decides_what_an_exit_code_means() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let policy = json!({"backoffLimit": 3, "podFailurePolicy": {"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]}});
    batch.create("j", "fail-42", policy).await;
    let job = batch.until("j", "Failed").await;
    assert_eq!(reasons(&job)["Failed"], "PodFailurePolicy");

    let per_index = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed",
        "backoffLimitPerIndex": 0});
    batch.create("k", "fail-1", per_index).await;
    let job = batch.until("k", "Failed").await;
    assert_eq!(reasons(&job)["Failed"], "FailedIndexes");
    let status = job.status.unwrap();
    assert_eq!(
        (status.failed_indexes.as_deref(), status.failed),
        (Some("0,1"), Some(2))
    );
}

#[tokio::test]
async fn a_job_too_long_active_fails_and_its_pods_go() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    batch
        .create("j", "img", json!({"activeDeadlineSeconds": 1}))
        .await;
    let job = batch.until("j", "Failed").await;
    assert_eq!(reasons(&job)["Failed"], "DeadlineExceeded");
    assert!(batch.pods("j").await.is_empty());
}

#[tokio::test]
async fn a_suspended_job_has_no_pods_until_it_is_resumed() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    batch
        .create(
            "j",
            "img",
            json!({"suspend": true, "parallelism": 2, "completions": 2}),
        )
        .await;
    let job = batch.until("j", "Suspended").await;
    assert!(job.status.unwrap().start_time.is_none());
    assert!(batch.pods("j").await.is_empty());
    batch.patch("j", json!({"suspend": false})).await;
    eventually("two active pods", || async {
        let status = batch.jobs.get("j").await.unwrap().status.unwrap();
        (status.active == Some(2) && status.ready == Some(2) && status.start_time.is_some()).then_some(())
    })
    .await;
    batch.patch("j", json!({"suspend": true})).await;
    eventually("no pods", || async {
        batch.pods("j").await.is_empty().then_some(())
    })
    .await;
    let status = eventually("no active pods", || async {
        let status = batch.until("j", "Suspended").await.status.unwrap();
        (status.active.is_none() && status.terminating == Some(0) && status.start_time.is_none())
            .then_some(status)
    })
    .await;
    assert_eq!(status.failed, None, "pods that had to go have not failed");
}

#[tokio::test]
async fn pods_that_a_job_no_longer_wants_do_not_count_against_its_backoff_limit() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let spec = json!({"parallelism": 3, "completions": 3, "backoffLimit": 0});
    batch.create("j", "img", spec).await;
    let active = |number| {
        let batch = &batch;
        eventually("so many active pods", move || async move {
            let status = batch.jobs.get("j").await.unwrap().status?;
            (status.active == Some(number) && status.terminating == Some(0)).then_some(status)
        })
    };
    active(3).await;
    batch.patch("j", json!({"parallelism": 1})).await;
    assert_eq!(active(1).await.failed, None);
    batch.patch("j", json!({"parallelism": 2})).await;
    assert_eq!(active(2).await.failed, None, "and the Job goes on");
}

#[tokio::test]
async fn a_job_adopts_orphans_and_releases_relabelled_pods() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let job = batch
        .create("j", "img", json!({"parallelism": 2, "completions": 2}))
        .await;
    let uid = job.metadata.uid.unwrap();
    let pod = eventually("two pods", || async {
        let mut pods = batch.pods("j").await;
        (pods.len() == 2).then(|| pods.remove(0))
    })
    .await;
    let name = pod.metadata.name.unwrap();
    let owner = || async {
        let pod = cluster.pods().get(&name).await.unwrap();
        pod.metadata.owner_references.unwrap_or_default().pop()
    };
    let params = PatchParams::default();
    let orphan = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    cluster.pods().patch(&name, &params, &orphan).await.unwrap();
    eventually("the adoption", || async {
        owner().await.filter(|owner| owner.uid == uid)
    })
    .await;
    let relabel = Patch::Merge(json!({"metadata": {"labels": null}}));
    cluster.pods().patch(&name, &params, &relabel).await.unwrap();
    eventually("the release", || async {
        let pod = cluster.pods().get(&name).await.unwrap();
        (owner().await.is_none() && pod.metadata.finalizers.is_none()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_job_takes_its_pods_with_it() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    batch.create_with_two_pods("j").await;
    batch.jobs.delete("j", &DeleteParams::background()).await.unwrap();
    eventually("nothing", || async {
        let job = batch.jobs.get_opt("j").await.unwrap();
        (job.is_none() && batch.pods("j").await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_ended_job_is_deleted_when_its_time_is_up() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    batch
        .create("j", "done", json!({"ttlSecondsAfterFinished": 0}))
        .await;
    eventually("nothing", || async {
        let job = batch.jobs.get_opt("j").await.unwrap();
        (job.is_none() && batch.pods("j").await.is_empty()).then_some(())
    })
    .await;
}

fn cron_job(name: &str, image: &str, spec: Value) -> CronJob {
    let mut cron = json!({"metadata": {"name": name}, "spec": {"schedule": "@every 1s",
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "main", "image": image}]}}}}}});
    orlop_api::patch::merge(&mut cron["spec"], &spec);
    serde_json::from_value(cron).unwrap()
}

#[tokio::test]
async fn a_cron_job_starts_jobs_and_keeps_the_last_ones() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let spec = json!({"successfulJobsHistoryLimit": 1});
    batch
        .cron_jobs
        .create(&PostParams::default(), &cron_job("c", "done", spec))
        .await
        .unwrap();
    eventually("a success", || async {
        let status = batch.cron_jobs.get("c").await.unwrap().status?;
        status
            .last_successful_time
            .filter(|_| status.last_schedule_time.is_some())
    })
    .await;
    let job = eventually("a kept job", || async {
        let mut jobs = batch.jobs.list(&ListParams::default()).await.unwrap().items;
        (jobs.len() == 1).then(|| jobs.remove(0))
    })
    .await;
    assert!(job.metadata.name.unwrap().starts_with("c-"));
    let annotations = job.metadata.annotations.unwrap();
    assert!(annotations.contains_key("batch.kubernetes.io/cronjob-scheduled-timestamp"));
}

#[tokio::test]
async fn a_cron_job_tells_what_is_active_and_a_suspended_one_does_nothing() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let create = |name: &'static str, spec: Value| {
        let cron = cron_job(name, "img", spec);
        let api = batch.cron_jobs.clone();
        async move { api.create(&PostParams::default(), &cron).await.unwrap() }
    };
    create("idle", json!({"suspend": true})).await;
    create("single", json!({"concurrencyPolicy": "Forbid"})).await;
    let active = eventually("an active job", || async {
        let status = batch.cron_jobs.get("single").await.unwrap().status?;
        status.active.filter(|_| status.last_schedule_time.is_some())
    })
    .await;
    let jobs = batch.jobs.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(jobs.len(), 1);
    assert_eq!(active[0].uid, jobs[0].metadata.uid);
    let owner = &jobs[0].metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("CronJob", "single"));
}

#[tokio::test]
async fn a_cron_job_that_replaces_ends_the_job_before_and_forgets_jobs_that_others_deleted() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let active = |name: &'static str| {
        let api = batch.cron_jobs.clone();
        async move {
            let status = api.get(name).await.unwrap().status?;
            let active = status.active.unwrap_or_default();
            assert!(active.len() <= 1, "{active:?}");
            active.first()?.uid.clone()
        }
    };
    let create = |name: &'static str, spec: Value| {
        let cron = cron_job(name, "img", spec);
        let api = batch.cron_jobs.clone();
        async move { api.create(&PostParams::default(), &cron).await.unwrap() }
    };
    create("again", json!({"concurrencyPolicy": "Replace"})).await;
    let first = eventually("a job", || active("again")).await;
    // Jobs are named after the minute, of whose times the first counts.
    eventually_within(Duration::from_secs(80), "another job", || async {
        active("again").await.filter(|uid| *uid != first)
    })
    .await;
    let jobs = batch.jobs.list(&ListParams::default()).await.unwrap().items;
    let there = jobs.iter().any(|job| job.metadata.uid.as_ref() == Some(&first));
    assert!(!there, "the first one was replaced");

    create(
        "single",
        json!({"concurrencyPolicy": "Forbid", "schedule": "@every 1s"}),
    )
    .await;
    let first = eventually("a job", || active("single")).await;
    let suspend = Patch::Merge(json!({"spec": {"suspend": true}}));
    let params = PatchParams::default();
    batch.cron_jobs.patch("single", &params, &suspend).await.unwrap();
    let jobs = batch.jobs.list(&ListParams::default()).await.unwrap().items;
    let job = jobs.iter().find(|job| job.metadata.uid.as_ref() == Some(&first));
    let name = job.unwrap().metadata.name.as_deref().unwrap();
    let background = DeleteParams::background();
    batch.jobs.delete(name, &background).await.unwrap();
    eventually("nothing active", || async {
        active("single").await.is_none().then_some(())
    })
    .await;
}
