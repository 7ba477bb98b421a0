//! What the server counts about itself, under upstream's names (contract §4.5).
mod admission;
mod authorization;
mod flow;
mod pod_security;
mod requests;
mod store;

pub use admission::{Passings, Phase, Question, Verdict};
pub use authorization::AuthorizationMetrics;
pub use pod_security::Written;
pub use requests::{RequestKind, RunningGuard, kind_of};
pub use store::Timed;

use crate::ApiServer;
use crate::discovery::GIT_VERSION;
use crate::http::{Answer, Body, response};
use http::StatusCode;
use orlop_metrics::{PartMetrics, text};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use requests::RequestMetrics;

/// Upper ends of the classes of the time that client certificates have left, in seconds; upstream's: from minutes to
/// a year.
const LEFT: &[f64] = &[
    0.0,
    1800.0,
    3600.0,
    7200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stored {
    group: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Authenticated {
    username: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuditLevel {
    level: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiService {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lost {
    name: String,
    reason: &'static str,
}

/// What is counted about the audit log.
#[derive(Clone, Default)]
pub struct AuditMetrics {
    events: Counter,
    rejected: Counter,
    levels: Family<AuditLevel, Counter>,
}

impl AuditMetrics {
    pub fn judged(&self, level: &'static str) {
        self.levels.get_or_create(&AuditLevel { level }).inc();
    }

    pub fn written(&self) {
        self.events.inc();
    }

    pub fn rejected(&self) {
        self.rejected.inc();
    }
}

/// All series of one server.
pub struct Metrics {
    /// Those of every part, and the registry.
    pub part: PartMetrics,
    pub requests: RequestMetrics,
    pub flow: flow::FlowMetrics,
    pub store: store::StoreDurations,
    pub audit: AuditMetrics,
    pub admission: admission::AdmissionMetrics,
    pub authorization: AuthorizationMetrics,
    pub pod_security: pod_security::PodSecurityMetrics,
    stored: Family<Stored, Gauge>,
    attempts: Family<Attempt, Counter>,
    authenticated: Family<Authenticated, Counter>,
    certificates: Histogram,
    unavailable: Family<ApiService, Gauge>,
    lost: Family<Lost, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            part: PartMetrics::new(GIT_VERSION),
            requests: RequestMetrics::default(),
            flow: flow::FlowMetrics::default(),
            store: store::durations(),
            audit: AuditMetrics::default(),
            admission: admission::AdmissionMetrics::default(),
            stored: Family::default(),
            attempts: Family::default(),
            authenticated: Family::default(),
            authorization: AuthorizationMetrics::default(),
            pod_security: pod_security::PodSecurityMetrics::default(),
            certificates: Histogram::new(LEFT.iter().copied()),
            unavailable: Family::default(),
            lost: Family::default(),
        };
        metrics.part.registry(|registry| metrics.register(registry));
        metrics
    }
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        self.requests.register(registry);
        self.flow.register(registry);
        self.admission.register(registry);
        self.authorization.register(registry);
        self.pod_security.register(registry);
        registry.register(
            "etcd_request_duration_seconds",
            "Time that the store took",
            self.store.clone(),
        );
        registry.register("apiserver_storage_objects", "Stored objects", self.stored.clone());
        // Upstream's newer name of the same.
        registry.register(
            "apiserver_resource_objects",
            "Stored objects",
            self.stored.clone(),
        );
        registry.register(
            "authentication_attempts",
            "Attempts to be recognised",
            self.attempts.clone(),
        );
        registry.register(
            "authenticated_user_requests",
            "Requests of users that were recognised",
            self.authenticated.clone(),
        );
        registry.register(
            "apiserver_client_certificate_expiration_seconds",
            "Time that the certificates of clients had left when they were used",
            self.certificates.clone(),
        );
        registry.register(
            "apiserver_audit_event",
            "Audit events written",
            self.audit.events.clone(),
        );
        registry.register(
            "apiserver_audit_level",
            "Requests by the level at which they are audited",
            self.audit.levels.clone(),
        );
        registry.register(
            "apiserver_audit_requests_rejected",
            "Requests that were refused because they could not be audited",
            self.audit.rejected.clone(),
        );
        registry.register(
            "aggregator_unavailable_apiservice",
            "Whether an APIService is not available",
            self.unavailable.clone(),
        );
        // Written with `_total`, as it is a counter.
        registry.register(
            "aggregator_unavailable_apiservice",
            "Times that an APIService became unavailable",
            self.lost.clone(),
        );
    }

    /// Somebody has proven who they are, or failed to.
    pub fn authenticated(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.attempts.get_or_create(&Attempt { result }).inc();
        if success {
            // Upstream names nobody either.
            let username = "other";
            self.authenticated
                .get_or_create(&Authenticated { username })
                .inc();
        }
    }

    /// A client certificate was used that is valid for so many more seconds.
    pub fn certificate_used(&self, seconds_left: f64) {
        self.certificates.observe(seconds_left);
    }

    /// An APIService was available and is not any more, by the reason of its condition.
    pub fn became_unavailable(&self, name: &str, reason: &'static str) {
        let name = name.to_owned();
        self.lost.get_or_create(&Lost { name, reason }).inc();
    }

    /// Takes in what is only counted when somebody asks.
    fn observe(&self, server: &ApiServer) {
        self.stored.clear();
        for (resource, count) in server.cache.counts() {
            let stored = Stored {
                group: resource.group,
                resource: resource.plural,
            };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.stored.get_or_create(&stored).set(count);
        }
        self.flow.observe(&server.flow.levels());
        self.unavailable.clear();
        for (name, available) in server.aggregation.states() {
            self.unavailable
                .get_or_create(&ApiService { name })
                .set(i64::from(!available));
        }
    }
}

/// Answers if the path is one of the metrics.
pub fn answer(server: &ApiServer, path: &str) -> Option<Answer> {
    let metrics = &server.metrics;
    let text = match path {
        "/metrics" => {
            metrics.observe(server);
            metrics.part.render()
        }
        "/metrics/slis" => metrics.part.checks.render(),
        _ => return None,
    };
    let body = Body::from(text.into_bytes());
    Some(Answer::Raw(response(StatusCode::OK, text::CONTENT_TYPE, body)))
}
