//! What the server counts about itself, under upstream's names (contract §4.5).
mod flow;

use crate::ApiServer;
use crate::http::{Answer, Body, response};
use crate::request::{Query, RequestInfo};
use crate::resources::Resource;
use http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Upper ends of the classes of request durations, in seconds; upstream's.
const DURATIONS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

/// What a request is about, as its series are labelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
    dry_run: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
    dry_run: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InFlight {
    request_kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stored {
    group: &'static str,
    resource: &'static str,
}

/// All series of one server.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
    in_flight: Family<InFlight, Gauge>,
    objects: Family<Stored, Gauge>,
    pub flow: flow::FlowMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations: Family<Kind, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATIONS.iter().copied()));
        let (in_flight, objects) = (Family::default(), Family::default());
        registry.register(
            "apiserver_request",
            "Requests answered, by verb, resource and status code",
            requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Time to answer requests that end by themselves",
            durations.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests being answered now, other than streams",
            in_flight.clone(),
        );
        registry.register("apiserver_storage_objects", "Stored objects", objects.clone());
        orlop_metrics::process::register(&mut registry);
        let flow = flow::FlowMetrics::default();
        flow.register(&mut registry);
        Self {
            registry,
            requests,
            durations,
            in_flight,
            objects,
            flow,
        }
    }
}

/// Counts a request as in flight while it lives.
pub struct InFlightGuard(Gauge);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// A request that ends by itself has begun.
    pub fn began(&self, method: &Method) -> InFlightGuard {
        let request_kind = match *method {
            Method::GET | Method::HEAD => "readOnly",
            _ => "mutating",
        };
        let gauge = self.in_flight.get_or_create_owned(&InFlight { request_kind });
        gauge.inc();
        InFlightGuard(gauge)
    }

    /// A request was answered; `lasted` for those that end by themselves.
    pub fn answered(&self, kind: &Kind, code: StatusCode, lasted: Option<Duration>) {
        let answered = Answered {
            verb: kind.verb,
            group: kind.group,
            version: kind.version,
            resource: kind.resource,
            subresource: kind.subresource,
            scope: kind.scope,
            component: kind.component,
            dry_run: kind.dry_run,
            code: code.as_u16(),
        };
        self.requests.get_or_create(&answered).inc();
        if let Some(lasted) = lasted {
            self.durations.get_or_create(kind).observe(lasted.as_secs_f64());
        }
    }
}

/// How a request is labelled. `resource` is absent for paths that are none.
pub fn kind_of(info: &RequestInfo, resource: Option<&Resource>, method: &Method, query: &Query) -> Kind {
    let verb = match (info.verb.as_str(), method) {
        ("list", _) => "LIST",
        ("watch", _) => "WATCH",
        ("deletecollection", _) => "DELETECOLLECTION",
        (_, &Method::GET) => "GET",
        (_, &Method::POST) => "POST",
        (_, &Method::PUT) => "PUT",
        (_, &Method::PATCH) => "PATCH",
        (_, &Method::DELETE) => "DELETE",
        _ => "other",
    };
    let scope = match resource {
        None => "",
        Some(_) if !info.name.is_empty() => "resource",
        Some(resource) if resource.namespaced && !info.namespace.is_empty() => "namespace",
        Some(_) => "cluster",
    };
    let part = resource.and_then(|resource| resource.subresource(&info.subresource));
    Kind {
        verb,
        group: resource.map_or("", |r| r.group),
        version: resource.map_or("", |r| r.version),
        resource: resource.map_or("", |r| r.plural),
        subresource: part.map_or("", |part| part.name),
        scope,
        component: "apiserver",
        dry_run: if query.has("dryRun") { "All" } else { "" },
    }
}

/// Answers if the path is that of the metrics.
pub fn answer(server: &ApiServer, path: &str) -> Option<Answer> {
    if path != "/metrics" {
        return None;
    }
    let metrics = &server.metrics;
    metrics.objects.clear();
    for (resource, count) in server.cache.counts() {
        let stored = Stored {
            group: resource.group,
            resource: resource.plural,
        };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        metrics.objects.get_or_create(&stored).set(count);
    }
    metrics.flow.observe(&server.flow.levels());
    let mut body = String::new();
    if let Err(error) = text::encode(&mut body, &metrics.registry) {
        tracing::error!(%error, "the metrics cannot be written");
    }
    Some(Answer::Raw(response(
        StatusCode::OK,
        orlop_metrics::OPEN_METRICS,
        Body::from(body.into_bytes()),
    )))
}
