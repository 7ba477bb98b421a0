//! One probe's task.
use super::check::{Target, check};
use super::decide::{Moment, Next, Outcome, Streak, next};
use super::{seconds, timeout_of};
use crate::metrics::{self, Metrics};
use crate::pods::PodsHandle;
use crate::pods::mailbox::Mailbox;
use crate::probes_view::{ProbeKind, ProbeNews};
use k8s_openapi::api::core::v1::{ContainerState, ObjectReference, Pod, Probe};
use orlop_api::pod::{name, namespace, uid};
use orlop_client::events::{EventType, Recorder};
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What a run is counted as.
pub const RESULTS: [&str; 3] = ["successful", "failed", "unknown"];
/// A check that can't be executed is tried so often within one run.
const TRIES: usize = 3;
/// Characters of a check's output that go into an event: the API server takes no longer messages.
const OUTPUT_MAX: usize = 900;

/// What the probes of one container share.
pub struct Shared {
    pub target: Target,
    pub pod: Arc<Pod>,
    /// The field path of events.
    pub field_path: String,
    /// It ran before this agent did.
    pub adopted: bool,
    /// When it was first probed.
    pub began: Instant,
    /// How long it had run then.
    pub up_for: Duration,
    pub mailbox: Mailbox,
    pub recorder: Recorder,
    pub pods: PodsHandle,
    /// Whether liveness and readiness may begin.
    pub started: watch::Sender<bool>,
}

/// One probe of one run of a container.
pub struct Task {
    shared: Arc<Shared>,
    kind: ProbeKind,
    probe: Probe,
    streak: Streak,
    metrics: Metrics,
    /// What its runs are counted as.
    counted: metrics::Probe,
}

impl Task {
    pub fn new(
        shared: Arc<Shared>,
        kind: ProbeKind,
        probe: Probe,
        (metrics, counted): (Metrics, metrics::Probe),
    ) -> Self {
        let successes = probe.success_threshold.unwrap_or(1);
        let failures = probe.failure_threshold.unwrap_or(3);
        Self {
            streak: Streak::new(kind, successes, failures),
            shared,
            kind,
            probe,
            metrics,
            counted,
        }
    }

    /// Probes until nothing more is to be learnt; dropped when that is over earlier.
    pub async fn run(mut self) {
        let period = seconds(self.probe.period_seconds, 10, 1);
        let mut started = self.shared.started.subscribe();
        if self.shared.adopted {
            // An agent that finds many containers must not check them all at once for ever after.
            let part = rand::rng().random_range(0.0..1.0);
            tokio::time::sleep(period.mul_f64(part)).await;
        }
        loop {
            let began = Instant::now();
            match next(self.kind, &self.moment()) {
                Next::End => return,
                Next::Wait(time) => tokio::time::sleep(time).await,
                // Nobody but this container's probes holds the sender.
                Next::AwaitStart => drop(started.wait_for(|started| *started).await),
                Next::Check => {
                    let outcome = self.once().await;
                    self.count(&outcome, began.elapsed());
                    if self.has_ended() {
                        // Whatever it says, it says of a container that is gone.
                        return;
                    }
                    self.tell(&outcome);
                    if let Some(success) = self.streak.note(&outcome) {
                        self.flipped(success);
                    }
                    if self.streak.is_settled() {
                        return;
                    }
                    tokio::time::sleep_until(began + period).await;
                }
            }
        }
    }

    fn moment(&self) -> Moment {
        let shared = &self.shared;
        let up_for = shared.up_for.saturating_add(shared.began.elapsed());
        Moment {
            ended: self.has_ended(),
            started: *shared.started.borrow(),
            up_for,
            initial_delay: seconds(self.probe.initial_delay_seconds, 0, 0),
        }
    }

    /// Whether the pod's last status knows this very container as ended. A pod that is being removed has none any more;
    /// its probes are ended by its worker.
    fn has_ended(&self) -> bool {
        let shared = &self.shared;
        let Some(record) = shared.pods.by_uid(uid(&shared.pod)) else {
            return false;
        };
        let Some(status) = record.pod.status.as_ref() else {
            return false;
        };
        let regular = status.container_statuses.iter().flatten();
        let init = status.init_container_statuses.iter().flatten();
        let mut states = regular
            .chain(init)
            .flat_map(|status| [&status.state, &status.last_state]);
        let is_this = |state: &Option<ContainerState>| {
            let ended = state.as_ref().and_then(|state| state.terminated.as_ref());
            let id = ended.and_then(|ended| ended.container_id.as_deref());
            id.is_some_and(|id| id.ends_with(&shared.target.container_id))
        };
        states.any(is_this)
    }

    async fn once(&self) -> Outcome {
        let timeout = timeout_of(&self.probe);
        let mut outcome = check(&self.shared.target, &self.probe, timeout).await;
        for _ in 1..TRIES {
            if !matches!(outcome, Outcome::Errored(_)) {
                break;
            }
            outcome = check(&self.shared.target, &self.probe, timeout).await;
        }
        outcome
    }

    fn count(&self, outcome: &Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Success | Outcome::Warning(_) => "successful",
            Outcome::Failure(_) => "failed",
            Outcome::Errored(_) => "unknown",
        };
        self.metrics
            .probes
            .get_or_create(&self.counted.with(result))
            .inc();
        self.metrics
            .probe_durations
            .get_or_create(&self.counted)
            .observe(took.as_secs_f64());
    }

    /// The event of an outcome; repeats are merged by the recorder.
    fn tell(&self, outcome: &Outcome) {
        let Some((reason, message)) = told(self.kind, outcome) else {
            return;
        };
        let pod = &self.shared.pod;
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(name(pod).to_owned()),
            namespace: Some(namespace(pod).to_owned()),
            uid: Some(uid(pod).to_owned()),
            field_path: Some(self.shared.field_path.clone()),
            ..ObjectReference::default()
        };
        self.shared
            .recorder
            .event(&reference, EventType::Warning, reason, message);
    }

    fn flipped(&self, success: bool) {
        let shared = &self.shared;
        tracing::info!(
            pod = name(&shared.pod), namespace = namespace(&shared.pod), uid = uid(&shared.pod),
            container = shared.target.container.name, probe = ?self.kind, success, "probe"
        );
        if self.kind == ProbeKind::Startup && success {
            shared.started.send_replace(true);
        }
        shared.mailbox.probe(ProbeNews {
            container_id: shared.target.container_id.clone(),
            kind: self.kind,
            success,
        });
    }
}

/// The word that begins a probe's events.
fn title(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Readiness => "Readiness",
    }
}

/// Reason and message of an outcome's event.
fn told(kind: ProbeKind, outcome: &Outcome) -> Option<(&'static str, String)> {
    let title = title(kind);
    let (reason, what, text) = match outcome {
        Outcome::Success => return None,
        Outcome::Warning(text) => ("ProbeWarning", "warning", text),
        Outcome::Failure(text) => ("Unhealthy", "failed", text),
        Outcome::Errored(text) => ("Unhealthy", "errored and resulted in unknown state", text),
    };
    let text: String = text.chars().take(OUTPUT_MAX).collect();
    Some((reason, format!("{title} probe {what}: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R03, R05 and R09, as far as they are told.
    #[test]
    fn r03_r05_r09_outcomes_are_told_in_upstreams_words() {
        let of = |kind, outcome: &Outcome| {
            let (reason, message) = told(kind, outcome)?;
            Some(format!("{reason}: {message}"))
        };
        let failed = Outcome::Failure("HTTP probe failed with statuscode: 500".into());
        assert_eq!(
            of(ProbeKind::Liveness, &failed).unwrap(),
            "Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 500"
        );
        let warned = Outcome::Warning("Probe terminated redirects, Response body: hi".into());
        assert_eq!(
            of(ProbeKind::Readiness, &warned).unwrap(),
            "ProbeWarning: Readiness probe warning: Probe terminated redirects, Response body: hi"
        );
        let errored = Outcome::Errored("no runtime".into());
        assert_eq!(
            of(ProbeKind::Startup, &errored).unwrap(),
            "Unhealthy: Startup probe errored and resulted in unknown state: no runtime"
        );
        assert_eq!(of(ProbeKind::Liveness, &Outcome::Success), None);
        let long = Outcome::Failure("ü".repeat(5000));
        let (_, message) = told(ProbeKind::Liveness, &long).unwrap();
        assert_eq!(message.chars().filter(|c| *c == 'ü').count(), OUTPUT_MAX);
    }
}
