//! The database behind the store: opened, opened again after an I/O error, closed.
//!
//! redb refuses all work on a database that has met an I/O error. A full disk is such an error and
//! must not stop the reads, so the database is then closed without another byte written and opened
//! anew, which finds the last state that was committed in full.
mod open;

use crate::StoreError;
use crate::embedded::Options;
use crate::embedded::disk::Disk;
use crate::embedded::fault::{Fault, from_io};
use crate::embedded::fence::{Fence, SyncFailure};
use crate::embedded::format::{JOURNAL_ROW, META, State};
use crate::embedded::journal::{Journal, Rows, Unwritten};
use crate::embedded::read;
use parking_lot::{Mutex, RwLock};
use redb::{Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
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
    /// A commit that is durable in the tree; with it the journal begins anew.
    fn commit_in_tree(
        &self,
        mut txn: WriteTransaction,
        journal: &mut Journal,
        has_batch: bool,
    ) -> Result<(), Uncommitted> {
        // On the disk in full before it is made the latest: then it need not be gone through after a
        // power cut to find out whether it is torn.
        txn.set_quick_repair(true);
        let start = journal.next_start(has_batch);
        let noted = txn.open_table(META).map_err(Fault::from).and_then(|mut meta| {
            meta.insert(JOURNAL_ROW, start.encode().as_slice())?;
            Ok(())
        });
        noted.map_err(Uncommitted::Nothing)?;
        self.fence.set_durable(true);
        let committed = txn.commit();
        self.fence.set_durable(false);
        match committed {
            Ok(()) => {
                journal.begin_epoch(start);
                Ok(())
            }
            Err(error) => Err(Uncommitted::InTree {
                fault: error.into(),
                epoch: start.epoch,
            }),
        }
    }

    /// From here on not a byte of this opening reaches the disk.
    fn shut(&self) {
        self.fence.shut();
        for fence in &self.journal_fences {
            fence.shut();
        }
    }
}

/// A batch that could not be committed.
#[derive(Debug)]
pub(in crate::embedded) enum Uncommitted {
    /// Nothing of it is there, nor ever will be.
    Nothing(Fault),
    /// It is not there now, but may be when the store is opened next.
    Unsure(StoreError),
    /// The tree's own commit has failed; if it reached the file nevertheless, the journal is in this
    /// epoch then.
    InTree { fault: Fault, epoch: u64 },
}

impl Db {
    /// Opens the database, makes it on an empty disk, and recovers it if it was not closed.
    pub(in crate::embedded) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Self, StoreError> {
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
        let inner = self.inner.read();
        match &inner.open {
            Some(open) => open
                .database
                .begin_read()
                .map_err(|error| self.error(error.into())),
            None => Err(StoreError::Closed),
        }
    }

    /// Begins a write; only the writer calls this. The number names this opening of the database.
    pub(in crate::embedded) fn begin_write(&self) -> Result<(WriteTransaction, u64), (Fault, u64)> {
        let inner = self.inner.read();
        let generation = inner.generation;
        if inner.closed {
            return Err((StoreError::Closed.into(), generation));
        }
        if let Err(error) = self.check_sync().and_then(|()| self.check_rot()) {
            return Err((error.into(), generation));
        }
        match &inner.open {
            Some(open) => open
                .database
                .begin_write()
                .map(|txn| (txn, generation))
                .map_err(|error| (error.into(), generation)),
            None => Err((redb::StorageError::PreviousIo.into(), generation)),
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

    /// Makes a batch durable, then shows it. `rows`: everything it has changed.
    pub(in crate::embedded) fn commit(
        &self,
        mut txn: WriteTransaction,
        generation: u64,
        rows: Rows,
    ) -> Result<(), Uncommitted> {
        let inner = self.inner.read();
        let io_nothing = |error| Uncommitted::Nothing(from_io(error, &self.path()).into());
        let open = inner.current(generation).map_err(Uncommitted::Nothing)?;
        // The batch may have needed more of the file than the disk has.
        open.fence.settle().map_err(io_nothing)?;
        let mut journal = open.journal.lock();
        if !journal.reserve(&rows).map_err(io_nothing)? {
            return open.commit_in_tree(txn, &mut journal, true);
        }
        txn.set_durability(Durability::None)
            .map_err(|error| Uncommitted::Nothing(error.into()))?;
        let bytes = rows.sectors_bytes();
        let unwritten = match journal.append(rows) {
            Ok(()) => match txn.commit() {
                Ok(()) => return Ok(()),
                Err(error) => {
                    // The engine has met an I/O error: it is opened anew by who comes next.
                    let error = io::Error::other(error);
                    journal.take_back(bytes, error)
                }
            },
            Err(unwritten) => unwritten,
        };
        self.check_sync()
            .map_err(|error| Uncommitted::Nothing(error.into()))?;
        Err(match unwritten {
            Unwritten::Void(error) => io_nothing(error),
            Unwritten::Unsure(error) => Uncommitted::Unsure(match from_io(error, &self.path()) {
                // That would say that nothing was written.
                StoreError::DiskFull { path } => StoreError::Io {
                    path,
                    source: io::ErrorKind::StorageFull.into(),
                },
                error => error,
            }),
        })
    }

    /// Makes the tree durable, so that the journal can begin anew.
    pub(in crate::embedded) fn checkpoint(&self) -> Result<(), Fault> {
        let (txn, generation) = self.begin_write().map_err(|(fault, _)| fault)?;
        let inner = self.inner.read();
        let open = inner.current(generation)?;
        open.fence
            .settle()
            .map_err(|error| from_io(error, &self.path()))?;
        let mut journal = open.journal.lock();
        open.commit_in_tree(txn, &mut journal, false)
            .map_err(|error| match error {
                Uncommitted::Nothing(fault) | Uncommitted::InTree { fault, .. } => fault,
                Uncommitted::Unsure(error) => error.into(),
            })
    }

    /// Whether the journal has become so long that it is time for a checkpoint.
    pub(in crate::embedded) fn is_checkpoint_due(&self) -> bool {
        let inner = self.inner.read();
        inner
            .open
            .as_ref()
            .is_some_and(|open| open.journal.lock().is_full())
    }

    /// The journal's epoch.
    pub(in crate::embedded) fn epoch(&self) -> Option<u64> {
        let inner = self.inner.read();
        inner.open.as_ref().map(|open| open.journal.lock().epoch())
    }

    /// The counters that are durable now.
    pub(in crate::embedded) fn state(&self) -> Result<State, StoreError> {
        self.read(read::state)
    }

    /// Bytes on disk.
    pub(in crate::embedded) fn size(&self) -> Result<u64, StoreError> {
        let inner = self.inner.read();
        match &inner.open {
            Some(open) => open.fence.len().map_err(|error| from_io(error, &self.path())),
            None => Err(StoreError::Closed),
        }
    }

    /// Moves everything to the front of the file and cuts it off behind. Reads wait meanwhile.
    pub(in crate::embedded) fn defragment(&self) -> Result<(), StoreError> {
        self.checkpoint().map_err(|fault| self.error(fault))?;
        let mut inner = self.inner.write();
        let generation = inner.generation;
        let result = match &mut inner.open {
            Some(open) => {
                open.fence.set_durable(true);
                let compacted = open.database.compact().map_err(Fault::from);
                open.fence.set_durable(false);
                compacted
            }
            None => return Err(StoreError::Closed),
        };
        drop(inner);
        match result {
            Ok(_) => Ok(()),
            Err(fault) => {
                if fault.is_io() {
                    self.recover(generation)?;
                }
                Err(self.error(fault))
            }
        }
    }

    /// Closes the database; everything after fails with [`StoreError::Closed`].
    pub(in crate::embedded) fn close(&self) {
        let settled = self.settle();
        let mut inner = self.inner.write();
        inner.closed = true;
        if let Some(open) = inner.open.take() {
            let closed = match settled {
                Ok(()) => {
                    open.fence.set_durable(true);
                    open.database.close().map_err(Fault::from)
                }
                Err(fault) => Err(fault),
            };
            if let Err(fault) = closed {
                tracing::warn!(
                    path = %self.path().display(), error = %self.error(fault),
                    "the store could not be closed properly; it will be verified when it is opened next"
                );
            }
            open.fence.shut();
        }
    }

    /// Empties the journal, if there is anything in it.
    fn settle(&self) -> Result<(), Fault> {
        let is_empty = match &self.inner.read().open {
            Some(open) => open.journal.lock().is_empty(),
            None => true,
        };
        if is_empty { Ok(()) } else { self.checkpoint() }
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
