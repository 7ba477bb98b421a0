//! How much of what is in a store.
use super::fault::Fault;
use super::format::{self, KEYS, LEASES, LOG, LogEntry, Record};
use super::read;
use crate::{Key, Revision};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::collections::BTreeMap;

/// What a store holds.
#[derive(Debug, Default)]
pub struct Stats {
    pub revision: Revision,
    /// The oldest readable revision.
    pub compacted: Revision,
    pub keys: u64,
    /// Kept versions of keys, deletions included.
    pub versions: u64,
    pub leases: u64,
    /// Bytes of all records, history included.
    pub record_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    pub prefixes: BTreeMap<Key, PrefixStats>,
}

/// What lies under one prefix.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrefixStats {
    pub keys: u64,
    /// Keys and values as of now.
    pub bytes: u64,
    /// Keys, values and what is noted with them, history included.
    pub record_bytes: u64,
}

pub(super) fn stats(snapshot: &ReadTransaction, file_bytes: u64) -> Result<Stats, Fault> {
    let state = read::state(snapshot)?;
    let mut stats = Stats {
        revision: Revision(state.revision),
        compacted: Revision(state.compacted),
        keys: state.keys,
        record_bytes: state.record_bytes,
        leases: snapshot.open_table(LEASES)?.len()?,
        file_bytes,
        ..Stats::default()
    };
    let mut newest: Option<(Key, u64)> = None;
    for row in snapshot.open_table(KEYS)?.iter()? {
        let (row, value) = row?;
        let (row, value) = (row.value(), value.value());
        let (bound, _) = format::split_version(row)?;
        let key = format::key_of_bound(bound)?;
        stats.versions += 1;
        stats.prefix(&key).record_bytes += (row.len() + value.len()) as u64;
        if newest.as_ref().is_some_and(|(before, _)| *before != key) {
            stats.count(newest.take());
        }
        newest = if Record::is_deletion(value) {
            None
        } else {
            let bytes = key.len() + Record::decode(row, value)?.value.len();
            Some((key, bytes as u64))
        };
    }
    stats.count(newest);
    for entry in snapshot.open_table(LOG)?.iter()? {
        let (position, row) = entry?;
        let (position, row) = (position.value(), row.value());
        let entry = LogEntry::decode(position, row)?;
        stats.versions += u64::from(entry.replaced.is_some());
        stats.prefix(entry.key).record_bytes += (position.len() + row.len()) as u64;
    }
    Ok(stats)
}

impl Stats {
    fn prefix(&mut self, key: &[u8]) -> &mut PrefixStats {
        self.prefixes.entry(prefix_of(key).into()).or_default()
    }

    fn count(&mut self, key: Option<(Key, u64)>) {
        if let Some((key, bytes)) = key {
            let prefix = self.prefix(&key);
            prefix.keys += 1;
            prefix.bytes += bytes;
        }
    }
}

/// The resource that a key is of: of `/registry/pods/default/a` it is `/registry/pods/`. A group that
/// has its own level, as `/registry/apps.example/things/…` has, counts with its dot to the prefix.
fn prefix_of(key: &[u8]) -> &[u8] {
    let mut ends = key
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at + 1);
    let Some(first) = ends.next() else {
        return key;
    };
    let Some(second) = ends.next() else {
        return &key[..first];
    };
    let grouped = key[first..second].contains(&b'.');
    let end = if grouped {
        ends.next().unwrap_or(second)
    } else {
        second
    };
    &key[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_count_for_their_resource() {
        let cases = [
            ("/registry/pods/default/a", "/registry/pods/"),
            ("/registry/nodes/a", "/registry/nodes/"),
            (
                "/registry/apps.example/things/ns/a",
                "/registry/apps.example/things/",
            ),
            ("/registry/a", "/registry/"),
            ("plain", "plain"),
            ("", ""),
        ];
        for (key, prefix) in cases {
            assert_eq!(prefix_of(key.as_bytes()), prefix.as_bytes(), "{key}");
        }
    }
}
