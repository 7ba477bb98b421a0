//! Calls of one message and one answer, which the hot methods are: without the layers that streams need.
use crate::calls::Running;
use crate::compression::Compression;
use crate::errors;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use prost::Message;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::{Code, Status};

/// In front of a message: whether it is compressed, and its length.
pub const PREFIX_BYTES: usize = 5;
pub const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Whether a request is a call that this module takes.
pub fn takes<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST && is_call(request)
}

/// Whether a request is gRPC's, by the kind of its body.
pub fn is_call<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()))
}

/// Answers a call by what `answer` makes of its message.
pub async fn call<M, B, F>(
    request: Request<B>,
    bytes_max: usize,
    answer: impl FnOnce(M) -> F,
) -> Response<Answer>
where
    F: Future<Output = Result<Bytes, Status>>,
    M: Message + Default,
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let answered = match message(request, bytes_max).await {
        Ok(asked) => answer(asked).await,
        Err(status) => Err(status),
    };
    match answered {
        Ok(message) => response(message),
        Err(status) => status.into_http::<Body>().map(Answer::other),
    }
}

/// The response of a call whose one message is this, as it goes over the wire.
pub fn response(message: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer::Message(Some(message), true));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// The response of a call that has many: messages as they go over the wire, and the status that ends them.
pub fn stream(messages: impl Stream<Item = Result<Bytes, Status>> + Send + 'static) -> Response<Answer> {
    let frames = futures::stream::unfold(Some(Box::pin(messages)), |messages| async move {
        let mut messages = messages?;
        let status = match messages.next().await {
            Some(Ok(message)) => return Some((Ok(Frame::data(message)), Some(messages))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        let mut trailers = HeaderMap::new();
        Some(match status.add_header(&mut trailers) {
            Ok(()) => (Ok(Frame::trailers(trailers)), None),
            Err(unwritable) => (Err(unwritable), None),
        })
    });
    let body = Body::new(StreamBody::new(frames));
    response(Bytes::new()).map(|_| Answer::other(body))
}

/// Reads the one message of a call.
pub async fn message<M, B>(request: Request<B>, bytes_max: usize) -> Result<M, Status>
where
    M: Message + Default,
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let compression = Compression::of(request.headers())?;
    let mut body = std::pin::pin!(request.into_body());
    let mut first = Bytes::new();
    // Messages of some size come in several pieces.
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&data);
        if joined.len() > PREFIX_BYTES + bytes_max {
            break;
        }
    }
    let mut whole = if joined.is_empty() { first } else { joined.freeze() };
    let Some((prefix, _)) = whole.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(Status::internal("Missing request message."));
    };
    let [flag, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if length > bytes_max {
        return Err(errors::message_too_large(length, bytes_max));
    }
    whole.advance(PREFIX_BYTES);
    if whole.len() != length {
        return Err(Status::internal("the message is not as long as it says"));
    }
    let message = match flag {
        0 => whole,
        1 => compression.undo(&whole, bytes_max)?,
        other => return Err(errors::unknown_format(other)),
    };
    M::decode(message).map_err(|error| Status::internal(error.to_string()))
}

/// An answer as it goes over the wire.
pub fn encoded(message: impl Message) -> Bytes {
    let mut bytes = framed(message.encoded_len());
    // A buffer that grows has always room.
    let _ = message.encode(&mut bytes);
    finished(bytes)
}

/// A buffer with room for the prefix, and for so many bytes.
pub fn framed(capacity: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + capacity);
    bytes.put_bytes(0, PREFIX_BYTES);
    bytes
}

/// With the prefix written into its place.
pub fn finished(mut bytes: BytesMut) -> Bytes {
    set_prefix(&mut bytes);
    bytes.freeze()
}

/// Writes the prefix into its place, in front of a message.
pub fn set_prefix(bytes: &mut [u8]) {
    let length = (bytes.len() - PREFIX_BYTES) as u32;
    bytes[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// The body of a response.
pub enum Answer {
    /// One message, and whether the status is to follow: that all is well.
    Message(Option<Bytes>, bool),
    /// With the call that ends with it.
    Other(Body, Option<Running>),
}

impl Answer {
    pub fn other(body: Body) -> Self {
        Self::Other(body, None)
    }
}

/// Has a call counted by how it ends, which may be long after it was answered.
pub fn count(mut running: Running, response: &mut Response<Answer>) {
    let at_once = response.headers().get(&STATUS).map(code);
    match (at_once, response.body_mut()) {
        (Some(code), _) => running.ended(code),
        (None, Answer::Message(..)) => running.ended(Code::Ok),
        (None, Answer::Other(_, counted)) => *counted = Some(running),
    }
}

fn code(status: &HeaderValue) -> Code {
    Code::from_bytes(status.as_bytes())
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Message(message, status) => Poll::Ready(match (message.take(), std::mem::take(status)) {
                (Some(message), follows) => {
                    *status = follows;
                    Some(Ok(Frame::data(message)))
                }
                (None, true) => {
                    let mut trailers = HeaderMap::with_capacity(1);
                    trailers.insert(STATUS, HeaderValue::from_static("0"));
                    Some(Ok(Frame::trailers(trailers)))
                }
                (None, false) => None,
            }),
            Self::Other(body, running) => {
                let polled = Pin::new(body).poll_frame(context);
                if let (Poll::Ready(Some(Ok(frame))), Some(running)) = (&polled, running)
                    && let Some(status) = frame.trailers_ref().and_then(|trailers| trailers.get(&STATUS))
                {
                    running.ended(code(status));
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(message, status) => message.is_none() && !status,
            Self::Other(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // Told exactly, it would become a header, which calls don't have.
            Self::Message(..) => SizeHint::default(),
            Self::Other(body, _) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_client::proto::PbPutRequest;
    use std::convert::Infallible;

    async fn read(sent: &[u8], piece_bytes: usize) -> Result<PbPutRequest, Status> {
        let pieces = sent.chunks(piece_bytes).map(Bytes::copy_from_slice);
        let frames: Vec<_> = pieces
            .map(|piece| Ok::<_, Infallible>(Frame::data(piece)))
            .collect();
        let body = StreamBody::new(futures::stream::iter(frames));
        message(Request::new(body), 1000).await
    }

    #[tokio::test]
    async fn a_message_may_come_in_pieces() {
        let put = PbPutRequest {
            key: b"key".to_vec(),
            value: vec![7; 300],
            ..PbPutRequest::default()
        };
        let sent = encoded(put.clone());
        for piece_bytes in 1..=sent.len() {
            assert_eq!(
                read(&sent, piece_bytes).await.unwrap(),
                put,
                "pieces of {piece_bytes}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused_with_the_reason() {
        let cases: [(&[u8], tonic::Code, &str); 7] = [
            (b"", tonic::Code::Internal, "Missing request message."),
            (&[0, 0, 0], tonic::Code::Internal, "Missing request message."),
            (&[1, 0, 0, 0, 0], tonic::Code::Internal, "compressed flag set"),
            (&[2, 0, 0, 0, 0], tonic::Code::Internal, "payload format 2"),
            (&[0, 0, 0, 0, 2, 10], tonic::Code::Internal, "not as long"),
            (&[0, 0, 0, 0, 1, 10], tonic::Code::Internal, "decode"),
            (
                &[0, 0, 0, 4, 0, 0],
                tonic::Code::ResourceExhausted,
                "grpc: received message larger than max (1024 vs. 1000)",
            ),
        ];
        for (sent, code, text) in cases {
            let status = read(sent, 100).await.unwrap_err();
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(text), "{status}");
        }
    }
}
