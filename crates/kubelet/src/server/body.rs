//! Response bodies: whole ones and streams.
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body as _, Frame};
use std::task::Poll;
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

/// An answer without its body, of which the length is told: over HTTP/2 nobody else takes it away.
pub fn head_of(answer: Response<Body>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    if let Some(bytes) = body.size_hint().exact().filter(|bytes| *bytes > 0) {
        parts
            .headers
            .entry(header::CONTENT_LENGTH)
            .or_insert(bytes.into());
    }
    Response::from_parts(parts, Empty::new().map_err(|never| match never {}).boxed())
}

/// A text that is written while it is read. Its end goes out by itself: API servers that hand a log on by WebSocket lose
/// what reaches them together with the end.
pub fn stream(chunks: mpsc::Receiver<Result<Bytes, std::io::Error>>) -> Response<Body> {
    let frames = ReceiverStream::new(chunks).map_ok(Frame::data).chain(late_end());
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// Nothing, told at the second asking: whoever writes the body sends what he has meanwhile.
fn late_end<T>() -> impl Stream<Item = T> {
    let mut was_asked = false;
    futures::stream::poll_fn(move |context| {
        if was_asked {
            return Poll::Ready(None);
        }
        was_asked = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Status and text of an answer.
#[cfg(test)]
pub async fn read(answer: Response<Body>) -> (u16, String) {
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn end_of_a_stream_is_told_apart_from_its_last_bytes() {
        let (chunks, receiver) = mpsc::channel(1);
        chunks.send(Ok(Bytes::from_static(b"last"))).await.unwrap();
        drop(chunks);
        let mut body = stream(receiver).into_body();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "last");
        assert!(futures::poll!(body.frame()).is_pending());
        assert!(body.frame().await.is_none());
    }
}
