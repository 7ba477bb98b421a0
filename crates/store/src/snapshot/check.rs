//! Whether a file is a snapshot, and whole.
use super::{CHECKSUM_BYTES, SnapshotError};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A bbolt file's length is a multiple of this; what is behind the last one is the checksum.
const BLOCK_BYTES: u64 = 512;

/// Verifies the checksum behind the database. A bare database, copied from a data directory of etcd,
/// has none: false.
pub fn checksum(path: &Path) -> Result<bool, SnapshotError> {
    let io_error = SnapshotError::io(path);
    let mut file = File::open(path).map_err(io_error)?;
    let len = file.metadata().map_err(io_error)?.len();
    match len % BLOCK_BYTES {
        0 => return Ok(false),
        CHECKSUM_BYTES => {}
        _ => {
            return Err(SnapshotError::NotASnapshot {
                path: path.to_owned(),
                reason: format!("no such file has {len} bytes; it may have been cut short"),
            });
        }
    }
    let mut hash = Sha256::new();
    let mut database = (&mut file).take(len - CHECKSUM_BYTES);
    let mut chunk = vec![0; 64 << 10];
    loop {
        match database.read(&mut chunk).map_err(io_error)? {
            0 => break,
            read => hash.update(&chunk[..read]),
        }
    }
    let mut expected = [0; CHECKSUM_BYTES as usize];
    file.read_exact(&mut expected).map_err(io_error)?;
    if hash.finalize().as_slice() != expected {
        return Err(SnapshotError::Checksum {
            path: path.to_owned(),
        });
    }
    Ok(true)
}
