//! The database behind the store: opened, opened again after an I/O error, closed.
//!
//! redb refuses all work on a database that has met an I/O error. A full disk is such an error and
//! must not stop the reads, so the database is then closed without another byte written and opened
//! anew, which finds the last state that was committed in full.
use super::Options;
use super::damage;
use super::disk::{Disk, Part, Side, StorageBackend};
use super::fault::{Fault, from_io};
use super::fence::{EngineFile, Fence, SyncFailure};
use super::format::{
    self, FORMAT, FORMAT_ROW, FORMAT_WITHOUT_JOURNAL, JOURNAL_ROW, JournalStart, META, STATE_ROW, State,
};
use super::journal::{self, Journal, Rows, Sides, Unwritten};
use super::read;
use crate::StoreError;
use parking_lot::{Mutex, RwLock};
use redb::{Durability, ReadTransaction, ReadableDatabase, TableError, WriteTransaction};
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

const BOTH_SIDES: [Side; 2] = [Side::Even, Side::Odd];

#[derive(Debug)]
pub(super) struct Db {
    disk: Arc<dyn Disk>,
    cache_bytes: usize,
    journal_bytes: u64,
    inner: RwLock<Inner>,
    sync_failure: SyncFailure,
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
        txn: WriteTransaction,
        journal: &mut Journal,
        has_batch: bool,
    ) -> Result<(), Uncommitted> {
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
pub(super) enum Uncommitted {
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
    pub(super) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Self, StoreError> {
        let db = Self {
            disk,
            cache_bytes: options.cache_bytes,
            journal_bytes: options.journal_bytes,
            inner: RwLock::new(Inner {
                open: None,
                generation: 0,
                closed: false,
            }),
            sync_failure: Arc::default(),
        };
        db.recover(0)?;
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
        // What was acknowledged has to be found again.
        let acknowledged = inner.open.take().map(|open| {
            open.shut();
            open.journal.lock().sequence()
        });
        let open = self.open_once(inner.generation == 0, acknowledged)?;
        inner.open = Some(open);
        inner.generation += 1;
        Ok(())
    }

    /// `first`: the files come from an earlier process. `acknowledged`: where the journal of this one has
    /// come to.
    fn open_once(&self, first: bool, acknowledged: Option<u64>) -> Result<Open, StoreError> {
        let io_error = |error| from_io(error, &self.path());
        let fence = self.fence(Part::Database)?;
        forget_unborn(fence.file()).map_err(io_error)?;
        let was_left_open = first && damage::was_left_open(fence.file());
        let repaired = Arc::new(AtomicBool::new(false));
        let seen = repaired.clone();
        let database = redb::Builder::new()
            .set_cache_size(self.cache_bytes)
            // Left to itself the engine believes a file that was closed once and not written to since.
            .set_check_integrity_on_open(was_left_open)
            .set_repair_callback(move |_| seen.store(true, Ordering::Relaxed))
            .create_with_backend(EngineFile(fence.clone()))
            .map_err(|error| self.open_error(error))?;
        let opened = self.open_journal(&database, &fence, was_left_open, acknowledged);
        let (journal, journal_fences, replayed) = opened.inspect_err(|_| {
            if was_left_open {
                // Else the engine would note that it has closed a file which is well.
                fence.shut();
            }
        })?;
        if first && repaired.load(Ordering::Relaxed) {
            tracing::warn!(
                path = %self.path().display(),
                "the store was not closed properly; verified it and went on from its last complete commit and \
                 {replayed} batches of its journal"
            );
        }
        Ok(Open {
            database,
            fence,
            journal_fences,
            journal: Mutex::new(journal),
        })
    }

    /// Brings the tree to where the journal is; answers how many batches that took.
    fn open_journal(
        &self,
        database: &redb::Database,
        fence: &Fence,
        was_left_open: bool,
        acknowledged: Option<u64>,
    ) -> Result<(Journal, [Arc<Fence>; 2], u64), StoreError> {
        let io_error = |error| from_io(error, &self.path());
        let start = self.start(database)?;
        let [even, odd] = BOTH_SIDES.map(|side| self.fence(Part::Journal(side)));
        let fences = [even?, odd?];
        let mut sides = Sides::load(&*self.disk).map_err(io_error)?;
        let has_current = sides.has(journal::side_of(start.epoch), start.id);
        if !has_current && (was_left_open || acknowledged.is_some()) {
            return Err(self.damaged("its journal is missing; a copy needs all files of the directory"));
        }
        let missing = BOTH_SIDES
            .iter()
            .copied()
            .filter(|side| !sides.has(*side, start.id));
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() {
            Journal::initialize(&*self.disk, start.id, &missing).map_err(io_error)?;
            sides = Sides::load(&*self.disk).map_err(io_error)?;
        }
        let scan = sides.scan(start, acknowledged);
        if scan.is_rotten() || scan.sequence < acknowledged.unwrap_or(0) {
            return Err(self.damaged("its journal is rotten"));
        }
        if acknowledged.is_none() && !scan.found.is_empty() {
            // The process that wrote it may have been killed before its data sync.
            for fence in &fences {
                fence.sync_data().map_err(io_error)?;
            }
        }
        fence.set_durable(false);
        let replayed = self.replay(database, &scan).map_err(|fault| self.error(fault))?;
        let journal = Journal::new(fences.clone(), start.id, &scan, self.journal_bytes);
        Ok((journal, fences, replayed))
    }

    fn fence(&self, part: Part) -> Result<Arc<Fence>, StoreError> {
        let file = self
            .disk
            .open(part)
            .map_err(|error| from_io(error, &self.path()))?;
        Ok(Arc::new(Fence::new(file, self.sync_failure.clone())))
    }

    fn replay(&self, database: &redb::Database, scan: &journal::Scan<'_>) -> Result<u64, Fault> {
        if scan.found.is_empty() {
            return Ok(0);
        }
        let mut txn = database.begin_write()?;
        txn.set_durability(Durability::None)?;
        let batches = journal::replay(scan, &txn)?;
        txn.commit()?;
        Ok(batches)
    }

    fn damaged(&self, reason: &str) -> StoreError {
        StoreError::Damaged {
            path: self.path(),
            reason: reason.to_owned(),
        }
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

    /// Where the journal begins. Writes the format into an empty database, upgrades an older one, refuses
    /// one that is newer than this code.
    fn start(&self, database: &redb::Database) -> Result<JournalStart, StoreError> {
        let fault = |fault: Fault| self.error(fault);
        let format = read_format(database).map_err(fault)?;
        match format {
            Some(FORMAT) => read_start(database).map_err(fault),
            None | Some(FORMAT_WITHOUT_JOURNAL) => {
                let start = JournalStart {
                    id: journal::new_id(),
                    epoch: 1,
                    sequence: 1,
                };
                Journal::initialize(&*self.disk, start.id, &BOTH_SIDES)
                    .map_err(|error| from_io(error, &self.path()))?;
                let is_new = format.is_none();
                initialize(database, start, is_new).map_err(fault)?;
                if !is_new {
                    tracing::info!(path = %self.path().display(), "upgraded the store to format {FORMAT}");
                }
                Ok(start)
            }
            Some(found) => Err(StoreError::NewerFormat {
                path: self.path(),
                found,
                supported: FORMAT,
            }),
        }
    }

    /// Makes a batch durable, then shows it. `rows`: everything it has changed.
    pub(super) fn commit(
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
    pub(super) fn checkpoint(&self) -> Result<(), Fault> {
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
    pub(super) fn is_checkpoint_due(&self) -> bool {
        let inner = self.inner.read();
        inner
            .open
            .as_ref()
            .is_some_and(|open| open.journal.lock().is_full())
    }

    /// The journal's epoch.
    pub(super) fn epoch(&self) -> Option<u64> {
        let inner = self.inner.read();
        inner.open.as_ref().map(|open| open.journal.lock().epoch())
    }

    /// The counters that are durable now.
    pub(super) fn state(&self) -> Result<State, StoreError> {
        self.read(read::state)
    }

    /// Bytes on disk.
    pub(super) fn size(&self) -> Result<u64, StoreError> {
        let inner = self.inner.read();
        match &inner.open {
            Some(open) => open.fence.len().map_err(|error| from_io(error, &self.path())),
            None => Err(StoreError::Closed),
        }
    }

    /// Moves everything to the front of the file and cuts it off behind. Reads wait meanwhile.
    pub(super) fn defragment(&self) -> Result<(), StoreError> {
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
    pub(super) fn close(&self) {
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

    pub(super) fn error(&self, fault: Fault) -> StoreError {
        fault.into_store_error(self.disk.path())
    }
}

fn read_format(database: &redb::Database) -> Result<Option<u32>, Fault> {
    let snapshot = database.begin_read()?;
    let meta = match snapshot.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        meta => meta?,
    };
    let found = meta.get(FORMAT_ROW)?;
    match found.and_then(|row| row.value().first_chunk().copied()) {
        Some(number) => Ok(Some(u32::from_le_bytes(number))),
        None => Err(Fault::Rotten("its format is not noted".to_owned())),
    }
}

fn read_start(database: &redb::Database) -> Result<JournalStart, Fault> {
    let meta = database.begin_read()?.open_table(META)?;
    match meta.get(JOURNAL_ROW)? {
        Some(row) => JournalStart::decode(row.value()),
        None => Err(Fault::Rotten("its journal is not noted".to_owned())),
    }
}

/// Makes a store of a database that is empty, or that has no journal yet.
fn initialize(database: &redb::Database, start: JournalStart, is_new: bool) -> Result<(), Fault> {
    let txn = database.begin_write()?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert(FORMAT_ROW, FORMAT.to_le_bytes().as_slice())?;
        meta.insert(JOURNAL_ROW, start.encode().as_slice())?;
        if is_new {
            meta.insert(STATE_ROW, State::empty().encode().as_slice())?;
        }
        // Readers may rely on every table being there.
        txn.open_table(format::KEYS)?;
        txn.open_table(format::LOG)?;
        txn.open_table(format::LEASES)?;
        txn.open_table(format::LEASE_KEYS)?;
    }
    txn.commit()?;
    Ok(())
}

/// A file whose making was cut short has no mark yet, and nothing behind its header: start over.
/// Anything else without a mark is damage, which must not be touched.
fn forget_unborn(file: &dyn StorageBackend) -> io::Result<()> {
    let len = file.len()?;
    if len == 0 || len > UNBORN_BYTES_MAX {
        return Ok(());
    }
    let mut bytes = vec![0; len as usize];
    file.read(0, &mut bytes)?;
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let header = HEADER_BYTES.min(bytes.len());
    if zero(&bytes[..MARK_BYTES.min(header)]) && zero(&bytes[header..]) {
        file.set_len(0)?;
    }
    Ok(())
}
