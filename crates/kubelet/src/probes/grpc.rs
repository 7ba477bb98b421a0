//! `grpc.health.v1.Health/Check`, in clear text.
use super::check::dial_error;
use super::decide::Outcome;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::time::Duration;
use tokio::net::TcpStream;

/// A health answer is a few bytes.
const ANSWER_MAX: usize = 4096;
/// Compression flag and length before each message.
const FRAME_HEADER: usize = 5;
const UNIMPLEMENTED: &str = "12";

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// Asks a health service.
pub async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let address = super::check::authority(host, port);
    match tokio::time::timeout(timeout, ask(host, port, service)).await {
        Ok(Ok(ServingStatus::Serving)) => Outcome::Success,
        Ok(Ok(status)) => Outcome::Failure(format!(
            "service unhealthy (responded with {:?})",
            match status {
                ServingStatus::NotServing => "NOT_SERVING",
                ServingStatus::ServiceUnknown => "SERVICE_UNKNOWN",
                _ => "UNKNOWN",
            }
        )),
        Ok(Err(error)) => Outcome::Failure(error),
        Err(_) => {
            let seconds = timeout.as_secs();
            Outcome::Failure(format!(
                "timeout: failed to connect service {address:?} within {seconds}s"
            ))
        }
    }
}

async fn ask(host: &str, port: u16, service: &str) -> Result<ServingStatus, String> {
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|error| dial_error(host, port, &error))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
    let connection = crate::dial::Driver::spawn(connection);
    let message = HealthCheckRequest {
        service: service.to_owned(),
    }
    .encode_to_vec();
    let length = u32::try_from(message.len()).map_err(|_| "the service's name is too long")?;
    let frame = [&[0][..], &length.to_be_bytes(), &message].concat();
    let address = super::check::authority(host, port);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, super::http::USER_AGENT)
        .body(Full::new(Bytes::from(frame)))
        .map_err(|error| error.to_string())?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let early = answer.headers().clone();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?;
    drop(connection);
    let trailers = body.trailers().cloned().unwrap_or(early);
    let word = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    match word("grpc-status") {
        None | Some("0") => {}
        Some(UNIMPLEMENTED) => {
            return Err(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                    .into(),
            );
        }
        // NOT_FOUND: the server knows no such service.
        Some("5") => return Ok(ServingStatus::ServiceUnknown),
        Some(code) => {
            let message = word("grpc-message").unwrap_or_default();
            return Err(format!("error: health rpc probe failed: code {code}: {message}"));
        }
    }
    let bytes = body.to_bytes();
    let message = bytes
        .get(FRAME_HEADER..)
        .ok_or("error: health rpc probe failed: no answer")?;
    let answer = HealthCheckResponse::decode(message).map_err(|error| error.to_string())?;
    Ok(answer.status())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue, Response};
    use http_body_util::StreamBody;
    use hyper::body::{Frame, Incoming};
    use hyper::service::service_fn;

    /// A health service that answers once with this status, or with an error's code.
    async fn serving(answer: Result<ServingStatus, &'static str>) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let asked = HealthCheckRequest::decode(&body[FRAME_HEADER..]).unwrap();
                assert_eq!(asked.service, "liveness");
                let status = answer.map_or(0, |status| status as i32);
                let message = HealthCheckResponse { status }.encode_to_vec();
                let frame = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
                let mut trailers = HeaderMap::new();
                let code = answer.err().unwrap_or("0");
                trailers.insert("grpc-status", HeaderValue::from_static(code));
                let frames = [Frame::data(Bytes::from(frame)), Frame::trailers(trailers)];
                let frames = frames.map(Ok::<_, std::convert::Infallible>);
                Ok::<_, std::convert::Infallible>(Response::new(StreamBody::new(futures::stream::iter(
                    frames,
                ))))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        port
    }

    #[tokio::test]
    async fn r07_serving_succeeds_and_nothing_else() {
        use ServingStatus::{NotServing, ServiceUnknown, Serving};
        let unhealthy =
            |status: &str| Outcome::Failure(format!("service unhealthy (responded with {status:?})"));
        let no_protocol = Outcome::Failure(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into(),
        );
        for (answer, expected) in [
            (Ok(Serving), Outcome::Success),
            (Ok(NotServing), unhealthy("NOT_SERVING")),
            (Ok(ServiceUnknown), unhealthy("SERVICE_UNKNOWN")),
            (Err("5"), unhealthy("SERVICE_UNKNOWN")),
            (Err("12"), no_protocol),
        ] {
            let port = serving(answer).await;
            let outcome = check("127.0.0.1", port, "liveness", Duration::from_secs(5)).await;
            assert_eq!(outcome, expected, "{answer:?}");
        }
    }
}
