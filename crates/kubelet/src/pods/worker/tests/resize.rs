//! Running containers are brought to what their pod was given.
use super::*;
use crate::pods::mailbox::ResizeNews;
use crate::pods::surroundings::ResizeStep;
use crate::runtime::read::read_pod;

const POLICY: &str = "RestartContainer";

fn sized(cpu: &str, memory: &str, memory_policy: &str) -> Arc<Pod> {
    pod(
        json!({"restartPolicy": "OnFailure", "containers": [{"name": "a", "image": "i:1",
        "resources": {"limits": {"cpu": cpu, "memory": memory}},
        "resizePolicy": [{"resourceName": "memory", "restartPolicy": memory_policy}]}]}),
    )
}

async fn running(pod: &Arc<Pod>) -> Bench {
    let bench = Bench::new();
    bench.run(pod, SeenPod::default());
    bench.runtime.until("StartContainer a").await;
    bench
}

fn give(bench: &Bench, pod: Arc<Pod>) {
    bench.mailbox.post(|mail| mail.pod = Some(pod));
    bench.mailbox.resize(ResizeNews {
        refused: None,
        given: Some(Some(2)),
    });
}

fn condition(bench: &Bench) -> Option<k8s_openapi::api::core::v1::PodCondition> {
    let record = bench.agent.pods.by_uid("u")?;
    let conditions = record.pod.status.clone()?.conditions?;
    conditions
        .into_iter()
        .find(|condition| condition.type_ == "PodResizeInProgress")
}

/// Waits until the pod's status is as `check` wants it.
async fn until<T>(bench: &Bench, what: &str, check: impl Fn(&Bench) -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = check(bench) {
                return found;
            }
            bench.agent.pods.new_status().await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), wait).await;
    found.unwrap_or_else(|_| panic!("waited in vain for {what}: {:#?}", bench.runtime.calls()))
}

#[tokio::test]
async fn running_container_gets_its_new_resources_without_a_restart() {
    let bench = running(&sized("500m", "64Mi", "NotRequired")).await;
    give(&bench, sized("1", "128Mi", "NotRequired"));
    bench
        .runtime
        .until(&format!("UpdateContainerResources a 1024 100000 {}", 128 << 20))
        .await;
    let shown = until(&bench, "the end of the resize", |bench| {
        let record = bench.agent.pods.by_uid("u")?;
        let status = record.pod.status.clone()?;
        let container = status.container_statuses?.into_iter().next()?;
        let limits = container.resources?.limits?;
        (limits["cpu"].0 == "1" && condition(bench).is_none()).then_some(container.restart_count)
    })
    .await;
    assert_eq!(shown, 0);
    assert!(
        !bench
            .runtime
            .calls()
            .iter()
            .any(|call| call.starts_with("StopContainer"))
    );
    let steps = bench.surroundings.resized.lock().clone();
    assert_eq!(
        steps.first(),
        Some(&ResizeStep::Widen),
        "the pod has room before its containers"
    );
    assert_eq!(steps.last(), Some(&ResizeStep::Fit));
}

#[tokio::test]
async fn policy_of_a_resource_has_the_container_restarted_whatever_its_exit_code() {
    let bench = running(&sized("500m", "64Mi", POLICY)).await;
    give(&bench, sized("500m", "32Mi", POLICY));
    bench.runtime.until("CreateContainer a 1").await;
    let calls = bench.runtime.calls();
    assert!(
        !calls
            .iter()
            .any(|call| call.starts_with("UpdateContainerResources")),
        "{calls:#?}"
    );
    assert!(
        !calls.iter().any(|call| call.starts_with("StopPodSandbox")),
        "{calls:#?}"
    );
    until(&bench, "the end of the resize", |bench| {
        (condition(bench).is_none() && bench.phase() == "Running").then_some(())
    })
    .await;
}

#[tokio::test]
async fn memory_in_use_is_not_taken_away_and_the_pod_says_why() {
    let bench = running(&sized("500m", "64Mi", "NotRequired")).await;
    *bench.surroundings.memory_used.lock() = Some(48 << 20);
    give(&bench, sized("500m", "32Mi", "NotRequired"));
    let told = until(&bench, "the error", |bench| {
        condition(bench).filter(|condition| condition.reason.is_some())
    })
    .await;
    assert_eq!(
        (told.reason.as_deref(), told.observed_generation),
        (Some("Error"), Some(2))
    );
    let message = told.message.unwrap();
    assert!(
        message.contains("container a") && message.contains("below current usage"),
        "{message}"
    );
    let record = bench.agent.pods.by_uid("u").unwrap();
    let container = record
        .pod
        .status
        .clone()
        .unwrap()
        .container_statuses
        .unwrap()
        .remove(0);
    assert_eq!(
        container.resources.unwrap().limits.unwrap()["memory"].0,
        "64Mi",
        "what is in force"
    );
    assert_eq!(
        container.allocated_resources.unwrap()["memory"].0,
        "32Mi",
        "what was given"
    );
    // It gives some back: the next version of the pod, or the next try, finds room.
    *bench.surroundings.memory_used.lock() = Some(16 << 20);
    bench.changed();
    until(&bench, "the end of the resize", |bench| {
        condition(bench).is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn restarted_agent_finishes_a_resize_and_leaves_the_rest_alone() {
    let bench = Bench::new();
    let worker = bench.run(&sized("500m", "64Mi", "NotRequired"), SeenPod::default());
    until(&bench, "a running pod", |bench| {
        (bench.phase() == "Running").then_some(())
    })
    .await;
    worker.abort();
    // The pod was given more just before the first agent ended.
    let seen = read_pod(&*bench.agent.runtime, "u", &SeenPod::default())
        .await
        .unwrap();
    bench.run(&sized("1", "64Mi", "NotRequired"), seen);
    bench
        .runtime
        .until(&format!("UpdateContainerResources a 1024 100000 {}", 64 << 20))
        .await;
    let calls = bench.runtime.calls();
    let created = calls.iter().filter(|call| call.starts_with("CreateContainer"));
    assert_eq!(created.count(), 1, "{calls:#?}");
}
