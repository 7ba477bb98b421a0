use super::*;
use crate::pods::plan::Waiting;
use crate::runtime::seen::testing::{container, exited, running, sandbox};
use jiff::SignedDuration;
use serde_json::json;

fn pod(spec: serde_json::Value) -> Pod {
    let mut pod: Pod = serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": spec}),
    )
    .unwrap();
    let spec = pod.spec.get_or_insert_default();
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        container.image.get_or_insert("i:1".into());
    }
    pod
}

use crate::pods::resize::apply::Change;

struct Case {
    pod: Pod,
    seen: SeenPod,
    probes: HashMap<String, ProbeView>,
    backoff: Backoff,
    resizes: Vec<Change>,
    now: i64,
}

impl Case {
    fn new(pod: Pod, containers: Vec<SeenContainer>) -> Self {
        let seen = SeenPod {
            sandboxes: vec![sandbox("s", 0, true)],
            containers,
        };
        let backoff = Backoff::new(SignedDuration::from_secs(300));
        Self {
            pod,
            seen,
            probes: HashMap::new(),
            backoff,
            resizes: Vec::new(),
            now: 1000,
        }
    }

    fn plan(&self) -> Plan {
        let now = Timestamp::from_second(self.now).unwrap();
        decide(&Situation {
            pod: &self.pod,
            seen: &self.seen,
            probes: &self.probes,
            backoff: &self.backoff,
            resizes: &self.resizes,
            now,
        })
    }

    fn with_probe(mut self, id: &str, view: ProbeView) -> Self {
        self.probes.insert(id.into(), view);
        self
    }
}

fn start(which: &[Which]) -> Plan {
    Plan {
        start: which.to_vec(),
        ..Plan::default()
    }
}

fn finish() -> Plan {
    Plan {
        finish: true,
        ..Plan::default()
    }
}

const R0: Which = Which::Regular(0);
const R1: Which = Which::Regular(1);
const I0: Which = Which::Init(0);
const I1: Which = Which::Init(1);

fn one(policy: &str) -> Pod {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "c"}]}))
}

fn two() -> Pod {
    pod(json!({"containers": [{"name": "a"}, {"name": "b"}]}))
}

#[test]
fn new_pod_gets_a_sandbox_and_its_containers_in_order() {
    let mut case = Case::new(two(), vec![]);
    case.seen.sandboxes.clear();
    assert_eq!(
        case.plan(),
        Plan {
            sandbox: Some(0),
            start: vec![R0, R1],
            ..Plan::default()
        }
    );
    case.pod = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}));
    assert_eq!(
        case.plan(),
        Plan {
            sandbox: Some(0),
            start: vec![I0],
            ..Plan::default()
        }
    );
}

#[test]
fn a23_i23_what_runs_is_left_alone() {
    let case = Case::new(
        two(),
        vec![
            container("1", "a", "s", 0, running()),
            container("2", "b", "s", 0, running()),
        ],
    );
    assert_eq!(case.plan(), Plan::default());
}

#[test]
fn p05_ended_container_restarts_by_policy_and_exit_code() {
    for (policy, code, want) in [
        ("Always", 0, start(&[R0])),
        ("Always", 1, start(&[R0])),
        ("OnFailure", 1, start(&[R0])),
        ("OnFailure", 0, finish()),
        ("Never", 1, finish()),
        ("Never", 0, finish()),
    ] {
        let case = Case::new(one(policy), vec![container("1", "c", "s", 0, exited(code, 900))]);
        assert_eq!(case.plan(), want, "{policy} {code}");
    }
}

#[test]
fn i24_i25_rules_and_policies_of_a_container_come_first() {
    let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}});
    let ruled = json!({"restartPolicy": "Never", "containers":
        [{"name": "c", "restartPolicy": "Never", "restartPolicyRules": [rule]}]});
    for (spec, code, want) in [
        (ruled.clone(), 42, start(&[R0])),
        (ruled, 1, finish()),
        (
            json!({"restartPolicy": "Never", "containers": [{"name": "c", "restartPolicy": "Always"}]}),
            0,
            start(&[R0]),
        ),
    ] {
        let case = Case::new(pod(spec), vec![container("1", "c", "s", 0, exited(code, 900))]);
        assert_eq!(case.plan(), want, "exit {code}");
    }
}

#[test]
fn b01_crashing_container_is_held_back_with_reason_and_time() {
    let mut case = Case::new(one("Always"), vec![container("1", "c", "s", 1, exited(1, 995))]);
    let key = backoff_key(&case.pod.spec.as_ref().unwrap().containers[0]);
    let at = |second| Timestamp::from_second(second).unwrap();
    case.backoff.restarted(&key, at(990), at(990));
    let plan = case.plan();
    assert_eq!(plan.start, []);
    assert_eq!(plan.again_at, Some(at(1005)));
    assert_eq!(
        plan.waiting["c"],
        Waiting::new(
            "CrashLoopBackOff",
            "back-off 10s restarting failed container=c pod=p_d(u)"
        )
    );
    case.now = 1005;
    assert_eq!(case.plan(), start(&[R0]));
    // B02: another image starts the series anew.
    case.now = 1000;
    case.pod.spec.as_mut().unwrap().containers[0].image = Some("i:2".into());
    assert_eq!(case.plan(), start(&[R0]));
}

#[test]
fn p15_changed_image_restarts_only_that_container_under_every_policy() {
    for policy in ["Always", "Never"] {
        let mut spec =
            json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b", "image": "i:2"}]});
        let both = vec![
            container("1", "a", "s", 0, running()),
            container("2", "b", "s", 0, running()),
        ];
        let mut case = Case::new(pod(spec.take()), both);
        let plan = case.plan();
        assert_eq!(plan.kill.len(), 1, "{policy}");
        assert_eq!(
            plan.kill[0].message,
            "Container b definition changed, will be restarted"
        );
        assert_eq!((plan.kill[0].id.as_str(), plan.kill[0].which), ("2", R1));
        case.seen.containers[1].state = exited(137, 990);
        assert_eq!(case.plan(), start(&[R1]), "{policy}");
    }
}

#[test]
fn t10_failed_probes_kill_and_say_whether_a_restart_follows() {
    let failed = ProbeView {
        liveness_failed: true,
        ..ProbeView::default()
    };
    let plan_of = |policy: &str, names: &[&str]| {
        let containers: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        let spec = json!({"restartPolicy": policy, "containers": containers});
        let runs = |name: &&str| container(name, name, "s", 0, running());
        let case = Case::new(pod(spec), names.iter().map(runs).collect());
        case.with_probe("c", failed).plan()
    };
    for (policy, message) in [
        ("Always", "Container c failed liveness probe, will be restarted"),
        ("Never", "Container c failed liveness probe"),
    ] {
        let plan = plan_of(policy, &["c", "other"]);
        assert_eq!(plan.kill.len(), 1, "{policy}");
        assert_eq!(plan.kill[0].message, message);
        assert_eq!(plan.kill[0].probe, Some(FailedProbe::Liveness));
        assert!(plan.start.is_empty() && !plan.finish, "{policy}");
    }
    assert!(plan_of("Never", &["c"]).finish, "nothing is left to run");
}

#[test]
fn i01_init_containers_run_one_after_another() {
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "x"}, {"name": "y"}],
        "containers": [{"name": "c"}]});
    let x = |state| container("x", "x", "s", 0, state);
    let y = |state| container("y", "y", "s", 0, state);
    for (seen, want) in [
        (vec![], start(&[I0])),
        (vec![x(running())], Plan::default()),
        (vec![x(exited(0, 5))], start(&[I1])),
        (vec![x(exited(1, 5))], finish()),
        (vec![y(running()), x(exited(0, 5))], Plan::default()),
        (vec![y(exited(0, 6)), x(exited(0, 5))], start(&[R0])),
        // The first one's record is gone.
        (vec![y(exited(0, 6))], start(&[R0])),
    ] {
        let case = Case::new(pod(spec.clone()), seen.clone());
        assert_eq!(case.plan(), want, "{seen:#?}");
    }
}

#[test]
fn i02_i03_p16_failed_init_is_repeated_and_done_init_is_not() {
    let spec = json!({"initContainers": [{"name": "x"}], "containers": [{"name": "c"}]});
    let failed = Case::new(pod(spec.clone()), vec![container("x", "x", "s", 0, exited(1, 5))]);
    assert_eq!(failed.plan(), start(&[I0]));
    let crashed = vec![
        container("c", "c", "s", 0, exited(1, 9)),
        container("x", "x", "s", 0, exited(0, 5)),
    ];
    assert_eq!(Case::new(pod(spec.clone()), crashed).plan(), start(&[R0]));
    // A24: its record is gone, the pod runs.
    assert_eq!(
        Case::new(pod(spec), vec![container("c", "c", "s", 0, running())]).plan(),
        Plan::default()
    );
    let other = json!({"initContainers": [{"name": "x", "image": "i:2"}], "containers": [{"name": "c"}]});
    let done = vec![
        container("c", "c", "s", 0, running()),
        container("x", "x", "s", 0, exited(0, 5)),
    ];
    assert_eq!(Case::new(pod(other), done).plan(), Plan::default());
}

#[test]
fn i07_i08_i09_sidecars_start_in_order_and_are_kept_running() {
    let probed = json!({"name": "s1", "restartPolicy": "Always", "startupProbe": {}});
    let plain = json!({"name": "s2", "restartPolicy": "Always"});
    let spec =
        json!({"restartPolicy": "Never", "initContainers": [probed, plain], "containers": [{"name": "c"}]});
    let s1 = |state| container("1", "s1", "s", 0, state);
    let s2 = |state| container("2", "s2", "s", 0, state);
    let c = |state| container("3", "c", "s", 0, state);
    let started = ProbeView {
        started: Some(true),
        ..ProbeView::default()
    };
    // I11: as long as its image cannot be had, it is all that is tried.
    let none = Case::new(pod(spec.clone()), vec![]);
    assert_eq!(none.plan(), start(&[I0]));
    assert_eq!(
        Case::new(pod(spec.clone()), vec![s1(running())]).plan(),
        Plan::default(),
        "not started yet"
    );
    let up = |seen| Case::new(pod(spec.clone()), seen).with_probe("1", started);
    assert_eq!(up(vec![s1(running())]).plan(), start(&[I1]));
    assert_eq!(up(vec![s1(running()), s2(running())]).plan(), start(&[R0]));
    let all = up(vec![s1(running()), s2(exited(0, 5)), c(running())]);
    assert_eq!(all.plan(), start(&[I1]), "restarted even in a Never pod");
    let over = up(vec![s1(running()), s2(running()), c(exited(0, 5))]);
    assert_eq!(over.plan(), finish(), "sidecars don't keep a pod alive");
}

#[test]
fn a29_i22_lost_sandbox_begins_anew_with_init() {
    let spec = json!({"initContainers": [{"name": "x"}], "containers": [{"name": "c"}]});
    let seen = vec![
        container("c", "c", "s", 0, exited(137, 9)),
        container("x", "x", "s", 0, exited(0, 5)),
    ];
    let mut case = Case::new(pod(spec), seen);
    case.seen.sandboxes[0].ready = false;
    assert_eq!(
        case.plan(),
        Plan {
            sandbox: Some(1),
            start: vec![I0],
            ..Plan::default()
        }
    );
    case.pod = one("Never");
    assert_eq!(case.plan(), finish());
    case.pod = one("OnFailure");
    case.seen.containers = vec![container("c", "c", "s", 0, exited(0, 9))];
    assert_eq!(case.plan(), finish(), "what succeeded is not repeated");
}

#[test]
fn sandbox_without_an_address_or_beside_another_is_replaced() {
    let mut case = Case::new(one("Always"), vec![container("c", "c", "s", 0, running())]);
    case.seen.sandboxes[0].ips.clear();
    assert_eq!(case.plan().sandbox, Some(1));
    case.pod.spec.as_mut().unwrap().host_network = Some(true);
    assert_eq!(case.plan(), Plan::default());
    case.seen.sandboxes.insert(0, sandbox("t", 1, true));
    assert_eq!(case.plan().sandbox, Some(2));
}

fn debugged() -> Pod {
    let mut pod = one("Never");
    let ephemeral = json!([{"name": "debugger", "image": "i:1", "targetContainerName": "c"}]);
    pod.spec.as_mut().unwrap().ephemeral_containers = serde_json::from_value(ephemeral).unwrap();
    pod
}

#[test]
fn i27_ephemeral_container_is_started_beside_what_runs_and_regulars_are_untouched() {
    let regular = container("c1", "c", "s", 0, running());
    let mut case = Case::new(debugged(), vec![regular.clone()]);
    assert_eq!(case.plan(), start(&[Which::Ephemeral(0)]));
    case.seen
        .containers
        .push(container("d1", "debugger", "s", 0, running()));
    assert_eq!(case.plan(), Plan::default());
}

#[test]
fn i27_ephemeral_container_is_started_once_and_keeps_no_pod_alive() {
    let debugger = container("d1", "debugger", "s", 0, exited(1, 900));
    let regular = container("c1", "c", "s", 0, running());
    assert_eq!(
        Case::new(debugged(), vec![regular, debugger]).plan(),
        Plan::default()
    );
    let debugger = container("d1", "debugger", "s", 0, running());
    let regular = container("c1", "c", "s", 0, exited(0, 900));
    assert_eq!(Case::new(debugged(), vec![regular, debugger]).plan(), finish());
}

#[test]
fn i27_ephemeral_container_starts_while_an_init_container_hangs() {
    let mut pod = debugged();
    pod.spec.as_mut().unwrap().init_containers =
        serde_json::from_value(json!([{"name": "i", "image": "i:1"}])).unwrap();
    let init = container("i1", "i", "s", 0, running());
    assert_eq!(Case::new(pod, vec![init]).plan(), start(&[Which::Ephemeral(0)]));
}

fn with_sidecar(policy: &str, first: &str, second: &str) -> Pod {
    let init = |name: &str| match name {
        "s" => json!({"name": "s", "restartPolicy": "Always"}),
        name => json!({"name": name}),
    };
    pod(
        json!({"restartPolicy": policy, "initContainers": [init(first), init(second)], "containers": [{"name": "c"}]}),
    )
}

#[test]
fn i12_sidecar_never_starts_while_an_init_container_before_it_keeps_failing() {
    let failed = container("i1", "i", "s", 3, exited(1, 999));
    let mut case = Case::new(with_sidecar("Always", "i", "s"), vec![failed]);
    case.backoff.restarted(
        &super::backoff_key(&case.pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0]),
        Timestamp::from_second(990).unwrap(),
        Timestamp::from_second(999).unwrap(),
    );
    let plan = case.plan();
    assert!(!plan.start.contains(&I1) && !plan.start.contains(&R0), "{plan:?}");
}

#[test]
fn i13_sidecar_runs_on_while_an_init_container_after_it_keeps_failing() {
    for policy in ["Always", "OnFailure"] {
        let sidecar = container("s1", "s", "s", 0, running());
        let failed = container("i1", "i", "s", 0, exited(1, 500));
        let plan = Case::new(with_sidecar(policy, "s", "i"), vec![sidecar, failed]).plan();
        assert_eq!(plan, start(&[I1]), "{policy}: only the failed one runs again");
    }
}

#[test]
fn init_containers_go_on_though_a_sidecar_before_them_crashes() {
    let plan = |policy: &str, code: i32| {
        let crashed = container("s1", "s", "s", 4, exited(1, 999));
        let init = container("i1", "i", "s", 0, exited(code, 500));
        let mut case = Case::new(with_sidecar(policy, "s", "i"), vec![crashed, init]);
        let key = super::backoff_key(&case.pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0]);
        let second = |second| Timestamp::from_second(second).unwrap();
        case.backoff.restarted(&key, second(990), second(999));
        case.plan()
    };
    for (code, next) in [(1, I1), (0, R0)] {
        let plan = plan("OnFailure", code);
        assert_eq!(plan.start, [next]);
        assert!(plan.waiting.contains_key("s"), "{plan:?}");
    }
    assert_eq!(plan("Never", 1), finish());
}

#[test]
fn i21_changed_sidecar_alone_is_restarted_whatever_the_policy() {
    for policy in ["Always", "OnFailure", "Never"] {
        let mut changed = pod(json!({"restartPolicy": policy,
            "initContainers": [{"name": "s", "restartPolicy": "Always", "image": "i:2"}],
            "containers": [{"name": "c"}]}));
        changed.spec.as_mut().unwrap().containers[0].image = Some("i:1".into());
        let sidecar = container("s1", "s", "s", 0, running());
        let regular = container("c1", "c", "s", 0, running());
        let plan = Case::new(changed, vec![sidecar, regular]).plan();
        let killed: Vec<&str> = plan.kill.iter().map(|kill| kill.id.as_str()).collect();
        assert_eq!((killed, plan.start.len()), (vec!["s1"], 0), "{policy}");
    }
}

/// I26 and A61: once one of them ends so, all go and start anew, sidecars and init containers included.
#[test]
fn i26_a61_container_that_ends_by_such_a_rule_restarts_all_of_its_pod() {
    let rule = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let of = pod(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "restartPolicy": "Never", "restartPolicyRules": rule}, {"name": "b"}]}));
    let with = |code: i32| {
        let ones = vec![
            container("a1", "a", "s", 0, exited(code, 900)),
            container("b1", "b", "s", 0, running()),
            container("i1", "i", "s", 0, exited(0, 800)),
            container("s1", "s", "s", 0, running()),
        ];
        Case::new(of.clone(), ones)
    };
    let plan = with(42).plan();
    assert_eq!(plan.restart_all.as_deref(), Some("a1"));
    assert!(plan.start.is_empty() && plan.kill.is_empty() && !plan.finish);
    assert_eq!(with(1).plan().restart_all, None);
    // All records are gone: as at the first start.
    let fresh = Case::new(of.clone(), Vec::new()).plan();
    assert_eq!((fresh.start, fresh.sandbox), (vec![Which::Init(0)], None));
    // One that does so again and again is held back like any other.
    let mut again = with(42);
    let key = backoff_key(&of.spec.as_ref().unwrap().containers[0]);
    again.backoff.restarted(
        &key,
        Timestamp::from_second(890).unwrap(),
        Timestamp::from_second(899).unwrap(),
    );
    again.now = 905;
    let held = again.plan();
    assert_eq!((held.restart_all, held.waiting.contains_key("a")), (None, true));
}

#[test]
fn resize_goes_in_place_or_by_a_new_container_as_the_policy_says() {
    let pod = pod(json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}, {"name": "b"}]}));
    let seen = vec![
        container("a1", "a", "s", 0, running()),
        container("b1", "b", "s", 0, running()),
    ];
    let mut case = Case::new(pod, seen);
    let change = |which: Which, name: &str, restarts: bool| Change {
        which,
        name: name.into(),
        id: format!("{name}1"),
        had: Default::default(),
        wanted: Default::default(),
        restarts,
    };
    case.resizes = vec![change(R0, "a", false), change(R1, "b", true)];
    let plan = case.plan();
    assert_eq!(plan.resize, [change(R0, "a", false)]);
    assert_eq!(plan.kill.len(), 1);
    assert_eq!(plan.kill[0].message, "Container b resize requires restart");
    assert_eq!(plan.start, [R1]);
    // A container that is to go anyway is not resized before.
    let unhealthy = ProbeView {
        liveness_failed: true,
        ..ProbeView::default()
    };
    let plan = case.with_probe("a1", unhealthy).plan();
    assert_eq!((plan.resize.len(), plan.kill.len()), (0, 2));
}
