//! What the task of a connection writes in one go leaves in as few pieces as the network takes: the HTTP/2 library writes
//! frame by frame, 16 KiB each with most clients, and each by itself costs the system, and the client who is woken for it,
//! as much as four of them.
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is sent at once. Just below what the allocator maps for itself.
const GATHERED_BYTES_MAX: usize = 60 * 1024;
/// Room that is kept while there is nothing to send.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// A connection. Nothing that is written to it leaves but by [`run`](Self::run), or when enough has come together.
pub struct Gathering<S>(Arc<Mutex<Gathered<S>>>);

struct Gathered<S> {
    stream: S,
    bytes: Vec<u8>,
    /// Of these, how many have been sent.
    sent: usize,
    /// There is something that the stream may still hold.
    is_dirty: bool,
}

impl<S> Clone for Gathering<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Gathering<S> {
    pub fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Gathered {
            stream,
            bytes: Vec::new(),
            sent: 0,
            is_dirty: false,
        })))
    }

    fn get(&self) -> MutexGuard<'_, Gathered<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    /// Runs what writes to this connection, and sends what it has written whenever it rests, and when it ends.
    pub async fn run<T, E: From<io::Error>>(
        self,
        writing: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut writing = pin!(writing);
        let mut ended = None;
        poll_fn(move |cx| {
            if ended.is_none()
                && let Poll::Ready(result) = writing.as_mut().poll(cx)
            {
                ended = Some(result);
            }
            match (self.get().poll_send(cx), ended.take()) {
                (Poll::Ready(Ok(())), Some(result)) => Poll::Ready(result),
                // Whose end has a reason already keeps it.
                (Poll::Ready(Err(_)), Some(Err(reason))) => Poll::Ready(Err(reason)),
                (Poll::Ready(Err(error)), _) => Poll::Ready(Err(error.into())),
                (_, still) => {
                    ended = still;
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Hands over all that there is.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let left = &self.bytes[self.sent..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.sent = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        if self.is_dirty {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes at least one of these bytes, if there are any.
    fn poll_gather<'a>(
        &mut self,
        cx: &mut Context<'_>,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.len() >= GATHERED_BYTES_MAX {
            ready!(self.poll_send(cx))?;
        }
        let before = self.bytes.len();
        for piece in pieces {
            let room = GATHERED_BYTES_MAX - self.bytes.len();
            let piece = &piece[..piece.len().min(room)];
            if self.bytes.len() + piece.len() > self.bytes.capacity().max(KEPT_BYTES_MAX) {
                self.bytes.reserve_exact(room);
            }
            self.bytes.extend_from_slice(piece);
        }
        self.is_dirty = true;
        Poll::Ready(Ok(self.bytes.len() - before))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get().stream).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get().poll_gather(cx, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get().poll_gather(cx, pieces.iter().map(|piece| &**piece))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The library flushes after each frame: what is to leave leaves when its task rests.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.get();
        ready!(gathered.poll_send(cx))?;
        Pin::new(&mut gathered.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Tells of each write how long it was.
    struct Telling<S>(S, tokio::sync::mpsc::UnboundedSender<usize>);

    impl<S: AsyncWrite + Unpin> AsyncWrite for Telling<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let written = ready!(Pin::new(&mut self.0).poll_write(cx, bytes))?;
            self.1.send(written).unwrap();
            Poll::Ready(Ok(written))
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn frames_that_are_written_in_one_go_leave_together() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (told, mut telling) = tokio::sync::mpsc::unbounded_channel();
        let gathering = Gathering::new(Telling(server, told));
        let mut writer = gathering.clone();
        let (rest, rested) = tokio::sync::oneshot::channel();
        let frame = vec![5; 16 * 1024];
        let running = tokio::spawn(gathering.run(async move {
            for _ in 0..8 {
                writer.write_all(&frame).await?;
                writer.flush().await?;
            }
            rested.await.unwrap();
            writer.write_all(b"end").await?;
            io::Result::Ok(())
        }));
        let mut got = vec![0; 8 * 16 * 1024];
        client.read_exact(&mut got).await.unwrap();
        assert!(got.iter().all(|byte| *byte == 5));
        assert_eq!(telling.recv().await, Some(GATHERED_BYTES_MAX));
        assert_eq!(telling.recv().await, Some(GATHERED_BYTES_MAX));
        assert_eq!(telling.recv().await, Some(8 * 1024));
        rest.send(()).unwrap();
        running.await.unwrap().unwrap();
        assert_eq!(
            telling.recv().await,
            Some(3),
            "what is written at the end leaves as well"
        );
        let mut got = [0; 3];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"end");
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_gets_everything_and_holds_up_who_writes() {
        let (mut client, server) = tokio::io::duplex(100);
        let gathering = Gathering::new(server);
        let mut writer = gathering.clone();
        let written: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let expected = written.clone();
        let running = tokio::spawn(gathering.run(async move {
            writer.write_all(&written).await?;
            writer.shutdown().await
        }));
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert!(got == expected);
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_has_gone_ends_it() {
        let (client, server) = tokio::io::duplex(100);
        let gathering = Gathering::new(server);
        let mut writer = gathering.clone();
        drop(client);
        let ended = gathering
            .run(async move {
                writer.write_all(b"anything").await?;
                std::future::pending::<io::Result<()>>().await
            })
            .await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
