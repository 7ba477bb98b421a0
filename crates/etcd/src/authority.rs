//! Clients' `:authority`, made one that the HTTP/2 library takes.
//!
//! etcdctl 3.4 names a list of endpoints there (`endpoint status`, `defrag`, `endpoint hashkv`), and so every
//! such call would be refused. Nobody here looks at it: on its way in, its value is replaced by another of the same
//! length on the wire, so that everything else stays where it is. For that, only the lengths in a header block need
//! to be understood, not its contents.
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
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
    frames: Frames,
}

impl<S> Authority<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            frames: Frames::Preface(0),
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
        self.frames.pass(&mut out.filled_mut()[before..]);
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

/// Where in its frames the client's side of a connection is.
enum Frames {
    /// So many bytes of the preface.
    Preface(usize),
    /// Not HTTP/2.
    Other,
    Header {
        bytes: [u8; FRAME_HEADER_BYTES],
        len: usize,
        block: Block,
    },
    /// What is of no interest.
    Skip { left: u32, block: Block },
    /// How much padding a frame of headers ends with.
    PadLength { left: u32, priority: bool },
    /// What stands before the headers.
    Prelude { left: u32, skip: u32, padding: u32 },
    /// A header block, or a part of it, and the padding behind.
    Headers { left: u32, padding: u32, block: Block },
}

impl Frames {
    fn header(block: Block) -> Self {
        Self::Header {
            bytes: [0; FRAME_HEADER_BYTES],
            len: 0,
            block,
        }
    }

    fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let passed = self.step(bytes);
            bytes = &mut bytes[passed..];
        }
    }

    /// Goes on by at least one byte; answers how many.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        match self {
            Self::Other => bytes.len(),
            Self::Preface(seen) => {
                if PREFACE.get(*seen) != Some(&bytes[0]) {
                    *self = Self::Other;
                    return 1;
                }
                *seen += 1;
                if *seen == PREFACE.len() {
                    *self = Self::header(Block::default());
                }
                1
            }
            Self::Header {
                bytes: header,
                len,
                block,
            } => {
                header[*len] = bytes[0];
                *len += 1;
                if *len == FRAME_HEADER_BYTES {
                    let block = *block;
                    let next = Self::frame(*header, block);
                    *self = next.or_next();
                }
                1
            }
            Self::Skip { left, block } => {
                let passed = (*left as usize).min(bytes.len());
                *left -= passed as u32;
                let next = Self::Skip {
                    left: *left,
                    block: *block,
                };
                *self = next.or_next();
                passed
            }
            Self::PadLength { left, priority } => {
                let padding = u32::from(bytes[0]);
                let left = *left - 1;
                let skip = if *priority { PRIORITY_BYTES } else { 0 };
                *self = Self::Prelude {
                    left,
                    skip: skip.min(left),
                    padding: padding.min(left),
                }
                .or_next();
                1
            }
            Self::Prelude { left, skip, padding } => {
                *left -= 1;
                *skip -= 1;
                *self = Self::Prelude {
                    left: *left,
                    skip: *skip,
                    padding: *padding,
                }
                .or_next();
                1
            }
            Self::Headers { left, padding, block } => {
                let passed = (*left as usize).min(bytes.len());
                let of_block = (left.saturating_sub(*padding) as usize).min(passed);
                for byte in &mut bytes[..of_block] {
                    *byte = block.pass(*byte);
                }
                *self = Self::Headers {
                    left: *left - passed as u32,
                    padding: *padding,
                    block: *block,
                }
                .or_next();
                passed
            }
        }
    }

    fn frame(header: [u8; FRAME_HEADER_BYTES], block: Block) -> Self {
        let [a, b, c, kind, flags, ..] = header;
        let left = u32::from_be_bytes([0, a, b, c]);
        match kind {
            HEADERS if flags & PADDED != 0 && left > 0 => Self::PadLength {
                left,
                priority: flags & PRIORITY != 0,
            },
            HEADERS => Self::Prelude {
                left,
                skip: if flags & PRIORITY != 0 { PRIORITY_BYTES } else { 0 }.min(left),
                padding: 0,
            },
            CONTINUATION => Self::Headers {
                left,
                padding: 0,
                block,
            },
            _ => Self::Skip { left, block },
        }
    }

    /// What comes next when this one has nothing left.
    fn or_next(self) -> Self {
        match self {
            Self::Prelude {
                left,
                skip: 0,
                padding,
            } => Self::Headers {
                left,
                padding,
                block: Block::default(),
            }
            .or_next(),
            Self::Headers { left: 0, block, .. } | Self::Skip { left: 0, block } => Self::header(block),
            other => other,
        }
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
            let mut frames = Frames::Preface(0);
            for read in passed.chunks_mut(size) {
                frames.pass(read);
            }
            assert_eq!(passed, expected, "reads of {size} bytes");
        }
    }

    #[test]
    fn what_is_not_http_2_passes_as_it_is() {
        let sent = b"PUT / HTTP/1.1\r\n\r\n".to_vec();
        let mut passed = sent.clone();
        Frames::Preface(0).pass(&mut passed);
        assert_eq!(passed, sent);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_pass_with_their_number(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let mut frames = Frames::Preface(0);
            frames.pass(&mut PREFACE.to_vec());
            frames.pass(&mut bytes.clone());
        }
    }
}
