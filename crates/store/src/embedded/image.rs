//! Looking at a store without touching it, even while another process holds it.
use super::damage::{self, Damage, Verified};
use super::database::Db;
use super::disk::{FileDisk, MemoryDisk, Part, Side};
use super::lock::LockFile;
use super::{DATABASE_FILE, EmbeddedStore, Options, Stats, SystemClock, fault};
use crate::StoreError;
use crate::snapshot::SnapshotError;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A copy is torn if the store is written to twice while it is taken: try again so often,
const COPIES_MAX: usize = 10;
/// after so long.
const COPY_PAUSE: Duration = Duration::from_millis(200);

/// The bytes of a store as of one moment, in memory.
#[derive(Debug)]
pub struct Image {
    disk: Arc<MemoryDisk>,
    /// Another process has the store.
    pub in_use: bool,
    bytes: u64,
}

impl Image {
    /// Reads the store in `directory`. If a process holds it, a copy is good when the engine, which
    /// then verifies every page of it, finds a complete commit in it.
    pub fn take(directory: &Path) -> Result<Self, StoreError> {
        match LockFile::look(directory) {
            Ok(_lock) => return Self::copy(directory, false),
            Err(StoreError::Locked { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut copies = 0;
        loop {
            let image = Self::copy(directory, true)?;
            copies += 1;
            match image.open() {
                Ok(db) => {
                    // Of a copy in memory, which is opened again.
                    let _ = db.close();
                    return Ok(image);
                }
                Err(error @ StoreError::NewerFormat { .. }) => return Err(error),
                Err(error) if copies == COPIES_MAX => return Err(error),
                Err(_) => std::thread::sleep(COPY_PAUSE),
            }
        }
    }

    fn copy(directory: &Path, in_use: bool) -> Result<Self, StoreError> {
        let path = directory.join(DATABASE_FILE);
        let files = FileDisk::new(path.clone());
        // The journal first: what it lacks then is in the tree.
        let [even, odd] = [Side::Even, Side::Odd].map(|side| read(&files.file(Part::Journal(side))));
        let (even, odd) = (even?.unwrap_or_default(), odd?.unwrap_or_default());
        let bytes = read(&path)?.ok_or_else(|| StoreError::NoStore {
            path: directory.to_owned(),
        })?;
        Ok(Self {
            in_use,
            bytes: bytes.len() as u64,
            disk: Arc::new(MemoryDisk::new(path, [bytes, even, odd])),
        })
    }

    fn open(&self) -> Result<Db, StoreError> {
        match self.examine()? {
            (db, None) => Ok(db),
            (db, Some(damage)) => Err(damage.read_only(&db.path())),
        }
    }

    fn examine(&self) -> Result<(Db, Option<Damage>), StoreError> {
        let clock = Arc::new(SystemClock::default());
        let open = || damage::open(self.disk.clone(), clock, &Options::default());
        if self.in_use {
            // It is no news then that the copy was not closed.
            tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), open)
        } else {
            open()
        }
    }

    /// Checks everything that can be checked.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        match self.examine()? {
            (db, None) => db.read(damage::records),
            (_, Some(damage)) => Ok(Verified::damaged(&damage)),
        }
    }

    /// Counts what the store holds.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        self.open()?
            .read(|snapshot| super::stats::stats(snapshot, self.bytes))
    }

    /// Opens the copy as a store of its own.
    pub fn store(&self) -> Result<Arc<EmbeddedStore>, StoreError> {
        let clock = Arc::new(SystemClock::default());
        EmbeddedStore::with_disk(self.disk.clone(), clock, Options::default())
    }

    /// Writes the store to `out` as a snapshot of etcd.
    pub fn backup(&self, out: impl Write) -> Result<(), SnapshotError> {
        let db = self.open()?;
        super::snapshot::save(&db, out)
    }
}

/// The bytes of a file; `None` if it isn't there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault::from_io(error, path)),
    }
}
