//! The scheduling loop and what feeds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Api;
use kube::runtime::watcher;
use orlop_client::events::ActionRecorder;
use orlop_client::informer::{Cached, Change, Informer};
use orlop_metrics::PartMetrics;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Holder};
use crate::decide::{Decision, decide};
use crate::metrics::{Attempt, Metrics};
use crate::preempt::{Outcome, Preemption, preempt};
use crate::queue::Queue;
use crate::view::{NAME, NodeView, Pending, PodView, Takes};
use crate::write;

/// Bindings and conditions being written at the same time: enough to keep the server busy, few
/// enough not to swamp it; each takes a connection with its buffers.
const WRITES_MAX: usize = 32;

/// Why the scheduler stopped although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// A bug: one of the tasks panicked or ended.
    #[error("the scheduler stopped by itself: {0}; please report it with the log above")]
    Stopped(String),
}

struct Scheduler {
    client: kube::Client,
    metrics: Metrics,
    recorder: ActionRecorder,
    pods: Informer<PodView>,
    nodes: Informer<NodeView>,
    state: Mutex<State>,
    /// A pod may have become active.
    changed: Notify,
    writes: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    cluster: Cluster,
    queue: Queue,
}

/// Schedules pods until `shutdown` is cancelled. Needs a tokio runtime; an API server that can't be
/// reached yet is waited for.
pub async fn run(client: kube::Client, shutdown: CancellationToken) -> Result<(), SchedulerError> {
    run_measured(client, Arc::new(PartMetrics::new("")), shutdown).await
}

/// The same, counted among `part`.
pub async fn run_measured(
    client: kube::Client,
    part: Arc<PartMetrics>,
    shutdown: CancellationToken,
) -> Result<(), SchedulerError> {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let scheduler = Arc::new(Scheduler {
        recorder: ActionRecorder::new(client.clone(), NAME, &host),
        client: client.clone(),
        metrics: Metrics::new(&part),
        pods: Informer::new(),
        nodes: Informer::new(),
        state: Mutex::default(),
        changed: Notify::new(),
        writes: Arc::new(Semaphore::new(WRITES_MAX)),
    });
    let on = Arc::downgrade(&scheduler);
    scheduler.pods.on_change(move |change| {
        if let Some(scheduler) = on.upgrade() {
            scheduler.pod(change);
        }
    });
    let on = Arc::downgrade(&scheduler);
    scheduler.nodes.on_change(move |change| {
        if let Some(scheduler) = on.upgrade() {
            scheduler.node(change);
        }
    });

    // Dropped, and so aborted, on every way out.
    let mut tasks = JoinSet::new();
    let (this, api) = (scheduler.clone(), Api::all(client.clone()));
    tasks.spawn(async move { this.pods.run(api, watcher::Config::default()).await });
    let (this, api) = (scheduler.clone(), Api::all(client));
    tasks.spawn(async move { this.nodes.run(api, watcher::Config::default()).await });
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        ((), ()) = async { tokio::join!(scheduler.pods.synced(), scheduler.nodes.synced()) } => {}
    }
    tracing::info!("scheduler started");
    tasks.spawn(scheduler.schedule());
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = tasks.join_next() => {
            let why = ended.and_then(Result::err).map_or_else(|| "a task ended".to_owned(), |error| error.to_string());
            Err(SchedulerError::Stopped(why))
        }
    }
}

impl Scheduler {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pod(&self, change: &Change<PodView>) {
        let now = Instant::now();
        let mut state = self.state();
        let key = &change.latest().key;
        match change.new.as_ref().map(|pod| (&pod.object, pod)) {
            Some((PodView::Pending(pending), _)) => {
                // Its own condition changing is no reason to try again.
                let same = change.old.as_ref().is_some_and(
                    |old| matches!(&old.object, PodView::Pending(old) if old.spec == pending.spec),
                );
                if !same {
                    let priority = pending.spec.priority.unwrap_or(0);
                    state.queue.put(key, priority, pending.confined_to.clone(), now);
                }
            }
            Some((
                PodView::Bound {
                    node,
                    priority,
                    terminating,
                    takes,
                },
                pod,
            )) => {
                state.queue.forget(key);
                let holder = Holder {
                    uid: pod.uid.clone(),
                    priority: *priority,
                    terminating: *terminating,
                    takes: takes.clone(),
                };
                state.cluster.hold(key, node, holder);
                // One pod more helps nobody: nothing has to be woken.
                return;
            }
            Some((PodView::Other, _)) | None => {
                state.queue.forget(key);
                let Some(node) = state.cluster.release(key) else {
                    return;
                };
                state.queue.happened_on(&node, now);
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    fn node(&self, change: &Change<NodeView>) {
        let name = &change.latest().key.name;
        let mut state = self.state();
        let Some(node) = &change.new else {
            return state.cluster.remove_node(name);
        };
        let differs = change
            .old
            .as_ref()
            .is_none_or(|old| node.may_fit_differently(old));
        state.cluster.put_node(node.clone());
        if differs {
            state.queue.happened_on(name, Instant::now());
            drop(state);
            self.changed.notify_one();
        }
    }

    async fn schedule(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            while self.schedule_one().await {}
            let due = {
                let state = self.state();
                self.metrics.waiting(state.queue.len());
                state.queue.next_due()
            };
            match due {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Tries one pod; whether there was one.
    async fn schedule_one(self: &Arc<Self>) -> bool {
        let Some(key) = self.state().queue.next(Instant::now()) else {
            return false;
        };
        let Some(pod) = self.pods.store().get(&key) else {
            self.state().queue.forget(&key);
            return true;
        };
        let PodView::Pending(pending) = &pod.object else {
            self.state().queue.forget(&key);
            return true;
        };
        let began = Instant::now();
        let outcome = {
            let mut state = self.state();
            match decide(pending, &mut state.cluster) {
                Decision::Bind(node) => {
                    // Assumed before it is written, so that the next pod sees what is left.
                    state.cluster.hold(&key, &node, holder(&pod, pending));
                    Next::Bind(node)
                }
                Decision::Unschedulable(refusals) => {
                    state.queue.unschedulable(&key, Instant::now());
                    match preempt(pending, &mut state.cluster) {
                        Outcome::Impossible => Next::Tell(refusals.message()),
                        Outcome::Underway => Next::Tell(refusals.without_preemption()),
                        Outcome::Evict(victims) => Next::Evict(victims, refusals.without_preemption()),
                    }
                }
            }
        };
        self.metrics.decided(began.elapsed());
        // A closed semaphore can't happen; then writing without a permit is still right.
        let permit = self.writes.clone().acquire_owned().await.ok();
        let this = self.clone();
        tokio::spawn(async move {
            match outcome {
                Next::Bind(node) => {
                    let binding = Instant::now();
                    let attempt = this.bind(&pod, &node).await;
                    this.metrics
                        .ended(attempt, began.elapsed(), Some(binding.elapsed()));
                }
                Next::Tell(message) => {
                    this.metrics.ended(Attempt::Unschedulable, began.elapsed(), None);
                    this.tell_unschedulable(&pod, &message).await;
                }
                Next::Evict(victims, message) => {
                    this.metrics.ended(Attempt::Unschedulable, began.elapsed(), None);
                    this.evict(&pod, &victims).await;
                    this.tell_unschedulable(&pod, &message).await;
                }
            }
            drop(permit);
        });
        true
    }

    async fn bind(&self, pod: &Cached<PodView>, node: &Arc<str>) -> Attempt {
        let PodView::Pending(pending) = &pod.object else {
            return Attempt::Error;
        };
        match write::bind(&self.client, &pod.key, &pod.uid, node).await {
            Ok(()) => {
                tracing::info!(pod = %pod.key, uid = %pod.uid, %node, "pod bound");
                write::tell_scheduled(&self.recorder, &pending.reference, &pod.key, node);
                Attempt::Scheduled
            }
            Err(error) => {
                // A bound or deleted pod's own event says so; otherwise it is tried again.
                tracing::warn!(pod = %pod.key, %node, %error, "pod not bound, retrying");
                let mut state = self.state();
                let unchanged = self
                    .pods
                    .store()
                    .get(&pod.key)
                    .is_some_and(|now| now.uid == pod.uid && matches!(now.object, PodView::Pending(_)));
                if unchanged {
                    state.cluster.release(&pod.key);
                    state.queue.retry(&pod.key, Instant::now());
                    drop(state);
                    self.changed.notify_one();
                }
                Attempt::Error
            }
        }
    }

    /// Makes room. When the victims are gone their events bring the pod back.
    async fn evict(&self, pod: &Cached<PodView>, preemption: &Preemption) {
        let node = &preemption.node;
        if let Err(error) = write::nominate(&self.client, &pod.key, &pod.uid, node).await {
            tracing::debug!(pod = %pod.key, %error, "nominated node not written");
        }
        for (victim, uid) in &preemption.victims {
            match write::evict(&self.client, victim, uid).await {
                Ok(()) => {
                    tracing::info!(%victim, uid = %uid, pod = %pod.key, %node, "preempted for a pod of higher priority");
                    write::tell_preempted(&self.recorder, victim, uid, &pod.uid, node);
                }
                Err(error) => tracing::warn!(%victim, %node, %error, "pod not preempted"),
            }
        }
    }

    async fn tell_unschedulable(&self, pod: &Cached<PodView>, message: &str) {
        let PodView::Pending(pending) = &pod.object else {
            return;
        };
        write::tell_failed(&self.recorder, &pending.reference, message);
        let told = pending
            .told
            .as_ref()
            .map(|(reason, message)| (reason.as_str(), message.as_str()));
        if told == Some(("Unschedulable", message)) {
            return;
        }
        tracing::info!(pod = %pod.key, uid = %pod.uid, "pod fits nowhere: {message}");
        if let Err(error) = write::condition(&self.client, &pod.key, &pod.uid, "Unschedulable", message).await
        {
            tracing::debug!(pod = %pod.key, %error, "condition not written");
        }
    }
}

/// What is to be written about a pod.
enum Next {
    Bind(Arc<str>),
    Tell(String),
    Evict(Preemption, String),
}

fn holder(pod: &Cached<PodView>, pending: &Pending) -> Holder {
    Holder {
        uid: pod.uid.clone(),
        priority: pending.spec.priority.unwrap_or(0),
        terminating: false,
        takes: Takes {
            requested: orlop_api::pod::resource_requests(&pending.spec),
            ports: orlop_api::pod::host_ports(&pending.spec),
        },
    }
}
