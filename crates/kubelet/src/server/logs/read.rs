//! Copies a log file to a reader, and follows it by inotify until its container ends.
use super::options::Options;
use super::select::Selector;
use super::tail;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use inotify::{EventStream, Inotify, WatchMask};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes read at once.
const BLOCK: usize = 64 * 1024;
/// Room for a burst of inotify events; more of them only mean one more look.
const EVENT_BYTES: usize = 4096;
/// While following: the longest until it is seen that the container has ended. The runtime closes
/// the file then, which inotify tells, but the status may come later than that. Where the system has no watches left
/// (`fs.inotify.max_user_instances`), the file is looked at this often, too.
const END_CHECK: Duration = Duration::from_secs(1);

pub type Chunk = Result<Bytes, io::Error>;

/// Says whether the container whose log this is still runs.
pub type Running = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// The reader has gone, or has all it wanted.
struct Over;

struct Copy<'a> {
    file: File,
    selector: Selector,
    chunks: &'a mpsc::Sender<Chunk>,
}

/// Copies what the options ask for from an open file; ends when the reader goes or, following, when
/// the container does.
pub async fn copy(
    file: File,
    path: PathBuf,
    options: Options,
    running: Running,
    chunks: mpsc::Sender<Chunk>,
) {
    if let Err(error) = copy_all(file, &path, options, running, &chunks).await {
        tracing::debug!(path = %path.display(), %error, "reading a container's log broke off");
        // The answer has begun: breaking it off is all that is left to say it.
        let _ = chunks.send(Err(error)).await;
    }
}

async fn copy_all(
    mut file: File,
    path: &Path,
    options: Options,
    running: Running,
    chunks: &mpsc::Sender<Chunk>,
) -> io::Result<()> {
    // Watched before the first read, so that nothing is written unseen in between.
    let events = options.follow.then(|| watch(path));
    if let Some(lines) = options.tail_lines {
        // A long way back in a large file takes its time.
        file = blocking(move || {
            let at = tail::offset(&file, lines)?;
            file.seek(SeekFrom::Start(at))?;
            Ok(file)
        })
        .await?;
    }
    let mut copy = Copy {
        file,
        selector: Selector::new(options),
        chunks,
    };
    let Some(events) = events else {
        if copy.drain().await?.is_ok() {
            let last = copy.selector.end();
            let _ = copy.send(last).await;
        }
        return Ok(());
    };
    let mut events = events
        .inspect_err(
            |error| tracing::debug!(path = %path.display(), %error, "a log is looked at, not listened to"),
        )
        .ok();
    loop {
        // Asked before reading: what was written before the end is read after it.
        let runs = running().await;
        if copy.drain().await?.is_err() {
            return Ok(());
        }
        if let Some(fresh) = successor(path, &copy.file) {
            // The old file gets no more by now, but may have since the last look.
            if copy.drain().await?.is_err() {
                return Ok(());
            }
            let last = copy.selector.end();
            if copy.send(last).await.is_err() {
                return Ok(());
            }
            copy.file = fresh;
            continue;
        }
        if !runs {
            let last = copy.selector.end();
            let _ = copy.send(last).await;
            return Ok(());
        }
        tokio::select! {
            () = chunks.closed() => return Ok(()),
            is_heard = heard(&mut events) => {
                if !is_heard {
                    events = None;
                }
            }
            () = tokio::time::sleep(END_CHECK) => {}
        }
    }
}

impl Copy<'_> {
    /// Copies all that is written.
    async fn drain(&mut self) -> io::Result<Result<(), Over>> {
        loop {
            // Log files lie in the page cache or on a local disk: a block is read at once.
            let mut block = vec![0; BLOCK];
            let length = self.file.read(&mut block)?;
            if length == 0 {
                return Ok(Ok(()));
            }
            let out = self.selector.take(&block[..length]);
            if self.send(out).await.is_err() {
                return Ok(Err(Over));
            }
            // Other tasks get their turn during a long file of which nothing is wanted.
            tokio::task::consume_budget().await;
        }
    }

    async fn send(&self, out: Vec<u8>) -> Result<(), Over> {
        if !out.is_empty() {
            self.chunks.send(Ok(Bytes::from(out))).await.map_err(|_| Over)?;
        }
        if self.selector.is_done() || self.chunks.is_closed() {
            Err(Over)
        } else {
            Ok(())
        }
    }
}

/// Changes in the log's directory: a rotated file is another one of the same name.
fn watch(path: &Path) -> io::Result<EventStream<[u8; EVENT_BYTES]>> {
    let inotify = Inotify::init()?;
    let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE;
    inotify.watches().add(path.parent().unwrap_or(path), mask)?;
    inotify.into_event_stream([0; EVENT_BYTES])
}

/// The next change; `false`: none is told any more. Without events there is none.
async fn heard(events: &mut Option<EventStream<[u8; EVENT_BYTES]>>) -> bool {
    match events {
        Some(events) => matches!(events.next().await, Some(Ok(_))),
        None => std::future::pending().await,
    }
}

/// The new file, if the name belongs to another one by now.
fn successor(path: &Path, open: &File) -> Option<File> {
    let fresh = File::open(path).ok()?;
    let (a, b) = (fresh.metadata().ok()?, open.metadata().ok()?);
    (a.ino() != b.ino() || a.dev() != b.dev()).then_some(fresh)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
