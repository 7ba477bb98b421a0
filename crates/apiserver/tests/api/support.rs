//! A server and a small client for tests.
use crate::etcd::Etcd;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use orlop_apiserver::{ApiServer, Body, Config, InProcess, UserInfo};
use orlop_store::Store;
use orlop_store::embedded::EmbeddedStore;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

/// Names what the tests' servers keep their objects in: `etcd` for a real one, each test its own; in the
/// memory of the process otherwise.
const STORE_VARIABLE: &str = "ORLOP_TEST_STORE";

/// A store of a test, with the process behind it if there is one. Clones share both.
#[derive(Clone)]
pub struct TestStore {
    pub store: Arc<dyn Store>,
    etcd: Option<Arc<Etcd>>,
}

impl TestStore {
    pub async fn new() -> Self {
        match std::env::var(STORE_VARIABLE).as_deref() {
            Ok("etcd") => {
                let etcd = Etcd::start();
                Self {
                    store: etcd.store().await,
                    etcd: Some(Arc::new(etcd)),
                }
            }
            Err(_) | Ok("") => Self::of(EmbeddedStore::in_memory().unwrap()),
            Ok(other) => panic!("{STORE_VARIABLE} is {other:?}: it can be empty, or etcd"),
        }
    }

    /// A store of the test's own making.
    pub fn of(store: Arc<dyn Store>) -> Self {
        Self { store, etcd: None }
    }

    /// The same, seen through another.
    pub fn below(self, store: Arc<dyn Store>) -> Self {
        Self { store, ..self }
    }
}

pub struct Cluster {
    pub server: Arc<ApiServer>,
    store: TestStore,
}

/// One answer, read to its end.
pub struct Reply {
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub fn ok(self) -> Value {
        assert!(self.code < 300, "{}: {}", self.code, self.text);
        self.json()
    }

    /// Expects a refusal; answers its message.
    pub fn refused(self, code: u16) -> String {
        assert_eq!(self.code, code, "{}", self.text);
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    pub fn warnings(&self) -> Vec<String> {
        self.headers
            .get_all("warning")
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect()
    }
}

impl Cluster {
    pub async fn start() -> Self {
        Self::over(TestStore::new().await).await
    }

    /// Time passes at once when nothing else happens, unless a process outside has to keep up with it.
    pub async fn start_in_a_hurry() -> Self {
        let cluster = Self::start().await;
        if cluster.store.etcd.is_none() {
            tokio::time::pause();
        }
        cluster
    }

    pub async fn over(store: TestStore) -> Self {
        Self::configured(Config::new("127.0.0.1:6443".parse().unwrap()), store).await
    }

    pub async fn configured(config: Config, store: TestStore) -> Self {
        Self {
            server: ApiServer::start(config, store.store.clone()).await.unwrap(),
            store,
        }
    }

    pub async fn with_tokens(tokens: orlop_apiserver::TokenConfig) -> Self {
        Self::with(|config| config.tokens = Some(tokens)).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("127.0.0.1:6443".parse().unwrap());
        change(&mut config);
        Self::configured(config, TestStore::new().await).await
    }

    pub fn admin(&self) -> Client {
        self.user(UserInfo::admin("admin"))
    }

    pub fn user(&self, user: UserInfo) -> Client {
        Client {
            service: self.server.in_process(user),
            _store: self.store.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Client {
    service: InProcess,
    /// Keeps the process of the store alive.
    _store: TestStore,
}

impl Client {
    pub fn of(service: InProcess, store: TestStore) -> Self {
        Self {
            service,
            _store: store,
        }
    }

    pub async fn raw(&self, request: Request<Full<Bytes>>) -> http::Response<Body> {
        self.service.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.raw(request.body(Full::new(body.into())).unwrap()).await;
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Reply {
            code,
            headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn table(&self, path: &str) -> Reply {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        self.send(Method::GET, path, &[("accept", accept)], "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(
            Method::POST,
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.send(
            Method::PUT,
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub async fn delete(&self, path: &str, body: Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(Method::DELETE, path, &[], body).await
    }

    /// `kind`: `json`, `merge` or `strategic-merge`.
    pub async fn patch(&self, path: &str, kind: &str, body: Value) -> Reply {
        let content_type = format!("application/{kind}-patch+json");
        self.send(
            Method::PATCH,
            path,
            &[("content-type", &content_type)],
            body.to_string(),
        )
        .await
    }

    /// Server-side apply; `query` follows the path's `?`.
    pub async fn apply(&self, path: &str, query: &str, body: Value) -> Reply {
        self.send(
            Method::PATCH,
            &format!("{path}?{query}"),
            &[("content-type", "application/apply-patch+yaml")],
            body.to_string(),
        )
        .await
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Watch {
        self.watch_as(path, "application/json").await
    }

    pub async fn watch_as(&self, path: &str, accept: &str) -> Watch {
        let request = Request::get(path)
            .header("accept", accept)
            .body(Full::default())
            .unwrap();
        let response = self.raw(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        Watch {
            body: response.into_body(),
            buffer: Vec::new(),
        }
    }
}

pub struct Watch {
    body: Body,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event; `None` when the stream ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.buffer.extend_from_slice(frame.data_ref().unwrap());
        }
    }

    /// Type and name of the next event.
    pub async fn event(&mut self) -> (String, String) {
        let event = tokio::time::timeout(std::time::Duration::from_secs(5), self.next())
            .await
            .expect("an event within 5 s")
            .expect("an event, not the end");
        (
            event["type"].as_str().unwrap().to_owned(),
            event["object"]["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

pub const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";

pub fn configmap(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}})
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

pub fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}
