//! OpenTelemetry spans, one a request (`--tracing-config-file`): nothing is made of requests unless that is given.
//!
//! | file | does |
//! |---|---|
//! | `context` | `traceparent`: the span that a request comes from |
//! | `otlp` | spans as OTLP's protobuf |
//! | `export` | the task that sends them on, over gRPC |
mod context;
mod export;
mod otlp;

use crate::authn::UserInfo;
use context::Parent;
use http::{HeaderMap, Method};
use orlop_api::wire;
use otlp::Span;
use std::time::SystemTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Spans that wait to be sent. When nobody takes them, further ones are dropped.
const WAITING_MAX: usize = 4096;
/// Where collectors listen unless the configuration says otherwise.
const ENDPOINT: &str = "localhost:4317";
const MILLION: u32 = 1_000_000;
/// Nobody has proven who this is.
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Where spans go, and of how many requests there are some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracesConfig {
    /// `host:port` of a collector that takes OTLP over gRPC without TLS.
    pub endpoint: String,
    /// Of a million requests that come without a span of their own.
    pub sampled: u32,
}

/// A TracingConfiguration that cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TracesError {
    #[error("the tracing configuration cannot be read: {0}")]
    Unreadable(String),
    #[error(
        "the tracing configuration is a {0:?}: it has to be a TracingConfiguration of apiserver.config.k8s.io"
    )]
    Kind(String),
    #[error("samplingRatePerMillion: Invalid value: {0}: sampling rate must be between 0 and one million")]
    Rate(i64),
    #[error("endpoint: Invalid value: {0:?}: it has to be host:port")]
    Endpoint(String),
}

impl TracesConfig {
    /// From the text of a TracingConfiguration, YAML or JSON.
    ///
    /// # Errors
    /// It is none, or one that cannot be followed.
    pub fn parse(text: &str) -> Result<Self, TracesError> {
        let config = wire::from_yaml(text.as_bytes()).map_err(|e| TracesError::Unreadable(e.to_string()))?;
        let version = config["apiVersion"].as_str().unwrap_or_default();
        let kind = config["kind"].as_str().unwrap_or_default();
        if !version.starts_with("apiserver.config.k8s.io/") || kind != "TracingConfiguration" {
            return Err(TracesError::Kind(format!("{version} {kind}")));
        }
        let rate = config["samplingRatePerMillion"].as_i64().unwrap_or_default();
        let sampled = u32::try_from(rate).ok().filter(|rate| *rate <= MILLION);
        let endpoint = config["endpoint"].as_str().unwrap_or(ENDPOINT);
        let port = endpoint.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err(TracesError::Endpoint(endpoint.to_owned()));
        }
        Ok(Self {
            endpoint: endpoint.to_owned(),
            sampled: sampled.ok_or(TracesError::Rate(rate))?,
        })
    }
}

/// Takes the spans of requests.
pub struct Traces {
    sampled: u32,
    spans: mpsc::Sender<Span>,
}

/// A request that may get a span.
pub struct Begun {
    parent: Option<Parent>,
    at: SystemTime,
}

/// What there is to say of a request when it has been answered.
pub struct Answered<'a> {
    pub name: String,
    pub user: Option<&'a UserInfo>,
    pub code: u16,
    pub attributes: Vec<(&'static str, String)>,
}

impl Traces {
    /// Starts the task that sends spans on, until `shutdown`.
    pub fn start(config: TracesConfig, shutdown: CancellationToken) -> Self {
        let (spans, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(export::run(config.endpoint, waiting, shutdown));
        Self {
            sampled: config.sampled,
            spans,
        }
    }

    pub fn begin(&self, headers: &HeaderMap) -> Begun {
        Begun {
            parent: Parent::of(headers),
            at: SystemTime::now(),
        }
    }

    /// Makes a span of a request, if there is to be one of it.
    pub fn end(&self, begun: Begun, answered: Answered<'_>) {
        // Callers that nobody knows do not decide what is traced.
        let known = answered.user.is_some_and(|user| !user.is_in(UNAUTHENTICATED));
        let parent = begun.parent.filter(|_| known);
        let wanted = match &parent {
            Some(parent) => parent.sampled,
            None => self.sampled > 0 && rand::random::<u32>() % MILLION < self.sampled,
        };
        if !wanted {
            return;
        }
        let span = Span {
            trace: parent.as_ref().map_or_else(rand::random, |parent| parent.trace),
            id: rand::random(),
            parent: parent.map(|parent| parent.span),
            name: answered.name,
            began: begun.at,
            ended: SystemTime::now(),
            code: answered.code,
            attributes: answered.attributes,
        };
        // A collector that is slower than requests come loses some.
        let _ = self.spans.try_send(span);
    }
}

/// The name of a request's span, without what differs between requests of one kind.
pub fn span_name(method: &Method, path: &str) -> String {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (prefix, mut rest) = match segments.as_slice() {
        ["api", _, rest @ ..] => (&segments[..2], rest),
        ["apis", _, _, rest @ ..] => (&segments[..3], rest),
        _ => return method.to_string(),
    };
    let mut route = prefix.to_vec();
    if let ["namespaces", _, part, ..] = rest
        && !matches!(*part, "status" | "finalize")
    {
        route.extend(["namespaces", "{:namespace}"]);
        rest = &rest[2..];
    }
    match rest {
        [] => return method.to_string(),
        [resource] => route.push(*resource),
        [resource, _] => route.extend([*resource, "{:name}"]),
        [resource, _, part, ..] => route.extend([*resource, "{:name}", *part]),
    }
    format!("{method} /{}", route.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_read_and_refused() {
        let config = |rest: &str| {
            TracesConfig::parse(&format!(
                "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n{rest}"
            ))
        };
        let given = config("endpoint: collector:9000\nsamplingRatePerMillion: 100").unwrap();
        assert_eq!((given.endpoint.as_str(), given.sampled), ("collector:9000", 100));
        let usual = config("").unwrap();
        assert_eq!((usual.endpoint.as_str(), usual.sampled), ("localhost:4317", 0));
        assert_eq!(
            config("samplingRatePerMillion: 1000001"),
            Err(TracesError::Rate(1_000_001))
        );
        assert_eq!(
            config("endpoint: nowhere"),
            Err(TracesError::Endpoint("nowhere".to_owned()))
        );
        assert!(TracesConfig::parse("apiVersion: v1\nkind: Pod").is_err());
    }

    #[test]
    fn names_are_those_of_kinds_of_requests() {
        for (path, name) in [
            ("/api/v1/pods", "GET /api/v1/pods"),
            (
                "/api/v1/namespaces/d/pods/p/log",
                "GET /api/v1/namespaces/{:namespace}/pods/{:name}/log",
            ),
            (
                "/apis/apps/v1/namespaces/d/daemonsets",
                "GET /apis/apps/v1/namespaces/{:namespace}/daemonsets",
            ),
            ("/api/v1/namespaces/d", "GET /api/v1/namespaces/{:name}"),
            (
                "/api/v1/namespaces/d/status",
                "GET /api/v1/namespaces/{:name}/status",
            ),
            ("/api/v1/nodes/n/proxy/a/b", "GET /api/v1/nodes/{:name}/proxy"),
            ("/apis/apps/v1", "GET"),
            ("/livez", "GET"),
        ] {
            assert_eq!(span_name(&Method::GET, path), name);
        }
    }

    fn answered(user: Option<&UserInfo>) -> Answered<'_> {
        Answered {
            name: "get pods".to_owned(),
            user,
            code: 200,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn a_callers_span_is_followed_if_somebody_known_says_so() {
        let (spans, mut waiting) = mpsc::channel(8);
        let traces = Traces { sampled: 0, spans };
        let mut headers = HeaderMap::new();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", parent.parse().unwrap());
        traces.end(traces.begin(&headers), answered(Some(&UserInfo::admin("a"))));
        let span = waiting.try_recv().unwrap();
        assert_eq!(span.trace[..2], [0x0a, 0xf7]);
        assert_eq!(
            span.parent.unwrap(),
            [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
        );
        traces.end(traces.begin(&headers), answered(Some(&UserInfo::anonymous())));
        traces.end(traces.begin(&headers), answered(None));
        traces.end(
            traces.begin(&HeaderMap::new()),
            answered(Some(&UserInfo::admin("a"))),
        );
        assert!(waiting.try_recv().is_err());
        let (spans, mut waiting) = mpsc::channel(8);
        let every = Traces {
            sampled: MILLION,
            spans,
        };
        every.end(every.begin(&HeaderMap::new()), answered(None));
        assert_eq!(waiting.try_recv().unwrap().parent, None);
    }
}
