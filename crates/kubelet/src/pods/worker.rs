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
//! | `adopt` | takes over what ran before this agent |
//! | `reading` | what the runtime has of it |
//! | `sandbox` | what containers are started in |
//! | `resize` | brings containers to what their pod was given |
//! | `end` | the pod's end |
use super::agent::Agent;
use super::backoff::Backoff;
use super::decide::{Plan, Situation, Waiting, Which, decide};
use super::mailbox::{Mail, Mailbox, Stop, StopReason};
use super::resize::Resizing;
use super::start::{self, Sandbox, Start};
use super::status::{Facts, pod_status};
use super::stop;
use super::surroundings::Probed;
use super::verdict::Verdict;
use crate::images::{self, Look};
use crate::metrics::{Metrics, Operation};
use crate::probes_view::{ProbeKind, ProbeView};
use crate::runtime::seen::{SeenPod, SeenResources};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use orlop_api::pod::{init_containers, is_host_network, name, namespace, uid};
use orlop_client::events::EventType;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod adopt;
mod end;
mod reading;
mod resize;
mod sandbox;
use reading::Reading;

/// After a failed sync. What can heal by an event (a container that ends, a new version of the pod) wakes the worker
/// at once anyway.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// While the network isn't ready: the runtime does not tell when it is.
const NETWORK_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// A pull that failed is called back-off from here on; and an image that was imported meanwhile is found, for which
/// there is no event.
const PULL_LOOK_AFTER: SignedDuration = SignedDuration::from_secs(3);
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
    resizing: Resizing,
    /// What containers have as far as this agent has set it, by id: a runtime need not tell.
    set: HashMap<String, SeenResources>,
    prepared: bool,
    sandbox: Option<Sandbox>,
    stop: Option<Stop>,
    verdict: Option<Verdict>,
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
            pulls: Backoff::new(SignedDuration::from_secs(300)),
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
        self.agent.surroundings.start_probes(Probed {
            pod,
            container,
            id,
            pod_ip,
            adopted,
            mailbox,
        });
    }

    fn is_host_network(&self) -> bool {
        self.pod.spec.as_ref().is_some_and(is_host_network)
    }

    fn addresses(&self) -> Vec<String> {
        if self.is_host_network() {
            return self.agent.settings.host_ips.clone();
        }
        self.seen
            .sandbox()
            .map(|sandbox| sandbox.ips.clone())
            .unwrap_or_default()
    }

    /// Waits for mail or for the time.
    async fn wait_until(&mut self, at: Timestamp) {
        let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
        match tokio::time::timeout(left, self.mailbox.next()).await {
            Ok(mail) => self.read_mail(mail),
            Err(_) => self.reading = Reading::Stale,
        }
    }

    fn take_mail(&mut self) {
        let mail = self.mailbox.take();
        self.read_mail(mail);
    }

    fn read_mail(&mut self, mail: Mail) {
        if let Some(pod) = mail.pod {
            self.pod = pod;
            if self.prepared || self.seen.is_alive() {
                self.agent.surroundings.refresh(&self.pod);
            }
        }
        if mail.verdict.is_some() {
            self.verdict = mail.verdict;
        }
        if let Some(news) = mail.resize {
            self.resizing.refused = news.refused;
            if news.given.is_some() {
                self.resizing.in_progress = news.given;
                self.resizing.error = None;
            }
        }
        if let Some(stop) = mail.stop {
            self.stop = Some(self.stop.map_or(stop, |earlier| earlier.and_then(stop)));
        }
        if mail.runtime_changed {
            self.reading = Reading::Stale;
        }
        if let Some(mirrored) = mail.mirrored {
            self.learn(&mirrored);
        }
        for news in mail.probes {
            if news.kind == ProbeKind::Readiness {
                self.guessed.remove(&news.container_id);
            }
            self.probes
                .entry(news.container_id.clone())
                .or_default()
                .take(&news);
        }
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
            self.reading = match outcome {
                Ok(()) if only_starts && !started.is_empty() => Reading::Started(started),
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

    /// Does what the plan says; containers that start are `started`, in whatever way it ends.
    async fn carry_out(&mut self, plan: Plan, started: &mut Vec<String>) -> Result<(), Again> {
        let (agent, pod) = (self.agent.clone(), self.pod.clone());
        let ip = self.addresses().first().cloned();
        let kills = plan
            .kill
            .iter()
            .map(|kill| stop::kill_container(&agent, &pod, kill, ip.as_deref()));
        let killed = tokio::select! {
            killed = join_all(kills) => killed,
            // The pod's end has a grace of its own, and it may be a shorter one.
            () = self.mailbox.stopping().cancelled() => return Ok(()),
        };
        if let Some(error) = killed.into_iter().find_map(Result::err) {
            tracing::warn!(
                pod = name(&pod),
                namespace = namespace(&pod),
                error,
                "cannot kill a container"
            );
            agent.event(
                &pod,
                EventType::Warning,
                "FailedKillPod",
                format!("error killing pod: {error}"),
            );
            return Err(Again(RETRY_AFTER));
        }
        if let Some(trigger) = &plan.restart_all {
            return self.restart_all(trigger).await;
        }
        self.resize(&plan.resize).await?;
        if plan.sandbox.is_none() && plan.start.is_empty() {
            return Ok(());
        }
        self.prepare().await?;
        let mut looked = HashMap::new();
        if let Some(attempt) = plan.sandbox {
            // Images are looked for while the sandbox is made.
            let wanted: Vec<Which> = plan.start.clone();
            let look = async {
                let asks = wanted.iter().filter_map(|which| Some((*which, which.of(&pod)?)));
                let looks = asks.map(|(which, container)| {
                    let agent = &agent;
                    async move { images::look(agent, &container).await.map(|look| (which, look)) }
                });
                join_all(looks)
                    .await
                    .into_iter()
                    .flatten()
                    .collect::<HashMap<Which, Look>>()
            };
            let (made, found) = tokio::join!(self.new_sandbox(attempt), look);
            made?;
            looked = found;
            // Told before any pull begins.
            self.publish(false);
        }
        let Some(sandbox) = self.current_sandbox() else {
            return Ok(());
        };
        let mut again: Option<SignedDuration> = None;
        for which in plan.start {
            if self.mailbox.stopping().is_cancelled() {
                return Ok(());
            }
            let looked = looked.remove(&which);
            match self.start(which, &sandbox, looked).await {
                Ok(id) => started.extend(id),
                Err(after) => again = Some(again.map_or(after, |earlier| earlier.min(after))),
            }
        }
        again.map_or(Ok(()), |after| Err(Again(after)))
    }

    async fn start(
        &mut self,
        which: Which,
        sandbox: &Sandbox,
        looked: Option<Look>,
    ) -> Result<Option<String>, SignedDuration> {
        let (agent, pod, mailbox) = (self.agent.clone(), self.pod.clone(), self.mailbox.clone());
        let Some(container) = which.of(&pod) else {
            return Ok(None);
        };
        let path = which.field_path(&container.name);
        let wanted = images::Wanted {
            pod: &pod,
            container: &container,
            path: &path,
            stopping: mailbox.stopping(),
        };
        let volumes = images::of_volumes(&agent, &wanted, &mut self.pulls).await;
        let image = match volumes {
            Ok(volumes) => images::ensure(&agent, &wanted, looked, &mut self.pulls)
                .await
                .map(|image| (image, volumes)),
            Err(why) => Err(why),
        };
        let outcome = match image {
            Ok((image, volume_images)) => {
                let (pod, seen, stopping) = (&*pod, &self.seen, mailbox.stopping());
                start::start_container(
                    &agent,
                    &Start {
                        pod,
                        sandbox,
                        seen,
                        which,
                        image,
                        volume_images,
                        stopping,
                    },
                )
                .await
            }
            Err(why) => Err(why),
        };
        // One that was made and does not start, or whose hook fails, is held back like one that crashes.
        let made = match &outcome {
            Ok(_) => true,
            Err(why) => ["RunContainerError", "PostStartHookError"].contains(&&*why.reason),
        };
        let before = self.seen.newest(&container.name).and_then(|seen| seen.exit());
        if let Some(exit) = before.filter(|_| made) {
            let key = super::decide::backoff_key(&container);
            self.restarts.restarted(&key, exit.finished_at, Timestamp::now());
        }
        match outcome {
            Ok(id) => {
                self.waiting.remove(&container.name);
                self.probes.insert(id.clone(), ProbeView::default());
                self.set.insert(id.clone(), self.given_to(&container));
                let ip = sandbox.ips.first().cloned();
                self.start_probes(container.name.clone(), id.clone(), ip, false);
                Ok(Some(id))
            }
            Err(why) => {
                let after = if why.reason.contains("Pull") {
                    PULL_LOOK_AFTER
                } else {
                    RETRY_AFTER
                };
                if self.waiting.get(&container.name) != Some(&why) {
                    tracing::warn!(
                        pod = name(&pod),
                        namespace = namespace(&pod),
                        uid = uid(&pod),
                        container = container.name,
                        reason = why.reason,
                        message = why.message,
                        "container not started"
                    );
                }
                self.waiting.insert(container.name.clone(), why);
                Err(after)
            }
        }
    }

    /// Stops and removes all containers; then there is a sandbox without any, as at the first start. The record of the
    /// one that began it goes last: an agent that takes over halfway sees that there is more to do.
    async fn restart_all(&mut self, trigger: &str) -> Result<(), Again> {
        let (agent, pod, seen) = (self.agent.clone(), self.pod.clone(), self.seen.clone());
        let failed = |error: String| {
            tracing::warn!(
                pod = name(&pod),
                namespace = namespace(&pod),
                error,
                "cannot restart all containers"
            );
            Again(RETRY_AFTER)
        };
        tracing::info!(
            pod = name(&self.pod),
            namespace = namespace(&self.pod),
            uid = uid(&self.pod),
            "restarting all containers"
        );
        stop::stop_all_containers(&agent, &self.pod, &seen)
            .await
            .map_err(failed)?;
        // How they ended is told before their records go: it is the last state of those that come after them.
        self.reading = Reading::Stale;
        self.read().await.map_err(failed)?;
        self.publish(false);
        let seen = self.seen.clone();
        let (last, others): (Vec<_>, Vec<_>) = seen
            .containers
            .iter()
            .partition(|container| container.id == trigger);
        for container in others.into_iter().chain(last) {
            match agent.runtime.remove_container(&container.id).await {
                Err(error) if !error.is_not_found() => return Err(failed(error.to_string())),
                _ => agent.owners.forget(&container.id),
            }
            if let Some(exit) = container.exit().filter(|_| container.id == trigger)
                && let Some(spec) = self.pod.spec.as_ref()
                && let Some(defined) = (spec.containers.iter().chain(init_containers(spec)))
                    .find(|defined| defined.name == container.name)
            {
                let key = super::decide::backoff_key(defined);
                self.restarts.restarted(&key, exit.finished_at, Timestamp::now());
            }
        }
        Ok(())
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
