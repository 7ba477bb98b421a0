use super::*;
use crate::runtime::seen::testing::{container, exited, running, sandbox};
use crate::runtime::seen::{SeenContainer, SeenState};
use k8s_openapi::api::core::v1::PodCondition;
use serde_json::json;

use crate::pods::resize::{Refused, Why};
use crate::runtime::seen::SeenUser;

struct Case {
    pod: Pod,
    previous: PodStatus,
    seen: SeenPod,
    probes: HashMap<String, ProbeView>,
    waiting: BTreeMap<String, Waiting>,
    resizing: Resizing,
    unapplied: HashMap<String, SeenResources>,
    terminating: bool,
    verdict: Option<Verdict>,
    devices: Vec<ResourceStatus>,
}

impl Case {
    fn new(spec: serde_json::Value, containers: Vec<SeenContainer>) -> Self {
        let object = json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": spec});
        Self {
            pod: serde_json::from_value(object).unwrap(),
            previous: PodStatus::default(),
            seen: SeenPod {
                sandboxes: vec![sandbox("s", 0, true)],
                containers,
            },
            probes: HashMap::new(),
            waiting: BTreeMap::new(),
            resizing: Resizing::default(),
            unapplied: HashMap::new(),
            terminating: false,
            verdict: None,
            devices: Vec::new(),
        }
    }

    fn terminating(mut self) -> Self {
        self.terminating = true;
        self
    }

    fn of_file(mut self) -> Self {
        let source = ("kubernetes.io/config.source".to_owned(), "file".to_owned());
        self.pod.metadata.annotations = Some([source].into());
        self
    }

    fn status(&self) -> PodStatus {
        pod_status(&Facts {
            pod: &self.pod,
            previous: &self.previous,
            seen: &self.seen,
            probes: &self.probes,
            waiting: &self.waiting,
            devices: &|_| self.devices.clone(),
            host_ips: &["192.0.2.1".to_owned()],
            runtime_name: "containerd",
            now: Timestamp::from_millisecond(1_000_500).unwrap(),
            resizing: &self.resizing,
            unapplied: &self.unapplied,
            terminating: self.terminating,
            verdict: self.verdict.as_ref(),
        })
    }

    fn phase(&self) -> String {
        self.status().phase.unwrap()
    }
}

fn one(policy: &str) -> serde_json::Value {
    json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i:1"}]})
}

fn c(state: SeenState) -> SeenContainer {
    container("c1", "c", "s", 0, state)
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == kind)
        .unwrap()
}

#[test]
fn p04_running_pod_has_addresses_times_class_and_all_conditions() {
    let status = Case::new(one("Always"), vec![c(running())]).status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(
        (status.host_ip.as_deref(), status.pod_ip.as_deref()),
        (Some("192.0.2.1"), Some("10.0.0.5"))
    );
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    assert_eq!(
        status.start_time.as_ref().unwrap().0.as_millisecond(),
        1_000_000,
        "whole seconds"
    );
    for kind in [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ] {
        assert_eq!(condition(&status, kind).status, "True", "{kind}");
    }
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("containerd://c1"));
    assert!(container.ready && container.started == Some(true));
}

#[test]
fn p05_phase_follows_exit_codes_and_policy() {
    for (policy, code, phase) in [
        ("Always", 0, "Running"),
        ("Always", 1, "Running"),
        ("OnFailure", 1, "Running"),
        ("OnFailure", 0, "Succeeded"),
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
    ] {
        assert_eq!(
            Case::new(one(policy), vec![c(exited(code, 9))]).phase(),
            phase,
            "{policy} {code}"
        );
    }
}

#[test]
fn p12_p13_a22_stopped_for_good_is_terminal_unless_static() {
    for (seen, phase) in [
        (vec![], "Failed"),
        (vec![c(exited(7, 9))], "Failed"),
        (vec![c(exited(0, 9))], "Succeeded"),
    ] {
        assert_eq!(Case::new(one("Always"), seen).terminating().phase(), phase);
    }
    assert_eq!(
        Case::new(one("Always"), vec![c(exited(137, 9))])
            .of_file()
            .terminating()
            .phase(),
        "Running"
    );
}

#[test]
fn p22_waiting_containers_say_what_for() {
    let reason = |case: &Case| {
        let state = case.status().container_statuses.unwrap().remove(0).state.unwrap();
        state.waiting.unwrap().reason.unwrap()
    };
    let plain = Case::new(one("Always"), vec![]);
    assert_eq!(
        (reason(&plain).as_str(), plain.phase().as_str()),
        ("ContainerCreating", "Pending")
    );
    let mut spec = one("Always");
    spec["initContainers"] = json!([{"name": "i"}]);
    let with_init = Case::new(spec, vec![container("i1", "i", "s", 0, running())]);
    assert_eq!(reason(&with_init), "PodInitializing");
    let status = with_init.status();
    let init = &status.init_container_statuses.as_ref().unwrap()[0];
    assert_eq!(
        (init.started, init.ready),
        (Some(true), false),
        "it runs, and isn't done"
    );
    let initialized = condition(&status, "Initialized");
    assert_eq!(initialized.reason.as_deref(), Some("ContainersNotInitialized"));
    assert_eq!(
        initialized.message.as_deref(),
        Some("containers with incomplete status: [i]")
    );
}

#[test]
fn p02_b01_crash_loop_shows_why_it_waits_and_how_it_ended() {
    let mut case = Case::new(one("Always"), vec![c(exited(1, 9))]);
    case.waiting
        .insert("c".into(), Waiting::new("CrashLoopBackOff", "back-off 10s"));
    let status = case.status();
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let state = container.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(
        (state.reason.as_deref(), state.message.as_deref()),
        (Some("CrashLoopBackOff"), Some("back-off 10s"))
    );
    let last = container
        .last_state
        .as_ref()
        .unwrap()
        .terminated
        .as_ref()
        .unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let ready = condition(&status, "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
    assert_eq!(
        ready.message.as_deref(),
        Some("containers with unready status: [c]")
    );
}

#[test]
fn a24_i23_done_init_container_without_a_record_counts_as_completed() {
    let mut spec = one("Always");
    spec["initContainers"] = json!([{"name": "i"}]);
    let status = Case::new(spec, vec![c(running())]).status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let state = status
        .init_container_statuses
        .unwrap()
        .remove(0)
        .state
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!((state.exit_code, state.reason.as_deref()), (0, Some("Completed")));
    assert!(
        state
            .message
            .unwrap()
            .contains("Unable to get init container status")
    );
}

#[test]
fn i10_i16_exit_codes_of_sidecars_never_matter() {
    for policy in ["Never", "OnFailure"] {
        let mut spec = one(policy);
        spec["initContainers"] = json!([{"name": "x", "restartPolicy": "Always"}]);
        let ended = vec![c(exited(0, 9)), container("x1", "x", "s", 3, exited(1, 10))];
        assert_eq!(Case::new(spec.clone(), ended).phase(), "Succeeded", "{policy}");
        let still = vec![c(exited(0, 9)), container("x1", "x", "s", 3, running())];
        assert_eq!(
            Case::new(spec, still).phase(),
            "Running",
            "{policy}: no terminal phase while anything runs"
        );
    }
}

#[test]
fn p11_readiness_gates_hold_a_ready_pod_back() {
    let mut spec = one("Always");
    spec["readinessGates"] = json!([{"conditionType": "x/y"}]);
    let mut case = Case::new(spec, vec![c(running())]);
    let ready = case.status();
    assert_eq!(
        condition(&ready, "Ready").reason.as_deref(),
        Some("ReadinessGatesNotReady")
    );
    assert_eq!(condition(&ready, "ContainersReady").status, "True");
    let mut with_gate = |gate: &str| {
        let conditions = json!({"conditions": [{"type": "x/y", "status": gate}]});
        case.pod.status = serde_json::from_value(conditions).unwrap();
        let ready = condition(&case.status(), "Ready").clone();
        (ready.status, ready.reason)
    };
    assert_eq!(with_gate("True").0, "True");
    let held_back = ("False".to_owned(), Some("ReadinessGatesNotReady".to_owned()));
    assert_eq!(with_gate("False"), held_back, "it may be taken back");
}

#[test]
fn p14_deadline_ends_a_pod_as_failed_only_when_nothing_runs() {
    let mut case = Case::new(one("Always"), vec![c(running())]);
    case.verdict = Some(Verdict::past_deadline());
    assert_eq!(case.phase(), "Running");
    case.seen.containers[0].state = exited(143, 9);
    let status = case.terminating().status();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"))
    );
    let reason = condition(&status, "ContainersReady").reason.clone();
    assert_eq!(reason.as_deref(), Some("PodFailed"));
}

#[test]
fn who_runs_out_of_time_has_failed_also_when_its_containers_end_well() {
    let ending = |verdict, previous: &str| {
        let mut case = Case::new(one("Always"), vec![c(exited(0, 9))]);
        case.verdict = Some(verdict);
        case.previous.phase = Some(previous.to_owned());
        let status = case.terminating().status();
        (status.phase.unwrap(), status.reason)
    };
    let late = Verdict::past_deadline;
    assert_eq!(
        ending(late(), "Running"),
        ("Failed".to_owned(), Some("DeadlineExceeded".to_owned()))
    );
    assert_eq!(ending(late(), "Succeeded"), ("Succeeded".to_owned(), None));
    let evicted = Verdict::evicted("The node was low on resource: memory. ".into());
    assert_eq!(ending(evicted, "Running"), ("Succeeded".to_owned(), None));
}

#[test]
fn g01_a55_evicted_pod_is_failed_with_its_message_and_a_disruption() {
    let mut case = Case::new(one("Always"), vec![c(running())]);
    case.verdict = Some(Verdict::evicted("The node was low on resource: memory. ".into()));
    let conditions = case.status().conditions.unwrap();
    assert!(
        conditions.iter().all(|one| one.type_ != "DisruptionTarget"),
        "only together with the terminal phase"
    );
    case.seen.containers[0].state = exited(137, 9);
    let status = case.terminating().status();
    let disrupted = condition(&status, "DisruptionTarget");
    assert_eq!(
        (disrupted.status.as_str(), disrupted.reason.as_deref()),
        ("True", Some("TerminationByKubelet"))
    );
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("Evicted"))
    );
    assert!(status.message.unwrap().starts_with("The node was low"));
}

#[test]
fn t08_last_words_of_a_pods_containers_share_twelve_kibibytes() {
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "a"}],
        "containers": [{"name": "b"}, {"name": "c"}, {"name": "d"}]});
    let ended = |name: &str| {
        let mut ended = container(name, name, "s", 0, exited(1, 9));
        if let SeenState::Exited(exit) = &mut ended.state {
            exit.message = format!("x{}", "é".repeat(2047));
        }
        ended
    };
    let words = |case: Case| -> Vec<usize> {
        let status = case.status();
        let lists = [status.init_container_statuses, status.container_statuses];
        let statuses = lists.into_iter().flatten().flatten();
        let ends = statuses.filter_map(|status| status.state?.terminated?.message);
        ends.map(|message| message.len()).collect()
    };
    // 3072 bytes each, and no part of a letter.
    let four = Case::new(spec, ["a", "b", "c", "d"].map(ended).into());
    assert_eq!(words(four), [3071; 4]);
    let alone = Case::new(one("Never"), vec![ended("c")]);
    assert_eq!(words(alone), [4095]);
}

#[test]
fn transition_times_move_only_with_the_value() {
    let mut case = Case::new(one("Always"), vec![c(running())]);
    let earlier: Time = serde_json::from_value(json!("1970-01-01T00:00:07Z")).unwrap();
    case.previous = case.status();
    case.previous
        .conditions
        .iter_mut()
        .flatten()
        .for_each(|c| c.last_transition_time = Some(earlier.clone()));
    assert_eq!(
        condition(&case.status(), "Ready").last_transition_time,
        Some(earlier.clone())
    );
    case.seen.containers[0].state = exited(1, 9);
    assert_ne!(
        condition(&case.status(), "Ready").last_transition_time,
        Some(earlier)
    );
}

#[test]
fn container_that_vanished_is_told_of_as_unknown() {
    let mut case = Case::new(one("Always"), vec![c(running())]);
    case.previous = case.status();
    case.seen.containers.clear();
    let container = case.status().container_statuses.unwrap().remove(0);
    assert_eq!(container.restart_count, 1);
    let last = container.last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
}

/// What was told of earlier runs stays, whatever keeps the next one from starting.
#[test]
fn container_that_vanished_keeps_its_count_and_how_it_ended() {
    let mut case = Case::new(one("Always"), vec![c(running())]);
    case.previous = case.status();
    case.previous.container_statuses.as_mut().unwrap()[0].restart_count = 4;
    case.seen.containers.clear();
    for why in [None, Some("ErrImagePull"), Some("ImagePullBackOff")] {
        let why = why.map(|why| ("c".to_owned(), Waiting::new(why, "no route")));
        case.waiting = why.into_iter().collect();
        let status = case.status();
        let told = &status.container_statuses.as_ref().unwrap()[0];
        let last = told.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!(
            (told.restart_count, last.exit_code, last.reason.as_deref()),
            (5, 137, Some("ContainerStatusUnknown"))
        );
        case.previous = status;
    }
}

#[test]
fn p13_no_container_of_a_pod_that_was_stopped_for_good_waits() {
    let two = json!({"restartPolicy": "Always", "initContainers": [{"name": "i", "image": "i:1"},
        {"name": "j", "image": "i:1"}], "containers": [{"name": "c", "image": "i:1"}]});
    let done = |id: &str| container(id, id, "s", 0, exited(0, 5));
    let unknown = |status: &ContainerStatus| {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        let message = "The container could not be located when the pod was terminated";
        ended.is_some_and(|ended| (ended.exit_code, ended.message.as_deref()) == (137, Some(message)))
    };
    let all =
        |list: &Option<Vec<ContainerStatus>>| -> Vec<bool> { list.iter().flatten().map(unknown).collect() };
    for (spec, seen, expected) in [
        (one("Always"), vec![], (vec![], vec![true])),
        (one("Always"), vec![c(SeenState::Created)], (vec![], vec![true])),
        (two.clone(), vec![], (vec![true, false], vec![false])),
        (two.clone(), vec![done("i")], (vec![false, false], vec![false])),
        (two, vec![done("i"), done("j")], (vec![false, false], vec![true])),
    ] {
        let status = Case::new(spec, seen).terminating().status();
        assert_eq!(status.phase.as_deref(), Some("Failed"));
        let told = (
            all(&status.init_container_statuses),
            all(&status.container_statuses),
        );
        assert_eq!(told, expected);
    }
}

#[test]
fn i27_ephemeral_container_has_a_status_of_its_own_and_no_say_in_the_phase() {
    let mut spec = one("Never");
    spec["ephemeralContainers"] = json!([{"name": "debugger", "image": "i:1"}]);
    let waiting = Case::new(spec.clone(), vec![c(running())]).status();
    let [status] = &waiting.ephemeral_container_statuses.as_ref().unwrap()[..] else {
        panic!("{waiting:?}")
    };
    let reason = status
        .state
        .as_ref()
        .unwrap()
        .waiting
        .as_ref()
        .unwrap()
        .reason
        .clone();
    assert_eq!(reason.as_deref(), Some("ContainerCreating"));
    let debugger = container("d1", "debugger", "s", 0, exited(3, 900));
    let mut case = Case::new(spec, vec![c(exited(0, 900)), debugger]);
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Succeeded"));
    let ended = |status: &PodStatus| {
        let own = &status.ephemeral_container_statuses.as_ref().unwrap()[0];
        assert_eq!((own.ready, own.started), (false, None));
        own.state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code
    };
    assert_eq!(ended(&status), 3);
    // Its record goes with the next collection; what it came to stays.
    case.previous = status;
    case.seen.containers.retain(|container| container.name == "c");
    assert_eq!(ended(&case.status()), 3);
}

#[test]
fn p19_p20_killed_and_out_of_memory_are_told_apart() {
    let ended = |reason: &str| {
        let mut state = exited(137, 9);
        if let SeenState::Exited(exit) = &mut state {
            exit.reason = reason.into();
        }
        let status = Case::new(one("Never"), vec![c(state)]).status();
        let container = status.container_statuses.unwrap().remove(0);
        let terminated = container.state.unwrap().terminated.unwrap();
        (
            status.phase.unwrap(),
            terminated.exit_code,
            terminated.reason.unwrap(),
        )
    };
    assert_eq!(ended("Error"), ("Failed".into(), 137, "Error".into()));
    assert_eq!(ended("OOMKilled"), ("Failed".into(), 137, "OOMKilled".into()));
}

#[test]
fn i11_pod_whose_sidecar_has_no_image_is_pending_and_says_why() {
    let spec = json!({"initContainers": [{"name": "s", "image": "gone:1", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i:1"}]});
    let mut case = Case::new(spec, vec![]);
    case.waiting.insert(
        "s".into(),
        Waiting::new("ImagePullBackOff", "Back-off pulling image \"gone:1\""),
    );
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let reason = |statuses: &Option<Vec<ContainerStatus>>| {
        let state = statuses.as_ref().unwrap()[0].state.clone().unwrap();
        state.waiting.unwrap().reason.unwrap()
    };
    assert_eq!(reason(&status.init_container_statuses), "ImagePullBackOff");
    assert_eq!(reason(&status.container_statuses), "PodInitializing");
}

#[test]
fn container_tells_what_it_was_given_what_it_has_its_mounts_and_its_user() {
    let spec = json!({"containers": [{"name": "c", "image": "i:1",
        "resources": {"limits": {"cpu": "1000m", "memory": "64Mi"}, "requests": {"cpu": "500m"}},
        "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}, {"name": "w", "mountPath": "/w"},
            {"name": "v", "mountPath": "/r", "readOnly": true, "recursiveReadOnly": "IfPossible"}]}]});
    let mut running = c(running());
    running.recursively_read_only = vec!["/r".into()];
    running.user = Some(SeenUser {
        uid: 1000,
        gid: 1,
        groups: vec![1, 7],
    });
    let mut case = Case::new(spec, vec![running]);
    let shown = |case: &Case| serde_json::to_value(&case.status().container_statuses.unwrap()[0]).unwrap();
    let status = shown(&case);
    assert_eq!(status["allocatedResources"], json!({"cpu": "500m"}));
    assert_eq!(
        status["resources"],
        json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "500m"}})
    );
    assert_eq!(
        status["volumeMounts"],
        json!([{"name": "v", "mountPath": "/v", "readOnly": true, "recursiveReadOnly": "Disabled"},
            {"name": "w", "mountPath": "/w"},
            {"name": "v", "mountPath": "/r", "readOnly": true, "recursiveReadOnly": "Enabled"}])
    );
    assert_eq!(
        status["user"],
        json!({"linux": {"uid": 1000, "gid": 1, "supplementalGroups": [1, 7]}})
    );
    let actual = SeenResources {
        shares: 256,
        quota: Some((50_000, 100_000)),
        memory: Some(64 << 20),
    };
    case.unapplied = HashMap::from([("c1".to_owned(), actual)]);
    assert_eq!(
        shown(&case)["resources"],
        json!({"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}})
    );
    // A container that asks for nothing has nothing, which is told too: the API server sees by it that nodes resize.
    let plain = Case::new(one("Always"), vec![c(crate::runtime::seen::testing::running())]);
    assert_eq!(shown(&plain)["resources"], json!({}));
}

#[test]
fn resize_is_told_in_conditions_that_go_with_it() {
    let mut case = Case::new(one("Always"), vec![c(running())]);
    case.resizing = Resizing {
        refused: Some(Refused {
            why: Why::Deferred,
            message: "no room".into(),
            generation: Some(3),
        }),
        in_progress: Some(Some(2)),
        error: None,
    };
    let status = case.status();
    let pending = condition(&status, "PodResizePending");
    assert_eq!(
        (
            pending.status.as_str(),
            pending.reason.as_deref(),
            pending.observed_generation
        ),
        ("True", Some("Deferred"), Some(3))
    );
    let in_progress = condition(&status, "PodResizeInProgress");
    assert_eq!(
        (in_progress.reason.as_deref(), in_progress.observed_generation),
        (None, Some(2))
    );
    case.pod.status = Some(status.clone());
    case.previous = status;
    case.resizing = Resizing::default();
    let types: Vec<_> = case.status().conditions.unwrap();
    assert!(
        !types
            .iter()
            .any(|condition| condition.type_.starts_with("PodResize")),
        "{types:?}"
    );
}

/// I26: the pod says that all of its containers are being restarted, for as long as that lasts.
#[test]
fn i26_restart_of_all_containers_is_told_in_a_condition() {
    let rule = json!({"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}});
    let spec = json!({"restartPolicy": "Never", "containers": [
        {"name": "c", "image": "i:1", "restartPolicy": "Never", "restartPolicyRules": [rule]}]});
    let restarting = |containers: Vec<SeenContainer>| {
        let status = Case::new(spec.clone(), containers).status();
        let told = condition(&status, "AllContainersRestarting");
        (told.status.clone(), told.reason.clone(), told.message.clone())
    };
    let no = ("False".to_owned(), None, None);
    assert_eq!(restarting(vec![c(running())]), no);
    let yes = (
        "True".to_owned(),
        Some("RestartAllContainersStarted".to_owned()),
        Some("container exited with restart policy rule".to_owned()),
    );
    assert_eq!(restarting(vec![c(exited(42, 5))]), yes);
    assert_eq!(restarting(vec![]), no, "all are gone, the next life begins");
    assert_eq!(restarting(vec![c(exited(1, 5))]).1.as_deref(), Some("PodFailed"));
    let plain = Case::new(one("Always"), vec![c(running())]).status();
    let conditions = plain.conditions.unwrap();
    assert!(
        !conditions
            .iter()
            .any(|condition| condition.type_ == "AllContainersRestarting")
    );
}

/// Records go before all containers start anew; what they said of their ends does not.
#[test]
fn i26_a61_every_container_of_a_pod_that_started_anew_tells_how_it_ended_before() {
    let init = json!({"name": "i", "image": "i:1"});
    let spec = json!({"initContainers": [init], "containers": [{"name": "c", "image": "i:1"}]});
    let before = vec![container("i1", "i", "s", 0, exited(0, 3)), c(exited(7, 9))];
    let mut case = Case::new(spec, before);
    case.previous = case.status();
    let done = container("i2", "i", "s", 1, exited(0, 12));
    case.seen.containers = vec![done, container("c2", "c", "s", 1, running())];
    for _ in 0..2 {
        let status = case.status();
        let of = |statuses: &Option<Vec<ContainerStatus>>| {
            let last = statuses.as_ref().unwrap()[0].last_state.clone();
            let ended = last.unwrap().terminated.unwrap();
            (ended.container_id.unwrap(), ended.exit_code)
        };
        assert_eq!(of(&status.init_container_statuses), ("containerd://i1".into(), 0));
        assert_eq!(of(&status.container_statuses), ("containerd://c1".into(), 7));
        // What is told of now ends later, and does not take the place of what was before it.
        case.previous = status;
    }
}

#[test]
fn pod_tells_what_it_was_given_in_all_or_as_a_whole() {
    let asked = json!({"requests": {"cpu": "500m", "memory": "1024Ki"}});
    let two = ["c", "d"].map(|name| json!({"name": name, "image": "i:1", "resources": asked}));
    let mut case = Case::new(json!({"containers": two}), vec![]);
    let shown = |case: &Case| {
        let status = serde_json::to_value(case.status()).unwrap();
        (status["allocatedResources"].clone(), status["resources"].clone())
    };
    let in_all = json!({"cpu": "1", "memory": "2Mi"});
    assert_eq!(shown(&case), (in_all, json!(null)));
    let whole = json!({"requests": {"cpu": "2000m"}, "limits": {"cpu": "3"}});
    case.pod.spec.as_mut().unwrap().resources = serde_json::from_value(whole).unwrap();
    let told = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "3"}});
    assert_eq!(shown(&case), (json!({"cpu": "2"}), told.clone()));
    case.previous = case.status();
    let more = json!({"requests": {"cpu": "4"}, "limits": {"cpu": "4"}});
    case.pod.spec.as_mut().unwrap().resources = serde_json::from_value(more.clone()).unwrap();
    case.resizing.in_progress = Some(Default::default());
    assert_eq!(
        shown(&case),
        (json!({"cpu": "4"}), told),
        "it is not in force yet"
    );
    case.resizing.in_progress = None;
    assert_eq!(shown(&case), (json!({"cpu": "4"}), more));
    let none = Case::new(one("Always"), vec![]);
    assert_eq!(shown(&none), (json!(null), json!(null)));
}

#[test]
fn devices_of_a_container_are_told_of_with_how_they_are_and_those_of_init_containers_are_not() {
    let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
    let mut case = Case::new(spec, Vec::new());
    let of = |statuses: Option<Vec<ContainerStatus>>| statuses.unwrap()[0].allocated_resources_status.clone();
    assert_eq!(of(case.status().container_statuses), None);
    let sick = json!({"name": "a.io/x", "resources": [{"resourceID": "d", "health": "Unhealthy"}]});
    case.devices = vec![serde_json::from_value(sick).unwrap()];
    let status = case.status();
    assert_eq!(of(status.container_statuses), Some(case.devices));
    assert_eq!(of(status.init_container_statuses), None);
}
