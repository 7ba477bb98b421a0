//! SPDY/3.1 as far as a client of a container runtime goes: it opens streams, sends and reads data and answers pings.
//!
//! Header blocks are zlib streams of stored blocks, which every inflater takes whether or not it was given the
//! protocol's dictionary. What the server says in headers is not needed, so nothing is ever inflated.
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;
const CONTROL_BIT: u32 = 1 << 31;
const FRAME_HEADER_BYTES: usize = 8;
/// The length of a frame has 24 bits; more data goes into more frames.
pub const DATA_BYTES_MAX: usize = 32 * 1024;
/// Control frames of runtimes are tens of bytes long.
const CONTROL_BYTES_MAX: u32 = 64 * 1024;

/// Number of a stream; those a client opens are odd.
pub type StreamId = u32;

/// Makes frames. Header blocks share one compression context, so one writer serves a whole connection.
#[derive(Debug, Default)]
pub struct Writer {
    opened: u32,
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_BYTES + payload.len());
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    frame.put_u8(flags);
    frame.put_uint(payload.len() as u64, 3);
    frame.put_slice(payload);
    frame.freeze()
}

impl Writer {
    /// Opens the next stream. Names are in lower case.
    pub fn open(&mut self, headers: &[(&str, &str)]) -> (StreamId, Bytes) {
        let id = self.opened * 2 + 1;
        let mut block = BytesMut::new();
        block.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(text.len() as u32);
            block.put_slice(text.as_bytes());
        }
        let mut payload = BytesMut::new();
        payload.put_u32(id);
        // No associated stream; highest priority, slot 0.
        payload.put_u32(0);
        payload.put_u16(0);
        if self.opened == 0 {
            // zlib header: deflate, no preset dictionary.
            payload.put_slice(&[0x78, 0x01]);
        }
        // A stored block, and an empty one that flushes it.
        for part in [&block[..], &[]] {
            let length = part.len() as u16;
            payload.put_u8(0);
            payload.put_u16_le(length);
            payload.put_u16_le(!length);
            payload.put_slice(part);
        }
        self.opened += 1;
        (id, control(SYN_STREAM, 0, &payload))
    }
}

/// The frame header of `length` bytes (at most [`DATA_BYTES_MAX`]) of data; `last` ends the stream's direction.
pub fn data_header(stream: StreamId, length: usize, last: bool) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&stream.to_be_bytes());
    header[4..].copy_from_slice(&(length as u32).to_be_bytes());
    header[4] = if last { FLAG_FIN } else { 0 };
    header
}

/// The answer to a ping.
pub fn pong(id: u32) -> Bytes {
    control(PING, 0, &id.to_be_bytes())
}

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Bytes of a stream, and whether they are its last.
    Data(StreamId, Bytes, bool),
    Reset(StreamId),
    /// To be answered with [`pong`].
    Ping(u32),
    GoAway,
    /// Of no concern: replies, headers, settings, windows, our own pings.
    Nothing,
}

/// Why a connection can no longer be read.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    #[error("the connection to the container runtime broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the container runtime's answer is not SPDY/3.1 ({0}): is there something else on its port?")]
    Frame(&'static str),
}

/// Reads frames; long data in pieces.
pub struct Reader<R> {
    io: R,
    /// What is left of a data frame: its stream, bytes, whether it is the last.
    rest: Option<(StreamId, u32, bool)>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(io: R) -> Self {
        Self { io, rest: None }
    }

    /// The next thing heard; `None` at the end of the connection.
    pub async fn next(&mut self) -> Result<Option<Heard>, SpdyError> {
        if let Some((stream, left, last)) = self.rest.take() {
            return self.data(stream, left, last).await.map(Some);
        }
        let mut header = [0; FRAME_HEADER_BYTES];
        if self.io.read(&mut header[..1]).await? == 0 {
            return Ok(None);
        }
        self.io.read_exact(&mut header[1..]).await?;
        let mut fields = &header[..];
        let (word, flags, length) = (fields.get_u32(), fields.get_u8(), fields.get_uint(3) as u32);
        if word & CONTROL_BIT == 0 {
            return self.data(word, length, flags & FLAG_FIN != 0).await.map(Some);
        }
        if (word & !CONTROL_BIT) >> 16 != u32::from(VERSION) {
            return Err(SpdyError::Frame("a frame of another version"));
        }
        if length > CONTROL_BYTES_MAX {
            return Err(SpdyError::Frame("a control frame above 64 KiB"));
        }
        let mut payload = vec![0; length as usize];
        self.io.read_exact(&mut payload).await?;
        let first = payload.get(..4).and_then(|bytes| bytes.try_into().ok());
        let first = first.map(u32::from_be_bytes);
        Ok(Some(match (word as u16, first) {
            (RST_STREAM, Some(stream)) => Heard::Reset(stream),
            // Odd ones are answers to ours.
            (PING, Some(id)) if id % 2 == 0 => Heard::Ping(id),
            (GOAWAY, _) => Heard::GoAway,
            (RST_STREAM | PING, None) => return Err(SpdyError::Frame("a control frame cut short")),
            _ => Heard::Nothing,
        }))
    }

    async fn data(&mut self, stream: StreamId, left: u32, last: bool) -> Result<Heard, SpdyError> {
        let size = (left as usize).min(DATA_BYTES_MAX);
        let mut bytes = BytesMut::zeroed(size);
        self.io.read_exact(&mut bytes).await?;
        let left = left - size as u32;
        if left > 0 {
            self.rest = Some((stream, left, last));
        }
        Ok(Heard::Data(stream, bytes.freeze(), last && left == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(bytes: &[u8]) -> Result<Vec<Heard>, SpdyError> {
        let mut reader = Reader::new(bytes);
        let mut all = Vec::new();
        while let Some(heard) = reader.next().await? {
            all.push(heard);
        }
        Ok(all)
    }

    /// Byte for byte: version 3, SYN_STREAM, stream 1, headers in a flushed stored block.
    #[test]
    fn streams_are_opened_with_odd_numbers_and_one_zlib_stream() {
        let mut writer = Writer::default();
        let (first, frame) = writer.open(&[("a", "bc")]);
        assert_eq!(first, 1);
        let block = [0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 2, b'b', b'c'];
        let mut expected = vec![0x80, 3, 0, 1, 0, 0, 0, 37, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x78, 1];
        expected.extend([0, 15, 0, 240, 255]);
        expected.extend(block);
        expected.extend([0, 0, 0, 255, 255]);
        assert_eq!(frame, expected);
        let (second, frame) = writer.open(&[("a", "bc")]);
        assert_eq!(second, 3);
        assert_eq!(frame.len(), expected.len() - 2, "the zlib header comes once");
    }

    #[tokio::test]
    async fn frames_are_told_apart() {
        let mut bytes = control(2, 0, &[0; 10]).to_vec();
        bytes.extend(data_header(3, 2, true));
        bytes.extend(b"hi");
        bytes.extend(control(PING, 0, &[0, 0, 0, 2]));
        bytes.extend(control(PING, 0, &[0, 0, 0, 1]));
        bytes.extend(control(RST_STREAM, 0, &[0, 0, 0, 3, 0, 0, 0, 5]));
        bytes.extend(control(GOAWAY, 0, &[0; 8]));
        let expected = vec![
            Heard::Nothing,
            Heard::Data(3, Bytes::from_static(b"hi"), true),
            Heard::Ping(2),
            Heard::Nothing,
            Heard::Reset(3),
            Heard::GoAway,
        ];
        assert_eq!(heard(&bytes).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn long_data_comes_in_pieces_and_ends_once() {
        let mut bytes = data_header(1, DATA_BYTES_MAX + 1, true).to_vec();
        bytes.resize(bytes.len() + DATA_BYTES_MAX + 1, b'x');
        let all = heard(&bytes).await.unwrap();
        let ends: Vec<(usize, bool)> = all
            .iter()
            .map(|heard| match heard {
                Heard::Data(1, bytes, last) => (bytes.len(), *last),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ends, [(DATA_BYTES_MAX, false), (1, true)]);
    }

    #[tokio::test]
    async fn what_is_not_spdy_is_an_error() {
        for bytes in [
            &b"\x80\x02\0\x01\0\0\0\0"[..],
            b"\x80\x03\0\x01\0\xff\xff\xff",
            b"\x80\x03\0\x06\0\0\0\0",
            b"\0\0\0\x01\0\0\0\x05abc",
            b"\0\0",
        ] {
            assert!(heard(bytes).await.is_err(), "{bytes:?}");
        }
    }
}
