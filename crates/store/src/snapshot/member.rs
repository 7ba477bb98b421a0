//! The directory of a member of etcd that has been stopped: a database, and a log that may be ahead of it.
use super::SnapshotError;
use super::records;
use orlop_bolt::{BoltFile, ReadError};
use prost::Message;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Where a member keeps its things, below its data directory.
pub const MEMBER: &str = "member";
const DATABASE: &str = "snap/db";
const LOG: &str = "wal";

/// No record is larger, in bytes: a length above it is none.
const RECORD_BYTES_MAX: u64 = 1 << 30;
/// Kinds of records.
const ENTRY: i64 = 2;

/// A record of the log (`walpb.Record`).
#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(int64, optional, tag = "1")]
    kind: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    data: Option<Vec<u8>>,
}

/// An entry in it (`raftpb.Entry`).
#[derive(Clone, PartialEq, Message)]
struct LogEntry {
    #[prost(uint64, optional, tag = "3")]
    index: Option<u64>,
}

/// The database of a member's directory, if there is one.
pub fn database(directory: &Path) -> Option<PathBuf> {
    let path = directory.join(MEMBER).join(DATABASE);
    path.exists().then_some(path)
}

/// Keeps others from a member's database as long as it is held, by the lock that etcd has while it runs.
pub fn lock(database: &Path) -> Result<File, SnapshotError> {
    let io_error = SnapshotError::io(database);
    let file = File::open(database).map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SnapshotError::MemberRuns {
            path: database.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io_error(source)),
    }
}

/// Makes sure that the database of a member's directory has everything that its log has: a member that was stopped
/// in order, and one that was restored from a snapshot.
pub fn check_settled(directory: &Path) -> Result<(), SnapshotError> {
    let database = directory.join(MEMBER).join(DATABASE);
    let log = directory.join(MEMBER).join(LOG);
    let applied = applied(&database).map_err(|error| match error {
        ReadError::Io(source) => SnapshotError::io(&database)(source),
        error => SnapshotError::NotASnapshot {
            path: database.clone(),
            reason: error.to_string(),
        },
    })?;
    let logged = logged(&log).map_err(SnapshotError::io(&log))?;
    if logged > applied {
        return Err(SnapshotError::Unsettled {
            path: directory.to_owned(),
            logged,
            applied,
        });
    }
    Ok(())
}

/// The last entry of the log that the database holds.
fn applied(database: &Path) -> Result<u64, ReadError> {
    let file = File::open(database)?;
    let mut applied = 0;
    BoltFile::open(&file)?.for_each(records::META, |key, value| {
        if key == records::CONSISTENT_INDEX.as_bytes()
            && let Some(index) = value.first_chunk()
        {
            applied = u64::from_be_bytes(*index);
        }
        Ok::<_, ReadError>(())
    })?;
    Ok(applied)
}

/// The last entry that the log has. It may not have been decided upon by a majority; a member without others has
/// acknowledged it.
fn logged(log: &Path) -> io::Result<u64> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(log)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    // Their names count up.
    files.sort();
    let mut last = 0;
    for path in files {
        let mut file = BufReader::new(File::open(path)?);
        while let Some(record) = next_record(&mut file)? {
            if record.kind == Some(ENTRY) {
                let entry = LogEntry::decode(record.data.unwrap_or_default().as_slice())?;
                last = entry.index.unwrap_or(0);
            }
        }
    }
    Ok(last)
}

/// The next record of a file of the log. Behind the last one are zeros, or what was being written when the power went.
fn next_record(file: &mut impl Read) -> io::Result<Option<LogRecord>> {
    let mut head = [0; 8];
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let head = u64::from_le_bytes(head);
    let length = head & 0x00ff_ffff_ffff_ffff;
    // The first bit says that the length is padded, the last of the same byte by how much.
    let padding = match head >> 63 {
        0 => 0,
        _ => (head >> 56) & 0x7,
    };
    if length == 0 {
        return Ok(None);
    }
    if length > RECORD_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no record has this length",
        ));
    }
    let mut bytes = vec![0; (length + padding) as usize];
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    bytes.truncate(length as usize);
    LogRecord::decode(bytes.as_slice())
        .map(Some)
        .map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i64, data: &[u8]) -> Vec<u8> {
        let record = LogRecord {
            kind: Some(kind),
            data: Some(data.to_vec()),
        };
        let bytes = record.encode_to_vec();
        let padding = (8 - bytes.len() % 8) % 8;
        let mut head = bytes.len() as u64;
        if padding != 0 {
            head |= (0x80 | padding as u64) << 56;
        }
        let mut framed = head.to_le_bytes().to_vec();
        framed.extend(bytes);
        framed.extend(vec![0; padding]);
        framed
    }

    fn entry(index: u64) -> Vec<u8> {
        record(ENTRY, &LogEntry { index: Some(index) }.encode_to_vec())
    }

    #[test]
    fn the_last_entry_of_a_log_is_found_in_front_of_what_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, parts: &[Vec<u8>]| {
            std::fs::write(directory.path().join(name), parts.concat()).unwrap()
        };
        write(
            "0-0.wal",
            &[record(4, b""), entry(1), record(3, b"xyz"), entry(2)],
        );
        write("1-3.wal", &[record(4, b""), entry(3), vec![0; 64]]);
        write("2.tmp", &[entry(9)]);
        assert_eq!(logged(directory.path()).unwrap(), 3);
        let torn = entry(4);
        write("1-3.wal", &[entry(3), torn[..torn.len() - 3].to_vec()]);
        assert_eq!(logged(directory.path()).unwrap(), 3);
    }
}
