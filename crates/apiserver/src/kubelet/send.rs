//! Requests of others, carried on to a node's agent or to whatever listens at an address.
use super::{CONNECT_TIME_MAX, RequestError, Trust, connect};
use crate::ApiServer;
use crate::http::Passed;
use crate::status::ApiError;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What is asked for.
pub struct Wish {
    pub method: Method,
    /// With the query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Passed,
}

/// To the agent of a node, with the server's certificate.
pub async fn send(server: &ApiServer, node: &str, wish: Wish) -> Result<Response<Incoming>, ApiError> {
    let (stream, authority) = connect(server, node, Trust::Configured).await?;
    exchange(stream, &authority, wish).await.map_err(unreachable)
}

/// To an address. Who answers there isn't known, so any certificate will do.
pub async fn send_to(
    address: IpAddr,
    port: u16,
    secure: bool,
    wish: Wish,
) -> Result<Response<Incoming>, ApiError> {
    let at = SocketAddr::new(address, port);
    let authority = at.to_string();
    let dial = async {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        if !secure {
            return exchange(stream, &authority, wish).await;
        }
        let stream = anybody()?.connect(ServerName::from(address), stream).await?;
        exchange(stream, &authority, wish).await
    };
    dial.await.map_err(unreachable)
}

fn unreachable(error: RequestError) -> ApiError {
    ApiError::service_unavailable(&format!("error trying to reach service: {error}"))
}

fn anybody() -> Result<TlsConnector, RequestError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(orlop_pki::any_certificate())
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange<S>(stream: S, authority: &str, wish: Wish) -> Result<Response<Incoming>, RequestError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = tokio::time::timeout(CONNECT_TIME_MAX, handshake)
        .await
        .map_err(|_| "no answer in time")??;
    // Ends with the response body.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    let mut request = Request::new(wish.body);
    *request.method_mut() = wish.method;
    *request.uri_mut() = wish.path.parse()?;
    *request.headers_mut() = wish.headers;
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_str(authority)?);
    Ok(sender.send_request(request).await?)
}
