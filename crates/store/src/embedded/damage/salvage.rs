//! What can still be trusted of a damaged store: its present, without what may be missing from it.
//!
//! A key whose newest version may be lost is lost itself: an older version that survives elsewhere would
//! be a silently wrong answer. The log, if it is whole, says of each key that changed lately which version
//! that is, and with the number of keys that exist it says exactly what is lost. History is not kept,
//! since its gaps could not be told.
use super::pages::{ANY, Commit, Item, Pages, Proof, Table, UNPROVEN};
use super::{Damage, LostKeys, after};
use crate::embedded::database::Db;
use crate::embedded::disk::{Disk, Part};
use crate::embedded::fault::{self, Fault};
use crate::embedded::format::{
    self, FORMAT, FORMAT_ROW, FORMAT_WITHOUT_JOURNAL, JOURNAL_ROW, JournalStart, KEYS, LEASE_KEYS, LEASES,
    LOG, LogEntry, META, Record, STATE_ROW, State,
};
use crate::embedded::journal::{Found, Row, Sides, TableId, side_of};
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
        None | Some(FORMAT | FORMAT_WITHOUT_JOURNAL) => {}
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

    /// What was acknowledged since the commit.
    fn take_journal(&mut self, sides: &Sides) {
        let Some(start) = self.journal.or_else(|| sides.last_start()) else {
            self.unaccounted = self.format != Some(FORMAT_WITHOUT_JOURNAL);
            return;
        };
        self.unaccounted = !sides.has(side_of(start.epoch), start.id);
        for found in &sides.scan(start, None).found {
            let whole = match found {
                Found::Sound(record) => {
                    let (rows, whole) = record.rows();
                    for row in rows {
                        self.take_row(row);
                    }
                    whole
                }
                Found::Rotten {
                    batches: 1,
                    left: Some(record),
                } => {
                    let (rows, whole) = record.rows();
                    self.take_rotten(&rows) && whole
                }
                Found::Rotten { .. } => false,
            };
            self.unaccounted |= !whole;
        }
        for (key, version) in std::mem::take(&mut self.journaled) {
            self.rows
                .retain(|(row, _)| !row.starts_with(&format::key_bound(&key)));
            self.find(&key);
            self.keep(Some(version));
        }
        self.rows.sort_unstable();
    }

    fn take_row(&mut self, row: Row<'_>) {
        let Row { table, key, value } = row;
        let Some(value) = value else {
            if table == TableId::Leases
                && let Ok(lease) = key.try_into()
            {
                self.leases.remove(&i64::from_le_bytes(lease));
            }
            return;
        };
        let item = Item::Row { key, value };
        match table {
            TableId::Meta => self.take_meta(&item),
            TableId::Keys => {
                if let Some(version) = Version::of(key, value) {
                    self.revision_seen = self.revision_seen.max(version.revision);
                    self.journaled.insert(version.key.clone(), version);
                }
            }
            TableId::Log => self.take_log(&item),
            TableId::Leases => self.take_lease(&item),
            // It is in the record of the key, too.
            TableId::LeaseKeys => {}
        }
    }

    /// Of a record that has rotted, the rows that prove themselves; false if it isn't known of all its
    /// changes which keys they were about. Version and log entry of a change follow each other.
    fn take_rotten(&mut self, rows: &[Row<'_>]) -> bool {
        let changes: Vec<_> = rows
            .iter()
            .filter(|row| matches!(row.table, TableId::Keys | TableId::Log) && row.value.is_some())
            .collect();
        let mut accounted = true;
        for change in changes.chunks(2) {
            let [version, logged] = change else {
                return false;
            };
            let is_version = version.table == TableId::Keys
                && version
                    .value
                    .is_some_and(|value| Version::of(version.key, value).is_some());
            let is_logged = logged.table == TableId::Log
                && logged
                    .value
                    .is_some_and(|value| LogEntry::decode(logged.key, value).is_ok());
            if is_version {
                self.take_row(**version);
            }
            if is_logged {
                self.take_row(**logged);
            }
            accounted &= is_version || is_logged;
        }
        accounted
    }

    /// Takes a key out of what is lost.
    fn find(&mut self, key: &Key) {
        let behind = after(key);
        let lost = std::mem::take(&mut self.damage.lost);
        for range in lost {
            if !range.contains(key) {
                self.damage.lost.push(range);
                continue;
            }
            if range.from < *key {
                self.lose(range.from, Some(key.clone()));
            }
            if range.to.as_ref().is_none_or(|to| behind < *to) {
                self.lose(behind.clone(), range.to);
            }
        }
    }

    /// What the log says about what was found, and about what was not.
    fn compare_with_log(&mut self) {
        let mut missing = self.logged.clone();
        self.rows.retain(|(row, _)| {
            let (Some(key), Ok((_, revision))) = (key_of(row), format::split_version(row)) else {
                return false;
            };
            let current = missing.get(&key).is_none_or(|logged| logged.revision == revision);
            if current {
                missing.remove(&key);
            }
            current
        });
        missing.retain(|_, logged| logged.kind == EventKind::Put);
        self.damage.named = missing.into_keys().collect();
        self.damage.named.sort();
        let complete = self.state.as_ref().is_some_and(|state| {
            state.keys == (self.rows.len() + self.damage.named.len()) as u64 && !self.log_is_torn
        });
        if complete {
            // Every key that exists is accounted for.
            self.damage.lost.clear();
        }
        let unheard: Vec<_> = self
            .damage
            .named
            .iter()
            .filter(|key| !self.damage.lost.iter().any(|lost| lost.contains(key)))
            .cloned()
            .collect();
        for key in unheard {
            let behind = after(&key);
            self.lose(key, Some(behind));
        }
        let lost = &self.damage.lost;
        self.rows
            .retain(|(row, _)| key_of(row).is_some_and(|key| !lost.iter().any(|lost| lost.contains(&key))));
        let left = self.rows.len() as u64;
        self.damage.missing = self.state.as_ref().and_then(|state| state.keys.checked_sub(left));
    }

    /// Whether a newer version of a key than this may have been lost.
    fn is_suspect(&self, key: &Key, revision: u64) -> bool {
        self.log_is_torn
            || self
                .logged
                .get(key)
                .is_some_and(|logged| logged.revision > revision)
    }

    fn lose(&mut self, from: Key, to: Option<Key>) {
        self.damage.lost.push(LostKeys { from, to });
    }

    fn take_meta(&mut self, item: &Item<'_>) {
        if let Item::Row { key, value } = item {
            if *key == STATE_ROW.as_bytes() {
                self.state = State::decode(value).ok().or(self.state.take());
            } else if *key == JOURNAL_ROW.as_bytes() {
                self.journal = JournalStart::decode(value).ok();
            } else if *key == FORMAT_ROW.as_bytes() {
                self.format = value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            }
        }
    }

    fn take_keys(&mut self, pages: &Pages<'_>, table: &Table) {
        let proof: Proof = |row, record| Record::decode(row, record).is_ok();
        // The newest version so far of the key that the walk is in.
        let mut newest: Option<Version> = None;
        let mut hole: Option<Key> = None;
        pages.walk(table.root, ANY, proof, &mut |item| match item {
            Item::Lost { behind } => {
                if hole.is_none() {
                    hole = Some(self.begin_hole(newest.take(), behind));
                }
            }
            Item::Row { key: row, value } => match Version::of(row, value) {
                None => {
                    if hole.is_none() {
                        hole = Some(self.begin_hole(newest.take(), None));
                    }
                }
                Some(version) => {
                    self.revision_seen = self.revision_seen.max(version.revision);
                    if let Some(from) = hole.take()
                        && from < version.key
                    {
                        self.lose(from, Some(version.key.clone()));
                    }
                    if newest.as_ref().is_some_and(|before| before.key != version.key) {
                        self.keep(newest.take());
                    }
                    newest = Some(version);
                }
            },
        });
        self.keep(newest);
        if let Some(from) = hole {
            self.lose(from, None);
        }
    }

    fn keep(&mut self, version: Option<Version>) {
        if let Some(version) = version.filter(|version| !Record::is_deletion(&version.record)) {
            self.rows.push((version.row, version.record));
        }
    }

    /// The first key that may be in a hole behind `before`.
    fn begin_hole(&mut self, before: Option<Version>, behind: Option<&[u8]>) -> Key {
        let Some(before) = before else {
            return Key::default();
        };
        let mut last = format::key_bound(&before.key);
        last.extend([0xff; 8]);
        let beside = behind.is_some_and(|behind| behind >= last.as_slice());
        if !beside && self.is_suspect(&before.key, before.revision) {
            return before.key;
        }
        let from = after(&before.key);
        self.keep(Some(before));
        from
    }

    fn take_log(&mut self, item: &Item<'_>) {
        let Item::Row { key, value } = item else {
            self.log_is_torn = true;
            return;
        };
        match (format::log_revision(key), LogEntry::decode(key, value)) {
            (Ok(revision), Ok(entry)) => {
                self.revision_seen = self.revision_seen.max(revision);
                let kind = entry.kind;
                let logged = self
                    .logged
                    .entry(entry.key.into())
                    .or_insert(Logged { revision, kind });
                if revision >= logged.revision {
                    *logged = Logged { revision, kind };
                }
            }
            _ => self.log_is_torn = true,
        }
    }

    fn take_lease(&mut self, item: &Item<'_>) {
        if let Item::Row { key, value } = item
            && let (Some(lease), Some(ttl_seconds)) = (key.first_chunk(), value.first_chunk())
        {
            self.leases
                .insert(i64::from_le_bytes(*lease), u64::from_le_bytes(*ttl_seconds));
        }
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
        let (txn, _) = db.begin_write().map_err(|(fault, _)| fault)?;
        let revision = self.revision();
        let mut state = State {
            revision,
            compacted: revision,
            last_lease: self.state.as_ref().map_or(0, |state| state.last_lease),
            ..State::empty()
        };
        {
            let mut meta = txn.open_table(META)?;
            let mut keys = txn.open_table(KEYS)?;
            let mut leases = txn.open_table(LEASES)?;
            let mut lease_keys = txn.open_table(LEASE_KEYS)?;
            for (lease, ttl_seconds) in &self.leases {
                leases.insert(lease, ttl_seconds)?;
                state.last_lease = state.last_lease.max(*lease);
            }
            for (row, bytes) in &self.rows {
                let mut record = Record::decode(row, bytes)?;
                if record.lease != 0 {
                    match key_of(row).filter(|_| self.leases.contains_key(&record.lease)) {
                        Some(key) => {
                            lease_keys.insert(format::lease_key(record.lease, &key).as_slice(), ())?;
                        }
                        None => record.lease = 0,
                    }
                }
                let bytes = record.encode(row);
                keys.insert(row.as_slice(), bytes.as_slice())?;
                state.keys += 1;
                state.record_bytes += (row.len() + bytes.len()) as u64;
            }
            meta.insert(STATE_ROW, state.encode().as_slice())?;
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
