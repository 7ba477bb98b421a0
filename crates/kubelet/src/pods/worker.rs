//! One pod's worker: everything about one pod happens here, one thing after another; other pods' workers go on
//! meanwhile.
//!
//! ```text
//! mailbox ─┐
//! timer ───┼─> sync: read the runtime → decide → act → publish status
//! acts ────┘   end: stop containers → release volumes and cgroup → last status
//! ```
//!
//! | part | job |
//! |---|---|
//! | `mail` | what it is told |
//! | `act` | carries a plan out |
//! | `adopt` | takes over what ran before this agent |
//! | `reading` | what the runtime has of it |
//! | `sandbox` | what containers are started in |
//! | `resize` | brings containers to what their pod was given |
//! | `end` | the pod's end |
use super::addresses;
use super::agent::Agent;
use super::backoff::Backoff;
use super::decide::{Situation, decide};
use super::mailbox::{Mailbox, Stop, StopReason};
use super::plan::{Plan, Waiting, Which};
use super::repeated::Repeated;
use super::resize::Resizing;
use super::start::Sandbox;
use super::status::{Facts, pod_status};
use super::surroundings::Probed;
use super::verdict::Verdict;
use crate::metrics::{Metrics, Operation};
use crate::probes_view::ProbeView;
use crate::runtime::seen::{SeenPod, SeenResources, SeenState};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use orlop_api::pod::{is_host_network, name, namespace, uid};
use orlop_client::events::EventType;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod act;
mod adopt;
mod end;
mod mail;
mod reading;
mod resize;
mod sandbox;
use reading::Reading;

/// After a failed sync. What can heal by an event (a container that ends, a new version of the pod) wakes the worker
/// at once anyway.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// While the network isn't ready: the runtime does not tell when it is.
const NETWORK_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// A pull that failed is called back-off from here on; and an image that was imported meanwhile is found, where the
/// runtime doesn't tell of it.
const PULL_LOOK_AFTER: SignedDuration = SignedDuration::from_secs(3);
/// The longest wait between two pulls that fail.
const PULL_BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(300);
/// The longest wait before an image is looked for that is never pulled: who brings it may take days.
const NEVER_PULLED_LOOK_AFTER_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Between tries to stop a pod or to release what it holds.
const STOP_RETRY_AFTER: Duration = Duration::from_secs(2);
/// A pod on which nothing happens is looked at once in so many `syncFrequency`s.
const RESYNC_PERIODS: i32 = 10;
/// Plans carried out in one go before the worker looks at its mail again: a pod has few containers, a worker that
/// needs more plans than this is going in circles.
const STEPS_MAX: usize = 64;
/// A container that has run so long before this agent began keeps its readiness while its probes start anew.
const ADOPTED_AGE: SignedDuration = SignedDuration::from_secs(10);
/// Who waits for an ordered stop is told that it takes too long after one and a half times its grace, but not before this.
const ORDERED_STOP_PATIENCE_MIN: Duration = Duration::from_secs(10);

/// The worker of one pod.
pub struct Worker {
    agent: Arc<Agent>,
    mailbox: Mailbox,
    pod: Arc<Pod>,
    seen: SeenPod,
    /// How far that still holds.
    reading: Reading,
    status: PodStatus,
    waiting: BTreeMap<String, Waiting>,
    probes: HashMap<String, ProbeView>,
    /// Containers that were taken over and of whose readiness nothing was known, by id.
    guessed: BTreeMap<String, String>,
    /// The board knows of it.
    is_guess: bool,
    restarts: Backoff,
    pulls: Backoff,
    /// For images that are never pulled, by container.
    looks: Backoff,
    resizing: Resizing,
    /// What containers have as far as this agent has set it, by id: a runtime need not tell.
    set: HashMap<String, SeenResources>,
    prepared: bool,
    sandbox: Option<Sandbox>,
    stop: Option<Stop>,
    verdict: Option<Verdict>,
    /// What is in the way of its start, as told last.
    lacking: Repeated,
    /// When a pod was first seen that does not run yet.
    awaited: Option<Instant>,
}

enum Next {
    At(Timestamp),
    Stop(Stop),
}

/// What could not be done is tried again after this.
struct Again(SignedDuration);

impl Worker {
    /// A worker for a pod of which the runtime had `seen` when the agent last looked.
    pub fn new(agent: Arc<Agent>, pod: Arc<Pod>, seen: SeenPod, mailbox: Mailbox) -> Self {
        let longest = agent.settings.restart_backoff_max;
        Self {
            status: pod.status.clone().unwrap_or_default(),
            awaited: (!seen.is_alive()).then(Instant::now),
            restarts: Backoff::new(longest),
            pulls: Backoff::new(PULL_BACKOFF_MAX),
            looks: Backoff::new(NEVER_PULLED_LOOK_AFTER_MAX),
            agent,
            mailbox,
            pod,
            seen,
            reading: Reading::Fresh,
            waiting: BTreeMap::new(),
            probes: HashMap::new(),
            guessed: BTreeMap::new(),
            is_guess: false,
            resizing: Resizing::default(),
            set: HashMap::new(),
            prepared: false,
            sandbox: None,
            stop: None,
            verdict: None,
            lacking: Repeated::default(),
        }
    }

    /// Has the runtime read before anything is made: an earlier worker may have left something of this pod there.
    pub fn read_first(&mut self) {
        self.reading = Reading::Stale;
    }

    /// Runs until the pod holds nothing on the node any more.
    pub async fn run(mut self) {
        self.agent.owners.note(uid(&self.pod), self.seen.ids());
        self.adopt();
        let mut pass = "create";
        let stop = loop {
            self.take_mail();
            if let Some(stop) = self.stop.take() {
                break stop;
            }
            let began = Instant::now();
            // Boxed: what it takes to start a pod, some 80 kB, is not kept for as long as the pod runs.
            let next = Box::pin(self.sync()).await;
            self.passed(pass, began);
            pass = "sync";
            let next = match next {
                Next::Stop(stop) => break stop,
                Next::At(at) => at,
            };
            self.wait_until(next).await;
        };
        let (metrics, began) = (self.agent.metrics.clone(), Instant::now());
        Box::pin(self.end(stop)).await;
        observe(&metrics, "terminated", began);
    }

    fn passed(&mut self, operation_type: &'static str, began: Instant) {
        observe(&self.agent.metrics, operation_type, began);
        if let Some(seen) = self
            .awaited
            .take_if(|_| self.status.phase.as_deref() == Some("Running"))
        {
            self.agent.metrics.pod_start.observe(seen.elapsed().as_secs_f64());
        }
    }

    fn start_probes(&self, container: String, id: String, pod_ip: Option<String>, adopted: bool) {
        let (pod, mailbox) = (self.pod.clone(), self.mailbox.clone());
        let up_for = self.up_for(&id);
        self.agent.surroundings.start_probes(Probed {
            pod,
            container,
            id,
            pod_ip,
            adopted,
            up_for,
            mailbox,
        });
    }

    /// How long a container has run; one that was started just now hasn't been read.
    fn up_for(&self, id: &str) -> Duration {
        let began = self
            .seen
            .containers
            .iter()
            .find_map(|container| match container.state {
                SeenState::Running { started_at } if container.id == id => Some(started_at),
                _ => None,
            });
        let up_for = began.map(|began| Timestamp::now().duration_since(began));
        // A clock may have been put back.
        up_for
            .and_then(|up_for| Duration::try_from(up_for).ok())
            .unwrap_or_default()
    }

    fn is_host_network(&self) -> bool {
        self.pod.spec.as_ref().is_some_and(is_host_network)
    }

    fn addresses(&self) -> Vec<String> {
        addresses::of_pod(&self.pod, &self.seen, &self.agent.settings.host_ips)
    }

    /// Brings the pod as far as it can be brought now.
    async fn sync(&mut self) -> Next {
        let mut killed = false;
        for _ in 0..STEPS_MAX {
            if let Err(error) = self.read().await {
                tracing::warn!(
                    pod = name(&self.pod),
                    namespace = namespace(&self.pod),
                    uid = uid(&self.pod),
                    error,
                    "cannot read the pod from the runtime"
                );
                return self.retry(RETRY_AFTER);
            }
            let resizes = self.resizes();
            self.follow_resize(&resizes);
            let plan = decide(&Situation {
                pod: &self.pod,
                seen: &self.seen,
                probes: &self.probes,
                backoff: &self.restarts,
                resizes: &resizes,
                now: Timestamp::now(),
            });
            // A container held back is told of once; what could not be created keeps its reason until it is tried again.
            self.tell_backoff(&plan);
            self.waiting
                .retain(|name, why| why.reason != "CrashLoopBackOff" || plan.waiting.contains_key(name));
            self.waiting.extend(plan.waiting.clone());
            // What was killed to start anew is told of when it has: it lies there for a moment only.
            if !killed || plan.start.is_empty() {
                self.publish(false);
            }
            if let Some(stop) = self.past_deadline() {
                return Next::Stop(stop);
            }
            if plan.finish {
                return Next::Stop(Stop {
                    grace: None,
                    why: StopReason::Finished,
                });
            }
            if plan.is_idle() {
                let resync = later(self.resync_after());
                return Next::At(
                    plan.again_at
                        .into_iter()
                        .chain(self.deadline())
                        .fold(resync, Timestamp::min),
                );
            }
            killed = !plan.kill.is_empty();
            // A sandbox that is replaced is stopped with all that runs in it.
            let replaces = plan.sandbox.is_some() && self.seen.sandbox().is_some();
            let only_starts = !killed && !replaces && plan.resize.is_empty() && plan.restart_all.is_none();
            let mut started = Vec::new();
            let outcome = self.carry_out(plan, &mut started).await;
            // What ended while others were started was told meanwhile.
            let is_known = only_starts && matches!(self.reading, Reading::Fresh);
            self.reading = match outcome {
                Ok(()) if is_known && !started.is_empty() => Reading::Started(started),
                _ => Reading::Stale,
            };
            self.take_mail();
            if self.stop.is_some() {
                return Next::At(Timestamp::now());
            }
            if let Err(Again(after)) = outcome {
                if self.read().await.is_ok() {
                    self.publish(false);
                }
                return self.retry(after);
            }
        }
        tracing::warn!(
            pod = name(&self.pod),
            namespace = namespace(&self.pod),
            "the pod does not settle: pausing"
        );
        self.retry(RETRY_AFTER)
    }

    /// A pod is looked at so often even if nothing happens, pods apart from each other. What no event has told of is
    /// found by the manager's listing, at two calls a minute for all pods.
    fn resync_after(&self) -> SignedDuration {
        let period = self.agent.settings.sync_frequency * RESYNC_PERIODS;
        let apart = period.as_millis() as f64 * rand::random::<f64>() / 2.0;
        period + SignedDuration::from_millis(apart as i64)
    }

    fn retry(&mut self, after: SignedDuration) -> Next {
        self.reading = Reading::Stale;
        Next::At(later(after))
    }

    fn tell_backoff(&self, plan: &Plan) {
        let held = |name: &&String| {
            self.waiting
                .get(*name)
                .is_none_or(|why| why.reason != "CrashLoopBackOff")
        };
        for container in plan.waiting.keys().filter(held) {
            let message = format!(
                "Back-off restarting failed container {container} in pod {}({})",
                orlop_api::pod::full_name(&self.pod),
                uid(&self.pod)
            );
            self.agent.container_event(
                &self.pod,
                &Which::named(&self.pod, container).field_path(container),
                EventType::Warning,
                "BackOff",
                message,
            );
        }
    }

    /// When `activeDeadlineSeconds` end.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        self.status
            .start_time
            .as_ref()?
            .0
            .checked_add(SignedDuration::from_secs(seconds))
            .ok()
    }

    fn past_deadline(&mut self) -> Option<Stop> {
        if Timestamp::now() < self.deadline()? {
            return None;
        }
        let verdict = Verdict::past_deadline();
        let message = verdict.message.clone();
        self.verdict = Some(verdict);
        self.agent
            .event(&self.pod, EventType::Normal, "DeadlineExceeded", message);
        Some(Stop {
            grace: None,
            why: StopReason::DeadlineExceeded,
        })
    }

    /// Makes the status known, if it is another than before.
    fn publish(&mut self, ended: bool) {
        let unapplied = self.resizes().into_iter().map(|change| (change.id, change.had));
        let unapplied: HashMap<String, SeenResources> = unapplied.collect();
        let surroundings = &self.agent.surroundings;
        let status = pod_status(&Facts {
            pod: &self.pod,
            devices: &|container: &str| surroundings.devices(&self.pod, container),
            previous: &self.status,
            seen: &self.seen,
            probes: &self.probes,
            waiting: &self.waiting,
            host_ips: &self.agent.settings.host_ips,
            runtime_name: &self.agent.runtime_name,
            now: Timestamp::now(),
            resizing: &self.resizing,
            unapplied: &unapplied,
            terminating: ended,
            verdict: self.verdict.as_ref(),
        });
        if status != self.status || ended {
            self.status = status.clone();
            self.agent.pods.set_status(uid(&self.pod), &status);
            self.agent.board.set_status(&self.pod, Arc::new(status), ended);
        }
        if self.is_guess && (self.guessed.is_empty() || ended) {
            self.is_guess = false;
            self.agent.board.set_guessed(uid(&self.pod), false);
        }
    }
}

fn observe(metrics: &Metrics, operation_type: &'static str, began: Instant) {
    let operation = Operation { operation_type };
    let durations = metrics.worker.get_or_create(&operation);
    durations.observe(began.elapsed().as_secs_f64());
}

fn later(after: SignedDuration) -> Timestamp {
    Timestamp::now().saturating_add(after).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
