//! What is in the tree: five tables, and how keys and records are written in them.
//!
//! - `meta`: `format` (the version of all this), `state` ([`State`]), `journal` ([`JournalStart`]).
//! - `keys`: the newest version of every key, `key ++ revision` → record; of a key that was deleted its
//!   deletion. It is as large as the present, however often that changes.
//! - `log`: what each revision changed, `revision ++ position` → kind, key, and the version before, which was
//!   in `keys` until then. From there the past is found step by step.
//! - `leases`: lease → time to live; `lease_keys`: `lease ++ key`.
//!
//! Every record carries its own checksum beside those of redb's pages, which are only verified when
//! a database was not closed properly: a rotten block is noticed by the read that meets it.
use super::crc::crc32c;
use super::fault::Fault;
use crate::{EventKind, Key};
use redb::TableDefinition;
use std::borrow::Cow;

/// The newest format this code reads and the one it writes.
pub(super) const FORMAT: u32 = 3;
/// The format in which `keys` had all versions, and `log` none: what is there in that form is read in it until it is
/// forgotten, so that nothing but the number changes when it is upgraded.
pub(super) const FORMAT_OF_ALL_VERSIONS: u32 = 2;
/// The format without a journal: every commit was durable in the tree. It is upgraded when opened.
pub(super) const FORMAT_WITHOUT_JOURNAL: u32 = 1;

pub(super) type Raw = &'static [u8];

pub(super) const META: TableDefinition<&str, Raw> = TableDefinition::new("meta");
pub(super) const KEYS: TableDefinition<Raw, Raw> = TableDefinition::new("keys");
pub(super) const LOG: TableDefinition<Raw, Raw> = TableDefinition::new("log");
pub(super) const LEASES: TableDefinition<i64, u64> = TableDefinition::new("leases");
pub(super) const LEASE_KEYS: TableDefinition<Raw, ()> = TableDefinition::new("lease_keys");

pub(super) const FORMAT_ROW: &str = "format";
pub(super) const STATE_ROW: &str = "state";
pub(super) const JOURNAL_ROW: &str = "journal";

/// etcd makes names of leases up to the last number there is, and its clients choose some; ours count on from what is
/// below this.
const CHOSEN_LEASES: i64 = 1 << 32;

/// The store's counters, written with every batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub revision: u64,
    /// The oldest readable revision.
    pub compacted: u64,
    /// Keys that exist now.
    pub keys: u64,
    /// Bytes of all records in `keys` and `log`: what the file would need at the least.
    pub record_bytes: u64,
    pub last_lease: i64,
}

impl State {
    /// An empty store. Like etcd's it stands at revision 1: Kubernetes gives 0 a meaning of its own.
    pub(super) fn empty() -> Self {
        Self {
            revision: 1,
            compacted: 1,
            keys: 0,
            record_bytes: 0,
            last_lease: 0,
        }
    }

    /// A lease comes from elsewhere: those that are made here count on from it, unless its name was chosen.
    pub(super) fn count_on_from(&mut self, lease: i64) {
        if lease < CHOSEN_LEASES {
            self.last_lease = self.last_lease.max(lease);
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = vec![0; 4];
        for number in [
            self.revision,
            self.compacted,
            self.keys,
            self.record_bytes,
            self.last_lease as u64,
        ] {
            row.extend(number.to_le_bytes());
        }
        seal(STATE_ROW.as_bytes(), row)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Fault> {
        let mut fields = open(STATE_ROW.as_bytes(), row)?;
        Ok(Self {
            revision: fields.number()?,
            compacted: fields.number()?,
            keys: fields.number()?,
            record_bytes: fields.number()?,
            last_lease: fields.number()? as i64,
        })
    }
}

/// Where the journal goes on from what the tree holds, written with every durable commit of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalStart {
    /// Random, so that no journal is taken for another store's, nor a value in it for a record.
    pub id: u64,
    /// Names the time since that commit. Even and odd ones are kept in different files.
    pub epoch: u64,
    /// The first record's.
    pub sequence: u64,
}

impl JournalStart {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = vec![0; 4];
        for number in [self.id, self.epoch, self.sequence] {
            row.extend(number.to_le_bytes());
        }
        seal(JOURNAL_ROW.as_bytes(), row)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Fault> {
        let mut fields = open(JOURNAL_ROW.as_bytes(), row)?;
        Ok(Self {
            id: fields.number()?,
            epoch: fields.number()?,
            sequence: fields.number()?,
        })
    }
}

/// One version of a key as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub kind: EventKind,
    pub create_revision: u64,
    pub version: u64,
    pub lease: i64,
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn encode(&self, versioned_key: &[u8]) -> Vec<u8> {
        let mut row = Vec::with_capacity(29 + self.value.len());
        row.extend([0; 4]);
        self.write(&mut row);
        seal(versioned_key, row)
    }

    pub(super) fn decode(versioned_key: &[u8], row: &'a [u8]) -> Result<Self, Fault> {
        Self::read(open(versioned_key, row)?)
    }

    fn write(&self, row: &mut Vec<u8>) {
        row.push(kind_byte(self.kind));
        row.extend(self.create_revision.to_le_bytes());
        row.extend(self.version.to_le_bytes());
        row.extend(self.lease.to_le_bytes());
        row.extend(self.value);
    }

    fn read(mut fields: Fields<'_, 'a>) -> Result<Self, Fault> {
        Ok(Self {
            kind: fields.kind()?,
            create_revision: fields.number()?,
            version: fields.number()?,
            lease: fields.number()? as i64,
            value: fields.rest,
        })
    }

    /// Whether the row is a deletion, without looking at the rest of it.
    pub(super) fn is_deletion(row: &[u8]) -> bool {
        row.get(4) == Some(&kind_byte(EventKind::Delete))
    }
}

/// One change of one revision as it is logged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogEntry<'a> {
    pub kind: EventKind,
    /// Revision of the version before; 0: there was none.
    pub previous: u64,
    pub key: &'a [u8],
    /// The version before. Entries of [`FORMAT_OF_ALL_VERSIONS`] don't have it: it is in `keys`.
    pub replaced: Option<Record<'a>>,
}

impl<'a> LogEntry<'a> {
    pub(super) fn encode(&self, position: &[u8]) -> Vec<u8> {
        let replaced_len = self
            .replaced
            .as_ref()
            .map_or(0, |replaced| 29 + replaced.value.len());
        let mut row = Vec::with_capacity(13 + self.key.len() + replaced_len);
        row.extend([0; 4]);
        row.push(kind_byte(self.kind) | self.replaced.as_ref().map_or(0, |_| WITH_REPLACED));
        row.extend(self.previous.to_le_bytes());
        if let Some(replaced) = &self.replaced {
            row.extend((self.key.len() as u32).to_le_bytes());
            row.extend(self.key);
            replaced.write(&mut row);
        } else {
            row.extend(self.key);
        }
        seal(position, row)
    }

    pub(super) fn decode(position: &[u8], row: &'a [u8]) -> Result<Self, Fault> {
        let mut fields = open(position, row)?;
        let (kind, has_replaced) = fields.kind_and_mark()?;
        let previous = fields.number()?;
        let (key, replaced) = if has_replaced {
            let key = fields.counted()?;
            (key, Some(Record::read(fields)?))
        } else {
            (fields.rest, None)
        };
        Ok(Self {
            kind,
            previous,
            key,
            replaced,
        })
    }
}

/// Where the `index`th change of `revision` is logged.
pub(super) fn log_position(revision: u64, index: u32) -> Vec<u8> {
    [&revision.to_be_bytes()[..], &index.to_be_bytes()[..]].concat()
}

/// The revision of a log position.
pub(super) fn log_revision(position: &[u8]) -> Result<u64, Fault> {
    position
        .first_chunk()
        .map(|bytes| u64::from_be_bytes(*bytes))
        .ok_or_else(|| rotten(position))
}

/// Which change of its revision is logged there.
pub(super) fn log_index(position: &[u8]) -> Result<u64, Fault> {
    position
        .last_chunk()
        .map(|bytes| u64::from(u32::from_be_bytes(*bytes)))
        .ok_or_else(|| rotten(position))
}

/// Everything stored for `key` sorts at or after this, everything for smaller keys before it.
/// A NUL in the key is escaped so that the end mark stays unique and order is kept.
pub(super) fn key_bound(key: &[u8]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(key.len() + 10);
    for byte in key {
        bound.push(*byte);
        if *byte == 0 {
            bound.push(0xff);
        }
    }
    bound.extend([0, 1]);
    bound
}

/// The row of `key` as of `revision`.
pub(super) fn versioned_key(key: &[u8], revision: u64) -> Vec<u8> {
    let mut row = key_bound(key);
    row.extend(revision.to_be_bytes());
    row
}

/// Splits a row's key into what all versions share, and the revision.
pub(super) fn split_version(row: &[u8]) -> Result<(&[u8], u64), Fault> {
    row.split_last_chunk()
        .map(|(bound, revision)| (bound, u64::from_be_bytes(*revision)))
        .ok_or_else(|| rotten(row))
}

/// The key that [`key_bound`] made this of.
pub(super) fn key_of_bound(bound: &[u8]) -> Result<Key, Fault> {
    Ok(match key_bytes_of_bound(bound)? {
        Cow::Borrowed(key) => key.into(),
        Cow::Owned(key) => key.into(),
    })
}

/// The same, in place if that can be.
pub(super) fn key_bytes_of_bound(bound: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    let escaped = bound.strip_suffix(&[0, 1]).ok_or_else(|| rotten(bound))?;
    if !escaped.contains(&0) {
        return Ok(Cow::Borrowed(escaped));
    }
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 {
            bytes.next();
        }
    }
    Ok(Cow::Owned(key))
}

/// The row that ties `key` to `lease`.
pub(super) fn lease_key(lease: i64, key: &[u8]) -> Vec<u8> {
    [&lease.to_be_bytes()[..], key].concat()
}

/// Beside the kind of a log entry: the version before follows the key.
const WITH_REPLACED: u8 = 0x80;

fn kind_byte(kind: EventKind) -> u8 {
    match kind {
        EventKind::Put => 0,
        EventKind::Delete => 1,
    }
}

/// Writes the checksum of row and key into the row's first four bytes.
fn seal(key: &[u8], mut row: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c(&[key, &row[4..]]);
    row[..4].copy_from_slice(&checksum.to_le_bytes());
    row
}

fn open<'k, 'a>(key: &'k [u8], row: &'a [u8]) -> Result<Fields<'k, 'a>, Fault> {
    let (checksum, rest) = row.split_first_chunk().ok_or_else(|| rotten(key))?;
    if u32::from_le_bytes(*checksum) != crc32c(&[key, rest]) {
        return Err(rotten(key));
    }
    Ok(Fields { key, rest })
}

fn rotten(key: &[u8]) -> Fault {
    Fault::Rotten(format!(
        "the record of {} does not match its checksum",
        key.escape_ascii()
    ))
}

struct Fields<'k, 'a> {
    key: &'k [u8],
    rest: &'a [u8],
}

impl<'a> Fields<'_, 'a> {
    fn number(&mut self) -> Result<u64, Fault> {
        let (number, rest) = self.rest.split_first_chunk().ok_or_else(|| rotten(self.key))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*number))
    }

    fn kind(&mut self) -> Result<EventKind, Fault> {
        match self.kind_and_mark()? {
            (kind, false) => Ok(kind),
            (_, true) => Err(rotten(self.key)),
        }
    }

    fn kind_and_mark(&mut self) -> Result<(EventKind, bool), Fault> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| rotten(self.key))?;
        self.rest = rest;
        let kind = match byte & !WITH_REPLACED {
            0 => EventKind::Put,
            1 => EventKind::Delete,
            _ => return Err(rotten(self.key)),
        };
        Ok((kind, byte & WITH_REPLACED != 0))
    }

    /// Bytes with their number in front.
    fn counted(&mut self) -> Result<&'a [u8], Fault> {
        let counted = self
            .rest
            .split_first_chunk()
            .and_then(|(count, rest)| rest.split_at_checked(u32::from_le_bytes(*count) as usize));
        let (bytes, rest) = counted.ok_or_else(|| rotten(self.key))?;
        self.rest = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flipped_bit_is_found() {
        let key = versioned_key(b"a", 7);
        let record = Record {
            kind: EventKind::Put,
            create_revision: 5,
            version: 2,
            lease: 0,
            value: b"value",
        };
        let row = record.encode(&key);
        assert_eq!(Record::decode(&key, &row).unwrap(), record);
        assert!(Record::decode(&versioned_key(b"a", 8), &row).is_err());
        for bit in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&key, &bad).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn rows_sort_as_keys_then_revisions(
            a in proptest::collection::vec(proptest::sample::select(vec![0, 1, 2, b'a', 0xfe, 0xff]), 0..5),
            b in proptest::collection::vec(proptest::sample::select(vec![0, 1, 2, b'a', 0xfe, 0xff]), 0..5),
            at: u64, then: u64,
        ) {
            let rows = versioned_key(&a, at).cmp(&versioned_key(&b, then));
            prop_assert_eq!(rows, (&a, at).cmp(&(&b, then)));
            prop_assert_eq!(key_bound(&b) <= versioned_key(&a, at), b <= a);
            let row = versioned_key(&a, at);
            let (bound, revision) = split_version(&row).unwrap();
            prop_assert_eq!(revision, at);
            prop_assert_eq!(&*key_of_bound(bound).unwrap(), a);
        }
    }
}
