//! `/healthz`, `/livez`, `/readyz`, `/metrics`, `/metrics/slis`, `/configz` and the pages of their own of the parts that are
//! clients of the API server, over HTTPS. Probes need no rights; for the rest callers are recognised and judged by asking
//! the API server, as upstream's parts do.
use crate::delegate::{Delegate, Refused};
use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use orlop_client::Readiness;
use orlop_metrics::{PartMetrics, text};
use orlop_pki::{Authority, Identity, LeafRequest, Pair, Presented, TlsLimits, Usage};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A client that does not finish its handshake, or the head of its request, in this time is dropped.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after the system refuses a connection (it is out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a part shows of itself.
pub struct Face {
    /// Names the program in errors and logs.
    pub part: &'static str,
    pub metrics: Arc<PartMetrics>,
    pub readiness: Readiness,
    pub delegate: Delegate,
    /// Paths that anybody may get, beside the probes; `/a/*` for all below.
    pub open: Vec<String>,
    /// What it serves with; one that is made at start otherwise.
    pub certificate: Option<Pair>,
    /// What it was told, if it was told anything.
    pub configz: Option<serde_json::Value>,
    pub pages: Vec<Page>,
}

/// Metrics that a part has beside those that all have.
pub struct Page {
    pub path: &'static str,
    /// Made when it is asked for.
    pub text: Box<dyn Fn() -> String + Send + Sync>,
}

impl Face {
    /// Probes need no rights, and what was opened needs none.
    fn is_open(&self, path: &str) -> bool {
        let opens = |open: &String| match open.strip_suffix("/*") {
            Some(above) => path
                .strip_prefix(above)
                .is_some_and(|below| below.starts_with('/')),
            None => open == path,
        };
        is_probe(path) || self.open.iter().any(opens)
    }
}

fn is_probe(path: &str) -> bool {
    probed(path).is_some()
}

/// The endpoint that a probe asks.
fn probed(path: &str) -> Option<&'static str> {
    ["healthz", "livez", "readyz"]
        .into_iter()
        .find(|endpoint| path.strip_prefix('/') == Some(*endpoint))
}

/// What pods ask for, of a scheduler that runs by `options`.
pub fn of_resources(options: &orlop_scheduler::Options) -> Page {
    let resources = options.resources.clone();
    Page {
        path: orlop_scheduler::RESOURCES_PAGE,
        text: Box::new(move || resources.page()),
    }
}

/// Takes the port of a part.
pub async fn listen(part: &str, address: SocketAddr) -> Result<TcpListener> {
    orlop_sockets::listen(address)
        .await
        .with_context(|| format!("{part} cannot listen on {address}: choose another port, or 0 for none"))
}

/// Serves until shutdown.
pub async fn serve(face: Face, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
    // Who signs callers' certificates is asked later: callers are told of nobody, and show what they have.
    let config = match &face.certificate {
        Some(files) => {
            let presented = Presented::files(files.clone())?;
            orlop_pki::server_config_presenting(presented, Vec::new(), "", &TlsLimits::default())?
        }
        None => throwaway_certificate()?,
    };
    let acceptor = TlsAcceptor::from(config);
    let face = Arc::new(face);
    loop {
        let (stream, _) = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, part = face.part, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        tokio::spawn(connection(face.clone(), acceptor.clone(), stream));
    }
}

async fn connection(face: Arc<Face>, acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else {
        return;
    };
    let chain: Vec<_> = stream
        .get_ref()
        .1
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect();
    let chain = Arc::new(chain);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (face, chain) = (face.clone(), chain.clone());
        async move {
            let answer = answer(&face, &chain, &request).await;
            // Over HTTP/2 nobody else takes the body away.
            Ok::<_, Infallible>(match (request.method(), request.version()) {
                (&Method::HEAD, Version::HTTP_2) => answer.map(|_| Full::default()),
                _ => answer,
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE);
    // A probe that hangs up early is no news.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer<B>(
    face: &Face,
    chain: &[rustls::pki_types::CertificateDer<'static>],
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if let Some(endpoint) = probed(path) {
        return probe(face, endpoint);
    }
    let judged = match face.is_open(path) {
        true => Ok(()),
        false => face.delegate.check(chain, request.headers(), path).await,
    };
    match judged {
        Ok(()) => {}
        Err(Refused::Unknown) => return plain(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Err(Refused::Forbidden(user)) => {
            let text = format!("forbidden: User {user:?} cannot get path {path:?}");
            return plain(StatusCode::FORBIDDEN, text);
        }
        Err(Refused::Unreachable) => {
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the API server does not answer",
            );
        }
    }
    match path {
        "/metrics" => metrics_page(face.metrics.render()),
        "/metrics/slis" => metrics_page(face.metrics.checks.render()),
        "/configz" if face.configz.is_some() => {
            let text = face.configz.as_ref().map(ToString::to_string).unwrap_or_default();
            let mut response = plain(StatusCode::OK, text);
            let kind = hyper::header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        path => match face.pages.iter().find(|page| page.path == path) {
            Some(page) => metrics_page((page.text)()),
            None => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
        },
    }
}

/// What a part checks: that it answers, and for its readiness that it has read the cluster.
fn probe(face: &Face, endpoint: &'static str) -> Response<Full<Bytes>> {
    let checks = &face.metrics.checks;
    checks.checked(endpoint, "ping", true);
    if endpoint == "readyz" {
        let is_ready = face.readiness.is_ready();
        checks.checked(endpoint, "informer-sync", is_ready);
        if !is_ready {
            let text = "[+]ping ok\n[-]informer-sync failed: reason withheld\nreadyz check failed\n";
            return plain(StatusCode::INTERNAL_SERVER_ERROR, text);
        }
    }
    plain(StatusCode::OK, "ok")
}

fn metrics_page(text: String) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::OK, text);
    let kind = hyper::header::HeaderValue::from_static(text::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.into())));
    *response.status_mut() = status;
    response
}

/// Probes don't verify it.
fn throwaway_certificate() -> Result<Arc<rustls::ServerConfig>> {
    let authority = Authority::ephemeral("orlop-health")?;
    let leaf = authority.sign(&LeafRequest {
        identity: Identity::new("localhost", &[]),
        usage: Usage::Server,
        dns_names: vec!["localhost".to_owned()],
        addresses: vec![std::net::IpAddr::from([127, 0, 0, 1])],
    })?;
    Ok(orlop_pki::server_config_for_any_client(
        &leaf.certificate,
        &leaf.key,
        "",
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Empty};
    use orlop_apiserver::{ApiServer, Config, GIT_VERSION, TrustedAuthorities, UserInfo};
    use orlop_client::{Measure, in_process};
    use orlop_pki::Leaf;
    use orlop_store::embedded::EmbeddedStore;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tower::Layer;

    async fn connect(
        address: SocketAddr,
        identity: Option<&Leaf>,
    ) -> TokioIo<tokio_rustls::client::TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(orlop_pki::any_certificate());
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
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").unwrap();
        TokioIo::new(connector.connect(name, stream).await.unwrap())
    }

    /// The status and the body of a HEAD over HTTP/2.
    async fn head(address: SocketAddr, path: &str) -> hyper::Result<(u16, Bytes)> {
        let stream = connect(address, None).await;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        let request = Request::head(format!("https://localhost{path}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await?;
        let code = response.status().as_u16();
        Ok((code, response.into_body().collect().await?.to_bytes()))
    }

    async fn get(address: SocketAddr, identity: Option<&Leaf>, path: &str) -> (u16, String) {
        let stream = connect(address, identity).await;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", "localhost")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Contract §4.4, §4.5, of the parts beside the API server.
    #[tokio::test]
    async fn anybody_may_probe_and_only_who_may_sees_the_metrics_of_that_part() {
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let leaf = |user: &str, groups: &[&str]| {
            let request = LeafRequest {
                identity: Identity::new(user, groups),
                usage: Usage::Client,
                dns_names: Vec::new(),
                addresses: Vec::new(),
            };
            authority.sign(&request).unwrap()
        };
        let mut config = Config::new("127.0.0.1:6443".parse().unwrap());
        let client_ca = TrustedAuthorities::of_clients(authority.certificate()).unwrap();
        config.authentication.client_ca = Some(client_ca);
        let shutdown = config.shutdown.clone();
        let server = ApiServer::start(config, EmbeddedStore::in_memory().unwrap())
            .await
            .unwrap();
        let mut addresses = Vec::new();
        for part in ["kube-controller-manager", "kube-scheduler"] {
            let metrics = Arc::new(PartMetrics::new(GIT_VERSION));
            metrics.queue(part).added();
            let user = UserInfo::new(format!("system:{part}"), Vec::<String>::new());
            let service = Measure::new(metrics.calls.clone(), "here").layer(server.in_process(user));
            let face = Face {
                part,
                metrics,
                readiness: Readiness::default(),
                delegate: Delegate::new(in_process(service)),
                open: Vec::new(),
                certificate: None,
                configz: Some(serde_json::json!({"part": part})),
                pages: Vec::new(),
            };
            let listener = listen(part, "127.0.0.1:0".parse().unwrap()).await.unwrap();
            addresses.push((part, listener.local_addr().unwrap()));
            tokio::spawn(serve(face, listener, shutdown.clone()));
        }
        let stranger = Authority::ephemeral("stranger").unwrap();
        let stranger = stranger
            .sign(&LeafRequest {
                identity: Identity::new("admin", &["system:masters"]),
                usage: Usage::Client,
                dns_names: Vec::new(),
                addresses: Vec::new(),
            })
            .unwrap();
        for (part, address) in addresses {
            assert_eq!(get(address, None, "/healthz").await, (200, "ok".to_owned()));
            assert_eq!(head(address, "/healthz").await.unwrap(), (200, Bytes::new()));
            assert_eq!(get(address, None, "/metrics").await.0, 403);
            assert_eq!(get(address, None, "/metrics/slis").await.0, 403);
            assert_eq!(get(address, Some(&leaf("alice", &[])), "/metrics").await.0, 403);
            assert_eq!(get(address, Some(&stranger), "/metrics").await.0, 401);
            assert_eq!(get(address, None, "/configz").await.0, 403);
            let (code, text) = get(address, Some(&leaf("root", &["system:masters"])), "/configz").await;
            assert_eq!((code, text), (200, format!("{{\"part\":\"{part}\"}}")));
            for may in [
                leaf("prometheus", &["system:monitoring"]),
                leaf("root", &["system:masters"]),
            ] {
                let (code, text) = get(address, Some(&may), "/metrics").await;
                assert_eq!(code, 200, "{text}");
                assert!(
                    text.contains(&format!("workqueue_adds_total{{name=\"{part}\"}} 1\n")),
                    "{text}"
                );
                assert_eq!(text.matches("workqueue_adds_total{").count(), 1, "{text}");
                assert!(
                    text.contains("rest_client_requests_total{code=\"201\",method=\"POST\""),
                    "{text}"
                );
                let (code, text) = get(address, Some(&may), "/metrics/slis").await;
                assert_eq!(code, 200, "{text}");
                let passed = "kubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1\n";
                assert!(text.contains(passed), "{text}");
            }
        }
        shutdown.cancel();
    }

    fn face(open: &[&str]) -> Face {
        Face {
            part: "kube-scheduler",
            metrics: Arc::new(PartMetrics::new(GIT_VERSION)),
            readiness: Readiness::default(),
            delegate: Delegate::new(in_process(tower::service_fn(
                |_: Request<kube::client::Body>| async {
                    Err::<Response<kube::client::Body>, _>(std::io::Error::other("nobody is asked"))
                },
            ))),
            open: open.iter().map(|path| (*path).to_owned()).collect(),
            certificate: None,
            configz: None,
            pages: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_part_is_ready_once_it_has_read_the_cluster() {
        let face = face(&[]);
        let code = async |path: &str| {
            let request = Request::get(path).body(()).unwrap();
            answer(&face, &[], &request).await.status().as_u16()
        };
        assert_eq!(code("/readyz").await, 200, "it may not lead yet");
        face.readiness.reading();
        assert_eq!((code("/readyz").await, code("/livez").await), (500, 200));
        let text = face.metrics.checks.render();
        for line in [
            r#"kubernetes_healthcheck{name="informer-sync",type="readyz"} 0"#,
            r#"kubernetes_healthcheck{name="ping",type="livez"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        face.readiness.read();
        assert_eq!(code("/readyz").await, 200);
    }

    #[tokio::test]
    async fn a_part_shows_pages_of_its_own() {
        let mut face = face(&["/metrics/*"]);
        face.pages.push(Page {
            path: "/metrics/resources",
            text: Box::new(|| "a 1\n".to_owned()),
        });
        let request = |path: &str| Request::get(path).body(()).unwrap();
        let shown = async |path: &str| {
            let answer = answer(&face, &[], &request(path)).await;
            let kind = answer.headers().get(CONTENT_TYPE).cloned();
            let code = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (code, kind.is_some_and(|kind| kind == text::CONTENT_TYPE), body)
        };
        assert_eq!(shown("/metrics/others").await.0, 404);
        assert_eq!(
            shown("/metrics/resources").await,
            (200, true, Bytes::from("a 1\n"))
        );
    }

    #[tokio::test]
    async fn what_was_opened_needs_no_rights() {
        for (open, path, is_open) in [
            (&[][..], "/livez", true),
            (&[], "/metrics", false),
            (&["/metrics"], "/metrics", true),
            (&["/metrics"], "/metrics/slis", false),
            (&["/metrics/*"], "/metrics/slis", true),
            (&["/metrics/*"], "/metricsx", false),
        ] {
            assert_eq!(face(open).is_open(path), is_open, "{open:?} {path}");
        }
    }
}
