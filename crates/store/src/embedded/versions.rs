//! Where the versions of a key are: the newest in `keys`, each older one in the log entry of the change that
//! replaced it, as long as the log goes back.
use super::fault::Fault;
use super::format::{self, LogEntry, Raw, Record};
use crate::{EventKind, Key, KeyValue, LeaseId, Revision};
use bytes::Bytes;
use redb::{AccessGuard, ReadableTable};
use std::collections::HashMap;

/// Changes of one revision that are gone through for one of them before all are noted.
const SOUGHT_MAX: u32 = 32;

/// A version of a key, or its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub kind: EventKind,
    pub create_revision: u64,
    pub mod_revision: u64,
    pub version: u64,
    /// 0: none.
    pub lease: i64,
    pub value: Bytes,
}

impl Stored {
    pub(super) fn new(record: &Record<'_>, mod_revision: u64) -> Self {
        Self {
            kind: record.kind,
            create_revision: record.create_revision,
            mod_revision,
            version: record.version,
            lease: record.lease,
            value: Bytes::copy_from_slice(record.value),
        }
    }

    pub(super) fn deletion(mod_revision: u64) -> Self {
        Self {
            kind: EventKind::Delete,
            create_revision: 0,
            mod_revision,
            version: 0,
            lease: 0,
            value: Bytes::new(),
        }
    }

    pub(super) fn record(&self) -> Record<'_> {
        Record {
            kind: self.kind,
            create_revision: self.create_revision,
            version: self.version,
            lease: self.lease,
            value: &self.value,
        }
    }

    pub(super) fn to_key_value(&self, key: &Key) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: Revision(self.create_revision),
            mod_revision: Revision(self.mod_revision),
            version: self.version,
            lease: (self.lease != 0).then_some(LeaseId(self.lease)),
        }
    }

    /// The key as it was then, if it was there.
    pub(super) fn alive(&self, key: &Key) -> Option<KeyValue> {
        (self.kind == EventKind::Put).then(|| self.to_key_value(key))
    }
}

impl From<&KeyValue> for Stored {
    fn from(kv: &KeyValue) -> Self {
        Self {
            kind: EventKind::Put,
            create_revision: kv.create_revision.0,
            mod_revision: kv.mod_revision.0,
            version: kv.version,
            lease: kv.lease.map_or(0, |lease| lease.0),
            value: kv.value.clone(),
        }
    }
}

/// The rows of a change that gives a key a version: the record goes into `keys`, and the version that it replaces
/// from there into the log.
pub(super) struct Replacing {
    /// Of `keys`: the row that goes.
    pub replaced: Option<Vec<u8>>,
    /// Of `keys`: the row that comes,
    pub row: Vec<u8>,
    pub record: Vec<u8>,
    /// and of `log`.
    pub position: Vec<u8>,
    pub entry: Vec<u8>,
}

impl Replacing {
    /// The change number `index` of `revision`.
    pub(super) fn new(
        key: &[u8],
        revision: u64,
        index: u32,
        record: &Record<'_>,
        replaced: Option<&Stored>,
    ) -> Self {
        let row = format::versioned_key(key, revision);
        let position = format::log_position(revision, index);
        let entry = LogEntry {
            kind: record.kind,
            previous: replaced.map_or(0, |version| version.mod_revision),
            key,
            replaced: replaced.map(Stored::record),
        };
        Self {
            replaced: replaced.map(|version| format::versioned_key(key, version.mod_revision)),
            record: record.encode(&row),
            row,
            entry: entry.encode(&position),
            position,
        }
    }

    /// Bytes of the rows that come.
    pub(super) fn bytes(&self) -> u64 {
        (self.row.len() + self.record.len() + self.position.len() + self.entry.len()) as u64
    }
}

/// A row of `keys`: what names it, and the record.
type RowGuard<'k> = (AccessGuard<'k, Raw>, AccessGuard<'k, Raw>);

/// The last row of a key that is not younger than `revision`.
fn last_row<'k>(
    keys: &'k impl ReadableTable<Raw, Raw>,
    key: &[u8],
    revision: u64,
) -> Result<Option<RowGuard<'k>>, Fault> {
    let first = format::versioned_key(key, 0);
    let last = format::versioned_key(key, revision);
    Ok(keys
        .range(first.as_slice()..=last.as_slice())?
        .next_back()
        .transpose()?)
}

fn last_up_to(
    keys: &impl ReadableTable<Raw, Raw>,
    key: &[u8],
    revision: u64,
) -> Result<Option<Stored>, Fault> {
    let Some((row, record)) = last_row(keys, key, revision)? else {
        return Ok(None);
    };
    let (_, mod_revision) = format::split_version(row.value())?;
    Ok(Some(Stored::new(
        &Record::decode(row.value(), record.value())?,
        mod_revision,
    )))
}

/// The newest version of a key.
pub(super) fn newest(keys: &impl ReadableTable<Raw, Raw>, key: &[u8]) -> Result<Option<Stored>, Fault> {
    last_up_to(keys, key, u64::MAX)
}

/// The past of one store, for someone who looks up one key after the other.
pub(super) struct Past<'t, K, L> {
    keys: &'t K,
    log: &'t L,
    /// Where the changes of a revision are logged that has many.
    positions: (u64, HashMap<Key, Vec<u8>>),
    /// Log entries that were looked at.
    pub looked_at: usize,
}

impl<'t, K: ReadableTable<Raw, Raw>, L: ReadableTable<Raw, Raw>> Past<'t, K, L> {
    pub(super) fn new(keys: &'t K, log: &'t L) -> Self {
        Self {
            keys,
            log,
            positions: (0, HashMap::new()),
            looked_at: 0,
        }
    }

    /// The version of a key that was the newest at `at`.
    pub(super) fn as_of(&mut self, key: &[u8], at: u64) -> Result<Option<Stored>, Fault> {
        let Some((row, record)) = last_row(self.keys, key, u64::MAX)? else {
            return Ok(None);
        };
        let (_, revision) = format::split_version(row.value())?;
        if revision <= at {
            let record = Record::decode(row.value(), record.value())?;
            return Ok(Some(Stored::new(&record, revision)));
        }
        self.before(key, revision, at)
    }

    /// The same of a key that was last changed in `revision`, which is later.
    pub(super) fn before(&mut self, key: &[u8], mut revision: u64, at: u64) -> Result<Option<Stored>, Fault> {
        loop {
            let position = self.position(key, revision)?;
            let Some(row) = self.log.get(position.as_slice())? else {
                return Err(missing(key, revision));
            };
            let entry = LogEntry::decode(&position, row.value())?;
            let Some(replaced) = &entry.replaced else {
                // None, or one that is in `keys` still.
                return last_up_to(self.keys, key, at);
            };
            if entry.previous <= at {
                return Ok(Some(Stored::new(replaced, entry.previous)));
            }
            if entry.previous >= revision {
                return Err(missing(key, revision));
            }
            revision = entry.previous;
        }
    }

    /// The version that a key got in `revision`.
    pub(super) fn exactly(&mut self, key: &[u8], revision: u64) -> Result<Stored, Fault> {
        self.as_of(key, revision)?
            .filter(|version| version.mod_revision == revision)
            .ok_or_else(|| missing(key, revision))
    }

    /// Where it is logged that `key` was changed in `revision`.
    fn position(&mut self, key: &[u8], revision: u64) -> Result<Vec<u8>, Fault> {
        if self.positions.0 == revision {
            let position = self.positions.1.get(key);
            return position.cloned().ok_or_else(|| missing(key, revision));
        }
        let first = format::log_position(revision, 0);
        let last = format::log_position(revision, u32::MAX);
        let mut all = HashMap::new();
        let mut sought = 0;
        let mut found = None;
        for entry in self.log.range(first.as_slice()..=last.as_slice())? {
            let (position, row) = entry?;
            self.looked_at += 1;
            sought += 1;
            let entry = LogEntry::decode(position.value(), row.value())?;
            if entry.key == key {
                found = Some(position.value().to_vec());
                if sought <= SOUGHT_MAX {
                    break;
                }
            }
            all.insert(Key::from(entry.key), position.value().to_vec());
        }
        if sought > SOUGHT_MAX {
            self.positions = (revision, all);
        }
        found.ok_or_else(|| missing(key, revision))
    }
}

fn missing(key: &[u8], revision: u64) -> Fault {
    Fault::Rotten(format!(
        "the version of {} at revision {revision} is missing",
        key.escape_ascii()
    ))
}
