//! Moving bytes until one side ends. Nothing is kept between two bursts.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A pipe's usual capacity.
const SPLICE_SIZE: usize = 64 << 10;
const COPY_SIZE: usize = 4 << 10;
/// Between looks at whether a fifo was read to its end.
const DRAIN_FIRST: Duration = Duration::from_millis(1);
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// From pipe to pipe within the kernel, until the writers of the one or the readers of the other have gone.
pub async fn splice_all(from: &AsyncFd<OwnedFd>, to: &AsyncFd<OwnedFd>) {
    loop {
        let (Ok(mut readable), Ok(mut writable)) = (from.readable().await, to.writable().await) else {
            return;
        };
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match splice(from.get_ref(), None, to.get_ref(), None, SPLICE_SIZE, flags) {
            Ok(0) => return,
            Ok(_) | Err(Errno::INTR) => {}
            // One is empty or the other is full; only what isn't ready may be waited for.
            Err(Errno::AGAIN) => {
                let (has_data, has_room) = ready(from.get_ref(), to.get_ref());
                if !has_data {
                    readable.clear_ready();
                }
                if !has_room {
                    writable.clear_ready();
                }
                if has_data && has_room {
                    tokio::task::yield_now().await;
                }
            }
            Err(_) => return,
        }
    }
}

/// Whether there is something to read (or its end) and room to write.
fn ready(from: &OwnedFd, to: &OwnedFd) -> (bool, bool) {
    let mut fds = [PollFd::new(from, PollFlags::IN), PollFd::new(to, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&now)) {
        Ok(_) => (!fds[0].revents().is_empty(), !fds[1].revents().is_empty()),
        Err(_) => (true, true),
    }
}

/// By reading and writing, for terminals. A terminal that nobody has open any more reads as an error: its end.
pub async fn copy_all(from: &AsyncFd<OwnedFd>, to: &AsyncFd<OwnedFd>) {
    loop {
        if from.readable().await.is_err() {
            return;
        }
        let Ok(chunk) = from.async_io(Interest::READABLE, read_chunk).await else {
            return;
        };
        if chunk.is_empty() {
            return;
        }
        let mut left = &chunk[..];
        while !left.is_empty() {
            let written = to
                .async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, left)?))
                .await;
            match written {
                Ok(written) => left = &left[written..],
                Err(_) => return,
            }
        }
    }
}

fn read_chunk(fd: &OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut buffer = [0; COPY_SIZE];
    let read = rustix::io::read(fd, &mut buffer)?;
    Ok(buffer[..read].to_vec())
}

/// Until what was written to a fifo is read: closed before, it would be lost to a containerd that is being restarted.
pub async fn drained(held: &OwnedFd) {
    let mut delay = DRAIN_FIRST;
    while rustix::io::ioctl_fionread(held).is_ok_and(|left| left > 0) {
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(DRAIN_MAX);
    }
}
