//! The server's parts and their life.
mod config;

pub use config::{Config, KubeletClientTls, TokenConfig};

use crate::admission::{Chain, Hooks, UnknownPlugin};
use crate::aggregation::{self, Aggregation};
use crate::audit::{Audit, AuditError};
use crate::authn::{
    Accounts, Authentication, AuthenticationError, FrontProxyConfig, TrustedAuthorities, UserInfo,
};
use crate::authz::{AccessWebhook, Authorizers, Grants, Rbac};
use crate::bootstrap;
use crate::cache::{self, Cache};
use crate::custom;
use crate::encryption::Sealed;
use crate::event_leases::EventLeases;
use crate::flow::Flow;
use crate::http::{ConnectionConfig, Cors, InProcess, RequestTimes, ServeError, TlsSettings};
use crate::kubelet::KubeletClient;
use crate::metrics::{Metrics, Timed};
use crate::outbound::RemoteError;
use crate::registry::{Recent, ServiceNetwork, Turns};
use crate::resources::{self, Resource};
use crate::runtime_config::RuntimeConfig;
use crate::status::ApiError;
use crate::traces::Traces;
use crate::upkeep::{self, Identity, Masters};
use crate::usage::Usage;
use http::HeaderValue;
use orlop_store::{LeaseId, Store, StoreError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What upstream's counts of configurations that are read again begin with.
const AUTHENTICATION_RELOADS: &str = "apiserver_authentication_config_controller";
const AUTHORIZATION_RELOADS: &str = "apiserver_authorization_config_controller";

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("the {what} for talking to node agents is unusable: {reason}")]
    KubeletTls { what: &'static str, reason: String },
    #[error(transparent)]
    Admission(#[from] UnknownPlugin),
    #[error("authentication cannot be set up: {0}")]
    Authentication(#[from] AuthenticationError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("the authorization webhook: {0}")]
    AccessWebhook(#[from] RemoteError),
}

/// The API over one store. See the crate's documentation.
pub struct ApiServer {
    advertise: SocketAddr,
    pub(crate) store: Arc<dyn Store>,
    /// The same, if it seals what it stores.
    sealed: Option<Arc<Sealed>>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) kubelets: KubeletClient,
    pub(crate) accounts: Option<Accounts>,
    pub(crate) authentication: Authentication,
    pub(crate) runtime: RuntimeConfig,
    pub(crate) authorizers: Authorizers,
    pub(crate) flow: Flow,
    pub(crate) connections: ConnectionConfig,
    pub(crate) request_times: RequestTimes,
    pub(crate) cors: Option<Cors>,
    pub(crate) transport_security: Option<HeaderValue>,
    pub(crate) audit: Option<Audit>,
    pub(crate) traces: Option<Traces>,
    pub(crate) aggregation: Aggregation,
    pub(crate) usage: Usage,
    /// What extension servers are told about who is recognised.
    pub(crate) client_ca: Option<TrustedAuthorities>,
    pub(crate) front_proxy: Option<FrontProxyConfig>,
    pub(crate) identity: Option<Identity>,
    pub(crate) services: ServiceNetwork,
    pub(crate) masters: Masters,
    pub(crate) admission: Chain,
    pub(crate) hooks: Hooks,
    pub(crate) quota_turns: Turns,
    pub(crate) shutdown: CancellationToken,
    /// Requests that end by themselves.
    pub(crate) answering: TaskTracker,
    /// When the last of them has ended after `shutdown`, or taken too long.
    pub(crate) drained: CancellationToken,
    pub(crate) turns_away_at_shutdown: bool,
    pub(crate) leaving: CancellationToken,
    pub(crate) metrics: Metrics,
    /// Events as protobuf, encoded once for all who watch.
    pub(crate) recent: Recent,
    /// Custom objects in other versions than their own.
    pub(crate) converted: custom::Converted,
    event_leases: EventLeases,
    rbac: Rbac,
    fed: Arc<AtomicBool>,
}

impl ApiServer {
    /// Fills the cache, writes the objects every cluster has, and is ready.
    pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<Arc<Self>, StartError> {
        let kubelets = KubeletClient::new(config.kubelet_client, config.kubelet_address_types)?;
        let admission = Chain::select(
            &config.enabled_admission,
            &config.disabled_admission,
            config.admission,
        )?;
        let client_ca = config.authentication.client_ca.clone();
        let front_proxy = config.authentication.front_proxy.clone();
        let authentication = Authentication::new(config.authentication)?;
        let access_webhook = config.access_webhook.map(AccessWebhook::new).transpose()?;
        let metrics = Metrics::default();
        let structured = config.structured_authorization;
        metrics.part.registry(|registry| {
            if let Some(structured) = &structured {
                structured.reloads().register(registry, AUTHORIZATION_RELOADS);
            }
            if let Some(reloads) = authentication.reloads() {
                reloads.register(registry, AUTHENTICATION_RELOADS);
            }
        });
        let authorizers = match structured {
            Some(structured) => structured.authorizers(),
            None => Authorizers::of_modes(&config.authorization, access_webhook),
        };
        let audit = config
            .audit
            .map(|config| Audit::new(config, metrics.audit.clone()))
            .transpose()?;
        let shutdown = config.shutdown.clone();
        let (answering, drained) = (TaskTracker::new(), CancellationToken::new());
        let unwatched = CancellationToken::new();
        tokio::spawn(drain(
            shutdown.clone(),
            answering.clone(),
            config.request_times.answer_max,
            unwatched.clone(),
            drained.clone(),
        ));
        let timed: Arc<dyn Store> = Arc::new(Timed::new(store, metrics.store.clone()));
        if let Some(encryption) = &config.encryption {
            encryption.begin().await;
            tokio::spawn(encryption.clone().run(drained.clone()));
        }
        let sealed = config.encryption;
        let sealed = sealed.map(|encryption| Arc::new(Sealed::new(timed.clone(), encryption)));
        let store: Arc<dyn Store> = match &sealed {
            Some(sealed) => sealed.clone(),
            None => timed,
        };
        let cache = Arc::new(Cache::new());
        let watch = cache::fill(&cache, &store).await?;
        let fed = Arc::new(AtomicBool::new(true));
        let traces = config.traces.map(|to| Traces::start(to, shutdown.clone()));
        tokio::spawn({
            let (cache, store, drained, fed) = (cache.clone(), store.clone(), drained.clone(), fed.clone());
            async move {
                // Writes are answered once they are seen here.
                let _: cache::Gone = cache::run(cache.clone(), store, watch, drained).await;
                fed.store(false, Ordering::Relaxed);
                cache.close_for_good();
            }
        });
        tokio::spawn({
            let (cache, shutdown, farewell) = (cache.clone(), shutdown.clone(), config.watch_farewell);
            async move {
                shutdown.cancelled().await;
                cache::end_watches(&cache, farewell).await;
                unwatched.cancel();
            }
        });
        let server = Arc::new(Self {
            advertise: config.advertise,
            store,
            sealed,
            rbac: Rbac::new(cache.clone()),
            hooks: Hooks::new(cache.clone(), admission.settings()),
            cache: cache.clone(),
            kubelets,
            identity: config.hostname.as_deref().map(Identity::of_host),
            services: config.services,
            masters: Masters::new(config.endpoint_reconciler, config.advertise),
            admission,
            quota_turns: Turns::default(),
            accounts: config.tokens.map(Accounts::new),
            authentication,
            runtime: config.runtime,
            authorizers,
            flow: Flow::new(config.flow, cache.clone()),
            connections: config.connections,
            request_times: config.request_times,
            cors: config.cors,
            transport_security: config
                .transport_security
                .and_then(|directives| HeaderValue::from_str(&directives).ok()),
            audit,
            traces,
            aggregation: Aggregation::new(cache.clone(), config.proxy_identity, front_proxy.as_ref()),
            usage: Usage::default(),
            client_ca,
            front_proxy,
            leaving: config.leaving.unwrap_or_else(|| shutdown.clone()),
            shutdown,
            answering,
            drained,
            turns_away_at_shutdown: config.turns_away_at_shutdown,
            metrics,
            recent: Recent::default(),
            converted: custom::Converted::default(),
            event_leases: EventLeases::new(config.event_ttl),
            fed,
        });
        bootstrap::ensure(&server).await?;
        tokio::spawn(custom::clean_up(Arc::downgrade(&server)));
        tokio::spawn(custom::give_names(Arc::downgrade(&server)));
        tokio::spawn(custom::empty_namespaces(Arc::downgrade(&server)));
        tokio::spawn(aggregation::watch_availability(Arc::downgrade(&server)));
        upkeep::start(&server);
        if let Some(interval) = config.compaction {
            tokio::spawn(upkeep::compact(Arc::downgrade(&server), interval));
        }
        Ok(server)
    }

    /// How far the server has followed the store.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.cache.revisions()
    }

    /// The API as a service inside this process, for one user.
    pub fn in_process(self: &Arc<Self>, user: UserInfo) -> InProcess {
        InProcess::new(self.clone(), user)
    }

    /// Serves HTTPS until `shutdown`.
    pub async fn serve(
        self: Arc<Self>,
        listener: tokio::net::TcpListener,
        tls: impl Into<TlsSettings>,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        crate::http::serve(self, listener, tls.into(), shutdown).await
    }

    /// A served resource.
    pub(crate) fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        let own = resources::find(group, version, plural).filter(|resource| self.runtime.serves(resource));
        own.or_else(|| self.cache.custom().find(group, version, plural))
    }

    /// Whether any resource of this group-version is served.
    pub(crate) fn serves(&self, group: &str, version: &str) -> bool {
        let own = |r: &&'static Resource| r.group == group && r.version == version;
        self.runtime.serves_version(group, version) || self.cache.custom().all().iter().any(own)
    }

    /// Whether groups are those of every server: nothing is turned off, added, or served by others.
    pub(crate) fn has_built_in_groups_only(&self) -> bool {
        self.runtime.serves_all() && self.cache.custom().is_empty() && self.aggregation.remotes().is_empty()
    }

    pub(crate) fn advertise(&self) -> SocketAddr {
        self.advertise
    }

    /// What stored roles and bindings allow now.
    pub(crate) fn rbac(&self) -> Arc<Grants> {
        self.rbac.grants()
    }

    /// Whether the cache still follows the store.
    pub(crate) fn is_fed(&self) -> bool {
        self.fed.load(Ordering::Relaxed)
    }

    /// Waits until the cache holds everything written before now: a consistent read follows.
    pub(crate) async fn reach_now(&self) -> Result<(), ApiError> {
        let now = self.store.revision().await?;
        self.cache.reach(now.0).await;
        Ok(())
    }

    /// Whether what is stored under a key is to be written anew although the object doesn't change.
    pub(crate) async fn is_stale(&self, key: &str) -> Result<bool, ApiError> {
        match &self.sealed {
            Some(sealed) => Ok(sealed.is_stale(key).await?),
            None => Ok(false),
        }
    }

    /// Health checks of those who keep keys.
    pub(crate) fn key_checks(&self) -> Vec<(String, bool)> {
        let sealed = self.sealed.as_ref();
        sealed.map(|sealed| sealed.health()).unwrap_or_default()
    }

    /// The lease objects of this kind are stored under, if they end by themselves.
    pub(crate) async fn lease_for(&self, resource: &Resource) -> Result<Option<LeaseId>, ApiError> {
        if !resource.rules.expires {
            return Ok(None);
        }
        Ok(Some(self.event_leases.current(&self.store).await?))
    }
}

/// Waits for the last requests after `shutdown`, as long as one may take, and for the last watches.
async fn drain(
    shutdown: CancellationToken,
    answering: TaskTracker,
    longest: Duration,
    unwatched: CancellationToken,
    drained: CancellationToken,
) {
    shutdown.cancelled().await;
    answering.close();
    if tokio::time::timeout(longest, answering.wait()).await.is_err() {
        tracing::warn!(
            count = answering.len(),
            "requests are given up that take too long"
        );
    }
    unwatched.cancelled().await;
    drained.cancel();
}
