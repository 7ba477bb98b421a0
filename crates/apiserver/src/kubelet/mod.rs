//! The server as a client of node agents: one HTTPS connection per call, with the server's certificate.
mod send;

pub use send::{Wish, send, send_to};

use crate::http::Body;
use crate::resources;
use crate::server::KubeletClientTls;
use crate::status::ApiError;
use crate::{ApiServer, StartError};
use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use orlop_pki::{Leaf, Presented};
use orlop_streaming::{Backend, dial};
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Port of an agent whose Node does not say.
const PORT: u16 = 10250;
/// Types of a node's addresses in the order in which they are tried, where nothing else is asked for.
pub const ADDRESS_TYPES: [&str; 5] = [
    "Hostname",
    "InternalDNS",
    "InternalIP",
    "ExternalDNS",
    "ExternalIP",
];
/// An agent that does not take a connection in this time is reported as unreachable.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of an agent's error text that are passed on.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// The order for a server whose resolver need not know the nodes' names: a name that nobody answers for costs every
/// call the whole wait.
pub const ADDRESSES_FIRST: [&str; 3] = ["InternalIP", "ExternalIP", "Hostname"];

/// The way to node agents.
pub struct KubeletClient {
    identity: Option<Presented>,
    /// Those that the agents' certificates are judged by; without an authority, as [`Trust::Any`].
    verifier: Option<Arc<dyn ServerCertVerifier>>,
    /// Types of addresses, the preferred ones first.
    address_types: Vec<String>,
    made: Mutex<Connectors>,
}

/// Made with one certificate.
struct Connectors {
    own: Option<Arc<Leaf>>,
    configured: TlsConnector,
    any: TlsConnector,
}

impl KubeletClient {
    pub fn new(tls: KubeletClientTls, address_types: Vec<String>) -> Result<Self, StartError> {
        let KubeletClientTls { ca, identity } = tls;
        let verifier = ca.as_deref().map(verifier).transpose()?;
        let own = identity.as_ref().map(Presented::current);
        let made = connectors(verifier.as_ref(), own)?;
        Ok(Self {
            identity,
            verifier,
            address_types,
            made: Mutex::new(made),
        })
    }

    /// What a connection that begins now is made with.
    fn connector(&self, trust: Trust) -> Result<TlsConnector, StartError> {
        let own = self.identity.as_ref().map(Presented::current);
        let mut made = self.made.lock();
        let is_same = match (&made.own, &own) {
            (Some(made), Some(own)) => Arc::ptr_eq(made, own),
            (made, own) => made.is_none() && own.is_none(),
        };
        if !is_same {
            *made = connectors(self.verifier.as_ref(), own)?;
        }
        Ok(match trust {
            Trust::Configured => made.configured.clone(),
            Trust::Any => made.any.clone(),
        })
    }
}

fn bad(what: &'static str) -> impl Fn(String) -> StartError {
    move |reason| StartError::KubeletTls { what, reason }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Believes the authorities of a PEM text.
fn verifier(ca: &str) -> Result<Arc<dyn ServerCertVerifier>, StartError> {
    orlop_pki::given_authorities(ca, "CA").map_err(|e| bad("CA")(e.to_string()))
}

fn connectors(
    verifier: Option<&Arc<dyn ServerCertVerifier>>,
    own: Option<Arc<Leaf>>,
) -> Result<Connectors, StartError> {
    let any = connector(orlop_pki::any_certificate(), own.as_deref())?;
    let configured = match verifier {
        Some(verifier) => connector(verifier.clone(), own.as_deref())?,
        None => any.clone(),
    };
    Ok(Connectors { own, configured, any })
}

fn connector(verifier: Arc<dyn ServerCertVerifier>, own: Option<&Leaf>) -> Result<TlsConnector, StartError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| bad("protocol versions")(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let with = |mut config: rustls::ClientConfig| {
        // With a session that is resumed nobody would look at the certificate again.
        config.resumption = Resumption::disabled();
        TlsConnector::from(Arc::new(config))
    };
    let Some(own) = own else {
        return Ok(with(builder.with_no_client_auth()));
    };
    let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad("certificate")(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).map_err(|e| bad("key")(e.to_string()))?;
    let config = builder
        .with_client_auth_cert(chain, key)
        .map_err(|e| bad("certificate")(e.to_string()))?;
    Ok(with(config))
}

/// Which agent is believed to be the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One whose certificate the server's settings accept.
    Configured,
    /// Whoever answers.
    Any,
}

/// GETs a path from the agent of a node.
pub async fn get(
    server: &ApiServer,
    node: &str,
    path: &str,
    trust: Trust,
) -> Result<Response<Incoming>, ApiError> {
    let (stream, authority) = connect(server, node, trust).await?;
    let failed =
        |error: RequestError| ApiError::internal(format!("Get \"https://{authority}{path}\": {error}"));
    request(stream, &authority, path).await.map_err(failed)
}

/// Asks the agent of a node to switch to SPDY/3.1 on `path`.
pub async fn upgrade(
    server: &ApiServer,
    node: &str,
    path: &str,
    versions: &[HeaderValue],
) -> Result<Backend, ApiError> {
    let (stream, authority) = connect(server, node, Trust::Configured).await?;
    dial(stream, &authority, path, versions)
        .await
        .map_err(ApiError::internal)
}

type RequestError = Box<dyn std::error::Error + Send + Sync>;

/// A connection to the agent of a node, and what to call it in requests.
async fn connect(
    server: &ApiServer,
    node: &str,
    trust: Trust,
) -> Result<(TlsStream<TcpStream>, String), ApiError> {
    let client = &server.kubelets;
    let nodes = resources::find("", "v1", "nodes").ok_or_else(ApiError::no_such_resource)?;
    let object = server
        .cache
        .object(nodes, "", node)
        .ok_or_else(|| ApiError::not_found(nodes, node))?
        .value();
    let (hosts, port) = addresses(&object, &client.address_types);
    let mut failure = format!("no preferred addresses found; known addresses of node {node}: []");
    // A node's own name often resolves nowhere else: the next kind of address may do.
    for host in hosts {
        let authority = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        match tokio::time::timeout(CONNECT_TIME_MAX, secure(client, &host, port, trust)).await {
            Ok(Ok(stream)) => return Ok((stream, authority)),
            Ok(Err(error)) => failure = format!("the agent of node {node} at {authority}: {error}"),
            Err(_) => {
                let seconds = CONNECT_TIME_MAX.as_secs();
                failure = format!("the agent of node {node} at {authority}: no answer within {seconds} s");
            }
        }
    }
    Err(ApiError::internal(failure))
}

async fn secure(
    client: &KubeletClient,
    host: &str,
    port: u16,
    trust: Trust,
) -> Result<TlsStream<TcpStream>, RequestError> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned())?;
    Ok(client.connector(trust)?.connect(name, stream).await?)
}

async fn request(
    stream: TlsStream<TcpStream>,
    authority: &str,
    path: &str,
) -> Result<Response<Incoming>, RequestError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the response body.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a node agent ended");
        }
    });
    let request = Request::get(path)
        .header(http::header::HOST, authority)
        .body(Empty::<Bytes>::new())?;
    // An agent may answer no sooner than its container says something.
    Ok(sender.send_request(request).await?)
}

/// The first address of each of the types, in their order, and the agent's port.
fn addresses(node: &Value, types: &[String]) -> (Vec<String>, u16) {
    let addresses = node["status"]["addresses"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let hosts = types
        .iter()
        .filter_map(|kind| addresses.iter().find(|a| a["type"] == kind.as_str())?["address"].as_str())
        .map(str::to_owned)
        .collect();
    (hosts, port(node))
}

/// The port at which the agent of a node is asked.
pub fn port(node: &Value) -> u16 {
    node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        .as_u64()
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p > 0)
        .unwrap_or(PORT)
}

/// An agent's answer, passed on as it comes.
pub fn stream(response: Response<Incoming>) -> Body {
    Body::from_stream(pieces(response))
}

/// An agent's answer, piece by piece.
pub fn pieces(response: Response<Incoming>) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let frames = http_body_util::BodyStream::new(response.into_body());
    futures::StreamExt::filter_map(frames, |frame| async move {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(std::io::Error::other(error))),
        }
    })
}

/// An agent's error text.
pub async fn text(response: Response<Incoming>) -> String {
    match Limited::new(response.into_body(), ERROR_BYTES_MAX)
        .collect()
        .await
    {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => format!("the node agent's answer could not be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_connections_are_made_with_is_made_once() {
        let ca = orlop_pki::Authority::ephemeral("kubernetes").unwrap();
        for ca in [None, Some(ca.certificate().to_owned())] {
            let is_configured = ca.is_some();
            let tls = KubeletClientTls { ca, identity: None };
            let client = KubeletClient::new(tls, Vec::new()).unwrap();
            let config = |trust| client.connector(trust).unwrap().config().clone();
            for trust in [Trust::Configured, Trust::Any] {
                assert!(Arc::ptr_eq(&config(trust), &config(trust)), "{trust:?}");
            }
            let same = Arc::ptr_eq(&config(Trust::Configured), &config(Trust::Any));
            assert_ne!(same, is_configured);
        }
        let tls = KubeletClientTls {
            ca: Some("no certificate".to_owned()),
            identity: None,
        };
        assert!(KubeletClient::new(tls, Vec::new()).is_err());
    }

    #[test]
    fn addresses_come_in_order_of_preference() {
        let node = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "n1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10260}},
        }});
        let hosts = |types: &[&str]| {
            let types: Vec<_> = types.iter().map(|kind| (*kind).to_owned()).collect();
            addresses(&node, &types)
        };
        assert_eq!(
            hosts(&ADDRESS_TYPES),
            (vec!["n1".to_owned(), "10.0.0.1".to_owned()], 10260)
        );
        assert_eq!(hosts(&ADDRESSES_FIRST).0, ["10.0.0.1", "n1"]);
        assert_eq!(hosts(&["ExternalDNS", "Hostname"]).0, ["n1"]);
        assert_eq!(
            addresses(&json!({"status": {}}), &["Hostname".to_owned()]),
            (vec![], PORT)
        );
    }
}
