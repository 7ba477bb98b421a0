//! The Kubernetes API over a versioned store.
//!
//! Folders follow a request's way:
//!
//! | folder | does |
//! |---|---|
//! | `http` | connections (TLS or in-process), the pipeline every request takes, response bodies |
//! | `authn`, `request`, `authz` | who asks; what is asked; may they |
//! | `flow` | how many are answered at the same time, and whose turn it is |
//! | `health`, `metrics`, `discovery`, `openapi` | answers that are about the server itself |
//! | `registry` | the verbs, one a file |
//! | `resources` | what each kind is and its particular rules: one declaration each, one table |
//! | `admission` | rules between kinds, one a file |
//! | `custom` | resources that CustomResourceDefinitions declare |
//! | `cache` | every object's bytes once, and the recent past |
//! | `encryption` | values at rest |
//! | `runtime_config` | which of the resources are served |
//! | `settings` | reading configuration files strictly |
//! | `kubelet` | asking node agents: logs, and streams into containers |
//! | `outbound` | asking others' HTTPS servers |
//! | `aggregation` | API groups that other servers serve |
//! | `components` | ComponentStatuses |
//! | `usage` | `metrics.k8s.io`: what nodes and pods use |
//! | `audit` | who did what |
//! | `traces` | OpenTelemetry spans |
//! | `upkeep` | objects the server keeps in order while it runs |
//! | `bootstrap` | objects that exist from the start |
//! | `status` | refusals |
//!
//! Long-lived tasks: `cache::run` (one; listens to the store's watch, is the cache's only writer, wakes
//! watchers; a short one beside it reads at each start what was before from the store's history, another tries whether
//! what is shut can be opened again, and sleeps while nothing is), `custom::clean_up`,
//! `custom::give_names` and `custom::empty_namespaces` (one each; wake when a definition changes, the last one also when a
//! namespace does), those of `upkeep` (wake when what they keep changes),
//! `aggregation::watch_availability` (one; sleeps unless there are remote APIServices), `Encryption::run` (one, if
//! values are sealed; asks KMS plugins how they are) and one task per connection. An idle server does nothing but send
//! the bookmarks that watchers asked for.
//!
//! A write goes to the store first and is answered once the cache has seen it, so that every client
//! reads its own writes. Reads without a version first ask the store how far it is and wait for the
//! cache to be there.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod aggregation;
mod audit;
mod authn;
mod authz;
mod bootstrap;
mod cache;
mod components;
mod custom;
mod discovery;
mod encode;
mod encryption;
mod event_leases;
mod flow;
mod health;
mod http;
mod kubelet;
mod metrics;
mod openapi;
mod outbound;
mod registry;
mod request;
mod resources;
mod runtime_config;
mod server;
mod settings;
mod status;
mod traces;
mod upkeep;
mod usage;

pub use admission::{AdmissionSettings, UnknownPlugin};
pub use audit::{AuditConfig, AuditError, AuditLog, AuditWebhook, Batches, PolicyError, Rate, Sending};
pub use authn::{
    AuthenticationConfig, AuthenticationError, FrontProxyConfig, OidcConfig, StructuredAuthentication,
    TokenWebhookConfig, TrustedAuthorities, UserInfo,
};
pub use authz::{AccessWebhookConfig, AuthorizationMode, StructuredAuthorization, UnknownMode};
pub use discovery::GIT_VERSION;
pub use encryption::{Encryption, EncryptionError};
pub use flow::FlowConfig;
pub use http::{Body, ConnectionConfig, Cors, CorsError, InProcess, RequestTimes, ServeError, TlsSettings};
pub use kubelet::{ADDRESS_TYPES, ADDRESSES_FIRST};
pub use outbound::{RemoteError, ReviewVersion};
pub use registry::{BadRange, BadRanges, ServiceNetwork, ServiceRange};
pub use resources::ROOT as STORAGE_ROOT;
pub use runtime_config::{RuntimeConfig, RuntimeConfigError};
pub use server::{ApiServer, Config, KubeletClientTls, StartError, TokenConfig};
pub use settings::SettingsError;
pub use traces::{TracesConfig, TracesError};
pub use upkeep::EndpointReconciler;
