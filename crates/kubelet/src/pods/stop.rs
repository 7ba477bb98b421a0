//! Stops containers and whole pods: hooks at once, then regular containers together, then sidecars in reverse order,
//! then the sandbox (contract, node agent §10).
use super::addresses;
use super::agent::Agent;
use super::hooks;
use super::plan::{FailedProbe, Kill, Which};
use crate::runtime::seen::{SeenContainer, SeenPod};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{init_containers, is_sidecar, name, namespace};
use orlop_api::signals::Signal;
use orlop_client::events::EventType;
use orlop_client::workqueue::DELAY_MAX;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Grace below which the runtime is never asked to stop a container, seconds.
const STOP_GRACE_MIN: i64 = 2;

/// The pod's own grace, seconds.
pub fn grace_of(pod: &Pod) -> i64 {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds)
        .unwrap_or(30)
}

/// `spec.terminationGracePeriodSeconds`, or what stands for it; [`DELAY_MAX`] at most.
pub fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(DELAY_MAX)
}

/// A container about to be stopped.
pub struct Ending<'a> {
    /// The runtime's id.
    pub id: &'a str,
    /// Which of the spec.
    pub which: Which,
    /// Seconds it has.
    pub grace: i64,
    /// The pod's address, for hooks.
    pub ip: Option<&'a str>,
}

/// Kills one container of a pod that goes on.
pub async fn kill_container(agent: &Agent, pod: &Pod, kill: &Kill, ip: Option<&str>) -> Result<(), String> {
    let Some(container) = kill.which.of(pod) else {
        return Ok(());
    };
    let path = kill.which.field_path(&container.name);
    agent.container_event(pod, &path, EventType::Normal, "Killing", kill.message.clone());
    tracing::info!(
        pod = name(pod),
        namespace = namespace(pod),
        container = container.name,
        why = kill.message,
        "killing"
    );
    let probe = match kill.probe {
        Some(FailedProbe::Liveness) => container.liveness_probe.as_ref(),
        Some(FailedProbe::Startup) => container.startup_probe.as_ref(),
        None => None,
    };
    let grace = probe
        .and_then(|probe| probe.termination_grace_period_seconds)
        .unwrap_or_else(|| grace_of(pod));
    stop_container(
        agent,
        pod,
        &Ending {
            id: &kill.id,
            which: kill.which,
            grace,
            ip,
        },
    )
    .await
}

/// preStop, then the stop signal, all within the grace.
pub async fn stop_container(agent: &Agent, pod: &Pod, ending: &Ending<'_>) -> Result<(), String> {
    let deadline = Instant::now() + seconds(ending.grace);
    pre_stop(agent, pod, ending).await;
    signal(agent, stop_signal(pod, ending.which), ending.id, deadline).await
}

fn stop_signal(pod: &Pod, which: Which) -> Option<Signal> {
    own_signal(&*which.of(pod)?)
}

/// The signal that is to end the container, if its spec says so; else the image's is the runtime's business.
pub fn own_signal(container: &Container) -> Option<Signal> {
    let lifecycle = container.lifecycle.as_ref()?;
    lifecycle.stop_signal.as_deref().and_then(Signal::of)
}

async fn pre_stop(agent: &Agent, pod: &Pod, ending: &Ending<'_>) {
    let Some(container) = ending.which.of(pod) else {
        return;
    };
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let Some(hook) = hook.filter(|_| ending.grace > 0) else {
        return;
    };
    let limit = Some(seconds(ending.grace));
    let path = ending.which.field_path(&container.name);
    let outcome = hooks::run(agent, ending.id, &container, hook, ending.ip, limit).await;
    if outcome == Ok(hooks::Done::OverHttp) {
        let (reason, message) = hooks::FALLBACK;
        agent.container_event(pod, &path, EventType::Warning, reason, message);
    }
    if let Err(error) = outcome {
        tracing::warn!(
            pod = name(pod),
            namespace = namespace(pod),
            container = container.name,
            error,
            "preStop failed"
        );
        agent.container_event(
            pod,
            &path,
            EventType::Warning,
            "FailedPreStopHook",
            "PreStopHook failed",
        );
    }
}

/// `StopContainer` with what is left of the grace.
async fn signal(agent: &Agent, chosen: Option<Signal>, id: &str, deadline: Instant) -> Result<(), String> {
    let left = deadline.saturating_duration_since(Instant::now());
    // Whole seconds: what a hook began of a second is not charged.
    let mut left = seconds(left.as_secs_f64().ceil() as i64).max(seconds(STOP_GRACE_MIN));
    if let Some(chosen) = chosen {
        match agent.runtime.end_with(id, chosen.number, left).await {
            // It had its time: if it still runs, it is killed.
            Ok(()) => left = Duration::ZERO,
            // The runtime was told at the container's creation.
            Err(error) if error.is_unimplemented() => {}
            Err(error) => tracing::warn!(id, %error, "cannot send the container its own stop signal"),
        }
    }
    match agent.runtime.stop_container(id, left).await {
        Err(error) if !error.is_not_found() => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// The order of stopping: everything that isn't a sidecar first, then sidecars, last one first.
fn ranks<'a>(pod: &Pod, seen: &'a SeenPod) -> Vec<Vec<(Which, &'a SeenContainer)>> {
    let inits = pod.spec.as_ref().map(init_containers).unwrap_or_default();
    let mut first = Vec::new();
    let mut sidecars = Vec::new();
    for container in seen.running() {
        let which = Which::named(pod, &container.name);
        match which {
            Which::Init(index) if is_sidecar(&inits[index]) => sidecars.push((which, container)),
            _ => first.push((which, container)),
        }
    }
    sidecars.sort_by_key(|(which, _)| std::cmp::Reverse(*which));
    let mut ranks = vec![first];
    ranks.extend(sidecars.into_iter().map(|sidecar| vec![sidecar]));
    ranks
}

/// Stops every container within `grace` seconds, then the sandboxes. `begun` are containers whose end was told and
/// whose hook ran in an earlier attempt. Which sandboxes it stopped, by id. The first failure is told; the caller tries
/// again.
pub async fn stop_pod(
    agent: &Agent,
    pod: &Pod,
    seen: &SeenPod,
    grace: i64,
    begun: &Mutex<HashSet<String>>,
) -> Result<HashSet<String>, String> {
    let deadline = Instant::now() + seconds(grace);
    let addresses = addresses::of_pod(pod, seen, &agent.settings.host_ips);
    let ip = addresses.first().map(String::as_str);
    let ranks = ranks(pod, seen);
    let done: Vec<CancellationToken> = ranks.iter().map(|_| CancellationToken::new()).collect();
    let stops = ranks.iter().enumerate().map(|(rank, containers)| {
        let (turn, over) = (
            rank.checked_sub(1).map(|earlier| done[earlier].clone()),
            &done[rank],
        );
        async move {
            let ends = containers.iter().map(|(which, container)| {
                let turn = turn.clone();
                async move {
                    let ending = Ending {
                        id: &container.id,
                        which: *which,
                        grace,
                        ip,
                    };
                    if begun.lock().insert(container.id.clone()) {
                        let message = format!("Stopping container {}", container.name);
                        let path = which.field_path(&container.name);
                        agent.container_event(pod, &path, EventType::Normal, "Killing", message);
                        pre_stop(agent, pod, &ending).await;
                    }
                    if let Some(turn) = turn {
                        // When the grace is used up nobody waits for anybody any more.
                        let _ = tokio::time::timeout_at(deadline, turn.cancelled()).await;
                    }
                    signal(agent, stop_signal(pod, *which), &container.id, deadline).await
                }
            });
            let outcome = join_all(ends).await.into_iter().find_map(Result::err);
            over.cancel();
            outcome
        }
    });
    let failure = join_all(stops).await.into_iter().flatten().next();
    if let Some(failure) = failure {
        return Err(failure);
    }
    stop_sandboxes(agent, seen).await
}

async fn stop_sandboxes(agent: &Agent, seen: &SeenPod) -> Result<HashSet<String>, String> {
    let ready = seen.sandboxes.iter().filter(|sandbox| sandbox.ready);
    let ready: HashSet<String> = ready.map(|sandbox| sandbox.id.clone()).collect();
    let stopped = join_all(ready.iter().map(|id| agent.runtime.stop_pod_sandbox(id))).await;
    let failure = stopped
        .into_iter()
        .find_map(|outcome| outcome.err().filter(|error| !error.is_not_found()));
    failure.map_or(Ok(ready), |error| Err(error.to_string()))
}

/// Stops every container with the shortest grace and leaves the sandbox.
pub async fn stop_all_containers(agent: &Agent, pod: &Pod, seen: &SeenPod) -> Result<(), String> {
    let ranks = ranks(pod, seen);
    let stops = ranks.iter().flatten().map(|(which, container)| async move {
        let message = format!("Stopping container {}", container.name);
        let path = which.field_path(&container.name);
        agent.container_event(pod, &path, EventType::Normal, "Killing", message);
        let deadline = Instant::now() + seconds(STOP_GRACE_MIN);
        signal(agent, stop_signal(pod, *which), &container.id, deadline).await
    });
    let stopped = join_all(stops).await;
    stopped.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}

/// Stops what runs of a pod that no source knows: the shortest grace, no hooks. Which sandboxes it stopped, by id.
pub async fn stop_orphan(agent: &Agent, seen: &SeenPod) -> Result<HashSet<String>, String> {
    let grace = seconds(STOP_GRACE_MIN);
    let stops = seen
        .running()
        .map(|container| agent.runtime.stop_container(&container.id, grace));
    let stopped = join_all(stops).await;
    if let Some(error) = stopped
        .into_iter()
        .find_map(|outcome| outcome.err().filter(|error| !error.is_not_found()))
    {
        return Err(error.to_string());
    }
    stop_sandboxes(agent, seen).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seen::testing::{container, exited, running, sandbox};

    #[test]
    fn a_grace_may_be_longer_than_clocks_go() {
        assert_eq!(seconds(30), Duration::from_secs(30));
        assert_eq!(seconds(-1), Duration::ZERO);
        let deadline = Instant::now() + seconds(i64::MAX);
        assert!(deadline > Instant::now());
    }

    #[test]
    fn i14_regular_containers_end_first_then_sidecars_in_reverse() {
        let object = serde_json::json!({"spec": {
            "initContainers": [{"name": "s1", "restartPolicy": "Always"}, {"name": "s2", "restartPolicy": "Always"},
                {"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b"}]}});
        let pod: Pod = serde_json::from_value(object).unwrap();
        let names = ["b", "a", "s2", "s1"];
        let mut containers: Vec<_> = names.map(|name| container(name, name, "s", 0, running())).into();
        containers.push(container("i", "i", "s", 0, exited(0, 1)));
        let seen = SeenPod {
            sandboxes: vec![sandbox("s", 0, true)],
            containers,
        };
        let order: Vec<Vec<&str>> = ranks(&pod, &seen)
            .iter()
            .map(|rank| rank.iter().map(|(_, c)| c.name.as_str()).collect())
            .collect();
        assert_eq!(order, [vec!["b", "a"], vec!["s2"], vec!["s1"]]);
    }
}
