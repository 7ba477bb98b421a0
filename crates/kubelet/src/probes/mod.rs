//! Liveness, readiness and startup probes.
//!
//! One small task per container and probe: it sleeps for the period, runs the check ([`check`]), and puts a verdict that
//! flips into the mailbox of the pod's worker. When a check runs and what its result means is in [`decide`].
mod check;
pub(crate) use check::{dial_error, port_of};
mod decide;
mod grpc;
mod http;
pub(crate) mod target;
mod task;
pub(crate) mod tls;

use crate::metrics::{self, Metrics};
use crate::pods::PodsHandle;
use crate::pods::surroundings::Probed;
use crate::probes_view::ProbeKind;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use orlop_api::pod::{init_containers, is_host_network, name, namespace, uid};
use orlop_client::events::Recorder;
use orlop_cri::RuntimeService;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What cancels the probes of one pod.
struct Tokens {
    all: CancellationToken,
    /// Liveness and startup only: they end when termination begins.
    restarting: CancellationToken,
    /// By container name: probes of an earlier run end when the next begins.
    containers: HashMap<String, CancellationToken>,
    /// What its probes were counted as.
    counted: Vec<metrics::Probe>,
}

impl Tokens {
    fn new() -> Self {
        let all = CancellationToken::new();
        Self {
            restarting: all.child_token(),
            all,
            containers: HashMap::new(),
            counted: Vec::new(),
        }
    }
}

/// Starts and stops probes.
pub struct Probes {
    runtime: Arc<dyn RuntimeService>,
    recorder: Recorder,
    /// Tells which containers have ended.
    pods: PodsHandle,
    metrics: Metrics,
    tokens: Mutex<HashMap<String, Tokens>>,
}

impl Probes {
    /// Probes nothing yet.
    pub fn new(
        runtime: Arc<dyn RuntimeService>,
        recorder: Recorder,
        pods: PodsHandle,
        metrics: Metrics,
    ) -> Self {
        Self {
            runtime,
            recorder,
            pods,
            metrics,
            tokens: Mutex::default(),
        }
    }

    /// Begins to probe a container that has just started, or was found running.
    pub fn start(&self, probed: Probed) {
        let Some((container, path)) = find(&probed.pod, &probed.container) else {
            return;
        };
        // A container that was taken over has started up already.
        let startup = container.startup_probe.as_ref().filter(|_| !probed.adopted);
        let probes = [
            (ProbeKind::Startup, startup),
            (ProbeKind::Liveness, container.liveness_probe.as_ref()),
            (ProbeKind::Readiness, container.readiness_probe.as_ref()),
        ];
        if probes.iter().all(|(_, probe)| probe.is_none()) {
            return;
        }
        let own = CancellationToken::new();
        let (all, restarting) = {
            let mut tokens = self.tokens.lock();
            let tokens = tokens
                .entry(uid(&probed.pod).to_owned())
                .or_insert_with(Tokens::new);
            let earlier = tokens.containers.insert(container.name.clone(), own.clone());
            if let Some(earlier) = earlier {
                earlier.cancel();
            }
            (tokens.all.clone(), tokens.restarting.clone())
        };
        let (started, _) = watch::channel(startup.is_none());
        let shared = Arc::new(task::Shared {
            target: check::Target {
                runtime: self.runtime.clone(),
                container_id: probed.id.clone(),
                container: container.clone(),
                host: host_of(&probed),
            },
            pod: probed.pod.clone(),
            field_path: path,
            adopted: probed.adopted,
            began: tokio::time::Instant::now(),
            up_for: probed.up_for,
            mailbox: probed.mailbox.clone(),
            recorder: self.recorder.clone(),
            pods: self.pods.clone(),
            started,
        });
        for (kind, probe) in probes {
            let Some(probe) = probe.cloned() else { continue };
            let counted = metrics::Probe {
                container: container.name.clone(),
                namespace: namespace(&probed.pod).to_owned(),
                pod: name(&probed.pod).to_owned(),
                pod_uid: uid(&probed.pod).to_owned(),
                probe_type: match kind {
                    ProbeKind::Startup => "Startup",
                    ProbeKind::Liveness => "Liveness",
                    ProbeKind::Readiness => "Readiness",
                },
            };
            self.note(uid(&probed.pod), counted.clone());
            let task = task::Task::new(shared.clone(), kind, probe, (self.metrics.clone(), counted));
            let of_pod = match kind {
                // It goes on during preStop, so that the pod can become unready.
                ProbeKind::Readiness => all.clone(),
                ProbeKind::Liveness | ProbeKind::Startup => restarting.clone(),
            };
            let own = own.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = of_pod.cancelled() => {}
                    () = own.cancelled() => {}
                    () = task.run() => {}
                }
            });
        }
    }

    fn note(&self, uid: &str, counted: metrics::Probe) {
        if let Some(tokens) = self.tokens.lock().get_mut(uid)
            && !tokens.counted.contains(&counted)
        {
            tokens.counted.push(counted);
        }
    }

    /// Termination has begun: only readiness goes on.
    pub fn stop_liveness_and_startup(&self, uid: &str) {
        if let Some(tokens) = self.tokens.lock().get(uid) {
            tokens.restarting.cancel();
        }
    }

    /// The pod has stopped.
    pub fn stop(&self, uid: &str) {
        if let Some(tokens) = self.tokens.lock().remove(uid) {
            tokens.all.cancel();
            tokens.containers.values().for_each(CancellationToken::cancel);
            // Series of pods that are gone would pile up.
            for probe in &tokens.counted {
                self.metrics.probe_durations.remove(probe);
                for result in task::RESULTS {
                    self.metrics.probes.remove(&probe.with(result));
                }
            }
        }
    }
}

/// The container of a name, and the field path its events carry.
fn find<'a>(pod: &'a Pod, name: &str) -> Option<(&'a Container, String)> {
    let spec = pod.spec.as_ref()?;
    let regular = spec.containers.iter().map(|container| (container, "containers"));
    let init = init_containers(spec)
        .iter()
        .map(|container| (container, "initContainers"));
    let (container, list) = regular
        .chain(init)
        .find(|(container, _)| container.name == name)?;
    Some((container, format!("spec.{list}{{{name}}}")))
}

/// Where network checks go that name no host. A pod on the host's network has no address in standalone mode, yet what
/// it listens on is at hand.
fn host_of(probed: &Probed) -> Option<String> {
    let host_network = probed.pod.spec.as_ref().is_some_and(is_host_network);
    let local = host_network.then(|| "127.0.0.1".to_owned());
    probed.pod_ip.clone().or(local)
}

/// Seconds of a probe's field, at least `least`.
fn seconds(value: Option<i32>, default: u64, least: u64) -> std::time::Duration {
    let given = value
        .and_then(|value| u64::try_from(value).ok())
        .unwrap_or(default);
    std::time::Duration::from_secs(given.max(least))
}

/// `timeoutSeconds`.
fn timeout_of(probe: &Probe) -> std::time::Duration {
    seconds(probe.timeout_seconds, 1, 1)
}

#[cfg(test)]
mod tests;
