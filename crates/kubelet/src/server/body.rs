//! Response bodies: whole ones and streams.
use bytes::Bytes;
use futures::TryStreamExt;
use http::{Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub type Body = BoxBody<Bytes, std::io::Error>;

fn whole(status: StatusCode, kind: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

pub fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    whole(status, "text/plain; charset=utf-8", Bytes::from(text.into()))
}

/// A text of another kind.
pub fn text_as(kind: &'static str, text: String) -> Response<Body> {
    whole(StatusCode::OK, kind, Bytes::from(text))
}

pub fn json(value: &serde_json::Value) -> Response<Body> {
    whole(StatusCode::OK, "application/json", Bytes::from(value.to_string()))
}

/// A text that is written while it is read.
pub fn stream(chunks: mpsc::Receiver<Result<Bytes, std::io::Error>>) -> Response<Body> {
    let frames = ReceiverStream::new(chunks).map_ok(Frame::data);
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
