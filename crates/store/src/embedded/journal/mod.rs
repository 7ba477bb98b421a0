//! The log in front of the tree: what makes a batch durable.
//!
//! A commit of the tree changes pages all over its file. Here a batch is one write and one data sync at
//! the end of a file whose blocks are there already, and the tree learns the same rows without a sync of
//! its own. When the journal has become long, the tree is committed durably, too: that begins a new
//! epoch, in the other of two files. So the file of the epoch before is whole until the tree has two
//! durable commits that don't need it, and should the newest of them be unreadable, the one before and
//! both files still make up everything that was acknowledged.
mod record;
mod replay;
mod scan;

pub(super) use record::{Before, Row, Rows, TableId};
pub(super) use replay::{replay, take_back};
pub(super) use scan::{Found, Scan, Sides, side_of};

use super::disk::{Disk, Part, Side};
use super::fence::Fence;
use super::format::JournalStart;
use super::stopwatch::Stopwatch;
use record::{Place, Record, SECTOR_BYTES};
use std::io;
use std::sync::Arc;

/// The files grow by so much at once: writing into blocks that are there spares a sync of metadata.
const GROWTH_BYTES: u64 = 512 << 10;

/// A record says in 32 bits how long it is. What comes near that is made durable in the tree.
const RECORD_BYTES_MAX: u64 = 1 << 30;

/// Where the next record goes.
#[derive(Debug)]
pub(super) struct Journal {
    even: Arc<Fence>,
    odd: Arc<Fence>,
    id: u64,
    epoch: u64,
    epoch_start: u64,
    sequence: u64,
    at: u64,
    /// Bytes that the file is known to have.
    len: u64,
    bytes_max: u64,
    /// Of the data syncs that a batch waits for.
    syncs: Arc<Stopwatch>,
}

/// A record that was not appended.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// Nothing of it will ever be seen.
    Void(io::Error),
    /// It may come back when the store is opened anew.
    Unsure(io::Error),
}

impl Journal {
    /// Gives files to the store `id`.
    pub(super) fn initialize(disk: &dyn Disk, id: u64, sides: &[Side]) -> io::Result<()> {
        for &side in sides {
            let file = disk.open(Part::Journal(side))?;
            let first = scan::first_sector(id);
            if file.len()? < first.len() as u64 {
                file.set_len(first.len() as u64)?;
            }
            file.write(0, &first)?;
            file.sync_data()?;
        }
        Ok(())
    }

    /// Goes on where a scan has ended.
    pub(super) fn new(
        files: [Arc<Fence>; 2],
        id: u64,
        scan: &Scan<'_>,
        bytes_max: u64,
        syncs: Arc<Stopwatch>,
    ) -> Self {
        let [even, odd] = files;
        Self {
            even,
            odd,
            id,
            epoch: scan.epoch,
            epoch_start: scan.epoch_start,
            sequence: scan.sequence,
            at: scan.end as u64,
            len: 0,
            bytes_max,
            syncs,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether the tree lacks nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.sequence == self.epoch_start && self.at == scan::FIRST_RECORD as u64
    }

    /// Whether the tree should be committed durably.
    pub(super) fn is_full(&self) -> bool {
        self.at >= self.bytes_max && !self.is_empty()
    }

    /// Whether there is room for a batch. If not, it has to be made durable in the tree.
    pub(super) fn reserve(&mut self, rows: &Rows) -> io::Result<bool> {
        let needed = self.at + rows.sectors_bytes();
        let is_record = rows.sectors_bytes() <= RECORD_BYTES_MAX;
        let too_long = needed > 2 * self.bytes_max && !(self.is_empty() && is_record);
        if self.bytes_max == 0 || too_long {
            return Ok(false);
        }
        match self.grow(needed) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn file(&self) -> &Fence {
        match scan::side_of(self.epoch) {
            Side::Even => &self.even,
            Side::Odd => &self.odd,
        }
    }

    /// Makes the rows of a batch durable, for which there is room.
    pub(super) fn append(&mut self, rows: Rows) -> Result<(), Unwritten> {
        let bytes = rows.sectors_bytes();
        let record = rows.seal(self.next_place());
        let file = self.file();
        let synced = file
            .write(self.at, &record)
            .and_then(|()| self.syncs.time(|| file.sync_data()));
        if let Err(error) = synced {
            return Err(self.void(error));
        }
        self.at += bytes;
        self.sequence += 1;
        Ok(())
    }

    /// With blocks that are there: a file with holes would be given one with each write, and its data syncs would
    /// wait for the note of that.
    fn grow(&mut self, needed: u64) -> io::Result<()> {
        if self.len < needed {
            let file = self.file();
            let mut len = file.len()?;
            if len < needed {
                let grown = needed.next_multiple_of(GROWTH_BYTES);
                if file.write(len, &vec![0; (grown - len) as usize]).is_ok() {
                    len = grown;
                } else {
                    file.set_len(needed)?;
                    len = needed;
                }
            }
            self.len = len;
        }
        Ok(())
    }

    /// Notes behind the last record that it was acknowledged, with a record of no rows in the place of the next
    /// one. It needs no sync: as soon as it has reached the disk, by itself, the last record can't be taken for one
    /// that was being written when the power went. The next record does the same, and takes its place.
    pub(super) fn mark_acknowledged(&self) -> io::Result<()> {
        let mark = Rows::default();
        let file = self.file();
        if self.is_empty() || self.len < self.at + mark.sectors_bytes() {
            return Ok(());
        }
        file.write(self.at, &mark.seal(self.next_place()))
    }

    fn next_place(&self) -> Place {
        Place {
            id: self.id,
            epoch: self.epoch,
            epoch_start: self.epoch_start,
            sequence: self.sequence,
        }
    }

    /// Sees to it that what lies at the end is no record.
    fn void(&self, error: io::Error) -> Unwritten {
        let file = self.file();
        match file.write(self.at, &[0; SECTOR_BYTES]) {
            Ok(()) => match file.sync_data() {
                Ok(()) => Unwritten::Void(error),
                Err(_) => Unwritten::Unsure(error),
            },
            // What was not even taken by the system as a whole can't be whole on the disk.
            Err(_) if self.is_cut_short() => Unwritten::Void(error),
            Err(_) => Unwritten::Unsure(error),
        }
    }

    fn is_cut_short(&self) -> bool {
        let file = self.file();
        let rest = file.len().unwrap_or(0).saturating_sub(self.at);
        let mut bytes = vec![0; rest as usize];
        file.read(self.at, &mut bytes).is_ok()
            // What may lie there is the mark that was to be overwritten.
            && !Record::parse(&bytes).is_some_and(|record| record.is_sound() && !record.is_mark())
    }

    /// What the next durable commit of the tree notes. A batch that is in that commit only counts as a
    /// record, so that it is missed if the commit is.
    pub(super) fn next_start(&self, has_batch: bool) -> JournalStart {
        JournalStart {
            id: self.id,
            epoch: self.epoch + 1,
            sequence: self.sequence + u64::from(has_batch),
        }
    }

    /// That commit is on the disk.
    pub(super) fn begin_epoch(&mut self, start: JournalStart) {
        self.epoch = start.epoch;
        self.epoch_start = start.sequence;
        self.sequence = start.sequence;
        self.at = scan::FIRST_RECORD as u64;
        self.len = 0;
        let file = self.file();
        if file.len().is_ok_and(|len| len > 2 * self.bytes_max) {
            // A kindness: a single large batch must not keep its space for good.
            let _ = file.set_len(self.bytes_max.max(self.at));
        }
    }
}

/// A number that no other store has.
pub(super) fn new_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::super::clock::SystemClock;
    use super::super::disk::MemoryDisk;
    use super::*;

    #[test]
    fn a_batch_that_no_record_holds_is_not_for_the_journal() {
        let disk = MemoryDisk::default();
        let sides = [Side::Even, Side::Odd];
        Journal::initialize(&disk, 1, &sides).unwrap();
        let files = sides.map(|side| {
            let file = disk.open(Part::Journal(side)).unwrap();
            Arc::new(Fence::new(file, Arc::default()))
        });
        let start = JournalStart {
            id: 1,
            epoch: 1,
            sequence: 1,
        };
        let loaded = Sides::load(&disk).unwrap();
        let syncs = Arc::new(Stopwatch::new(Arc::new(SystemClock::default())));
        let mut journal = Journal::new(files, 1, &loaded.scan(start, None), 4 << 20, syncs);
        assert!(journal.is_empty());
        assert!(journal.reserve(&Rows::of_bytes(16 << 20)).unwrap());
        // Never touched, these take no memory.
        assert!(
            !journal
                .reserve(&Rows::of_bytes(RECORD_BYTES_MAX as usize + 1))
                .unwrap()
        );
    }
}
