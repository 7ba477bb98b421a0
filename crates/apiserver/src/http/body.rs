//! Response bodies: ready bytes, lists cut from shared objects, and streams.
use super::compression::GzipBody;
use super::gather::ListChunk;
use crate::cache::Object;
use bytes::{Buf, Bytes};
use futures::Stream;
use http_body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::coop;

/// Bytes of one frame of a list: large enough to be cheap, small enough that a big list is never
/// held in memory as a whole.
const LIST_FRAME_BYTES: usize = 64 * 1024;
/// What a frame of a list counts in the runtime's budget (128 a turn), for each [`LIST_FRAME_BYTES`] of it: after about
/// four of them other tasks have their turn.
const LIST_FRAME_COST: usize = 31;
/// And the most that one counts, so that a turn is enough for it.
const LIST_FRAME_COST_MAX: usize = 100;

/// An answer that is made as it is sent.
pub type Frames = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

/// The body of every response of this server.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Ready(VecDeque<Bytes>),
    List(ListBody),
    /// Pieces that are made as they are sent, and the bytes that are still to come.
    Pieces(Pieces, u64),
    Gzip(Box<GzipBody>),
    Stream(Frames),
}

impl Body {
    pub fn from_stream(stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Self {
        Self::Stream(Box::pin(stream))
    }

    /// Pieces of that many bytes together.
    pub fn pieces(bytes: u64, pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Self {
        Self::Pieces(Box::new(pieces), bytes)
    }

    /// Its length, as far as it is known before it is sent.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Ready(frames) => Some(frames.iter().map(|f| f.len() as u64).sum()),
            Self::List(list) => Some(list.left),
            Self::Pieces(_, bytes) => Some(*bytes),
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
    /// Bytes that have not been handed out yet.
    left: u64,
}

const LIST_END: &[u8] = b"]}\n";

impl ListBody {
    /// `head`: everything up to and including the bracket of `items`.
    pub fn new(head: Vec<u8>, objects: Vec<Arc<Object>>, named: bool) -> Self {
        let opened = usize::from(!named);
        let items: usize = objects.iter().map(|object| object.item_len(named) + opened).sum();
        let commas = objects.len().saturating_sub(1);
        Self {
            left: (head.len() + items + commas + LIST_END.len()) as u64,
            head,
            objects: objects.into_iter(),
            named,
            first: true,
        }
    }

    /// The next part.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<ListChunk>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.poll_turn(cx));
        let chunk = self.chunk();
        self.left = self.left.saturating_sub(chunk.remaining() as u64);
        Poll::Ready(Some(chunk))
    }

    /// The next part, put together.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let chunk = ready!(self.poll_chunk(cx));
        Poll::Ready(chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining())))
    }

    /// Until it is this task's turn: one that sends a large list leaves others theirs.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let next = self
            .objects
            .as_slice()
            .first()
            .map_or(0, |object| object.item_len(false));
        let cost =
            (LIST_FRAME_COST * next.div_ceil(LIST_FRAME_BYTES)).clamp(LIST_FRAME_COST, LIST_FRAME_COST_MAX);
        for _ in 0..cost {
            ready!(coop::poll_proceed(cx)).made_progress();
        }
        Poll::Ready(())
    }

    fn chunk(&mut self) -> ListChunk {
        let mut size = self.head.len();
        let mut count = 0;
        for object in self.objects.as_slice() {
            if size >= LIST_FRAME_BYTES {
                break;
            }
            size += object.item_len(false);
            count += 1;
        }
        let objects: Vec<_> = self.objects.by_ref().take(count).collect();
        let end = match self.objects.len() {
            0 => LIST_END,
            _ => b"",
        };
        let head = std::mem::take(&mut self.head);
        ListChunk::new(head, objects, self.named, std::mem::take(&mut self.first), end)
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
            Self::List(list) => list.poll_frame(cx).map(|frame| frame.map(|f| Ok(Frame::data(f)))),
            Self::Pieces(pieces, bytes) => Poll::Ready(pieces.next().map(|piece| {
                *bytes = bytes.saturating_sub(piece.len() as u64);
                Ok(Frame::data(piece))
            })),
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
            Self::List(list) => list.left == 0,
            Self::Pieces(_, bytes) => *bytes == 0,
            Self::Gzip(body) => body.is_done(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Ready(frames) => SizeHint::with_exact(frames.iter().map(|f| f.len() as u64).sum()),
            Self::List(list) => SizeHint::with_exact(list.left),
            Self::Pieces(_, bytes) => SizeHint::with_exact(*bytes),
            Self::Gzip(_) | Self::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use http_body_util::BodyExt;

    fn config_map(name: &str, data: usize) -> Arc<Object> {
        let resource = resources::find("", "v1", "configmaps").unwrap();
        let stored = format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}"}},"data":{{"k":"{}"}}}}"#,
            "v".repeat(data)
        );
        let key = format!("d/{name}").into();
        Arc::new(Object::from_stored(resource, key, stored.as_bytes(), 3, true).unwrap())
    }

    #[tokio::test]
    async fn a_list_is_cut_from_shared_objects() {
        let objects = ["a", "b"].map(|name| config_map(name, 0));
        let list = ListBody::new(br#"{"items":["#.to_vec(), objects.into(), false);
        let bytes = Body::List(list).collect().await.unwrap().to_bytes();
        assert_eq!(
            bytes,
            "{\"items\":[{\"metadata\":{\"resourceVersion\":\"3\",\"name\":\"a\"},\"data\":{\"k\":\"\"}},{\"metadata\":{\"resourceVersion\":\"3\",\"name\":\"b\"},\"data\":{\"k\":\"\"}}]}\n"
        );
    }

    /// Its length is told beforehand, and neither large items nor many small ones are held as a whole.
    #[tokio::test]
    async fn a_list_of_any_sizes_is_as_long_as_it_says() {
        for (named, sizes) in [
            (false, vec![]),
            (true, vec![1]),
            (false, vec![3, 1 << 20, 2, 40_000, 40_000]),
            (true, vec![1 << 20, 5, 32 << 10]),
            (false, vec![700; 2000]),
        ] {
            let objects = sizes.iter().map(|size| config_map("c", *size)).collect();
            let mut body = Body::List(ListBody::new(br#"{"items":["#.to_vec(), objects, named));
            let said = http_body::Body::size_hint(&body).exact().unwrap();
            let mut whole = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.unwrap().into_data().unwrap();
                assert!(!frame.is_empty());
                whole.extend_from_slice(&frame);
                let end = http_body::Body::is_end_stream(&body);
                assert_eq!(end, whole.len() as u64 == said);
            }
            let list: serde_json::Value = serde_json::from_slice(&whole).unwrap();
            let items = list["items"].as_array().unwrap();
            let found: Vec<usize> = items
                .iter()
                .map(|i| i["data"]["k"].as_str().unwrap().len())
                .collect();
            assert_eq!(found, sizes);
            assert!(items.iter().all(|item| item["kind"].is_string() == named));
        }
    }
}
