//! How a batch is written in the journal: one record that holds the rows it has changed.
//!
//! A record begins at a sector, so that writing the next one touches no sector of what was
//! acknowledged before. Header and payload have checksums of their own: of a payload that has rotted the
//! header still says how long it is, and rows of `keys` and `log` prove themselves.
use crate::embedded::crc::crc32c;

/// What a disk writes whole or not at all.
pub(in crate::embedded) const SECTOR_BYTES: usize = 512;
const HEADER_BYTES: usize = 48;
const ROW_HEADER_BYTES: usize = 9;
/// Marks a row that was taken away.
const REMOVED: u8 = 0x80;

/// The table a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) enum TableId {
    Meta = 0,
    Keys = 1,
    Log = 2,
    Leases = 3,
    LeaseKeys = 4,
}

impl TableId {
    fn of(tag: u8) -> Option<Self> {
        [Self::Meta, Self::Keys, Self::Log, Self::Leases, Self::LeaseKeys]
            .into_iter()
            .find(|table| *table as u8 == tag)
    }
}

/// A row as it is after the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) struct Row<'a> {
    pub table: TableId,
    pub key: &'a [u8],
    /// `None`: there is no such row any more.
    pub value: Option<&'a [u8]>,
}

impl Row<'_> {
    fn write(&self, bytes: &mut Vec<u8>) {
        let value = self.value.unwrap_or_default();
        bytes.push(self.table as u8 | if self.value.is_some() { 0 } else { REMOVED });
        // No row comes near four gigabytes: the engine's limit is three.
        bytes.extend((self.key.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(self.key);
        bytes.extend(value);
    }
}

/// The rows of one batch, in the order in which they were changed.
#[derive(Debug)]
pub(in crate::embedded) struct Rows {
    /// With space for the header in front.
    bytes: Vec<u8>,
    count: u32,
    /// What they were before, in the same form.
    before: Vec<u8>,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            count: 0,
            before: Vec::new(),
        }
    }
}

impl Rows {
    /// Notes a row that was changed, and what it was before.
    pub(in crate::embedded) fn push(&mut self, row: Row<'_>, before: Option<&[u8]>) {
        row.write(&mut self.bytes);
        self.count += 1;
        let Row { table, key, .. } = row;
        Row {
            table,
            key,
            value: before,
        }
        .write(&mut self.before);
    }

    /// What takes the changes back, in order, when the rows are gone.
    pub(in crate::embedded) fn take_before(&mut self) -> Before {
        Before(std::mem::take(&mut self.before))
    }

    #[cfg(test)]
    pub(super) fn of_bytes(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes],
            ..Self::default()
        }
    }

    /// Bytes of the record on the disk.
    pub(in crate::embedded) fn sectors_bytes(&self) -> u64 {
        self.bytes.len().next_multiple_of(SECTOR_BYTES) as u64
    }

    /// The record, whole sectors of it.
    pub(super) fn seal(mut self, place: Place) -> Vec<u8> {
        let payload = &self.bytes[HEADER_BYTES..];
        let header = Header {
            payload_crc: crc32c(&[payload]),
            payload_len: payload.len() as u32,
            rows: self.count,
            place,
        }
        .encode();
        self.bytes[..HEADER_BYTES].copy_from_slice(&header);
        let sectors = self.bytes.len().next_multiple_of(SECTOR_BYTES);
        self.bytes.resize(sectors, 0);
        self.bytes
    }
}

/// What rows were before they were changed.
pub(in crate::embedded) struct Before(Vec<u8>);

impl Before {
    /// In the order in which they are to be written.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let (mut rows, _) = split_rows(&self.0);
        rows.reverse();
        rows
    }
}

/// Which record this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) struct Place {
    pub id: u64,
    pub epoch: u64,
    /// The sequence number of the epoch's first record.
    pub epoch_start: u64,
    pub sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    payload_crc: u32,
    payload_len: u32,
    rows: u32,
    pub place: Place,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.rows.to_le_bytes());
        let Place {
            id,
            epoch,
            epoch_start,
            sequence,
        } = self.place;
        for (index, number) in [id, epoch, epoch_start, sequence].into_iter().enumerate() {
            bytes[16 + 8 * index..24 + 8 * index].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c(&[&bytes[4..]]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads what begins here, if it is the header of a record.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let short = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        if short(0)? != crc32c(&[&bytes[4..]]) {
            return None;
        }
        Some(Self {
            payload_crc: short(4)?,
            payload_len: short(8)?,
            rows: short(12)?,
            place: Place {
                id: long(16)?,
                epoch: long(24)?,
                epoch_start: long(32)?,
                sequence: long(40)?,
            },
        })
    }

    /// What follows the header, as far as it is there.
    fn payload<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        let rest = record.get(HEADER_BYTES..).unwrap_or_default();
        rest.get(..self.payload_len as usize).unwrap_or(rest)
    }
}

/// A record as it was found.
#[derive(Clone, Copy, Debug)]
pub(in crate::embedded) struct Record<'a> {
    pub(super) header: Header,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads what begins here, sound or not, if its header is.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::decode(bytes)?;
        Some(Self {
            header,
            payload: header.payload(bytes),
        })
    }

    pub(super) fn is_sound(&self) -> bool {
        self.payload.len() == self.header.payload_len as usize
            && crc32c(&[self.payload]) == self.header.payload_crc
    }

    /// Whether it is a mark behind what was acknowledged, and no batch.
    pub(super) fn is_mark(&self) -> bool {
        self.header.rows == 0
    }

    /// Bytes on the disk.
    pub(super) fn sectors_bytes(&self) -> usize {
        (HEADER_BYTES + self.header.payload_len as usize).next_multiple_of(SECTOR_BYTES)
    }

    /// The rows, and whether these are all of them: of a sound record they always are.
    pub(in crate::embedded) fn rows(&self) -> (Vec<Row<'a>>, bool) {
        let (rows, whole) = split_rows(self.payload);
        let whole = whole && rows.len() == self.header.rows as usize;
        (rows, whole)
    }
}

/// The rows, and whether nothing but rows is there.
fn split_rows(mut rest: &[u8]) -> (Vec<Row<'_>>, bool) {
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let Some((row, behind)) = split_row(rest) else {
            return (rows, false);
        };
        rows.push(row);
        rest = behind;
    }
    (rows, true)
}

fn split_row(bytes: &[u8]) -> Option<(Row<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<ROW_HEADER_BYTES>()?;
    let length = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?) as usize);
    let (key, rest) = rest.split_at_checked(length(1)?)?;
    let (value, rest) = rest.split_at_checked(length(5)?)?;
    let tag = header[0];
    let row = Row {
        table: TableId::of(tag & !REMOVED)?,
        key,
        value: (tag & REMOVED == 0).then_some(value),
    };
    Some((row, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        id: 1,
        epoch: 2,
        epoch_start: 3,
        sequence: 4,
    };

    fn changed() -> [Row<'static>; 3] {
        let row = |table, key, value| Row { table, key, value };
        [
            row(TableId::Keys, b"key".as_slice(), Some([7; 600].as_slice())),
            row(TableId::LeaseKeys, b"gone", None),
            row(TableId::Meta, b"state", Some(b"")),
        ]
    }

    fn record() -> Vec<u8> {
        let mut rows = Rows::default();
        for row in changed() {
            rows.push(row, None);
        }
        rows.seal(PLACE)
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let bytes = record();
        assert_eq!(bytes.len(), 2 * SECTOR_BYTES);
        let record = Record::parse(&bytes).unwrap();
        assert!(record.is_sound());
        assert_eq!(
            (record.header.place, record.sectors_bytes()),
            (PLACE, bytes.len())
        );
        assert_eq!(record.rows(), (changed().to_vec(), true));
    }

    #[test]
    fn what_was_before_comes_back_last_first() {
        let mut rows = Rows::default();
        let [key, gone, state] = changed();
        rows.push(key, None);
        rows.push(gone, Some(b""));
        rows.push(state, Some(b"older"));
        let with = |row: Row<'static>, value| Row { value, ..row };
        let before = rows.take_before();
        assert_eq!(
            before.rows(),
            [
                with(state, Some(b"older")),
                with(gone, Some(b"")),
                with(key, None)
            ]
        );
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let bytes = record();
        let used = HEADER_BYTES + Record::parse(&bytes).unwrap().header.payload_len as usize;
        for bit in 0..used * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let believed = Record::parse(&bad).is_some_and(|record| record.is_sound());
            assert!(!believed, "bit {bit}");
        }
        for length in [0, 47, 48, 511, 512] {
            let believed = Record::parse(&bytes[..length]).is_some_and(|record| record.is_sound());
            assert!(!believed, "{length} bytes of it");
        }
    }
}
