//! Owns the workers: which pod has one, which waits for its predecessor, what is left over. It never waits for
//! anything but its inputs; whatever takes time is a task of its own.
use super::admission::{self, Refusal, admit, no_room, with_measures};
use super::agent::Agent;
use super::mailbox::{Mailbox, Stop, StopReason};
use super::orders::{Order, Orders, Request};
use super::preempt;
use super::status::rejected;
use super::stop::{grace_of, stop_orphan};
use super::verdict::Verdict;
use super::worker::Worker;
use crate::beat;
use crate::metrics::{Preemption, Reason, Working};
use crate::node;
use crate::runtime::events::News;
use crate::runtime::read::read_all;
use crate::runtime::seen::{SeenPod, changed};
use crate::runtime::{apparmor, gc, links};
use crate::sources::merge::{Change, changes};
use crate::sources::{Snapshot, Source, order, placeholder};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use orlop_api::pod::{
    config_hash, full_name, is_critical, is_mirror, is_terminal, is_terminating, mirror_hash, name,
    namespace, uid,
};
use orlop_client::events::{EventType, node_reference};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Dead containers are looked for this often (contract, static pods §1); the same listing finds what no event told.
const GC_PERIOD: Duration = Duration::from_secs(60);
/// Between tries to stop or clean up what nobody knows.
const ORPHAN_RETRY_AFTER: Duration = Duration::from_secs(10);

mod resizes;
use resizes::Asked;

/// What the manager listens to.
pub struct Inputs {
    /// Of the sources.
    pub snapshots: mpsc::Receiver<Snapshot>,
    /// Of the runtime.
    pub news: mpsc::Receiver<News>,
    /// Workers that have ended; each says so once.
    pub ended: mpsc::UnboundedReceiver<String>,
    /// Of the node itself.
    pub orders: Orders,
    /// The Node object.
    pub node: node::Snapshot,
}

/// What a wanted pod is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its worker is at work, or still stopping an earlier life of the same UID.
    Due,
    /// It runs.
    Running,
    /// A static pod that was not let in: tried again when something changed that may have been the cause.
    Rejected,
    /// It came to its end, or was rejected: it stays so.
    Over,
}

struct Wanted {
    /// With what it was given.
    pod: Arc<Pod>,
    /// What it asks for, if that is something else.
    asked: Option<Asked>,
    source: Source,
    stage: Stage,
}

struct AtWork {
    mailbox: Mailbox,
    full_name: String,
    is_static: bool,
}

/// The pod manager.
pub struct Manager {
    agent: Arc<Agent>,
    machine: Node,
    /// Sources that must have spoken before anything is taken away.
    expected: Vec<Source>,
    enforces_apparmor: bool,
    spoken: HashSet<Source>,
    /// What each source last said, by UID.
    said: HashMap<Source, HashMap<String, Arc<Pod>>>,
    wanted: HashMap<String, Wanted>,
    workers: HashMap<String, AtWork>,
    orphans: HashSet<String>,
    /// Critical pods, and those that are stopped to make room for them.
    making_room: HashMap<String, Vec<String>>,
    /// Static pods that wait for others to be ready, and what they were told of.
    held: HashMap<String, String>,
    /// Static pods that were stopped because the node was going down.
    shut_down: HashSet<String>,
    /// Pods that have a new life before them: the runtime still holds what they left.
    lived: HashSet<String>,
    /// Who waits for dead containers to be gone.
    collecting: Vec<oneshot::Sender<()>>,
    /// Who waits for a pod's end.
    awaited: HashMap<String, Vec<oneshot::Sender<()>>>,
    /// Room may have been made for rejected pods.
    room_made: bool,
    /// What the runtime had when it was last listed, for pods that have no worker yet.
    seen: HashMap<String, SeenPod>,
    /// All that the last listing found.
    found: Arc<HashMap<String, SeenPod>>,
    listing: bool,
    relist: bool,
    listed: mpsc::Sender<HashMap<String, SeenPod>>,
    cleaned: mpsc::Sender<String>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Manager {
    /// A manager for pods of the `expected` sources; `seen` is what the runtime has now. Runs until `shutdown`.
    pub async fn run(
        agent: Arc<Agent>,
        machine: Node,
        expected: Vec<Source>,
        seen: HashMap<String, SeenPod>,
        mut inputs: Inputs,
        shutdown: CancellationToken,
    ) {
        // One listing runs at a time; an orphan's end is told once: small channels never fill up for long.
        let (listed, mut listings) = mpsc::channel(1);
        let (cleaned, mut cleanings) = mpsc::channel(16);
        let mut manager = Self {
            agent,
            machine,
            expected,
            enforces_apparmor: apparmor::is_enforced(Path::new(apparmor::ENABLED)),
            spoken: HashSet::new(),
            said: HashMap::new(),
            wanted: HashMap::new(),
            workers: HashMap::new(),
            orphans: HashSet::new(),
            making_room: HashMap::new(),
            held: HashMap::new(),
            shut_down: HashSet::new(),
            lived: HashSet::new(),
            collecting: Vec::new(),
            awaited: HashMap::new(),
            room_made: false,
            found: Arc::new(seen.clone()),
            seen,
            listing: false,
            relist: false,
            listed,
            cleaned,
            tasks: TaskTracker::new(),
            shutdown: shutdown.clone(),
        };
        let mut collect = tokio::time::interval_at(beat::at(GC_PERIOD), GC_PERIOD);
        let mut node_known = true;
        let mut orders = inputs.orders.receive();
        let pods = manager.agent.pods.clone();
        let mut state = manager.agent.node_state.subscribe();
        if manager.is_ready() {
            manager.became_ready();
        }
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(uid) = inputs.ended.recv() => manager.worker_ended(&uid),
                Some(snapshot) = inputs.snapshots.recv() => {
                    let node = inputs.node.borrow().clone();
                    manager.take(snapshot, node.as_deref());
                }
                Some(news) = inputs.news.recv() => manager.runtime_changed(&news),
                Some(request) = orders.recv() => match request {
                    Request::Stop(order) => manager.obey(order),
                    Request::Collect(done) => {
                        manager.collecting.push(done);
                        manager.list();
                    }
                },
                () = pods.new_status(), if !manager.held.is_empty() => {}
                // The agent holds the sender.
                Ok(()) = state.changed() => manager.room_made = true,
                Some(all) = listings.recv() => manager.reconcile(all),
                Some(uid) = cleanings.recv() => {
                    manager.orphans.remove(&uid);
                    let node = inputs.node.borrow().clone();
                    manager.start_due(node.as_deref());
                    continue;
                }
                changed = inputs.node.changed(), if node_known => {
                    node_known = changed.is_ok();
                    let node = inputs.node.borrow_and_update().clone();
                    manager.agent.board.set_node(node);
                    manager.room_made = true;
                }
                _ = collect.tick() => manager.list(),
            }
            let node = inputs.node.borrow().clone();
            manager.start_due(node.as_deref());
            manager.show_work();
        }
        // Workers are left off wherever they are: containers stay as they are, and the next agent finds them.
        manager.tasks.close();
        manager.tasks.wait().await;
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown.run_until_cancelled(work).await;
        });
    }

    /// Counts what the node works on, as `/metrics` shows it.
    fn show_work(&self) {
        let count = |of: usize| i64::try_from(of).unwrap_or(i64::MAX);
        let metrics = &self.agent.metrics;
        for is_static in [true, false] {
            let active = self.wanted.values().filter(|wanted| {
                (wanted.source != Source::Api) == is_static
                    && !matches!(wanted.stage, Stage::Over | Stage::Rejected)
            });
            metrics
                .active_pods
                .get_or_create(&is_static.into())
                .set(count(active.count()));
        }
        for (labels, number) in self.work() {
            metrics.working_pods.get_or_create(&labels).set(count(number));
        }
    }

    /// How many pods are in which state; every series is there, so that none goes stale.
    fn work(&self) -> HashMap<Working, usize> {
        let mut counts = HashMap::new();
        for lifecycle in ["sync", "terminating", "terminated"] {
            for (config, statics) in [
                ("desired", &["true", ""][..]),
                ("orphan", &["true", ""]),
                ("runtime_only", &["unknown"]),
            ] {
                for is_static in statics {
                    let labels = Working {
                        lifecycle,
                        config,
                        r#static: is_static,
                    };
                    counts.insert(labels, 0);
                }
            }
        }
        let mut count = |lifecycle, config, r#static| {
            let labels = Working {
                lifecycle,
                config,
                r#static,
            };
            *counts.entry(labels).or_default() += 1;
        };
        for (id, working) in &self.workers {
            let lifecycle = if working.mailbox.stopping().is_cancelled() {
                "terminating"
            } else {
                "sync"
            };
            let config = if self.wanted.contains_key(id) {
                "desired"
            } else {
                "orphan"
            };
            count(lifecycle, config, if working.is_static { "true" } else { "" });
        }
        let over = |wanted: &&Wanted| matches!(wanted.stage, Stage::Over | Stage::Rejected);
        for wanted in self.wanted.values().filter(over) {
            let is_static = if wanted.source == Source::Api { "" } else { "true" };
            count("terminated", "desired", is_static);
        }
        for _ in &self.orphans {
            count("terminating", "runtime_only", "unknown");
        }
        counts
    }

    fn is_ready(&self) -> bool {
        self.expected.iter().all(|source| self.spoken.contains(source))
    }

    fn became_ready(&mut self) {
        tracing::info!("all pod sources have spoken");
        self.agent.board.set_ready();
        self.room_made = true;
        self.list();
    }

    /// Takes over what a source says now.
    fn take(&mut self, snapshot: Snapshot, node: Option<&Node>) {
        let source = snapshot.source;
        let before = self.said.remove(&source).unwrap_or_default();
        for change in changes(&before, &snapshot.pods) {
            match change {
                Change::Add(pod) => self.add(source, pod),
                Change::Update(pod) => self.update(source, pod, node),
                Change::Reconcile(pod) => {
                    if source == Source::Api {
                        self.agent.board.set_object(pod);
                    }
                }
                Change::Remove(pod) => self.remove(source, &pod),
            }
        }
        self.said.insert(
            source,
            snapshot
                .pods
                .into_iter()
                .map(|pod| (uid(&pod).to_owned(), pod))
                .collect(),
        );
        self.start_due(node);
        let was_ready = self.is_ready();
        self.spoken.insert(source);
        if !was_ready && self.is_ready() {
            self.became_ready();
        }
    }

    fn add(&mut self, source: Source, pod: Arc<Pod>) {
        if source == Source::Api {
            self.agent.board.set_object(pod.clone());
            if is_mirror(&pod) {
                self.tell_mirrored(&pod);
                return;
            }
        } else if is_mirror(&pod) {
            tracing::warn!(
                pod = name(&pod),
                namespace = namespace(&pod),
                "a manifest of a mirror pod is not run"
            );
            return;
        }
        self.agent.pods.put(pod.clone(), source);
        self.wanted.insert(
            uid(&pod).to_owned(),
            Wanted {
                pod,
                asked: None,
                source,
                stage: Stage::Due,
            },
        );
    }

    /// What was known of a static pod before this agent began, for its worker.
    fn tell_mirrored(&self, mirror: &Pod) {
        let hash = mirror_hash(mirror);
        let statics = self.wanted.values().filter(|wanted| {
            wanted.source != Source::Api
                && config_hash(&wanted.pod) == hash
                && full_name(&wanted.pod) == full_name(mirror)
        });
        for wanted in statics {
            if let Some(working) = self.workers.get(uid(&wanted.pod)) {
                let status = mirror.status.clone().unwrap_or_default();
                working.mailbox.post(|mail| mail.mirrored = Some(status));
            }
        }
    }

    fn update(&mut self, source: Source, pod: Arc<Pod>, node: Option<&Node>) {
        if source == Source::Api {
            self.agent.board.set_object(pod.clone());
            if is_mirror(&pod) {
                return;
            }
        }
        let id = uid(&pod).to_owned();
        let pod = match source {
            Source::Api => self.with_what_it_gets(pod, node),
            _ => pod,
        };
        let Some(wanted) = self.wanted.get_mut(&id) else {
            return;
        };
        wanted.pod = pod.clone();
        let is_over = matches!(wanted.stage, Stage::Over | Stage::Rejected);
        self.agent.pods.update(pod.clone());
        if let Some(working) = self.workers.get(&id).filter(|_| !is_over) {
            if source == Source::Api && (is_terminating(&pod) || is_terminal(&pod)) {
                let grace = pod.metadata.deletion_grace_period_seconds;
                let why = if is_terminating(&pod) {
                    StopReason::Deleted
                } else {
                    StopReason::Finished
                };
                working.mailbox.post(|mail| mail.pod = Some(pod.clone()));
                working.mailbox.stop(Stop { grace, why });
            } else {
                working.mailbox.post(|mail| mail.pod = Some(pod.clone()));
            }
        }
    }

    fn remove(&mut self, source: Source, pod: &Arc<Pod>) {
        let id = uid(pod);
        if source == Source::Api {
            self.agent.board.remove_object(pod);
        }
        let owned = self.wanted.get(id).is_some_and(|wanted| wanted.source == source);
        if !owned {
            return;
        }
        self.wanted.remove(id);
        self.held.remove(id);
        self.room_made = true;
        self.agent.pods.remove(id);
        match self.workers.get(id) {
            Some(working) => {
                self.agent.board.retire(id);
                if self.is_ready() {
                    working.mailbox.stop(Stop {
                        grace: None,
                        why: StopReason::Removed,
                    });
                }
                // Otherwise it is stopped as soon as every source has spoken: see `stop_unwanted`.
            }
            None => {
                self.agent.board.forget(id);
                // Its last containers were kept for as long as it was wanted.
                self.list();
            }
        }
    }

    /// Stops pods that were removed before all sources had spoken.
    fn stop_unwanted(&self) {
        for (id, working) in &self.workers {
            if !self.wanted.contains_key(id) && !working.mailbox.stopping().is_cancelled() {
                working.mailbox.stop(Stop {
                    grace: None,
                    why: StopReason::Removed,
                });
            }
        }
    }

    /// Starts every wanted pod that has no worker and nothing in its way.
    fn start_due(&mut self, node: Option<&Node>) {
        while std::mem::take(&mut self.room_made) {
            self.try_rejected(node);
            self.try_resizes(node);
        }
        let mut due: Vec<Arc<Pod>> = self
            .wanted
            .values()
            .filter(|wanted| wanted.stage == Stage::Due)
            .map(|wanted| wanted.pod.clone())
            .collect();
        due.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        for pod in due {
            let id = uid(&pod);
            let Some(source) = self.wanted.get(id).map(|wanted| wanted.source) else {
                continue;
            };
            let same_name = |working: &AtWork| working.is_static && working.full_name == full_name(&pod);
            let makes_room = self.making_room.get(id).into_iter().flatten();
            let waits = makes_room
                .into_iter()
                .any(|victim| self.workers.contains_key(victim))
                || self.workers.contains_key(id)
                || self.orphans.contains(id)
                || (source != Source::Api && self.workers.values().any(same_name));
            if !waits && !self.is_held(source, &pod) {
                self.start(source, pod, node);
            }
        }
    }

    /// Whether a static pod has to wait for others (`orlop.dev/after`). One that runs already never does.
    fn is_held(&mut self, source: Source, pod: &Arc<Pod>) -> bool {
        let id = uid(pod);
        if source == Source::Api || self.seen.get(id).is_some_and(SeenPod::is_alive) {
            return false;
        }
        let statics = self.wanted.values().filter(|other| other.source != Source::Api);
        let statics: Vec<&Pod> = statics.map(|other| &*other.pod).collect();
        let is_ready = |other: &Pod| {
            let record = self.agent.pods.by_uid(uid(other));
            record.is_some_and(|record| orlop_api::pod::is_ready(&record.pod))
        };
        let waits_for = order::held_by(pod, &statics, is_ready);
        if waits_for.is_empty() {
            self.held.remove(id);
            return false;
        }
        let names: Vec<&str> = waits_for.into_iter().map(name).collect();
        let message = format!("waits for {} to be ready ({})", names.join(", "), order::AFTER);
        if self.held.get(id) != Some(&message) {
            tracing::info!(
                pod = name(pod),
                namespace = namespace(pod),
                uid = id,
                message,
                "pod held"
            );
            let status = PodStatus {
                phase: Some("Pending".into()),
                reason: Some("WaitingForPods".into()),
                message: Some(message.clone()),
                ..PodStatus::default()
            };
            self.agent.board.start(pod, true);
            self.agent.pods.set_status(id, &status);
            self.agent.board.set_status(pod, Arc::new(status), false);
            self.held.insert(id.to_owned(), message);
        }
        true
    }

    fn start(&mut self, source: Source, pod: Arc<Pod>, node: Option<&Node>) {
        let id = uid(&pod).to_owned();
        let is_static = source != Source::Api;
        let seen = self.seen.remove(&id).unwrap_or_default();
        self.agent.board.start(&pod, is_static);
        let finished = !is_static && (is_terminal(&pod) || is_terminating(&pod));
        if finished && !seen.is_alive() {
            return self.conclude(&pod);
        }
        if let Some(message) = placeholder::message(&pod).filter(|_| is_static) {
            let status = PodStatus {
                phase: Some("Failed".into()),
                reason: Some(placeholder::REASON.into()),
                message: Some(message.to_owned()),
                ..PodStatus::default()
            };
            self.set_stage(&id, Stage::Over);
            self.agent.pods.set_status(&id, &status);
            self.agent.board.set_status(&pod, Arc::new(status), true);
            return;
        }
        self.making_room.remove(&id);
        let pod = if is_static || finished {
            pod
        } else {
            self.as_given_before(pod)
        };
        if !finished && let Err(refusal) = self.admit(&pod, is_static, node) {
            let Some(rejection) = self.make_room(&pod, refusal) else {
                // Its turn comes when the others have ended.
                self.seen.insert(id, seen);
                return;
            };
            tracing::warn!(
                pod = name(&pod),
                namespace = namespace(&pod),
                uid = id,
                reason = rejection.reason,
                message = rejection.message,
                "pod rejected"
            );
            let reason = rejection.reason.clone();
            let rejections = &self.agent.metrics.rejections;
            rejections.get_or_create(&Reason { reason }).inc();
            self.agent.event(
                &pod,
                EventType::Warning,
                &rejection.reason,
                rejection.message.clone(),
            );
            let status = rejected(&pod, &rejection.reason, &rejection.message, Timestamp::now());
            let stage = if is_static { Stage::Rejected } else { Stage::Over };
            self.set_stage(&id, stage);
            self.agent.pods.set_status(&id, &status);
            self.agent.board.set_status(&pod, Arc::new(status), true);
            if seen.is_alive() {
                self.clean_up(id, seen);
            }
            return;
        }
        tracing::info!(
            pod = name(&pod),
            namespace = namespace(&pod),
            uid = id,
            source = source.as_str(),
            taken_over = seen.is_alive(),
            "pod starts"
        );
        if !is_static && !finished {
            self.keep_given(&pod);
        }
        let mailbox = Mailbox::default();
        if finished {
            let grace = pod.metadata.deletion_grace_period_seconds;
            let why = if is_terminating(&pod) {
                StopReason::Deleted
            } else {
                StopReason::Finished
            };
            mailbox.stop(Stop { grace, why });
        }
        let working = AtWork {
            mailbox: mailbox.clone(),
            full_name: full_name(&pod),
            is_static,
        };
        let mut worker = Worker::new(self.agent.clone(), pod, seen, mailbox);
        if self.lived.remove(&id) {
            worker.read_first();
        }
        let full_name = working.full_name.clone();
        self.workers.insert(id.clone(), working);
        if is_static
            && let Some(mirror) = self
                .agent
                .board
                .object(&full_name)
                .filter(|object| is_mirror(object))
        {
            self.tell_mirrored(&mirror);
        }
        self.set_stage(&id, Stage::Running);
        self.spawn(worker.run());
        // What it asks for beyond what it was given has its turn when all that ran before have theirs.
        self.room_made |= self.wanted.get(&id).is_some_and(|wanted| wanted.asked.is_some());
    }

    /// An API pod that holds nothing on this node any more and never will: only its object is left to be settled.
    fn conclude(&mut self, pod: &Arc<Pod>) {
        let mut status = pod.status.clone().unwrap_or_default();
        if !is_terminal(pod) {
            status.phase = Some("Failed".into());
        }
        self.set_stage(uid(pod), Stage::Over);
        self.agent.board.set_status(pod, Arc::new(status), true);
    }

    fn set_stage(&mut self, id: &str, stage: Stage) {
        if let Some(wanted) = self.wanted.get_mut(id) {
            wanted.stage = stage;
        }
    }

    fn admit(&self, pod: &Pod, is_static: bool, node: Option<&Node>) -> Result<(), Refusal> {
        let known = node.map(|node| with_measures(node, &self.machine));
        let active: Vec<Arc<Pod>> = self
            .wanted
            .values()
            .filter(|other| other.stage == Stage::Running && uid(&other.pod) != uid(pod))
            .map(|other| other.pod.clone())
            .collect();
        let rules = admission::Rules {
            allowed_sysctls: &self.agent.settings.allowed_sysctls,
            enforces_apparmor: self.enforces_apparmor,
            has_strict_groups: self.agent.settings.has_strict_groups,
            state: &self.agent.node_state.current(),
        };
        let node = known.as_ref().unwrap_or(&self.machine);
        admit(pod, is_static, node, &active, &rules)
    }

    /// Has others stopped for a critical pod, if that helps; else why it is not let in.
    fn make_room(&mut self, pod: &Arc<Pod>, refusal: Refusal) -> Option<admission::Rejection> {
        let shortage = match refusal.shortage {
            Some(shortage) if is_critical(pod) => shortage,
            _ => return Some(refusal.rejection),
        };
        let running = self.wanted.values().filter(|other| other.stage == Stage::Running);
        let active: Vec<Arc<Pod>> = running.map(|other| other.pod.clone()).collect();
        let Some(victims) = preempt::victims(pod, &active, &shortage) else {
            return Some(no_room(&shortage));
        };
        let signal = shortage.keys().next().cloned().unwrap_or_default();
        for victim in &victims {
            let verdict = Verdict::preempted();
            tracing::warn!(
                pod = name(victim),
                namespace = namespace(victim),
                uid = uid(victim),
                by = name(pod),
                "preempting pod"
            );
            self.agent.event(
                victim,
                EventType::Warning,
                &verdict.reason,
                verdict.message.clone(),
            );
            let counted = Preemption {
                preemption_signal: signal.clone(),
            };
            self.agent.metrics.preemptions.get_or_create(&counted).inc();
            let stop = Stop {
                grace: Some(grace_of(victim)),
                why: StopReason::Ordered,
            };
            self.stop_for(uid(victim), stop, verdict);
        }
        let victims = victims.iter().map(|victim| uid(victim).to_owned());
        self.making_room.insert(uid(pod).to_owned(), victims.collect());
        None
    }

    /// Stops a pod for the node's sake.
    fn stop_for(&self, id: &str, stop: Stop, verdict: Verdict) {
        if let Some(working) = self.workers.get(id) {
            working.mailbox.post(|mail| mail.verdict = Some(verdict));
            working.mailbox.stop(stop);
        }
    }

    fn obey(&mut self, order: Order) {
        if let Some(working) = self.workers.get(&order.uid) {
            if working.is_static && order.verdict == Verdict::node_shutdown() {
                self.shut_down.insert(order.uid.clone());
            }
            self.stop_for(&order.uid, order.stop, order.verdict);
            self.awaited.entry(order.uid).or_default().push(order.done);
        }
    }

    /// Rejected static pods that would be let in now have their turn again.
    fn try_rejected(&mut self, node: Option<&Node>) {
        let rejected = self
            .wanted
            .values()
            .filter(|wanted| wanted.stage == Stage::Rejected);
        let fits: Vec<String> = rejected
            .filter(|wanted| self.admit(&wanted.pod, true, node).is_ok())
            .map(|wanted| uid(&wanted.pod).to_owned())
            .collect();
        for id in fits {
            self.set_stage(&id, Stage::Due);
        }
    }

    fn worker_ended(&mut self, id: &str) {
        self.room_made = true;
        // Dropping them tells.
        self.awaited.remove(id);
        self.workers.remove(id);
        let was_shut_down = self.shut_down.remove(id);
        match self.wanted.get_mut(id) {
            // Removed and wanted again while it was being stopped: it has a new life before it.
            Some(wanted) if wanted.stage == Stage::Due => {
                let is_static = wanted.source != Source::Api;
                let restarted = &self.agent.metrics.restarted_pods;
                restarted.get_or_create(&is_static.into()).inc();
                self.lived.insert(id.to_owned());
            }
            // A shutdown that is called off was the only thing in its way.
            Some(wanted) if was_shut_down => {
                wanted.stage = Stage::Rejected;
                self.lived.insert(id.to_owned());
            }
            Some(wanted) => wanted.stage = Stage::Over,
            None => {
                self.lived.remove(id);
                self.agent.board.forget(id);
            }
        }
    }

    fn runtime_changed(&mut self, news: &News) {
        match news {
            News::Pod(id) => match self.workers.get(&**id) {
                Some(working) => working.mailbox.post(|mail| mail.runtime_changed = true),
                None => tracing::debug!(uid = &**id, "something of a pod without a worker changed"),
            },
            News::All => {
                for working in self.workers.values() {
                    working.mailbox.post(|mail| mail.runtime_changed = true);
                }
                self.list();
            }
        }
    }

    /// Lists the runtime, unless that is being done; then once more afterwards.
    fn list(&mut self) {
        if self.listing {
            self.relist = true;
            return;
        }
        self.listing = true;
        let (agent, listed, found) = (self.agent.clone(), self.listed.clone(), self.found.clone());
        self.spawn(async move {
            let began = Instant::now();
            let all = loop {
                match read_all(&*agent.runtime, &found).await {
                    Ok(all) => break all,
                    Err(error) => {
                        tracing::warn!(%error, "cannot list the runtime's pods");
                        tokio::time::sleep(ORPHAN_RETRY_AFTER).await;
                    }
                }
            };
            agent.metrics.relist.observe(began.elapsed().as_secs_f64());
            // The manager goes only when the whole agent does.
            let _ = listed.send(all).await;
        });
    }

    /// Compares what the runtime has with what is wanted: dead containers go, pods nobody knows are stopped.
    fn reconcile(&mut self, all: HashMap<String, SeenPod>) {
        self.listing = false;
        let all = Arc::new(all);
        // What no event has told of.
        for id in changed(&self.found, &all) {
            if let Some(working) = self.workers.get(id) {
                working.mailbox.post(|mail| mail.runtime_changed = true);
            }
        }
        self.found = all.clone();
        if std::mem::take(&mut self.relist) {
            return self.list();
        }
        if !self.is_ready() {
            return;
        }
        self.stop_unwanted();
        let known: HashSet<String> = self
            .wanted
            .keys()
            .chain(self.workers.keys())
            .chain(&self.orphans)
            .cloned()
            .collect();
        let asked = std::mem::take(&mut self.collecting);
        let mut wanted_garbage = Vec::new();
        for (id, seen) in all.iter() {
            if known.contains(id) {
                let is_over = !self.workers.contains_key(id) && !self.orphans.contains(id);
                wanted_garbage.push(gc::garbage(seen, asked.is_empty() || !is_over));
            } else {
                tracing::info!(
                    uid = id,
                    running = seen.running().count(),
                    "cleaning up a pod that nobody knows"
                );
                self.agent.metrics.orphans.inc();
                self.clean_up(id.clone(), seen.clone());
            }
        }
        for id in self.agent.surroundings.leftovers() {
            if !known.contains(&id) && !all.contains_key(&id) && !self.orphans.contains(&id) {
                self.clean_up(id, SeenPod::default());
            }
        }
        let agent = self.agent.clone();
        let mut with_logs = known;
        with_logs.extend(all.keys().cloned());
        self.spawn(async move {
            let mut failure = None;
            for garbage in wanted_garbage {
                let removed = gc::remove(&*agent.runtime, &agent.owners, &garbage).await;
                failure = failure.or(removed.err());
            }
            if let Some(error) = failure {
                agent.recorder.event(
                    &node_reference(&agent.settings.node_name),
                    EventType::Warning,
                    "ContainerGCFailed",
                    error.to_string(),
                );
            }
            // Dropping them tells.
            drop(asked);
            links::sweep(
                &agent.settings.pod_logs,
                &agent.settings.container_logs,
                &with_logs,
            );
        });
    }

    /// Stops and removes what the runtime and the node have of a pod that nobody wants.
    fn clean_up(&mut self, id: String, seen: SeenPod) {
        if !self.orphans.insert(id.clone()) {
            return;
        }
        let (agent, cleaned) = (self.agent.clone(), self.cleaned.clone());
        self.spawn(async move {
            let outcome = match stop_orphan(&agent, &seen).await {
                Ok(()) => agent.surroundings.release(&id).await,
                failed => failed,
            };
            if let Err(error) = outcome {
                tracing::warn!(uid = id, error, "cannot clean up a pod that nobody knows");
                tokio::time::sleep(ORPHAN_RETRY_AFTER).await;
            } else {
                let mut stopped = seen;
                stopped
                    .sandboxes
                    .iter_mut()
                    .for_each(|sandbox| sandbox.ready = false);
                stopped
                    .containers
                    .iter_mut()
                    .filter(|container| container.is_running())
                    .for_each(|container| {
                        container.state = crate::runtime::seen::SeenState::Unknown;
                    });
                // It is found again by the next listing.
                let garbage = gc::garbage(&stopped, false);
                let _ = gc::remove(&*agent.runtime, &agent.owners, &garbage).await;
            }
            // The next listing finds it again if anything is left.
            let _ = cleaned.send(id).await;
        });
    }
}
