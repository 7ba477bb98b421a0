//! OpenTelemetry spans (`--tracing-config-file`), as a collector gets them.
use crate::support::*;
use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orlop_apiserver::TracesConfig;
use std::convert::Infallible;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A collector: what it was sent, path and body.
async fn collector() -> (String, mpsc::Receiver<(String, Bytes)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let sender = sender.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    sender.send((path, body)).await.unwrap();
                    let answer = Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", "0");
                    Ok::<_, Infallible>(answer.body(Full::new(Bytes::new())).unwrap())
                }
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, receiver)
}

#[tokio::test]
async fn a_traced_callers_request_is_a_span_of_its_trace() {
    let (endpoint, mut sent) = collector().await;
    let cluster = Cluster::with(|c| c.traces = Some(TracesConfig { endpoint, sampled: 0 })).await;
    let admin = cluster.admin();
    admin.get(CONFIGMAPS).await.ok();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let reply = admin
        .send(Method::GET, PODS, &[("traceparent", parent)], "")
        .await;
    assert_eq!(reply.code, 200);
    let (path, body) = sent.recv().await.unwrap();
    assert_eq!(
        path,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap());
    assert_eq!((body[0], length as usize), (0, body.len() - 5));
    let has = |wanted: &[u8]| body.windows(wanted.len()).any(|w| w == wanted);
    assert!(has(&[0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd]));
    assert!(has(&[0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
    assert!(has(b"GET /api/v1/namespaces/{:namespace}/pods"));
    assert!(has(PODS.as_bytes()));
    assert!(!has(b"configmaps"), "who isn't traced leaves no span");
}
