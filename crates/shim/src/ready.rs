//! Descriptors the one thread waits for.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::io::Result;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that doesn't block, and tells when it is ready.
pub fn watched(fd: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>> {
    fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
    // SAFETY: an `OwnedFd` keeps one descriptor open until it is dropped, which `AsyncFd` does after deregistering it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest)? })
}
