//! A conversation that nobody says anything in for long is over: it holds sockets on three machines.
use parking_lot::Mutex;
use std::io::Result;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// When bytes last passed.
#[derive(Clone, Debug)]
pub struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    /// Ends when nothing has passed for so long. It wakes up once in that time, not with each byte.
    pub async fn silence(&self, limit: Duration) {
        loop {
            let last = *self.0.lock();
            if last.elapsed() >= limit {
                return;
            }
            sleep_until(last + limit).await;
        }
    }

    fn note(&self) {
        *self.0.lock() = Instant::now();
    }
}

/// A connection whose bytes are noticed in passing.
#[derive(Debug)]
pub struct Noticed<S> {
    inner: S,
    activity: Activity,
}

impl<S> Noticed<S> {
    pub fn new(inner: S) -> (Self, Activity) {
        let activity = Activity(Arc::new(Mutex::new(Instant::now())));
        let noticed = Self {
            inner,
            activity: activity.clone(),
        };
        (noticed, activity)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noticed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.note();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noticed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if polled.is_ready() {
            self.activity.note();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_byte_of_either_direction() {
        const LIMIT: Duration = Duration::from_secs(10);
        let (here, mut there) = tokio::io::duplex(64);
        let (mut noticed, activity) = Noticed::new(here);
        let begin = Instant::now();
        let silence = tokio::spawn(async move {
            activity.silence(LIMIT).await;
            begin.elapsed()
        });
        tokio::time::sleep(Duration::from_secs(8)).await;
        noticed.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_secs(8)).await;
        there.write_all(b"y").await.unwrap();
        noticed.read_u8().await.unwrap();
        assert_eq!(silence.await.unwrap(), Duration::from_secs(26));
    }
}
