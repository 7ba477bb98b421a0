//! gRPC for programs on the node, over sockets of this agent's. One task a connection, which ends with it.
use crate::whole::gone;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// Requests are names at most.
const REQUEST_MAX: usize = 4096;
/// Compression flag and length before each message.
pub const FRAME_HEADER: usize = 5;

/// gRPC's codes.
pub const UNKNOWN: u16 = 2;
pub const INVALID_ARGUMENT: u16 = 3;
pub const NOT_FOUND: u16 = 5;
pub const UNIMPLEMENTED: u16 = 12;

type Body = UnsyncBoxBody<Bytes, Infallible>;
/// The messages of an answer.
pub type Messages = BoxStream<'static, Vec<u8>>;

/// Why a call has no answer.
#[derive(Debug)]
pub struct Refusal {
    pub code: u16,
    pub message: String,
}

impl Refusal {
    /// Of a call that no service has.
    pub fn unknown(path: &str) -> Self {
        Self {
            code: UNIMPLEMENTED,
            message: format!("unknown method {path}"),
        }
    }
}

/// An answer that may take a while.
pub type Answer = BoxFuture<'static, Result<Messages, Refusal>>;

/// Answers calls.
pub trait Calls: Send + Sync + 'static {
    /// The answer to a message for the method of this path.
    fn call(&self, path: &str, message: &[u8]) -> Answer;
}

/// Services that know their answers.
impl<F: Fn(&str, &[u8]) -> Result<Messages, Refusal> + Send + Sync + 'static> Calls for F {
    fn call(&self, path: &str, message: &[u8]) -> Answer {
        std::future::ready(self(path, message)).boxed()
    }
}

/// A service.
pub type Service = Arc<dyn Calls>;

/// Listens; only this user can connect. What is left of an earlier agent's socket is removed.
pub fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o750))?;
    }
    gone(std::fs::remove_file(path))?;
    UnixListener::bind(path)
}

/// Answers until `shutdown`.
pub async fn serve(listener: UnixListener, service: Service, shutdown: CancellationToken) {
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
        let (service, shutdown) = (service.clone(), shutdown.clone());
        tokio::spawn(async move {
            let calls = service_fn(move |request: Request<Incoming>| {
                let service = service.clone();
                async move { Ok::<_, Infallible>(answer(service, request).await) }.boxed()
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection(TokioIo::new(stream), calls);
            tokio::select! {
                // A broken connection is the caller's business.
                _ = connection => {}
                () = shutdown.cancelled_owned() => {}
            }
        });
    }
}

async fn answer(service: Service, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), REQUEST_MAX).collect().await;
    let outcome = match body {
        Ok(body) => {
            let answer = service.call(&path, body.to_bytes().get(FRAME_HEADER..).unwrap_or_default());
            answer.await
        }
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

/// A request's message.
pub fn decode<M: Message + Default>(message: &[u8]) -> Result<M, Refusal> {
    M::decode(message).map_err(|error| Refusal {
        code: INVALID_ARGUMENT,
        message: error.to_string(),
    })
}

/// An answer of one message.
pub fn one(message: impl Message) -> Messages {
    let message = message.encode_to_vec();
    stream::once(async move { message }).boxed()
}

/// A message as it goes over the wire.
pub fn framed(message: &[u8]) -> Bytes {
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
pub mod testing {
    //! Calls services as a program on the node does.
    use super::*;
    use http_body_util::Full;
    use hyper::client::conn::http2::{SendRequest, handshake};
    use tokio::net::UnixStream;

    /// A connection to a service.
    pub struct Caller {
        service: &'static str,
        connection: SendRequest<Full<Bytes>>,
    }

    impl Caller {
        pub async fn connect(socket: &Path, service: &'static str) -> Self {
            let stream = UnixStream::connect(socket).await.unwrap();
            let (caller, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(connection);
            Self {
                service,
                connection: caller,
            }
        }

        pub async fn call(&mut self, method: &str, message: Vec<u8>) -> Response<Incoming> {
            let request = Request::post(format!("http://localhost/{}/{method}", self.service))
                .header(header::CONTENT_TYPE, "application/grpc")
                .body(Full::new(framed(&message)))
                .unwrap();
            self.connection.send_request(request).await.unwrap()
        }

        /// A whole answer: its message, and its status.
        pub async fn ask(&mut self, method: &str, message: Vec<u8>) -> (Bytes, String) {
            let body = self.call(method, message).await.into_body();
            let body = body.collect().await.unwrap();
            let status = body.trailers().unwrap()["grpc-status"]
                .to_str()
                .unwrap()
                .to_owned();
            let bytes = body.to_bytes();
            (bytes.slice(bytes.len().min(FRAME_HEADER)..), status)
        }
    }
}
