//! What the controllers remember of the cluster: one informer a kind, shared by all of them, each
//! object cut down to what some controller reads.

mod bootstrap_token;
mod budget;
mod certificate_request;
mod cron_job;
mod daemon_set;
mod deployment;
mod job;
mod lease;
pub mod metadata;
mod node;
mod pod;
mod pod_parts;
mod replicas;
mod revision;
mod service;
mod small;
mod stateful_set;

pub use bootstrap_token::{BootstrapTokenView, ClusterInfoView};
pub use budget::BudgetView;
pub use certificate_request::CertificateRequestView;
pub use cron_job::CronJobView;
pub use daemon_set::DaemonSetView;
pub use deployment::DeploymentView;
pub use job::{JOBS_BY_CONTROLLER, JobEnd, JobView};
pub use lease::LeaseView;
pub use node::{NEVER_UPDATED, NODE_TTL, NodeView, PostedCondition};
pub use pod::{
    BY_CONTROLLER, BY_NODE, ControllerRef, DISRUPTION_TARGET, ORPHANS_BY_NAMESPACE, PODS_BY_NAMESPACE, Phase,
    PodView, Ready,
};
pub use pod_parts::{
    COMPLETION_INDEX, ContainerExit, INDEX_FAILURES, INDEX_IGNORED_FAILURES, JOB_TRACKING, JobPod, NamedPort,
    PodAddress, Restarts,
};
pub use replicas::{
    BY_DEPLOYMENT, ORPHAN_SETS_BY_NAMESPACE, ReplicaSetView, Replicas, ReplicationControllerView,
};
pub use revision::{BY_OWNER, ORPHAN_REVISIONS_BY_NAMESPACE, RevisionView};
pub use service::{
    CustomEndpoints, EndpointsView, MIRRORED_SLICES, SLICES_OF_SERVICE, ServiceView, SliceView,
};
pub use small::{BY_NAMESPACE, NamespaceView, RootCaView, ServiceAccountView};
pub use stateful_set::StatefulSetView;

use std::hash::Hash;
use std::sync::Arc;

use kube::runtime::watcher;
use kube::{Api, Resource};
use orlop_client::informer::{Cached, Informer, ObjectKey, Projection, version_of};
use orlop_client::workqueue::WorkQueue;
use orlop_metrics::PartMetrics;
use tokio::task::JoinSet;

/// A pod as remembered.
pub type Pod = Arc<Cached<PodView>>;
/// A node as remembered.
pub type Node = Arc<Cached<NodeView>>;
/// A DaemonSet as remembered.
pub type DaemonSet = Arc<Cached<DaemonSetView>>;
/// A ControllerRevision as remembered.
pub type Revision = Arc<Cached<RevisionView>>;

/// A ReplicaSet as remembered.
pub type ReplicaSet = Arc<Cached<ReplicaSetView>>;
/// A Job as remembered.
pub type Job = Arc<Cached<JobView>>;
/// A CronJob as remembered.
pub type CronJob = Arc<Cached<CronJobView>>;
/// A StatefulSet as remembered.
pub type StatefulSet = Arc<Cached<StatefulSetView>>;
/// A PodDisruptionBudget as remembered.
pub type Budget = Arc<Cached<BudgetView>>;
/// A Service as remembered.
pub type Service = Arc<Cached<ServiceView>>;
/// A Deployment as remembered.
pub type Deployment = Arc<Cached<DeploymentView>>;

/// Where the nodes' Leases are.
pub const NODE_LEASES: &str = "kube-node-lease";
/// Name of the ConfigMap with the cluster's CA in every namespace.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// Name of the ConfigMap in `kube-public` that tells new nodes about the cluster.
pub const CLUSTER_INFO: &str = "cluster-info";
/// Name of the account a pod gets when it names none.
pub const DEFAULT_ACCOUNT: &str = "default";

/// An object the server answered with, as the cache will show it.
pub fn cached<P: Projection>(object: P::Object) -> Arc<Cached<P>> {
    let meta = object.meta();
    Arc::new(Cached {
        key: ObjectKey::of(&object),
        uid: meta.uid.as_deref().unwrap_or_default().into(),
        resource_version: version_of(meta),
        object: P::project(object),
    })
}

/// The shared informers.
#[derive(Default)]
pub struct Cache {
    /// Where the controllers' queues are counted, if anywhere.
    metrics: Option<Arc<PartMetrics>>,
    /// All pods.
    pub pods: Informer<PodView>,
    /// All nodes.
    pub nodes: Informer<NodeView>,
    /// All DaemonSets.
    pub daemon_sets: Informer<DaemonSetView>,
    /// All ReplicaSets.
    pub replica_sets: Informer<ReplicaSetView>,
    /// All ReplicationControllers.
    pub replication_controllers: Informer<ReplicationControllerView>,
    /// All Deployments.
    pub deployments: Informer<DeploymentView>,
    /// All Jobs.
    pub jobs: Informer<JobView>,
    /// All CronJobs.
    pub cron_jobs: Informer<CronJobView>,
    /// All StatefulSets.
    pub stateful_sets: Informer<StatefulSetView>,
    /// All PodDisruptionBudgets.
    pub budgets: Informer<BudgetView>,
    /// All CertificateSigningRequests.
    pub certificate_requests: Informer<CertificateRequestView>,
    /// The Secrets in `kube-system` that are bootstrap tokens.
    pub bootstrap_tokens: Informer<BootstrapTokenView>,
    /// The ConfigMap `cluster-info` in `kube-public`.
    pub cluster_info: Informer<ClusterInfoView>,
    /// All Services.
    pub services: Informer<ServiceView>,
    /// All EndpointSlices.
    pub slices: Informer<SliceView>,
    /// All Endpoints.
    pub endpoints: Informer<EndpointsView>,
    /// All ControllerRevisions.
    pub revisions: Informer<RevisionView>,
    /// All Leases; those in [`NODE_LEASES`] are the nodes' heartbeats.
    pub leases: Informer<LeaseView>,
    /// All namespaces.
    pub namespaces: Informer<NamespaceView>,
    /// The ServiceAccounts called `default`.
    pub service_accounts: Informer<ServiceAccountView>,
    /// The ConfigMaps called `kube-root-ca.crt`.
    pub root_cas: Informer<RootCaView>,
}

impl Cache {
    /// A cache for controllers whose queues are counted.
    pub fn measured(metrics: Arc<PartMetrics>) -> Self {
        Self {
            metrics: Some(metrics),
            ..Self::default()
        }
    }

    /// The queue of a controller.
    pub fn queue<K: Hash + Eq + Clone>(&self, controller: &'static str) -> Arc<WorkQueue<K>> {
        Arc::new(match &self.metrics {
            Some(metrics) => WorkQueue::measured(metrics.queue(controller)),
            None => WorkQueue::new(),
        })
    }

    /// Starts one watch a kind. All handlers must be registered by now.
    pub fn start(self: &Arc<Self>, client: &kube::Client, tasks: &mut JoinSet<()>) {
        let all = watcher::Config::default();
        let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        macro_rules! watch {
            ($field:ident, $api:expr, $config:expr) => {
                let (cache, api, config) = (self.clone(), $api, $config);
                tasks.spawn(async move { cache.$field.run(api, config).await });
            };
        }
        watch!(pods, Api::all(client.clone()), all.clone());
        watch!(nodes, Api::all(client.clone()), all.clone());
        watch!(daemon_sets, Api::all(client.clone()), all.clone());
        watch!(replica_sets, Api::all(client.clone()), all.clone());
        watch!(replication_controllers, Api::all(client.clone()), all.clone());
        watch!(deployments, Api::all(client.clone()), all.clone());
        watch!(jobs, Api::all(client.clone()), all.clone());
        watch!(cron_jobs, Api::all(client.clone()), all.clone());
        watch!(stateful_sets, Api::all(client.clone()), all.clone());
        watch!(budgets, Api::all(client.clone()), all.clone());
        watch!(certificate_requests, Api::all(client.clone()), all.clone());
        watch!(
            bootstrap_tokens,
            Api::namespaced(client.clone(), "kube-system"),
            watcher::Config::default().fields("type=bootstrap.kubernetes.io/token")
        );
        watch!(
            cluster_info,
            Api::namespaced(client.clone(), "kube-public"),
            named(CLUSTER_INFO)
        );
        watch!(services, Api::all(client.clone()), all.clone());
        watch!(slices, Api::all(client.clone()), all.clone());
        watch!(endpoints, Api::all(client.clone()), all.clone());
        watch!(revisions, Api::all(client.clone()), all.clone());
        watch!(leases, Api::all(client.clone()), all.clone());
        watch!(namespaces, Api::all(client.clone()), all);
        watch!(service_accounts, Api::all(client.clone()), named(DEFAULT_ACCOUNT));
        watch!(root_cas, Api::all(client.clone()), named(ROOT_CA));
    }

    /// Waits until every kind was listed once.
    pub async fn synced(&self) {
        tokio::join!(
            self.pods.synced(),
            self.nodes.synced(),
            self.daemon_sets.synced(),
            self.replica_sets.synced(),
            self.replication_controllers.synced(),
            self.deployments.synced(),
            self.jobs.synced(),
            self.cron_jobs.synced(),
            self.stateful_sets.synced(),
            self.budgets.synced(),
            self.certificate_requests.synced(),
            self.bootstrap_tokens.synced(),
            self.cluster_info.synced(),
            self.services.synced(),
            self.slices.synced(),
            self.endpoints.synced(),
            self.revisions.synced(),
            self.leases.synced(),
            self.namespaces.synced(),
            self.service_accounts.synced(),
            self.root_cas.synced(),
        );
    }
}
