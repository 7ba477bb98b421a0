//! What a status tells of what was before.
use super::*;
use crate::pods::worker::adopt::container_statuses;
use crate::runtime::seen::testing::{container, running, sandbox};
use k8s_openapi::api::core::v1::ContainerStatus;

impl Bench {
    /// Waits until the pod's local state is as `check` wants it.
    async fn until(&self, check: impl Fn(&crate::status::Local) -> bool) -> Arc<PodStatus> {
        let wait = async {
            loop {
                let local = self.agent.board.page("p_d").static_pod.unwrap();
                if check(&local)
                    && let Some(status) = local.status
                {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap()
    }
}

fn is_ready(status: &PodStatus) -> bool {
    container_statuses(status).all(|container| container.ready)
}

fn of(status: &PodStatus, name: &str) -> ContainerStatus {
    let found = container_statuses(status).find(|container| container.name == name);
    found.unwrap().clone()
}

/// An agent that was restarted does not tell that a static pod is ready before it knows.
#[tokio::test]
async fn readiness_of_a_static_pod_taken_over_is_told_when_the_api_server_has_said_what_it_was() {
    let probed = json!({"name": "c", "image": "i:1", "readinessProbe": {"exec": {"command": ["up"]}}});
    let seen = SeenPod {
        sandboxes: vec![sandbox("s", 0, true)],
        containers: vec![container("x", "c", "s", 0, running())],
    };
    for (id, was_ready, ready) in [
        ("fake://x", false, false),
        ("fake://x", true, true),
        // It tells of another run.
        ("fake://w", false, true),
    ] {
        let bench = Bench::new();
        bench.run(&pod(json!({"containers": [probed.clone()]})), seen.clone());
        let status = bench
            .until(|local| local.status.is_some() && local.is_guessed)
            .await;
        assert!(
            is_ready(&status),
            "without an API server it stays what it most likely was"
        );
        let mirrored = json!({"containerStatuses": [{"name": "c", "image": "i:1", "imageID": "", "restartCount": 0,
            "containerID": id, "ready": was_ready, "started": true}]});
        let mirrored = serde_json::from_value(mirrored).unwrap();
        bench.mailbox.post(|mail| mail.mirrored = Some(mirrored));
        let status = bench.until(|local| !local.is_guessed).await;
        assert_eq!(is_ready(&status), ready, "{id} {was_ready}");
    }
}

#[tokio::test]
async fn what_has_no_probe_is_no_guess() {
    let bench = Bench::new();
    let seen = SeenPod {
        sandboxes: vec![sandbox("s", 0, true)],
        containers: vec![container("x", "c", "s", 0, running())],
    };
    bench.run(&pod(json!({"containers": [{"name": "c", "image": "i:1"}]})), seen);
    bench
        .until(|local| local.status.is_some() && !local.is_guessed)
        .await;
}

#[tokio::test]
async fn containers_stopped_by_a_rule_of_another_tell_how_they_ended() {
    let bench = Bench::new();
    let rule = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let spec = json!({"restartPolicy": "Never",
        "initContainers": [{"name": "s", "image": "i:1", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "i:1", "restartPolicy": "Never", "restartPolicyRules": rule},
            {"name": "b", "image": "i:1"}]});
    bench.run(&pod(spec), SeenPod::default());
    bench.runtime.until("StartContainer b").await;
    // What a runtime leaves, and what restarts are counted by when records are gone.
    for name in ["s", "a", "b"] {
        let log = bench
            .agent
            .settings
            .pod_logs
            .join("d_p_u")
            .join(name)
            .join("0.log");
        std::fs::write(log, "").unwrap();
    }
    bench.runtime.exit("a", 42);
    bench.changed();
    let again = |local: &crate::status::Local| {
        let status = local.status.as_ref();
        status.is_some_and(|status| {
            status.container_statuses.iter().flatten().all(|container| {
                let state = container.state.as_ref();
                container.restart_count == 1 && state.is_some_and(|state| state.running.is_some())
            })
        })
    };
    let status = bench.until(again).await;
    for name in ["s", "a", "b"] {
        let container = of(&status, name);
        let ended = container.last_state.and_then(|last| last.terminated);
        let ended = ended.unwrap_or_else(|| panic!("{name} has no last state"));
        assert_eq!(container.restart_count, 1, "{name}");
        assert_ne!(ended.reason.as_deref(), Some("ContainerStatusUnknown"), "{name}");
        assert_eq!(ended.exit_code == 42, name == "a", "{name}");
    }
}
