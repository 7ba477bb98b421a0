//! One connection to an API server: as little client as possible, since it shares the machine with the server.
use super::answer::Answer;
use super::records::Records;
use super::target::{Target, provider};
use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Requests one after another, HTTP/1.1, on the thread that calls.
pub struct Connection {
    stream: TcpStream,
    records: Records,
    outgoing: Vec<u8>,
}

impl Connection {
    pub fn open(target: &Target) -> Result<Self> {
        Self::over(&target.address, &target.host, target.tls(b"http/1.1"))
    }

    /// `tls` offers nothing but what [`Records`] can go on with.
    fn over(address: &str, host: &str, tls: Arc<ClientConfig>) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned())?;
        let records = Records::open(&mut stream, UnbufferedClientConnection::new(tls, name)?)?;
        Ok(Self {
            stream,
            records,
            outgoing: Vec::new(),
        })
    }

    /// Sends a request and reads the whole answer, which is counted but not kept.
    pub fn count(&mut self, request: &[u8]) -> Result<usize> {
        self.outgoing.clear();
        self.records.seal(request, &mut self.outgoing)?;
        self.stream.write_all(&self.outgoing)?;
        let mut answer = Answer::new();
        while !self.records.receive(&mut self.stream, |data| answer.take(data))? {}
        answer.finish()
    }
}

/// Many requests at a time, HTTP/2.
#[derive(Clone)]
pub struct Shared {
    target: Target,
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Shared {
    pub async fn open(target: &Target) -> Result<Self> {
        let stream = tokio::net::TcpStream::connect(&target.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(target.host.clone())?;
        let stream = TlsConnector::from(target.tls(b"h2"))
            .connect(name, stream)
            .await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            target: target.clone(),
            sender,
        })
    }

    /// Sends and hands on the body as it comes.
    pub async fn stream(&mut self, path: &str) -> Result<Incoming> {
        self.sender.ready().await?;
        let mut request = Request::get(format!("https://{}{path}", self.target.address))
            .method(Method::GET)
            .header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.target.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = self.sender.send_request(request.body(Full::default())?).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = response.into_body().collect().await?.to_bytes();
        bail!("{status}: {}", String::from_utf8_lossy(&body))
    }
}

/// Whether a server on this port of the machine says that it is ready. Nobody is authenticated for it,
/// on either side: the server is one that we started.
pub fn answers(port: u16) -> bool {
    asked(port).is_ok()
}

fn asked(port: u16) -> Result<()> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(orlop_pki::any_certificate())
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    let mut connection = Connection::over(&format!("127.0.0.1:{port}"), "127.0.0.1", Arc::new(config))?;
    let length = connection.count(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    ensure!(length > 0, "not ready");
    Ok(())
}
