//! What can still be trusted of a damaged store: its present, without what may be missing from it.
//!
//! A key whose newest version may be lost is lost itself: an older version that survives elsewhere would
//! be a silently wrong answer. The log, if it is whole, says of each key that changed lately which version
//! that is, and with the number of keys that exist it says exactly what is lost. History is not kept,
//! since its gaps could not be told.
mod journal;
mod losses;
mod tree;

use super::pages::{Commit, Pages, Proof, UNPROVEN};
use super::{Damage, LostKeys};
use crate::embedded::database::Db;
use crate::embedded::disk::{Disk, Part};
use crate::embedded::fault::{self, Fault};
use crate::embedded::format::{
    self, FORMAT, FORMAT_OF_ALL_VERSIONS, FORMAT_WITHOUT_JOURNAL, JournalStart, KEYS, LEASES, LOG, LogEntry,
    META, Record, STATE_ROW, State,
};
use crate::embedded::journal::Sides;
use crate::embedded::tree::Tree;
use crate::{EventKind, Key, StoreError};
use redb::TableHandle;
use std::collections::{BTreeMap, HashMap};

/// How far the revision is moved on when it is not known how far the store had come: further than any
/// client has seen.
const REVISIONS_SKIPPED: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(in crate::embedded) struct Salvage {
    /// Row and record of the newest version of each key that exists.
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    leases: BTreeMap<i64, u64>,
    state: Option<State>,
    format: Option<u32>,
    revision_seen: u64,
    logged: HashMap<Key, Logged>,
    /// Changes may be missing from `logged`.
    log_is_torn: bool,
    journal: Option<JournalStart>,
    /// What the journal has of keys that it has a version of.
    journaled: BTreeMap<Key, Version>,
    /// Something acknowledged is lost, and it isn't known which keys it was about.
    unaccounted: bool,
    pub damage: Damage,
}

/// Takes what is left. `found`: what is wrong with the store.
pub(in crate::embedded) fn salvage(disk: &dyn Disk, found: Vec<String>) -> Result<Salvage, StoreError> {
    let path = disk.path();
    let damaged = |reason: &str| StoreError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let io_error = |error| fault::from_io(error, path);
    let sides = Sides::load(disk).map_err(io_error)?;
    let file = disk.open(Part::Database).map_err(io_error)?;
    let pages = Pages::open(&*file)
        .map_err(io_error)?
        .ok_or_else(|| damaged("it is cut short"))?;
    let mut commits = pages.commits.iter();
    let latest = commits
        .next()
        .ok_or_else(|| damaged("neither of its two latest commits is sound"))?;
    let mut salvage = Salvage::of(&pages, latest, &sides);
    if let Some(before) = commits.next()
        && !salvage.is_complete()
    {
        // The one before and what the journal has since may be whole.
        let earlier = Salvage::of(&pages, before, &sides);
        if earlier.is_complete() || salvage.damage.is_total() {
            salvage = earlier;
        }
    } else if pages.commits.len() == 1 && !pages.unclean && salvage.journal.is_none() {
        // The other was the latest perhaps.
        salvage.unaccounted = true;
    }
    match salvage.format {
        None | Some(FORMAT | FORMAT_OF_ALL_VERSIONS | FORMAT_WITHOUT_JOURNAL) => {}
        Some(found) => {
            return Err(StoreError::NewerFormat {
                path: path.to_owned(),
                found,
                supported: FORMAT,
            });
        }
    }
    if salvage.unaccounted {
        salvage.damage.missing = None;
        salvage.damage.lost = vec![LostKeys {
            from: Key::default(),
            to: None,
        }];
    }
    salvage.damage.found = found;
    Ok(salvage)
}

/// The newest change of a key that the log knows.
#[derive(Clone, Copy, Debug)]
struct Logged {
    revision: u64,
    kind: EventKind,
}

impl Salvage {
    fn of(pages: &Pages<'_>, commit: &Commit, sides: &Sides) -> Self {
        let mut salvage = Self::default();
        let (tables, _) = pages.tables(commit.user);
        let table = |name: &str| tables.iter().find(|table| table.name == name.as_bytes());
        if let Some(meta) = table(META.name()) {
            pages.walk(meta.root, meta.shape, UNPROVEN, &mut |item| {
                salvage.take_meta(&item)
            });
        }
        match table(LOG.name()) {
            Some(log) => {
                let proof: Proof = |position, row| LogEntry::decode(position, row).is_ok();
                pages.walk(log.root, log.shape, proof, &mut |item| salvage.take_log(&item));
            }
            None => salvage.log_is_torn = true,
        }
        match table(KEYS.name()) {
            Some(keys) => salvage.take_keys(pages, keys),
            None => salvage.lose(Key::default(), None),
        }
        if let Some(leases) = table(LEASES.name()) {
            pages.walk(leases.root, leases.shape, UNPROVEN, &mut |item| {
                salvage.take_lease(&item)
            });
        }
        salvage.take_journal(sides);
        salvage.compare_with_log();
        salvage
    }

    fn is_complete(&self) -> bool {
        !self.unaccounted && self.damage.lost.is_empty()
    }

    /// Where the salvaged store stands: one revision further, since what came with the last one is
    /// not told to watchers any more.
    fn revision(&self) -> u64 {
        match &self.state {
            Some(state) => state.revision + 1,
            None => self.revision_seen.saturating_add(REVISIONS_SKIPPED),
        }
    }

    pub(in crate::embedded) fn keys(&self) -> usize {
        self.rows.len()
    }

    /// Writes what was salvaged into a new database. A lease that is lost doesn't end its keys any
    /// more.
    pub(in crate::embedded) fn write(&self, db: &Db) -> Result<(), Fault> {
        let txn = db.begin_durable_write()?;
        let revision = self.revision();
        let mut state = State {
            revision,
            compacted: revision,
            last_lease: self.state.as_ref().map_or(0, |state| state.last_lease),
            ..State::empty()
        };
        {
            let mut tree = Tree::open(&txn)?;
            for (lease, ttl_seconds) in &self.leases {
                tree.leases.insert(lease, ttl_seconds)?;
                state.count_on_from(*lease);
            }
            for (row, bytes) in &self.rows {
                let mut record = Record::decode(row, bytes)?;
                if record.lease != 0 {
                    match key_of(row).filter(|_| self.leases.contains_key(&record.lease)) {
                        Some(key) => {
                            tree.lease_keys
                                .insert(format::lease_key(record.lease, &key).as_slice(), ())?;
                        }
                        None => record.lease = 0,
                    }
                }
                let bytes = record.encode(row);
                tree.keys.insert(row.as_slice(), bytes.as_slice())?;
                state.keys += 1;
                state.record_bytes += (row.len() + bytes.len()) as u64;
            }
            tree.meta.insert(STATE_ROW, state.encode().as_slice())?;
        }
        txn.commit()?;
        Ok(())
    }
}

/// A version of a key that is what was written.
#[derive(Debug)]
struct Version {
    key: Key,
    revision: u64,
    row: Vec<u8>,
    record: Vec<u8>,
}

impl Version {
    fn of(row: &[u8], record: &[u8]) -> Option<Self> {
        Record::decode(row, record).ok()?;
        let (bound, revision) = format::split_version(row).ok()?;
        Some(Self {
            key: format::key_of_bound(bound).ok()?,
            revision,
            row: row.to_vec(),
            record: record.to_vec(),
        })
    }
}

fn key_of(row: &[u8]) -> Option<Key> {
    let (bound, _) = format::split_version(row).ok()?;
    format::key_of_bound(bound).ok()
}
