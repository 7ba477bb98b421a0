//! Watches over WebSocket, as programs in browsers open them (§8.4).
use crate::secure::Secure;
use crate::support::{configmap, pod};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http::Request;
use orlop_pki::Usage;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::{Response, generate_key};
use tokio_tungstenite::tungstenite::{Error, Message};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Opens a watch; with the administrator's certificate, or as nobody.
async fn open(
    secure: &Secure,
    path: &str,
    headers: &[(&str, &str)],
    certified: bool,
) -> Result<(Socket, Response), Error> {
    let address = secure.url.strip_prefix("https://").unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(secure.authority.certificate().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if certified {
        let leaf = crate::secure::leaf(&secure.authority, "admin", &["system:masters"], Usage::Client);
        let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        config
            .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap()
    } else {
        config.with_no_client_auth()
    };
    let connection = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = TlsConnector::from(Arc::new(config))
        .connect(name, connection)
        .await
        .unwrap();
    let mut request = Request::get(format!("wss://{address}{path}"))
        .header("host", address)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    tokio_tungstenite::client_async(request.body(()).unwrap(), connection).await
}

async fn next(socket: &mut Socket) -> Message {
    tokio::time::timeout(Duration::from_secs(10), socket.next())
        .await
        .expect("a message within 10 s")
        .expect("a message, not the end")
        .unwrap()
}

async fn event(socket: &mut Socket) -> Value {
    let message = next(socket).await;
    let Message::Text(text) = message else {
        panic!("{message}")
    };
    serde_json::from_str(&text).unwrap()
}

const PATH: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_watch_over_websocket_sends_an_event_a_message() {
    let secure = Secure::start().await;
    let admin = secure.client("admin", &["system:masters"]).await;
    let create = async |name: &str| {
        let request = Request::post(PATH).body(configmap(name, "1").to_string().into_bytes());
        admin.request_text(request.unwrap()).await.unwrap();
    };
    create("a").await;
    let path = format!(
        "{PATH}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let protocol = ("sec-websocket-protocol", "base64.binary.k8s.io");
    let (mut socket, answer) = open(&secure, &path, &[protocol], true).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "base64.binary.k8s.io");
    let added = event(&mut socket).await;
    assert_eq!(
        (
            added["type"].as_str(),
            added["object"]["metadata"]["name"].as_str()
        ),
        (Some("ADDED"), Some("a"))
    );
    assert_eq!(event(&mut socket).await["type"], "BOOKMARK");
    create("b").await;
    assert_eq!(event(&mut socket).await["object"]["metadata"]["name"], "b");
    // Tables, protobuf and errors come over the same way.
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let watch = format!("{PATH}?watch=true");
    let (mut socket, _) = open(&secure, &watch, &[table], true).await.unwrap();
    assert_eq!(event(&mut socket).await["object"]["kind"], "Table");
    let protobuf = ("accept", "application/vnd.kubernetes.protobuf");
    let (mut socket, _) = open(&secure, &path, &[protobuf], true).await.unwrap();
    assert!(matches!(next(&mut socket).await, Message::Binary(_)));
    let Err(Error::Http(refused)) = open(&secure, &format!("{PATH}?watch=true&limit=x"), &[], true).await
    else {
        panic!("taken");
    };
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn a_log_over_websocket_comes_in_binary_messages_and_ends() {
    let secure = Secure::start().await;
    let (port, _seen) = crate::secure::fake_agent(&secure.authority).await;
    let admin = secure.client("admin", &["system:masters"]).await;
    let create = async |path: &str, object: Value| {
        let request = Request::post(path).body(object.to_string().into_bytes());
        admin.request_text(request.unwrap()).await.unwrap();
    };
    let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    create("/api/v1/nodes", node).await;
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = json!("n1");
    create("/api/v1/namespaces/default/pods", bound).await;
    let protocol = ("sec-websocket-protocol", "binary.k8s.io");
    let path = "/api/v1/namespaces/default/pods/p/log?container=c";
    let (mut socket, answer) = open(&secure, path, &[protocol], true).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "binary.k8s.io");
    let mut log = Vec::new();
    loop {
        match next(&mut socket).await {
            Message::Binary(piece) => log.extend_from_slice(&piece),
            message => break assert!(message.is_close(), "{message}"),
        }
    }
    assert_eq!(log, b"line 1\nline 2\n");
    let protocol = ("sec-websocket-protocol", "base64.binary.k8s.io");
    let (mut socket, answer) = open(&secure, path, &[protocol], true).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "base64.binary.k8s.io");
    let Message::Text(piece) = next(&mut socket).await else {
        panic!("no text");
    };
    let piece = STANDARD.decode(piece.as_str()).unwrap();
    assert!(b"line 1\nline 2\n".starts_with(&piece), "{piece:?}");
    let (mut socket, _) = open(&secure, path, &[], true).await.unwrap();
    assert!(matches!(next(&mut socket).await, Message::Binary(_)));
}

#[tokio::test]
async fn a_watch_over_websocket_ends_when_asked() {
    let secure = Secure::start().await;
    let path = format!("{PATH}?watch=true&timeoutSeconds=1");
    let (mut socket, _) = open(&secure, &path, &[], true).await.unwrap();
    assert!(next(&mut socket).await.is_close());
}

#[tokio::test]
async fn a_websocket_client_without_rights_or_with_a_wrong_token_is_refused() {
    let secure = Secure::start().await;
    let path = format!("{PATH}?watch=true");
    let wrong = "base64url.bearer.authorization.k8s.io.d3Jvbmc, base64.binary.k8s.io";
    for (protocols, code) in [("base64.binary.k8s.io", 403), (wrong, 401)] {
        let headers = [("sec-websocket-protocol", protocols)];
        let Err(Error::Http(refused)) = open(&secure, &path, &headers, false).await else {
            panic!("taken");
        };
        assert_eq!(refused.status(), code);
    }
}
