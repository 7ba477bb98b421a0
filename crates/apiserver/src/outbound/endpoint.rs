//! Where a webhook is, and the way to it.
use super::OutboundError;
use super::kept::{To, Way, Ways};
use super::kubeconfig::{Credentials, WebhookClients};
use super::places::{Nowhere, Places};
use crate::ApiServer;
use http::header::HeaderValue;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What `clientConfig` says.
pub struct Endpoint {
    target: Target,
    /// Path and query, without the timeout.
    path: String,
    authority: String,
    /// How one presents oneself to it.
    credentials: Option<Arc<Credentials>>,
    way: Arc<Way>,
}

#[derive(Debug)]
enum Target {
    Host {
        host: String,
        port: u16,
    },
    Service {
        namespace: String,
        name: String,
        port: u16,
    },
    /// Neither, which validation refuses.
    Nowhere,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority, self.path)
    }
}

impl Endpoint {
    /// Presented to as one of `clients` says, if there are any.
    pub fn of(config: &Value, clients: Option<&WebhookClients>, ways: &Ways) -> Self {
        let (target, authority, path) = match config["url"].as_str() {
            Some(url) => by_url(url),
            None => by_service(&config["service"]),
        };
        let authorities = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            config["caBundle"].as_str().unwrap_or_default(),
        );
        let authorities = String::from_utf8(authorities.unwrap_or_default()).unwrap_or_default();
        let server = target.server();
        let credentials = clients
            .zip(server.as_ref())
            .and_then(|(clients, (host, port))| clients.for_server(host, *port));
        let way = ways.to(To {
            server: server.map_or_else(String::new, |(host, port)| format!("{host}:{port}")),
            authorities,
            identity: credentials
                .as_ref()
                .and_then(|credentials| credentials.identity.clone()),
        });
        Self {
            target,
            path,
            authority,
            credentials,
            way,
        }
    }

    /// What is sent as `Authorization`, if anything.
    pub fn authorization(&self) -> Option<HeaderValue> {
        self.credentials.as_ref()?.authorization.clone()
    }

    /// The address with its query, as failures name it.
    pub fn url(&self, seconds: u64) -> String {
        format!("https://{}{}", self.authority, self.path_with(seconds))
    }

    pub fn path_with(&self, seconds: u64) -> String {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{mark}timeout={seconds}s", self.path)
    }

    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What those who go there share.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// A new connection.
    ///
    /// # Errors
    /// The webhook is nowhere, not there, or not who it should be.
    pub async fn connect(&self, server: &ApiServer) -> Result<TlsStream<TcpStream>, OutboundError> {
        let nothing = |why: String| OutboundError::Failed(why.into());
        let (name, places) = match &self.target {
            Target::Host { host, port } => (host.clone(), Places::only((host.clone(), *port))),
            Target::Service {
                namespace,
                name,
                port,
            } => (
                format!("{name}.{namespace}.svc"),
                Places::of_service(&server.cache, namespace, name, *port)
                    .map_err(|nowhere| nothing(told(&nowhere, name, *port)))?,
            ),
            Target::Nowhere => {
                return Err(nothing("the webhook has neither a url nor a service".to_owned()));
            }
        };
        let outbound = self.way.tls().map_err(nothing)?;
        outbound.connect_to_any(places, &name).await
    }
}

/// Why a Service leads nowhere, as users of webhooks know it.
fn told(nowhere: &Nowhere, name: &str, port: u16) -> String {
    match nowhere {
        Nowhere::Service => format!("service {name:?} not found"),
        Nowhere::Port => format!("no service port {port} found for service {name:?}"),
        Nowhere::Slices | Nowhere::Endpoints(_) => format!("no endpoints available for service {name:?}"),
    }
}

impl Target {
    /// The name of the server, and its port.
    fn server(&self) -> Option<(String, u16)> {
        match self {
            Self::Host { host, port } => Some((host.clone(), *port)),
            Self::Service {
                namespace,
                name,
                port,
            } => Some((format!("{name}.{namespace}.svc"), *port)),
            Self::Nowhere => None,
        }
    }
}

fn by_url(url: &str) -> (Target, String, String) {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, port.parse().unwrap_or(443)),
        _ => (authority, 443),
    };
    let target = Target::Host {
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
    };
    (target, authority.to_owned(), path.to_owned())
}

fn by_service(service: &Value) -> (Target, String, String) {
    let text = |key: &str| service[key].as_str().unwrap_or_default();
    if text("name").is_empty() {
        return (Target::Nowhere, String::new(), String::new());
    }
    let port = service["port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(443);
    let target = Target::Service {
        namespace: text("namespace").to_owned(),
        name: text("name").to_owned(),
        port,
    };
    let path = match text("path") {
        "" => "/",
        path => path,
    };
    let authority = format!("{}.{}.svc:{port}", text("name"), text("namespace"));
    (target, authority, path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_come_from_urls_and_services() {
        for (config, url) in [
            (json!({"url": "https://h:8443/p"}), "https://h:8443/p?timeout=2s"),
            (json!({"url": "https://h/p?x=1"}), "https://h/p?x=1&timeout=2s"),
            (json!({"url": "https://h"}), "https://h/?timeout=2s"),
            (
                json!({"service": {"name": "s", "namespace": "n", "path": "/v"}}),
                "https://s.n.svc:443/v?timeout=2s",
            ),
            (
                json!({"service": {"name": "s", "namespace": "n", "port": 8443}}),
                "https://s.n.svc:8443/?timeout=2s",
            ),
        ] {
            let endpoint = Endpoint::of(&config, None, &Ways::default());
            assert_eq!(endpoint.url(2), url);
        }
    }
}
