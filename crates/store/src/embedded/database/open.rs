//! Opening the files of a store: the tree, and what the journal has beyond it.
use super::{Db, Open};
use crate::StoreError;
use crate::embedded::damage::{self, Left};
use crate::embedded::disk::{Part, Side, StorageBackend};
use crate::embedded::fault::{Fault, from_io};
use crate::embedded::fence::{EngineFile, Fence};
use crate::embedded::format::{
    self, FORMAT, FORMAT_OF_ALL_VERSIONS, FORMAT_ROW, FORMAT_WITHOUT_JOURNAL, JOURNAL_ROW, JournalStart,
    META, STATE_ROW, State,
};
use crate::embedded::journal::{self, Journal, Sides};
use parking_lot::Mutex;
use redb::{Durability, ReadableDatabase, TableError};
use std::io;
use std::sync::Arc;

/// redb makes new files far smaller than this.
const UNBORN_BYTES_MAX: u64 = 1 << 20;
/// redb's first page holds its header, which begins with a mark that is written last.
const HEADER_BYTES: usize = 4096;
const MARK_BYTES: usize = 9;

const BOTH_SIDES: [Side; 2] = [Side::Even, Side::Odd];

/// The journal where it goes on.
struct OpenJournal {
    journal: Journal,
    fences: [Arc<Fence>; 2],
    /// Batches that the tree has learnt from it.
    replayed: u64,
    /// Something unfinished lies behind them.
    is_torn: bool,
}

impl Db {
    /// `first`: the files come from an earlier process. `acknowledged`: where the journal of this one has
    /// come to.
    pub(super) fn open_once(&self, first: bool, acknowledged: Option<u64>) -> Result<Open, StoreError> {
        let io_error = |error| from_io(error, &self.path());
        let fence = self.fence(Part::Database)?;
        forget_unborn(fence.file()).map_err(io_error)?;
        let left = match first {
            true => damage::how_it_was_left(fence.file()),
            // By this process, which knows what it has read.
            false => Left::Closed,
        };
        let was_left_open = left != Left::Closed;
        let database = redb::Builder::new()
            .set_cache_size(self.cache_bytes)
            // Left to itself the engine believes a file that was closed once and not written to since.
            .set_check_integrity_on_open(left == Left::Torn)
            .create_with_backend(EngineFile(fence.clone()))
            .map_err(|error| self.open_error(error))?;
        let opened = self.open_journal(&database, &fence, was_left_open, acknowledged);
        let OpenJournal {
            journal,
            fences: journal_fences,
            replayed,
            is_torn,
        } = opened.inspect_err(|_| {
            if was_left_open {
                // Else the engine would note that it has closed a file which is well.
                fence.shut();
            }
        })?;
        if was_left_open {
            let torn = match is_torn {
                true => "; what was being written behind them, and was not acknowledged, is left out",
                false => "",
            };
            tracing::warn!(
                path = %self.path().display(),
                "the store was not closed properly; verified it and went on from its last complete commit and \
                 {replayed} batches of its journal{torn}"
            );
        }
        Ok(Open {
            ahead: Arc::default(),
            database,
            fence,
            journal_fences,
            journal: Mutex::new(journal),
        })
    }

    /// Brings the tree to where the journal is.
    fn open_journal(
        &self,
        database: &redb::Database,
        fence: &Fence,
        was_left_open: bool,
        acknowledged: Option<u64>,
    ) -> Result<OpenJournal, StoreError> {
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
        let journal = Journal::new(
            fences.clone(),
            start.id,
            &scan,
            self.journal_bytes,
            self.syncs.clone(),
        );
        Ok(OpenJournal {
            journal,
            fences,
            replayed,
            is_torn: scan.is_torn,
        })
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
            Some(FORMAT_OF_ALL_VERSIONS) => {
                note_format(database).map_err(fault)?;
                tracing::info!(path = %self.path().display(), "upgraded the store to format {FORMAT}");
                read_start(database).map_err(fault)
            }
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

/// What the journal has beyond the tree is not touched by it.
fn note_format(database: &redb::Database) -> Result<(), Fault> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    txn.open_table(META)?
        .insert(FORMAT_ROW, FORMAT.to_le_bytes().as_slice())?;
    txn.commit()?;
    Ok(())
}

/// Makes a store of a database that is empty, or that has no journal yet.
fn initialize(database: &redb::Database, start: JournalStart, is_new: bool) -> Result<(), Fault> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
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
