//! A batch in the making: transactions applied one after the other to one database transaction.
//! Nothing of it is visible to anyone before its commit.
use super::decide::{Decided, decide};
use super::fault::Fault;
use super::format::{self, Raw, Record, STATE_ROW, State};
use super::journal::{Row, Rows, TableId};
use super::read::{self, Tables};
use super::tree::Tree;
use super::versions::{self, Replacing, Stored};
use crate::{
    Event, EventKind, Keep, Key, KeyValue, LeaseId, Op, OpResponse, RangeRequest, Revision, StoreError, Txn,
    TxnResponse,
};
use bytes::Bytes;
use redb::{AccessGuard, ReadableTable, Table, WriteTransaction};

/// All changes of one revision.
#[derive(Debug)]
pub(super) struct Committed {
    pub revision: u64,
    pub events: Vec<Event>,
    pub bytes: usize,
}

/// What a batch has come to: the counters, and the revisions that it made.
pub(super) type Change = Option<(State, Vec<Committed>)>;

impl TxnResponse {
    /// Tells it, and those within, the revision that the store has come to.
    fn at(&mut self, revision: Revision) {
        self.revision = revision;
        for response in &mut self.responses {
            if let OpResponse::Txn(inner) = response {
                inner.at(revision);
            }
        }
    }
}

pub(super) struct Batch<'t> {
    pub(super) tree: Tree<'t>,
    /// The counters with everything in the batch applied.
    pub(super) state: State,
    before: State,
    committed: Vec<Committed>,
    /// Everything that was written to the tables.
    rows: Rows,
    /// Rows were changed that the counters don't show.
    touched: bool,
    /// Changes of the revision in the making.
    pending: Vec<Event>,
}

impl<'t> Batch<'t> {
    pub(super) fn begin(txn: &'t WriteTransaction) -> Result<Self, Fault> {
        let tree = Tree::open(txn)?;
        let state = read::state_in(&tree.meta)?;
        Ok(Self {
            tree,
            before: state.clone(),
            state,
            committed: Vec::new(),
            rows: Rows::default(),
            touched: false,
            pending: Vec::new(),
        })
    }

    /// Writes the counters. `None`: the batch changed nothing and needs no commit.
    pub(super) fn finish(mut self) -> Result<(Change, Rows), Fault> {
        if !self.touched && self.state == self.before {
            return Ok((None, self.rows));
        }
        let state = self.state.encode();
        let before = self.tree.meta.insert(STATE_ROW, state.as_slice())?;
        let row = Row {
            table: TableId::Meta,
            key: STATE_ROW.as_bytes(),
            value: Some(&state),
        };
        self.rows.push(row, before.as_ref().map(AccessGuard::value));
        drop(before);
        Ok((Some((self.state, self.committed)), self.rows))
    }

    fn tables(&self) -> Tables<'_, Table<'t, Raw, Raw>, Table<'t, Raw, Raw>> {
        Tables {
            keys: &self.tree.keys,
            log: &self.tree.log,
        }
    }

    /// Writes the counters again, so that there is something to commit.
    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// Takes a version of a key away.
    pub(super) fn remove_version(&mut self, row: &[u8]) -> Result<(), Fault> {
        remove(&mut self.tree.keys, &mut self.rows, TableId::Keys, row)?;
        Ok(())
    }

    /// Writes an entry of the log anew.
    pub(super) fn log_anew(&mut self, position: &[u8], entry: &[u8]) -> Result<(), Fault> {
        put(&mut self.tree.log, &mut self.rows, TableId::Log, position, entry)
    }

    /// Takes an entry of the log away.
    pub(super) fn remove_logged(&mut self, position: &[u8]) -> Result<(), Fault> {
        remove(&mut self.tree.log, &mut self.rows, TableId::Log, position)?;
        Ok(())
    }

    /// Applies one transaction, which has passed validation. After `Refused` nothing of it is there.
    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnResponse, Fault> {
        let decided = decide(&self.tree.keys, txn)?;
        self.check(&decided)?;
        let revision = self.state.revision + 1;
        let mut answer = self.apply(decided, revision)?;
        self.end_revision(revision)?;
        answer.at(Revision(self.state.revision));
        Ok(answer)
    }

    fn apply(&mut self, txn: Decided<'_>, revision: u64) -> Result<TxnResponse, Fault> {
        let mut nested = txn.nested.into_iter();
        let mut responses = Vec::with_capacity(txn.ops.len());
        for op in txn.ops {
            responses.push(match op {
                Op::Put {
                    key,
                    value,
                    lease,
                    keep,
                } => OpResponse::Put {
                    previous: self.put(key, value, *lease, *keep, revision)?,
                },
                Op::Delete { start, end } => OpResponse::Delete {
                    previous: self.delete(start, end.as_ref(), revision)?,
                },
                Op::Range(request) => {
                    let mut range = read::range(self.tables(), &self.state, request)?;
                    if !self.pending.is_empty() {
                        // It sees what has been changed before it.
                        range.revision = Revision(revision);
                    }
                    OpResponse::Range(range)
                }
                Op::Txn(_) => match nested.next() {
                    Some(inner) => OpResponse::Txn(self.apply(inner, revision)?),
                    // Each has been decided.
                    None => continue,
                },
            });
        }
        Ok(TxnResponse {
            succeeded: txn.succeeded,
            revision: Revision(revision),
            responses,
        })
    }

    /// Refuses what could fail halfway, before the first write.
    fn check(&self, txn: &Decided<'_>) -> Result<(), Fault> {
        for inner in &txn.nested {
            self.check(inner)?;
        }
        for op in txn.ops {
            match op {
                Op::Put { key, lease, keep, .. } => {
                    if let Some(lease) = lease {
                        self.check_lease(*lease)?;
                    }
                    if *keep != Keep::default() && read::current(&self.tree.keys, key)?.is_none() {
                        return Err(StoreError::KeyNotFound(key.clone()).into());
                    }
                }
                Op::Range(RangeRequest {
                    revision: Some(revision),
                    ..
                }) if revision.0 != 0 => read::check_revision(*revision, &self.state)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_lease(&self, lease: LeaseId) -> Result<(), Fault> {
        match self.tree.leases.get(lease.0)? {
            Some(_) => Ok(()),
            None => Err(StoreError::LeaseNotFound(lease.0).into()),
        }
    }

    fn put(
        &mut self,
        key: &Key,
        value: &Bytes,
        lease: Option<LeaseId>,
        keep: Keep,
        revision: u64,
    ) -> Result<Option<KeyValue>, Fault> {
        let replaced = versions::newest(&self.tree.keys, key)?;
        let previous = replaced.as_ref().and_then(|version| version.alive(key));
        let lease = match &previous {
            Some(previous) if keep.lease => previous.lease,
            _ => lease,
        };
        let value = match &previous {
            Some(previous) if keep.value => &previous.value,
            _ => value,
        };
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: previous
                .as_ref()
                .map_or(Revision(revision), |kv| kv.create_revision),
            mod_revision: Revision(revision),
            version: previous.as_ref().map_or(0, |kv| kv.version) + 1,
            lease,
        };
        self.move_lease(key, previous.as_ref().and_then(|kv| kv.lease), lease)?;
        if previous.is_none() {
            self.state.keys += 1;
        }
        self.change(EventKind::Put, kv, replaced)?;
        Ok(previous)
    }

    fn delete(&mut self, start: &Key, end: Option<&Key>, revision: u64) -> Result<Vec<KeyValue>, Fault> {
        let request = RangeRequest {
            start: start.clone(),
            end: end.cloned(),
            ..RangeRequest::default()
        };
        let previous = read::range(self.tables(), &self.state, &request)?.kvs;
        for kv in &previous {
            self.move_lease(&kv.key, kv.lease, None)?;
            self.state.keys -= 1;
            let deleted = KeyValue {
                key: kv.key.clone(),
                value: Bytes::new(),
                create_revision: Revision(0),
                mod_revision: Revision(revision),
                version: 0,
                lease: None,
            };
            self.change(EventKind::Delete, deleted, Some(kv.into()))?;
        }
        Ok(previous)
    }

    /// Gives a key a new version; the one that it replaces moves into the log.
    fn change(&mut self, kind: EventKind, kv: KeyValue, replaced: Option<Stored>) -> Result<(), Fault> {
        let index = u32::try_from(self.pending.len())
            .map_err(|_| StoreError::Invalid("one transaction changes too many keys".to_owned()))?;
        let record = Record {
            kind,
            create_revision: kv.create_revision.0,
            version: kv.version,
            lease: kv.lease.map_or(0, |lease| lease.0),
            value: &kv.value,
        };
        let rows = Replacing::new(&kv.key, kv.mod_revision.0, index, &record, replaced.as_ref());
        let Tree { keys, log, .. } = &mut self.tree;
        if let Some(replaced) = &rows.replaced {
            let removed = remove(keys, &mut self.rows, TableId::Keys, replaced)?;
            self.state.record_bytes = self.state.record_bytes.saturating_sub(removed as u64);
        }
        put(keys, &mut self.rows, TableId::Keys, &rows.row, &rows.record)?;
        put(log, &mut self.rows, TableId::Log, &rows.position, &rows.entry)?;
        self.state.record_bytes += rows.bytes();
        let previous = replaced.and_then(|version| version.alive(&kv.key));
        self.pending.push(Event { kind, kv, previous });
        Ok(())
    }

    fn end_revision(&mut self, revision: u64) -> Result<(), Fault> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.state.revision = revision;
        let events = std::mem::take(&mut self.pending);
        self.committed.push(Committed {
            revision,
            bytes: events.iter().map(read::event_bytes).sum(),
            events,
        });
        Ok(())
    }

    fn move_lease(&mut self, key: &[u8], from: Option<LeaseId>, to: Option<LeaseId>) -> Result<(), Fault> {
        if from == to {
            return Ok(());
        }
        if let Some(lease) = from {
            let row = format::lease_key(lease.0, key);
            let before = self.tree.lease_keys.remove(row.as_slice())?.map(|_| &[][..]);
            self.rows.push(lease_key_row(&row, None), before);
        }
        if let Some(lease) = to {
            let row = format::lease_key(lease.0, key);
            let before = self.tree.lease_keys.insert(row.as_slice(), ())?.map(|_| &[][..]);
            self.rows.push(lease_key_row(&row, Some(&[])), before);
        }
        Ok(())
    }

    /// Makes a lease, under the id its owner has chosen or the next free one.
    pub(super) fn grant(&mut self, ttl_seconds: u64, chosen: Option<LeaseId>) -> Result<LeaseId, Fault> {
        let lease = match chosen {
            Some(lease) if self.tree.leases.get(lease.0)?.is_some() => {
                return Err(StoreError::LeaseExists(lease.0).into());
            }
            Some(lease) => {
                self.touched = true;
                lease.0
            }
            None => loop {
                // Behind the last number there is, the first one follows.
                self.state.last_lease = self.state.last_lease.checked_add(1).unwrap_or(1);
                if self.tree.leases.get(self.state.last_lease)?.is_none() {
                    break self.state.last_lease;
                }
            },
        };
        let before = self
            .tree
            .leases
            .insert(lease, ttl_seconds)?
            .map(|ttl| ttl.value());
        self.note_lease(lease, Some(ttl_seconds), before);
        Ok(LeaseId(lease))
    }

    fn note_lease(&mut self, lease: i64, ttl_seconds: Option<u64>, before: Option<u64>) {
        let [value, before] = [ttl_seconds, before].map(|ttl| ttl.map(u64::to_le_bytes));
        let row = Row {
            table: TableId::Leases,
            key: &lease.to_le_bytes(),
            value: value.as_ref().map(<[u8; 8]>::as_slice),
        };
        self.rows.push(row, before.as_ref().map(<[u8; 8]>::as_slice));
    }

    /// Ends a lease; its keys go in one revision.
    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<(), Fault> {
        self.check_lease(lease)?;
        let before = self.tree.leases.remove(lease.0)?.map(|ttl| ttl.value());
        self.note_lease(lease.0, None, before);
        self.touched = true;
        let keys = read::lease_keys(&self.tree.lease_keys, lease)?;
        let revision = self.state.revision + 1;
        for key in keys {
            self.delete(&key, None, revision)?;
        }
        self.end_revision(revision)
    }

    /// Makes `revision` the oldest readable one. What lies below is taken away by `forget`.
    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), Fault> {
        if revision.0 == self.state.compacted {
            return Ok(());
        }
        read::check_revision(revision, &self.state)?;
        self.state.compacted = revision.0;
        Ok(())
    }
}

fn lease_key_row<'r>(key: &'r [u8], value: Option<&'r [u8]>) -> Row<'r> {
    Row {
        table: TableId::LeaseKeys,
        key,
        value,
    }
}

/// Writes a row, in the tree and for the journal.
fn put(
    tree: &mut Table<'_, Raw, Raw>,
    rows: &mut Rows,
    table: TableId,
    key: &[u8],
    value: &[u8],
) -> Result<(), Fault> {
    let before = tree.insert(key, value)?;
    let row = Row {
        table,
        key,
        value: Some(value),
    };
    rows.push(row, before.as_ref().map(AccessGuard::value));
    Ok(())
}

/// Takes a row away, in the tree and for the journal; answers how many bytes it had.
fn remove(
    tree: &mut Table<'_, Raw, Raw>,
    rows: &mut Rows,
    table: TableId,
    key: &[u8],
) -> Result<usize, Fault> {
    let before = tree.remove(key)?;
    let before = before.as_ref().map(AccessGuard::value);
    let row = Row {
        table,
        key,
        value: None,
    };
    rows.push(row, before);
    Ok(before.map_or(0, |value| key.len() + value.len()))
}
