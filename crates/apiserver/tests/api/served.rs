//! A server behind its secure port, and a client that sets whatever headers and certificates a test wants.
use crate::support::{Client, Reply, TestStore};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use orlop_apiserver::{ApiServer, Config, TrustedAuthorities, UserInfo};
use orlop_pki::{Authority, Identity, Leaf, LeafRequest, Usage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Served {
    pub server: Arc<ApiServer>,
    pub authority: Authority,
    pub address: SocketAddr,
    store: TestStore,
    /// Until it has ended.
    pub serving: JoinHandle<()>,
    _stop: DropGuard,
}

pub fn leaf(authority: &Authority, user: &str, groups: &[&str], usage: Usage) -> Leaf {
    let request = LeafRequest {
        identity: Identity::new(user, groups),
        usage,
        dns_names: vec!["localhost".to_owned()],
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
    };
    authority.sign(&request).unwrap()
}

/// TLS of a server of `authority` on this machine.
pub fn serving(authority: &Authority) -> Arc<rustls::ServerConfig> {
    let own = leaf(authority, "localhost", &[], Usage::Server);
    orlop_pki::server_config_for_any_client(&own.certificate, &own.key, authority.certificate()).unwrap()
}

/// A connection to a server of `authority`.
pub async fn connect(authority: &str, address: SocketAddr, identity: Option<&Leaf>) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(leaf) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

impl Served {
    /// A server that is told more by `change`, which sees the authority of its clients.
    pub async fn start(change: impl FnOnce(&mut Config, &Authority)) -> Self {
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = Config::new(address);
        let client_ca = TrustedAuthorities::of_clients(authority.certificate()).unwrap();
        config.authentication.client_ca = Some(client_ca);
        change(&mut config, &authority);
        let shutdown: CancellationToken = config.shutdown.clone();
        let store = TestStore::new().await;
        let server = ApiServer::start(config, store.store.clone()).await.unwrap();
        let served = server
            .clone()
            .serve(listener, serving(&authority), shutdown.clone());
        let serving = tokio::spawn(async move { served.await.unwrap() });
        Self {
            server,
            authority,
            address,
            store,
            serving,
            _stop: shutdown.drop_guard(),
        }
    }

    /// A client certificate.
    pub fn leaf(&self, user: &str, groups: &[&str]) -> Leaf {
        leaf(&self.authority, user, groups, Usage::Client)
    }

    /// The administrator, without a socket.
    pub fn admin(&self) -> Client {
        self.user(UserInfo::admin("admin"))
    }

    /// Somebody, without a socket.
    pub fn user(&self, user: UserInfo) -> Client {
        Client::of(self.server.in_process(user), self.store.clone())
    }

    /// One request on a connection of its own.
    pub async fn call(
        &self,
        identity: Option<&Leaf>,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut connection = self.connection(identity).await;
        connection.call(method, path, headers, body).await
    }

    /// A connection that stays open.
    pub async fn connection(&self, identity: Option<&Leaf>) -> Connection {
        let stream = connect(self.authority.certificate(), self.address, identity).await;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Connection(sender)
    }

    /// Who the server takes the caller for; the code where it is refused.
    pub async fn whoami(
        &self,
        identity: Option<&Leaf>,
        headers: &[(&str, &str)],
    ) -> Result<serde_json::Value, u16> {
        self.connection(identity).await.whoami(headers).await
    }

    pub async fn with_token(&self, token: &str) -> Result<serde_json::Value, u16> {
        self.whoami(None, &[("authorization", &format!("Bearer {token}"))])
            .await
    }
}

/// One connection with HTTP/1.1.
pub struct Connection(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.0.ready().await.unwrap();
        let (parts, body) = self.0.send_request(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply {
            code: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Who the server takes the caller for; the code where it is refused.
    pub async fn whoami(&mut self, headers: &[(&str, &str)]) -> Result<serde_json::Value, u16> {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        let body = r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#;
        let reply = self.call(Method::POST, path, &all, body).await;
        match reply.code {
            201 => Ok(reply.json()["status"]["userInfo"].clone()),
            code => Err(code),
        }
    }
}
