//! How long connections live.
use crate::served::{Served, connect};
use crate::support::{CONFIGMAPS, configmap};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

/// A connection over HTTP/2 with a way to ask over it.
async fn second(served: &Served) -> (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let admin = served.leaf("admin", &["system:masters"]);
    let stream = connect(served.authority.certificate(), served.address, Some(&admin)).await;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

async fn asks(sender: &mut SendRequest<Full<Bytes>>, path: &str) -> hyper::Result<u16> {
    let request = Request::get(format!("https://localhost{path}"))
        .body(Full::default())
        .unwrap();
    let response = sender.send_request(request).await?;
    let code = response.status().as_u16();
    response.into_body().collect().await?;
    Ok(code)
}

/// What a watch of ConfigMaps tells.
async fn watch(sender: &mut SendRequest<Full<Bytes>>) -> Incoming {
    let request = Request::get(format!("https://localhost{CONFIGMAPS}?watch=1"))
        .body(Full::default())
        .unwrap();
    sender.send_request(request).await.unwrap().into_body()
}

/// Go's clients send no head that is longer than the server says it takes.
#[tokio::test]
async fn a_long_selector_is_read_over_http2() {
    let served = Served::start(|_, _| {}).await;
    let (mut sender, _) = second(&served).await;
    let values: Vec<String> = (0..5000).map(|n| format!("v{n}")).collect();
    let path = format!("{CONFIGMAPS}?labelSelector=k+in+({})", values.join(","));
    assert_eq!(asks(&mut sender, &path).await.unwrap(), 200);
}

/// Clients know that they may be told to leave, and when: nothing that they asked is lost by it.
#[tokio::test]
async fn idle_connections_are_told_to_leave_and_those_with_a_watch_are_kept() {
    const IDLE_MAX: Duration = Duration::from_millis(300);
    let served = Served::start(|config, _| config.connections.idle_max = IDLE_MAX).await;
    let (mut idle, idle_ended) = second(&served).await;
    assert_eq!(asks(&mut idle, "/readyz").await.unwrap(), 200);
    let (mut watching, watching_ended) = second(&served).await;
    let mut watch = watch(&mut watching).await;
    // It ends in an orderly way: by GOAWAY, not by a reset.
    idle_ended.await.unwrap().unwrap();
    assert!(asks(&mut idle, "/readyz").await.is_err());
    assert!(!watching_ended.is_finished());
    served.admin().post(CONFIGMAPS, configmap("c", "1")).await.ok();
    let frame = watch.frame().await.unwrap().unwrap();
    assert!(frame.data_ref().unwrap().starts_with(br#"{"type":"ADDED""#));
    drop(watch);
    watching_ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn by_chance_a_request_is_the_last_on_its_connection_and_answered_all_the_same() {
    let served = Served::start(|config, _| config.connections.goaway_chance = 1.0).await;
    let (mut sender, ended) = second(&served).await;
    assert_eq!(asks(&mut sender, "/readyz").await.unwrap(), 200);
    ended.await.unwrap().unwrap();
    assert!(asks(&mut sender, "/readyz").await.is_err());
    // HTTP/1.1 knows no such thing.
    assert_eq!(served.call(None, Method::GET, "/readyz", &[], "").await.code, 200);
}

/// Over HTTP/2 a body that answers a HEAD is an error of the protocol.
#[tokio::test]
async fn what_answers_a_head_has_no_body() {
    let served = Served::start(|_, _| {}).await;
    let (mut sender, _) = second(&served).await;
    for (path, code) in [
        ("/readyz", 200),
        ("/livez/ping", 200),
        (CONFIGMAPS, 405),
        ("/apis", 405),
    ] {
        let request = Request::head(format!("https://localhost{path}"))
            .body(Full::default())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status().as_u16(), code, "{path}");
        assert_ne!(response.headers()["content-length"], "0", "{path}");
        let body = response.into_body().collect().await;
        assert_eq!(body.unwrap().to_bytes(), Bytes::new(), "{path}");
    }
}

/// A request over a connection of its own that the server has begun with, and waits for the end of.
struct Begun(TlsStream<TcpStream>);

const BODY: &str = r#"{"metadata":{"name":"late"}}"#;

impl Begun {
    async fn new(served: &Served) -> Self {
        let admin = served.leaf("admin", &["system:masters"]);
        let mut stream = connect(served.authority.certificate(), served.address, Some(&admin)).await;
        let head = format!(
            "POST {CONFIGMAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nexpect: 100-continue\r\n\r\n",
            BODY.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut answer).await.unwrap();
        Self(stream)
    }

    /// The first line of the answer.
    async fn end(mut self) -> String {
        self.0.write_all(BODY.as_bytes()).await.unwrap();
        let mut answer = vec![0; "HTTP/1.1 201 Created".len()];
        self.0.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

/// Upstream lets what is being answered end, for as long as it may take anyway, and doesn't wait for watches.
#[tokio::test]
async fn what_is_being_answered_when_the_server_is_told_to_stop_is_answered_and_watches_end_at_once() {
    let mut stop = None;
    let served = Served::start(|config, _| stop = Some(config.shutdown.clone())).await;
    let begun = Begun::new(&served).await;
    let (mut watching, _) = second(&served).await;
    let mut watch = watch(&mut watching).await;
    stop.unwrap().cancel();
    let end = async { while let Some(Ok(_)) = watch.frame().await {} };
    tokio::time::timeout(Duration::from_secs(4), end).await.unwrap();
    assert!(!served.serving.is_finished());
    assert!(TcpStream::connect(served.address).await.is_err());
    assert_eq!(begun.end().await, "HTTP/1.1 201 Created");
    served.serving.await.unwrap();
}

/// `--shutdown-watch-termination-grace-period`
#[tokio::test]
async fn watches_of_a_server_that_stops_end_within_the_time_they_are_given_and_see_changes_until_then() {
    let mut stop = None;
    let served = Served::start(|config, _| {
        config.watch_farewell = Duration::from_secs(3);
        stop = Some(config.shutdown.clone());
    })
    .await;
    let begun = Begun::new(&served).await;
    let (mut watching, _) = second(&served).await;
    let mut watch = watch(&mut watching).await;
    stop.unwrap().cancel();
    assert_eq!(begun.end().await, "HTTP/1.1 201 Created");
    let mut seen = Vec::new();
    let end = async {
        while let Some(Ok(frame)) = watch.frame().await {
            seen.extend(frame.into_data().unwrap_or_default());
        }
    };
    let began = std::time::Instant::now();
    tokio::time::timeout(Duration::from_secs(8), end).await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(1));
    assert!(String::from_utf8_lossy(&seen).contains("ADDED"));
    served.serving.await.unwrap();
}

/// `--shutdown-send-retry-after`
#[tokio::test]
async fn who_comes_while_the_server_ends_is_told_to_try_again_if_that_is_wanted() {
    let mut stop = None;
    let served = Served::start(|config, _| {
        config.turns_away_at_shutdown = true;
        stop = Some(config.shutdown.clone());
    })
    .await;
    let begun = Begun::new(&served).await;
    stop.unwrap().cancel();
    let late = served.call(None, Method::GET, CONFIGMAPS, &[], "").await;
    assert_eq!(late.code, 429);
    assert_eq!(
        (&late.headers["retry-after"], &late.headers["connection"]),
        (&"5".parse().unwrap(), &"close".parse().unwrap())
    );
    assert_eq!(served.call(None, Method::GET, "/livez", &[], "").await.code, 200);
    assert_eq!(served.call(None, Method::GET, "/readyz", &[], "").await.code, 500);
    assert_eq!(begun.end().await, "HTTP/1.1 201 Created");
    served.serving.await.unwrap();
}

/// Nothing is waited for that isn't there.
#[tokio::test]
async fn a_server_with_nothing_but_idle_clients_ends_soon() {
    let mut stop = None;
    let served = Served::start(|config, _| stop = Some(config.shutdown.clone())).await;
    let (mut idle, _) = second(&served).await;
    assert_eq!(asks(&mut idle, "/readyz").await.unwrap(), 200);
    // One that never says anything again.
    let admin = served.leaf("admin", &["system:masters"]);
    let _mute = connect(served.authority.certificate(), served.address, Some(&admin)).await;
    stop.unwrap().cancel();
    tokio::time::timeout(Duration::from_secs(4), served.serving)
        .await
        .unwrap()
        .unwrap();
}
