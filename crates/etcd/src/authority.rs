//! Clients' `:authority`, made one that the HTTP/2 library takes.
//!
//! etcdctl 3.4 names a list of endpoints there (`endpoint status`, `defrag`, `endpoint hashkv`), and so every
//! such call would be refused. Nobody here looks at it: on its way in, its value is replaced by another of the same
//! length on the wire, so that everything else stays where it is. For that, only the lengths in a header block need
//! to be understood, not its contents.
use crate::frames::{Frames, Head, Part};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: u32 = 5;
/// Of `:authority` in the table of names that every connection has.
const AUTHORITY: u64 = 1;
/// What every character of the value becomes.
const FILLER: u8 = b'a';
/// Tells that a string is in Huffman's code.
const HUFFMAN: u8 = 0x80;

/// A connection whose client's `:authority` is replaced.
pub struct Authority<S> {
    stream: S,
    received: Received,
}

impl<S> Authority<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            received: Received::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Authority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, out))?;
        self.received.pass(&mut out.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Authority<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How far the client's side of a connection has been followed.
struct Received {
    frames: Frames,
    section: Section,
    block: Block,
}

impl Default for Received {
    fn default() -> Self {
        Self {
            frames: Frames::of_client(),
            section: Section::Skipped,
            block: Block::default(),
        }
    }
}

impl Received {
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let (passed, part) = self.frames.step(bytes);
            let (these, rest) = bytes.split_at_mut(passed.min(bytes.len()));
            match part {
                Part::Other => {}
                Part::Head(head) => {
                    if head.kind == HEADERS {
                        self.block = Block::default();
                    }
                    self.section = Section::first(head);
                }
                Part::Payload => self.payload(these),
            }
            bytes = rest;
        }
    }

    /// Of one frame.
    fn payload(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let (fields, rest) = self.section.step(bytes);
            for byte in fields {
                *byte = self.block.pass(*byte);
            }
            bytes = rest;
        }
    }
}

/// Where in the payload of a frame it is. `left`: bytes of it that are still to come.
#[derive(Clone, Copy, Debug)]
enum Section {
    /// What is of no interest.
    Skipped,
    /// How much padding a frame of headers ends with.
    PadLength { left: u32, skip: u32 },
    /// So much that stands before the headers.
    Prelude { left: u32, skip: u32, padding: u32 },
    /// A header block, or a part of it, and the padding behind.
    Headers { left: u32, padding: u32 },
}

impl Section {
    /// What the payload of a frame begins with.
    fn first(head: Head) -> Self {
        let has = |flag: u8| head.flags & flag != 0;
        let left = head.length;
        let skip = if has(PRIORITY) { PRIORITY_BYTES } else { 0 };
        match head.kind {
            HEADERS if has(PADDED) => Self::PadLength { left, skip },
            HEADERS => Self::behind_pad_length(left, skip, 0),
            CONTINUATION => Self::Headers { left, padding: 0 },
            _ => Self::Skipped,
        }
    }

    fn behind_pad_length(left: u32, skip: u32, padding: u32) -> Self {
        match skip {
            0 => Self::Headers { left, padding },
            _ => Self::Prelude { left, skip, padding },
        }
    }

    /// Goes on by at least one byte of the payload: those of them that are a header block's, and what comes behind.
    fn step<'b>(&mut self, bytes: &'b mut [u8]) -> (&'b mut [u8], &'b mut [u8]) {
        let len = bytes.len();
        let (fields, passed) = match *self {
            Self::Skipped => (0, len),
            Self::PadLength { left, skip } => {
                let padding = bytes.first().copied().map_or(0, u32::from);
                *self = Self::behind_pad_length(left.saturating_sub(1), skip, padding);
                (0, 1)
            }
            Self::Prelude { left, skip, padding } => {
                let passed = len.min(skip as usize);
                let more = passed as u32;
                *self = Self::behind_pad_length(left.saturating_sub(more), skip - more, padding);
                (0, passed)
            }
            Self::Headers { left, padding } => {
                *self = Self::Headers {
                    left: left.saturating_sub(len as u32),
                    padding,
                };
                (len.min(left.saturating_sub(padding) as usize), len)
            }
        };
        let (passed, rest) = bytes.split_at_mut(passed.min(len));
        (&mut passed[..fields], rest)
    }
}

/// Where in a header block it is: between fields, in a number, or in a string.
#[derive(Clone, Copy, Debug, Default)]
enum Block {
    #[default]
    Field,
    /// A number that goes on, and what it is for.
    Number {
        value: u64,
        shift: u32,
        then: Then,
    },
    Length {
        then: Then,
    },
    Text {
        left: u64,
        then: Then,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Nothing of the field is left.
    Done,
    /// It was the index of a name; 0 says that the name itself follows.
    Value,
    /// A name's length, or its text.
    Name,
    /// A value's, which is kept or replaced.
    Kept,
    Replaced,
}

impl Block {
    fn pass(&mut self, byte: u8) -> u8 {
        let (next, byte) = match *self {
            Self::Field => {
                let (prefix, then) = match byte {
                    0x80.. => (0x7f, Then::Done),
                    0x40.. => (0x3f, Then::Value),
                    // The size of the table.
                    0x20.. => (0x1f, Then::Done),
                    _ => (0x0f, Then::Value),
                };
                (Self::number(byte, prefix, then), byte)
            }
            Self::Length { then } => {
                let byte = match then {
                    Then::Replaced => byte & !HUFFMAN,
                    _ => byte,
                };
                (Self::number(byte, 0x7f, then), byte)
            }
            Self::Number { value, shift, then } => {
                let part = u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
                let value = value.saturating_add(part);
                let next = match byte & 0x80 {
                    0 => Self::behind(value, then),
                    _ => Self::Number {
                        value,
                        shift: shift.saturating_add(7),
                        then,
                    },
                };
                (next, byte)
            }
            Self::Text { left, then } => {
                let byte = if then == Then::Replaced { FILLER } else { byte };
                (Self::text(left - 1, then), byte)
            }
        };
        *self = next;
        byte
    }

    fn number(byte: u8, prefix: u8, then: Then) -> Self {
        let value = u64::from(byte & prefix);
        if byte & prefix == prefix {
            Self::Number {
                value,
                shift: 0,
                then,
            }
        } else {
            Self::behind(value, then)
        }
    }

    /// What follows a number.
    fn behind(value: u64, then: Then) -> Self {
        match then {
            Then::Done => Self::Field,
            Then::Value => Self::Length {
                then: match value {
                    0 => Then::Name,
                    AUTHORITY => Then::Replaced,
                    _ => Then::Kept,
                },
            },
            Then::Name | Then::Kept | Then::Replaced => Self::text(value, then),
        }
    }

    fn text(left: u64, then: Then) -> Self {
        match (left, then) {
            (0, Then::Name) => Self::Length { then: Then::Kept },
            (0, _) => Self::Field,
            _ => Self::Text { left, then },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::PREFACE;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend(payload);
        frame
    }

    /// `:method: POST`, a table's size, `:authority` as a literal, a name of its own, a long value.
    fn block(authority: &[u8]) -> Vec<u8> {
        let mut block = vec![0x83, 0x3f, 0xe1, 0x1f];
        block.push(0x41);
        block.extend(authority);
        block.extend([0x00, 0x03, b'a', b':', b'b', 0x01, b'A']);
        block.extend([0x0f, 0x11, 0x7f, 0x05]);
        block.extend([b'A'; 0x7f + 5]);
        block
    }

    fn connection(authority: &[u8]) -> Vec<u8> {
        let block = block(authority);
        let padded = [&[2, 0, 0, 0, 0, 9], block.as_slice(), &[0x41, 0x01]].concat();
        let (first, rest) = block.split_at(7);
        [
            PREFACE.to_vec(),
            frame(4, 0, &[]),
            frame(0, 0, &[0x41, 0x03, b'A', b'A', b'A']),
            frame(HEADERS, 4, &block),
            frame(HEADERS, 4 | PADDED | PRIORITY, &padded),
            frame(HEADERS, 0, first),
            frame(CONTINUATION, 4, rest),
        ]
        .concat()
    }

    #[test]
    fn the_authority_is_replaced_wherever_a_read_ends_and_nothing_else_is() {
        let sent = connection(&[0x84, 0xff, 0x41, 0x90, 0x00]);
        let expected = connection(&[0x04, b'a', b'a', b'a', b'a']);
        for size in 1..sent.len() {
            let mut passed = sent.clone();
            let mut received = Received::default();
            for read in passed.chunks_mut(size) {
                received.pass(read);
            }
            assert_eq!(passed, expected, "reads of {size} bytes");
        }
    }

    #[test]
    fn what_is_not_http_2_passes_as_it_is() {
        let sent = b"PUT / HTTP/1.1\r\n\r\n".to_vec();
        let mut passed = sent.clone();
        Received::default().pass(&mut passed);
        assert_eq!(passed, sent);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_pass_with_their_number(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let mut received = Received::default();
            received.pass(&mut PREFACE.to_vec());
            received.pass(&mut bytes.clone());
        }
    }
}
