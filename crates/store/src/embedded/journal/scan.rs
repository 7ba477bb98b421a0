//! Reading a journal that may be torn at its end, or rotten anywhere.
//!
//! A record is written after the one before it is on the disk. So what is unreadable and followed by
//! records of the same epoch has rotted; what is unreadable at the end was being written when the power
//! went, and nobody was told of it. Behind the last record lies a mark, which is a record without rows, from soon
//! after it was acknowledged on: only until that mark is on the disk, too, a power cut and rot of that very
//! record look the same.
use super::record::{Record, SECTOR_BYTES};
use crate::embedded::disk::{Disk, Part, Side};
use crate::embedded::format::JournalStart;
use std::io;

/// The first sector of a file says whose journal it is.
pub(super) const FIRST_RECORD: usize = SECTOR_BYTES;

/// Both files of a journal, in memory.
#[derive(Debug)]
pub(in crate::embedded) struct Sides {
    even: Vec<u8>,
    odd: Vec<u8>,
}

/// What was found, in order.
#[derive(Debug)]
pub(in crate::embedded) enum Found<'a> {
    Sound(Record<'a>),
    /// Acknowledged batches that cannot be read, so many of them; of one the header may be left.
    Rotten {
        batches: u64,
        left: Option<Record<'a>>,
    },
}

/// A journal from where the tree leaves off.
#[derive(Debug)]
pub(in crate::embedded) struct Scan<'a> {
    pub found: Vec<Found<'a>>,
    /// The epoch, and the place in its file, where the next record belongs.
    pub epoch: u64,
    pub epoch_start: u64,
    pub end: usize,
    /// The next record's number.
    pub sequence: u64,
    /// Something unfinished lies at the end.
    pub is_torn: bool,
    until: u64,
}

impl Scan<'_> {
    pub(in crate::embedded) fn is_rotten(&self) -> bool {
        self.found
            .iter()
            .any(|found| matches!(found, Found::Rotten { .. }))
    }
}

pub(in crate::embedded) fn side_of(epoch: u64) -> Side {
    if epoch.is_multiple_of(2) {
        Side::Even
    } else {
        Side::Odd
    }
}

impl Sides {
    pub(in crate::embedded) fn load(disk: &dyn Disk) -> io::Result<Self> {
        let load = |side| {
            let file = disk.open(Part::Journal(side))?;
            let mut bytes = vec![0; file.len()? as usize];
            // Once more if the disk fails: a passing error is no damage.
            file.read(0, &mut bytes).or_else(|_| file.read(0, &mut bytes))?;
            Ok::<_, io::Error>(bytes)
        };
        Ok(Self {
            even: load(Side::Even)?,
            odd: load(Side::Odd)?,
        })
    }

    fn side(&self, side: Side) -> &[u8] {
        match side {
            Side::Even => &self.even,
            Side::Odd => &self.odd,
        }
    }

    /// Whether a file is there and is this store's.
    pub(in crate::embedded) fn has(&self, side: Side, id: u64) -> bool {
        let bytes = self.side(side);
        let first = bytes.get(..FIRST_RECORD);
        first.is_some_and(|first| first == first_sector(id))
            || (FIRST_RECORD..bytes.len())
                .step_by(SECTOR_BYTES)
                .filter_map(|at| Record::parse(&bytes[at..]))
                .any(|record| record.header.place.id == id)
    }

    /// Where the journal has begun last, by its own account: for want of the tree's.
    pub(in crate::embedded) fn last_start(&self) -> Option<JournalStart> {
        let starts = [&self.even, &self.odd].into_iter().flat_map(|bytes| {
            let sectors = (FIRST_RECORD..bytes.len()).step_by(SECTOR_BYTES);
            sectors.filter_map(|at| Record::parse(&bytes[at..]))
        });
        let last = starts
            .map(|record| record.header.place)
            .max_by_key(|place| place.epoch)?;
        Some(JournalStart {
            id: last.id,
            epoch: last.epoch,
            sequence: last.epoch_start,
        })
    }

    /// Everything that was acknowledged since the tree was at `start`, up to record `until` if that is known.
    pub(in crate::embedded) fn scan(&self, start: JournalStart, until: Option<u64>) -> Scan<'_> {
        let mut scan = Scan {
            until: until.unwrap_or(u64::MAX),
            found: Vec::new(),
            epoch: start.epoch,
            epoch_start: start.sequence,
            end: FIRST_RECORD,
            sequence: start.sequence,
            is_torn: false,
        };
        self.scan_epoch(start.id, &mut scan);
        // The tree may have fallen back: then the epoch after has been begun.
        let (before, torn) = (scan.found.len(), scan.is_torn);
        let behind = (scan.end, scan.epoch_start);
        scan.epoch += 1;
        scan.end = FIRST_RECORD;
        self.scan_epoch(start.id, &mut scan);
        if scan.found.len() == before {
            scan.epoch -= 1;
            (scan.end, scan.epoch_start) = behind;
            scan.is_torn = torn;
        }
        scan
    }

    fn scan_epoch<'a>(&'a self, id: u64, scan: &mut Scan<'a>) {
        let bytes = self.side(side_of(scan.epoch));
        let epoch = scan.epoch;
        let ours = |at: usize| {
            let record = Record::parse(bytes.get(at..)?)?;
            let place = record.header.place;
            (place.id == id && place.epoch == epoch).then_some(record)
        };
        scan.is_torn = false;
        while let Some(record) = next(scan, &ours, bytes.len()) {
            scan.epoch_start = record.header.place.epoch_start;
            scan.sequence = record.header.place.sequence.saturating_add(1);
            scan.end += record.sectors_bytes();
            scan.found.push(Found::Sound(record));
        }
    }
}

/// The next sound record, with what is lost before it noted. Leaves `scan.end` where it lies.
fn next<'a>(
    scan: &mut Scan<'a>,
    ours: &impl Fn(usize) -> Option<Record<'a>>,
    len: usize,
) -> Option<Record<'a>> {
    loop {
        let expected = scan.sequence;
        if expected >= scan.until {
            return None;
        }
        let here = ours(scan.end).filter(|record| record.header.place.sequence == expected);
        if let Some(record) = here
            && record.is_sound()
        {
            return Some(record);
        }
        let later = (scan.end..len).step_by(SECTOR_BYTES).find_map(|at| {
            let record = ours(at)?;
            (record.header.place.sequence > expected).then_some((at, record))
        });
        let Some((at, record)) = later else {
            scan.is_torn = here.is_some();
            return None;
        };
        scan.found.push(Found::Rotten {
            batches: record.header.place.sequence - expected,
            left: here.filter(|_| record.header.place.sequence == expected + 1),
        });
        // That one may be rotten itself, or torn.
        scan.sequence = record.header.place.sequence;
        scan.end = at;
    }
}

pub(super) fn first_sector(id: u64) -> Vec<u8> {
    let mut sector = b"orlop journal\n".to_vec();
    sector.resize(24, 0);
    sector.extend(id.to_le_bytes());
    sector.resize(SECTOR_BYTES, 0);
    sector
}

#[cfg(test)]
mod tests {
    use super::super::record::{Place, Row, Rows, TableId};
    use super::*;
    use proptest::prelude::*;

    const ID: u64 = 77;

    fn append(sides: &mut Sides, epoch: u64, epoch_start: u64, sequence: u64) {
        let mut rows = Rows::default();
        let row = Row {
            table: TableId::Keys,
            key: &sequence.to_be_bytes(),
            value: Some(&vec![1; sequence as usize * 100]),
        };
        rows.push(row, None);
        push(sides, rows, epoch, epoch_start, sequence);
    }

    fn mark(sides: &mut Sides, epoch: u64, epoch_start: u64, sequence: u64) {
        push(sides, Rows::default(), epoch, epoch_start, sequence);
    }

    fn push(sides: &mut Sides, rows: Rows, epoch: u64, epoch_start: u64, sequence: u64) {
        let record = rows.seal(Place {
            id: ID,
            epoch,
            epoch_start,
            sequence,
        });
        let side = match side_of(epoch) {
            Side::Even => &mut sides.even,
            Side::Odd => &mut sides.odd,
        };
        side.extend(record);
    }

    /// Records 1 to 5 in epoch 1, 6 to 9 in epoch 2.
    fn sides() -> Sides {
        let mut sides = Sides {
            even: first_sector(ID),
            odd: first_sector(ID),
        };
        for sequence in 1..=5 {
            append(&mut sides, 1, 1, sequence);
        }
        for sequence in 6..=9 {
            append(&mut sides, 2, 6, sequence);
        }
        sides
    }

    /// Numbers of the sound records; a number below zero stands for so many rotten ones.
    fn numbers(scan: &Scan<'_>) -> Vec<i64> {
        let number = |found: &Found<'_>| match found {
            Found::Sound(record) => record.header.place.sequence as i64,
            Found::Rotten { batches, .. } => -(*batches as i64),
        };
        scan.found.iter().map(number).collect()
    }

    fn start(epoch: u64, sequence: u64) -> JournalStart {
        JournalStart {
            id: ID,
            epoch,
            sequence,
        }
    }

    #[test]
    fn the_journal_goes_on_from_the_tree_whichever_of_its_commits_is_left() {
        let sides = sides();
        let scan = sides.scan(start(2, 6), None);
        assert_eq!(numbers(&scan), [6, 7, 8, 9]);
        assert_eq!((scan.epoch, scan.epoch_start, scan.sequence), (2, 6, 10));
        assert_eq!(scan.end, sides.even.len());
        let scan = sides.scan(start(1, 1), None);
        assert_eq!(numbers(&scan), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((scan.epoch, scan.epoch_start, scan.sequence), (2, 6, 10));
        let scan = sides.scan(start(3, 10), None);
        assert_eq!(numbers(&scan), [] as [i64; 0]);
        assert_eq!((scan.epoch, scan.epoch_start, scan.sequence), (3, 10, 10));
        let scan = sides.scan(start(1, 1), Some(8));
        assert_eq!(numbers(&scan), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((scan.epoch, scan.epoch_start, scan.sequence), (2, 6, 8));
        let other = JournalStart {
            id: 78,
            ..start(2, 6)
        };
        assert_eq!(numbers(&sides.scan(other, None)), [] as [i64; 0]);
    }

    #[test]
    fn a_torn_end_is_told_from_rot() {
        let starts: Vec<usize> = (0..sides().even.len())
            .step_by(SECTOR_BYTES)
            .filter(|at| Record::parse(&sides().even[*at..]).is_some())
            .collect();
        assert_eq!(starts.len(), 4);
        for (number, at) in starts.iter().enumerate() {
            for byte in [at + 3, at + 70] {
                let mut sides = self::sides();
                sides.even[byte] ^= 1;
                let scan = sides.scan(start(2, 6), None);
                let expected: &[i64] = match number {
                    0 => &[-1, 7, 8, 9],
                    1 => &[6, -1, 8, 9],
                    2 => &[6, 7, -1, 9],
                    _ => &[6, 7, 8],
                };
                assert_eq!(numbers(&scan), expected);
                assert_eq!(scan.sequence, if number == 3 { 9 } else { 10 });
                let header_left = byte == at + 70;
                assert_eq!(scan.is_torn, number == 3 && header_left);
                for found in &scan.found {
                    if let Found::Rotten { left, .. } = found {
                        assert_eq!(left.is_some(), header_left);
                    }
                }
            }
        }
        // A record behind which a mark lies is not the last.
        let mut sides = self::sides();
        mark(&mut sides, 2, 6, 10);
        assert_eq!(numbers(&sides.scan(start(2, 6), None)), [6, 7, 8, 9, 10]);
        sides.even[starts[3] + 70] ^= 1;
        assert_eq!(numbers(&sides.scan(start(2, 6), None)), [6, 7, 8, -1, 10]);
        sides.even[starts[3] + 3] ^= 1;
        assert_eq!(numbers(&sides.scan(start(2, 6), None)), [6, 7, 8, -1, 10]);
        // The last record of an epoch is not the last of all.
        let mut sides = self::sides();
        *sides.odd.last_mut().unwrap() ^= 1;
        let at = sides.odd.len() - 520;
        sides.odd[at] ^= 1;
        assert_eq!(
            numbers(&sides.scan(start(1, 1), None)),
            [1, 2, 3, 4, -1, 6, 7, 8, 9]
        );
        assert_eq!(numbers(&sides.scan(start(2, 6), None)), [6, 7, 8, 9]);
    }

    #[test]
    fn what_an_earlier_epoch_has_left_is_not_read() {
        let mut sides = self::sides();
        // Epoch 3 overwrites epoch 1, and is shorter.
        let mut fresh = Sides {
            even: Vec::new(),
            odd: first_sector(ID),
        };
        append(&mut fresh, 3, 10, 10);
        sides.odd[..fresh.odd.len()].copy_from_slice(&fresh.odd);
        assert_eq!(numbers(&sides.scan(start(3, 10), None)), [10]);
        assert_eq!(numbers(&sides.scan(start(2, 6), None)), [6, 7, 8, 9, 10]);
    }

    /// Pieces of a file: records with any place and rows, and anything else.
    #[derive(Clone, Debug)]
    enum Piece {
        Record {
            own: bool,
            epoch: u64,
            sequence: u64,
            row: Vec<u8>,
        },
        Bytes(Vec<u8>),
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..700);
        prop_oneof![
            (any::<bool>(), 0..5u64, 0..12u64, bytes()).prop_map(|(own, epoch, sequence, row)| {
                Piece::Record {
                    own,
                    epoch,
                    sequence,
                    row,
                }
            }),
            bytes().prop_map(Piece::Bytes),
        ]
    }

    fn file(pieces: &[Piece], flips: &[(usize, u8)]) -> Vec<u8> {
        let mut file = first_sector(ID);
        for piece in pieces {
            match piece {
                Piece::Record {
                    own,
                    epoch,
                    sequence,
                    row,
                } => {
                    let mut rows = Rows::default();
                    rows.push(
                        Row {
                            table: TableId::Keys,
                            key: row,
                            value: Some(row),
                        },
                        None,
                    );
                    file.extend(rows.seal(Place {
                        id: if *own { ID } else { ID + 1 },
                        epoch: *epoch,
                        epoch_start: 1,
                        sequence: *sequence,
                    }));
                }
                Piece::Bytes(bytes) => file.extend(bytes),
            }
        }
        for (at, bits) in flips {
            let at = at % file.len();
            file[at] ^= bits;
        }
        file
    }

    proptest! {
        /// Whatever lies in the files: what is read of them goes on from the tree without a gap that is not told.
        #[test]
        fn any_bytes_are_a_journal_with_an_end(
            even in proptest::collection::vec(piece(), 0..8),
            odd in proptest::collection::vec(piece(), 0..8),
            flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
            epoch in 0..4u64,
            sequence in 0..8u64,
            until in proptest::option::of(0..12u64),
        ) {
            let sides = Sides { even: file(&even, &flips), odd: file(&odd, &flips) };
            let scan = sides.scan(start(epoch, sequence), until);
            let mut next = sequence;
            for found in &scan.found {
                match found {
                    Found::Sound(record) => {
                        prop_assert!(record.is_sound());
                        prop_assert_eq!(record.header.place.sequence, next);
                        let _ = record.rows();
                        next += 1;
                    }
                    Found::Rotten { batches, left } => {
                        prop_assert!(*batches > 0);
                        next += batches;
                        let _ = left.map(|record| record.rows());
                    }
                }
            }
            prop_assert_eq!(scan.sequence, next);
            let _ = (sides.last_start(), sides.has(Side::Even, ID), sides.has(Side::Odd, ID));
        }
    }
}
