//! Reading: the same walks over a durable snapshot and over a transaction that is being made.
mod changes;

pub(super) use changes::{Changes, changes, event_bytes};

use super::fault::Fault;
use super::format::{self, META, Raw, Record, STATE_ROW, State};
use super::versions::{self, Past};
use crate::{
    Compare, CompareResult, CompareTarget, EventKind, Key, KeyValue, LeaseId, RangeRequest, RangeResponse,
    Revision, StoreError,
};
use bytes::Bytes;
use redb::{AccessGuard, ReadTransaction, ReadableTable};
use std::ops::Bound;

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

/// One key as it is now; `None` when it does not exist.
pub(super) fn current(keys: &impl ReadableTable<Raw, Raw>, key: &Key) -> Result<Option<KeyValue>, Fault> {
    Ok(versions::newest(keys, key)?.and_then(|version| version.alive(key)))
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

/// The tables that a range is read from.
pub(super) struct Tables<'t, K, L> {
    pub keys: &'t K,
    pub log: &'t L,
}

impl<K, L> Clone for Tables<'_, K, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, L> Copy for Tables<'_, K, L> {}

/// Answers a range request of a store that stands at `state`.
pub(super) fn range(
    tables: Tables<'_, impl ReadableTable<Raw, Raw>, impl ReadableTable<Raw, Raw>>,
    state: &State,
    request: &RangeRequest,
) -> Result<RangeResponse, Fault> {
    // Without a bound there is always an answer.
    Ok(range_up_to(tables, state, request, usize::MAX)?.unwrap_or_default())
}

/// The same, unless more than `rows_max` rows would have to be looked at.
pub(super) fn range_up_to(
    tables: Tables<'_, impl ReadableTable<Raw, Raw>, impl ReadableTable<Raw, Raw>>,
    state: &State,
    request: &RangeRequest,
    rows_max: usize,
) -> Result<Option<RangeResponse>, Fault> {
    let mut kvs = Vec::new();
    let summary = walk_up_to(tables, state, request, rows_max, &mut |version| {
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
    tables: Tables<'_, impl ReadableTable<Raw, Raw>, impl ReadableTable<Raw, Raw>>,
    state: &State,
    request: &RangeRequest,
    rows_max: usize,
    take: &mut dyn FnMut(KeyVersion<'_>),
) -> Result<Option<RangeSummary>, Fault> {
    let Tables { keys, log } = tables;
    let at = match request.revision {
        // Like etcd, 0 asks for now.
        None | Some(Revision(0)) => u64::MAX,
        Some(requested) => {
            check_revision(requested, state)?;
            requested.0
        }
    };
    let mut walk = Walk {
        at,
        limit: match (request.count_only, request.limit) {
            (true, _) => 0,
            (false, 0) => usize::MAX,
            (false, limit) => limit,
        },
        count_only: request.count_only,
        uncounted: request.uncounted,
        summary: RangeSummary::default(),
        past: Past::new(keys, log),
        take,
    };
    let Some(end) = &request.end else {
        let first = format::versioned_key(&request.start, 0);
        let last = format::versioned_key(&request.start, u64::MAX);
        if let Some(row) = keys.range(first.as_slice()..=last.as_slice())?.next_back() {
            let (row, record) = row?;
            walk.meet(&row, &record)?;
        }
        return Ok(Some(walk.summary));
    };
    let first = format::key_bound(&request.start);
    let behind = format::key_bound(end);
    let behind = if *end == Key::UNBOUNDED {
        Bound::Unbounded
    } else if request.start < *end {
        Bound::Excluded(behind.as_slice())
    } else {
        return Ok(Some(walk.summary));
    };
    let mut rows = 0;
    // The newest version so far of the key the walk is in.
    let mut newest: Option<(AccessGuard<'_, Raw>, AccessGuard<'_, Raw>)> = None;
    for entry in keys.range::<&[u8]>((Bound::Included(first.as_slice()), behind))? {
        let (row, record) = entry?;
        rows += 1;
        if rows + walk.past.looked_at > rows_max {
            return Ok(None);
        }
        if let Some((kept_row, kept)) = &newest
            && format::split_version(kept_row.value())?.0 != format::split_version(row.value())?.0
        {
            walk.meet(kept_row, kept)?;
            if walk.is_done() {
                return Ok(Some(walk.summary));
            }
        }
        newest = Some((row, record));
    }
    if let Some((row, record)) = &newest {
        walk.meet(row, record)?;
    }
    Ok(Some(walk.summary))
}

/// A walk along the keys of a range.
struct Walk<'t, K, L> {
    /// The revision that is asked for.
    at: u64,
    limit: usize,
    count_only: bool,
    uncounted: bool,
    summary: RangeSummary,
    past: Past<'t, K, L>,
    take: &'t mut dyn FnMut(KeyVersion<'_>),
}

impl<K: ReadableTable<Raw, Raw>, L: ReadableTable<Raw, Raw>> Walk<'_, K, L> {
    /// The newest version of the next key.
    fn meet(&mut self, row: &AccessGuard<'_, Raw>, record: &AccessGuard<'_, Raw>) -> Result<(), Fault> {
        let row = row.value();
        let (bound, mod_revision) = format::split_version(row)?;
        if mod_revision > self.at {
            let key = format::key_bytes_of_bound(bound)?;
            if let Some(version) = self.past.before(&key, mod_revision, self.at)?
                && version.kind == EventKind::Put
                && self.counts()
            {
                (self.take)(KeyVersion::new(&key, &version.record(), version.mod_revision));
            }
            return Ok(());
        }
        if Record::is_deletion(record.value()) || !self.counts() {
            return Ok(());
        }
        let record = Record::decode(row, record.value())?;
        let key = format::key_bytes_of_bound(bound)?;
        (self.take)(KeyVersion::new(&key, &record, mod_revision));
        Ok(())
    }

    /// Nothing behind here changes the answer.
    fn is_done(&self) -> bool {
        self.uncounted && self.summary.more
    }

    /// Counts a key; whether it is within the limit.
    fn counts(&mut self) -> bool {
        self.summary.count += 1;
        let within = self.summary.count <= self.limit;
        self.summary.more |= !within && !self.count_only;
        within
    }
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
            None => compare_holds(compare, current(keys, &compare.key)?.as_ref()),
            Some(end) => {
                let kvs = all_current(keys, &compare.key, end)?;
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
pub(super) fn all_current(
    keys: &impl ReadableTable<Raw, Raw>,
    start: &Key,
    end: &Key,
) -> Result<Vec<KeyValue>, Fault> {
    let request = RangeRequest {
        start: start.clone(),
        end: Some(end.clone()),
        ..RangeRequest::default()
    };
    // Of the counters only the revision is used, for the answer's header, and of the present nothing is in the log.
    Ok(range(Tables { keys, log: keys }, &State::empty(), &request)?.kvs)
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
