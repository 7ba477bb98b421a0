//! Answers that become ready together leave together.
//!
//! The store answers all writes of a batch at once. Each answer wakes its connection, and the runtime runs
//! a task that was just woken next: left alone, every answer would be a system call of its own, and wake
//! the client for itself. So before it writes, a connection lets the other tasks that are ready go first.
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub struct Burst<S> {
    stream: S,
    /// The others have been let go first since the last flush.
    has_yielded: bool,
}

impl<S> Burst<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            has_yielded: false,
        }
    }

    fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.has_yielded {
            return Poll::Ready(());
        }
        self.has_yielded = true;
        // A task that wakes itself goes to the end of the queue.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Burst<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Burst<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.has_yielded = false;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn tasks_that_are_ready_go_first() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut burst = Burst::new(ours);
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let ran = ran.clone();
            tokio::spawn(async move { ran.fetch_add(1, Ordering::Relaxed) });
        }
        burst.write_all(b"answers").await.unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), 3);
        burst.flush().await.unwrap();
        drop(burst);
        let mut seen = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut seen)
            .await
            .unwrap();
        assert_eq!(seen, b"answers");
    }
}
