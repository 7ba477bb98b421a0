//! `/healthz`, `/livez` and `/readyz` of the parts that run alone, over HTTPS as kubeadm's probes
//! expect. The certificate is made at start: probes don't verify it.
use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orlop_pki::{Authority, Identity, LeafRequest, Usage};
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Serves until shutdown. `part` names the program in errors.
pub async fn serve(part: &str, address: SocketAddr, shutdown: CancellationToken) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
        format!("{part} cannot listen on {address}: choose another --secure-port, or 0 for none")
    })?;
    let acceptor = TlsAcceptor::from(throwaway_certificate()?);
    loop {
        let (stream, _) = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, part, "cannot accept a connection");
                    continue;
                }
            },
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let builder = auto::Builder::new(TokioExecutor::new());
            // A probe that hangs up early is no news.
            let _ = builder
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let known = matches!(request.uri().path(), "/healthz" | "/livez" | "/readyz");
    let (status, text) = if known {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::NOT_FOUND, "404 page not found\n")
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    Ok(response)
}

fn throwaway_certificate() -> Result<std::sync::Arc<rustls::ServerConfig>> {
    let authority = Authority::ephemeral("orlop-health")?;
    let leaf = authority.sign(&LeafRequest {
        identity: Identity::new("localhost", &[]),
        usage: Usage::Server,
        dns_names: vec!["localhost".to_owned()],
        addresses: vec![std::net::IpAddr::from([127, 0, 0, 1])],
    })?;
    Ok(orlop_pki::server_config(
        &leaf.certificate,
        &leaf.key,
        authority.certificate(),
    )?)
}
