//! What is missing for a pod to be ready, from what its node says about it.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Node, Pod, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The rule and the words; `None` if the pod is ready.
pub fn not_ready(pod: &Pod, node: Option<&Node>) -> Option<(&'static str, String)> {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let is_true = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
    if let Some("Failed" | "Succeeded") = status.phase.as_deref() {
        let words: Vec<String> = [status.reason, status.message].into_iter().flatten().collect();
        let phase = status.phase.unwrap_or_default();
        return Some(("phase", format!("pod is {phase}: {}", words.join(": "))));
    }
    if is_true("Ready") {
        return None;
    }
    if let Some(silent) = node.and_then(node_trouble) {
        return Some(("node", silent));
    }
    let spec = pod.spec.as_ref()?;
    let statuses = |list: Option<Vec<ContainerStatus>>| list.unwrap_or_default();
    let init = statuses(status.init_container_statuses);
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let of_init = inits.iter().find_map(|container| init_trouble(container, &init));
    let main = statuses(status.container_statuses);
    if main.is_empty() && init.is_empty() {
        return Some((
            "node",
            "pod exists but its node has not started it yet".to_owned(),
        ));
    }
    let trouble = of_init.or_else(|| {
        spec.containers
            .iter()
            .find_map(|container| container_trouble(container, &main))
    });
    Some(trouble.or_else(|| gate(spec, &is_true)).unwrap_or_else(|| {
        (
            "readiness",
            "pod exists but not Ready: its node has not said why".to_owned(),
        )
    }))
}

/// A node of which nothing is heard.
fn node_trouble(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    (ready.status != "True").then(|| {
        format!(
            "pod exists but its node is not Ready: {}",
            ready.message.as_deref().unwrap_or_default()
        )
    })
}

fn status_of<'a>(container: &Container, statuses: &'a [ContainerStatus]) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == container.name)
}

fn init_trouble(container: &Container, statuses: &[ContainerStatus]) -> Option<(&'static str, String)> {
    let status = status_of(container, statuses)?;
    let state = status.state.as_ref()?;
    let name = &container.name;
    if let Some(ended) = &state.terminated {
        return (ended.exit_code != 0).then(|| ("container", exited("init container", name, status)));
    }
    if let Some(waiting) = &state.waiting {
        let words = words(waiting.reason.as_deref(), waiting.message.as_deref());
        return Some((
            "container",
            format!("pod exists but not Ready: init container {name}: {words}"),
        ));
    }
    let sidecar = container.restart_policy.as_deref() == Some("Always");
    (!sidecar).then(|| {
        (
            "container",
            format!("pod exists but not Ready: init container {name} has not ended yet"),
        )
    })
}

fn container_trouble(container: &Container, statuses: &[ContainerStatus]) -> Option<(&'static str, String)> {
    let name = &container.name;
    let Some(status) = status_of(container, statuses) else {
        return Some((
            "container",
            format!("pod exists but not Ready: container {name} has not started yet"),
        ));
    };
    if status.ready {
        return None;
    }
    let state = status.state.clone().unwrap_or_default();
    if let Some(waiting) = state.waiting {
        let words = words(waiting.reason.as_deref(), waiting.message.as_deref());
        return Some((
            "container",
            format!("pod exists but not Ready: container {name}: {words}"),
        ));
    }
    if state.terminated.is_some() {
        return Some(("container", exited("container", name, status)));
    }
    let started = status.started.unwrap_or(true);
    let (rule, kind, probe) = if started {
        ("readinessProbe", "readiness", &container.readiness_probe)
    } else {
        ("startupProbe", "startup", &container.startup_probe)
    };
    let what = probe.as_ref().map_or_else(
        || "it runs".to_owned(),
        |probe| format!("{kind} probe {} does not succeed", shown(probe)),
    );
    let restarts = match status.restart_count {
        0 => String::new(),
        count => format!(", restarted {count} times"),
    };
    Some((
        rule,
        format!("pod exists but not Ready: container {name}: {what}{restarts}"),
    ))
}

fn exited(kind: &str, name: &str, status: &ContainerStatus) -> String {
    let ended = status
        .state
        .clone()
        .and_then(|state| state.terminated)
        .unwrap_or_default();
    format!(
        "pod exists but not Ready: {kind} {name} exited with {} ({}), restarted {} times",
        ended.exit_code,
        words(ended.reason.as_deref(), ended.message.as_deref()),
        status.restart_count
    )
}

fn words(reason: Option<&str>, message: Option<&str>) -> String {
    let parts: Vec<&str> = [reason, message]
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(": ")
}

fn gate(spec: &PodSpec, is_true: &impl Fn(&str) -> bool) -> Option<(&'static str, String)> {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    let closed = gates.iter().find(|gate| !is_true(&gate.condition_type))?;
    Some((
        "readinessGate",
        format!(
            "pod exists but not Ready: readiness gate {} is not True",
            closed.condition_type
        ),
    ))
}

/// A probe in a few words.
fn shown(probe: &Probe) -> String {
    let port = |port: &IntOrString| match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    if let Some(get) = &probe.http_get {
        let scheme = get.scheme.as_deref().unwrap_or("HTTP");
        return format!(
            "{scheme} GET :{}{}",
            port(&get.port),
            get.path.as_deref().unwrap_or("/")
        );
    }
    if let Some(tcp) = &probe.tcp_socket {
        return format!("TCP :{}", port(&tcp.port));
    }
    if let Some(grpc) = &probe.grpc {
        return format!("gRPC :{}", grpc.port);
    }
    let command = probe.exec.as_ref().and_then(|exec| exec.command.clone());
    format!("`{}`", command.unwrap_or_default().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn why(status: Value) -> Option<String> {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "readinessGates": [{"conditionType": "example.com/open"}],
            "initContainers": [{"name": "setup"}],
            "containers": [{"name": "app", "readinessProbe": {"httpGet": {"port": 8080, "path": "/ready"}},
                "startupProbe": {"exec": {"command": ["test", "-e", "/up"]}}}]}, "status": status});
        not_ready(&serde_json::from_value(pod).unwrap(), None).map(|(rule, why)| format!("{rule}: {why}"))
    }

    fn app(state: Value) -> Value {
        let mut status =
            json!({"name": "app", "ready": false, "restartCount": 0, "image": "", "imageID": ""});
        for (key, value) in state.as_object().unwrap() {
            status[key] = value.clone();
        }
        json!({"phase": "Running", "containerStatuses": [status]})
    }

    #[test]
    fn what_is_missing_is_named() {
        let running = json!({"running": {}});
        for (status, want) in [
            (json!({"conditions": [{"type": "Ready", "status": "True"}]}), None),
            (
                json!({"phase": "Pending"}),
                Some("node: pod exists but its node has not started it yet"),
            ),
            (
                app(
                    json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}),
                ),
                Some("container: pod exists but not Ready: container app: ImagePullBackOff: no such image"),
            ),
            (
                app(json!({"state": running, "started": true})),
                Some(
                    "readinessProbe: pod exists but not Ready: container app: readiness probe HTTP GET :8080/ready does not succeed",
                ),
            ),
            (
                app(json!({"state": running, "started": false, "restartCount": 2})),
                Some(
                    "startupProbe: pod exists but not Ready: container app: startup probe `test -e /up` does not succeed, restarted 2 times",
                ),
            ),
            (
                app(json!({"state": {"terminated": {"exitCode": 3, "reason": "Error"}}, "restartCount": 1})),
                Some(
                    "container: pod exists but not Ready: container app exited with 3 (Error), restarted 1 times",
                ),
            ),
            (
                app(json!({"ready": true, "state": running})),
                Some("readinessGate: pod exists but not Ready: readiness gate example.com/open is not True"),
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "setup", "ready": false, "restartCount": 0,
                    "image": "", "imageID": "", "state": running}]}),
                Some("container: pod exists but not Ready: init container setup has not ended yet"),
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "no disk"}),
                Some("phase: pod is Failed: Evicted: no disk"),
            ),
        ] {
            assert_eq!(why(status).as_deref(), want);
        }
    }
}
