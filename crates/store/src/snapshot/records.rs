//! What the buckets of etcd's database hold: revisions as keys, protobuf messages as values.
use bytes::Bytes;

/// Buckets of etcd's database, in the order of their names.
pub const BUCKETS: [&str; 10] = [
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    KEYS,
    LEASES,
    "members",
    "members_removed",
    META,
];
/// Every version of every key.
pub const KEYS: &str = "key";
pub const LEASES: &str = "lease";
pub const META: &str = "meta";

/// Row of [`META`]: the last entry of the log that the data holds.
pub const CONSISTENT_INDEX: &str = "consistent_index";
/// Rows of [`META`]: up to where history has been, and is to be, forgotten.
pub const FINISHED_COMPACTION: &str = "finishedCompactRev";
pub const SCHEDULED_COMPACTION: &str = "scheduledCompactRev";

/// A version of a key (`mvccpb.KeyValue`). Of a deletion only the key is noted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StoredKeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// A lease (`leasepb.Lease`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct StoredLease {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(int64, tag = "2")]
    pub ttl_seconds: i64,
    #[prost(int64, tag = "3")]
    pub remaining_ttl_seconds: i64,
}

/// Where a change stands in history: key of the bucket [`KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevisionKey {
    pub revision: u64,
    /// Counts the changes of one transaction, from 0.
    pub index: u64,
    pub is_deletion: bool,
}

impl RevisionKey {
    /// `revision _ index`, and a `t` behind it ("tombstone") for a deletion.
    pub fn encode(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(18);
        key.extend(self.revision.to_be_bytes());
        key.push(b'_');
        key.extend(self.index.to_be_bytes());
        if self.is_deletion {
            key.push(b't');
        }
        key
    }

    pub fn decode(key: &[u8]) -> Option<Self> {
        let (revision, rest) = key.split_first_chunk()?;
        let (index, mark) = rest.strip_prefix(b"_")?.split_first_chunk()?;
        let is_deletion = match mark {
            [] => false,
            [b't'] => true,
            _ => return None,
        };
        Some(Self {
            revision: u64::from_be_bytes(*revision),
            index: u64::from_be_bytes(*index),
            is_deletion,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_keys_are_etcds() {
        let put = RevisionKey {
            revision: 0x1234,
            index: 1,
            is_deletion: false,
        };
        let deletion = RevisionKey {
            is_deletion: true,
            ..put
        };
        assert_eq!(put.encode(), b"\0\0\0\0\0\0\x12\x34_\0\0\0\0\0\0\0\x01");
        assert_eq!(deletion.encode(), b"\0\0\0\0\0\0\x12\x34_\0\0\0\0\0\0\0\x01t");
        for key in [put, deletion] {
            assert_eq!(RevisionKey::decode(&key.encode()), Some(key));
        }
        for bad in [
            &b""[..],
            b"\0\0\0\0\0\0\x12\x34",
            b"\0\0\0\0\0\0\x12\x34_\0\0\0\0\0\0\0\x01x",
        ] {
            assert_eq!(RevisionKey::decode(bad), None);
        }
    }

    #[test]
    fn buckets_are_in_order() {
        assert!(BUCKETS.is_sorted());
    }
}
