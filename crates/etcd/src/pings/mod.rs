//! Clients that ask again and again whether the server is there are sent away, as gRPC's servers do: with a GOAWAY
//! that says `too_many_pings`, by which its clients ask less often from then on.
//!
//! The HTTP/2 library answers pings by itself and counts none. So the frames of a connection are looked at on their
//! way past ([`crate::frames`]), and the one that sends a client away is written between two of the library's.
mod policy;

use crate::frames::Frames;
use policy::Policy;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 0xb;
const REASON: &[u8] = b"too_many_pings";

/// A connection whose client has to leave some time between its pings.
pub struct Pings<S> {
    stream: S,
    policy: Policy,
    received: Frames,
    sent: Frames,
    leaving: Leaving,
}

/// How far a client is on its way out.
enum Leaving {
    No,
    /// As soon as the library has written what it has.
    Wanted,
    /// What is left of the frame that says so.
    Telling(Vec<u8>),
    Closing,
    Gone,
}

impl<S> Pings<S> {
    pub fn new(stream: S, interval_min: Duration) -> Self {
        Self {
            stream,
            policy: Policy::new(interval_min),
            received: Frames::of_client(),
            sent: Frames::of_server(),
            leaving: Leaving::No,
        }
    }

    /// Takes in what the library has sent.
    fn wrote(&mut self, bytes: &[u8]) {
        let (sent, policy) = (&mut self.sent, &mut self.policy);
        sent.pass(bytes, |head| policy.sent(head));
    }

    /// Whether the library's bytes are still taken.
    fn is_open(&self) -> io::Result<()> {
        match self.leaving {
            Leaving::No | Leaving::Wanted => Ok(()),
            Leaving::Telling(_) | Leaving::Closing | Leaving::Gone => Err(sent_away()),
        }
    }
}

fn sent_away() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the client sent too many pings")
}

/// The frame by which a client learns that nothing after call `newest_call` is answered, and why.
fn goaway(newest_call: u32) -> Vec<u8> {
    let mut payload = newest_call.to_be_bytes().to_vec();
    payload.extend(ENHANCE_YOUR_CALM.to_be_bytes());
    payload.extend(REASON);
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], GOAWAY, 0, 0, 0, 0, 0];
    frame.extend(payload);
    frame
}

impl<S: AsyncRead + Unpin> AsyncRead for Pings<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, out))?;
        let Self {
            policy,
            received,
            leaving,
            ..
        } = &mut *self;
        let mut now = None;
        received.pass(&out.filled()[before..], |head| {
            let now = *now.get_or_insert_with(Instant::now);
            if policy.received(head, now) && matches!(leaving, Leaving::No) {
                *leaving = Leaving::Wanted;
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pings<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_open()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if self.received.is_http2() {
            self.wrote(bytes.get(..written).unwrap_or(bytes));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_open()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, pieces))?;
        if self.received.is_http2() {
            let mut left = written;
            for piece in pieces {
                let of_piece = left.min(piece.len());
                self.wrote(&piece[..of_piece]);
                left -= of_piece;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The library flushes when it has written what it had, the answer to the last ping included.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.leaving, Leaving::Wanted) && self.sent.is_between() {
            self.leaving = Leaving::Telling(goaway(self.policy.newest_call()));
        }
        let Self { stream, leaving, .. } = &mut *self;
        let mut stream = Pin::new(stream);
        while let Leaving::Telling(frame) = leaving {
            let written = ready!(stream.as_mut().poll_write(cx, frame))?;
            frame.drain(..written.min(frame.len()));
            if frame.is_empty() {
                *leaving = Leaving::Closing;
            } else if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        ready!(stream.as_mut().poll_flush(cx))?;
        if matches!(leaving, Leaving::Closing) {
            ready!(stream.poll_shutdown(cx))?;
            *leaving = Leaving::Gone;
        }
        Poll::Ready(match leaving {
            Leaving::Gone => Err(sent_away()),
            _ => Ok(()),
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
