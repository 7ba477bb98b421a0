//! Wires the controllers to one cache and runs them until shutdown.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher;
use kube::{Api, Resource};
use orlop_client::informer::{Informer, Projection};
use orlop_metrics::PartMetrics;
use orlop_pki::{Authority, TokenSigner};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account_tokens::AccountTokens;
use crate::bootstrap_tokens::BootstrapTokens;
use crate::cache::{Cache, ReplicaSetView, ReplicationControllerView};
use crate::certificates::Certificates;
use crate::cron_job::CronJobs;
use crate::daemonset::DaemonSets;
use crate::deployment::Deployments;
use crate::disruption_budget::DisruptionBudgets;
use crate::endpoints::ServiceEndpoints;
use crate::garbage_collector::GarbageCollector;
use crate::job::Jobs;
use crate::namespace::Namespaces;
use crate::namespace_defaults::NamespaceDefaults;
use crate::node_gate::NodeGates;
use crate::node_lifecycle::NodeLifecycle;
use crate::node_ranges::{ClusterRange, NodeRanges};
use crate::pod_gc::PodGc;
use crate::replica_set::ReplicaControllers;
use crate::resource_quota::ResourceQuotas;
use crate::stale_disruption::StaleDisruptions;
use crate::stateful_set::StatefulSets;
use crate::storage_protection::StorageProtection;
use crate::taint_eviction::TaintEviction;
use crate::ttl_after_finished::TtlAfterFinished;
use crate::volume_binding::VolumeBinding;

/// What the controllers have to be told.
#[derive(Debug, Clone, Default)]
pub struct ControllersConfig {
    /// The cluster's CA in PEM, published as ConfigMap `kube-root-ca.crt` in every namespace;
    /// without it none is published.
    pub root_ca: Option<String>,
    /// How certificates are signed; without it none is.
    pub signing: Option<CertificateSigning>,
    /// Who signs the tokens that are kept in Secrets; without it those Secrets stay empty.
    pub token_signer: Option<Arc<TokenSigner>>,
    /// Pod addresses that are shared out to nodes; without it nodes get none.
    pub node_ranges: Option<ClusterRange>,
    /// Finished pods that are kept for people to look at [default: 12,500].
    pub finished_pods_max: Option<usize>,
}

/// How certificates are signed.
#[derive(Debug, Clone)]
pub struct CertificateSigning {
    /// Who signs.
    pub authority: Arc<Authority>,
    /// How long a certificate is valid at most.
    pub lifetime_max: Duration,
}

/// Why the controllers stopped although nobody asked them to.
#[derive(Debug, thiserror::Error)]
pub enum ControllersError {
    /// A bug: one of the tasks panicked. The others were stopped.
    #[error("a controller panicked: {0}; please report it with the log above")]
    Panicked(String),
    /// A task that runs for ever came to its end.
    #[error("a controller stopped by itself; please report it with the log above")]
    Ended,
}

/// Runs all controllers until `shutdown` is cancelled. Needs a tokio runtime; an API server that
/// can't be reached yet is waited for.
pub async fn run(
    client: kube::Client,
    config: ControllersConfig,
    shutdown: CancellationToken,
) -> Result<(), ControllersError> {
    run_on(Cache::default(), client, config, shutdown).await
}

/// The same, with queues counted among `metrics`.
pub async fn run_measured(
    client: kube::Client,
    config: ControllersConfig,
    metrics: Arc<PartMetrics>,
    shutdown: CancellationToken,
) -> Result<(), ControllersError> {
    run_on(Cache::measured(metrics), client, config, shutdown).await
}

async fn run_on(
    cache: Cache,
    client: kube::Client,
    config: ControllersConfig,
    shutdown: CancellationToken,
) -> Result<(), ControllersError> {
    let cache = Arc::new(cache);
    // Dropped, and so aborted, on every way out.
    let mut tasks = JoinSet::new();

    let daemon_sets = DaemonSets::new(client.clone(), &cache);
    let replica_sets = ReplicaControllers::<ReplicaSetView>::new(client.clone(), &cache);
    let replication_controllers =
        ReplicaControllers::<ReplicationControllerView>::new(client.clone(), &cache);
    let deployments = Deployments::new(client.clone(), &cache);
    let jobs = Jobs::new(client.clone(), &cache);
    let cron_jobs = CronJobs::new(client.clone(), &cache);
    let ttl = TtlAfterFinished::new(client.clone(), &cache);
    let stateful_sets = StatefulSets::new(client.clone(), &cache);
    let budgets = DisruptionBudgets::new(client.clone(), &cache);
    let certificates = Certificates::new(client.clone(), &cache, config.signing);
    let account_tokens = config
        .token_signer
        .map(|signer| AccountTokens::new(client.clone(), &cache, signer, config.root_ca.clone()));
    let bootstrap_tokens = BootstrapTokens::new(client.clone(), &cache);
    let endpoints = ServiceEndpoints::new(client.clone(), &cache);
    let node_lifecycle = NodeLifecycle::new(client.clone(), &cache);
    let node_ranges = config
        .node_ranges
        .map(|range| NodeRanges::new(client.clone(), &cache, range));
    let node_gates = NodeGates::new(client.clone(), &cache);
    let taint_eviction = TaintEviction::new(client.clone(), &cache);
    let stale_disruptions = StaleDisruptions::new(client.clone(), &cache);
    let pod_gc = PodGc::new(client.clone(), &cache, config.finished_pods_max);
    let namespaces = Namespaces::new(client.clone(), &cache);
    let defaults = NamespaceDefaults::new(client.clone(), &cache, config.root_ca);
    let quotas = ResourceQuotas::new(client.clone(), &cache);
    let storage = StorageProtection::new(client.clone(), &cache);
    let volumes = VolumeBinding::new(client.clone(), &cache);
    let garbage_collector = GarbageCollector::new(client.clone(), &cache);

    cache.start(&client, &mut tasks);
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = cache.synced() => {}
    }
    tracing::info!("controllers started");
    daemon_sets.start(&mut tasks);
    replica_sets.start(&mut tasks);
    replication_controllers.start(&mut tasks);
    deployments.start(&mut tasks);
    jobs.start(&mut tasks);
    cron_jobs.start(&mut tasks);
    ttl.start(&mut tasks);
    stateful_sets.start(&mut tasks);
    budgets.start(&mut tasks);
    certificates.start(&mut tasks);
    if let Some(account_tokens) = account_tokens {
        account_tokens.start(&mut tasks);
    }
    bootstrap_tokens.start(&mut tasks);
    endpoints.start(&mut tasks);
    node_lifecycle.start(&mut tasks);
    if let Some(ranges) = node_ranges {
        ranges.start(&mut tasks);
    }
    node_gates.start(&mut tasks);
    taint_eviction.start(&mut tasks);
    stale_disruptions.start(&mut tasks);
    pod_gc.start(&mut tasks);
    namespaces.start(&mut tasks);
    defaults.start(&mut tasks);
    quotas.start(&mut tasks);
    storage.start(&mut tasks);
    volumes.start(&mut tasks);
    garbage_collector.start(&mut tasks);

    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = tasks.join_next() => match ended {
            Some(Err(error)) if error.is_panic() => Err(ControllersError::Panicked(error.to_string())),
            _ => Err(ControllersError::Ended),
        },
    }
}

/// Starts a watch of all objects of a kind that one controller alone reads.
pub(crate) fn watch_all<P>(informer: &Arc<Informer<P>>, client: &kube::Client, tasks: &mut JoinSet<()>)
where
    P: Projection,
    <P::Object as Resource>::DynamicType: Default + Clone + Send,
{
    let (informer, api) = (informer.clone(), Api::all(client.clone()));
    tasks.spawn(async move { informer.run(api, watcher::Config::default()).await });
}
