//! Taking away what compaction has put out of reach, a little at a time.
//!
//! Of each key the newest version at or below the compacted revision stays: it is what the key was
//! at that revision. Log entries of the compacted revision itself stay too, so that a watch may begin
//! exactly there; they go with the next compaction. What they have replaced goes at once.
use super::batch::Batch;
use super::fault::Fault;
use super::format::{self, LOG, LogEntry, Record};
use super::read;
use redb::{ReadTransaction, ReadableTable};
use std::collections::BTreeSet;

/// Log entries handled in one commit: bounds how long a write may have to wait for it.
pub(super) const STEP_ENTRIES: usize = 512;

impl Batch<'_> {
    /// Forgets the oldest unreachable history. True when nothing is left to forget.
    pub(super) fn forget(&mut self, entries_max: usize) -> Result<bool, Fault> {
        let oldest = self.state.compacted;
        let mut positions = Vec::new();
        let mut last = Vec::new();
        let mut keys = BTreeSet::new();
        let mut done = true;
        let behind = format::log_position(oldest + 1, 0);
        let mut freed = 0;
        for entry in self.tree.log.range(..behind.as_slice())? {
            let (position, row) = entry?;
            let below = format::log_revision(position.value())? < oldest;
            if below && positions.len() == entries_max {
                done = false;
                break;
            }
            let entry = LogEntry::decode(position.value(), row.value())?;
            keys.insert(entry.key.to_owned());
            if !below && entry.replaced.is_some() {
                let position = position.value();
                let kept = LogEntry {
                    replaced: None,
                    ..entry
                };
                let kept = kept.encode(position);
                freed += row.value().len() - kept.len();
                last.push((position.to_vec(), kept));
            }
            if below {
                freed += position.value().len() + row.value().len();
                positions.push(position.value().to_vec());
            }
        }
        let mut versions = Vec::new();
        for key in &keys {
            let first = format::versioned_key(key, 0);
            let last = format::versioned_key(key, oldest);
            let mut newer_seen = false;
            for version in self.tree.keys.range(first.as_slice()..=last.as_slice())?.rev() {
                let (row, record) = version?;
                let (_, revision) = format::split_version(row.value())?;
                let stays = !newer_seen && (revision == oldest || !Record::is_deletion(record.value()));
                newer_seen = true;
                if !stays {
                    freed += row.value().len() + record.value().len();
                    versions.push(row.value().to_vec());
                }
            }
        }
        for row in &versions {
            self.remove_version(row)?;
        }
        for position in &positions {
            self.remove_logged(position)?;
        }
        for (position, kept) in &last {
            self.log_anew(position, kept)?;
        }
        if !versions.is_empty() || !positions.is_empty() || !last.is_empty() {
            self.touch();
        }
        self.state.record_bytes = self.state.record_bytes.saturating_sub(freed as u64);
        Ok(done)
    }
}

/// Whether an earlier forgetting was cut short.
pub(super) fn has_unreachable(snapshot: &ReadTransaction) -> Result<bool, Fault> {
    let oldest = read::state(snapshot)?.compacted;
    let log = snapshot.open_table(LOG)?;
    let first = log.first()?;
    Ok(match first {
        Some((position, _)) => format::log_revision(position.value())? < oldest,
        None => false,
    })
}
