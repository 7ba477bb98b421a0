//! The database behind the store: opened, opened again after an I/O error, closed.
//!
//! redb refuses all work on a database that has met an I/O error. A full disk is such an error and
//! must not stop the reads, so the database is then closed without another byte written and opened
//! anew, which finds the last state that was committed in full.
use super::damage;
use super::disk::{Disk, StorageBackend};
use super::fault::{Fault, from_io};
use super::format::{self, FORMAT, FORMAT_ROW, META, STATE_ROW, State};
use super::read;
use crate::StoreError;
use parking_lot::{Mutex, RwLock};
use redb::{ReadTransaction, ReadableDatabase, TableError, WriteTransaction};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a read opens the database anew before it gives up.
const REOPENS_PER_READ_MAX: usize = 2;

/// redb makes new files far smaller than this.
const UNBORN_BYTES_MAX: u64 = 1 << 20;
/// redb's first page holds its header, which begins with a mark that is written last.
const HEADER_BYTES: usize = 4096;
const MARK_BYTES: usize = 9;

#[derive(Debug)]
pub(super) struct Db {
    disk: Arc<dyn Disk>,
    cache_bytes: usize,
    inner: RwLock<Inner>,
    /// Set for good when a data sync failed. The kernel may then show data that the disk does not
    /// have, and no later sync would tell: to serve it would break the promise that reads are
    /// durable, so the store stops, as etcd does.
    sync_failure: Arc<Mutex<Option<String>>>,
}

#[derive(Debug)]
struct Inner {
    open: Option<Open>,
    /// Counts openings, so that who saw a failure does not reopen what another already has.
    generation: u64,
    closed: bool,
}

#[derive(Debug)]
struct Open {
    database: redb::Database,
    fence: Arc<Fence>,
}

impl Db {
    /// Opens the database, makes it on an empty disk, and recovers it if it was not closed.
    pub(super) fn open(disk: Arc<dyn Disk>, cache_bytes: usize) -> Result<Self, StoreError> {
        let db = Self {
            disk,
            cache_bytes,
            inner: RwLock::new(Inner {
                open: None,
                generation: 0,
                closed: false,
            }),
            sync_failure: Arc::default(),
        };
        db.recover(0)?;
        db.check_format()?;
        Ok(db)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.disk.path().to_owned()
    }

    /// Runs `read` on a snapshot of what is durable now.
    pub(super) fn read<T>(
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
    pub(super) fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
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
    pub(super) fn begin_write(&self) -> Result<(WriteTransaction, u64), (Fault, u64)> {
        let inner = self.inner.read();
        let generation = inner.generation;
        if inner.closed {
            return Err((StoreError::Closed.into(), generation));
        }
        if let Err(error) = self.check_sync() {
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

    /// Opens the database anew unless someone has since `generation`.
    pub(super) fn recover(&self, generation: u64) -> Result<(), StoreError> {
        self.check_sync()?;
        let mut inner = self.inner.write();
        if inner.closed {
            return Err(StoreError::Closed);
        }
        if inner.generation != generation && inner.open.is_some() {
            return Ok(());
        }
        if let Some(open) = inner.open.take() {
            // From here on not a byte of the old database reaches the file.
            open.fence.shut();
        }
        inner.open = Some(self.open_once(inner.generation == 0)?);
        inner.generation += 1;
        Ok(())
    }

    /// `first`: the file comes from an earlier process.
    fn open_once(&self, first: bool) -> Result<Open, StoreError> {
        let file = self.disk.open().map_err(|error| from_io(error, &self.path()))?;
        let fence = Arc::new(Fence {
            file,
            shut: RwLock::new(false),
            sync_failure: self.sync_failure.clone(),
        });
        fence
            .forget_unborn()
            .map_err(|error| from_io(error, &self.path()))?;
        let unclean = Arc::new(AtomicBool::new(false));
        let seen = unclean.clone();
        let database = redb::Builder::new()
            .set_cache_size(self.cache_bytes)
            // Left to itself the engine believes a file that was closed once and not written to since.
            .set_check_integrity_on_open(first && damage::was_left_open(&*fence.file))
            .set_repair_callback(move |_| seen.store(true, Ordering::Relaxed))
            .create_with_backend(Fenced(fence.clone()))
            .map_err(|error| self.open_error(error))?;
        if unclean.load(Ordering::Relaxed) {
            tracing::warn!(
                path = %self.path().display(),
                "the store was not closed properly; verified it and went on from its last complete commit"
            );
        }
        Ok(Open { database, fence })
    }

    fn open_error(&self, error: redb::DatabaseError) -> StoreError {
        match error {
            redb::DatabaseError::UpgradeRequired(version) => StoreError::Damaged {
                path: self.path(),
                reason: format!("the database engine's file version {version} is unknown"),
            },
            error => self.error(error.into()),
        }
    }

    /// Writes the format into an empty database, refuses one that is newer than this code.
    fn check_format(&self) -> Result<(), StoreError> {
        let format = self.read(|snapshot| {
            let meta = match snapshot.open_table(META) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                meta => meta?,
            };
            let found = meta.get(FORMAT_ROW)?;
            match found.and_then(|row| row.value().first_chunk().copied()) {
                Some(number) => Ok(Some(u32::from_le_bytes(number))),
                None => Err(Fault::Rotten("its format is not noted".to_owned())),
            }
        })?;
        match format {
            None => self.initialize().map_err(|fault| self.error(fault)),
            Some(FORMAT) => Ok(()),
            Some(found) => Err(StoreError::NewerFormat {
                path: self.path(),
                found,
                supported: FORMAT,
            }),
        }
    }

    fn initialize(&self) -> Result<(), Fault> {
        let (txn, _) = self.begin_write().map_err(|(fault, _)| fault)?;
        {
            let mut meta = txn.open_table(META)?;
            meta.insert(FORMAT_ROW, FORMAT.to_le_bytes().as_slice())?;
            meta.insert(STATE_ROW, State::empty().encode().as_slice())?;
            // Readers may rely on every table being there.
            txn.open_table(format::KEYS)?;
            txn.open_table(format::LOG)?;
            txn.open_table(format::LEASES)?;
            txn.open_table(format::LEASE_KEYS)?;
        }
        txn.commit()?;
        Ok(())
    }

    /// The counters that are durable now.
    pub(super) fn state(&self) -> Result<State, StoreError> {
        self.read(read::state)
    }

    /// Bytes on disk.
    pub(super) fn size(&self) -> Result<u64, StoreError> {
        let inner = self.inner.read();
        match &inner.open {
            Some(open) => open
                .fence
                .file
                .len()
                .map_err(|error| from_io(error, &self.path())),
            None => Err(StoreError::Closed),
        }
    }

    /// Moves everything to the front of the file and cuts it off behind. Reads wait meanwhile.
    pub(super) fn defragment(&self) -> Result<(), StoreError> {
        let mut inner = self.inner.write();
        let generation = inner.generation;
        let result = match &mut inner.open {
            Some(open) => open.database.compact().map_err(Fault::from),
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
    pub(super) fn close(&self) {
        let mut inner = self.inner.write();
        inner.closed = true;
        if let Some(Open { database, fence }) = inner.open.take() {
            if let Err(error) = database.close() {
                tracing::warn!(
                    path = %self.path().display(), %error,
                    "the store could not be closed properly; it will be verified when it is opened next"
                );
            }
            fence.shut();
        }
    }

    pub(super) fn error(&self, fault: Fault) -> StoreError {
        fault.into_store_error(self.disk.path())
    }
}

/// Stands between one opening of the database and the file, until it is shut.
#[derive(Debug)]
struct Fence {
    file: Arc<dyn StorageBackend>,
    shut: RwLock<bool>,
    sync_failure: Arc<Mutex<Option<String>>>,
}

impl Fence {
    /// Waits for what is under way, then lets nothing through any more.
    fn shut(&self) {
        *self.shut.write() = true;
    }

    fn pass<T>(&self, access: impl FnOnce(&dyn StorageBackend) -> io::Result<T>) -> io::Result<T> {
        let shut = self.shut.read();
        if *shut {
            return Err(io::Error::other("this opening of the store is over"));
        }
        access(&*self.file)
    }

    /// A file whose making was cut short has no mark yet, and nothing behind its header: start over.
    /// Anything else without a mark is damage, which must not be touched.
    fn forget_unborn(&self) -> io::Result<()> {
        let len = self.file.len()?;
        if len == 0 || len > UNBORN_BYTES_MAX {
            return Ok(());
        }
        let mut bytes = vec![0; len as usize];
        self.file.read(0, &mut bytes)?;
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let header = HEADER_BYTES.min(bytes.len());
        if zero(&bytes[..MARK_BYTES.min(header)]) && zero(&bytes[header..]) {
            self.file.set_len(0)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Fenced(Arc<Fence>);

impl StorageBackend for Fenced {
    fn len(&self) -> io::Result<u64> {
        self.0.pass(StorageBackend::len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.pass(|file| file.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.pass(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.pass(|file| {
            file.sync_data().inspect_err(|error| {
                if error.kind() != io::ErrorKind::StorageFull {
                    let reason = format!("a data sync failed ({error}); check the disk, then restart");
                    self.0.sync_failure.lock().get_or_insert(reason);
                }
            })
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.pass(|file| file.write(offset, data))
    }
}
