//! The database behind the store: opened, opened again after an I/O error, closed.
//!
//! redb refuses all work on a database that has met an I/O error. A full disk is such an error and
//! must not stop the reads, so the database is then closed without another byte written and opened
//! anew, which finds the last state that was committed in full.
mod ahead;
mod close;
mod commit;
mod open;
#[cfg(test)]
mod tests;

pub(in crate::embedded) use ahead::Failed;
pub(in crate::embedded) use commit::Uncommitted;

use crate::StoreError;
use crate::embedded::Options;
use crate::embedded::clock::Clock;
use crate::embedded::disk::Disk;
use crate::embedded::fault::{Fault, from_io};
use crate::embedded::fence::{Fence, SyncFailure};
use crate::embedded::format::State;
use crate::embedded::journal::Journal;
use crate::embedded::read;
use crate::embedded::stopwatch::{Stopwatch, SyncTimes};
use ahead::Ahead;
use parking_lot::{Mutex, RwLock};
use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// How often a read opens the database anew before it gives up.
const REOPENS_PER_READ_MAX: usize = 2;

#[derive(Debug)]
pub(in crate::embedded) struct Db {
    disk: Arc<dyn Disk>,
    cache_bytes: usize,
    journal_bytes: u64,
    inner: RwLock<Inner>,
    sync_failure: SyncFailure,
    /// Of the journal's data syncs.
    syncs: Arc<Stopwatch>,
    /// Of the tree's durable commits.
    commits: Stopwatch,
    /// What a read has met that cannot be what was written. From then on nothing is written.
    rot: OnceLock<String>,
}

#[derive(Debug)]
struct Inner {
    open: Option<Open>,
    /// Counts openings, so that who saw a failure does not reopen what another already has.
    generation: u64,
    /// Where the journal has come to: what has to be found when it is opened anew.
    acknowledged: Option<u64>,
    closed: bool,
}

#[derive(Debug)]
struct Open {
    /// Before the database, since it is to be dropped before it.
    ahead: Arc<Ahead>,
    database: redb::Database,
    fence: Arc<Fence>,
    journal_fences: [Arc<Fence>; 2],
    journal: Mutex<Journal>,
}

impl Inner {
    /// The opening of this number, if it is still the one in use. Who holds it keeps it in use.
    fn current(&self, generation: u64) -> Result<&Open, Fault> {
        match &self.open {
            Some(open) if self.generation == generation => Ok(open),
            _ => Err(redb::StorageError::PreviousIo.into()),
        }
    }
}

impl Open {
    /// From here on not a byte of this opening reaches the disk.
    fn shut(&self) {
        self.fence.shut();
        for fence in &self.journal_fences {
            fence.shut();
        }
    }
}

impl Db {
    /// Opens the database, makes it on an empty disk, and recovers it if it was not closed.
    pub(in crate::embedded) fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: &Options,
    ) -> Result<Self, StoreError> {
        let db = Self {
            disk,
            cache_bytes: options.cache_bytes,
            journal_bytes: options.journal_bytes,
            inner: RwLock::new(Inner {
                open: None,
                generation: 0,
                acknowledged: None,
                closed: false,
            }),
            sync_failure: Arc::default(),
            syncs: Arc::new(Stopwatch::new(clock.clone())),
            commits: Stopwatch::new(clock),
            rot: OnceLock::new(),
        };
        db.recover(0)?;
        Ok(db)
    }

    pub(in crate::embedded) fn path(&self) -> PathBuf {
        self.disk.path().to_owned()
    }

    /// Runs `read` on a snapshot of what is durable now.
    pub(in crate::embedded) fn read<T>(
        &self,
        read: impl Fn(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mut reopens = 0;
        loop {
            self.catch_up_to_read()?;
            let inner = self.inner.read();
            if inner.closed {
                return Err(StoreError::Closed);
            }
            let generation = inner.generation;
            let result = match &inner.open {
                Some(open) => open
                    .database
                    .begin_read()
                    .map_err(Fault::from)
                    .and_then(|snapshot| read(&snapshot)),
                None => Err(redb::StorageError::PreviousIo.into()),
            };
            drop(inner);
            match result {
                Ok(answer) => return Ok(answer),
                Err(fault) if fault.is_io() && reopens < REOPENS_PER_READ_MAX => {
                    reopens += 1;
                    self.recover(generation)?;
                }
                Err(fault) => return Err(self.error(fault)),
            }
        }
    }

    /// A picture of what is durable now, for a walk that takes its time: nothing waits for it to end,
    /// and it fails if the database has to be opened anew meanwhile.
    pub(in crate::embedded) fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        self.catch_up_to_read()?;
        let inner = self.inner.read();
        match &inner.open {
            Some(open) => open
                .database
                .begin_read()
                .map_err(|error| self.error(error.into())),
            None => Err(StoreError::Closed),
        }
    }

    /// Begins a write that goes past the journal, into a tree that is not behind it: of a whole store at once. When its
    /// commit has gone through, it is on the disk; a disk that has no room for it fails it.
    pub(in crate::embedded) fn begin_durable_write(&self) -> Result<WriteTransaction, Fault> {
        let inner = self.inner.read();
        if inner.closed {
            return Err(StoreError::Closed.into());
        }
        self.check_sync().and_then(|()| self.check_rot())?;
        match &inner.open {
            Some(open) => {
                open.fence.set_durable(true);
                Ok(open.database.begin_write()?)
            }
            None => Err(redb::StorageError::PreviousIo.into()),
        }
    }

    /// Refuses all work once a data sync has failed.
    fn check_sync(&self) -> Result<(), StoreError> {
        match &*self.sync_failure.lock() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Io {
                path: self.path(),
                source: io::Error::other(reason.clone()),
            }),
        }
    }

    fn check_rot(&self) -> Result<(), StoreError> {
        match self.rot.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::ReadOnly {
                path: self.path(),
                reason: reason.clone(),
            }),
        }
    }

    /// Opens the database anew unless someone has since `generation`.
    pub(in crate::embedded) fn recover(&self, generation: u64) -> Result<(), StoreError> {
        self.check_sync()?;
        let mut inner = self.inner.write();
        if inner.closed {
            return Err(StoreError::Closed);
        }
        if inner.generation != generation && inner.open.is_some() {
            return Ok(());
        }
        if let Some(open) = inner.open.take() {
            open.shut();
            inner.acknowledged = Some(open.journal.lock().sequence());
        }
        let open = self.open_once(inner.generation == 0, inner.acknowledged)?;
        inner.open = Some(open);
        inner.generation += 1;
        Ok(())
    }

    /// The counters that are durable now.
    pub(in crate::embedded) fn state(&self) -> Result<State, StoreError> {
        self.read(read::state)
    }

    /// How long the disk has taken.
    pub(in crate::embedded) fn sync_times(&self) -> SyncTimes {
        SyncTimes {
            journal: self.syncs.histogram(),
            tree: self.commits.histogram(),
        }
    }

    /// Bytes on disk.
    pub(in crate::embedded) fn size(&self) -> Result<u64, StoreError> {
        let inner = self.inner.read();
        match &inner.open {
            Some(open) => open.fence.len().map_err(|error| from_io(error, &self.path())),
            None => Err(StoreError::Closed),
        }
    }

    pub(in crate::embedded) fn error(&self, fault: Fault) -> StoreError {
        if let Some(reason) = fault.rot()
            && self.rot.set(reason.to_owned()).is_ok()
        {
            tracing::error!(path = %self.path().display(), reason, "the store is rotten and takes no more writes");
        }
        fault.into_store_error(self.disk.path())
    }
}
