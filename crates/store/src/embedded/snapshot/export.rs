//! From the tables to etcd's buckets. Two walks over one picture of the store: the first measures,
//! the second writes, so that nothing but keys is ever held in memory.
use super::super::fault::Fault;
use super::super::format::{self, KEYS, LEASES, LOG, LogEntry, Raw, Record, State};
use super::super::read;
use crate::snapshot::records::{self, RevisionKey, StoredKeyValue, StoredLease};
use crate::{EventKind, Key};
use bytes::Bytes;
use orlop_bolt::{BucketPlan, Plan, PlanError, WriteError};
use prost::Message;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};
use std::collections::HashMap;
use std::io::Write;

pub(super) enum ExportError {
    Fault(Fault),
    Write(WriteError),
}

impl From<Fault> for ExportError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<WriteError> for ExportError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

/// A measured snapshot.
pub(super) struct Export {
    tables: Tables,
    plan: Plan,
}

/// Takes the bucket, the key and the value of a row.
type VisitRow<'v, E> = &'v mut dyn FnMut(&'static str, &[u8], &[u8]) -> Result<(), E>;

/// Where a version is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    /// In this row of `keys`.
    Newest(Vec<u8>),
    /// In the log entry at this position, which has replaced it.
    Replaced(Vec<u8>),
}

pub(super) struct Tables {
    state: State,
    keys: ReadOnlyTable<Raw, Raw>,
    log: ReadOnlyTable<Raw, Raw>,
    leases: ReadOnlyTable<i64, u64>,
    /// Versions whose log entries have been forgotten, by revision: what was there already when readable history
    /// begins.
    unlogged: Vec<(u64, Kept)>,
    /// For each log entry whose version has been replaced, the position of the one that did.
    replaced_at: HashMap<Vec<u8>, Vec<u8>>,
}

impl Export {
    pub(super) fn plan(snapshot: ReadTransaction) -> Result<Self, Fault> {
        let tables = Tables::open(&snapshot)?;
        let mut buckets: Vec<_> = records::BUCKETS
            .iter()
            .map(|name| BucketPlan::new(name))
            .collect();
        tables.for_each(&mut |bucket, key, value| {
            let index = records::BUCKETS.binary_search(&bucket).unwrap_or_default();
            buckets[index].add(key, value.len()).map_err(unwritable)
        })?;
        Ok(Self {
            plan: Plan::new(buckets).map_err(unwritable)?,
            tables,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.plan.bytes()
    }

    pub(super) fn write<W: Write>(self, out: W) -> Result<W, ExportError> {
        let mut writer = self.plan.write(out).map_err(WriteError::from)?;
        self.tables
            .for_each(&mut |_, key, value| writer.put(key, value).map_err(ExportError::from))?;
        Ok(writer.finish()?)
    }
}

fn unwritable(error: PlanError) -> Fault {
    Fault::Rotten(error.to_string())
}

impl Tables {
    pub(super) fn open(snapshot: &ReadTransaction) -> Result<Self, Fault> {
        let mut tables = Self {
            state: read::state(snapshot)?,
            keys: snapshot.open_table(KEYS)?,
            log: snapshot.open_table(LOG)?,
            leases: snapshot.open_table(LEASES)?,
            unlogged: Vec::new(),
            replaced_at: HashMap::new(),
        };
        tables.find_versions()?;
        Ok(tables)
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    fn find_versions(&mut self) -> Result<(), Fault> {
        let first_logged = match self.log.first()? {
            Some((position, _)) => format::log_revision(position.value())?,
            None => u64::MAX,
        };
        for row in self.keys.iter()? {
            let (row, _) = row?;
            let (bound, revision) = format::split_version(row.value())?;
            if self.is_unlogged(revision, &format::key_of_bound(bound)?, first_logged)? {
                self.unlogged.push((revision, Kept::Newest(row.value().to_vec())));
            }
        }
        let mut last_logged: HashMap<Key, Vec<u8>> = HashMap::new();
        for entry in self.log.iter()? {
            let (position, row) = entry?;
            let position = position.value().to_vec();
            let entry = LogEntry::decode(&position, row.value())?;
            let before = last_logged.insert(entry.key.into(), position.clone());
            if entry.replaced.is_none() {
                continue;
            }
            match before {
                Some(before) => {
                    self.replaced_at.insert(before, position);
                }
                None if self.is_unlogged(entry.previous, entry.key, first_logged)? => {
                    self.unlogged.push((entry.previous, Kept::Replaced(position)));
                }
                None => {}
            }
        }
        self.unlogged.sort_unstable();
        Ok(())
    }

    fn is_unlogged(&self, revision: u64, key: &[u8], first_logged: u64) -> Result<bool, Fault> {
        // Forgetting may have stopped in the middle of a revision.
        Ok(revision < first_logged || revision == first_logged && !self.is_logged(revision, key)?)
    }

    fn is_logged(&self, revision: u64, key: &[u8]) -> Result<bool, Fault> {
        let (from, to) = (
            format::log_position(revision, 0),
            format::log_position(revision, u32::MAX),
        );
        for entry in self.log.range(from.as_slice()..=to.as_slice())? {
            let (position, row) = entry?;
            if LogEntry::decode(position.value(), row.value())?.key == key {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every row of every bucket, in the order of the file.
    fn for_each<E: From<Fault>>(&self, visit: VisitRow<'_, E>) -> Result<(), E> {
        self.versions(&mut |key, value| visit(records::KEYS, &key.encode(), &value.encode_to_vec()))?;
        for row in self.leases.iter().map_err(Fault::from)? {
            let (id, ttl_seconds) = row.map_err(Fault::from)?;
            let lease = StoredLease {
                id: id.value(),
                ttl_seconds: i64::try_from(ttl_seconds.value()).unwrap_or(i64::MAX),
                remaining_ttl_seconds: 0,
            };
            visit(records::LEASES, &lease.id.to_be_bytes(), &lease.encode_to_vec())?;
        }
        let index = self.state.revision.to_be_bytes();
        visit(records::META, records::CONSISTENT_INDEX.as_bytes(), &index)?;
        if self.state.compacted > State::empty().compacted {
            let oldest = RevisionKey {
                revision: self.state.compacted,
                index: 0,
                is_deletion: false,
            }
            .encode();
            visit(records::META, records::FINISHED_COMPACTION.as_bytes(), &oldest)?;
            visit(records::META, records::SCHEDULED_COMPACTION.as_bytes(), &oldest)?;
        }
        Ok(())
    }

    /// Every version of every key, in the order of history.
    pub(super) fn versions<E: From<Fault>>(
        &self,
        visit: &mut dyn FnMut(RevisionKey, StoredKeyValue) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut before = None;
        for (revision, kept) in &self.unlogged {
            // How they were ordered within their revision has been forgotten.
            let index = match before {
                Some((earlier, index)) if earlier == *revision => index + 1,
                _ => 0,
            };
            before = Some((*revision, index));
            let (key, value) = match kept {
                Kept::Newest(row) => self.newest(row, index)?.ok_or_else(|| missing(row))?,
                Kept::Replaced(position) => self.replaced(position, index)?,
            };
            visit(key, value)?;
        }
        for entry in self.log.iter().map_err(Fault::from)? {
            let (position, entry) = entry.map_err(Fault::from)?;
            let position = position.value();
            let revision = format::log_revision(position)?;
            let logged = LogEntry::decode(position, entry.value())?;
            let index = format::log_index(position)?;
            let version = match self.replaced_at.get(position) {
                Some(by) => Some(self.replaced(by, index)?),
                None => self.newest(&format::versioned_key(logged.key, revision), index)?,
            };
            match version {
                Some((key, value)) => visit(key, value)?,
                // Forgetting takes versions first.
                None if revision < self.state.compacted => {}
                None => return Err(missing(&format::versioned_key(logged.key, revision)).into()),
            }
        }
        Ok(())
    }

    fn newest(&self, row: &[u8], index: u64) -> Result<Option<(RevisionKey, StoredKeyValue)>, Fault> {
        let Some(record) = self.keys.get(row)? else {
            return Ok(None);
        };
        let (bound, revision) = format::split_version(row)?;
        let record = Record::decode(row, record.value())?;
        let key = format::key_of_bound(bound)?.into_bytes();
        Ok(Some(version(key, revision, &record, index)))
    }

    /// What the log entry at `position` has replaced.
    fn replaced(&self, position: &[u8], index: u64) -> Result<(RevisionKey, StoredKeyValue), Fault> {
        let row = self.log.get(position)?.ok_or_else(|| missing(position))?;
        let entry = LogEntry::decode(position, row.value())?;
        let record = entry.replaced.as_ref().ok_or_else(|| missing(position))?;
        let key = Bytes::copy_from_slice(entry.key);
        Ok(version(key, entry.previous, record, index))
    }
}

fn version(key: Bytes, revision: u64, record: &Record<'_>, index: u64) -> (RevisionKey, StoredKeyValue) {
    let is_deletion = record.kind == EventKind::Delete;
    let value = if is_deletion {
        StoredKeyValue {
            key,
            ..StoredKeyValue::default()
        }
    } else {
        StoredKeyValue {
            key,
            create_revision: record.create_revision as i64,
            mod_revision: revision as i64,
            version: record.version as i64,
            value: Bytes::copy_from_slice(record.value),
            lease: record.lease,
        }
    };
    let key = RevisionKey {
        revision,
        index,
        is_deletion,
    };
    (key, value)
}

fn missing(row: &[u8]) -> Fault {
    Fault::Rotten(format!("the version {} is missing", row.escape_ascii()))
}
