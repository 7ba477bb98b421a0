//! How long connections live.
use crate::served::{Served, connect};
use crate::support::{CONFIGMAPS, configmap};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::task::JoinHandle;

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

/// Clients know that they may be told to leave, and when: nothing that they asked is lost by it.
#[tokio::test]
async fn idle_connections_are_told_to_leave_and_those_with_a_watch_are_kept() {
    const IDLE_MAX: Duration = Duration::from_millis(300);
    let served = Served::start(|config, _| config.connections.idle_max = IDLE_MAX).await;
    let (mut idle, idle_ended) = second(&served).await;
    assert_eq!(asks(&mut idle, "/readyz").await.unwrap(), 200);
    let (mut watching, watching_ended) = second(&served).await;
    let watch = Request::get(format!("https://localhost{CONFIGMAPS}?watch=1"))
        .body(Full::default())
        .unwrap();
    let mut watch = watching.send_request(watch).await.unwrap().into_body();
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
    for path in ["/readyz", CONFIGMAPS, "/apis"] {
        let request = Request::head(format!("https://localhost{path}"))
            .body(Full::default())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 405, "{path}");
        assert_ne!(response.headers()["content-length"], "0", "{path}");
        let body = response.into_body().collect().await;
        assert_eq!(body.unwrap().to_bytes(), Bytes::new(), "{path}");
    }
}
