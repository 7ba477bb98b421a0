//! Connections: gRPC by its services, and the plain paths that etcd's users probe ([`plain`]).
use crate::authority::Authority;
use crate::gathering::Gathering;
use crate::listen::{Answers, Listener, Socket};
use crate::pings::Pings;
use crate::streams::Streams;
use crate::tls::Tls;
use crate::unary::{self, Answer};
use crate::{Face, auth, gateway, health, plain, recipes, traffic};
use bytes::Bytes;
use etcd_client::proto::{PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer};
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::Gzip;
use tower::Service;

/// A client that does not finish its handshake in this time is dropped.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause after the system refuses a connection (it is out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What is still being answered at shutdown gets this long.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Flow control of a stream and of a connection, in bytes: room for answers of thousands of keys.
const WINDOW_BYTES: u32 = 1 << 20;

/// Accepts connections until `shutdown`, then lets requests finish for a moment.
pub async fn serve(face: Face, listener: Listener, shutdown: CancellationToken) {
    let Listener {
        socket,
        endpoint,
        answers,
    } = listener;
    match answers {
        // etcd's own words: those who start it wait for them.
        Answers::Everything => tracing::info!(%endpoint, "ready to serve client requests"),
        Answers::Probes => tracing::info!(%endpoint, "serving metrics"),
    }
    let connections = tokio_util::task::TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&socket) => accepted,
            () = shutdown.cancelled() => break,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%endpoint, %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (face, shutdown) = (face.clone(), shutdown.clone());
        connections.spawn(async move {
            let ended = match accepted {
                Accepted::Unix(stream, tls) => shaken(face, answers, stream, tls, shutdown).await,
                Accepted::Tcp(stream, tls) => shaken(face, answers, stream, tls, shutdown).await,
            };
            if let Err(error) = ended {
                tracing::debug!(error, "a connection ended");
            }
        });
    }
    connections.close();
    let _ = tokio::time::timeout(DRAIN_TIME, connections.wait()).await;
    if let crate::Endpoint::Unix { path, .. } = &endpoint {
        let _ = std::fs::remove_file(path);
    }
}

/// A connection, and by what hands are shaken first.
enum Accepted {
    Unix(tokio::net::UnixStream, Option<Tls>),
    Tcp(tokio::net::TcpStream, Option<Tls>),
}

async fn accept(socket: &Socket) -> std::io::Result<Accepted> {
    match socket {
        Socket::Unix(listener, tls) => Ok(Accepted::Unix(listener.accept().await?.0, tls.clone())),
        Socket::Tcp(listener, tls) => {
            let stream = listener.accept().await?.0;
            stream.set_nodelay(true)?;
            Ok(Accepted::Tcp(stream, tls.clone()))
        }
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn shaken(
    face: Face,
    answers: Answers,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> Ended {
    match tls {
        None => connection(face, answers, stream, shutdown).await,
        Some(tls) => {
            let stream = tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.acceptor().accept(stream)).await??;
            connection(face, answers, stream, shutdown).await
        }
    }
}

async fn connection(
    face: Face,
    answers: Answers,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shutdown: CancellationToken,
) -> Ended {
    let streams_of_a_connection = face.limits.streams_of_a_connection;
    let keep_alive = face.limits.keep_alive;
    let gathering = Gathering::new(stream);
    let stream = traffic::counted(gathering.clone(), face.counters.clone());
    let stream = Pings::new(Authority::new(stream), face.limits.ping_interval_min);
    // Shared as one: a call would otherwise take and give back a dozen counts, of which some are all connections'.
    let services = Arc::new(Services::new(face));
    let service = service_fn(move |request: Request<Incoming>| {
        let services = services.clone();
        async move {
            Ok::<_, Infallible>(match answers {
                Answers::Everything => services.answer(request).await,
                Answers::Probes => services.probe(request).await,
            })
        }
    });
    let streams = Streams::default();
    let mut builder = auto::Builder::new(streams.clone());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        // Nobody asks a gRPC server for the time.
        .auto_date_header(false)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        // A client's watches each may have a stream of their own.
        .max_concurrent_streams(streams_of_a_connection);
    if let Some(keep_alive) = keep_alive {
        builder
            .http2()
            .keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout);
    }
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let served = async {
        tokio::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    gathering.run(streams.run(served)).await
}

/// The services of one connection.
#[derive(Clone)]
pub(crate) struct Services {
    face: Face,
    kv: PbKvServer<Face>,
    watch: PbWatchServer<Face>,
    lease: PbLeaseServer<Face>,
    cluster: PbClusterServer<Face>,
    maintenance: PbMaintenanceServer<Face>,
}

impl Services {
    pub(crate) fn new(face: Face) -> Self {
        Self {
            kv: PbKvServer::new(face.clone())
                .accept_compressed(Gzip)
                .max_decoding_message_size(face.limits.message_bytes()),
            watch: PbWatchServer::new(face.clone()).accept_compressed(Gzip),
            lease: PbLeaseServer::new(face.clone()).accept_compressed(Gzip),
            cluster: PbClusterServer::new(face.clone()).accept_compressed(Gzip),
            maintenance: PbMaintenanceServer::new(face.clone()).accept_compressed(Gzip),
            face,
        }
    }

    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Response<Answer>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let running = self.face.counters.started(request.uri().path());
        let mut response = self.answered(request).await;
        if let Some(running) = running {
            unary::count(running, &mut response);
        }
        response
    }

    /// Answers on a listener that is for nothing but metrics.
    async fn probe<B>(&self, request: Request<B>) -> Response<Answer> {
        let answered = match unary::is_call(&request) {
            true => unknown_service(request.uri().path()),
            false => plain::probe(&self.face, request.method(), request.uri()).await,
        };
        answered.map(Answer::other)
    }

    async fn answered<B>(&self, request: Request<B>) -> Response<Answer>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let limit = self.face.limits.message_bytes();
        let face = &self.face;
        match request.uri().path() {
            _ if !unary::takes(&request) => self.other(request).await.map(Answer::other),
            "/etcdserverpb.KV/Range" => {
                let range = move |asked| async move { face.encoded_range(asked).await };
                unary::call(request, limit, range).await
            }
            "/etcdserverpb.KV/Put" => {
                let put = move |asked| async move { face.put_key(asked).await.map(unary::encoded) };
                unary::call(request, limit, put).await
            }
            "/etcdserverpb.KV/DeleteRange" => {
                let delete = move |asked| async move { face.delete_keys(asked).await.map(unary::encoded) };
                unary::call(request, limit, delete).await
            }
            "/etcdserverpb.KV/Txn" => {
                let transact = move |asked| async move { face.transact(asked).await.map(unary::encoded) };
                unary::call(request, limit, transact).await
            }
            path if path.starts_with(health::SERVICE) => {
                let method = path[health::SERVICE.len()..].to_owned();
                health::answer(&method, request).await
            }
            path if recipes::serves(path) => recipes::answer(face, request).await,
            _ => self.other(request).await.map(Answer::other),
        }
    }

    /// Answers a call that was made here. Boxed, since what is answered may be asked by calls.
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Answer>> {
        let services = self.clone();
        Box::pin(async move { services.answer(request).await })
    }

    /// By the services' own code.
    async fn other<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let path = request.uri().path();
        let answered = match path.strip_prefix("/etcdserverpb.") {
            Some(method) => match method.split_once('/') {
                Some(("KV", _)) => self.kv.clone().call(request).await,
                Some(("Watch", _)) => self.watch.clone().call(request).await,
                Some(("Lease", _)) => self.lease.clone().call(request).await,
                Some(("Cluster", _)) => self.cluster.clone().call(request).await,
                Some(("Maintenance", _)) => self.maintenance.clone().call(request).await,
                Some(("Auth", method)) => Ok(auth::answer(method, self.face.header())),
                _ => Ok(unknown_service(path)),
            },
            _ if unary::is_call(&request) => Ok(unknown_service(path)),
            // A page of anybody asks first whether it may.
            _ if gateway::serves(path) && request.method() != Method::OPTIONS => {
                let limit = self.face.limits.message_bytes();
                let answered = gateway::answer(request, limit, |asked| self.call(asked)).await;
                Ok(plain::for_anybody(answered))
            }
            _ => Ok(plain::answer(&self.face, request.method(), request.uri()).await),
        };
        let Ok(response) = answered;
        response
    }
}

fn unknown_service(path: &str) -> Response<Body> {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    Status::unimplemented(format!("unknown service {service}")).into_http()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;
    use http::StatusCode;
    use http_body_util::{BodyExt, Full};
    use orlop_store::Store;
    use orlop_store::embedded::EmbeddedStore;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    const METHODS: [&str; 12] = [
        "KV/Range",
        "KV/Put",
        "KV/DeleteRange",
        "KV/Txn",
        "KV/Compact",
        "Lease/LeaseGrant",
        "Lease/LeaseTimeToLive",
        "Cluster/MemberList",
        "Maintenance/HashKV",
        "Auth/UserAdd",
        "Watch/Nothing",
        "Nothing/Nothing",
    ];

    fn face() -> Face {
        let store = EmbeddedStore::in_memory().unwrap();
        Face::new(store, Member::named("m"))
    }

    fn request(method: &str, frame: Vec<u8>) -> Request<Full<Bytes>> {
        Request::builder()
            .method("POST")
            .uri(format!("/etcdserverpb.{method}"))
            .header("content-type", "application/grpc")
            .body(Full::new(frame.into()))
            .unwrap()
    }

    proptest! {
        /// Whatever a client sends, it gets an answer, and the next one gets the right one.
        #[test]
        fn any_bytes_are_answered(
            method in 0..METHODS.len(),
            message in proptest::collection::vec(any::<u8>(), 0..80),
            framed in any::<bool>(),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let services = Services::new(face());
                let mut frame = Vec::new();
                if framed {
                    frame.push(0);
                    frame.extend((message.len() as u32).to_be_bytes());
                }
                frame.extend(message);
                let answer = services.clone().answer(request(METHODS[method], frame)).await;
                prop_assert_eq!(answer.status(), StatusCode::OK);
                // The status of a failure is in the headers or behind the body.
                let _ = answer.into_body().collect().await;
                let put = [0, 0, 0, 0, 6, 0x0a, 1, b'k', 0x12, 1, b'v'].to_vec();
                let answer = services.answer(request("KV/Put", put)).await;
                let body = answer.into_body().collect().await.unwrap();
                prop_assert_eq!(body.trailers().unwrap().get("grpc-status").unwrap(), "0");
                Ok(())
            })?;
        }
    }

    /// Frames of HTTP/2 with anything in them, and anything else.
    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let payload = || proptest::collection::vec(any::<u8>(), 0..60);
        let frame = (0..11u8, any::<u8>(), 0..8u32, payload()).prop_map(|(kind, flags, stream, payload)| {
            let length = (payload.len() as u32).to_be_bytes();
            let mut frame = vec![length[1], length[2], length[3], kind, flags];
            frame.extend(stream.to_be_bytes());
            frame.extend(payload);
            frame
        });
        proptest::collection::vec(prop_oneof![4 => frame, 1 => payload()], 0..12)
            .prop_map(|frames| frames.concat())
    }

    proptest! {
        /// Whatever comes over a connection, it ends with its client, and the store is well.
        #[test]
        fn any_frames_end_with_their_connection(sent in frames(), has_preface in any::<bool>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let face = face();
                let (mut client, server) = tokio::io::duplex(1 << 16);
                let serving = tokio::spawn(connection(face.clone(), Answers::Everything, server, CancellationToken::new()));
                if has_preface {
                    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
                }
                // It may have hung up by then.
                let _ = client.write_all(&sent).await;
                drop(client);
                // With an error or without, but not with a panic.
                let ended = tokio::time::timeout(Duration::from_secs(20), serving).await;
                prop_assert!(matches!(ended, Ok(Ok(_))), "{:?}", ended.map(|ended| ended.map(|_| ())));
                face.store.status().await.unwrap();
                Ok(())
            })?;
        }
    }
}
