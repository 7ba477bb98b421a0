//! The scheduling loop and what feeds it.

mod attempt;
mod bind;
mod feed;
pub mod queue;
mod room;
#[cfg(test)]
mod testing;
mod unplaced;
mod write;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Api;
use kube::runtime::watcher;
use orlop_client::Readiness;
use orlop_client::events::ActionRecorder;
use orlop_client::informer::{Informer, ObjectKey};
use orlop_metrics::PartMetrics;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::extender::Extenders;
use crate::known::capacity::{CapacityView, DriverView};
use crate::known::cluster::Cluster;
use crate::known::csi::CsiNodeView;
use crate::known::services::ServiceView;
use crate::known::view::{NodeView, Pending, PodView};
use crate::known::volumes::{ClaimView, ClassView, VolumeView};
use crate::known::world::{BudgetView, NamespaceView, World};
use crate::metrics::Metrics;
use crate::profile::{Options, Profile};

use queue::Queue;

/// Bindings and conditions being written at the same time: enough to keep the server busy, few
/// enough not to swamp it; each takes a connection with its buffers.
const WRITES_MAX: usize = 32;

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
    services: Informer<ServiceView>,
    claims: Informer<ClaimView>,
    volumes: Informer<VolumeView>,
    classes: Informer<ClassView>,
    csi_nodes: Informer<CsiNodeView>,
    drivers: Informer<DriverView>,
    capacities: Informer<CapacityView>,
    world: World,
    state: Mutex<State>,
    /// A pod may have become active.
    changed: Notify,
    /// There is a driver that tells how much room it has.
    room_is_told: Notify,
    /// A claim may have been bound, or won't be.
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
    let scheduler = Arc::new(Scheduler::new(&client, options, extenders, &part));
    macro_rules! feed {
        ($field:ident, $to:expr) => {
            let on = Arc::downgrade(&scheduler);
            scheduler.$field.on_change(move |change| {
                if let Some(scheduler) = on.upgrade() {
                    $to(&scheduler, change);
                }
            });
        };
    }
    feed!(pods, Scheduler::pod);
    feed!(nodes, Scheduler::node);
    feed!(namespaces, Scheduler::namespace);
    feed!(volumes, Scheduler::volume);
    feed!(claims, Scheduler::claim);
    feed!(classes, Scheduler::class);
    feed!(csi_nodes, Scheduler::csi_node);
    feed!(drivers, Scheduler::driver);
    feed!(capacities, Scheduler::capacity);

    options.resources.are_of(scheduler.pods.store());

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
    watch!(services);
    watch!(claims);
    watch!(volumes);
    watch!(classes);
    watch!(csi_nodes);
    watch!(drivers);
    let (this, api) = (scheduler.clone(), Api::all(client.clone()));
    tasks.spawn(async move {
        // Most clusters have nobody who tells that.
        this.room_is_told.notified().await;
        this.capacities.run(api, watcher::Config::default()).await;
    });
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
    /// One that has seen nothing yet.
    fn new(client: &kube::Client, options: &Options, extenders: Extenders, part: &PartMetrics) -> Self {
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let (namespaces, budgets, services) = (Informer::new(), Informer::new(), Informer::new());
        let (claims, volumes, classes) = (Informer::new(), Informer::new(), Informer::new());
        let (csi_nodes, drivers, capacities) = (Informer::new(), Informer::new(), Informer::new());
        let world = World {
            namespaces: namespaces.store().clone(),
            budgets: budgets.store().clone(),
            services: services.store().clone(),
            claims: claims.store().clone(),
            volumes: volumes.store().clone(),
            classes: classes.store().clone(),
            csi_nodes: csi_nodes.store().clone(),
            drivers: drivers.store().clone(),
            capacities: capacities.store().clone(),
            ..World::default()
        };
        Self {
            profiles: profiles(client, options, &host),
            extenders,
            client: client.clone(),
            metrics: Metrics::new(part),
            pods: Informer::new(),
            nodes: Informer::new(),
            namespaces,
            budgets,
            services,
            claims,
            volumes,
            classes,
            csi_nodes,
            drivers,
            capacities,
            world,
            state: Mutex::new(State {
                cluster: Cluster::default(),
                queue: Queue::new(options.backoff_min, options.backoff_max),
                gated: HashSet::new(),
            }),
            changed: Notify::new(),
            room_is_told: Notify::new(),
            claims_changed: watch::Sender::new(()),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
        }
    }

    async fn synced(&self) {
        tokio::join!(
            self.pods.synced(),
            self.nodes.synced(),
            self.namespaces.synced(),
            self.budgets.synced(),
            self.services.synced(),
            self.claims.synced(),
            self.volumes.synced(),
            self.classes.synced(),
            self.csi_nodes.synced(),
            self.drivers.synced(),
        );
        self.room_is_seen().await;
    }

    /// Ends when it is known how much room drivers have, if any of those that are known tells that.
    async fn room_is_seen(&self) {
        let mut is_told = false;
        self.drivers
            .store()
            .for_each(|driver| is_told |= driver.tells_room);
        if is_told {
            self.capacities.synced().await;
        }
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
}

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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::FutureExt;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::run::testing::scheduler;

    #[tokio::test]
    async fn pods_are_placed_once_it_is_known_how_much_room_there_is_if_somebody_tells() {
        let scheduler = scheduler().await;
        assert!(scheduler.room_is_seen().now_or_never().is_some(), "nobody tells");
        let driver = json!({"metadata": {"name": "d"}, "spec": {"storageCapacity": true}});
        scheduler
            .drivers
            .store()
            .apply(serde_json::from_value(driver).unwrap());
        assert!(scheduler.room_is_seen().now_or_never().is_none());
        let service = tower::service_fn(|_: Request<Body>| async {
            let list = json!({"kind": "CSIStorageCapacityList", "apiVersion": "storage.k8s.io/v1",
                "metadata": {"resourceVersion": "1"}, "items": []});
            Ok::<_, Infallible>(Response::new(Body::from(list.to_string().into_bytes())))
        });
        let api = Api::all(orlop_client::in_process(service));
        let room = scheduler.capacities.run(api, watcher::Config::default());
        tokio::select! {
            () = room => unreachable!("it is watched for ever"),
            () = scheduler.room_is_seen() => {}
        }
    }
}
