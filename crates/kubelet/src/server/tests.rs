//! Ports, TLS and callers, over real sockets.
use super::body::text;
use super::*;
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use orlop_pki::{Authority, LeafRequest, Usage};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

async fn local() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn get<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Of an agent whose pod manager has turns.
fn healthz(stream: TcpStream) -> impl Future<Output = ()> {
    let health = health::Health {
        orders: Orders::default(),
        metrics: Metrics::default(),
    };
    let mut requests = health.orders.receive();
    tokio::spawn(async move {
        while let Some(crate::pods::Request::Answer(answer)) = requests.recv().await {
            answer.send(()).unwrap();
        }
    });
    serve::healthz(stream, health)
}

#[tokio::test]
async fn taken_port_and_bad_address_name_what_to_change() {
    let (_held, address) = local().await;
    let place = |address, port| Place {
        address: ("healthzBindAddress", address),
        port: ("healthzPort", port),
    };
    let error = listen(place("127.0.0.1", address.port()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("`healthzPort`"),
        "{error}"
    );
    let error = listen(place("localhost", 1)).await.unwrap_err().to_string();
    assert!(
        error.contains("\"localhost\"") && error.contains("`healthzBindAddress`"),
        "{error}"
    );
}

#[tokio::test]
async fn c11_healthz_says_ok_and_shutdown_ends_open_connections() {
    let (listener, address) = local().await;
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve::accept(listener, shutdown.clone(), healthz));
    let answer = get(TcpStream::connect(address).await.unwrap(), "/healthz").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
    let answer = get(TcpStream::connect(address).await.unwrap(), "/pods").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    shutdown.cancel();
    task.await.unwrap();
    // Closed or reset, but not left hanging.
    let _ = open.read(&mut [0; 1]).await;
}

/// Over HTTP/2 a body that answers a HEAD is an error of the protocol.
#[tokio::test]
async fn what_answers_a_head_has_no_body() {
    let (listener, address) = local().await;
    let shutdown = CancellationToken::new();
    let _end = shutdown.clone().drop_guard();
    tokio::spawn(serve::accept(listener, shutdown, healthz));
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::head("http://n1/healthz")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-length"], "2");
    let body = answer.into_body().collect().await.unwrap();
    assert!(body.to_bytes().is_empty());
}

/// Asks over TLS, with a client certificate for `identity`, who the server takes the caller for.
async fn seen_as(identity: Option<Identity>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
    let sign = |identity, usage| {
        let addresses = vec!["127.0.0.1".parse().unwrap()];
        authority
            .sign(&LeafRequest {
                identity,
                usage,
                dns_names: vec![],
                addresses,
            })
            .unwrap()
    };
    let leaf = sign(Identity::new("system:node:n1", &["system:nodes"]), Usage::Server);
    let tls = orlop_pki::server_config(&leaf.certificate, &leaf.key, authority.certificate()).unwrap();
    let acceptor = TlsAcceptor::from(tls);
    let (listener, address) = local().await;
    let shutdown = CancellationToken::new();
    let _end = shutdown.clone().drop_guard();
    let access = Arc::new(access::Access::new(&KubeletConfiguration::default(), "n1", None));
    tokio::spawn(serve::accept(listener, shutdown, move |stream| {
        let access = access.clone();
        serve::secure(
            stream,
            acceptor.clone(),
            move |caller: Option<Arc<Identity>>, request: Request<_>| {
                let access = access.clone();
                async move {
                    let (method, path) = (request.method(), request.uri().path());
                    match access
                        .check(caller.clone(), request.headers(), method, path)
                        .await
                    {
                        Ok(()) => text(
                            StatusCode::OK,
                            caller.map_or(String::new(), |caller| caller.user.clone()),
                        ),
                        Err(refusal) => refusal,
                    }
                }
            },
        )
    }));
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let client = match identity {
        Some(identity) => {
            let leaf = sign(identity, Usage::Client);
            let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap())
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector
        .connect(ServerName::try_from("127.0.0.1").unwrap(), stream)
        .await
        .unwrap();
    get(stream, "/pods").await
}

#[tokio::test]
async fn n10_caller_is_whom_its_certificate_names() {
    let answer = seen_as(Some(Identity::new("kube-apiserver-kubelet-client", &[]))).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("kube-apiserver-kubelet-client"),
        "{answer}"
    );
    let answer = seen_as(Some(Identity::new("eve", &["devs"]))).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("user=eve"),
        "{answer}"
    );
    let answer = seen_as(None).await;
    assert!(
        answer.starts_with("HTTP/1.1 401") && answer.ends_with("Unauthorized"),
        "{answer}"
    );
}

/// A caller whose machine has died says no goodbye.
#[tokio::test]
async fn the_kernel_asks_silent_callers_whether_they_are_there() {
    use rustix::net::sockopt;
    let (listener, address) = local().await;
    let (_caller, accepted) = tokio::join!(TcpStream::connect(address), serve::Listen::next(&listener));
    let stream = accepted.unwrap();
    assert!(sockopt::socket_keepalive(&stream).unwrap());
    assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), Duration::from_secs(15));
    assert!(stream.nodelay().unwrap());
}
