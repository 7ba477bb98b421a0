//! Where clients connect: URLs as etcd's flags take them, and their sockets.
use orlop_pki::TlsLimits;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

/// One URL to listen on: `unix:///path`, `http://host:port`, or with TLS `unixs:///path` and `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix { path: PathBuf, secure: bool },
    Tcp { address: String, secure: bool },
}

/// A URL that is none, or whose socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error(
        "{0} is no URL to listen on: use unix:///path, http://host:port, or with TLS unixs:///path or https://host:port"
    )]
    Unknown(String),
    #[error("cannot listen on {endpoint}: {source}")]
    Bind {
        endpoint: Endpoint,
        source: std::io::Error,
    },
    #[error("{0} needs a certificate and a key (--cert-file, --key-file)")]
    NoCertificate(Endpoint),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, EndpointError> {
        let unknown = || EndpointError::Unknown(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
        let rest = rest.trim_end_matches('/');
        match scheme {
            "unix" | "unixs" if !rest.is_empty() => Ok(Self::Unix {
                path: rest.into(),
                secure: scheme == "unixs",
            }),
            "http" | "https" => {
                let (host, port) = rest.rsplit_once(':').ok_or_else(unknown)?;
                if host.is_empty() || port.parse::<u16>().is_err() {
                    return Err(unknown());
                }
                Ok(Self::Tcp {
                    address: rest.to_owned(),
                    secure: scheme == "https",
                })
            }
            _ => Err(unknown()),
        }
    }
}

impl Endpoint {
    fn is_secure(&self) -> bool {
        match self {
            Self::Unix { secure, .. } | Self::Tcp { secure, .. } => *secure,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, secure: false } => write!(f, "unix://{}", path.display()),
            Self::Unix { path, secure: true } => write!(f, "unixs://{}", path.display()),
            Self::Tcp {
                address,
                secure: true,
            } => write!(f, "https://{address}"),
            Self::Tcp {
                address,
                secure: false,
            } => write!(f, "http://{address}"),
        }
    }
}

/// The server's side of TLS.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Certificates that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} cannot be read: {reason}")]
    Unreadable { what: &'static str, reason: String },
    #[error("certificate and key don't make a server: {0}")]
    Unusable(#[from] rustls::Error),
    #[error("the trusted authority can't be used: {0}")]
    Authority(String),
}

/// What a server's TLS is made of, in PEM.
#[derive(Clone, Copy, Debug)]
pub struct TlsParts<'p> {
    pub certificate: &'p [u8],
    pub key: &'p [u8],
    /// With one, only clients that have a certificate of it are served.
    pub client_authority: Option<&'p [u8]>,
    /// The list of its certificates that count no more.
    pub revoked: Option<&'p [u8]>,
    pub limits: &'p TlsLimits,
}

impl Tls {
    /// From PEM. With an authority, only clients that have a certificate of it are served.
    pub fn new(certificate: &[u8], key: &[u8], client_authority: Option<&[u8]>) -> Result<Self, TlsError> {
        Self::of(TlsParts {
            certificate,
            key,
            client_authority,
            revoked: None,
            limits: &TlsLimits::default(),
        })
    }

    pub fn of(parts: TlsParts<'_>) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(parts.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable("the certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(parts.key).map_err(unreadable("the key"))?;
        let provider = Arc::new(parts.limits.provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&parts.limits.versions())?;
        let builder = match parts.client_authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                builder.with_client_cert_verifier(verifier(authority, parts.revoked, provider)?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

fn unreadable(what: &'static str) -> impl Fn(rustls::pki_types::pem::Error) -> TlsError {
    move |error| TlsError::Unreadable {
        what,
        reason: error.to_string(),
    }
}

fn verifier(
    authority: &[u8],
    revoked: Option<&[u8]>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate.map_err(unreadable("the trusted authority"))?)?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(revoked) = revoked {
        let lists = CertificateRevocationListDer::pem_slice_iter(revoked)
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable("the list of revoked certificates"))?;
        // The list names clients; who is not in it is not revoked.
        builder = builder
            .with_crls(lists)
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
    }
    let verifier = builder
        .build()
        .map_err(|error| TlsError::Authority(error.to_string()))?;
    Ok(verifier)
}

/// A socket that listens.
pub struct Listener {
    pub(crate) socket: Socket,
    pub(crate) endpoint: Endpoint,
    pub(crate) answers: Answers,
}

/// What those who connect may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    Everything,
    /// Metrics and probes, which anybody may know.
    Probes,
}

pub(crate) enum Socket {
    Unix(UnixListener, Option<TlsAcceptor>),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

impl Listener {
    pub async fn bind(endpoint: Endpoint, tls: Option<&Tls>) -> Result<Self, EndpointError> {
        let failed = |source| EndpointError::Bind {
            endpoint: endpoint.clone(),
            source,
        };
        let acceptor = match (endpoint.is_secure(), tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls.0.clone().into()),
            (true, None) => return Err(EndpointError::NoCertificate(endpoint)),
        };
        let socket = match &endpoint {
            Endpoint::Unix { path, .. } => {
                forget_stale(path).await;
                Socket::Unix(UnixListener::bind(path).map_err(failed)?, acceptor)
            }
            Endpoint::Tcp { address, .. } => {
                Socket::Tcp(TcpListener::bind(address).await.map_err(failed)?, acceptor)
            }
        };
        Ok(Self {
            socket,
            endpoint,
            answers: Answers::Everything,
        })
    }

    /// Answers metrics and probes there and nothing else: such a socket is open to who may not read the store.
    pub fn for_metrics(mut self) -> Self {
        self.answers = Answers::Probes;
        self
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// Removes the socket that a process which is gone has left.
async fn forget_stale(path: &Path) {
    if path.exists() && tokio::net::UnixStream::connect(path).await.is_err() {
        // Binding tells what is wrong if this did not help.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Face, Member};
    use orlop_store::embedded::EmbeddedStore;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::sync::CancellationToken;

    /// The status line and what else is answered to a request in HTTP/1.1.
    async fn asked(socket: &Path, method: &str, path: &str, kind: &str) -> String {
        let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let body = r#"{"key":"Zm9v","value":"Zm9v"}"#;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_listener_for_metrics_does_not_lead_to_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let bind = async |name: &str| {
            let path = directory.path().join(name);
            let endpoint: Endpoint = format!("unix://{}", path.display()).parse().unwrap();
            (Listener::bind(endpoint, None).await.unwrap(), path)
        };
        let (clients, all) = bind("clients").await;
        let (metrics, probes) = bind("metrics").await;
        let face = Face::new(EmbeddedStore::in_memory().unwrap(), Member::named("m"));
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move {
            face.serve(vec![clients, metrics.for_metrics()], stop).await;
        });
        let json = crate::plain::JSON;
        for path in [
            "/metrics",
            "/health",
            "/livez",
            "/readyz",
            "/readyz/data_corruption",
        ] {
            let answer = asked(&probes, "GET", path, json).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
        for path in ["/v3/kv/put", "/v3/kv/range", "/version", "/livezz", "/"] {
            let answer = asked(&probes, "POST", path, json).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        }
        let called = asked(&probes, "POST", "/etcdserverpb.KV/Put", "application/grpc").await;
        assert!(called.contains("grpc-status: 12"), "{called}");
        assert!(
            asked(&probes, "OPTIONS", "/metrics", json)
                .await
                .starts_with("HTTP/1.1 405 ")
        );
        // Clients are answered as ever, and nothing of the above was written.
        let range = asked(&all, "POST", "/v3/kv/range", json).await;
        assert!(range.starts_with("HTTP/1.1 200 "), "{range}");
        assert!(!range.contains("kvs"), "{range}");
        shutdown.cancel();
        serving.await.unwrap();
    }

    #[test]
    fn urls_are_read_as_etcd_writes_them() {
        let tcp = |address: &str, secure| {
            Some(Endpoint::Tcp {
                address: address.to_owned(),
                secure,
            })
        };
        let cases = [
            ("http://127.0.0.1:2379", tcp("127.0.0.1:2379", false)),
            ("https://[::1]:2379/", tcp("[::1]:2379", true)),
            ("http://localhost:1", tcp("localhost:1", false)),
            (
                "unix:///run/etcd.sock",
                Some(Endpoint::Unix {
                    path: "/run/etcd.sock".into(),
                    secure: false,
                }),
            ),
            (
                "unixs://localhost:m0",
                Some(Endpoint::Unix {
                    path: "localhost:m0".into(),
                    secure: true,
                }),
            ),
            ("http://localhost", None),
            ("http://:2379", None),
            ("ftp://a:1", None),
            ("127.0.0.1:2379", None),
            ("unix://", None),
        ];
        for (url, expected) in cases {
            assert_eq!(url.parse::<Endpoint>().ok(), expected, "{url}");
        }
    }
}
