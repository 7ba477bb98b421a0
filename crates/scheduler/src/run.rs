//! The scheduling loop and what feeds it.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Api;
use kube::runtime::watcher;
use orlop_client::Readiness;
use orlop_client::events::ActionRecorder;
use orlop_client::informer::{Cached, Change, Informer, ObjectKey};
use orlop_metrics::PartMetrics;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::decide::{Decision, Survey, fits, survey};
use crate::extender::Extenders;
use crate::metrics::{Attempt, Metrics};
use crate::preempt::{Outcome, Preemption, preempt};
use crate::profile::{Options, Profile};
use crate::queue::Queue;
use crate::view::{NodeView, Pending, PodView};
use crate::volumes::{ClaimView, ClassView, Met, VolumeView, Volumes};
use crate::world::{BudgetView, NamespaceView, World};
use crate::write;

/// Bindings and conditions being written at the same time: enough to keep the server busy, few
/// enough not to swamp it; each takes a connection with its buffers.
const WRITES_MAX: usize = 32;

/// How long a pod's claims may take to be bound before another node is tried.
const CLAIMS_BOUND_MAX: Duration = Duration::from_secs(600);

/// Why a pod wasn't bound. Users know these texts.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("running Bind plugin \"DefaultBinder\": {}", orlop_client::message(.0))]
    Binding(kube::Error),
    #[error("running PreBind plugin \"VolumeBinding\": {}", orlop_client::message(.0))]
    Claims(kube::Error),
    #[error("{0}")]
    Extender(String),
    #[error("running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded")]
    ClaimsUnbound,
}

/// Why the scheduler stopped although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// One who has a word in it can't even be called.
    #[error("the scheduler's configuration: {0}")]
    Extender(String),
    /// A bug: one of the tasks panicked or ended.
    #[error("the scheduler stopped by itself: {0}; please report it with the log above")]
    Stopped(String),
}

struct Scheduler {
    client: kube::Client,
    metrics: Metrics,
    /// How pods are placed and who tells of them, by the schedulerName of those that are ours.
    profiles: BTreeMap<String, (Profile, ActionRecorder)>,
    extenders: Extenders,
    pods: Informer<PodView>,
    nodes: Informer<NodeView>,
    namespaces: Informer<NamespaceView>,
    budgets: Informer<BudgetView>,
    claims: Informer<ClaimView>,
    volumes: Informer<VolumeView>,
    classes: Informer<ClassView>,
    world: World,
    state: Mutex<State>,
    /// A pod may have become active.
    changed: Notify,
    /// A claim may have been bound.
    claims_changed: watch::Sender<()>,
    writes: Arc<Semaphore>,
}

struct State {
    cluster: Cluster,
    queue: Queue,
    /// Pods that are not to be scheduled yet.
    gated: HashSet<ObjectKey>,
}

/// Schedules pods until `shutdown` is cancelled. Needs a tokio runtime; an API server that can't be
/// reached yet is waited for.
pub async fn run(client: kube::Client, shutdown: CancellationToken) -> Result<(), SchedulerError> {
    let part = Arc::new(PartMetrics::new(""));
    run_measured(client, &Options::default(), part, &Readiness::default(), shutdown).await
}

/// The same by these options, counted among `part`. `readiness` tells whether it has seen the whole cluster.
pub async fn run_measured(
    client: kube::Client,
    options: &Options,
    part: Arc<PartMetrics>,
    readiness: &Readiness,
    shutdown: CancellationToken,
) -> Result<(), SchedulerError> {
    readiness.reading();
    let extenders = Extenders::connect(&options.extenders).await;
    let extenders = extenders.map_err(SchedulerError::Extender)?;
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let (namespaces, budgets) = (Informer::new(), Informer::new());
    let (claims, volumes, classes) = (Informer::new(), Informer::new(), Informer::new());
    let world = World {
        namespaces: namespaces.store().clone(),
        budgets: budgets.store().clone(),
        claims: claims.store().clone(),
        volumes: volumes.store().clone(),
        classes: classes.store().clone(),
        ..World::default()
    };
    let scheduler = Arc::new(Scheduler {
        profiles: profiles(&client, options, &host),
        extenders,
        client: client.clone(),
        metrics: Metrics::new(&part),
        pods: Informer::new(),
        nodes: Informer::new(),
        namespaces,
        budgets,
        claims,
        volumes,
        classes,
        world,
        state: Mutex::new(State {
            cluster: Cluster::default(),
            queue: Queue::new(options.backoff_min, options.backoff_max),
            gated: HashSet::new(),
        }),
        changed: Notify::new(),
        claims_changed: watch::Sender::new(()),
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

    let on = Arc::downgrade(&scheduler);
    scheduler.namespaces.on_change(move |change| {
        if let Some(scheduler) = on.upgrade() {
            scheduler.namespace(change);
        }
    });
    let on = Arc::downgrade(&scheduler);
    scheduler.volumes.on_change(move |change| {
        if let Some(scheduler) = on.upgrade() {
            scheduler.volume(change);
        }
    });
    let on = Arc::downgrade(&scheduler);
    scheduler.claims.on_change(move |_| {
        if let Some(scheduler) = on.upgrade() {
            scheduler.volumes_changed();
        }
    });
    let on = Arc::downgrade(&scheduler);
    scheduler.classes.on_change(move |_| {
        if let Some(scheduler) = on.upgrade() {
            scheduler.volumes_changed();
        }
    });

    // Dropped, and so aborted, on every way out.
    let mut tasks = JoinSet::new();
    macro_rules! watch {
        ($field:ident) => {
            let (this, api) = (scheduler.clone(), Api::all(client.clone()));
            tasks.spawn(async move { this.$field.run(api, watcher::Config::default()).await });
        };
    }
    watch!(pods);
    watch!(nodes);
    watch!(namespaces);
    watch!(budgets);
    watch!(claims);
    watch!(volumes);
    watch!(classes);
    tasks.spawn(scheduler.extenders.clone().run(client.clone()));
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = scheduler.synced() => {}
    }
    readiness.read();
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
    async fn synced(&self) {
        tokio::join!(
            self.pods.synced(),
            self.nodes.synced(),
            self.namespaces.synced(),
            self.budgets.synced(),
            self.claims.synced(),
            self.volumes.synced(),
            self.classes.synced(),
        );
    }

    /// Who tells of a pod; nobody if it waits for another scheduler.
    fn recorder(&self, pending: &Pending) -> Option<&ActionRecorder> {
        self.profiles
            .get(&*pending.scheduler)
            .map(|(_, recorder)| recorder)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pod(&self, change: &Change<PodView>) {
        let now = Instant::now();
        let mut state = self.state();
        let key = &change.latest().key;
        // The loop counts them when it is awake.
        let regated = match change.new.as_ref().map(|pod| &pod.object) {
            Some(PodView::Gated) => state.gated.insert(key.clone()),
            _ => state.gated.remove(key),
        };
        if let Some(pod) = &change.new
            && let Some((node, holder)) = pod.holder(&pod.uid)
        {
            state.queue.forget(key);
            state.cluster.nominate(key, None);
            // One pod more helps only those who wait for company, one that takes less all.
            let old = change.old.as_ref().map(|old| &old.object);
            let resized =
                matches!(old, Some(PodView::Bound { takes: before, .. }) if *before != holder.takes);
            state.cluster.hold(key, node, holder);
            if resized {
                state.queue.happened_on(node, now);
            }
            if !state.queue.happened_to_a_pod(now) && !resized && !regated {
                return;
            }
        } else if let Some(PodView::Pending(pending)) = change.new.as_ref().map(|pod| &pod.object)
            && self.recorder(pending).is_some()
        {
            // Its own condition changing is no reason to try again.
            let same = change.old.as_ref().is_some_and(|old| {
                matches!(&old.object, PodView::Pending(old)
                        if old.spec == pending.spec && old.traits == pending.traits)
            });
            let nominee = pending.nominated.clone().map(|node| (node, pending.nominee()));
            state.cluster.nominate(key, nominee);
            if !same {
                let rules = self
                    .profiles
                    .get(&*pending.scheduler)
                    .map(|(profile, _)| &profile.rules);
                let minds = pending.traits.minds_company()
                    || !pending.claims.is_empty()
                    || rules.is_some_and(|rules| rules.minds_copies(pending));
                state
                    .queue
                    .put(key, pending.priority(), pending.confined_to.clone(), minds, now);
            }
        } else {
            state.queue.forget(key);
            let nominated = state.cluster.nominate(key, None);
            match state.cluster.release(key).or(nominated) {
                Some(node) => {
                    state.queue.happened_on(&node, now);
                    state.queue.happened_to_a_pod(now);
                }
                None if regated => {}
                None => return,
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Rules about other pods may name namespaces by their labels.
    fn namespace(&self, change: &Change<NamespaceView>) {
        let relabelled = match (&change.old, &change.new) {
            (Some(old), Some(new)) => old.labels != new.labels,
            _ => true,
        };
        if relabelled && self.state().queue.happened_to_a_pod(Instant::now()) {
            self.changed.notify_one();
        }
    }

    fn volume(&self, change: &Change<VolumeView>) {
        // What was promised is seen now, or was in vain.
        if change.new.as_ref().is_none_or(|volume| volume.is_claimed()) {
            self.world.forget_promise(&change.latest().key.name);
        }
        self.volumes_changed();
    }

    fn volumes_changed(&self) {
        self.claims_changed.send_replace(());
        if self.state().queue.happened_to_a_pod(Instant::now()) {
            self.changed.notify_one();
        }
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
                self.metrics.waiting(state.queue.lengths(), state.gated.len());
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
        let Some((profile, _)) = self.profiles.get(&*pending.scheduler) else {
            self.state().queue.forget(&key);
            return true;
        };
        let began = Instant::now();
        let extenders = self.extenders.minding(pending);
        let asked = match extenders.is_empty() {
            true => None,
            false => match self.ask_about(&extenders, &key, pending, profile).await {
                None => return true,
                asked => asked,
            },
        };
        let outcome = {
            let mut state = self.state();
            if state.cluster.has_place(&key) {
                // It changed while it was being bound; what comes of that brings it back if need be.
                return true;
            }
            let seen = match asked {
                None => {
                    let first = pending.nominated.as_ref();
                    Ok(survey(
                        &key,
                        pending,
                        first,
                        &mut state.cluster,
                        &self.world,
                        profile,
                    ))
                }
                Some(asked) => asked,
            };
            match seen.map(Survey::decide) {
                Err(error) => {
                    state.queue.retry(&key, Instant::now());
                    Next::Fail(error)
                }
                // Things have changed while others were asked.
                Ok(Decision::Bind(node))
                    if !extenders.is_empty()
                        && !fits(
                            &key,
                            pending,
                            &mut state.cluster,
                            &self.world,
                            &profile.rules,
                            &node,
                        ) =>
                {
                    state.queue.retry(&key, Instant::now());
                    return true;
                }
                Ok(Decision::Bind(node)) => {
                    // Assumed before it is written, so that the next pod sees what is left.
                    let met = self.meet_claims(&key, pending, &mut state.cluster, &node);
                    state.cluster.hold(&key, &node, pending.holder(pod.uid.clone()));
                    let (tried, since) = state.queue.past(&key).unwrap_or((0, began));
                    Next::Bind {
                        node,
                        met,
                        attempts: tried + 1,
                        since,
                    }
                }
                Ok(Decision::Unschedulable(refusals)) => {
                    state.queue.unschedulable(&key, Instant::now());
                    let outcome = preempt(&key, pending, &mut state.cluster, &self.world, &profile.rules);
                    match &outcome {
                        Outcome::NotEligible(_) => {}
                        Outcome::Impossible => self.metrics.preempted(None),
                        Outcome::Evict(found) => self.metrics.preempted(Some(found.victims.len())),
                    }
                    match outcome {
                        Outcome::Impossible => {
                            // Room that was made for it was in vain.
                            state.cluster.nominate(&key, None);
                            Next::Tell {
                                message: refusals.message(),
                                forget_room: pending.nominated.is_some(),
                            }
                        }
                        Outcome::NotEligible(why) => Next::Tell {
                            message: refusals.not_eligible(why),
                            forget_room: false,
                        },
                        Outcome::Evict(victims) => {
                            let nominee = (victims.node.clone(), pending.nominee());
                            state.cluster.nominate(&key, Some(nominee));
                            for pod in &victims.displaced {
                                state.cluster.nominate(pod, None);
                            }
                            Next::Evict(victims, refusals.without_preemption())
                        }
                    }
                }
            }
        };
        self.metrics.decided(began.elapsed());
        // A closed semaphore can't happen; then writing without a permit is still right.
        let mut permit = self.writes.clone().acquire_owned().await.ok();
        let this = self.clone();
        tokio::spawn(async move {
            let PodView::Pending(pending) = &pod.object else {
                return;
            };
            let ended = |attempt, binding| {
                let whole = began.elapsed();
                this.metrics.ended(&pending.scheduler, attempt, whole, binding);
            };
            match outcome {
                Next::Bind {
                    node,
                    met,
                    attempts,
                    since,
                } => {
                    let binding = Instant::now();
                    if !met.is_empty() {
                        // This may take as long as a volume takes to be made.
                        permit = None;
                    }
                    let attempt = this.bind(&pod, pending, &node, &met).await;
                    if attempt == Attempt::Scheduled {
                        this.metrics.placed(attempts, since.elapsed());
                    }
                    ended(attempt, Some(binding.elapsed()));
                }
                Next::Fail(error) => {
                    ended(Attempt::Error, None);
                    this.tell_unplaced(&pod, pending, SCHEDULER_ERROR, &error).await;
                }
                Next::Tell { message, forget_room } => {
                    ended(Attempt::Unschedulable, None);
                    if forget_room {
                        this.forget_room(&pod.key, &pod.uid).await;
                    }
                    this.tell_unplaced(&pod, pending, UNSCHEDULABLE, &message).await;
                }
                Next::Evict(victims, message) => {
                    ended(Attempt::Unschedulable, None);
                    this.evict(&pod, pending, &victims).await;
                    this.tell_unplaced(&pod, pending, UNSCHEDULABLE, &message).await;
                }
            }
            drop(permit);
        });
        true
    }

    /// What we and others think of the nodes for a pod, unless it has one by now.
    async fn ask_about(
        &self,
        extenders: &Extenders,
        key: &ObjectKey,
        pod: &Pending,
        profile: &Profile,
    ) -> Option<Result<Survey, String>> {
        let mut first = pod.nominated.as_ref();
        loop {
            let seen = {
                let mut state = self.state();
                if state.cluster.has_place(key) {
                    return None;
                }
                survey(key, pod, first, &mut state.cluster, &self.world, profile)
            };
            let is_all = first.is_none() || seen.nodes.first().map(|(name, _)| name) != first;
            let asked = self.ask(extenders, key, seen).await;
            // Where room was made for it, others may not want it: then all nodes are looked at.
            if is_all || asked.as_ref().map_or(true, |asked| !asked.nodes.is_empty()) {
                return Some(asked);
            }
            first = None;
        }
    }

    /// What others leave of the nodes. The next pod waits for it.
    async fn ask(&self, extenders: &Extenders, pod: &ObjectKey, seen: Survey) -> Result<Survey, String> {
        let Survey { nodes, mut refusals } = seen;
        let verdict = extenders.judge(&self.client, pod, nodes).await?;
        for (why, helps) in &verdict.refused {
            refusals.add_foreign(why, *helps);
        }
        Ok(Survey {
            nodes: verdict.nodes,
            refusals,
        })
    }

    /// Decides how the pod's claims are met on the node, and promises the volumes.
    fn meet_claims(&self, key: &ObjectKey, pod: &Pending, cluster: &mut Cluster, node: &str) -> Vec<Met> {
        let Ok(Some(volumes)) = Volumes::of(key, pod, &self.world) else {
            return Vec::new();
        };
        let candidate = cluster.candidate(node);
        let met = candidate.and_then(|candidate| volumes.choose(candidate.node));
        let met = met.unwrap_or_default();
        for met in &met {
            if let Met::By { claim, volume, .. } = met {
                self.world.promise(volume.clone(), claim.clone());
            }
        }
        met
    }

    /// Writes what was decided about claims, and waits until they are bound.
    async fn bind_claims(&self, node: &str, met: &[Met]) -> Result<(), BindError> {
        for met in met {
            match met {
                Met::By { claim, uid, volume } => {
                    write::promise_volume(&self.client, volume, claim, uid).await
                }
                Met::Made { claim, uid } => write::select_node(&self.client, claim, uid, Some(node)).await,
            }
            .map_err(BindError::Claims)?;
        }
        let mut changed = self.claims_changed.subscribe();
        let all_bound = async {
            for met in met {
                let (Met::By { claim, .. } | Met::Made { claim, .. }) = met;
                let is_bound = || {
                    let found = self.claims.store().get(claim);
                    found.is_some_and(|found| found.volume.is_some())
                };
                while !is_bound() {
                    // The sender lives as long as we do.
                    let _ = changed.changed().await;
                }
            }
        };
        tokio::time::timeout(CLAIMS_BOUND_MAX, all_bound)
            .await
            .map_err(|_| BindError::ClaimsUnbound)
    }

    async fn write_binding(
        &self,
        pod: &Cached<PodView>,
        pending: &Pending,
        node: &Arc<str>,
        met: &[Met],
    ) -> Result<(), BindError> {
        if !met.is_empty() {
            // Whoever provides nodes and volumes may want to know before it is bound.
            if let Err(error) = write::nominate(&self.client, &pod.key, &pod.uid, node).await {
                tracing::debug!(pod = %pod.key, %error, "nominated node not written");
            }
            self.bind_claims(node, met).await?;
        }
        let extenders = self.extenders.minding(pending);
        if extenders
            .bind(&pod.key, &pod.uid, node)
            .await
            .map_err(BindError::Extender)?
        {
            return Ok(());
        }
        write::bind(&self.client, &pod.key, &pod.uid, node)
            .await
            .map_err(BindError::Binding)
    }

    async fn bind(&self, pod: &Cached<PodView>, pending: &Pending, node: &Arc<str>, met: &[Met]) -> Attempt {
        let error = match self.write_binding(pod, pending, node, met).await {
            Ok(()) => {
                tracing::info!(pod = %pod.key, uid = %pod.uid, %node, "pod bound");
                if let Some(recorder) = self.recorder(pending) {
                    write::tell_scheduled(recorder, &pending.reference, &pod.key, node);
                }
                return Attempt::Scheduled;
            }
            Err(error) => error,
        };
        // A bound or deleted pod's own event says so; otherwise it is tried again.
        tracing::warn!(pod = %pod.key, %node, %error, "pod not bound, retrying");
        for met in met {
            if let Met::By { volume, .. } = met {
                self.world.forget_promise(volume);
            }
        }
        if self.take_back(pod, node) {
            if !met.is_empty() || pending.nominated.is_some() {
                self.forget_room(&pod.key, &pod.uid).await;
            }
            self.tell_unplaced(pod, pending, SCHEDULER_ERROR, &error.to_string())
                .await;
        }
        Attempt::Error
    }

    /// The pod doesn't hold its part of the node after all, if it still waits; whether it does. Of one that is bound all the
    /// same, or gone, its own event tells, and what that says stays.
    fn take_back(&self, pod: &Cached<PodView>, node: &Arc<str>) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        // Under the lock: an event that is seen from here on is told of after this.
        let known = self.pods.store().get(&pod.key);
        if !known.is_some_and(|known| known.uid == pod.uid && matches!(known.object, PodView::Pending(_))) {
            return false;
        }
        state.cluster.release(&pod.key);
        state.cluster.nominate(&pod.key, None);
        // Others may have waited for what it would have taken.
        state.queue.happened_on(node, now);
        state.queue.retry(&pod.key, now);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Makes room. When the victims are gone their events bring the pod back.
    async fn evict(&self, pod: &Cached<PodView>, pending: &Pending, preemption: &Preemption) {
        let node = &preemption.node;
        if let Err(error) = write::nominate(&self.client, &pod.key, &pod.uid, node).await {
            tracing::debug!(pod = %pod.key, %error, "nominated node not written");
        }
        for displaced in &preemption.displaced {
            if let Some(pod) = self.pods.store().get(displaced) {
                self.forget_room(&pod.key, &pod.uid).await;
            }
        }
        for (victim, uid) in &preemption.victims {
            let known = self.pods.store().get(victim).filter(|known| known.uid == *uid);
            let generation = match known.as_ref().map(|known| &known.object) {
                // It goes already.
                Some(PodView::Bound {
                    terminating: true, ..
                }) => continue,
                Some(PodView::Bound { generation, .. }) => *generation,
                _ => None,
            };
            match write::evict(&self.client, victim, uid, generation, &pending.scheduler).await {
                Ok(()) => {
                    tracing::info!(%victim, uid = %uid, pod = %pod.key, %node, "preempted for a pod of higher priority");
                    if let Some(recorder) = self.recorder(pending) {
                        write::tell_preempted(recorder, victim, uid, &pending.reference, node);
                    }
                }
                Err(error) => tracing::warn!(%victim, %node, %error, "pod not preempted"),
            }
        }
    }

    /// No room is made for the pod any more.
    async fn forget_room(&self, pod: &ObjectKey, uid: &str) {
        if let Err(error) = write::nominate(&self.client, pod, uid, "").await {
            tracing::debug!(%pod, %error, "nominated node not taken back");
        }
    }

    /// Tells why the pod has no node.
    async fn tell_unplaced(
        &self,
        pod: &Cached<PodView>,
        pending: &Pending,
        reason: &'static str,
        message: &str,
    ) {
        if let Some(recorder) = self.recorder(pending) {
            write::tell_failed(recorder, &pending.reference, message);
        }
        let told = pending
            .told
            .as_ref()
            .map(|(reason, message)| (reason.as_str(), message.as_str()));
        if told == Some((reason, message)) {
            return;
        }
        tracing::info!(pod = %pod.key, uid = %pod.uid, reason, "pod has no node: {message}");
        let why = write::Why {
            reason,
            message,
            generation: pending.generation,
        };
        if let Err(error) = write::condition(&self.client, &pod.key, &pod.uid, why).await {
            tracing::debug!(pod = %pod.key, %error, "condition not written");
        }
    }
}

/// Reasons of condition PodScheduled.
const UNSCHEDULABLE: &str = "Unschedulable";
const SCHEDULER_ERROR: &str = "SchedulerError";

fn profiles(
    client: &kube::Client,
    options: &Options,
    host: &str,
) -> BTreeMap<String, (Profile, ActionRecorder)> {
    let managed = options.extenders.iter().flat_map(|extender| &extender.resources);
    let foreign = managed.filter(|resource| resource.is_only_its);
    let foreign: Vec<String> = foreign.map(|resource| resource.name.clone()).collect();
    let of = |profile: &Profile| {
        let recorder = ActionRecorder::new(client.clone(), &profile.name, host);
        let mut profile = profile.clone();
        // Whether there is enough of these is others' business alone.
        profile.rules.ignored.extend(foreign.iter().cloned());
        (profile.name.clone(), (profile, recorder))
    };
    options.profiles.iter().map(of).collect()
}

/// What is to be written about a pod.
enum Next {
    Bind {
        node: Arc<str>,
        met: Vec<Met>,
        /// How many attempts it took, this one included.
        attempts: u32,
        /// When the pod came.
        since: Instant,
    },
    /// It could not be decided.
    Fail(String),
    Tell {
        message: String,
        /// A node that was nominated isn't any more.
        forget_room: bool,
    },
    Evict(Preemption, String),
}
