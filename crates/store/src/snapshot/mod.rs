//! etcd's snapshots: a bbolt file of buckets, followed by the SHA-256 of its bytes. Both stores'
//! backups have this form, so that what one has saved the other can restore.
//!
//! - [`records`]: what the buckets hold.
//! - [`member`]: the directory of a member that has been stopped.
//! - [`check`]: whether a file is a whole snapshot.
//! - [`SnapshotFile`]: one on its way into a file.
//! - [`Snapshot`]: one on its way out of a running store.
//!
//! How the embedded store writes and reads them is in `embedded/snapshot/`.
pub mod check;
mod file;
pub mod member;
pub mod records;

pub use file::SnapshotFile;

use crate::StoreError;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Length of the checksum behind the database.
pub const CHECKSUM_BYTES: u64 = 32;

/// A snapshot that is being made, in chunks, of which the last one is the checksum.
#[derive(Debug)]
pub struct Snapshot {
    bytes: u64,
    /// What is still to come.
    left: u64,
    chunks: mpsc::Receiver<Chunk>,
}

/// A part of a snapshot, or why there are no more.
pub(crate) type Chunk = Result<Bytes, SnapshotError>;

impl Snapshot {
    /// One of so many bytes.
    pub(crate) fn new(bytes: u64, chunks: mpsc::Receiver<Chunk>) -> Self {
        Self {
            bytes,
            left: bytes,
            chunks,
        }
    }

    /// Length of all chunks together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next chunk; `None` when that was all.
    pub async fn next(&mut self) -> Option<Result<Bytes, SnapshotError>> {
        let next = self.chunks.recv().await;
        match &next {
            Some(Ok(chunk)) => self.left = self.left.saturating_sub(chunk.len() as u64),
            Some(Err(_)) => self.left = 0,
            // Whoever made it has given up: the end would be taken for that of a whole one.
            None if std::mem::take(&mut self.left) > 0 => return Some(Err(SnapshotError::CutShort)),
            None => {}
        }
        next
    }
}

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read or write {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is no snapshot of etcd: {reason}")]
    NotASnapshot { path: PathBuf, reason: String },
    #[error("{path} does not match its checksum: the file was changed or cut short. Use another backup")]
    Checksum { path: PathBuf },
    #[error("{path} exists already and is not empty: restore into a new directory")]
    TargetExists { path: PathBuf },
    #[error(
        "{path} is an etcd's that was not stopped in order: its log goes on to entry {logged}, its database has those up to \
         {applied}. Start that etcd once more and stop it, or save a snapshot with etcdctl and bring it over with \
         `orlop store restore`"
    )]
    Unsettled {
        path: PathBuf,
        logged: u64,
        applied: u64,
    },
    #[error("{path} is in use by an etcd: stop that etcd, keep it stopped, and start this again")]
    MemberRuns { path: PathBuf },
    #[error("the store cannot be written as a snapshot: {0}")]
    Unwritable(String),
    #[error(
        "the snapshot was cut short: nobody took what was there of it for too long, or the store was closed"
    )]
    CutShort,
    #[error("too many snapshots are being made: take another when one of them is done")]
    TooMany,
}

impl SnapshotError {
    /// What went wrong with a file or a directory.
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self + Copy {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
