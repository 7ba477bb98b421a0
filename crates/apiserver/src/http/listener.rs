//! The secure port: TLS connections, each with the identity its client certificate proves.
use super::Body;
use super::gather::Gathered;
use super::idle::Activity;
use super::pipeline::{Caller, handle};
use super::upload::Upload;
use crate::ApiServer;
use crate::authn;
use http::header::CONTENT_LENGTH;
use http::{Method, Response, Version};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rand::Rng;
use rustix::net::sockopt;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A client that does not finish its handshake in this time is dropped.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A client that does not finish the head of its request in this time is dropped (upstream's limit).
const HEADER_TIME_MAX: Duration = Duration::from_secs(32);
/// Streams of one HTTP/2 connection at a time (upstream's limit).
const STREAMS_MAX: u32 = 250;
/// What a connection of HTTP/1.1 buffers either way: two frames of a list, and so much of a request's head.
const HTTP1_BUFFER_BYTES: usize = 128 * 1024;
/// A request's head over HTTP/2, as long as over HTTP/1.1: selectors of long lists and tokens of members of many groups
/// are longer than the 16 KiB that there are otherwise, and clients send nothing that is longer than they were told.
const HTTP2_HEAD_BYTES: u32 = 128 * 1024;
/// A client that is told to leave has so long to say that it has heard it.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
/// Pause after the system refuses a connection (it is out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The secure port could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the listening socket has no address: {0}")]
    Address(#[source] std::io::Error),
}

/// A client that says nothing for so long is asked, below TLS, whether it is still there (upstream's time).
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(180);
/// Between two such questions to one that doesn't answer; its connection ends when it has left out this many.
const KEEP_ALIVE_PAUSE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_COUNT: u32 = 9;

/// Lets the system find out about clients that are gone without a word: their watches would wait for ever.
fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_PAUSE)?;
    sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_COUNT)
}

/// Accepts connections until `shutdown`, or while the last requests are answered if those who come then are turned away,
/// and lets requests finish that end by themselves.
pub async fn serve(
    server: Arc<ApiServer>,
    listener: TcpListener,
    tls: TlsSettings,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Address)?;
    tracing::info!(%address, "the API is served");
    let connections = tokio_util::task::TaskTracker::new();
    let closing = match server.turns_away_at_shutdown {
        true => server.drained.clone(),
        false => shutdown.clone(),
    };
    loop {
        let (stream, peer) = tokio::select! {
            accepted = orlop_sockets::accept(&listener) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = closing.cancelled() => break,
        };
        let _ = stream.set_nodelay(true);
        let _ = keep_alive(&stream);
        let (server, closing) = (server.clone(), closing.clone());
        let acceptor = TlsAcceptor::from(tls.current());
        connections.spawn(async move {
            if let Err(error) = connection(server, acceptor, stream, peer, closing).await {
                tracing::debug!(%peer, %error, "a connection ended");
            }
        });
    }
    connections.close();
    drop(listener);
    let answered = async {
        server.drained.cancelled().await;
        tokio::time::sleep(GOODBYE_TIME).await;
    };
    tokio::select! {
        () = connections.wait() => {}
        () = answered => {}
    }
    if let Some(audit) = &server.audit {
        audit.stop().await;
    }
    Ok(())
}

/// What connections are offered that begin: the same for good, or what was given last.
pub struct TlsSettings(watch::Receiver<Arc<rustls::ServerConfig>>);

impl TlsSettings {
    fn current(&self) -> Arc<rustls::ServerConfig> {
        self.0.borrow().clone()
    }
}

impl From<Arc<rustls::ServerConfig>> for TlsSettings {
    fn from(settings: Arc<rustls::ServerConfig>) -> Self {
        Self(watch::channel(settings).1)
    }
}

impl From<watch::Receiver<Arc<rustls::ServerConfig>>> for TlsSettings {
    fn from(settings: watch::Receiver<Arc<rustls::ServerConfig>>) -> Self {
        Self(settings)
    }
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    server: Arc<ApiServer>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    closing: CancellationToken,
) -> Result<(), ConnectionError> {
    let stream = tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates();
    let connected = authn::Connection::new(&server.authentication, chain, &server.metrics);
    let connected = Arc::new(connected);
    let source = Some(peer.ip());
    let activity = Activity::new();
    let kept = server.connections;
    let asked = activity.clone();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (server, connected, running) = (server.clone(), connected.clone(), asked.begin());
        let chance = server.connections.goaway_chance;
        if chance > 0.0 && request.version() == Version::HTTP_2 && rand::rng().random_bool(chance) {
            asked.leave();
        }
        // Boxed, so that a stream that is answered without end, such as a watch, doesn't keep room for what led to it.
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let wants_head = parts.method == Method::HEAD;
            let identity = connected.identity(&server.authentication);
            let user = authn::authenticate(&server, &identity, &parts).await;
            let caller = Caller { user, source };
            let mut answer = handle(server, caller, parts, Upload::of(body)).await;
            if wants_head {
                answer = head_of(answer);
            }
            let answering = answer.extensions_mut().remove::<TaskTrackerToken>();
            Ok::<_, Infallible>(answer.map(|body| Gathered::new(body, running, answering)))
        })
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HTTP2_HEAD_BYTES)
        .max_concurrent_streams(STREAMS_MAX);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            leave(connection, &activity).await
        }
        () = activity.outlived(kept.idle_max) => {
            connection.as_mut().graceful_shutdown();
            leave(connection, &activity).await
        }
    }
}

/// An answer without its body, of which the length is told: over HTTP/2 nobody else takes it away, and clients give up
/// the stream.
fn head_of(answer: Response<Body>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    if let Some(bytes) = body.bytes().filter(|bytes| *bytes > 0) {
        parts.headers.entry(CONTENT_LENGTH).or_insert(bytes.into());
    }
    Response::from_parts(parts, Body::Empty)
}

/// Lets a connection end that was told to: it is dropped when its client says nothing to that, once everything has been
/// answered.
async fn leave<C>(connection: Pin<&mut C>, activity: &Activity) -> Result<(), ConnectionError>
where
    C: Future<Output = Result<(), ConnectionError>>,
{
    activity.ended();
    tokio::select! {
        ended = connection => ended,
        () = activity.idle(GOODBYE_TIME) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_that_say_nothing_are_asked_whether_they_are_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        keep_alive(&stream).unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), KEEP_ALIVE_AFTER);
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), KEEP_ALIVE_PAUSE);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), KEEP_ALIVE_COUNT);
    }
}
