//! Sidecars, and the order in which a pod ends.
use crate::shared::{
    FOREVER, Shared, apply, container, delete_and_see, exit_code, node, note, pod, restarts, sidecar,
    wait_phase,
};
use orlop_e2e::eventually;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn pre_stop(script: &str) -> Value {
    json!({"preStop": {"exec": {"command": ["/bin/sh", "-c", script]}}})
}

/// I15: the preStop hooks of all sidecars start together, as soon as the pod is to end.
#[test]
fn i15_pre_stop_hooks_of_all_sidecars_start_together() {
    let node = node();
    let shared = Shared::new(&node, "i15");
    let names = ["s1", "s2", "s3"];
    let inits = names.map(|name| {
        let mut sidecar = sidecar(name, FOREVER);
        sidecar["lifecycle"] = pre_stop(&format!("{}; sleep 2", note(name)));
        sidecar
    });
    let mut main = container("main", FOREVER);
    main["lifecycle"] = pre_stop(&note("main"));
    let mut i15 = pod("i15", &shared, inits.to_vec(), vec![main]);
    i15["spec"]["terminationGracePeriodSeconds"] = json!(30);
    apply(&node, &i15);
    wait_phase(&node, "i15", "Running");
    node.kubectl.ok("delete pod i15");
    let main = shared.moment("main");
    for name in names {
        let apart = (shared.moment(name) - main).abs();
        assert!(apart < 1.5, "{name}: {apart} s apart");
    }
}

/// I18: a sidecar whose preStop hook outlasts the grace is killed, the others end well, and the pod has succeeded after
/// about the grace.
#[test]
fn i18_sidecar_whose_pre_stop_outlasts_the_grace_is_killed_alone() {
    let node = node();
    let shared = Shared::new(&node, "i18");
    let mut slow = sidecar("slow", "trap '' TERM; while :; do sleep 0.05; done");
    let hook = format!(
        "{}; while :; do {}; mv /shared/now /shared/last; sleep 0.1; done",
        note("began"),
        note("now")
    );
    slow["lifecycle"] = pre_stop(&hook);
    let inits = vec![sidecar("first", FOREVER), slow, sidecar("last", FOREVER)];
    let mut i18 = pod("i18", &shared, inits, vec![container("main", FOREVER)]);
    i18["spec"]["restartPolicy"] = json!("Never");
    apply(&node, &i18);
    wait_phase(&node, "i18", "Running");
    let began = Instant::now();
    let last = delete_and_see(&node, "i18");
    let took = began.elapsed();
    assert_eq!(last["status"]["phase"], "Succeeded", "{last:#}");
    assert_eq!(exit_code(&last, "slow"), Some(137));
    for name in ["first", "last", "main"] {
        assert_eq!(exit_code(&last, name), Some(0), "{name}: {last:#}");
    }
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(20),
        "about the grace: {took:?}"
    );
    // It is the container that is killed, after two seconds more, and the hook with it.
    let worked = shared.moment("last") - shared.moment("began");
    assert!((6.0..8.5).contains(&worked), "the hook worked for {worked} s");
}

/// I19: sidecars that never started hold up nothing.
#[test]
fn i19_pod_still_in_its_first_init_container_goes_at_once() {
    let node = node();
    let shared = Shared::new(&node, "i19");
    let init = container("init", &format!("{}; {FOREVER}", note("began")));
    let mut later = sidecar("later", FOREVER);
    later["lifecycle"] = pre_stop("sleep 60");
    let mut i19 = pod(
        "i19",
        &shared,
        vec![init, later],
        vec![container("main", FOREVER)],
    );
    i19["spec"]["terminationGracePeriodSeconds"] = json!(3);
    apply(&node, &i19);
    shared.wait("began");
    let began = Instant::now();
    node.kubectl.ok("delete pod i19");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// I20: a sidecar that fails its liveness probe is restarted, after its preStop hook, and holds up nobody.
#[test]
fn i20_sidecar_that_fails_its_liveness_probe_is_restarted_and_the_next_container_starts() {
    let node = node();
    let shared = Shared::new(&node, "i20");
    let mut first = sidecar("first", FOREVER);
    first["lifecycle"] = pre_stop(&note("pre-stop"));
    first["livenessProbe"] =
        json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    let second = container("second", "sleep 3");
    let i20 = pod(
        "i20",
        &shared,
        vec![first, second],
        vec![container("main", FOREVER)],
    );
    apply(&node, &i20);
    eventually("the sidecar restarts and the pod runs", || {
        let pod = node.kubectl.json("get pod i20");
        let done = restarts(&pod, "first") > 0 && pod["status"]["phase"] == "Running";
        done.then_some(()).ok_or_else(|| format!("{:#}", pod["status"]))
    });
    shared.wait("pre-stop");
    node.kubectl.ok("delete pod i20 --now");
}
