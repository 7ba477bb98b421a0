//! One connection to an API server: as little client as possible, since it shares the machine.
use super::target::Target;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Requests one after another, HTTP/1.1.
pub struct Connection {
    target: Target,
    sender: http1::SendRequest<Full<Bytes>>,
}

/// Many requests at a time, HTTP/2.
#[derive(Clone)]
pub struct Shared {
    target: Target,
    sender: http2::SendRequest<Full<Bytes>>,
}

async fn tls(target: &Target, protocol: &[u8]) -> Result<TokioIo<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(&target.address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(target.host.clone())?;
    let stream = TlsConnector::from(target.tls(protocol))
        .connect(name, stream)
        .await?;
    Ok(TokioIo::new(stream))
}

fn request(
    target: &Target,
    method: Method,
    uri: String,
    body: Option<Bytes>,
) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, &target.address)
        .header(header::ACCEPT, "application/json");
    if let Some(authorization) = &target.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    Ok(request.body(Full::new(body.unwrap_or_default()))?)
}

async fn check(response: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.into_body().collect().await?.to_bytes();
    anyhow::bail!("{status}: {}", String::from_utf8_lossy(&body))
}

impl Connection {
    pub async fn open(target: &Target) -> Result<Self> {
        let (sender, connection) = http1::handshake(tls(target, b"http/1.1").await?).await?;
        tokio::spawn(connection);
        Ok(Self {
            target: target.clone(),
            sender,
        })
    }

    /// Sends and reads the whole answer, which is counted but not kept.
    pub async fn count(&mut self, method: Method, path: &str, body: Option<Bytes>) -> Result<usize> {
        self.sender.ready().await?;
        let request = request(&self.target, method, path.to_owned(), body)?;
        let mut response = check(self.sender.send_request(request).await?).await?;
        let mut length = 0;
        while let Some(frame) = response.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }
}

impl Shared {
    pub async fn open(target: &Target) -> Result<Self> {
        let io = tls(target, b"h2").await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        Ok(Self {
            target: target.clone(),
            sender,
        })
    }

    /// Sends and hands on the body as it comes.
    pub async fn stream(&mut self, path: &str) -> Result<Incoming> {
        self.sender.ready().await?;
        let uri = format!("https://{}{path}", self.target.address);
        let request = request(&self.target, Method::GET, uri, None)?;
        Ok(check(self.sender.send_request(request).await?).await?.into_body())
    }
}

/// Whether a server on this port of the machine says that it is ready. Nobody is authenticated for it,
/// on either side: the server is one that we started.
pub async fn answers(port: u16) -> bool {
    asked(port).await.is_ok()
}

async fn asked(port: u16) -> Result<()> {
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(orlop_pki::any_certificate())
            .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("127.0.0.1")?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz")
        .header(header::HOST, "localhost")
        .body(Full::<Bytes>::default())?;
    let response = sender.send_request(request).await.context("no answer")?;
    ensure!(response.status() == StatusCode::OK, "not ready");
    Ok(())
}
