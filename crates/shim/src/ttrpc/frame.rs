//! A frame: ten bytes that say how long it is, of which call and of what kind; then a message.

use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Above this, upstream refuses frames too.
const PAYLOAD_MAX: usize = 4 << 20;
const HEADER: usize = 10;

/// A call's request.
pub const REQUEST: u8 = 1;
/// Its answer.
pub const RESPONSE: u8 = 2;

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which call.
    pub stream: u32,
    pub kind: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The next frame; `None` when the other side has closed.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Self>> {
        let mut header = [0; HEADER];
        match from.read_exact(&mut header).await {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            outcome => outcome?,
        };
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, _flags] = header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if length > PAYLOAD_MAX {
            return Err(Error::new(
                ErrorKind::InvalidData,
                format!("a frame of {length} bytes; {PAYLOAD_MAX} are allowed"),
            ));
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        Ok(Some(Self {
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            kind,
            payload,
        }))
    }

    pub async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        let length = u32::try_from(self.payload.len())
            .map_err(|_| Error::new(ErrorKind::InvalidData, "a frame of more than 4 GiB"))?;
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&[self.kind, 0]);
        bytes.extend_from_slice(&self.payload);
        to.write_all(&bytes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frame_is_read_as_it_was_written() {
        let frame = Frame {
            stream: 7,
            kind: RESPONSE,
            payload: b"abc".to_vec(),
        };
        let mut bytes = Vec::new();
        frame.write(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"\0\0\0\x03\0\0\0\x07\x02\0abc");
        let mut from = &bytes[..];
        assert_eq!(Frame::read(&mut from).await.unwrap(), Some(frame));
        assert_eq!(Frame::read(&mut from).await.unwrap(), None);
    }

    #[tokio::test]
    async fn oversized_and_cut_frames_are_errors() {
        let mut oversized = &b"\xff\0\0\0\0\0\0\x01\x01\0"[..];
        assert!(Frame::read(&mut oversized).await.is_err());
        let mut cut = &b"\0\0\0\x03\0\0\0\x01\x01\0ab"[..];
        assert!(Frame::read(&mut cut).await.is_err());
    }
}
