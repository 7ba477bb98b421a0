//! The server as a client of others' HTTPS servers: identity providers, webhooks, aggregated API servers. Webhooks
//! of all kinds are asked often and have their connections kept; others have one a call.
//!
//! | file | does |
//! |---|---|
//! | `endpoint` | where a webhook is, and connections to it |
//! | `kept` | connections that are kept for the next question |
//! | `kubeconfig` | as whom others are asked, by kubeconfig files |
//! | `places` | where a Service can be reached, and in which order that is tried |
//! | `question` | one question to a webhook |
//! | `remote` | servers that a kubeconfig file names |
mod endpoint;
mod kept;
mod kubeconfig;
mod places;
mod question;
mod remote;

pub use endpoint::Endpoint;
pub use kept::Ways;
pub use kubeconfig::{KubeconfigFile, WebhookClients};
pub use places::{Nowhere, Places, ready, slices};
pub use question::Question;
pub use remote::{Remote, RemoteError};

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Full;
use kept::Kept;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The version of reviews that a webhook of authentication or authorization understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewVersion {
    V1,
    V1Beta1,
}

impl ReviewVersion {
    /// With an API group before it.
    pub fn of(self, group: &str) -> String {
        let version = match self {
            Self::V1 => "v1",
            Self::V1Beta1 => "v1beta1",
        };
        format!("{group}/{version}")
    }
}

impl std::str::FromStr for ReviewVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v1" => Ok(Self::V1),
            "v1beta1" => Ok(Self::V1Beta1),
            _ => Err(format!("{text:?} is none of v1, v1beta1")),
        }
    }
}

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whose certificates are taken.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'p> {
    /// Those of this machine's authorities.
    Machine,
    /// Those of these authorities, PEM.
    Authorities(&'p str),
    /// Any.
    Anyone,
}

/// A call that brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("{0} is no https URL")]
    Url(String),
    #[error("the {0} is unusable: {1}")]
    Tls(&'static str, String),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("{0}")]
    Failed(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// TLS towards one kind of server.
#[derive(Clone)]
pub struct Outbound {
    connector: TlsConnector,
}

impl Outbound {
    /// `identity`: certificate and key to present, PEM.
    pub fn new(trust: Trust<'_>, identity: Option<(&str, &str)>) -> Result<Self, OutboundError> {
        let bad = |what: &'static str| move |reason: String| OutboundError::Tls(what, reason);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad("protocol versions")(e.to_string()))?;
        let builder = match trust {
            Trust::Machine => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                builder.with_root_certificates(roots)
            }
            Trust::Authorities(pem) => {
                let verifier =
                    orlop_pki::given_authorities(pem, "CA").map_err(|e| bad("CA")(e.to_string()))?;
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(orlop_pki::any_certificate()),
        };
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| bad("certificate")(e.to_string()))?;
                let key =
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| bad("key")(e.to_string()))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| bad("certificate")(e.to_string()))?
            }
        };
        // With a session that is resumed nobody would look at the certificate again.
        config.resumption = Resumption::disabled();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// A connection to `host`, whose certificate is to be for `name`.
    pub async fn connect(
        &self,
        host: &str,
        port: u16,
        name: &str,
    ) -> Result<TlsStream<TcpStream>, OutboundError> {
        let name = ServerName::try_from(name.to_owned()).map_err(|e| OutboundError::Failed(e.into()))?;
        let failed = |error: std::io::Error| OutboundError::Failed(error.into());
        let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        self.connector.connect(name, stream).await.map_err(failed)
    }

    /// A connection to one of the places of a server, whose certificate is to be for `name`.
    pub async fn connect_to_any(
        &self,
        places: Places,
        name: &str,
    ) -> Result<TlsStream<TcpStream>, OutboundError> {
        let connect = |host: String, port: u16| async move { self.connect(&host, port, name).await };
        places.try_each(connect).await
    }

    /// Sends a request whose URI is a whole `https` one, and reads the answer.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<Response<Bytes>, OutboundError> {
        // Nobody keeps the connection.
        self.send_again(&Arc::default(), request, within).await
    }

    /// The same over a connection that is kept, or afterwards is.
    pub async fn send_again(
        &self,
        kept: &Arc<Kept>,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<Response<Bytes>, OutboundError> {
        let (request, host, port) = addressed(request)?;
        let connect = self.connect(&host, port, &host);
        let call = kept.exchange(request, ANSWER_BYTES_MAX, connect);
        tokio::time::timeout(within, call)
            .await
            .map_err(|_| OutboundError::Late(within))?
    }
}

/// A request as it is sent over a connection, and where to: its URI is a whole `https` one.
fn addressed(
    mut request: Request<Full<Bytes>>,
) -> Result<(Request<Full<Bytes>>, String, u16), OutboundError> {
    let uri = request.uri().clone();
    let not_https = || OutboundError::Url(uri.to_string());
    let authority = uri.authority().ok_or_else(not_https)?;
    if uri.scheme_str() != Some("https") {
        return Err(not_https());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| not_https())?;
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| not_https())?;
    request.headers_mut().insert(HOST, value);
    Ok((request, host.to_owned(), authority.port_u16().unwrap_or(443)))
}
