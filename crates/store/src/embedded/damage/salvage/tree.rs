//! What the tree has: its counters, its keys but for those that may be lost, its log, its leases.
use super::{Logged, Salvage, Version};
use crate::Key;
use crate::embedded::damage::after;
use crate::embedded::damage::pages::{ANY, Item, Pages, Proof, Table};
use crate::embedded::format::{
    self, FORMAT_ROW, JOURNAL_ROW, JournalStart, LogEntry, Record, STATE_ROW, State,
};

impl Salvage {
    pub(super) fn take_meta(&mut self, item: &Item<'_>) {
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

    pub(super) fn take_keys(&mut self, pages: &Pages<'_>, table: &Table) {
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

    pub(super) fn keep(&mut self, version: Option<Version>) {
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

    /// Whether a newer version of a key than this may have been lost.
    fn is_suspect(&self, key: &Key, revision: u64) -> bool {
        self.log_is_torn
            || self
                .logged
                .get(key)
                .is_some_and(|logged| logged.revision > revision)
    }

    pub(super) fn take_log(&mut self, item: &Item<'_>) {
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

    pub(super) fn take_lease(&mut self, item: &Item<'_>) {
        if let Item::Row { key, value } = item
            && let (Some(lease), Some(ttl_seconds)) = (key.first_chunk(), value.first_chunk())
        {
            self.leases
                .insert(i64::from_le_bytes(*lease), u64::from_le_bytes(*ttl_seconds));
        }
    }
}
