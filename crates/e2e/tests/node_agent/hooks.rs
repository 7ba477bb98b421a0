//! Hooks and what they are waited for.
use crate::shared::{FOREVER, Shared, apply, container, node, note, pod, wait_phase};
use serde_json::json;
use std::time::{Duration, Instant};

/// I04: a postStart hook runs after the init containers have ended, even a slow one.
#[test]
fn i04_post_start_comes_after_the_init_containers() {
    let node = node();
    let shared = Shared::new(&node, "i04");
    let init = container("init", &format!("sleep 1; {}", note("init-ended")));
    let mut main = container("main", FOREVER);
    let hook = ["/bin/sh", "-c", &note("post-start")].map(str::to_owned);
    main["lifecycle"] = json!({"postStart": {"exec": {"command": hook}}});
    apply(&node, &pod("i04", &shared, vec![init], vec![main]));
    wait_phase(&node, "i04", "Running");
    assert!(shared.moment("post-start") >= shared.moment("init-ended"));
    node.kubectl.ok("delete pod i04 --now");
}

/// T03: a postStart and a preStop hook that call a peer are each seen by it once.
#[test]
fn t03_post_start_and_pre_stop_are_each_seen_once_by_a_peer() {
    let node = node();
    let shared = Shared::new(&node, "t03");
    let port = orlop_e2e::free_port();
    let serve = format!("exec nc -ll -p {port} -e tee -a /shared/seen");
    apply(
        &node,
        &pod("t03-peer", &shared, vec![], vec![container("peer", &serve)]),
    );
    wait_phase(&node, "t03-peer", "Running");
    let call = |what: &str| {
        let line = format!("echo {what} | nc -w 5 127.0.0.1 {port}");
        json!({"exec": {"command": ["/bin/sh", "-c", line]}})
    };
    let mut main = container("main", FOREVER);
    main["lifecycle"] = json!({"postStart": call("started"), "preStop": call("stopping")});
    apply(&node, &pod("t03", &shared, vec![], vec![main]));
    wait_phase(&node, "t03", "Running");
    assert_eq!(shared.wait("seen"), "started");
    node.kubectl.ok("delete pod t03");
    assert_eq!(shared.read("seen"), "started\nstopping");
    node.kubectl.ok("delete pod t03-peer --now");
}

/// P26: a pod whose volume can never be mounted goes within its grace and a minute.
#[test]
fn p26_pod_with_a_volume_that_never_mounts_can_be_deleted() {
    let node = node();
    let shared = Shared::new(&node, "p26");
    let mut stuck = pod("p26", &shared, vec![], vec![container("main", FOREVER)]);
    stuck["spec"]["volumes"][0] = json!({"name": "shared", "configMap": {"name": "never"}});
    apply(&node, &stuck);
    let events = || {
        node.kubectl
            .ok("get events --field-selector involvedObject.name=p26")
    };
    orlop_e2e::eventually("an event about the mount", || {
        let events = events();
        let told = events.contains("MountVolume.SetUp failed for volume \"shared\"");
        told.then_some(()).ok_or(events)
    });
    let began = Instant::now();
    node.kubectl.ok("delete pod p26 --timeout=60s");
    assert!(began.elapsed() < Duration::from_secs(60));
}
