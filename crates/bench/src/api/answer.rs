//! Reads an HTTP/1.1 answer as it comes in: its body is counted, not kept.
use anyhow::{Context, Result, bail};

/// So much of a refusal is kept to be shown.
const REFUSAL_BYTES_MAX: usize = 4096;
/// A longer head is no answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What comes next.
#[derive(Debug)]
enum Next {
    Head,
    /// So many bytes of the body, and then nothing.
    Sized(usize),
    /// The line with a chunk's size, so far.
    Size(usize),
    /// So many bytes of a chunk and its line end.
    Chunk(usize),
    /// Lines after the last chunk; whether the current one is empty so far.
    Trailer(bool),
    Nothing,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    head: Vec<u8>,
    next: Next,
    status: u16,
    /// Bytes of the body.
    length: usize,
    refusal: Vec<u8>,
}

impl Answer {
    pub fn new() -> Self {
        Self {
            head: Vec::with_capacity(512),
            next: Next::Head,
            status: 0,
            length: 0,
            refusal: Vec::new(),
        }
    }

    /// Takes what has come; whether the answer is complete.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            match self.next {
                Next::Head => bytes = self.take_head(bytes)?,
                Next::Sized(left) => {
                    let now = left.min(bytes.len());
                    self.body(&bytes[..now]);
                    bytes = &bytes[now..];
                    self.next = sized(left - now);
                }
                Next::Size(size) => {
                    let (byte, rest) = (bytes[0], &bytes[1..]);
                    bytes = rest;
                    self.next = match (byte, char::from(byte).to_digit(16)) {
                        (_, Some(digit)) => Next::Size(size * 16 + digit as usize),
                        (b'\n', None) if size == 0 => Next::Trailer(true),
                        (b'\n', None) => Next::Chunk(size + 2),
                        (b'\r', None) => Next::Size(size),
                        (other, None) => bail!("{other:#x} in the size of a chunk"),
                    };
                }
                Next::Chunk(left) => {
                    let now = left.min(bytes.len());
                    // The last two bytes are the line end.
                    let data = now.min(left.saturating_sub(2));
                    self.body(&bytes[..data]);
                    bytes = &bytes[now..];
                    self.next = if left == now {
                        Next::Size(0)
                    } else {
                        Next::Chunk(left - now)
                    };
                }
                Next::Trailer(empty) => {
                    let byte = bytes[0];
                    bytes = &bytes[1..];
                    self.next = match byte {
                        b'\n' if empty => Next::Nothing,
                        b'\n' => Next::Trailer(true),
                        b'\r' => Next::Trailer(empty),
                        _ => Next::Trailer(false),
                    };
                }
                Next::Nothing => bail!("more than one answer"),
            }
        }
        Ok(matches!(self.next, Next::Nothing))
    }

    /// The length of the body of a complete answer, if it is no refusal.
    pub fn finish(self) -> Result<usize> {
        if (200..300).contains(&self.status) {
            return Ok(self.length);
        }
        bail!("{}: {}", self.status, String::from_utf8_lossy(&self.refusal))
    }

    fn body(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        if self.status >= 300 && self.refusal.len() < REFUSAL_BYTES_MAX {
            self.refusal.extend_from_slice(bytes);
        }
    }

    /// Answers what comes behind the head.
    fn take_head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let before = self.head.len();
        // The end may lie across two takes.
        let from = before.saturating_sub(3);
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head[from..].windows(4).position(|w| w == b"\r\n\r\n") else {
            if self.head.len() > HEAD_BYTES_MAX {
                bail!("no end of the headers");
            }
            return Ok(&[]);
        };
        let end = from + end + 4;
        self.head.truncate(end);
        let text = std::str::from_utf8(&self.head).context("headers are no text")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        self.status = status.context("no status line")?.parse()?;
        self.next = Next::Nothing;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                self.next = sized(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                self.next = Next::Size(0);
            }
        }
        Ok(&bytes[end - before..])
    }
}

fn sized(left: usize) -> Next {
    if left == 0 {
        Next::Nothing
    } else {
        Next::Sized(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer, given in pieces of each size.
    fn lengths(text: &str) -> Vec<Result<usize>> {
        let read = |pieces: std::slice::Chunks<'_, u8>| {
            let mut answer = Answer::new();
            let mut done = false;
            for piece in pieces {
                assert!(!done);
                done = answer.take(piece)?;
            }
            assert!(done);
            answer.finish()
        };
        (1..=text.len())
            .map(|size| read(text.as_bytes().chunks(size)))
            .collect()
    }

    #[test]
    fn bodies_are_counted_in_whatever_pieces_they_come() {
        for (text, length) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 5),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 0),
            (
                "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
                21,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n",
                1,
            ),
        ] {
            for found in lengths(text) {
                assert_eq!(found.ok(), Some(length), "{text}");
            }
        }
    }

    #[test]
    fn a_refusal_is_told() {
        for found in lengths("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope") {
            assert_eq!(found.map_err(|e| e.to_string()), Err("404: nope".to_owned()));
        }
    }
}
