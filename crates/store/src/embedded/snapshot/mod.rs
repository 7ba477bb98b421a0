//! The embedded store as a snapshot of etcd, and back.
mod export;
mod import;
mod sum;
mod takeover;

use super::database::Db;
use super::{Clock, EmbeddedStore, Options};
use crate::StoreError;
use crate::snapshot::{CHECKSUM_BYTES, Chunk, Snapshot, SnapshotError};
use bytes::BytesMut;
use export::Export;
use futures::executor::block_on;
use futures::future::{Either, select};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

pub use import::Restored;
pub use sum::HistorySum;

/// Size of a chunk on its way out.
const CHUNK_BYTES: usize = 32 << 10;
/// Chunks made ahead of who takes them.
const CHUNKS_AHEAD: usize = 4;
/// Snapshots that are made at the same time: each has a thread that waits for its reader, and keeps what is replaced
/// meanwhile in the file.
pub(super) const SNAPSHOTS_MAX: usize = 4;
/// A reader that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

impl EmbeddedStore {
    /// A consistent picture of the store as of now. Writes go on meanwhile; the space of what they
    /// replace comes free when the snapshot is done. It has to be read: who takes nothing for a minute gets no more.
    pub async fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let place = self.shared.snapshots.clone().try_acquire_owned();
        let place = place.map_err(|_| SnapshotError::TooMany)?;
        let shared = self.shared.clone();
        // The place goes to where the work is done, which goes on when who asked has gone away.
        let planned = self.off_reactor(move || Ok((plan(&shared.db)?, place)));
        let (export, place) = planned.await?;
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let bytes = export.bytes() + CHECKSUM_BYTES;
        let shared = self.shared.clone();
        let writing = move || {
            let _place = place;
            let mut out = Chunks {
                sender,
                chunk: BytesMut::new(),
                clock: shared.clock.clone(),
                is_read: true,
            };
            // Why nobody takes the chunks any more is known to who has gone away.
            if let Err(error) = write(export, &shared.db, &mut out)
                && out.is_read
            {
                let _ = out.give(Err(error));
            }
        };
        self.shared.options.spawner.spawn_blocking(Box::new(writing));
        Ok(Snapshot::new(bytes, chunks))
    }

    /// Writes a consistent picture of the store to `out`, in the form of etcd's snapshots. Blocks.
    pub fn backup(&self, out: impl Write) -> Result<(), SnapshotError> {
        save(&self.shared.db, out)
    }

    /// Makes a new store in `directory` of a snapshot, whole or not at all. Blocks.
    pub fn restore(snapshot: &Path, directory: &Path, options: &Options) -> Result<Restored, SnapshotError> {
        import::restore(snapshot, directory, options)
    }
}

/// Writes what is durable now.
pub(super) fn save(db: &Db, out: impl Write) -> Result<(), SnapshotError> {
    write(plan(db)?, db, out)
}

fn plan(db: &Db) -> Result<Export, StoreError> {
    Export::plan(db.snapshot()?).map_err(|fault| db.error(fault))
}

fn write(export: Export, db: &Db, out: impl Write) -> Result<(), SnapshotError> {
    let mut out = export
        .write(Hashing {
            out,
            hash: Sha256::new(),
        })
        .map_err(|error| match error {
            export::ExportError::Fault(fault) => db.error(fault).into(),
            export::ExportError::Write(orlop_bolt::WriteError::Io(source)) => SnapshotError::Io {
                path: "the snapshot".into(),
                source,
            },
            export::ExportError::Write(error) => SnapshotError::Unwritable(error.to_string()),
        })?;
    let hash = out.hash.finalize();
    // In a chunk of its own, as etcd sends it: it is none of the database, whose rest readers are told of.
    out.out
        .flush()
        .and_then(|()| out.out.write_all(&hash))
        .and_then(|()| out.out.flush())
        .map_err(|source| SnapshotError::Io {
            path: "the snapshot".into(),
            source,
        })
}

/// Computes the checksum of what goes through.
struct Hashing<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Cuts what is written into chunks and waits until they are taken.
struct Chunks {
    sender: mpsc::Sender<Chunk>,
    chunk: BytesMut,
    clock: Arc<dyn Clock>,
    /// Nobody has gone away, nor was given up.
    is_read: bool,
}

impl Chunks {
    fn send(&mut self, bytes: usize) -> io::Result<()> {
        let chunk = self.chunk.split_to(bytes).freeze();
        let given = self.give(Ok(chunk));
        self.is_read = given.is_ok();
        given
    }

    fn give(&self, chunk: Chunk) -> io::Result<()> {
        let chunk = match self.sender.try_send(chunk) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(chunk)) => chunk,
            Err(TrySendError::Closed(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        let given = pin!(self.sender.send(chunk));
        let late = self.clock.sleep_until(self.clock.now() + PATIENCE);
        match block_on(select(given, late)) {
            Either::Left((Ok(()), _)) => Ok(()),
            Either::Left((Err(_), _)) => Err(io::ErrorKind::BrokenPipe.into()),
            Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for &mut Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        while self.chunk.len() >= CHUNK_BYTES {
            self.send(CHUNK_BYTES)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.chunk.len() {
            0 => Ok(()),
            rest => self.send(rest),
        }
    }
}
