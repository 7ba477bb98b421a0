//! The API in JSON, for those who have no gRPC: what is posted below `/v3/` is made a call, and its answer JSON.
mod message;
mod messages;
mod routes;
mod whole;

use crate::plain::{self, TEXT};
use crate::unary::{Answer, GRPC, PREFIX_BYTES};
use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as HttpBody, Frame};
use message::Message;
use routes::Route;
use serde_json::Value;
use std::pin::Pin;
use tonic::body::Body;
use tonic::{Code, Status};
use whole::Ends;

/// By which its clients are told that an answer came from a call.
const CALLED: HeaderName = HeaderName::from_static("grpc-metadata-content-type");

/// Whether a path is one of the API's.
pub fn serves(path: &str) -> bool {
    routes::under(path).is_some()
}

/// Answers a request by a call, which `call` makes. Texts of requests are limited to so many bytes.
pub async fn answer<B>(
    request: Request<B>,
    bytes_max: usize,
    call: impl FnOnce(Request<Body>) -> BoxFuture<'static, Response<Answer>>,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let Some(route) = routes::of(request.uri().path()) else {
        return plain::response(StatusCode::NOT_FOUND, TEXT, "Not Found\n");
    };
    if request.method() != Method::POST {
        return plain::response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n");
    }
    let mut questions = Box::pin(questions(route, request.into_body(), bytes_max));
    let body = if route.streams {
        Body::new(StreamBody::new(
            questions.map(|question| question.map(Frame::data)),
        ))
    } else {
        // As with etcd, nothing is as good as `{}`, and what follows the first is not looked at.
        let question = questions.next().await.unwrap_or_else(|| Ok(framed(&[])));
        match question {
            Ok(question) => Body::new(Full::new(question)),
            Err(status) => return failed(&status),
        }
    };
    let mut asked = Request::new(body);
    *asked.method_mut() = Method::POST;
    *asked.uri_mut() = http::Uri::from_static(route.method);
    asked.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    asked
        .headers_mut()
        .insert(header::TE, HeaderValue::from_static("trailers"));
    let answered = call(asked).await;
    if let Some(status) = status_of(answered.headers()) {
        return failed(&status);
    }
    if route.streams {
        many(route, answered.into_body())
    } else {
        one(route, answered.into_body()).await
    }
}

/// The messages of a request, as they go over the wire.
fn questions<B>(
    route: &'static Route,
    body: B,
    bytes_max: usize,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let state = Some((Box::pin(body), BytesMut::new()));
    futures::stream::unfold(state, move |state| async move {
        let (mut body, mut text) = state?;
        // Only what may be whole is read: what was looked at once is not looked at for every piece.
        let mut ends = Ends::default();
        let mut has_ended = false;
        loop {
            let reached = ends.reached(&text);
            let end = reached.or_else(|| has_ended.then_some(text.len()));
            match end.map(|end| first_value(&text[..end])) {
                Some(Ok(Some((value, length)))) => {
                    text.advance(length);
                    let question = match route.request.encode(&value) {
                        Ok(wire) => Ok(framed(&wire)),
                        Err(error) => Err(Status::invalid_argument(error.to_string())),
                    };
                    return Some((question, Some((body, text))));
                }
                Some(Ok(None)) if reached.is_some() => continue,
                Some(Ok(None)) if text.iter().all(u8::is_ascii_whitespace) => return None,
                Some(Ok(None)) => return Some((Err(Status::invalid_argument("unexpected EOF")), None)),
                Some(Err(error)) => return Some((Err(Status::invalid_argument(error.to_string())), None)),
                None => {}
            }
            if text.len() > bytes_max {
                return Some((Err(crate::errors::message_too_large(text.len(), bytes_max)), None));
            }
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(more) = frame.into_data() {
                        text.extend_from_slice(&more);
                    }
                }
                Some(Err(error)) => return Some((Err(Status::from_error(error.into())), None)),
                None => has_ended = true,
            }
        }
    })
}

/// The first value of a text and how long it is; `None` if more of it has to come.
fn first_value(text: &[u8]) -> Result<Option<(Value, usize)>, serde_json::Error> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    match values.next() {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some((value, values.byte_offset()))),
        Some(Err(error)) if error.is_eof() => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

fn framed(wire: &[u8]) -> Bytes {
    let mut frame = crate::unary::framed(wire.len());
    frame.extend_from_slice(wire);
    crate::unary::finished(frame)
}

/// The messages of an answer; the error that it ends with, if it does.
fn answers(body: Answer) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    let state = Some((Box::pin(body), BytesMut::new()));
    futures::stream::unfold(state, |state| async move {
        let (mut body, mut wire) = state?;
        loop {
            if let Some(message) = first_message(&mut wire) {
                return Some((Ok(message), Some((body, wire))));
            }
            match body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => wire.extend_from_slice(&data),
                    Err(frame) => {
                        let status = status_of(frame.trailers_ref()?)?;
                        return Some((Err(status), None));
                    }
                },
                Err(status) => return Some((Err(status), None)),
            }
        }
    })
}

/// What went wrong, by what is in front of an answer or follows it.
fn status_of(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

fn first_message(wire: &mut BytesMut) -> Option<Bytes> {
    let [_, length @ ..] = *wire.first_chunk::<PREFIX_BYTES>()?;
    let length = u32::from_be_bytes(length) as usize;
    if wire.len() < PREFIX_BYTES + length {
        return None;
    }
    wire.advance(PREFIX_BYTES);
    Some(wire.split_to(length).freeze())
}

async fn one(route: &Route, body: Answer) -> Response<Body> {
    let mut answers: Pin<Box<_>> = Box::pin(answers(body));
    let message = match answers.next().await {
        Some(Ok(message)) => message,
        Some(Err(status)) => return failed(&status),
        None => Bytes::new(),
    };
    match written(route.response, &message) {
        Ok(text) => called(Body::new(Full::new(Bytes::from(text)))),
        Err(status) => failed(&status),
    }
}

fn many(route: &'static Route, body: Answer) -> Response<Body> {
    let lines = answers(body).map(|answer| {
        let text = answer.and_then(|message| written(route.response, &message));
        let line = match text {
            Ok(text) => format!("{{\"result\":{text}}}\n"),
            Err(status) => {
                let http = http_status(status.code());
                let error = serde_json::json!({"error": {
                    "grpc_code": status.code() as i32,
                    "http_code": http.as_u16(),
                    "message": status.message(),
                    "http_status": http.canonical_reason(),
                }});
                format!("{error}\n")
            }
        };
        Ok::<_, Status>(Frame::data(Bytes::from(line)))
    });
    called(Body::new(StreamBody::new(lines)))
}

fn written(response: &Message, message: &[u8]) -> Result<String, Status> {
    let text = response.decode(message);
    text.map_err(|error| Status::internal(error.to_string()))
}

fn called(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(plain::JSON));
    response.headers_mut().insert(CALLED, GRPC);
    response
}

fn failed(status: &Status) -> Response<Body> {
    let error = serde_json::json!({
        "error": status.message(),
        "code": status.code() as i32,
        "message": status.message(),
    });
    plain::response(http_status(status.code()), plain::JSON, error.to_string())
}

/// What gRPC's codes are in HTTP.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod calls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_soon_as_they_are_whole() {
        let length = |text: &str| first_value(text.as_bytes()).map(|found| found.map(|(_, length)| length));
        assert_eq!(length(r#" {"a":1} {"#).unwrap(), Some(8));
        assert_eq!(length(r#"{"a":"#).unwrap(), None);
        assert_eq!(length(" ").unwrap(), None);
        assert!(length("garbage").is_err());
    }

    /// Questions of a text that comes in pieces of so many bytes.
    async fn asked(text: Vec<u8>, piece_bytes: usize) -> Vec<Result<Bytes, Status>> {
        let pieces: Vec<_> = text
            .chunks(piece_bytes)
            .map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = StreamBody::new(futures::stream::iter(pieces));
        let route = routes::of("/v3/watch").unwrap();
        questions(route, body, text.len()).collect().await
    }

    #[tokio::test]
    async fn a_body_is_read_once_whatever_its_pieces_and_its_values_are() {
        const VALUES: usize = 300_000;
        let question = br#"{"progress_request":{}} "#;
        for piece_bytes in [1, 7, 1 << 20] {
            let found = asked(question.repeat(50), piece_bytes).await;
            assert_eq!(found.len(), 50, "pieces of {piece_bytes}");
            assert!(found.iter().all(Result::is_ok));
        }
        // Each looked at for all the others, these would take minutes.
        let start = std::time::Instant::now();
        assert_eq!(asked(b"{}".repeat(VALUES), usize::MAX).await.len(), VALUES);
        let refused = asked([b"{\"a\":".as_slice(), &b"}".repeat(VALUES)].concat(), 1).await;
        assert!(matches!(refused.as_slice(), [Err(_)]));
        let long = [br#"{"a":""#.as_slice(), &b"}".repeat(VALUES), br#""}"#].concat();
        assert_eq!(asked(long, 1).await.len(), 1);
        assert!(
            start.elapsed() < std::time::Duration::from_secs(30),
            "{:?}",
            start.elapsed()
        );
    }
}
