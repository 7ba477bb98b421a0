//! What the server needs to know beforehand.
use crate::admission::AdmissionSettings;
use crate::audit::AuditConfig;
use crate::authn::AuthenticationConfig;
use crate::authz::{AccessWebhookConfig, AuthorizationMode, StructuredAuthorization};
use crate::encryption::Encryption;
use crate::event_leases::EVENT_TTL;
use crate::flow::FlowConfig;
use crate::http::{ConnectionConfig, Cors, RequestTimes};
use crate::kubelet::ADDRESS_TYPES;
use crate::registry::ServiceNetwork;
use crate::runtime_config::RuntimeConfig;
use crate::traces::TracesConfig;
use crate::upkeep::EndpointReconciler;
use orlop_pki::Presented;
use std::net::SocketAddr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How the server presents itself to node agents. By default as nobody, to whoever answers.
#[derive(Clone, Debug, Default)]
pub struct KubeletClientTls {
    /// Signs the agents' serving certificates, PEM. `None`: any is taken, since agents may sign their own.
    pub ca: Option<String>,
    /// `None`: agents are asked by nobody in particular, which some of them let.
    pub identity: Option<Presented>,
}

/// How service account tokens are made and recognised.
pub struct TokenConfig {
    /// Names the issuer in tokens, a URL.
    pub issuer: String,
    /// Issuers of tokens that are taken as well.
    pub other_issuers: Vec<String>,
    /// Where others find the keys, if not at the issuer.
    pub key_set_url: Option<String>,
    /// What tokens are for if nothing else is asked; empty: the issuers.
    pub audiences: Vec<String>,
    pub signer: orlop_pki::TokenSigner,
    /// Keys that are trusted besides the signer's.
    pub keys: Vec<orlop_pki::TokenPublicKey>,
    /// Tokens last no longer, seconds.
    pub seconds_max: Option<i64>,
    /// Whether tokens of pods outlive a renewal that fails.
    pub extends: bool,
}

impl TokenConfig {
    /// One issuer with one key.
    pub fn new(issuer: impl Into<String>, signer: orlop_pki::TokenSigner) -> Self {
        Self {
            issuer: issuer.into(),
            other_issuers: Vec::new(),
            key_set_url: None,
            audiences: Vec::new(),
            signer,
            keys: Vec::new(),
            seconds_max: None,
            extends: true,
        }
    }
}

/// What the server needs to know beforehand.
pub struct Config {
    /// Address clients are told.
    pub advertise: SocketAddr,
    /// How node agents are asked, for logs among others.
    pub kubelet_client: KubeletClientTls,
    /// Which types of a node's addresses its agent is called at, in the order in which they are tried.
    pub kubelet_address_types: Vec<String>,
    /// Without it, there are no service account tokens, in pods neither.
    pub tokens: Option<TokenConfig>,
    /// Admission plugins that are asked for beyond those that are on anyway, by upstream's names.
    pub enabled_admission: Vec<String>,
    /// What admission plugins are told.
    pub admission: AdmissionSettings,
    /// How callers are recognised beside service accounts.
    pub authentication: AuthenticationConfig,
    /// Which resources are served.
    pub runtime: RuntimeConfig,
    /// Who decides what they may do.
    pub authorization: Vec<AuthorizationMode>,
    /// Who is asked in the mode Webhook.
    pub access_webhook: Option<AccessWebhookConfig>,
    /// An AuthorizationConfiguration, which says all of that instead.
    pub structured_authorization: Option<StructuredAuthorization>,
    /// How many requests are answered at the same time.
    pub flow: FlowConfig,
    /// How long requests take.
    pub request_times: RequestTimes,
    /// Whose pages browsers let ask this server, beside its own.
    pub cors: Option<Cors>,
    /// What browsers are told with every answer about asking over TLS only.
    pub transport_security: Option<String>,
    /// How long connections are kept.
    pub connections: ConnectionConfig,
    /// What is written down of requests, if anything.
    pub audit: Option<AuditConfig>,
    /// Where spans of requests go, if anywhere.
    pub traces: Option<TracesConfig>,
    /// How the server presents itself to those of aggregated APIs.
    pub proxy_identity: Option<Presented>,
    /// Admission plugins that are turned off, by upstream's names.
    pub disabled_admission: Vec<String>,
    /// How long events are kept.
    pub event_ttl: Duration,
    /// How values are sealed before they are stored.
    pub encryption: Option<Encryption>,
    /// The machine under whose name the server holds a Lease, if it does.
    pub hostname: Option<String>,
    /// Where Services get their addresses and ports.
    pub services: ServiceNetwork,
    /// How the addresses are found that the Service `kubernetes` leads to.
    pub endpoint_reconciler: EndpointReconciler,
    /// How often the store is told what it may forget, if it doesn't by itself: what was replaced longer ago than this.
    pub compaction: Option<Duration>,
    /// Ends the server: watches are closed, requests that end by themselves have as long as they may take anyway.
    pub shutdown: CancellationToken,
    /// Whether clients that come while the last requests are answered are told to try again, elsewhere perhaps; they are
    /// not listened to otherwise.
    pub turns_away_at_shutdown: bool,
    /// Watches end one by one within this time after `shutdown`, so that their clients don't come to another server all at
    /// once; zero: all at once.
    pub watch_farewell: Duration,
    /// From then on the server is not ready and no endpoint of the Service `kubernetes`, but answers as before: clients
    /// go elsewhere. Without it, that is when the server ends.
    pub leaving: Option<CancellationToken>,
}

impl Config {
    pub fn new(advertise: SocketAddr) -> Self {
        Self {
            advertise,
            kubelet_client: KubeletClientTls::default(),
            kubelet_address_types: ADDRESS_TYPES.map(str::to_owned).to_vec(),
            tokens: None,
            enabled_admission: Vec::new(),
            admission: AdmissionSettings::default(),
            authentication: AuthenticationConfig::default(),
            runtime: RuntimeConfig::default(),
            authorization: AuthorizationMode::DEFAULT.to_vec(),
            access_webhook: None,
            structured_authorization: None,
            flow: FlowConfig::default(),
            request_times: RequestTimes::default(),
            cors: None,
            transport_security: None,
            connections: ConnectionConfig::default(),
            audit: None,
            traces: None,
            proxy_identity: None,
            disabled_admission: Vec::new(),
            event_ttl: EVENT_TTL,
            encryption: None,
            hostname: None,
            services: ServiceNetwork::default(),
            endpoint_reconciler: EndpointReconciler::default(),
            compaction: None,
            shutdown: CancellationToken::new(),
            turns_away_at_shutdown: false,
            watch_farewell: Duration::ZERO,
            leaving: None,
        }
    }
}
