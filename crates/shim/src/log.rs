//! Lines for containerd's log, through the fifo `log` of the bundle. containerd copies them to its own log, which has the
//! time; a line that doesn't fit while nobody reads is dropped rather than waited for.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

struct Log {
    fifo: File,
    /// Whose shim speaks.
    id: String,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// From now on lines go to this fifo. Opened for reading too, it outlives a containerd that is restarted.
pub fn open(fifo: &Path, id: &str) {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(fifo) = rustix::fs::open(fifo, flags, Mode::empty()) {
        let _ = LOG.set(Log {
            fifo: fifo.into(),
            id: id.to_owned(),
        });
    }
}

/// Something a person should know.
pub fn warn(message: &str) {
    if let Some(log) = LOG.get() {
        let line = format!("level=warning msg={message:?} shim={}\n", log.id);
        let _ = (&log.fifo).write(line.as_bytes());
    }
}
