//! Where clients connect: URLs as etcd's flags take them, and their sockets.
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

/// One URL to listen on: `unix:///path`, `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp { address: String, secure: bool },
}

/// A URL that is none, or whose socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("{0} is no URL to listen on: use unix:///path, http://host:port or https://host:port")]
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
            "unix" if !rest.is_empty() => Ok(Self::Unix(rest.into())),
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

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
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

impl Tls {
    /// From PEM. With an authority, only clients that have a certificate of it are served.
    pub fn new(certificate: &[u8], key: &[u8], client_authority: Option<&[u8]>) -> Result<Self, TlsError> {
        let unreadable = |what| {
            move |error: rustls::pki_types::pem::Error| TlsError::Unreadable {
                what,
                reason: error.to_string(),
            }
        };
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable("the certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(unreadable("the key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match client_authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(authority) {
                    roots.add(certificate.map_err(unreadable("the trusted authority"))?)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| TlsError::Authority(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// A socket that listens.
pub struct Listener {
    pub(crate) socket: Socket,
    pub(crate) endpoint: Endpoint,
}

pub(crate) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener, TlsAcceptor),
}

impl Listener {
    pub async fn bind(endpoint: Endpoint, tls: Option<&Tls>) -> Result<Self, EndpointError> {
        let failed = |source| EndpointError::Bind {
            endpoint: endpoint.clone(),
            source,
        };
        let socket = match &endpoint {
            Endpoint::Unix(path) => {
                forget_stale(path).await;
                Socket::Unix(UnixListener::bind(path).map_err(failed)?)
            }
            Endpoint::Tcp { address, secure } => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                match (secure, tls) {
                    (false, _) => Socket::Tcp(listener),
                    (true, Some(tls)) => Socket::Tls(listener, tls.0.clone().into()),
                    (true, None) => return Err(EndpointError::NoCertificate(endpoint)),
                }
            }
        };
        Ok(Self { socket, endpoint })
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
                Some(Endpoint::Unix("/run/etcd.sock".into())),
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
