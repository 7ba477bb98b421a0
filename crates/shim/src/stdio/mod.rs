//! A process's input and output, between containerd's fifos and the process.
//!
//! Processes get anonymous pipes, whose content moves to the fifos within the kernel (splice), or a terminal. The fifos
//! themselves they don't get: security modules would judge them by a path of the host. The other end of each fifo is held
//! too, so that nothing ends when containerd is restarted.

mod console;
mod relay;

pub use console::Console;

use crate::ready::watched;
use crate::runc::Ends;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, spawn_local};

/// How long what a process wrote last may take to get through, when it is deleted.
const DRAIN: Duration = Duration::from_secs(2);

/// As containerd names them; empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

/// Where a stream leads.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Nowhere,
    Fifo(&'a Path),
    File(&'a Path),
    Unsupported,
}

impl<'a> Place<'a> {
    fn of(name: &'a str) -> Self {
        match name.split_once("://") {
            None if name.is_empty() => Self::Nowhere,
            None => Self::Fifo(Path::new(name)),
            Some(("fifo", path)) => Self::Fifo(Path::new(path)),
            Some(("file", path)) => Self::File(Path::new(path)),
            Some(_) => Self::Unsupported,
        }
    }
}

/// What moves bytes for one process.
#[derive(Default)]
pub struct Streams {
    outputs: RefCell<Vec<JoinHandle<()>>>,
    input: RefCell<Option<JoinHandle<()>>>,
    /// While it is open, the process's input doesn't end.
    input_held: Cell<Option<OwnedFd>>,
    terminal: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
}

/// Whom pipes belong to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Streams {
    /// Pipes for a process without a terminal.
    pub fn pipes(names: &Names, owner: Owner) -> Result<(Self, Ends)> {
        let streams = Self::default();
        let stdin = match Place::of(&names.stdin) {
            Place::Nowhere => Stdio::null(),
            Place::File(path) => std::fs::File::open(path)?.into(),
            Place::Unsupported => return Err(unsupported(&names.stdin)),
            Place::Fifo(path) => {
                let (fifo, held) = streams_in(path)?;
                let (theirs, ours) = pipe(owner)?;
                streams.input_held.set(Some(held));
                let to = watched(ours, Interest::WRITABLE)?;
                *streams.input.borrow_mut() = Some(spawn_local(async move {
                    relay::splice_all(&fifo, &to).await;
                }));
                theirs.into()
            }
        };
        let stdout = streams.output(&names.stdout, owner)?;
        let stderr = streams.output(&names.stderr, owner)?;
        Ok((streams, Ends::Pipes([stdin, stdout, stderr])))
    }

    fn output(&self, name: &str, owner: Owner) -> Result<Stdio> {
        Ok(match Place::of(name) {
            Place::Nowhere => Stdio::null(),
            Place::File(path) => std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)?
                .into(),
            Place::Unsupported => return Err(unsupported(name)),
            Place::Fifo(path) => {
                let (fifo, held) = streams_out(path)?;
                let (ours, theirs) = pipe(owner)?;
                let from = watched(ours, Interest::READABLE)?;
                self.outputs.borrow_mut().push(spawn_local(async move {
                    relay::splice_all(&from, &fifo).await;
                    relay::drained(&held).await;
                }));
                theirs.into()
            }
        })
    }

    /// The streams of a process whose terminal this is.
    pub fn terminal(names: &Names, terminal: OwnedFd) -> Result<Self> {
        let streams = Self::default();
        let terminal = Rc::new(watched(terminal, Interest::READABLE | Interest::WRITABLE)?);
        match Place::of(&names.stdin) {
            Place::Fifo(path) => {
                let (fifo, held) = streams_in(path)?;
                streams.input_held.set(Some(held));
                let to = terminal.clone();
                *streams.input.borrow_mut() =
                    Some(spawn_local(async move { relay::copy_all(&fifo, &to).await }));
            }
            Place::Nowhere => {}
            Place::File(_) | Place::Unsupported => return Err(unsupported(&names.stdin)),
        }
        match Place::of(&names.stdout) {
            Place::Fifo(path) => {
                let (fifo, held) = streams_out(path)?;
                let from = terminal.clone();
                streams.outputs.borrow_mut().push(spawn_local(async move {
                    relay::copy_all(&from, &fifo).await;
                    relay::drained(&held).await;
                }));
            }
            Place::Nowhere => {}
            Place::File(_) | Place::Unsupported => return Err(unsupported(&names.stdout)),
        }
        *streams.terminal.borrow_mut() = Some(terminal);
        Ok(streams)
    }

    /// No more input is to come, once what containerd wrote is read.
    pub fn close_input(&self) {
        self.input_held.take();
    }

    /// The terminal's new size; nothing where there is none.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        if let Some(terminal) = &*self.terminal.borrow() {
            let size = rustix::termios::Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(terminal.get_ref(), size)?;
        }
        Ok(())
    }

    /// Ends the streams of a process that has ended, after what it wrote has got through.
    pub async fn finish(&self) {
        let outputs = self.outputs.take();
        let aborts: Vec<_> = outputs.iter().map(JoinHandle::abort_handle).collect();
        let through = async {
            for output in outputs {
                let _ = output.await;
            }
        };
        if tokio::time::timeout(DRAIN, through).await.is_err() {
            aborts.iter().for_each(|output| output.abort());
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for task in self.outputs.take().into_iter().chain(self.input.take()) {
            task.abort();
        }
    }
}

/// A fifo to read from, and its other end.
fn streams_in(fifo: &Path) -> Result<(AsyncFd<OwnedFd>, OwnedFd)> {
    let ours = watched(open(fifo, OFlags::RDONLY)?, Interest::READABLE)?;
    Ok((ours, open(fifo, OFlags::WRONLY)?))
}

/// A fifo to write to, and its other end: open before, or the kernel would refuse.
fn streams_out(fifo: &Path) -> Result<(AsyncFd<OwnedFd>, OwnedFd)> {
    let held = open(fifo, OFlags::RDONLY)?;
    let ours = watched(open(fifo, OFlags::WRONLY)?, Interest::WRITABLE)?;
    Ok((ours, held))
}

fn open(fifo: &Path, access: OFlags) -> Result<OwnedFd> {
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(fifo, flags, Mode::empty()).map_err(|error| {
        let error = Error::from(error);
        Error::new(error.kind(), format!("{}: {error}", fifo.display()))
    })
}

/// The reading and the writing end, opened apart: what is set on ours leaves the process's as it is.
fn pipe(owner: Owner) -> Result<(OwnedFd, OwnedFd)> {
    use rustix::fs::{Gid, Uid, fchown};
    let ends = pipe_with(PipeFlags::CLOEXEC)?;
    if owner.uid != 0 || owner.gid != 0 {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        fchown(&ends.0, Some(uid), Some(gid))?;
    }
    Ok(ends)
}

fn unsupported(name: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{name}: streams are fifos or file://… (fifos alone with a terminal)"),
    )
}

/// A path for a socket, short enough for the kernel, that nobody else has.
pub fn console_socket(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{:x}-{number:x}.pty", std::process::id()))
}

#[cfg(test)]
mod tests;
