//! One process, one store: a lock file that says who holds it.
use super::fault::from_io;
use crate::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const LOCK_FILE: &str = "LOCK";

/// Held as long as it lives; the kernel lets go when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
}

impl LockFile {
    /// Takes the lock of the store in `directory`, or says which process has it.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(LOCK_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| from_io(error, directory))?;
        let locked = Self::lock(file, directory, &path)?;
        // The name of the holder is a courtesy: a full disk must not stop the store.
        if let Err(error) = write_pid(&locked.file) {
            tracing::warn!(path = %path.display(), %error, "cannot note the holder of the store's lock");
        }
        Ok(locked)
    }

    /// Keeps others out while something is looked at, without changing anything. `None`: there is
    /// nothing to lock, nobody has ever opened a store here.
    pub(super) fn look(directory: &Path) -> Result<Option<Self>, StoreError> {
        let path = directory.join(LOCK_FILE);
        match File::open(&path) {
            Ok(file) => Self::lock(file, directory, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    fn lock(mut file: File, directory: &Path, path: &Path) -> Result<Self, StoreError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let holder = match file.read_to_string(&mut pid) {
                    Ok(_) if !pid.trim().is_empty() => format!("pid {}", pid.trim()),
                    _ => "pid unknown".to_owned(),
                };
                Err(StoreError::Locked {
                    path: directory.to_owned(),
                    holder,
                })
            }
            Err(TryLockError::Error(source)) => Err(StoreError::Io {
                path: path.to_owned(),
                source,
            }),
        }
    }
}

fn write_pid(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
