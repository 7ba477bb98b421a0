//! Where clients connect: URLs as etcd's flags take them, and their sockets.
use crate::tls::Tls;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::net::{TcpListener, UnixListener};

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
    Unix(UnixListener, Option<Tls>),
    Tcp(TcpListener, Option<Tls>),
}

impl Listener {
    pub async fn bind(endpoint: Endpoint, tls: Option<&Tls>) -> Result<Self, EndpointError> {
        let failed = |source| EndpointError::Bind {
            endpoint: endpoint.clone(),
            source,
        };
        let tls = match (endpoint.is_secure(), tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls.clone()),
            (true, None) => return Err(EndpointError::NoCertificate(endpoint)),
        };
        let socket = match &endpoint {
            Endpoint::Unix { path, .. } => {
                forget_stale(path).await;
                Socket::Unix(UnixListener::bind(path).map_err(failed)?, tls)
            }
            Endpoint::Tcp { address, .. } => {
                Socket::Tcp(orlop_sockets::listen_at(address).await.map_err(failed)?, tls)
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
