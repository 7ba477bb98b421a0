//! Containers that start anew.
use crate::shared::{FOREVER, Shared, apply, container, node, pod, restarts, sidecar, status_of, wait_phase};
use orlop_e2e::eventually;
use serde_json::json;

/// I26 and A61: a container that ends by such a rule restarts all of its pod's, in the same sandbox and with the same
/// address, and only as long as it ends so.
#[test]
fn i26_a61_restart_all_containers_starts_everything_anew_in_the_same_sandbox() {
    let node = node();
    let shared = Shared::new(&node, "i26");
    let init = container("init", "echo x >> /shared/inits");
    let mut main = container(
        "main",
        "trap 'exit 0' TERM; while :; do [ -e /shared/trigger ] && rm /shared/trigger && exit 42; sleep 0.05; done",
    );
    main["restartPolicy"] = json!("Never");
    main["restartPolicyRules"] =
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let inits = vec![init, sidecar("side", FOREVER)];
    let mut i26 = pod("i26", &shared, inits, vec![main, container("other", FOREVER)]);
    i26["spec"]["restartPolicy"] = json!("Never");
    i26["spec"]["hostNetwork"] = json!(false);
    apply(&node, &i26);
    wait_phase(&node, "i26", "Running");
    let ip = node.kubectl.field("pod i26", "/status/podIP");
    let names = ["init", "side", "main", "other"];
    shared.write("trigger");
    eventually("every container has been restarted", || {
        let pod = node.kubectl.json("get pod i26");
        let all = names.iter().all(|name| restarts(&pod, name) == 1) && pod["status"]["phase"] == "Running";
        all.then_some(()).ok_or_else(|| format!("{:#}", pod["status"]))
    });
    assert_eq!(shared.read("inits"), "x\nx", "the init container ran twice");
    assert_eq!(node.kubectl.field("pod i26", "/status/podIP"), ip);
    assert_eq!(node.sandboxes().get("i26"), Some(&1));
    // Nothing ends so any more: nothing restarts any more.
    node.kubectl
        .ok("wait --for=condition=Ready --timeout=60s pod/i26");
    let pod = node.kubectl.json("get pod i26");
    assert!(names.iter().all(|name| restarts(&pod, name) == 1), "{pod:#}");
    for (ended, code) in [("init", 0), ("main", 42)] {
        let last = &status_of(&pod, ended).unwrap()["lastState"]["terminated"];
        assert_eq!(last["exitCode"], code, "it tells how it ended before: {pod:#}");
    }
    for stopped in ["side", "other"] {
        let last = &status_of(&pod, stopped).unwrap()["lastState"]["terminated"];
        let told = last["exitCode"].is_number() && last["reason"] != "ContainerStatusUnknown";
        assert!(told, "so do those that were stopped: {pod:#}");
    }
    node.kubectl.ok("delete pod i26 --now");
}
