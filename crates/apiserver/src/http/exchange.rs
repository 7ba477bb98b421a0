//! What becomes known of a request on its way, and what is made of it in the end: headers, metrics, a line in the log
//! if it was slow or failed, and events in the audit log.
use super::Body;
use super::body::Frames;
use super::compression::{accepts_gzip, compress};
use super::pipeline::Caller;
use super::respond::error_response;
use crate::ApiServer;
use crate::audit::{Record, Stage};
use crate::authn::UserInfo;
use crate::authz::Decision;
use crate::flow::Class;
use crate::metrics::{RequestKind, RunningGuard};
use crate::request::Output;
use crate::status::ApiError;
use crate::traces::{Answered, Begun, span_name};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, Method, Response, Uri};
use http_body_util::BodyExt;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio_util::task::task_tracker::TaskTrackerToken;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const FLOW_SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// How the first frame of a watch's event begins.
const EVENT: &[u8] = b"{\"type\":";
/// An answer that took longer is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);

/// One request and what is known of it.
pub(super) struct Exchange {
    pub server: Arc<ApiServer>,
    began: Instant,
    audit_id: HeaderValue,
    takes_gzip: bool,
    method: Method,
    uri: Uri,
    agent: Option<HeaderValue>,
    pub source: Option<IpAddr>,
    /// Whom it is made as.
    pub user: Option<Arc<UserInfo>>,
    /// How its series are labelled.
    pub kind: RequestKind,
    pub class: Option<Arc<Class>>,
    /// Time it waited for others.
    pub waited: Duration,
    /// It goes on as long as its caller listens.
    pub long_running: bool,
    /// What it is answered with comes from another server, which knows nothing of the end of this one.
    pub from_elsewhere: bool,
    pub in_flight: Option<RunningGuard>,
    /// The server waits for it when it is told to stop.
    pub answering: Option<TaskTrackerToken>,
    pub record: Option<Record>,
    refusal: Option<ApiError>,
    panicked: bool,
    trace: Option<Begun>,
}

impl Exchange {
    pub fn begin(server: Arc<ApiServer>, caller: &Caller, parts: &Parts) -> Self {
        let given = parts.headers.get(AUDIT_ID).cloned();
        // Of the process's own randomness: asking the system each time costs more than the rest of a header.
        let made = || {
            let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
            HeaderValue::from_str(&id.to_string()).unwrap_or(HeaderValue::from_static(""))
        };
        let trace = server.traces.as_ref().map(|traces| traces.begin(&parts.headers));
        Self {
            server,
            trace,
            began: Instant::now(),
            audit_id: given.unwrap_or_else(made),
            takes_gzip: accepts_gzip(&parts.headers),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            agent: parts.headers.get(USER_AGENT).cloned(),
            source: caller.source,
            user: None,
            kind: RequestKind::default(),
            class: None,
            waited: Duration::ZERO,
            long_running: false,
            from_elsewhere: false,
            in_flight: None,
            answering: None,
            record: None,
            refusal: None,
            panicked: false,
        }
    }

    pub fn audit_id(&self) -> &str {
        self.audit_id.to_str().unwrap_or_default()
    }

    /// What was decided about the caller's right.
    pub fn decided(&mut self, decision: &Decision) {
        let Some(record) = &mut self.record else {
            return;
        };
        let (decision, reason) = match decision {
            Decision::Allow(reason) => ("allow", reason.as_deref().unwrap_or_default()),
            Decision::Deny(refusal) => ("forbid", refusal.reason.as_str()),
        };
        record.annotate("authorization.k8s.io/decision", decision);
        record.annotate("authorization.k8s.io/reason", reason);
    }

    /// What was sent.
    pub fn carries(&mut self, headers: &HeaderMap, body: &Bytes) {
        let Some(record) = self.record.as_mut().filter(|_| !body.is_empty()) else {
            return;
        };
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let object = if kind.contains("protobuf") {
            orlop_api::wire::protobuf::decode(body).ok()
        } else if kind.contains("yaml") {
            serde_saphyr::from_slice(body).ok()
        } else {
            serde_json::from_slice(body).ok()
        };
        if let Some(object) = object {
            record.carries(object);
        }
    }

    /// The answer to a request that is not carried out.
    pub fn refuse(&mut self, error: ApiError, output: &Output) -> Response<Body> {
        let response = error_response(&error, output);
        if error.code >= 500 || self.record.is_some() {
            self.refusal = Some(error);
        }
        response
    }

    /// The handler is gone.
    pub fn panicked(&mut self) {
        self.panicked = true;
    }

    /// The answer as it is sent.
    pub async fn finish(mut self, mut response: Response<Body>) -> Response<Body> {
        let (code, elapsed) = (response.status(), self.began.elapsed());
        let metrics = &self.server.metrics.requests;
        let lasted = (!self.long_running).then(|| (elapsed, elapsed.saturating_sub(self.waited)));
        let bytes = response.body().bytes().filter(|_| !self.long_running);
        metrics.answered(&self.kind, code, lasted, bytes);
        self.log(code.as_u16(), elapsed);
        let trace = self.trace.take();
        if let (Some(traces), Some(begun)) = (&self.server.traces, trace) {
            traces.end(begun, self.answered(code.as_u16()));
        }
        let headers = response.headers_mut();
        headers.insert(AUDIT_ID, self.audit_id.clone());
        if let Some(directives) = &self.server.transport_security {
            headers.insert(STRICT_TRANSPORT_SECURITY, directives.clone());
        }
        if let Some(class) = &self.class {
            headers.insert(FLOW_SCHEMA, class.schema_uid.clone());
            headers.insert(PRIORITY_LEVEL, class.level_uid.clone());
        }
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        }
        self.in_flight = None;
        if let Some(answering) = self.answering.take() {
            // Until it is sent.
            response.extensions_mut().insert(answering);
        }
        let streams = self.long_running && code.is_success();
        let running = streams.then(|| metrics.long_running(&self.kind));
        response = self.audit(response, streams).await;
        match running {
            Some(running) => self.follow(response, running),
            None => compress(self.takes_gzip, response),
        }
    }

    /// What a span tells of the request.
    fn answered(&self, code: u16) -> Answered<'_> {
        let (user, agent) = (self.user.as_deref(), self.agent.as_ref());
        let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let source = self.source.map(|source| source.to_string());
        Answered {
            name: span_name(&self.method, self.uri.path()),
            user,
            code,
            attributes: vec![
                ("http.request.method", self.method.to_string()),
                ("url.path", self.uri.path().to_owned()),
                ("url.query", self.uri.query().unwrap_or_default().to_owned()),
                ("user_agent.original", agent.to_owned()),
                ("client.address", source.unwrap_or_default()),
                (
                    "enduser.id",
                    user.map_or_else(String::new, |user| user.name.clone()),
                ),
                ("audit-id", self.audit_id().to_owned()),
            ],
        }
    }

    fn log(&self, code: u16, elapsed: Duration) {
        let user = self.user.as_ref().map_or("", |user| user.name.as_str());
        let agent = self
            .agent
            .as_ref()
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default();
        let (method, uri, id) = (&self.method, &self.uri, self.audit_id());
        if code >= 500 {
            let error = self.refusal.as_ref().map_or("", |error| error.message.as_str());
            tracing::warn!(%method, %uri, user, agent, code, ?elapsed, id, error, "a request failed");
        } else if elapsed > SLOW && !self.long_running {
            tracing::info!(%method, %uri, user, agent, code, ?elapsed, id, "a request was slow");
        } else {
            tracing::debug!(%method, %uri, user, code, ?elapsed, "answered");
        }
    }

    async fn audit(&mut self, mut response: Response<Body>, streams: bool) -> Response<Body> {
        let (Some(record), Some(audit)) = (&self.record, &self.server.audit) else {
            return response;
        };
        let status = self.status(response.status().as_u16());
        if self.panicked {
            audit.write(record, Stage::Panic, status.clone(), None).await;
        }
        if streams {
            audit.write(record, Stage::ResponseStarted, status, None).await;
            return response;
        }
        let mut object = None;
        let json = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == "application/json");
        if record.wants_answer() && json {
            let (parts, body) = response.into_parts();
            // Bodies of this server don't fail.
            let bytes = body
                .collect()
                .await
                .map(|body| body.to_bytes())
                .unwrap_or_default();
            object = serde_json::from_slice(&bytes).ok();
            response = Response::from_parts(parts, Body::frames([bytes]));
        }
        audit.write(record, Stage::ResponseComplete, status, object).await;
        response
    }

    fn status(&self, code: u16) -> Option<Value> {
        let mut status = match &self.refusal {
            Some(error) => error.to_value(),
            None => json!({"metadata": {}}),
        };
        for member in ["kind", "apiVersion"] {
            status.as_object_mut()?.remove(member);
        }
        status["code"] = json!(code);
        Some(status)
    }

    /// Accompanies an answer that goes on, to its end.
    fn follow(self, response: Response<Body>, running: RunningGuard) -> Response<Body> {
        let status = self.status(response.status().as_u16());
        let events = self.server.metrics.requests.watch_events(&self.kind);
        let stop = self.from_elsewhere.then(|| self.server.shutdown.clone());
        let server = self.server;
        let ending = self.record.map(|record| {
            Box::new(Ending {
                server,
                record: Some(record),
                status,
            })
        });
        response.map(|body| match body {
            Body::Stream(frames) => Body::from_stream(Followed {
                frames: match stop {
                    Some(stop) => Box::pin(frames.take_until(stop.cancelled_owned())),
                    None => frames,
                },
                events,
                _running: running,
                _ending: ending,
            }),
            whole => whole,
        })
    }
}

/// A stream that is counted while it goes on. There may be very many.
struct Followed {
    frames: Frames,
    events: Counter,
    _running: RunningGuard,
    _ending: Option<Box<Ending>>,
}

impl Stream for Followed {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.frames.as_mut().poll_next(cx);
        if let Poll::Ready(Some(Ok(frame))) = &next
            && frame.starts_with(EVENT)
        {
            self.events.inc();
        }
        next
    }
}

/// Writes down that an answer has ended, whichever side ended it.
struct Ending {
    server: Arc<ApiServer>,
    record: Option<Record>,
    status: Option<Value>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (Some(record), status, server) = (self.record.take(), self.status.take(), self.server.clone())
        else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Some(audit) = &server.audit {
                    audit.write(&record, Stage::ResponseComplete, status, None).await;
                }
            });
        }
    }
}
