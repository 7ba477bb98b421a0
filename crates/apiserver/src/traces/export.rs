//! Sends spans to a collector, in batches. It sleeps while there are none.
use super::otlp::{Span, export};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The first span of a batch waits this long for others (upstream's period).
const GATHERED: Duration = Duration::from_secs(5);
/// A batch of so many is sent at once.
const BATCH_MAX: usize = 512;
/// A collector that takes longer gets no more of a batch.
const TIMEOUT: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends what comes until `shutdown`, then what is left.
pub async fn run(endpoint: String, mut spans: mpsc::Receiver<Span>, shutdown: CancellationToken) {
    let mut collector = Collector {
        endpoint,
        connection: None,
    };
    let mut batch = Vec::new();
    loop {
        let first = tokio::select! {
            first = spans.recv() => first,
            () = shutdown.cancelled() => None,
        };
        let Some(first) = first else { return };
        batch.push(first);
        let until = Instant::now() + GATHERED;
        while batch.len() < BATCH_MAX {
            tokio::select! {
                next = spans.recv() => match next {
                    Some(next) => batch.push(next),
                    None => break,
                },
                () = tokio::time::sleep_until(until) => break,
                () = shutdown.cancelled() => break,
            }
        }
        let sent = tokio::time::timeout(TIMEOUT, collector.send(&batch)).await;
        let failure = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {TIMEOUT:?}")),
        };
        if let Some(error) = failure {
            collector.connection = None;
            tracing::warn!(
                endpoint = collector.endpoint,
                error,
                spans = batch.len(),
                "spans are lost"
            );
        }
        batch.clear();
    }
}

struct Collector {
    endpoint: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Collector {
    async fn send(&mut self, batch: &[Span]) -> Result<(), Failure> {
        let message = export(batch);
        // gRPC's frame: not compressed, and its length.
        let mut body = vec![0];
        body.extend(u32::try_from(message.len())?.to_be_bytes());
        body.extend(message);
        let request = Request::post(format!("http://{}{METHOD}", self.endpoint))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(body)))?;
        let mut connection = match self.connection.take().filter(|kept| kept.is_ready()) {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let (head, body) = connection.send_request(request).await?.into_parts();
        let answer = body.collect().await?;
        self.connection = Some(connection);
        let trailers = answer.trailers().cloned().unwrap_or_default();
        let status = trailers.get("grpc-status").or(head.headers.get("grpc-status"));
        if head.status != StatusCode::OK || status.is_some_and(|status| status != "0") {
            let message = trailers.get("grpc-message").or(head.headers.get("grpc-message"));
            return Err(format!("refused: {}, {status:?}, {message:?}", head.status).into());
        }
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect(&self.endpoint).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the collector of spans ended");
            }
        });
        Ok(sender)
    }
}
