//! The pods of this node for programs on it, without an API server: upstream's alpha service `v1alpha1.Pods` (feature gate
//! `PodsAPI`) on `<root>/pods-api/pods-api.sock`. One task a connection, which ends with it; a watch costs a comparison of
//! lists when something has changed, and nothing in between.
mod events;
mod messages;

use crate::config::KubeletConfiguration;
use crate::pods::PodsHandle;
use bytes::Bytes;
use events::{Seen, changes};
use futures::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Pod;
use messages::{GetPodRequest, GetPodResponse, ListPodsResponse};
use orlop_api::wire::protobuf;
use prost::Message;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// The feature gate.
const GATE: &str = "PodsAPI";
/// Requests are a UID at most.
const REQUEST_MAX: usize = 4096;
/// Compression flag and length before each message.
const FRAME_HEADER: usize = 5;

/// gRPC's codes.
const INVALID_ARGUMENT: u16 = 3;
const NOT_FOUND: u16 = 5;
const UNIMPLEMENTED: u16 = 12;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Messages = BoxStream<'static, Vec<u8>>;

/// Why a call has no answer.
struct Refusal {
    code: u16,
    message: String,
}

/// Whether the configuration asks for it.
pub fn is_enabled(configuration: &KubeletConfiguration) -> bool {
    let gates = configuration.other.get("featureGates");
    gates.is_some_and(|gates| gates[GATE] == true)
}

/// The socket below the agent's directory.
pub fn socket(root: &Path) -> PathBuf {
    root.join("pods-api").join("pods-api.sock")
}

/// Listens; only this user can connect. What is left of an earlier agent's socket is removed.
pub fn listen(root: &Path) -> std::io::Result<UnixListener> {
    let path = socket(root);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o750))?;
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(path),
    }
}

/// Answers until `shutdown`.
pub async fn run(listener: UnixListener, pods: PodsHandle, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors: some connection has to end first.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (pods, shutdown) = (pods.clone(), shutdown.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let pods = pods.clone();
                async move { Ok::<_, Infallible>(answer(&pods, request).await) }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection(TokioIo::new(stream), service);
            // A broken connection is the caller's business.
            let _ = shutdown.run_until_cancelled(connection).await;
        });
    }
}

async fn answer(pods: &PodsHandle, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), REQUEST_MAX).collect().await;
    let outcome = match body {
        Ok(body) => call(pods, &path, &body.to_bytes()),
        Err(error) => Err(Refusal {
            code: INVALID_ARGUMENT,
            message: error.to_string(),
        }),
    };
    let (messages, refusal) = match outcome {
        Ok(messages) => (messages, None),
        Err(refusal) => (stream::empty().boxed(), Some(refusal)),
    };
    let frames = messages.map(|message| Frame::data(framed(&message)));
    let end = stream::once(async move { Frame::trailers(trailers(refusal)) });
    let frames = frames.chain(end).map(Ok);
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn call(pods: &PodsHandle, path: &str, body: &[u8]) -> Result<Messages, Refusal> {
    match path {
        "/v1alpha1.Pods/ListPods" => {
            let pods = pods.list().iter().map(|record| encoded(&record.pod)).collect();
            Ok(one(ListPodsResponse { pods }))
        }
        "/v1alpha1.Pods/GetPod" => {
            let request = body.get(FRAME_HEADER..).unwrap_or_default();
            let request = GetPodRequest::decode(request).map_err(|error| Refusal {
                code: INVALID_ARGUMENT,
                message: error.to_string(),
            })?;
            let found = pods.by_uid(&request.pod_uid).ok_or_else(|| Refusal {
                code: NOT_FOUND,
                message: format!("pod {:?} not found", request.pod_uid),
            })?;
            Ok(one(GetPodResponse {
                pod: encoded(&found.pod),
            }))
        }
        "/v1alpha1.Pods/WatchPods" => Ok(watch(pods.clone())),
        _ => Err(Refusal {
            code: UNIMPLEMENTED,
            message: format!("unknown method {path}"),
        }),
    }
}

fn one(message: impl Message) -> Messages {
    let message = message.encode_to_vec();
    stream::once(async move { message }).boxed()
}

/// What is there, then what changes.
fn watch(pods: PodsHandle) -> Messages {
    let changed = pods.subscribe();
    let seen = Seen::default();
    let rounds = stream::unfold(
        (pods, changed, seen, true),
        |(pods, mut changed, mut seen, first)| async move {
            // The agent's handle outlives its server.
            if !first && changed.changed().await.is_err() {
                return None;
            }
            changed.mark_unchanged();
            let events = changes(&mut seen, &pods.list());
            let messages: Vec<Vec<u8>> = events
                .iter()
                .map(|event| event.message(encoded).encode_to_vec())
                .collect();
            Some((stream::iter(messages), (pods, changed, seen, false)))
        },
    );
    rounds.flatten().boxed()
}

/// A pod as the API writes it in protobuf.
fn encoded(pod: &Pod) -> Vec<u8> {
    let object = serde_json::to_value(pod).unwrap_or_default();
    protobuf::message("v1", "Pod", &object).unwrap_or_else(|error| {
        tracing::error!(pod = orlop_api::pod::name(pod), %error, "the pod cannot be told to local programs");
        Vec::new()
    })
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

fn trailers(refusal: Option<Refusal>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let code = refusal.as_ref().map_or(0, |refusal| refusal.code);
    trailers.insert("grpc-status", HeaderValue::from(code));
    if let Some(refusal) = refusal
        && let Ok(message) = HeaderValue::from_str(&refusal.message)
    {
        trailers.insert("grpc-message", message);
    }
    trailers
}

#[cfg(test)]
mod tests;
