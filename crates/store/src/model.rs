//! The words of the store: keys with their versions, ranges, transactions, events.
use crate::key::{Key, prefix_end};
use bytes::Bytes;

/// A point in the store's history. 0 means "does not exist" in compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a lease; 0 is never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub i64);

/// One key as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Key,
    pub value: Bytes,
    /// Revision of the write that created the key.
    pub create_revision: Revision,
    /// Revision of the last write to the key.
    pub mod_revision: Revision,
    /// Number of writes since the key was created, from 1.
    pub version: u64,
    pub lease: Option<LeaseId>,
}

/// Which keys to read. An `end` of `None` reads the single key `start`.
#[derive(Clone, Debug, Default)]
pub struct RangeRequest {
    pub start: Key,
    /// Exclusive, or [`Key::UNBOUNDED`]; see [`prefix_end`].
    pub end: Option<Key>,
    /// At most this many keys; 0 means all.
    pub limit: usize,
    /// As of this revision; `None` means now.
    pub revision: Option<Revision>,
    /// Only count, return no keys.
    pub count_only: bool,
    /// Nobody wants to know how many keys there are in all: the embedded store then looks no further than one key behind
    /// the limit.
    pub uncounted: bool,
}

impl RangeRequest {
    /// The single key `key`, now.
    pub fn key(key: impl Into<Key>) -> Self {
        Self {
            start: key.into(),
            ..Self::default()
        }
    }

    /// Every key that begins with `prefix`, now.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        let start = prefix.into();
        Self {
            end: Some(prefix_end(&start)),
            start,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct RangeResponse {
    pub kvs: Vec<KeyValue>,
    /// More keys lie behind the limit.
    pub more: bool,
    /// Number of keys in the range, whatever the limit.
    pub count: usize,
    /// The store's revision when the range was read.
    pub revision: Revision,
}

/// What a compare looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    ModRevision(Revision),
    CreateRevision(Revision),
    Version(u64),
    Value(Bytes),
    /// The lease the key is attached to; 0 means none.
    Lease(LeaseId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareResult {
    Equal,
    NotEqual,
    Greater,
    Less,
}

/// One condition of a transaction: `key`'s target compared with the given value.
#[derive(Clone, Debug)]
pub struct Compare {
    pub key: Key,
    /// With an end, every key in `[key, end)` must compare so; where there is none, a key that does
    /// not exist is compared.
    pub end: Option<Key>,
    pub target: CompareTarget,
    pub result: CompareResult,
}

impl Compare {
    /// True when `key` was last modified at `revision` (0: does not exist).
    pub fn mod_revision(key: impl Into<Key>, revision: Revision) -> Self {
        Self {
            key: key.into(),
            end: None,
            target: CompareTarget::ModRevision(revision),
            result: CompareResult::Equal,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Op {
    Put {
        key: Key,
        value: Bytes,
        lease: Option<LeaseId>,
        /// What the key has already and is not given here.
        keep: Keep,
    },
    /// Deletes `[start, end)`, or the single key when `end` is `None`.
    Delete {
        start: Key,
        end: Option<Key>,
    },
    Range(RangeRequest),
    /// A transaction of its own. It compares what was there before the outermost one began.
    Txn(Txn),
}

/// What a put leaves as it is. The key has to exist then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    pub value: bool,
    pub lease: bool,
}

impl Op {
    pub fn put(key: impl Into<Key>, value: Bytes, lease: Option<LeaseId>) -> Self {
        Self::Put {
            key: key.into(),
            value,
            lease,
            keep: Keep::default(),
        }
    }

    pub fn delete(key: impl Into<Key>) -> Self {
        Self::Delete {
            start: key.into(),
            end: None,
        }
    }
}

/// If all of `compare` hold, `success` is applied, else `failure`.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
    /// Nobody wants to know what was there before: a store may leave it out of its answer, and etcd then neither reads
    /// nor sends it.
    pub without_previous: bool,
}

impl Txn {
    pub fn when(compare: Compare) -> Self {
        Self {
            compare: vec![compare],
            ..Self::default()
        }
    }

    pub fn then(mut self, op: Op) -> Self {
        self.success.push(op);
        self
    }

    pub fn otherwise(mut self, op: Op) -> Self {
        self.failure.push(op);
        self
    }

    /// The same for who does not want to know what was there before.
    pub fn without_previous(mut self) -> Self {
        self.without_previous = true;
        self
    }

    /// The operations of both branches, and of the transactions within, outer ones first.
    pub fn operations(&self) -> impl Iterator<Item = &Op> {
        self.with_nested()
            .into_iter()
            .flat_map(|txn| txn.success.iter().chain(&txn.failure))
    }

    /// This transaction and those within it, in both branches.
    pub fn with_nested(&self) -> Vec<&Txn> {
        let mut found = vec![self];
        let mut seen = 0;
        while let Some(txn) = found.get(seen).copied() {
            let ops = txn.success.iter().chain(&txn.failure);
            found.extend(ops.filter_map(|op| match op {
                Op::Txn(nested) => Some(nested),
                _ => None,
            }));
            seen += 1;
        }
        found
    }
}

#[derive(Clone, Debug)]
pub struct TxnResponse {
    pub succeeded: bool,
    /// The revision of this transaction's writes, or the current one if it wrote nothing.
    pub revision: Revision,
    /// One per operation that was applied, in order.
    pub responses: Vec<OpResponse>,
}

impl TxnResponse {
    /// All that is answered of keys, also by transactions within this one, in order.
    pub fn kvs_mut(&mut self) -> Vec<&mut KeyValue> {
        let mut found = Vec::new();
        for response in &mut self.responses {
            match response {
                OpResponse::Put { previous } => found.extend(previous),
                OpResponse::Delete { previous } => found.extend(previous),
                OpResponse::Range(range) => found.extend(&mut range.kvs),
                OpResponse::Txn(inner) => found.extend(inner.kvs_mut()),
            }
        }
        found
    }
}

#[derive(Clone, Debug)]
pub enum OpResponse {
    /// What was there before is told unless nobody wants to know it.
    Put {
        previous: Option<KeyValue>,
    },
    Delete {
        previous: Vec<KeyValue>,
    },
    Range(RangeResponse),
    Txn(TxnResponse),
}

#[derive(Clone, Debug, Default)]
pub struct WatchRequest {
    pub start: Key,
    pub end: Option<Key>,
    /// First revision to deliver; `None`: changes after now.
    pub from: Option<Revision>,
    /// Nobody wants to know what was there before a change: a store may leave it out of its events, and etcd then
    /// neither reads nor sends it.
    pub without_previous: bool,
}

impl WatchRequest {
    /// Changes to keys that begin with `prefix`, from `revision` on (inclusive).
    pub fn prefix(prefix: impl Into<Key>, from: Option<Revision>) -> Self {
        let start = prefix.into();
        Self {
            end: Some(prefix_end(&start)),
            start,
            from,
            without_previous: false,
        }
    }

    /// The same for who does not want to know what was there before a change.
    pub fn without_previous(mut self) -> Self {
        self.without_previous = true;
        self
    }
}

/// Changes of whole revisions, in order. An empty `events` is a progress mark: everything up to
/// `revision` has been delivered.
#[derive(Clone, Debug)]
pub struct WatchBatch {
    pub events: Vec<Event>,
    pub revision: Revision,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    /// For a delete, `value` is empty and `mod_revision` is the revision of the delete.
    pub kv: KeyValue,
    /// The key before this change, if it existed, has not been compacted away and is wanted.
    pub previous: Option<KeyValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// A lease as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Full time to live.
    pub ttl_seconds: u64,
    /// What is left of it if nobody renews the lease, rounded down.
    pub remaining_seconds: u64,
    /// Keys that go with the lease, in order.
    pub keys: Vec<Key>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct StoreStatus {
    pub revision: Revision,
    /// Reads and watches below this revision fail. `None`: the store doesn't tell.
    pub compacted: Option<Revision>,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes that what is stored needs of these, history included.
    pub in_use: u64,
    pub keys: u64,
}
