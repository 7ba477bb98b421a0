use super::*;
use crate::pods::mailbox::Stop;
use crate::pods::turns::Purpose;
use crate::runtime::read::read_pod;
use crate::sources::Source;
use crate::testing::{FakeRuntime, Plain, agent};
use futures::FutureExt;
use k8s_openapi::api::core::v1::ContainerStatus;
use orlop_cri::{RuntimeService, v1};
use serde_json::json;
use std::sync::atomic::Ordering;

mod hooks;
mod image_volumes;
mod last_known;
mod resize;

struct Bench {
    runtime: Arc<FakeRuntime>,
    surroundings: Arc<Plain>,
    agent: Arc<Agent>,
    ends: tokio::sync::mpsc::UnboundedReceiver<String>,
    mailbox: Mailbox,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, surroundings) = (Arc::<FakeRuntime>::default(), Arc::<Plain>::default());
        let (agent, ends) = agent(runtime.clone(), surroundings.clone(), dir.path());
        Self {
            runtime,
            surroundings,
            agent,
            ends,
            mailbox: Mailbox::default(),
            _dir: dir,
        }
    }

    fn run(&self, pod: &Arc<Pod>, seen: SeenPod) -> tokio::task::JoinHandle<()> {
        self.agent.pods.put(pod.clone(), Source::File);
        self.agent.board.start(pod, true);
        tokio::spawn(Worker::new(self.agent.clone(), pod.clone(), seen, self.mailbox.clone()).run())
    }

    fn changed(&self) {
        self.mailbox.post(|mail| mail.runtime_changed = true);
    }

    async fn ended(&mut self) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.ends.recv()).await;
        assert!(
            ended.is_ok(),
            "the worker did not end: {:#?}",
            self.runtime.calls()
        );
    }

    /// Waits until the pod's status says that a container is ready, or is not.
    async fn readiness(&self, container: &str, wanted: bool) {
        let mut changes = self.agent.pods.subscribe();
        let is_so = || {
            let record = self.agent.pods.by_uid("u")?;
            let status = record.pod.status.as_ref()?;
            let mut all = status.container_statuses.iter().flatten();
            Some(all.find(|status| status.name == container)?.ready == wanted)
        };
        let wait = async {
            while is_so() != Some(true) {
                changes.changed().await.unwrap();
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(told.is_ok(), "{container} is not told to be ready: {wanted}");
    }

    fn phase(&self) -> String {
        let record = self.agent.pods.by_uid("u").unwrap();
        record
            .pod
            .status
            .clone()
            .and_then(|status| status.phase)
            .unwrap_or_default()
    }
}

fn pod(spec: serde_json::Value) -> Arc<Pod> {
    let mut pod: Pod = serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": spec}),
    )
    .unwrap();
    orlop_api::defaults::typed(&mut pod, orlop_api::defaults::pod).unwrap();
    Arc::new(pod)
}

fn stop(grace: Option<i64>) -> Stop {
    Stop {
        grace,
        why: StopReason::Removed,
    }
}

#[tokio::test]
async fn new_pod_runs_and_is_stopped_and_released() {
    let mut bench = Bench::new();
    bench.run(
        &pod(json!({"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:1"}]})),
        SeenPod::default(),
    );
    bench.runtime.until("StartContainer b").await;
    let want = [
        "RunPodSandbox u",
        "CreateContainer a 0",
        "StartContainer a",
        "CreateContainer b 0",
        "StartContainer b",
    ];
    assert_eq!(bench.runtime.calls(), want);
    bench.mailbox.stop(stop(None));
    bench.ended().await;
    assert!(bench.runtime.calls().contains(&"StopContainer a 30".to_owned()));
    let calls = bench.runtime.calls();
    let stops = calls.iter().filter(|call| *call == "StopPodSandbox u").count();
    assert_eq!(stops, 1, "{calls:?}: the network's plugins run each time");
    assert!(bench.runtime.list_pod_sandboxes(None).await.unwrap().is_empty());
    assert_eq!(*bench.surroundings.released.lock(), ["u"]);
    assert!(
        bench.runtime.list_containers(None).await.unwrap().is_empty(),
        "records of a removed pod go"
    );
}

#[tokio::test]
async fn of_containers_that_were_started_their_status_alone_is_asked_for() {
    let bench = Bench::new();
    let containers = json!([{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:1"}]);
    bench.run(&pod(json!({"containers": containers})), SeenPod::default());
    let lists = || bench.runtime.lists.load(Ordering::SeqCst);
    while bench.phase() != "Running" {
        bench.agent.pods.new_status().await;
    }
    assert_eq!(lists(), 0);
    bench.runtime.exit("a", 1);
    bench.changed();
    // What ended by itself is looked for among all.
    while lists() == 0 {
        bench.agent.pods.new_status().await;
    }
}

#[tokio::test]
async fn pod_that_is_stopped_before_it_has_its_turn_makes_nothing() {
    let mut bench = Bench::new();
    let mut taken = Vec::new();
    while let Some(turn) = bench.agent.turns.next(Purpose::Sandbox).now_or_never() {
        taken.push(turn);
    }
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1"}]})),
        SeenPod::default(),
    );
    bench.mailbox.stop(stop(None));
    bench.ended().await;
    assert_eq!(bench.runtime.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a19_grace_of_zero_is_two_for_the_runtime() {
    let mut bench = Bench::new();
    let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i:1"}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    bench.mailbox.stop(stop(None));
    bench.ended().await;
    assert!(
        bench.runtime.calls().contains(&"StopContainer c 2".to_owned()),
        "{:?}",
        bench.runtime.calls()
    );
}

#[tokio::test]
async fn i06_ended_container_is_restarted_at_once_with_a_higher_count() {
    let bench = Bench::new();
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1"}]})),
        SeenPod::default(),
    );
    bench.runtime.until("StartContainer c").await;
    bench.runtime.exit("c", 1);
    bench.changed();
    bench.runtime.until("CreateContainer c 1").await;
}

#[tokio::test]
async fn finished_pod_ends_with_its_phase_and_keeps_its_records() {
    let mut bench = Bench::new();
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    bench.runtime.exit("c", 0);
    bench.changed();
    bench.ended().await;
    assert_eq!(bench.phase(), "Succeeded");
    assert_eq!(bench.runtime.list_containers(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a23_restarted_agent_leaves_running_containers_untouched() {
    let bench = Bench::new();
    let pod = pod(json!({"containers": [{"name": "c", "image": "i:1"}]}));
    let first = bench.run(&pod, SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    first.abort();
    let (before, calls) = (bench.runtime.running(), bench.runtime.calls().len());
    let seen = read_pod(&*bench.runtime, "u", &SeenPod::default()).await.unwrap();
    bench.run(&pod, seen);
    bench.changed();
    for _ in 0..200 {
        if bench.phase() == "Running" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bench.phase(), "Running");
    assert_eq!(
        (bench.runtime.running(), bench.runtime.calls().len()),
        (before, calls)
    );
}

#[tokio::test]
async fn a20_t06_hooks_run_around_a_containers_life() {
    let mut bench = Bench::new();
    let lifecycle =
        json!({"postStart": {"exec": {"command": ["up"]}}, "preStop": {"exec": {"command": ["down"]}}});
    let spec = json!({"containers": [{"name": "c", "image": "i:1", "lifecycle": lifecycle}, {"name": "d", "image": "i:1"}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer d").await;
    let calls = bench.runtime.calls();
    let at = |call: &str| calls.iter().position(|made| made == call);
    assert!(
        at("ExecSync c up") < at("CreateContainer d 0"),
        "I05: postStart holds back what follows: {calls:?}"
    );
    bench.mailbox.stop(stop(None));
    bench.ended().await;
    let calls = bench.runtime.calls();
    let at = |call: &str| calls.iter().position(|made| made == call);
    assert!(
        at("ExecSync c down").is_some() && at("ExecSync c down") < at("StopContainer c 30"),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_second_delete_shortens_the_grace_and_runs_no_hook_twice() {
    let mut bench = Bench::new();
    let lifecycle = json!({"preStop": {"exec": {"command": ["down"]}}});
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1", "lifecycle": lifecycle}]})),
        SeenPod::default(),
    );
    bench.runtime.until("StartContainer c").await;
    bench.runtime.stubborn.lock().push("c".into());
    bench.mailbox.stop(stop(Some(600)));
    bench.runtime.until("StopContainer c 600").await;
    bench.mailbox.stop(stop(Some(1)));
    bench.ended().await;
    let calls = bench.runtime.calls();
    assert!(calls.contains(&"StopContainer c 2".to_owned()), "{calls:?}");
    assert_eq!(calls.iter().filter(|call| *call == "ExecSync c down").count(), 1);
}

#[tokio::test]
async fn i14_sidecars_end_after_what_they_serve() {
    let mut bench = Bench::new();
    let spec = json!({
        "initContainers": [{"name": "s1", "image": "i:1", "restartPolicy": "Always"},
            {"name": "s2", "image": "i:1", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i:1"}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    bench.runtime.slow.lock().push("c".into());
    bench.mailbox.stop(stop(Some(30)));
    bench.ended().await;
    let calls = bench.runtime.calls();
    let stopped: Vec<&String> = calls.iter().filter(|call| call.starts_with("stopped")).collect();
    assert_eq!(stopped, ["stopped c", "stopped s2", "stopped s1"], "{calls:#?}");
}

#[tokio::test]
async fn sandbox_that_fails_is_tried_again() {
    let bench = Bench::new();
    bench.runtime.failing.lock().push("RunPodSandbox".into());
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1"}]})),
        SeenPod::default(),
    );
    bench.runtime.until("RunPodSandbox u").await;
    bench.runtime.failing.lock().clear();
    // Anything that happens to the pod is a reason to try at once.
    bench.changed();
    bench.runtime.until("StartContainer c").await;
}

/// Its record stays, for the container that ran in it is asked about.
#[tokio::test]
async fn a_sandbox_that_ended_by_itself_gives_back_its_address_before_the_next_is_made() {
    let bench = Bench::new();
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1"}]})),
        SeenPod::default(),
    );
    bench.runtime.until("StartContainer c").await;
    bench.runtime.end_sandboxes();
    bench.changed();
    bench.runtime.until("CreateContainer c 1").await;
    let calls = bench.runtime.calls();
    let of_sandboxes = calls.iter().filter(|call| call.contains("PodSandbox"));
    let want = ["RunPodSandbox u", "StopPodSandbox u", "RunPodSandbox u"];
    assert_eq!(of_sandboxes.collect::<Vec<_>>(), want);
}

#[tokio::test]
async fn p18_container_of_a_pod_being_deleted_is_not_made_anew_for_a_changed_image() {
    let mut bench = Bench::new();
    let spec = |image: &str| json!({"containers": [{"name": "c", "image": image}]});
    bench.run(&pod(spec("i:1")), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    bench.runtime.slow.lock().push("c".into());
    bench.mailbox.stop(stop(Some(5)));
    bench.runtime.until("StopContainer c 5").await;
    bench.mailbox.post(|mail| mail.pod = Some(pod(spec("i:2"))));
    bench.ended().await;
    let calls = bench.runtime.calls();
    let created = calls.iter().filter(|call| call.starts_with("CreateContainer"));
    assert_eq!(created.count(), 1, "{calls:?}");
}

#[tokio::test]
async fn t07_container_whose_post_start_fails_is_killed_and_tried_again() {
    let bench = Bench::new();
    bench.runtime.failing.lock().push("ExecSync".into());
    let lifecycle = json!({"postStart": {"exec": {"command": ["up"]}}});
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1", "lifecycle": lifecycle}]})),
        SeenPod::default(),
    );
    bench.runtime.until("StopContainer c 30").await;
    bench.runtime.failing.lock().clear();
    bench.changed();
    bench.runtime.until("CreateContainer c 1").await;
}

#[tokio::test]
async fn i17_sidecars_get_two_seconds_after_a_regular_container_used_up_the_grace() {
    let mut bench = Bench::new();
    let spec = json!({
        "initContainers": [{"name": "s1", "image": "i:1", "restartPolicy": "Always"},
            {"name": "s2", "image": "i:1", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i:1"}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    bench.runtime.stubborn.lock().push("c".into());
    bench.mailbox.stop(stop(Some(2)));
    bench.ended().await;
    let calls = bench.runtime.calls();
    let stops: Vec<&String> = calls
        .iter()
        .filter(|call| call.starts_with("StopContainer"))
        .collect();
    assert_eq!(
        stops,
        ["StopContainer c 2", "StopContainer s2 2", "StopContainer s1 2"]
    );
    let status = bench.agent.pods.by_uid("u").unwrap().pod.status.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    let ends = |statuses: Option<Vec<ContainerStatus>>| -> Vec<_> {
        let ended = |status: ContainerStatus| status.state.unwrap().terminated.unwrap();
        let all = statuses.unwrap().into_iter().map(ended);
        all.map(|ended| (ended.exit_code, ended.reason.unwrap()))
            .collect()
    };
    let (killed, well) = ((137, "Error".to_owned()), (0, "Completed".to_owned()));
    assert_eq!(ends(status.container_statuses), [killed]);
    assert_eq!(ends(status.init_container_statuses), [well.clone(), well]);
}

/// E02: a container that lacks what its variables come from says so, and starts in the same pod when it is there.
#[tokio::test]
async fn e02_container_without_its_surroundings_says_why_and_starts_when_they_are_there() {
    let bench = Bench::new();
    let message = "couldn't find key k in ConfigMap d/m";
    *bench.surroundings.lacking.lock() = Some(message.to_owned());
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1"}]})),
        SeenPod::default(),
    );
    let waiting = || {
        let record = bench.agent.pods.by_uid("u")?;
        let status = record.pod.status.as_ref()?;
        let container = status.container_statuses.as_ref()?.first()?;
        let waiting = container.state.as_ref()?.waiting.clone()?;
        Some((waiting.reason?, waiting.message?))
    };
    let expected = Some(("CreateContainerConfigError".to_owned(), message.to_owned()));
    let mut changes = bench.agent.pods.subscribe();
    let wait = async {
        while waiting() != expected {
            changes.changed().await.unwrap();
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(told.is_ok(), "{:?}", waiting());
    *bench.surroundings.lacking.lock() = None;
    bench.changed();
    bench.runtime.until("StartContainer c").await;
    let calls = bench.runtime.calls();
    assert_eq!(
        calls,
        ["RunPodSandbox u", "CreateContainer c 0", "StartContainer c"]
    );
}

/// P14: the deadline of a running pod is lowered to what is over soon.
#[tokio::test]
async fn p14_running_pod_whose_deadline_is_lowered_ends_as_failed() {
    let mut bench = Bench::new();
    let spec = |seconds: i64| json!({"activeDeadlineSeconds": seconds, "containers": [{"name": "c", "image": "i:1"}]});
    bench.run(&pod(spec(600)), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    bench.mailbox.post(|mail| mail.pod = Some(pod(spec(1))));
    bench.ended().await;
    let status = bench.agent.pods.by_uid("u").unwrap().pod.status.clone().unwrap();
    let told = (
        status.phase.as_deref(),
        status.reason.as_deref(),
        status.message.as_deref(),
    );
    let message = "Pod was active on the node longer than the specified deadline";
    assert_eq!(told, (Some("Failed"), Some("DeadlineExceeded"), Some(message)));
    assert!(bench.runtime.running().is_empty());
    let calls = bench.runtime.calls();
    let made = calls.iter().filter(|call| call.starts_with("CreateContainer"));
    assert_eq!(made.count(), 1, "{calls:?}");
}

#[tokio::test]
async fn g01_pod_that_is_ordered_to_stop_fails_with_the_reason_and_leaves_nothing() {
    let mut bench = Bench::new();
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1"}]})),
        SeenPod::default(),
    );
    bench.runtime.until("StartContainer c").await;
    bench.runtime.stubborn.lock().push("c".into());
    let verdict = Verdict::evicted("The node was low on resource: memory. ".into());
    bench.mailbox.post(|mail| mail.verdict = Some(verdict));
    bench.mailbox.stop(Stop {
        grace: Some(1),
        why: StopReason::Ordered,
    });
    bench.ended().await;
    assert_eq!(bench.phase(), "Failed");
    let status = bench.agent.pods.by_uid("u").unwrap().pod.status.clone().unwrap();
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    assert!(bench.runtime.list_containers(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn n14_container_that_died_while_the_agent_was_down_is_restarted_with_its_count_going_on() {
    let bench = Bench::new();
    let pod = pod(json!({"containers": [{"name": "c", "image": "i:1"}]}));
    let first = bench.run(&pod, SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    bench.runtime.exit("c", 1);
    bench.changed();
    bench.runtime.until("CreateContainer c 1").await;
    first.abort();
    // What it had begun ends; the container dies with nobody looking.
    let _ = first.await;
    for id in bench.runtime.running() {
        bench.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    }
    let seen = read_pod(&*bench.runtime, "u", &SeenPod::default()).await.unwrap();
    bench.run(&pod, seen);
    bench.runtime.until("CreateContainer c 2").await;
}

/// B01 for a container whose program does not even start: it is not tried again and again.
#[tokio::test]
async fn b01_container_that_cannot_be_started_is_held_back_like_one_that_crashes() {
    let bench = Bench::new();
    bench.runtime.failing.lock().push("StartContainer".into());
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1"}]})),
        SeenPod::default(),
    );
    let waits_for = |bench: &Bench| {
        let record = bench.agent.pods.by_uid("u")?;
        let container = record.pod.status.clone()?.container_statuses?.remove(0);
        container.state?.waiting?.reason
    };
    let wait = async {
        while waits_for(&bench).as_deref() != Some("CrashLoopBackOff") {
            bench.changed();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = tokio::time::timeout(Duration::from_secs(8), wait).await;
    assert!(
        held.is_ok(),
        "{:?} {:#?}",
        waits_for(&bench),
        bench.runtime.calls()
    );
    let calls = bench.runtime.calls();
    let made = calls.iter().filter(|call| call.starts_with("CreateContainer"));
    assert_eq!(
        made.count(),
        2,
        "the first restart is at once, the next one has to wait"
    );
}

/// S16: root in such a pod is nobody on the node, or the pod does not run.
#[tokio::test(start_paused = true)]
async fn s16_users_of_its_own_are_given_where_the_runtime_can() {
    let bench = Bench::new();
    let pod = pod(json!({"hostUsers": false, "containers": [{"name": "c", "image": "i:1"}]}));
    bench.run(&pod, SeenPod::default());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.runtime.calls(), [""; 0]);
    assert_eq!(bench.agent.users.of(&pod), None);
    bench.runtime.can.lock().user_namespaces = true;
    bench.runtime.until("StartContainer c").await;
    let users = bench.agent.users.of(&pod).unwrap();
    assert_eq!(users.mode, v1::NamespaceMode::Pod as i32);
}

/// There is one for each pod for as long as it runs.
#[tokio::test]
async fn a_worker_that_waits_takes_little_memory() {
    let bench = Bench::new();
    let pod = pod(json!({"containers": [{"name": "a", "image": "i:1"}]}));
    let worker = Worker::new(
        bench.agent.clone(),
        pod,
        SeenPod::default(),
        bench.mailbox.clone(),
    );
    let bytes = size_of_val(&worker.run());
    assert!(bytes <= 8 * 1024, "{bytes} bytes");
}
