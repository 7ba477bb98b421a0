//! Bodies on their way to a socket: a list goes out from the cache's own buffers, without being put together before it
//! is encrypted.
use super::Body;
use super::idle::Running;
use crate::cache::Object;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What a [`Body`] sends.
pub enum Chunk {
    Bytes(Bytes),
    List(ListChunk),
}

/// A part of a list: what comes before its objects, the objects with what separates them, and what comes behind.
pub struct ListChunk {
    head: Vec<u8>,
    objects: Vec<Arc<Object>>,
    /// Items name their kind and apiVersion.
    named: bool,
    /// Its first object is the list's first.
    first: bool,
    end: &'static [u8],
    /// The piece that is next, and how much of it is gone.
    next: Place,
    gone: usize,
    left: usize,
}

/// A piece: of the head, of an object with what separates it from the one before, or of the end.
#[derive(Clone, Copy, Default)]
struct Place {
    /// 0 for the head; the end is behind all of them.
    object: usize,
    piece: usize,
}

impl ListChunk {
    pub fn new(
        head: Vec<u8>,
        objects: Vec<Arc<Object>>,
        named: bool,
        first: bool,
        end: &'static [u8],
    ) -> Self {
        let mut chunk = Self {
            head,
            objects,
            named,
            first,
            end,
            next: Place::default(),
            gone: 0,
            left: 0,
        };
        let items = chunk
            .objects
            .iter()
            .enumerate()
            .map(|(number, object)| chunk.separator(number).len() + object.item_len(named));
        chunk.left = chunk.head.len() + items.sum::<usize>() + end.len();
        chunk
    }

    /// What comes before this object.
    fn separator(&self, number: usize) -> &'static [u8] {
        match (self.named, self.first && number == 0) {
            (false, true) => b"{",
            (false, false) => b",{",
            (true, true) => b"",
            (true, false) => b",",
        }
    }

    /// A piece, and where the next one is; `None` behind the end.
    fn piece(&self, at: Place) -> Option<(&[u8], Place)> {
        let behind = Place {
            object: at.object + 1,
            piece: 0,
        };
        let Some(number) = at.object.checked_sub(1) else {
            return Some((&self.head, behind));
        };
        let Some(object) = self.objects.get(number) else {
            return (number == self.objects.len()).then_some((self.end, behind));
        };
        let next = match at.piece < object.pieces() {
            true => Place {
                piece: at.piece + 1,
                ..at
            },
            false => behind,
        };
        match at.piece.checked_sub(1) {
            None => Some((self.separator(number), next)),
            Some(piece) => Some((object.piece(piece, self.named), next)),
        }
    }

    /// What is left, piece by piece.
    fn rest(&self) -> impl Iterator<Item = &[u8]> {
        let (mut next, mut gone) = (self.next, self.gone);
        std::iter::from_fn(move || {
            let (piece, behind) = self.piece(next)?;
            next = behind;
            Some(&piece[std::mem::take(&mut gone)..])
        })
    }
}

impl Buf for ListChunk {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.rest().find(|piece| !piece.is_empty()).unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices
            .iter_mut()
            .zip(self.rest().filter(|piece| !piece.is_empty()))
        {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "a list is advanced behind its end");
        self.left -= count;
        while count > 0 {
            let Some((piece, behind)) = self.piece(self.next) else {
                return;
            };
            let rest = piece.len() - self.gone;
            if count < rest {
                self.gone += count;
                return;
            }
            count -= rest;
            (self.next, self.gone) = (behind, 0);
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::List(list) => list.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.chunks_vectored(slices),
            Self::List(list) => list.chunks_vectored(slices),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::List(list) => list.advance(count),
        }
    }
}

/// A [`Body`] whose lists are not put together. Its request runs until it has been sent.
pub struct Gathered {
    body: Body,
    _running: Running,
    /// The server waits for it when it is told to stop.
    _answering: Option<TaskTrackerToken>,
}

impl Gathered {
    pub fn new(body: Body, running: Running, answering: Option<TaskTrackerToken>) -> Self {
        Self {
            body,
            _running: running,
            _answering: answering,
        }
    }
}

impl http_body::Body for Gathered {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, io::Error>>> {
        match &mut self.get_mut().body {
            Body::List(list) => list
                .poll_chunk(cx)
                .map(|chunk| chunk.map(|chunk| Ok(Frame::data(Chunk::List(chunk))))),
            body => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(Chunk::Bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;

    fn chunk(named: bool, first: bool) -> ListChunk {
        let resource = resources::find("", "v1", "configmaps").unwrap();
        let object = |name: &str| {
            // What many have in common is in pieces of its own.
            let owned = match name {
                "a" => format!(
                    r#""managedFields":[{{"fieldsV1":{{"{}":{{}}}}}}],"#,
                    "f".repeat(150)
                ),
                _ => String::new(),
            };
            let stored =
                format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{{owned}"name":"{name}"}}}}"#);
            let key = format!("d/{name}").into();
            Arc::new(Object::from_stored(resource, key, stored.as_bytes(), 3, true).unwrap())
        };
        ListChunk::new(b"[".to_vec(), vec![object("a"), object("b")], named, first, b"]")
    }

    #[test]
    fn a_chunk_reads_the_same_however_it_is_read() {
        for (named, first) in [(false, true), (false, false), (true, true), (true, false)] {
            let whole = {
                let mut chunk = chunk(named, first);
                chunk.copy_to_bytes(chunk.remaining())
            };
            for step in 1..=whole.len() {
                let mut chunk = chunk(named, first);
                let mut read = Vec::new();
                while chunk.has_remaining() {
                    assert_eq!(chunk.remaining() + read.len(), whole.len());
                    let mut slices = [IoSlice::new(&[]); 16];
                    let count = chunk.chunks_vectored(&mut slices);
                    let rest: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                    assert_eq!(rest, whole[read.len()..], "all fits");
                    assert!(rest.starts_with(chunk.chunk()) && !chunk.chunk().is_empty());
                    let step = step.min(chunk.remaining());
                    read.extend_from_slice(&rest[..step]);
                    chunk.advance(step);
                }
                assert_eq!(read, whole);
            }
        }
    }
}
