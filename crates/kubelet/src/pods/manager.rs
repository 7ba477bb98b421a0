//! Owns the workers: which pod has one, which waits for its predecessor, what is left over. It never waits for
//! anything but its inputs; whatever takes time is a task of its own.
//!
//! | part | job |
//! |---|---|
//! | `wanted` | what sources say |
//! | `start` | which pods start, and what is in their way |
//! | `resizes` | what pods ask for while they run |
//! | `runtime` | what the runtime has, and what of it nobody knows |
//! | `count` | how many pods are in which state |
use super::agent::Agent;
use super::mailbox::{Mailbox, Stop};
use super::orders::{Order, Orders, Request};
use super::verdict::Verdict;
use crate::beat;
use crate::node;
use crate::runtime::apparmor;
use crate::runtime::events::News;
use crate::runtime::seen::SeenPod;
use crate::sources::{Snapshot, Source};
use k8s_openapi::api::core::v1::{Node, Pod};
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

mod count;
mod resizes;
mod runtime;
mod start;
mod wanted;
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
    /// When the last listing began.
    list_began: Option<Instant>,
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
            list_began: None,
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
                    Request::Look(uid) => manager.look(&uid),
                    Request::Answer(answer) => {
                        // Who asked may not wait any more.
                        let _ = answer.send(());
                        continue;
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

    fn is_ready(&self) -> bool {
        self.expected.iter().all(|source| self.spoken.contains(source))
    }

    fn became_ready(&mut self) {
        tracing::info!("all pod sources have spoken");
        self.agent.board.set_ready();
        self.room_made = true;
        self.list();
    }

    fn set_stage(&mut self, id: &str, stage: Stage) {
        if let Some(wanted) = self.wanted.get_mut(id) {
            wanted.stage = stage;
        }
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

    fn look(&self, id: &str) {
        if let Some(working) = self.workers.get(id) {
            working.mailbox.post(|mail| mail.runtime_changed = true);
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
}
