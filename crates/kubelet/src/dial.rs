//! One HTTP/1.1 request on a connection of its own: what probes, hooks and manifests over HTTP have in common.
use crate::probes::dial_error;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Redirects that are followed, as Go's client does.
pub const REDIRECTS_MAX: usize = 10;

/// Whether a status code asks to look elsewhere.
pub fn is_redirect(code: u16) -> bool {
    matches!(code, 301 | 302 | 303 | 307 | 308)
}

/// The task that moves a connection's bytes; it ends with whoever wanted them.
pub struct Driver(JoinHandle<()>);

impl Driver {
    pub fn spawn<E>(connection: impl Future<Output = Result<(), E>> + Send + 'static) -> Self {
        // What goes wrong on a connection is told to the request on it.
        Self(tokio::spawn(async move { drop(connection.await) }))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where a `Location` leads from a page.
pub fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    if location.contains("://") {
        return location.parse().ok();
    }
    let (scheme, server) = (base.scheme_str()?, base.authority()?);
    if let Some(elsewhere) = location.strip_prefix("//") {
        return format!("{scheme}://{elsewhere}").parse().ok();
    }
    if location.starts_with('/') {
        return format!("{scheme}://{server}{location}").parse().ok();
    }
    // Relative to the directory of the page that said so.
    let directory = base
        .path()
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    format!("{scheme}://{server}{directory}/{location}").parse().ok()
}

/// Sends a request to the URL's server; `tls` says whom to trust, where the scheme asks for it.
pub async fn send(
    url: &Uri,
    request: Request<Empty<Bytes>>,
    tls: impl FnOnce() -> Result<Arc<ClientConfig>, rustls::Error>,
) -> Result<(Response<Incoming>, Driver), String> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|error| dial_error(host, port, &error))?;
    if !secure {
        return exchange(TokioIo::new(stream), request).await;
    }
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let config = tls().map_err(|error| error.to_string())?;
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await;
    exchange(TokioIo::new(stream.map_err(|error| error.to_string())?), request).await
}

async fn exchange<I>(io: I, request: Request<Empty<Bytes>>) -> Result<(Response<Incoming>, Driver), String>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let shaken = hyper::client::conn::http1::handshake(io).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    let driver = Driver::spawn(connection);
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    Ok((answer, driver))
}
