//! Reading: the same walks over a durable snapshot and over a transaction that is being made.
use super::fault::Fault;
use super::format::{self, LogEntry, META, Raw, Record, STATE_ROW, State};
use crate::{
    Compare, CompareResult, CompareTarget, Event, Key, KeyValue, LeaseId, RangeRequest, RangeResponse,
    Revision, StoreError, validate,
};
use bytes::Bytes;
use redb::{AccessGuard, ReadTransaction, ReadableTable};
use std::ops::Bound;

/// Stands for "now" where a revision is asked for.
pub(super) const NOW: u64 = u64::MAX;

/// The counters as of a snapshot.
pub(super) fn state(snapshot: &ReadTransaction) -> Result<State, Fault> {
    state_in(&snapshot.open_table(META)?)
}

pub(super) fn state_in(meta: &impl ReadableTable<&'static str, Raw>) -> Result<State, Fault> {
    match meta.get(STATE_ROW)? {
        Some(row) => State::decode(row.value()),
        None => Err(Fault::Rotten("its counters are missing".to_owned())),
    }
}

/// One key as of `revision`; `None` when it did not exist then.
pub(super) fn version_at(
    keys: &impl ReadableTable<Raw, Raw>,
    key: &[u8],
    revision: u64,
) -> Result<Option<KeyValue>, Fault> {
    let first = format::versioned_key(key, 0);
    let last = format::versioned_key(key, revision);
    let Some(row) = keys.range(first.as_slice()..=last.as_slice())?.next_back() else {
        return Ok(None);
    };
    let (at, record) = row?;
    let record_value = record.value();
    if Record::is_deletion(record_value) {
        return Ok(None);
    }
    let at = at.value();
    let (_, mod_revision) = format::split_version(at)?;
    let record = Record::decode(at, record_value)?;
    Ok(Some(record.to_key_value(key.into(), mod_revision)))
}

/// A version of a key as a walk meets it, in the tree's own memory.
#[derive(Clone, Copy, Debug)]
pub struct KeyVersion<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub create_revision: Revision,
    pub mod_revision: Revision,
    pub version: u64,
    /// 0: none.
    pub lease: LeaseId,
}

impl<'a> KeyVersion<'a> {
    fn new(key: &'a [u8], record: &Record<'a>, mod_revision: u64) -> Self {
        Self {
            key,
            value: record.value,
            create_revision: Revision(record.create_revision),
            mod_revision: Revision(mod_revision),
            version: record.version,
            lease: LeaseId(record.lease),
        }
    }

    fn to_key_value(self) -> KeyValue {
        KeyValue {
            key: self.key.into(),
            value: Bytes::copy_from_slice(self.value),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: (self.lease.0 != 0).then_some(self.lease),
        }
    }
}

/// What a range request comes to, but for the keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeSummary {
    /// More keys lie behind the limit.
    pub more: bool,
    /// Number of keys in the range, whatever the limit.
    pub count: usize,
}

/// Answers a range request of a store that stands at `state`.
pub(super) fn range(
    keys: &impl ReadableTable<Raw, Raw>,
    state: &State,
    request: &RangeRequest,
) -> Result<RangeResponse, Fault> {
    // Without a bound there is always an answer.
    Ok(range_up_to(keys, state, request, usize::MAX)?.unwrap_or_default())
}

/// The same, unless more than `rows_max` rows would have to be looked at.
pub(super) fn range_up_to(
    keys: &impl ReadableTable<Raw, Raw>,
    state: &State,
    request: &RangeRequest,
    rows_max: usize,
) -> Result<Option<RangeResponse>, Fault> {
    let mut kvs = Vec::new();
    let summary = walk_up_to(keys, state, request, rows_max, &mut |version| {
        kvs.push(version.to_key_value())
    })?;
    Ok(summary.map(|summary| RangeResponse {
        kvs,
        more: summary.more,
        count: summary.count,
        revision: Revision(state.revision),
    }))
}

/// Shows `take` the keys that a range request asks for, in order. `None`: it has given up, since they are in
/// more than `rows_max` rows.
pub(super) fn walk_up_to(
    keys: &impl ReadableTable<Raw, Raw>,
    state: &State,
    request: &RangeRequest,
    rows_max: usize,
    take: &mut dyn FnMut(KeyVersion<'_>),
) -> Result<Option<RangeSummary>, Fault> {
    let at = match request.revision {
        // Like etcd, 0 asks for now.
        None | Some(Revision(0)) => NOW,
        Some(requested) => {
            check_revision(requested, state)?;
            requested.0
        }
    };
    let limit = match (request.count_only, request.limit) {
        (true, _) => 0,
        (false, 0) => usize::MAX,
        (false, limit) => limit,
    };
    let mut summary = RangeSummary::default();
    let mut meet = |row: &AccessGuard<'_, Raw>, record: &AccessGuard<'_, Raw>| {
        if Record::is_deletion(record.value()) {
            return Ok(());
        }
        summary.count += 1;
        if summary.count > limit {
            summary.more = !request.count_only;
            return Ok(());
        }
        let row = row.value();
        let (bound, mod_revision) = format::split_version(row)?;
        let record = Record::decode(row, record.value())?;
        let key = format::key_bytes_of_bound(bound)?;
        take(KeyVersion::new(&key, &record, mod_revision));
        Ok::<_, Fault>(())
    };
    let Some(end) = &request.end else {
        let first = format::versioned_key(&request.start, 0);
        let last = format::versioned_key(&request.start, at);
        if let Some(row) = keys.range(first.as_slice()..=last.as_slice())?.next_back() {
            let (row, record) = row?;
            meet(&row, &record)?;
        }
        return Ok(Some(summary));
    };
    let first = format::key_bound(&request.start);
    let behind = format::key_bound(end);
    let behind = if *end == Key::UNBOUNDED {
        Bound::Unbounded
    } else if request.start < *end {
        Bound::Excluded(behind.as_slice())
    } else {
        return Ok(Some(summary));
    };
    let mut rows = 0;
    // The newest version so far of the key the walk is in.
    let mut newest: Option<(AccessGuard<'_, Raw>, AccessGuard<'_, Raw>)> = None;
    for entry in keys.range::<&[u8]>((Bound::Included(first.as_slice()), behind))? {
        let (row, record) = entry?;
        rows += 1;
        if rows > rows_max {
            return Ok(None);
        }
        let (bound, revision) = format::split_version(row.value())?;
        if revision > at {
            continue;
        }
        if let Some((kept_row, kept)) = &newest
            && format::split_version(kept_row.value())?.0 != bound
        {
            meet(kept_row, kept)?;
        }
        newest = Some((row, record));
    }
    if let Some((row, record)) = &newest {
        meet(row, record)?;
    }
    Ok(Some(summary))
}

/// Refuses revisions that are not readable any more, or not yet.
pub(super) fn check_revision(requested: Revision, state: &State) -> Result<(), StoreError> {
    if requested.0 < state.compacted {
        return Err(StoreError::Compacted {
            requested,
            oldest: Revision(state.compacted),
        });
    }
    if requested.0 > state.revision {
        return Err(StoreError::FutureRevision {
            requested,
            current: Revision(state.revision),
        });
    }
    Ok(())
}

/// Whether all compares of a transaction hold.
pub(super) fn holds(keys: &impl ReadableTable<Raw, Raw>, compares: &[Compare]) -> Result<bool, Fault> {
    for compare in compares {
        let holds = match &compare.end {
            None => compare_holds(compare, version_at(keys, &compare.key, NOW)?.as_ref()),
            Some(end) => {
                let kvs = current(keys, &compare.key, end)?;
                match kvs.as_slice() {
                    [] => compare_holds(compare, None),
                    kvs => kvs.iter().all(|kv| compare_holds(compare, Some(kv))),
                }
            }
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Everything in `[start, end)`, now.
fn current(keys: &impl ReadableTable<Raw, Raw>, start: &Key, end: &Key) -> Result<Vec<KeyValue>, Fault> {
    let request = RangeRequest {
        start: start.clone(),
        end: Some(end.clone()),
        ..RangeRequest::default()
    };
    // Of the counters only the revision is used, for the answer's header.
    Ok(range(keys, &State::empty(), &request)?.kvs)
}

fn compare_holds(compare: &Compare, kv: Option<&KeyValue>) -> bool {
    let ordering = match &compare.target {
        CompareTarget::ModRevision(wanted) => kv.map_or(Revision(0), |kv| kv.mod_revision).cmp(wanted),
        CompareTarget::CreateRevision(wanted) => kv.map_or(Revision(0), |kv| kv.create_revision).cmp(wanted),
        CompareTarget::Version(wanted) => kv.map_or(0, |kv| kv.version).cmp(wanted),
        CompareTarget::Lease(wanted) => kv.and_then(|kv| kv.lease).unwrap_or(LeaseId(0)).cmp(wanted),
        // Like etcd: a key that does not exist has no value that anything could be said about.
        CompareTarget::Value(wanted) => match kv {
            Some(kv) => kv.value.cmp(wanted),
            None => return false,
        },
    };
    match compare.result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::NotEqual => ordering.is_ne(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
    }
}

/// The keys that go with a lease.
pub(super) fn lease_keys(rows: &impl ReadableTable<Raw, ()>, lease: LeaseId) -> Result<Vec<Key>, Fault> {
    let first = format::lease_key(lease.0, b"");
    let mut keys = Vec::new();
    for row in rows.range(first.as_slice()..)? {
        let (row, _) = row?;
        let Some(key) = row.value().strip_prefix(first.as_slice()) else {
            break;
        };
        keys.push(Key::from(key));
    }
    Ok(keys)
}

/// Which changes to read, and how much at once.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    pub start: Key,
    pub end: Option<Key>,
    /// First revision to look at.
    pub from: u64,
    /// Stop after the revision with which this many bytes of events are reached.
    pub bytes_max: usize,
    /// Stop after the revision with which this many log entries have been looked at.
    pub entries_max: usize,
}

/// Reads history: the events, and the last revision that was looked at in full.
pub(super) fn changes(
    keys: &impl ReadableTable<Raw, Raw>,
    log: &impl ReadableTable<Raw, Raw>,
    state: &State,
    wanted: &Changes,
) -> Result<(Vec<Event>, u64), Fault> {
    if wanted.from < state.compacted {
        return Err(Fault::Refused(StoreError::Compacted {
            requested: Revision(wanted.from),
            oldest: Revision(state.compacted),
        }));
    }
    let first = format::log_position(wanted.from, 0);
    let mut events = Vec::new();
    let (mut bytes, mut entries, mut in_revision) = (0, 0, wanted.from);
    for entry in log.range(first.as_slice()..)? {
        let (position, row) = entry?;
        let revision = format::log_revision(position.value())?;
        if revision != in_revision {
            if bytes >= wanted.bytes_max || entries >= wanted.entries_max {
                return Ok((events, revision - 1));
            }
            in_revision = revision;
        }
        entries += 1;
        let logged = LogEntry::decode(position.value(), row.value())?;
        if !validate::contains(&wanted.start, wanted.end.as_ref(), logged.key) {
            continue;
        }
        let versioned = format::versioned_key(logged.key, revision);
        let Some(record) = keys.get(versioned.as_slice())? else {
            return Err(Fault::Rotten(format!(
                "the version of {} at revision {revision} is missing",
                logged.key.escape_ascii()
            )));
        };
        let kv = Record::decode(&versioned, record.value())?.to_key_value(logged.key.into(), revision);
        let previous = match logged.previous {
            0 => None,
            // It may have been compacted away.
            before => {
                version_at(keys, logged.key, before)?.filter(|previous| previous.mod_revision.0 == before)
            }
        };
        let event = Event {
            kind: logged.kind,
            kv,
            previous,
        };
        bytes += event_bytes(&event);
        events.push(event);
    }
    Ok((events, state.revision))
}

/// About how much memory an event holds.
pub(super) fn event_bytes(event: &Event) -> usize {
    let key_value = |kv: &KeyValue| size_of::<KeyValue>() + kv.key.len() + kv.value.len();
    key_value(&event.kv) + event.previous.as_ref().map_or(0, key_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_of_missing_keys_follow_etcd() {
        use CompareResult::*;
        let kv = KeyValue {
            key: "a".into(),
            value: Bytes::from_static(b"m"),
            create_revision: Revision(3),
            mod_revision: Revision(5),
            version: 2,
            lease: None,
        };
        let value = |value: &'static str| CompareTarget::Value(Bytes::from_static(value.as_bytes()));
        let cases = [
            (CompareTarget::ModRevision(Revision(0)), Equal, false, true),
            (CompareTarget::ModRevision(Revision(5)), Equal, true, false),
            (CompareTarget::ModRevision(Revision(4)), Greater, true, false),
            (CompareTarget::ModRevision(Revision(6)), Less, true, true),
            (CompareTarget::CreateRevision(Revision(3)), NotEqual, false, true),
            (CompareTarget::Version(2), Equal, true, false),
            (CompareTarget::Version(0), Equal, false, true),
            (value("m"), Equal, true, false),
            (value("n"), Less, true, false),
            (value("n"), NotEqual, true, false),
        ];
        for (target, result, with, without) in cases {
            let compare = Compare {
                key: "a".into(),
                end: None,
                target,
                result,
            };
            assert_eq!(compare_holds(&compare, Some(&kv)), with, "{compare:?}");
            assert_eq!(compare_holds(&compare, None), without, "{compare:?}");
        }
    }
}
