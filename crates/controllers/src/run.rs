//! Wires the controllers to one cache and runs them until shutdown.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher;
use kube::{Api, Resource};
use orlop_client::informer::{Informer, Projection};
use orlop_metrics::PartMetrics;
use orlop_pki::{FollowedAuthority, TokenSigner};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account_tokens::AccountTokens;
use crate::accounts::{self, Accounts, Clients};
use crate::autoscaler::{AutoscalerConfig, Autoscalers};
use crate::bootstrap_tokens::BootstrapTokens;
use crate::cache::{Cache, ReplicaSetView, ReplicationControllerView};
use crate::certificates::{Certificates, Duties};
use crate::cron_job::CronJobs;
use crate::daemonset::DaemonSets;
use crate::deployment::Deployments;
use crate::disruption_budget::DisruptionBudgets;
use crate::endpoints::{Kept, ServiceEndpoints};
use crate::ephemeral_volumes::EphemeralVolumes;
use crate::garbage_collector::GarbageCollector;
use crate::job::Jobs;
use crate::namespace::Namespaces;
use crate::namespace_defaults::NamespaceDefaults;
use crate::node_gate::NodeGates;
use crate::node_lifecycle::{NodeLifecycle, NodeLifecycleConfig};
use crate::node_ranges::{ClusterRange, NodeRanges};
use crate::node_ttl::NodeTtl;
use crate::pod_gc::PodGc;
use crate::replica_set::ReplicaControllers;
use crate::resource_quota::ResourceQuotas;
use crate::role_aggregation::RoleAggregation;
use crate::root_ca::RootCa;
use crate::selection::Selection;
use crate::stale_disruption::StaleDisruptions;
use crate::stateful_set::StatefulSets;
use crate::storage_protection::StorageProtection;
use crate::taint_eviction::TaintEviction;
use crate::ttl_after_finished::TtlAfterFinished;
use crate::unused_tokens::UnusedTokens;
use crate::volume_binding::VolumeBinding;

/// What the controllers have to be told.
#[derive(Debug, Clone, Default)]
pub struct ControllersConfig {
    /// The cluster's CA, published as ConfigMap `kube-root-ca.crt` in every namespace;
    /// without it none is published.
    pub root_ca: Option<RootCa>,
    /// How certificates are signed; without it none is.
    pub signing: Option<CertificateSigning>,
    /// Who signs the tokens that are kept in Secrets; without it those Secrets stay empty.
    pub token_signer: Option<Arc<TokenSigner>>,
    /// Pod addresses that are shared out to nodes; without it nodes get none.
    pub node_ranges: Option<ClusterRange>,
    /// Finished pods that are kept for people to look at [default: 12,500].
    pub finished_pods_max: Option<usize>,
    /// How long a token that is kept in a Secret may be unused before it is taken out of use, and then before it goes
    /// [default: a year].
    pub unused_tokens: Option<Duration>,
    /// When and how fast nodes are given up.
    pub nodes: NodeLifecycleConfig,
    /// How autoscalers are looked at.
    pub autoscaler: AutoscalerConfig,
    /// As whom the controllers write, each as the account that upstream's has; without it all are the client that they
    /// were given, which lists and watches in any case.
    pub accounts: Option<Accounts>,
    /// Which of them run.
    pub selection: Selection,
}

/// How certificates are signed.
#[derive(Debug, Clone)]
pub struct CertificateSigning {
    /// Who signs.
    pub authority: FollowedAuthority,
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

    let clients = Clients::new(client.clone(), config.accounts);
    let selection = &config.selection;
    // Made before the cache is started, which their handlers are registered at.
    macro_rules! controllers {
        ($($name:ident: $runs:expr => $make:expr;)*) => {
            $(let $name = $runs.then(|| $make);)*
            cache.start(&client, &mut tasks);
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = cache.synced() => {}
            }
            tracing::info!("controllers started");
            $(if let Some(controller) = $name {
                controller.start(&mut tasks);
            })*
        };
    }
    // As upstream, with the rights of the whole: who makes tokens for accounts has none of these.
    let account_tokens = config
        .token_signer
        .filter(|_| selection.runs("serviceaccount-token-controller"))
        .map(|signer| AccountTokens::new(client.clone(), &cache, signer, config.root_ca.clone()));
    let root_ca = config
        .root_ca
        .filter(|_| selection.runs("root-ca-certificate-publisher-controller"));
    let duties = Duties::new(selection, config.signing);
    let kept = Kept::new(selection);
    let range = config
        .node_ranges
        .filter(|_| selection.runs("node-ipam-controller"));
    let node_ranges = range.map(|range| NodeRanges::new(clients.of("node-controller"), &cache, range));
    controllers! {
        daemon_sets: selection.runs("daemonset-controller")
            => DaemonSets::new(clients.of("daemon-set-controller"), &cache);
        replica_sets: selection.runs("replicaset-controller")
            => ReplicaControllers::<ReplicaSetView>::new(clients.of("replicaset-controller"), &cache);
        replication_controllers: selection.runs("replicationcontroller-controller")
            => ReplicaControllers::<ReplicationControllerView>::new(clients.of("replication-controller"), &cache);
        deployments: selection.runs("deployment-controller")
            => Deployments::new(clients.of("deployment-controller"), &cache);
        jobs: selection.runs("job-controller") => Jobs::new(clients.of("job-controller"), &cache);
        cron_jobs: selection.runs("cronjob-controller") => CronJobs::new(clients.of("cronjob-controller"), &cache);
        ttl: selection.runs("ttl-after-finished-controller")
            => TtlAfterFinished::new(clients.of("ttl-after-finished-controller"), &cache);
        stateful_sets: selection.runs("statefulset-controller")
            => StatefulSets::new(clients.of("statefulset-controller"), &cache);
        autoscalers: selection.runs("horizontal-pod-autoscaler-controller")
            => Autoscalers::new(clients.only("horizontal-pod-autoscaler"), &cache, config.autoscaler);
        budgets: selection.runs("disruption-controller")
            => DisruptionBudgets::new(clients.by(accounts::of_budgets), &cache);
        certificates: duties.any()
            => Certificates::new(clients.only("certificate-controller"), &cache, duties);
        bootstrap_tokens: selection.runs_any(&["bootstrap-signer-controller", "token-cleaner-controller"])
            => BootstrapTokens::new(clients.by(accounts::of_bootstrap_tokens), &cache);
        endpoints: kept.any() => ServiceEndpoints::new(clients.by(accounts::of_endpoints), &cache, kept);
        node_lifecycle: selection.runs("node-lifecycle-controller")
            => NodeLifecycle::new(clients.of("node-controller"), client.clone(), &cache, config.nodes);
        node_ttl: selection.runs("ttl-controller") => NodeTtl::new(clients.only("ttl-controller"), &cache);
        node_gates: true => NodeGates::new(clients.of("node-controller"), &cache);
        taint_eviction: selection.runs("taint-eviction-controller")
            => TaintEviction::new(clients.of("node-controller"), &cache);
        stale_disruptions: selection.runs("disruption-controller")
            => StaleDisruptions::new(clients.of("disruption-controller"), &cache);
        pod_gc: selection.runs("pod-garbage-collector-controller")
            => PodGc::new(clients.of("pod-garbage-collector"), &cache, config.finished_pods_max);
        namespaces: selection.runs("namespace-controller")
            => Namespaces::new(clients.of("namespace-controller"), clients.only("generic-garbage-collector"), &cache);
        defaults: selection.runs("serviceaccount-controller") || root_ca.is_some()
            => NamespaceDefaults::new(clients.by(accounts::of_namespace_defaults), &cache, root_ca);
        unused_tokens: selection.runs("legacy-serviceaccount-token-cleaner-controller")
            => UnusedTokens::new(
                clients.only("legacy-service-account-token-cleaner"),
                client.clone(),
                config.unused_tokens,
            );
        quotas: selection.runs("resourcequota-controller")
            => ResourceQuotas::new(clients.by(accounts::of_quotas), &cache);
        storage: selection.runs_any(&[
            "persistentvolume-protection-controller",
            "persistentvolumeclaim-protection-controller",
        ]) => StorageProtection::new(clients.by(accounts::of_storage_protection), &cache);
        volumes: selection.runs("persistentvolume-binder-controller")
            => VolumeBinding::new(clients.of("persistent-volume-binder"), &cache);
        ephemeral_volumes: selection.runs("ephemeral-volume-controller")
            => EphemeralVolumes::new(clients.of("ephemeral-volume-controller"), &cache);
        role_aggregation: selection.runs("clusterrole-aggregation-controller")
            => RoleAggregation::new(clients.only("clusterrole-aggregation-controller"), &cache);
        garbage_collector: selection.runs("garbage-collector-controller")
            => GarbageCollector::new(clients.of("generic-garbage-collector"), &cache);
    }

    if let Some(ranges) = node_ranges {
        ranges.start(&mut tasks);
    }
    if let Some(account_tokens) = account_tokens {
        account_tokens.start(&mut tasks);
    }

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
