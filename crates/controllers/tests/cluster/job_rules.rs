//! What Jobs say about which failures count, when enough has succeeded, and who looks after them.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{Cluster, eventually};
use crate::jobs::{Batch, reasons};

fn index(pod: &Pod) -> &str {
    &pod.metadata.annotations.as_ref().unwrap()["batch.kubernetes.io/job-completion-index"]
}

fn indexes(pods: &[Pod]) -> Vec<&str> {
    let staying = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let mut indexes: Vec<&str> = staying.map(index).collect();
    indexes.sort_unstable();
    indexes
}

#[tokio::test]
async fn indexes_fail_each_for_itself_and_the_others_go_on() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let spec =
        json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 0});
    batch.create("j", "done|fail-1", spec).await;
    let job = batch.until("j", "Failed").await;
    assert_eq!(reasons(&job)["FailureTarget"], "FailedIndexes");
    let status = job.status.unwrap();
    assert_eq!(
        (
            status.completed_indexes.as_deref(),
            status.failed_indexes.as_deref(),
            status.succeeded,
            status.failed
        ),
        (Some("0,2"), Some("1,3"), Some(2), Some(2))
    );
    for pod in batch.pods("j").await {
        assert!(pod.metadata.finalizers.is_none(), "nothing holds {}", index(&pod));
    }
}

#[tokio::test]
async fn too_many_failed_indexes_end_the_job() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let spec = json!({"completions": 5, "parallelism": 1, "completionMode": "Indexed", "backoffLimitPerIndex": 0,
        "maxFailedIndexes": 1});
    batch.create("j", "fail-1", spec).await;
    let job = batch.until("j", "Failed").await;
    assert_eq!(reasons(&job)["Failed"], "MaxFailedIndexesExceeded");
    assert_eq!(job.status.unwrap().failed_indexes.as_deref(), Some("0,1"));
    assert_eq!(indexes(&batch.pods("j").await), ["0", "1"]);
}

#[tokio::test]
async fn a_rule_may_give_an_index_up_at_its_first_failure() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let spec = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 3,
        "podFailurePolicy": {"rules": [
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]}});
    batch.create("j", "done|fail-42", spec).await;
    let job = batch.until("j", "Failed").await;
    let status = job.status.unwrap();
    assert_eq!(
        (status.failed_indexes.as_deref(), status.failed),
        (Some("1"), Some(1))
    );
    assert_eq!(status.completed_indexes.as_deref(), Some("0"));
}

#[tokio::test]
async fn disruptions_that_are_ignored_do_not_count_against_the_backoff_limit() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let spec = json!({"backoffLimit": 0, "podFailurePolicy": {"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}});
    batch.create("j", "img", spec).await;
    let first = eventually("a ready pod", || async {
        let pods = batch.pods("j").await;
        pods.into_iter()
            .find(orlop_api::pod::is_ready)
            .map(|pod| pod.metadata.name.unwrap())
    })
    .await;
    // The agent would take the pod away; as a real one does, it says first that the pod has failed.
    cluster.stop_agents();
    cluster
        .pods()
        .evict(&first, &EvictParams::default())
        .await
        .unwrap();
    let failed = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    let params = PatchParams::default();
    cluster
        .pods()
        .patch_status(&first, &params, &failed)
        .await
        .unwrap();
    cluster.run_agents_again();
    eventually("another pod, and no failure", || async {
        let status = batch.jobs.get("j").await.unwrap().status?;
        let pods = batch.pods("j").await;
        let other = pods.iter().any(|pod| pod.metadata.name.as_ref() != Some(&first));
        (other && status.active == Some(1) && status.failed.unwrap_or(0) == 0).then_some(())
    })
    .await;
    let job = batch.jobs.get("j").await.unwrap();
    assert!(!reasons(&job).contains_key("Failed"));
}

#[tokio::test]
async fn a_success_policy_ends_the_job_before_all_indexes_have_succeeded() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    for (name, rule) in [
        ("all", json!({"succeededIndexes": "0,2"})),
        ("one", json!({"succeededCount": 1})),
        ("some", json!({"succeededIndexes": "0-2", "succeededCount": 2})),
    ] {
        let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
            "successPolicy": {"rules": [rule]}});
        // The odd ones run for ever.
        batch.create(name, "done|img", spec).await;
        let job = batch.until(name, "Complete").await;
        let reasons = reasons(&job);
        assert_eq!(reasons["SuccessCriteriaMet"], "SuccessPolicy", "{name}");
        assert_eq!(reasons["Complete"], "SuccessPolicy", "{name}");
        let running = batch.pods(name).await;
        let running: Vec<&Pod> = running
            .iter()
            .filter(|pod| !orlop_api::pod::is_terminal(pod))
            .collect();
        assert!(running.is_empty(), "{name}: {} pods", running.len());
        let failed = job.status.and_then(|status| status.failed);
        assert_eq!(failed, None, "{name}: who is no longer needed has not failed");
    }
}

#[tokio::test]
async fn who_still_runs_when_a_job_fails_has_failed_with_it() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let spec = json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed", "backoffLimit": 1});
    // The even ones run for ever.
    batch.create("j", "img|fail-1", spec).await;
    let job = batch.until("j", "Failed").await;
    assert_eq!(reasons(&job)["FailureTarget"], "BackoffLimitExceeded");
    let status = job.status.unwrap();
    assert_eq!(
        (status.failed, status.active, status.terminating),
        (Some(4), None, Some(0))
    );
    for pod in batch.pods("j").await {
        assert!(pod.metadata.finalizers.is_none(), "nothing holds {}", index(&pod));
    }
}

#[tokio::test]
async fn where_failed_pods_alone_are_replaced_one_that_is_going_is_waited_for() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let spec = json!({"parallelism": 2, "completions": 2, "podReplacementPolicy": "Failed"});
    batch.create("j", "img", spec).await;
    let name = eventually("two ready pods", || async {
        let pods = batch.pods("j").await;
        let ready = pods.len() == 2 && pods.iter().all(orlop_api::pod::is_ready);
        ready.then(|| pods[0].metadata.name.clone().unwrap())
    })
    .await;
    cluster.stop_agents();
    cluster
        .pods()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    eventually("a terminating pod", || async {
        let status = batch.jobs.get("j").await.unwrap().status?;
        (status.terminating == Some(1) && status.active == Some(1)).then_some(())
    })
    .await;
    assert_eq!(batch.pods("j").await.len(), 2, "nothing in its place yet");
    let failed = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    let params = PatchParams::default();
    cluster
        .pods()
        .patch_status(&name, &params, &failed)
        .await
        .unwrap();
    cluster.run_agents_again();
    eventually("another pod in its place", || async {
        let status = batch.jobs.get("j").await.unwrap().status?;
        (status.failed == Some(1) && status.active == Some(2) && status.terminating == Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_that_others_manage_is_left_alone() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    batch
        .create("theirs", "done", json!({"managedBy": "example.com/queue"}))
        .await;
    let ours = json!({"managedBy": "kubernetes.io/job-controller"});
    batch.create("ours", "done", ours).await;
    batch.until("ours", "Complete").await;
    assert!(batch.pods("theirs").await.is_empty());
    let theirs = batch.jobs.get("theirs").await.unwrap();
    assert_eq!(theirs.status.unwrap_or_default(), Default::default());
}

#[tokio::test]
async fn an_indexed_job_is_resized_by_completions_and_parallelism_together() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    let size = |size: i32| json!({"completions": size, "parallelism": size});
    let mut spec = size(3);
    spec["completionMode"] = json!("Indexed");
    batch.create("j", "img", spec).await;
    let expect = async |want: &[&str]| {
        eventually("the indexes", || async {
            let pods = batch.pods("j").await;
            let ready = pods.iter().all(orlop_api::pod::is_ready);
            (ready && indexes(&pods) == want).then_some(())
        })
        .await;
    };
    expect(&["0", "1", "2"]).await;
    batch.patch("j", size(2)).await;
    expect(&["0", "1"]).await;
    batch.patch("j", size(4)).await;
    expect(&["0", "1", "2", "3"]).await;
}

#[tokio::test]
async fn where_a_suspended_jobs_pods_will_go_may_be_said_until_it_starts() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    cluster.add_node("fast", json!({"disk": "fast"})).await;
    batch.create("j", "img", json!({"suspend": true})).await;
    batch.until("j", "Suspended").await;
    let disk = |disk: &str| json!({"template": {"spec": {"nodeSelector": {"disk": disk}}}});
    batch.patch("j", disk("fast")).await;
    batch.patch("j", json!({"suspend": false})).await;
    let pod = eventually("a ready pod", || async {
        let pods = batch.pods("j").await;
        pods.into_iter().find(orlop_api::pod::is_ready)
    })
    .await;
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some("fast"));
    let patch = Patch::Merge(json!({"spec": disk("slow")}));
    let params = PatchParams::default();
    let refused = batch.jobs.patch("j", &params, &patch).await.err().unwrap();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 422));
}

#[tokio::test]
async fn pods_that_a_job_leaves_behind_are_held_by_nothing() {
    let cluster = Cluster::start().await;
    let batch = Batch::of(&cluster).await;
    batch.create_with_two_pods("j").await;
    batch.jobs.delete("j", &DeleteParams::orphan()).await.unwrap();
    eventually("pods of their own", || async {
        let gone = batch.jobs.get_opt("j").await.unwrap().is_none();
        let pods = batch.pods("j").await;
        let free = pods
            .iter()
            .all(|pod| pod.metadata.finalizers.is_none() && pod.metadata.owner_references.is_none());
        (gone && free && pods.len() == 2).then_some(())
    })
    .await;
}
