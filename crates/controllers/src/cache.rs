//! What the controllers remember of the cluster: one informer a kind, shared by all of them, each
//! object cut down to what some controller reads.

mod daemon_set;
mod lease;
mod node;
mod pod;
mod revision;
mod small;

pub use daemon_set::DaemonSetView;
pub use lease::LeaseView;
pub use node::NodeView;
pub use pod::{BY_CONTROLLER, BY_NODE, ControllerRef, ORPHANS_BY_NAMESPACE, Phase, PodView, Ready};
pub use revision::{BY_OWNER, ORPHAN_REVISIONS_BY_NAMESPACE, RevisionView};
pub use small::{BY_NAMESPACE, NamespaceView, RootCaView, ServiceAccountView};

use std::sync::Arc;

use kube::Api;
use kube::runtime::watcher;
use orlop_client::informer::{Cached, Informer};
use tokio::task::JoinSet;

/// A pod as remembered.
pub type Pod = Arc<Cached<PodView>>;
/// A node as remembered.
pub type Node = Arc<Cached<NodeView>>;
/// A DaemonSet as remembered.
pub type DaemonSet = Arc<Cached<DaemonSetView>>;
/// A ControllerRevision as remembered.
pub type Revision = Arc<Cached<RevisionView>>;

/// Name of the ConfigMap with the cluster's CA in every namespace.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// Name of the account a pod gets when it names none.
pub const DEFAULT_ACCOUNT: &str = "default";

/// The shared informers.
#[derive(Default)]
pub struct Cache {
    /// All pods.
    pub pods: Informer<PodView>,
    /// All nodes.
    pub nodes: Informer<NodeView>,
    /// All DaemonSets.
    pub daemon_sets: Informer<DaemonSetView>,
    /// All ControllerRevisions.
    pub revisions: Informer<RevisionView>,
    /// The node heartbeats in `kube-node-lease`.
    pub leases: Informer<LeaseView>,
    /// All namespaces.
    pub namespaces: Informer<NamespaceView>,
    /// The ServiceAccounts called `default`.
    pub service_accounts: Informer<ServiceAccountView>,
    /// The ConfigMaps called `kube-root-ca.crt`.
    pub root_cas: Informer<RootCaView>,
}

impl Cache {
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
        watch!(revisions, Api::all(client.clone()), all.clone());
        watch!(
            leases,
            Api::namespaced(client.clone(), "kube-node-lease"),
            all.clone()
        );
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
            self.revisions.synced(),
            self.leases.synced(),
            self.namespaces.synced(),
            self.service_accounts.synced(),
            self.root_cas.synced(),
        );
    }
}
