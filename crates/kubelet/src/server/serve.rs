//! Connections: accepting them, TLS, and ending them with the agent.
use super::body::{self, Body, text};
use super::health::Health;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use orlop_pki::{Identity, ServingFiles};
use rustix::net::sockopt;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A client must have said who it is, and then what it wants, within this time each.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// Connections at once on a port; more wait to be accepted. The API server and a few scrapers need a
/// handful, followed logs over HTTP/1.1 one each.
const CONNECTIONS_MAX: usize = 512;
/// A peer that doesn't answer several of these in a row is gone.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// Out of file descriptors, most likely: connections get this long to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections come in on.
pub trait Listen {
    type Stream;
    /// The next connection.
    fn next(&self) -> impl Future<Output = std::io::Result<Self::Stream>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> std::io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // One that has gone meanwhile is noticed by its first read.
        let _ = stream.set_nodelay(true).and_then(|()| notice_death(&stream));
        Ok(stream)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> std::io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Has the kernel ask a silent peer whether it is still there: one whose machine has died says no goodbye, and would keep
/// its place, be it one of [`CONNECTIONS_MAX`] or of the streams.
fn notice_death(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

/// Hands every connection to a task of its own; all end when `shutdown` does.
pub async fn accept<L, F>(listener: L, shutdown: CancellationToken, handle: impl Fn(L::Stream) -> F)
where
    L: Listen,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.next().await)
        };
        let (place, accepted) = tokio::select! {
            () = shutdown.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok(stream) => {
                let (connection, shutdown) = (handle(stream), shutdown.clone());
                tokio::spawn(async move {
                    let _place = place;
                    shutdown.run_until_cancelled(connection).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers anybody.
pub async fn plain<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    serve(stream, answer).await;
}

/// Plain `/healthz`.
pub async fn healthz(stream: TcpStream, health: Health) {
    serve(stream, |request| {
        let health = health.clone();
        async move {
            match request.uri().path() {
                "/healthz" => health.answer(None).await,
                _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
            }
        }
    })
    .await;
}

/// What a connection that begins now is offered.
pub fn acceptor(tls: &ServingFiles) -> TlsAcceptor {
    let (config, read) = tls.current();
    if let Err(error) = read {
        tracing::warn!(%error, "the serving certificate was replaced by one that can't be used");
    }
    TlsAcceptor::from(config)
}

/// Answers over TLS; the answer may depend on whose certificate the caller has shown.
pub async fn secure<H, F>(stream: TcpStream, acceptor: TlsAcceptor, answer: H)
where
    H: Fn(Option<Arc<Identity>>, Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let stream = match tokio::time::timeout(GREETING_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a caller's TLS handshake failed"),
        Err(_) => return,
    };
    // The acceptor has verified the chain; a certificate that names nobody speaks for nobody.
    let leaf = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let caller = leaf.and_then(|leaf| orlop_pki::subject_of(leaf)).map(Arc::new);
    serve(stream, |request| answer(caller.clone(), request)).await;
}

async fn serve<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(|request| {
        let wants_head = *request.method() == Method::HEAD;
        let answer = answer(request);
        async move {
            let answer = answer.await;
            Ok::<_, Infallible>(if wants_head { body::head_of(answer) } else { answer })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(GREETING_MAX);
    // A caller that hangs up is no news.
    let _ = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}
