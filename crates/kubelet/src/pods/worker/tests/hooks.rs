//! Hooks and the time they take.
use super::*;
use crate::probes_view::{ProbeKind, ProbeNews};

/// I05: what comes after a container waits for its postStart, however long that takes.
#[tokio::test]
async fn i05_second_container_starts_only_after_the_post_start_of_the_first() {
    let bench = Bench::new();
    bench.runtime.hanging.lock().push("up".into());
    let lifecycle = json!({"postStart": {"exec": {"command": ["up"]}}});
    let first = json!({"name": "first", "image": "i:1", "lifecycle": lifecycle});
    bench.run(
        &pod(json!({"containers": [first, {"name": "second", "image": "i:1"}]})),
        SeenPod::default(),
    );
    bench.runtime.until("ExecSync first up").await;
    // Whatever else happens meanwhile.
    bench.changed();
    tokio::task::yield_now().await;
    let calls = bench.runtime.calls();
    assert!(
        !calls
            .iter()
            .any(|call| call.starts_with("CreateContainer second")),
        "{calls:?}"
    );
    bench.runtime.end_hanging();
    bench.runtime.until("StartContainer second").await;
}

/// T02: a preStop of 20 s in a grace of 10 s is waited for no longer than that; the container then has the shortest time
/// there is. The command is left to its work: it ends with the container.
#[tokio::test(start_paused = true)]
async fn t02_pre_stop_longer_than_the_grace_leaves_two_seconds() {
    let mut bench = Bench::new();
    bench.runtime.hanging.lock().push("down".into());
    let lifecycle = json!({"preStop": {"exec": {"command": ["down"]}}});
    bench.run(
        &pod(json!({"containers": [{"name": "c", "image": "i:1", "lifecycle": lifecycle}]})),
        SeenPod::default(),
    );
    bench.runtime.until("StartContainer c").await;
    bench.runtime.stubborn.lock().push("c".into());
    let began = tokio::time::Instant::now();
    bench.mailbox.stop(stop(Some(10)));
    bench.ended().await;
    let calls = bench.runtime.calls();
    let stops: Vec<_> = calls
        .iter()
        .filter(|call| call.starts_with("StopContainer"))
        .collect();
    assert_eq!(stops, ["StopContainer c 2"]);
    let took = began.elapsed().as_secs_f64();
    assert!((12.0..13.0).contains(&took), "{took}");
    assert!(!calls.contains(&"ended down".to_owned()), "{calls:?}");
    bench.runtime.end_hanging();
    bench.runtime.until("ended down").await;
}

/// T06: nobody waits for the preStop hook of a container that has ended already.
#[tokio::test]
async fn t06_container_that_has_ended_runs_no_pre_stop_hook() {
    let mut bench = Bench::new();
    bench.runtime.hanging.lock().push("down".into());
    let lifecycle = json!({"preStop": {"exec": {"command": ["down"]}}});
    let spec = json!({"restartPolicy": "Never", "containers": [
        {"name": "ended", "image": "i:1", "lifecycle": lifecycle}, {"name": "other", "image": "i:1"}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer other").await;
    bench.readiness("ended", true).await;
    bench.runtime.exit("ended", 0);
    bench.changed();
    bench.readiness("ended", false).await;
    bench.mailbox.stop(stop(Some(30)));
    bench.ended().await;
    let calls = bench.runtime.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("ExecSync")),
        "{calls:?}"
    );
    assert!(calls.contains(&"StopContainer other 30".to_owned()), "{calls:?}");
}

/// A liveness probe's kill waits for its preStop hook; the pod's end, with a shorter grace, does not wait for the kill.
#[tokio::test(start_paused = true)]
async fn kill_of_one_container_does_not_hold_up_the_end_of_the_pod() {
    let mut bench = Bench::new();
    bench.runtime.hanging.lock().push("down".into());
    let lifecycle = json!({"preStop": {"exec": {"command": ["down"]}}});
    let spec = json!({"terminationGracePeriodSeconds": 600,
        "containers": [{"name": "c", "image": "i:1", "lifecycle": lifecycle}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    bench.mailbox.probe(ProbeNews {
        container_id: bench.runtime.running().remove(0),
        kind: ProbeKind::Liveness,
        success: false,
    });
    bench.runtime.until("ExecSync c down").await;
    let began = tokio::time::Instant::now();
    bench.mailbox.stop(stop(Some(5)));
    bench.ended().await;
    let took = began.elapsed().as_secs_f64();
    assert!((5.0..8.0).contains(&took), "{took}");
}

/// A container that takes its time to end keeps no traffic on another that is not ready any more.
#[tokio::test]
async fn readiness_of_others_is_told_while_a_container_is_killed() {
    let bench = Bench::new();
    bench.runtime.hanging.lock().push("down".into());
    let lifecycle = json!({"preStop": {"exec": {"command": ["down"]}}});
    let probe = json!({"exec": {"command": ["up"]}});
    let spec = json!({"terminationGracePeriodSeconds": 600, "containers": [
        {"name": "dying", "image": "i:1", "lifecycle": lifecycle},
        {"name": "other", "image": "i:1", "readinessProbe": probe}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer other").await;
    let ids = bench.runtime.running();
    let say = |id: &String, kind, success| {
        bench.mailbox.probe(ProbeNews {
            container_id: id.clone(),
            kind,
            success,
        });
    };
    let (dying, other) = (&ids[0], &ids[1]);
    say(other, ProbeKind::Readiness, true);
    bench.readiness("other", true).await;
    say(dying, ProbeKind::Liveness, false);
    bench.runtime.until("ExecSync dying down").await;
    say(other, ProbeKind::Readiness, false);
    bench.readiness("other", false).await;
    assert!(
        !bench.runtime.calls().contains(&"ended down".to_owned()),
        "it is still being killed"
    );
}

/// The same where one takes its time to start; and one that ends meanwhile is not forgotten over it.
#[tokio::test]
async fn others_are_told_of_and_looked_after_while_a_container_starts() {
    let bench = Bench::new();
    let lifecycle = json!({"postStart": {"exec": {"command": ["up"]}}});
    let probe = json!({"exec": {"command": ["ready"]}});
    let spec = json!({"containers": [
        {"name": "slow", "image": "i:1", "lifecycle": lifecycle},
        {"name": "other", "image": "i:1", "readinessProbe": probe}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer other").await;
    let other = bench.runtime.running().remove(1);
    let say = |success| {
        bench.mailbox.probe(ProbeNews {
            container_id: other.clone(),
            kind: ProbeKind::Readiness,
            success,
        });
    };
    say(true);
    bench.readiness("other", true).await;
    bench.runtime.hanging.lock().push("up".into());
    bench.runtime.exit("slow", 1);
    bench.changed();
    bench.runtime.until("CreateContainer slow 1").await;
    say(false);
    bench.readiness("other", false).await;
    bench.runtime.exit("other", 1);
    bench.changed();
    tokio::task::yield_now().await;
    let calls = bench.runtime.calls();
    assert!(
        !calls.contains(&"ended up".to_owned()),
        "it starts still: {calls:?}"
    );
    bench.runtime.end_hanging();
    bench.runtime.until("CreateContainer other 1").await;
}

/// Images are looked for while the sandbox is made, and the pod may be another by the time the container's turn comes.
#[tokio::test]
async fn a_container_whose_image_changes_while_another_starts_is_made_of_the_new_one() {
    let bench = Bench::new();
    bench.runtime.hanging.lock().push("up".into());
    let of = |image: &str| {
        let lifecycle = json!({"postStart": {"exec": {"command": ["up"]}}});
        pod(
            json!({"containers": [{"name": "slow", "image": "i:1", "lifecycle": lifecycle},
            {"name": "other", "image": image}]}),
        )
    };
    bench.run(&of("i:1"), SeenPod::default());
    bench.runtime.until("ExecSync slow up").await;
    bench.mailbox.post(|mail| mail.pod = Some(of("i:2")));
    tokio::task::yield_now().await;
    bench.runtime.end_hanging();
    bench.runtime.until("StartContainer other").await;
    let made = bench.runtime.list_containers(None).await.unwrap();
    let other = made.last().unwrap();
    let status = bench
        .runtime
        .container_status(&other.id, false)
        .await
        .unwrap()
        .status;
    assert_eq!(status.unwrap().image.unwrap().image, "sha256:i:2");
}

/// T09: the failed probe's own grace counts, not that of the pod.
#[tokio::test]
async fn t09_liveness_failure_with_a_grace_of_its_own_restarts_after_that() {
    let bench = Bench::new();
    let probe = json!({"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 10});
    let spec = json!({"terminationGracePeriodSeconds": 500,
        "containers": [{"name": "c", "image": "i:1", "livenessProbe": probe}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    let id = bench.runtime.running().remove(0);
    bench.mailbox.probe(ProbeNews {
        container_id: id,
        kind: ProbeKind::Liveness,
        success: false,
    });
    bench.runtime.until("StopContainer c 10").await;
    bench.runtime.until("CreateContainer c 1").await;
}

fn with_signal() -> Arc<Pod> {
    let lifecycle = json!({"stopSignal": "SIGUSR1"});
    pod(
        json!({"os": {"name": "linux"}, "containers": [{"name": "c", "image": "i:1", "lifecycle": lifecycle}]}),
    )
}

/// The runtime is told of the signal, and where the agent may send it, it does.
#[tokio::test]
async fn stop_signal_of_the_spec_ends_the_container() {
    let mut bench = Bench::new();
    *bench.runtime.takes_signals.lock() = true;
    bench.run(&with_signal(), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    assert_eq!(bench.runtime.beyond()[0].stop_signal, 29);
    bench.mailbox.stop(stop(Some(20)));
    bench.ended().await;
    let calls = bench.runtime.calls();
    let ends = calls
        .iter()
        .filter(|call| call.contains("EndWith") || call.starts_with("StopContainer"));
    let ends: Vec<_> = ends.collect();
    assert_eq!(ends, ["EndWith c 10 20", "StopContainer c 0"], "SIGUSR1 is 10");
    let statuses = bench.agent.pods.by_uid("u").unwrap().pod.status.clone().unwrap();
    let status = &statuses.container_statuses.unwrap()[0];
    assert_eq!(status.stop_signal.as_deref(), Some("SIGUSR1"));
}

/// A runtime that sends signals itself was told which.
#[tokio::test]
async fn runtime_that_sends_the_stop_signal_itself_gets_the_whole_grace() {
    let mut bench = Bench::new();
    bench.run(&with_signal(), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    bench.mailbox.stop(stop(Some(20)));
    bench.ended().await;
    let calls = bench.runtime.calls();
    assert!(calls.contains(&"StopContainer c 20".to_owned()), "{calls:?}");
}
