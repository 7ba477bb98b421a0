//! An API server of a handful of objects, for tests.
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast;

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone)]
pub struct FakeApi(Arc<State>);

struct State {
    objects: Mutex<BTreeMap<String, Value>>,
    events: broadcast::Sender<Value>,
    /// Bodies of token requests.
    pub tokens: Mutex<Vec<Value>>,
    /// Answers 503 to everything.
    down: Mutex<bool>,
    version: Mutex<u64>,
}

impl FakeApi {
    pub fn new() -> Self {
        let state = State {
            objects: Mutex::default(),
            events: broadcast::channel(16).0,
            tokens: Mutex::default(),
            down: Mutex::new(false),
            version: Mutex::new(1),
        };
        Self(Arc::new(state))
    }

    /// Creates or replaces `/api/v1/namespaces/<ns>/<resource>/<name>`, or `/api/v1/<resource>/<name>`.
    pub fn put(&self, path: &str, mut object: Value) {
        let mut version = self.0.version.lock();
        *version += 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object["metadata"]["name"] = json!(path.rsplit('/').next().unwrap());
        let mut parts = path.split('/').skip(3);
        let resource = match parts.next() {
            Some("namespaces") => {
                object["metadata"]["namespace"] = json!(parts.next().unwrap());
                parts.next()
            }
            resource => resource,
        };
        object["apiVersion"] = json!("v1");
        object["kind"] = json!(match resource {
            Some("secrets") => "Secret",
            Some("serviceaccounts") => "ServiceAccount",
            Some("persistentvolumes") => "PersistentVolume",
            Some("persistentvolumeclaims") => "PersistentVolumeClaim",
            _ => "ConfigMap",
        });
        let old = self.0.objects.lock().insert(path.to_owned(), object.clone());
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        let _ = self.0.events.send(json!({"type": kind, "object": object}));
    }

    /// Takes an object away; watches aren't told.
    pub fn remove(&self, path: &str) {
        self.0.objects.lock().remove(path);
    }

    pub fn set_down(&self, down: bool) {
        *self.0.down.lock() = down;
    }

    pub fn token_requests(&self) -> Vec<Value> {
        self.0.tokens.lock().clone()
    }

    pub fn client(&self) -> kube::Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Objects of a collection that the field selector names.
    fn listed(&self, path: &str, query: &str) -> Vec<Value> {
        let wanted = parameter(query, "fieldSelector").unwrap_or_default();
        let name = wanted.rsplit("%3D").next().unwrap_or_default();
        self.0
            .objects
            .lock()
            .get(&format!("{path}/{name}"))
            .cloned()
            .into_iter()
            .collect()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (path, query) = (
            request.uri().path().to_owned(),
            request.uri().query().unwrap_or_default().to_owned(),
        );
        if *self.0.down.lock() {
            return full(
                503,
                &json!({"kind": "Status", "status": "Failure", "message": "down", "reason": "ServiceUnavailable", "code": 503}),
            );
        }
        if path.ends_with("/token") {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut body: Value = serde_json::from_slice(&body).unwrap();
            self.0.tokens.lock().push(body.clone());
            let count = self.0.tokens.lock().len();
            let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3600);
            body["status"] =
                json!({"token": format!("token-{count}"), "expirationTimestamp": expires.to_string()});
            return full(201, &body);
        }
        if query.contains("watch=") {
            let events = self.0.events.subscribe();
            let since: u64 = parameter(&query, "resourceVersion")
                .and_then(|v| v.parse().ok())
                .unwrap_or(0);
            let missed = self
                .listed(&path, &query)
                .into_iter()
                .filter(|object| version_of(object) > since);
            let missed: Vec<Value> = missed
                .map(|object| json!({"type": "MODIFIED", "object": object}))
                .collect();
            let wanted = parameter(&query, "fieldSelector").unwrap_or_default();
            let kind = if path.ends_with("/secrets") {
                "Secret"
            } else {
                "ConfigMap"
            };
            let live = futures::stream::unfold(events, |mut events| async {
                Some((events.recv().await.ok()?, events))
            });
            let live = live.filter(move |event| {
                let object = &event["object"];
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                std::future::ready(
                    object["kind"] == kind
                        && version_of(object) > since
                        && wanted.ends_with(&format!("%3D{name}")),
                )
            });
            let lines = futures::stream::iter(missed).chain(live);
            let lines = lines.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
            return Response::new(StreamBody::new(lines.boxed()).boxed_unsync());
        }
        if let Some(object) = self.0.objects.lock().get(&path) {
            return full(200, object);
        }
        if path.ends_with("/configmaps") || path.ends_with("/secrets") {
            let items = self.listed(&path, &query);
            let version = self.0.version.lock().to_string();
            return full(
                200,
                &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
            );
        }
        full(
            404,
            &json!({"kind": "Status", "status": "Failure", "message": "not found", "reason": "NotFound", "code": 404}),
        )
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
        .next()
}

fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

fn full(code: u16, value: &Value) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}
