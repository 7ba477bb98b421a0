//! Looking at a store without touching it, even while another process holds it.
use super::database::Db;
use super::disk::MemoryDisk;
use super::lock::LockFile;
use super::{DATABASE_FILE, Options, fault};
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
                    db.close();
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
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::NoStore {
                path: directory.to_owned(),
            },
            _ => fault::from_io(error, &path),
        })?;
        let disk = Arc::new(MemoryDisk::new(path, bytes));
        Ok(Self { disk, in_use })
    }

    fn open(&self) -> Result<Db, StoreError> {
        let open = || {
            let db = Db::open(self.disk.clone(), Options::default().cache_bytes)?;
            db.state()?;
            Ok(db)
        };
        if self.in_use {
            // It is no news then that the copy was not closed.
            tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), open)
        } else {
            open()
        }
    }

    /// Writes the store to `out` as a snapshot of etcd.
    pub fn backup(&self, out: impl Write) -> Result<(), SnapshotError> {
        let db = self.open()?;
        super::snapshot::save(&db, out)
    }
}
