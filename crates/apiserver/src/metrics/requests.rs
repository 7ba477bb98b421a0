//! How requests are counted: one set of labels for each kind of request.
use crate::request::{Query, RequestInfo};
use crate::resources::Resource;
use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
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
/// The same of answers' sizes, in bytes: tenfold from 1,000.
const SIZES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// This server, in the labels of series.
const COMPONENT: &str = "apiserver";

/// What a request is about, as its series are labelled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
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

impl Answered {
    fn of(kind: &Kind, dry_run: &'static str, code: StatusCode) -> Self {
        Self {
            verb: kind.verb,
            group: kind.group,
            version: kind.version,
            resource: kind.resource,
            subresource: kind.subresource,
            scope: kind.scope,
            component: kind.component,
            dry_run,
            code: code.as_u16(),
        }
    }
}

/// How a request is counted.
#[derive(Clone, Debug, Default)]
pub struct RequestKind {
    kind: Kind,
    dry_run: &'static str,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InFlight {
    request_kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
}

/// The series of one server's requests.
pub struct RequestMetrics {
    requests: Family<Answered, Counter>,
    durations: Durations<Timed>,
    /// Without the time spent waiting for others.
    own_durations: Durations<Kind>,
    sizes: Durations<Kind>,
    terminated: Family<Answered, Counter>,
    long_running: Family<Kind, Gauge>,
    in_flight: Family<InFlight, Gauge>,
    watch_events: Family<Watched, Counter>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let durations: fn() -> Histogram = || Histogram::new(DURATIONS.iter().copied());
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(durations),
            own_durations: Family::new_with_constructor(durations),
            sizes: Family::new_with_constructor(|| Histogram::new(SIZES.iter().copied())),
            terminated: Family::default(),
            long_running: Family::default(),
            in_flight: Family::default(),
            watch_events: Family::default(),
        }
    }
}

/// Counts a request while it lives.
pub struct RunningGuard(Gauge);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl RequestMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_request",
            "Requests answered, by verb, resource and status code",
            self.requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Time to answer requests that end by themselves",
            self.durations.clone(),
        );
        registry.register(
            "apiserver_request_sli_duration_seconds",
            "The same without the time spent waiting for a seat",
            self.own_durations.clone(),
        );
        registry.register(
            "apiserver_response_sizes",
            "Size of answers to requests that read",
            self.sizes.clone(),
        );
        registry.register(
            "apiserver_request_terminations",
            "Requests that were turned away or took too long",
            self.terminated.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Watches and streams that go on now",
            self.long_running.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests being answered now, other than streams",
            self.in_flight.clone(),
        );
        registry.register(
            "apiserver_watch_events",
            "Events sent to watchers",
            self.watch_events.clone(),
        );
        for request_kind in ["readOnly", "mutating"] {
            drop(self.in_flight.get_or_create(&InFlight { request_kind }));
        }
        // Alerts compare it with all requests from the first on.
        let none = Answered::of(&Kind::default(), "", StatusCode::TOO_MANY_REQUESTS);
        drop(self.terminated.get_or_create(&Answered {
            component: COMPONENT,
            ..none
        }));
    }

    /// A request that ends by itself has begun.
    pub fn began(&self, method: &Method) -> RunningGuard {
        let request_kind = match *method {
            Method::GET | Method::HEAD => "readOnly",
            _ => "mutating",
        };
        running(self.in_flight.get_or_create_owned(&InFlight { request_kind }))
    }

    /// An answer goes on.
    pub fn long_running(&self, kind: &RequestKind) -> RunningGuard {
        running(self.long_running.get_or_create_owned(&kind.kind))
    }

    /// Counts the events of a watch.
    pub fn watch_events(&self, kind: &RequestKind) -> Counter {
        let Kind {
            group,
            version,
            resource,
            ..
        } = kind.kind;
        let watched = Watched {
            group,
            version,
            resource,
        };
        self.watch_events.get_or_create_owned(&watched)
    }

    /// A request was answered. `lasted`, for those that end by themselves: in all, and without waiting for others.
    /// `bytes`: the answer's size, if it is known.
    pub fn answered(
        &self,
        kind: &RequestKind,
        code: StatusCode,
        lasted: Option<(Duration, Duration)>,
        bytes: Option<u64>,
    ) {
        let RequestKind { kind, dry_run } = kind;
        let answered = Answered::of(kind, dry_run, code);
        self.requests.get_or_create(&answered).inc();
        if matches!(code.as_u16(), 429 | 504) {
            self.terminated.get_or_create(&answered).inc();
        }
        if let Some((whole, own)) = lasted {
            let timed = Timed {
                verb: kind.verb,
                group: kind.group,
                version: kind.version,
                resource: kind.resource,
                subresource: kind.subresource,
                scope: kind.scope,
                component: kind.component,
                dry_run,
            };
            self.durations.get_or_create(&timed).observe(whole.as_secs_f64());
            self.own_durations.get_or_create(kind).observe(own.as_secs_f64());
        }
        if let (Some(bytes), "GET" | "LIST") = (bytes, kind.verb) {
            self.sizes.get_or_create(kind).observe(bytes as f64);
        }
    }
}

fn running(gauge: Gauge) -> RunningGuard {
    gauge.inc();
    RunningGuard(gauge)
}

/// How a request is labelled. `resource` is absent for paths that are none.
pub fn kind_of(
    info: &RequestInfo,
    resource: Option<&Resource>,
    method: &Method,
    query: &Query,
) -> RequestKind {
    let verb = match (info.verb.as_str(), method) {
        ("list", _) => "LIST",
        ("watch", _) => "WATCH",
        ("deletecollection", _) => "DELETECOLLECTION",
        ("patch", _) => "PATCH",
        (_, &Method::GET) if !info.subresource.is_empty() && is_connect(&info.subresource) => "CONNECT",
        (_, &Method::POST) if is_connect(&info.subresource) => "CONNECT",
        (_, &Method::GET) => "GET",
        (_, &Method::POST) => "POST",
        (_, &Method::PUT) => "PUT",
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
    RequestKind {
        kind: Kind {
            verb,
            group: resource.map_or("", |r| r.group),
            version: resource.map_or("", |r| r.version),
            resource: resource.map_or("", |r| r.plural),
            subresource: part.map_or("", |part| part.name),
            scope,
            component: COMPONENT,
        },
        dry_run: if query.has("dryRun") { "All" } else { "" },
    }
}

fn is_connect(subresource: &str) -> bool {
    matches!(subresource, "attach" | "exec" | "portforward" | "proxy" | "log")
}
