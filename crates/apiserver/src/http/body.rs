//! Response bodies: ready bytes, lists cut from shared objects, and streams.
use super::compression::GzipBody;
use crate::cache::Object;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes of one frame of a list: large enough to be cheap, small enough that a big list is never
/// held in memory as a whole.
const LIST_FRAME_BYTES: usize = 64 * 1024;

type Frames = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// The body of every response of this server.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Ready(VecDeque<Bytes>),
    List(ListBody),
    Gzip(Box<GzipBody>),
    Stream(Frames),
}

impl Body {
    pub fn from_stream(stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Self {
        Self::Stream(Box::pin(stream))
    }

    /// Its length, as far as it is known before it is sent; that of a list about.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Ready(frames) => Some(frames.iter().map(|f| f.len() as u64).sum()),
            Self::List(list) => Some(
                list.objects
                    .as_slice()
                    .iter()
                    .map(|o| o.item().len() as u64)
                    .sum(),
            ),
            Self::Gzip(_) | Self::Stream(_) => None,
        }
    }

    pub fn frames(frames: impl IntoIterator<Item = Bytes>) -> Self {
        Self::Ready(frames.into_iter().filter(|f| !f.is_empty()).collect())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::frames([Bytes::from(bytes)])
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::frames([Bytes::from_static(text.as_bytes())])
    }
}

/// A list whose items are slices of cached objects, written frame by frame as it is sent.
pub struct ListBody {
    head: Vec<u8>,
    objects: std::vec::IntoIter<Arc<Object>>,
    /// Items name their kind and apiVersion, as those of custom resources do.
    named: bool,
    first: bool,
    done: bool,
}

impl ListBody {
    /// `head`: everything up to and including the bracket of `items`.
    pub fn new(head: Vec<u8>, objects: Vec<Arc<Object>>, named: bool) -> Self {
        Self {
            head,
            objects: objects.into_iter(),
            named,
            first: true,
            done: false,
        }
    }

    fn next_frame(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut frame = BytesMut::from(std::mem::take(&mut self.head).as_slice());
        for object in self.objects.by_ref() {
            if !std::mem::take(&mut self.first) {
                frame.extend_from_slice(b",");
            }
            if self.named {
                frame.extend_from_slice(&object.json());
            } else {
                frame.extend_from_slice(b"{");
                frame.extend_from_slice(object.item());
            }
            if frame.len() >= LIST_FRAME_BYTES {
                return Some(frame.freeze());
            }
        }
        self.done = true;
        frame.extend_from_slice(b"]}\n");
        Some(frame.freeze())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Ready(frames) => Poll::Ready(frames.pop_front().map(|f| Ok(Frame::data(f)))),
            Self::List(list) => Poll::Ready(list.next_frame().map(|f| Ok(Frame::data(f)))),
            Self::Gzip(body) => body
                .poll_bytes(cx)
                .map(|item| item.map(|bytes| bytes.map(Frame::data))),
            Self::Stream(stream) => stream
                .as_mut()
                .poll_next(cx)
                .map(|item| item.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Ready(frames) => frames.is_empty(),
            Self::List(list) => list.done,
            Self::Gzip(body) => body.is_done(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Ready(frames) => SizeHint::with_exact(frames.iter().map(|f| f.len() as u64).sum()),
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_list_is_cut_from_shared_objects() {
        let resource = resources::find("", "v1", "configmaps").unwrap();
        let objects = ["a", "b"].map(|name| {
            let stored =
                format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}"}}}}"#);
            Arc::new(
                Object::from_stored(resource, format!("d/{name}").into(), stored.as_bytes(), 3, true)
                    .unwrap(),
            )
        });
        let list = ListBody::new(br#"{"items":["#.to_vec(), objects.into(), false);
        let bytes = Body::List(list).collect().await.unwrap().to_bytes();
        assert_eq!(
            bytes,
            "{\"items\":[{\"metadata\":{\"resourceVersion\":\"3\",\"name\":\"a\"}},{\"metadata\":{\"resourceVersion\":\"3\",\"name\":\"b\"}}]}\n"
        );
    }
}
