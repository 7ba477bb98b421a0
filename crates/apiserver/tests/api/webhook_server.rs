//! A webhook for tests: an HTTPS server of its own that answers reviews with a closure.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orlop_pki::{Authority, Identity, LeafRequest, Usage};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the webhook does with a request.
#[derive(Clone)]
pub enum Does {
    /// The response to the review's request, whose `uid` is filled in.
    Answers(fn(&Value) -> Value),
    /// The status of a review, by its spec.
    Reviews(fn(&Value) -> Value),
    /// Takes whatever comes, and keeps it whole.
    Takes,
    /// Exactly this status and body.
    Says(u16, &'static str),
    /// Never answers.
    Hangs,
}

pub struct WebhookServer {
    pub port: u16,
    /// PEM of who signed its certificate, in base64.
    pub bundle: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    connections: Arc<AtomicUsize>,
}

impl WebhookServer {
    pub async fn start(does: Does) -> Self {
        let authority = Authority::ephemeral("webhooks").unwrap();
        let serving = authority
            .sign(&LeafRequest {
                identity: Identity::new("webhook", &[]),
                usage: Usage::Server,
                dns_names: vec!["localhost".to_owned(), "hook.default.svc".to_owned()],
                addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            })
            .unwrap();
        let tls =
            orlop_pki::server_config(&serving.certificate, &serving.key, authority.certificate()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        tokio::spawn({
            let (asked, connections) = (asked.clone(), connections.clone());
            async move {
                let acceptor = TlsAcceptor::from(tls);
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::Relaxed);
                    let (acceptor, asked, does) = (acceptor.clone(), asked.clone(), does.clone());
                    tokio::spawn(async move {
                        // Who doesn't trust the certificate hangs up.
                        let Ok(stream) = acceptor.accept(stream).await else {
                            return;
                        };
                        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                            answer(does.clone(), asked.clone(), request)
                        });
                        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            }
        });
        Self {
            port,
            bundle: STANDARD.encode(authority.certificate()),
            asked,
            connections,
        }
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The paths and reviews that came so far.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().clone()
    }

    /// Where it is, by URL.
    pub fn by_url(&self, path: &str) -> Value {
        json!({"url": format!("https://127.0.0.1:{}{path}", self.port), "caBundle": self.bundle})
    }
}

async fn answer(
    does: Does,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let path = request.uri().to_string();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut review: Value = serde_json::from_slice(&body).unwrap();
    let request = match does {
        Does::Reviews(_) => review["spec"].clone(),
        Does::Takes => review.clone(),
        _ => review["request"].clone(),
    };
    asked.lock().push((path, request.clone()));
    let (code, text) = match does {
        Does::Hangs => std::future::pending().await,
        Does::Takes => (200, String::new()),
        Does::Says(code, text) => (code, text.to_owned()),
        Does::Reviews(respond) => {
            review["status"] = respond(&request);
            (200, review.to_string())
        }
        Does::Answers(respond) => {
            let mut response = respond(&request);
            response["uid"] = request["uid"].clone();
            let answer =
                json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
            (200, answer.to_string())
        }
    };
    Ok(http::Response::builder()
        .status(code)
        .body(Full::new(Bytes::from(text)))
        .unwrap())
}

/// A response that changes the object.
pub fn patched(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}
