//! More clients than anybody needs, slower than anybody is: the server goes on answering others, its memory stays bounded,
//! and it gets rid of them by itself.
use crate::process::{Home, Process};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orlop_pki::{Identity, LeafRequest, Usage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const IDLE_CONNECTIONS: usize = 10_000;
/// Connections that are opened at the same time: fewer than a listening socket lets wait.
const AT_ONCE: usize = 100;
/// What a connection that has said nothing may cost.
const IDLE_BYTES_MAX: u64 = 24 << 10;
/// How long somebody else waits for an answer meanwhile.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The server's limit on handshakes, and what a busy machine takes to tell ten thousand clients of it.
const DROPPED_WITHIN: Duration = Duration::from_secs(60);
const HELD_CONNECTIONS: usize = 1_000;
/// What a connection may cost over which something was asked: TLS, HTTP/2 and their buffers.
const HELD_BYTES_MAX: u64 = 64 << 10;
const SLOW_CONNECTIONS: usize = 300;
/// Beyond the connection itself: a head or a body that is not there yet.
const SLOW_BYTES_MAX: u64 = 256 << 10;

async fn answers(client: &kube::Client) {
    let began = Instant::now();
    let request = Request::get("/api/v1/namespaces/default/configmaps")
        .body(Vec::new())
        .unwrap();
    let list: serde_json::Value = client.request(request).await.unwrap();
    assert_eq!(list["kind"], "ConfigMapList");
    assert!(
        began.elapsed() < ANSWER_TIME_MAX,
        "an answer took {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_keep_nobody_waiting_and_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let process = home.start().await;
    let client = home.client().await;
    answers(&client).await;
    let before = process.memory();
    let mut held = Vec::with_capacity(IDLE_CONNECTIONS);
    while held.len() < IDLE_CONNECTIONS {
        let opening = (0..AT_ONCE).map(|_| TcpStream::connect(home.address()));
        held.extend(futures::future::try_join_all(opening).await.unwrap());
        // A new client is answered as well; those before it have been taken out of the kernel's queue then, which
        // silently forgets what it has no room for.
        answers(&home.client().await).await;
    }
    answers(&client).await;
    let each = process.memory().saturating_sub(before) / IDLE_CONNECTIONS as u64;
    assert!(each < IDLE_BYTES_MAX, "an idle connection costs {each} bytes");
    let dropped = async {
        for stream in &mut held {
            let read = stream.read(&mut [0; 16]).await;
            assert!(matches!(read, Ok(0) | Err(_)), "the server says something");
        }
    };
    tokio::time::timeout(DROPPED_WITHIN, dropped)
        .await
        .expect("connections without a handshake are dropped");
    answers(&client).await;
}

/// A connection of somebody the server knows.
async fn connect(home: &Home) -> TlsStream<TcpStream> {
    let authority = home.authority();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap())
        .unwrap();
    let leaf = authority.sign(&LeafRequest {
        identity: Identity::new("admin", &["system:masters"]),
        usage: Usage::Client,
        dns_names: Vec::new(),
        addresses: Vec::new(),
    });
    let leaf = leaf.unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let stream = TcpStream::connect(home.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

/// Clients that asked once and keep their connection, as all of client-go do, until they are told to leave: ten thousand
/// are a few hundred megabytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_http2_that_are_kept_idle_cost_little() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let process = home.start().await;
    answers(&home.client().await).await;
    let before = process.memory();
    let mut held = Vec::with_capacity(HELD_CONNECTIONS);
    while held.len() < HELD_CONNECTIONS {
        let stream = TokioIo::new(connect(&home).await);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        let url = "https://localhost/api/v1/namespaces/default/configmaps";
        let request = Request::get(url).body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
        held.push(sender);
    }
    let each = process.memory().saturating_sub(before) / HELD_CONNECTIONS as u64;
    eprintln!("a connection that is kept costs {each} bytes");
    assert!(
        each < HELD_BYTES_MAX,
        "a connection that is kept costs {each} bytes"
    );
    answers(&home.client().await).await;
}

/// Memory that `SLOW_CONNECTIONS` of one kind cost beyond what was there.
fn is_bounded(process: &Process, before: u64) {
    let more = process.memory().saturating_sub(before);
    let each = more / SLOW_CONNECTIONS as u64;
    assert!(each < SLOW_BYTES_MAX, "a slow connection costs {each} bytes");
}

/// Heads and bodies that come a byte at a time, or never.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_and_bodies_keep_nobody_waiting_and_cost_what_was_sent() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let process = home.start().await;
    let client = home.client().await;
    answers(&client).await;
    let before = process.memory();
    let mut held = Vec::new();
    for number in 0..SLOW_CONNECTIONS {
        let mut stream = connect(&home).await;
        // A body of 3 MB is announced; nobody keeps room for it.
        let said = match number % 3 {
            0 => {
                "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 3000000\r\n\r\n{"
            }
            1 => "GET /api/v1/pods HTTP/1.1\r\nhost: lo",
            _ => {
                "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n"
            }
        };
        stream.write_all(said.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        held.push(stream);
    }
    for _ in 0..3 {
        for stream in &mut held {
            // One that was refused already is no matter.
            let _ = stream.write_all(b" ").await;
            let _ = stream.flush().await;
        }
        answers(&client).await;
    }
    is_bounded(&process, before);
}

/// A head beyond all bounds is refused before it fills memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_without_end_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let process = home.start().await;
    let client = home.client().await;
    answers(&client).await;
    let before = process.memory();
    for _ in 0..20 {
        let mut stream = connect(&home).await;
        stream
            .write_all(b"GET /api/v1/pods HTTP/1.1\r\nhost: x\r\n")
            .await
            .unwrap();
        let header = format!("x-filler: {}\r\n", "y".repeat(8_000));
        let mut answer = Vec::new();
        for _ in 0..2_000 {
            if stream.write_all(header.as_bytes()).await.is_err() {
                break;
            }
        }
        // 431, or the connection is gone.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    let more = process.memory().saturating_sub(before);
    assert!(more < 32 << 20, "{more} bytes more");
    answers(&client).await;
}
