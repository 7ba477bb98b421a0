//! What can still be trusted of a damaged store: its present, without what may be missing from it.
//!
//! A key whose newest version may be lost is lost itself: an older version that survives elsewhere would
//! be a silently wrong answer. The log, if it is whole, says of each key that changed lately which version
//! that is, and with the number of keys that exist it says exactly what is lost. History is not kept,
//! since its gaps could not be told.
use super::pages::{ANY, Commit, Item, Pages, Proof, Table, UNPROVEN};
use super::{Damage, LostKeys, after};
use crate::embedded::StorageBackend;
use crate::embedded::database::Db;
use crate::embedded::fault::{self, Fault};
use crate::embedded::format::{
    self, FORMAT, FORMAT_ROW, KEYS, LEASE_KEYS, LEASES, LOG, LogEntry, META, Record, STATE_ROW, State,
};
use crate::{EventKind, Key, StoreError};
use redb::TableHandle;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

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
    pub damage: Damage,
}

/// Takes what is left. `found`: what is wrong with the file.
pub(in crate::embedded) fn salvage(
    file: &dyn StorageBackend,
    path: &Path,
    found: Vec<String>,
) -> Result<Salvage, StoreError> {
    let damaged = |reason: &str| StoreError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let pages = Pages::open(file)
        .map_err(|error| fault::from_io(error, path))?
        .ok_or_else(|| damaged("it is cut short"))?;
    let mut commits = pages.commits.iter();
    let latest = commits
        .next()
        .ok_or_else(|| damaged("neither of its two latest commits is sound"))?;
    let mut salvage = Salvage::of(&pages, latest);
    // The commit before is older than what was acknowledged: it is for want of anything better. So is
    // a closed file's one commit, when the other was the latest perhaps.
    let stale = match commits.next() {
        Some(before) if salvage.damage.is_total() => {
            salvage = Salvage::of(&pages, before);
            true
        }
        Some(_) => false,
        None => !pages.unclean,
    };
    if let Some(found) = salvage.format.filter(|found| *found != FORMAT) {
        return Err(StoreError::NewerFormat {
            path: path.to_owned(),
            found,
            supported: FORMAT,
        });
    }
    if stale {
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
    fn of(pages: &Pages<'_>, commit: &Commit) -> Self {
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
        salvage.compare_with_log();
        salvage
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
                self.state = State::decode(value).ok();
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
                self.logged.insert(entry.key.into(), Logged { revision, kind });
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
