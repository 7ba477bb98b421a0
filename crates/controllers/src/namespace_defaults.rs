//! What every active namespace has: the ServiceAccount `default` and, if the cluster has a CA to
//! tell, the ConfigMap `kube-root-ca.crt`. Both come back when deleted; the ConfigMap is repaired
//! when changed, and written anew when the cluster has another CA.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use crate::api_error;
use crate::cache::{Cache, DEFAULT_ACCOUNT, NamespaceView, ROOT_CA, RootCaView, ServiceAccountView};
use crate::root_ca::RootCa;
use crate::workers::Workers;

const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

/// Keeps the defaults of namespaces in place.
pub struct NamespaceDefaults {
    client: kube::Client,
    cache: Arc<Cache>,
    root_ca: Option<RootCa>,
    /// Names of namespaces.
    queue: Arc<WorkQueue<Arc<str>>>,
}

impl NamespaceDefaults {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>, root_ca: Option<RootCa>) -> Arc<Self> {
        let queue = cache.queue("serviceaccount");
        let on = queue.clone();
        cache.namespaces.on_change(move |change: &Change<NamespaceView>| {
            if let Some(namespace) = &change.new
                && !namespace.terminating
            {
                on.add(namespace.key.name.clone());
            }
        });
        let on = queue.clone();
        cache
            .service_accounts
            .on_change(move |change: &Change<ServiceAccountView>| {
                if change.new.is_none() {
                    on.add(change.latest().key.namespace.clone());
                }
            });
        let on = queue.clone();
        cache.root_cas.on_change(move |change: &Change<RootCaView>| {
            on.add(change.latest().key.namespace.clone());
        });
        Arc::new(Self {
            client,
            cache: cache.clone(),
            root_ca,
            queue,
        })
    }

    /// Starts the worker. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "namespace_defaults",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, name| async move { this.sync(&name).await },
            |_| false,
        );
        if let Some(root_ca) = self.root_ca.clone() {
            let (cache, queue) = (self.cache.clone(), self.queue.clone());
            tasks.spawn(root_ca.each_time_replaced(move || {
                let namespaces = cache.namespaces.store();
                namespaces.for_each(|namespace| queue.add(namespace.key.name.clone()));
            }));
        }
    }

    async fn sync(&self, name: &Arc<str>) -> Result<(), kube::Error> {
        let namespace = self
            .cache
            .namespaces
            .store()
            .get(&ObjectKey::new("", name.clone()));
        if namespace.is_none_or(|namespace| namespace.terminating) {
            return Ok(());
        }
        let account = ObjectKey::new(name.clone(), DEFAULT_ACCOUNT);
        if self.cache.service_accounts.store().get(&account).is_none() {
            let api: Api<core::ServiceAccount> = Api::namespaced(self.client.clone(), name);
            let metadata = ObjectMeta {
                name: Some(DEFAULT_ACCOUNT.to_owned()),
                ..ObjectMeta::default()
            };
            let account = core::ServiceAccount {
                metadata,
                ..core::ServiceAccount::default()
            };
            tolerate(api.create(&PostParams::default(), &account).await)?;
        }
        let Some(certificate) = self.root_ca.as_ref().map(RootCa::current) else {
            return Ok(());
        };
        let wanted = RootCaView::fingerprint(&certificate, DESCRIPTION.1);
        let map = core::ConfigMap {
            metadata: ObjectMeta {
                name: Some(ROOT_CA.to_owned()),
                annotations: Some(BTreeMap::from([(
                    DESCRIPTION.0.to_owned(),
                    DESCRIPTION.1.to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([("ca.crt".to_owned(), certificate.to_string())])),
            ..core::ConfigMap::default()
        };
        let api: Api<core::ConfigMap> = Api::namespaced(self.client.clone(), name);
        match self
            .cache
            .root_cas
            .store()
            .get(&ObjectKey::new(name.clone(), ROOT_CA))
        {
            None => tolerate(api.create(&PostParams::default(), &map).await),
            Some(found) if found.fingerprint != wanted => {
                tracing::info!(namespace = %name, "repairing {ROOT_CA}");
                tolerate(api.replace(ROOT_CA, &PostParams::default(), &map).await)
            }
            Some(_) => Ok(()),
        }
    }
}

/// It is there already, or can't be any more.
fn tolerate<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error)
            if api_error::is_conflict(&error)
                || api_error::is_not_found(&error)
                || api_error::is_namespace_terminating(&error) =>
        {
            Ok(())
        }
        result => result.map(drop),
    }
}
