//! The service that a part's client talks to, and where its requests meet their fate.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Refusal;
use super::kinds::{self, NAMESPACES};
use super::store::{Actor, Key, Store};
use super::watch::{Selection, follow};
use super::write::{Answer, Deletion, Form};
use crate::faults::{Fate, Faults};

/// How old a list that needn't be the newest may be.
const LAG_MAX: Duration = Duration::from_secs(60);

type Frames = UnsyncBoxBody<Bytes, io::Error>;

/// One life of one part, as the server sees it.
#[derive(Clone)]
pub struct Connection {
    store: Arc<Store>,
    by: Actor,
    faults: Arc<Faults>,
    /// Cancelled when the part has crashed: nothing it still sends arrives, and nothing is answered.
    crashed: CancellationToken,
    /// What was listed before in this life.
    listed: Arc<Mutex<HashSet<String>>>,
}

impl Connection {
    pub fn new(store: Arc<Store>, by: Actor, faults: Arc<Faults>) -> Self {
        Self {
            store,
            by,
            faults,
            crashed: CancellationToken::new(),
            listed: Arc::default(),
        }
    }

    pub fn crashed(&self) -> &CancellationToken {
        &self.crashed
    }

    pub fn client(&self) -> kube::Client {
        orlop_client::in_process(self.clone())
    }

    async fn answer(self, request: Request<Body>) -> io::Result<Response<Frames>> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(io::Error::other)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
        let query = query(head.uri.query().unwrap_or_default());
        let reads = head.method == Method::GET;
        let changes = matches!(head.method, Method::PUT | Method::PATCH);
        let plan = self.faults.plan(reads, changes);
        tokio::time::sleep(plan.before).await;
        if self.crashed.is_cancelled() {
            return std::future::pending().await;
        }
        let target = Target::parse(&path);
        match plan.fate {
            Fate::CrashBefore => {
                self.crashed.cancel();
                return std::future::pending().await;
            }
            Fate::Unreachable => return Err(io::ErrorKind::ConnectionRefused.into()),
            Fate::Refused(code) => {
                let refusal = Refusal::new(code, "InternalError", "the server is not in the mood");
                return Ok(response(Err(refusal)));
            }
            Fate::Overtaken => self.overtake(target.as_ref()),
            Fate::Answered | Fate::AnswerLost | Fate::CrashAfter => {}
        }
        if query
            .get("watch")
            .is_some_and(|watch| watch == "true" || watch == "1")
        {
            return Ok(self.watch(target.as_ref(), &query));
        }
        let answer = self.carry_out(&head.method, &head.headers, &path, target, &query, body);
        if plan.fate == Fate::CrashAfter {
            self.crashed.cancel();
        }
        tokio::time::sleep(plan.after).await;
        if self.crashed.is_cancelled() {
            return std::future::pending().await;
        }
        if plan.fate == Fate::AnswerLost {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(response(answer))
    }

    /// Somebody else's change, of no consequence but for its version.
    fn overtake(&self, target: Option<&Target>) {
        if let Some(Target { key, .. }) = target
            && !key.name.is_empty()
        {
            let change = json!({"metadata": {"annotations": {"simulation/touched": self.store.suffix()}}});
            let _ = self.store.patch(Actor::User, key, None, Form::Merge, &change);
        }
    }

    fn watch(&self, target: Option<&Target>, query: &BTreeMap<String, String>) -> Response<Frames> {
        let Some(target) = target else {
            return response(Err(Refusal::new(404, "NotFound", "no such kind")));
        };
        let selection = Selection::new(target.key.kind, &target.key.namespace, query);
        let version = number(query.get("resourceVersion")).unwrap_or(0);
        if version < self.store.lock().compacted {
            let refusal = Refusal::new(410, "Expired", "too old resource version");
            let mut line = json!({"type": "ERROR", "object": refusal.status()})
                .to_string()
                .into_bytes();
            line.push(b'\n');
            return Response::new(Full::from(line).map_err(|never| match never {}).boxed_unsync());
        }
        let frames = follow(self.store.clone(), selection, version, self.faults.watch());
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn list(&self, target: &Target, query: &BTreeMap<String, String>) -> Answer {
        let selection = Selection::new(target.key.kind, &target.key.namespace, query);
        let (now, oldest) = {
            let contents = self.store.lock();
            let oldest = Instant::now().checked_sub(LAG_MAX);
            (
                contents.version,
                oldest.map_or(0, |oldest| contents.version_before(oldest)),
            )
        };
        let asked = number(query.get("resourceVersion"));
        let again = !self.listed.lock().unwrap().insert(format!("{selection:?}"));
        // The first list, and one that looks for certain objects, is the newest; so is one that names no version, as the
        // API has it. One that names a later version than this server has yet is refused.
        let is_free = again && !query.contains_key("labelSelector");
        let lag = if is_free { self.faults.lag() } else { 0 };
        let behind = if asked.is_some() { lag } else { 0 };
        let at = now.saturating_sub(behind).max(oldest);
        if let Some(asked) = asked
            && asked > at
        {
            let message = format!("Too large resource version: {asked}, current: {at}");
            return Err(Refusal::new(504, "Timeout", message));
        }
        Ok(self.store.list(&selection, Some(at)))
    }

    fn carry_out(
        &self,
        method: &Method,
        headers: &http::HeaderMap,
        path: &[&str],
        target: Option<Target>,
        query: &BTreeMap<String, String>,
        body: Value,
    ) -> Answer {
        if let Some(found) = kinds::discovery(path) {
            return Ok(found);
        }
        let Some(target) = target else {
            return Err(Refusal::new(404, "NotFound", format!("no such path: {path:?}")));
        };
        let (key, part) = (&target.key, target.part.as_deref());
        let answer = match (method.as_str(), key.name.is_empty()) {
            ("GET", true) => self.list(&target, query),
            ("GET", false) => self.store.get(key),
            ("POST", true) => self.store.create(self.by, key, body),
            ("POST", false) if part == Some("binding") => self.store.bind(self.by, key, &body),
            ("PUT", false) => self.store.replace(self.by, key, part, body),
            ("PATCH", false) => {
                let content = headers.get("content-type").and_then(|value| value.to_str().ok());
                let form = match content {
                    Some("application/strategic-merge-patch+json") => Form::Strategic,
                    _ => Form::Merge,
                };
                self.store.patch(self.by, key, part, form, &body)
            }
            ("DELETE", false) => {
                let string = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
                let deletion = Deletion {
                    uid: string("/preconditions/uid"),
                    version: string("/preconditions/resourceVersion"),
                    grace_seconds: body["gracePeriodSeconds"].as_i64(),
                    propagation: string("/propagationPolicy"),
                };
                self.store.delete(self.by, key, &deletion)
            }
            _ => Err(Refusal::new(
                405,
                "MethodNotAllowed",
                format!("{method} {path:?}"),
            )),
        };
        if let Err(refusal) = &answer
            && refusal.code == 405
        {
            eprintln!("the simulated server lacks {}", refusal.message);
        }
        answer
    }
}

impl tower::Service<Request<Body>> for Connection {
    type Response = Response<Frames>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Frames>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

/// What a path names.
struct Target {
    key: Key,
    part: Option<String>,
}

impl Target {
    fn parse(path: &[&str]) -> Option<Self> {
        let (group, rest) = match path {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, "v1", rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", name] if group.is_empty() => {
                return Some(Self {
                    key: Key::new(&NAMESPACES, "", name),
                    part: None,
                });
            }
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let [plural, rest @ ..] = rest else { return None };
        let kind = kinds::find(group, plural)?;
        Some(Self {
            key: Key::new(kind, namespace, rest.first().copied().unwrap_or_default()),
            part: rest.get(1).map(|part| (*part).to_owned()),
        })
    }
}

fn number(text: Option<&String>) -> Option<u64> {
    text.and_then(|text| text.parse().ok())
        .filter(|number| *number != 0)
}

fn query(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), unescape(value)))
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digits = std::str::from_utf8(&digits).unwrap_or("3f").to_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn response(answer: Answer) -> Response<Frames> {
    let (code, body) = match answer {
        Ok(object) => (200, object),
        Err(refusal) => (refusal.code, refusal.status()),
    };
    let body = Full::from(serde_json::to_vec(&body).unwrap()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = code.try_into().unwrap();
    response
}
