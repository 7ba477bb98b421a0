//! Puts the agent's tasks together.
pub mod directories;

use crate::config::KubeletConfiguration;
use crate::environment::local::LocalObjects;
use crate::images::{Access, Providers, PullRate};
use crate::metrics::{Manifest, Metrics};
use crate::mirror::Refusals;
use crate::node;
use crate::node::state::State;
use crate::pods::admission::node_of_machine;
use crate::pods::agent::{Agent, Settings};
use crate::pods::manager::{Inputs, Manager};
use crate::pods::owners::Owners;
use crate::pods::surroundings::Surroundings;
use crate::pods::turns::Turns;
use crate::pods::users::Users;
use crate::pods::{Orders, PodsHandle};
use crate::runtime::container::thermal_throttles;
use crate::runtime::{events, read::read_all};
use crate::sources::fault::Fault;
use crate::sources::report::{ReportBoard, Reports};
use crate::sources::{self, SNAPSHOTS_WAITING_MAX, Source, file, http};
use crate::status::{self, Board};
use futures::FutureExt;
use futures::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use orlop_client::events::{EventType, Recorder, node_reference};
use orlop_cri::events::Notice;
use orlop_cri::images::Archives;
use orlop_cri::{CriError, RuntimeService};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Faults of manifests that may wait for the log: reading stops until they are told.
const FAULTS_WAITING_MAX: usize = 16;
/// Wait before the runtime is asked again that did not answer at start.
const RUNTIME_RETRY_AFTER: Duration = Duration::from_millis(200);
/// Attempts before the start is given up: five seconds, after which somebody should look at the runtime.
const RUNTIME_TRIES_MAX: usize = 25;

/// What an agent is started with.
pub struct Config {
    /// This node's name: lower case.
    pub node_name: String,
    /// KubeletConfiguration, paths resolved.
    pub configuration: KubeletConfiguration,
    /// The API server; `None`: standalone.
    pub client: Option<kube::Client>,
    /// What is counted; the calls of the client are already.
    pub metrics: Metrics,
    /// The runtime.
    pub runtime: Arc<dyn RuntimeService>,
    /// Its name for itself (`containerd`), the scheme of container ids.
    pub runtime_name: String,
    /// Where it listens, if that is on this machine: its own use is measured by it.
    pub runtime_socket: Option<PathBuf>,
    /// What it tells ([`orlop_cri::events::subscribe`]).
    pub notices: BoxStream<'static, Notice>,
    /// `--root-dir`, `/var/lib/kubelet`.
    pub root_dir: PathBuf,
    /// `/var/log/containers`.
    pub container_logs_dir: PathBuf,
    /// Where commands on this node ask what became of manifests; `None`: nowhere.
    pub control_socket: Option<PathBuf>,
    /// `--node-labels`.
    pub node_labels: BTreeMap<String, String>,
    /// The node's addresses, the preferred one first.
    pub node_ips: Vec<std::net::IpAddr>,
    /// The port under which the API server answers on the node's addresses, if it runs here: containers are led there
    /// and need no service proxy to find it.
    pub api_server_port: Option<u16>,
    /// Programs that are asked how to log in to registries.
    pub credential_providers: Option<Arc<Providers>>,
    /// Where images lie that need no registry.
    pub archives: Option<Arc<dyn Archives>>,
    /// What the node asks of the pod manager; who holds a clone can ask whether it answers.
    pub orders: Orders,
}

/// What the agent's parts share with those that ask it.
#[derive(Clone, Default)]
pub struct Shared {
    /// The pods as they are.
    pub pods: PodsHandle,
    /// What is counted.
    pub metrics: Metrics,
    /// What the node wants of pods.
    pub orders: Orders,
    /// What the node is going through.
    pub state: State,
    /// What became of manifests.
    pub reports: ReportBoard,
    /// Mirrors that the API server does not take.
    pub refusals: Refusals,
    /// Who may use which image.
    pub images: Arc<Access>,
    /// ConfigMaps and Secrets that lie on the node, if static pods may use them.
    pub local: Option<LocalObjects>,
}

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The runtime doesn't list its pods.
    #[error(
        "the container runtime does not answer ({0}): check that it runs and that its CRI plugin is enabled"
    )]
    Runtime(#[source] CriError),
    /// `staticPodURL` or its headers.
    #[error(transparent)]
    ManifestUrl(#[from] http::UrlError),
    /// A directory can't be made.
    #[error("cannot create {}: {source}", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs an agent whose pods get what they need besides the runtime from `surroundings`, until `shutdown`. Containers
/// go on running.
pub async fn run_with(
    config: Config,
    surroundings: Arc<dyn Surroundings>,
    shared: Shared,
    node: node::Snapshot,
    shutdown: CancellationToken,
) -> Result<(), KubeletError> {
    let Config {
        node_name,
        configuration,
        client,
        runtime,
        runtime_name,
        notices,
        ..
    } = config;
    let (pods, metrics) = (shared.pods, shared.metrics);
    directories::make(&config.root_dir)?;
    let turns = Turns::of(std::thread::available_parallelism().map_or(1, usize::from));
    let recorder = match &client {
        Some(client) => {
            let turns = turns.clone();
            let patience = move || {
                let turns = turns.clone();
                async move { turns.rush_over().await }.boxed()
            };
            Recorder::patient(client.clone(), "kubelet", Some(&node_name), patience)
        }
        None => Recorder::disabled(),
    };
    let pulls = if configuration.serialize_image_pulls {
        1
    } else {
        Semaphore::MAX_PERMITS
    };
    let pulls = configuration
        .max_parallel_image_pulls
        .map_or(pulls, |pulls| usize::try_from(pulls.max(1)).unwrap_or(1));
    let seen = first_listing(&*runtime).await?;
    let features = runtime
        .status(false)
        .await
        .ok()
        .and_then(|answer| answer.features);
    let (ended, workers_ended) = mpsc::unbounded_channel();
    let board = Board::new(client.is_some());
    board.set_node(node.borrow().clone());
    let host_ips = node::one_of_each_family(&config.node_ips);
    let host_ips = host_ips.iter().map(ToString::to_string);
    let agent = Arc::new(Agent {
        runtime: runtime.clone(),
        runtime_name,
        settings: Settings {
            node_name: node_name.clone(),
            root: config.root_dir.clone(),
            pod_logs: PathBuf::from(&configuration.pod_logs_dir),
            container_logs: config.container_logs_dir,
            allowed_sysctls: configuration.allowed_unsafe_sysctls.clone(),
            dead_containers: configuration.dead_containers,
            seccomp_default: configuration.seccomp_default,
            has_strict_groups: features.is_some_and(|features| features.supplemental_groups_policy),
            thermal_throttles: thermal_throttles(std::path::Path::new("/sys/devices/system/cpu")),
            restart_backoff_max: signed(configuration.crash_loop_back_off.max_container_restart_period.0),
            cluster_domain: configuration.cluster_domain.clone(),
            sync_frequency: signed(configuration.sync_frequency.0),
            // Without an API server nothing fills in the node's addresses (contract, static pods §8.2).
            host_ips: if client.is_some() {
                host_ips.collect()
            } else {
                Vec::new()
            },
            began: Timestamp::now(),
        },
        recorder: recorder.clone(),
        surroundings,
        archives: config.archives,
        pods: pods.clone(),
        metrics,
        node_state: shared.state,
        board: board.clone(),
        owners: Owners::default(),
        turns: turns.clone(),
        pulls: Semaphore::new(pulls),
        pull_rate: PullRate::new(configuration.registry_pull_qps, configuration.registry_burst),
        images: shared.images,
        users: Users::new(
            &config.root_dir,
            configuration.max_pods,
            configuration.user_namespaces.ids_per_pod,
        ),
        ended,
    });
    let tasks = TaskTracker::new();
    let spawn = |work: BoxedWork| {
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            shutdown.run_until_cancelled(work).await;
        });
    };
    let (news, told) = mpsc::channel(events::NEWS_WAITING_MAX);
    spawn(Box::pin(events::run(
        notices,
        runtime,
        agent.owners.clone(),
        news,
    )));
    let (snapshots, received) = mpsc::channel(SNAPSHOTS_WAITING_MAX);
    let (faults, found) = mpsc::channel(FAULTS_WAITING_MAX);
    let mut expected = Vec::new();
    if let Some(local) = shared.local.clone() {
        let files = file::FileSource {
            path: PathBuf::from(configuration.static_objects_path.trim_end_matches('/')),
            node_name: node_name.clone(),
            rescan: configuration.file_check_frequency.0,
            objects: None,
        };
        let mut source = file::ObjectSource::new(files, local);
        // Before pods that use them start.
        for fault in source.read() {
            tracing::error!(file = fault.manifest, "{fault}");
        }
        spawn(Box::pin(source.run(faults.clone())));
    }
    if !configuration.static_pod_path.is_empty() {
        expected.push(Source::File);
        let source = file::FileSource {
            path: PathBuf::from(configuration.static_pod_path.trim_end_matches('/')),
            node_name: node_name.clone(),
            rescan: configuration.file_check_frequency.0,
            objects: shared.local.clone(),
        };
        spawn(Box::pin(source.run(
            snapshots.clone(),
            faults.clone(),
            shared.reports.clone(),
        )));
    }
    if !configuration.static_pod_url.is_empty() {
        expected.push(Source::Http);
        let source = http::HttpSource::new(&configuration, node_name.clone())?;
        spawn(Box::pin(source.run(
            snapshots.clone(),
            faults.clone(),
            shared.reports.clone(),
        )));
    }
    drop(faults);
    spawn(Box::pin(count_faults(
        shared.reports.subscribe(),
        agent.metrics.clone(),
    )));
    spawn(Box::pin(tell_faults(found, recorder, node_name.clone())));
    if let Some(client) = client {
        expected.push(Source::Api);
        spawn(Box::pin(watch_api(
            client.clone(),
            node_name.clone(),
            node.clone(),
            snapshots,
        )));
        let teller = status::Teller {
            node_name: node_name.clone(),
            recorder: agent.recorder.clone(),
            refusals: shared.refusals,
        };
        spawn(Box::pin(status::run(
            client,
            board,
            (pods, turns),
            teller,
            shutdown.clone(),
        )));
    }
    let machine = node_of_machine(&node_name, &config.node_labels, configuration.max_pods);
    let inputs = Inputs {
        snapshots: received,
        news: told,
        ended: workers_ended,
        orders: shared.orders,
        node,
    };
    Manager::run(agent, machine, expected, seen, inputs, shutdown.clone()).await;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

type BoxedWork = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// What the runtime has at start; it may still be starting itself.
async fn first_listing(
    runtime: &dyn RuntimeService,
) -> Result<HashMap<String, crate::runtime::seen::SeenPod>, KubeletError> {
    let mut tries = 0;
    loop {
        match read_all(runtime, &HashMap::new()).await {
            Ok(all) => return Ok(all),
            Err(error) if tries >= RUNTIME_TRIES_MAX => return Err(KubeletError::Runtime(error)),
            Err(error) => {
                tracing::debug!(%error, "the runtime does not list its pods yet");
                tries += 1;
                tokio::time::sleep(RUNTIME_RETRY_AFTER).await;
            }
        }
    }
}

/// Pods of the API are let in by the Node's labels and room: they are watched once it is known.
async fn watch_api(
    client: kube::Client,
    node_name: String,
    mut node: node::Snapshot,
    snapshots: mpsc::Sender<sources::Snapshot>,
) {
    if node.wait_for(Option::is_some).await.is_ok() {
        sources::api::run(client, node_name, snapshots).await;
    }
}

/// Shows which manifests can't be used as a metric.
async fn count_faults(mut reports: watch::Receiver<Reports>, metrics: Metrics) {
    loop {
        metrics.manifest_errors.clear();
        for (file, report) in reports.borrow_and_update().iter() {
            if report.error.is_some() {
                let file = file.clone();
                metrics.manifest_errors.get_or_create(&Manifest { file }).set(1);
            }
        }
        // The agent holds the sender.
        if reports.changed().await.is_err() {
            return;
        }
    }
}

/// One clear line in the log and an event on the Node for each manifest that can't be used.
async fn tell_faults(mut faults: mpsc::Receiver<Fault>, recorder: Recorder, node_name: String) {
    while let Some(fault) = faults.recv().await {
        tracing::error!(
            manifest = fault.manifest,
            keeps_running = fault.keeps_running,
            "{fault}"
        );
        recorder.event(
            &node_reference(&node_name),
            EventType::Warning,
            "FailedStaticPodManifest",
            fault.to_string(),
        );
    }
}

#[cfg(test)]
mod tests;
