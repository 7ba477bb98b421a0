//! What the journal has beyond the tree.
use super::{Salvage, Version, key_of};
use crate::Key;
use crate::embedded::damage::after;
use crate::embedded::damage::pages::Item;
use crate::embedded::format::{FORMAT_WITHOUT_JOURNAL, LogEntry};
use crate::embedded::journal::{Found, Row, Sides, TableId, side_of};

impl Salvage {
    /// What was acknowledged since the commit.
    pub(super) fn take_journal(&mut self, sides: &Sides) {
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
        let journaled = std::mem::take(&mut self.journaled);
        self.rows
            .retain(|(row, _)| key_of(row).is_none_or(|key| !journaled.contains_key(&key)));
        for (key, version) in journaled {
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
}
