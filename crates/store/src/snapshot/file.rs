//! A snapshot on its way into a file, which has its name only when it is whole.
use super::{SnapshotError, check};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes beside the file that is wanted; goes away unless it is kept.
#[derive(Debug)]
pub struct SnapshotFile {
    file: File,
    path: PathBuf,
    unfinished: PathBuf,
}

impl SnapshotFile {
    pub fn create(path: &Path) -> Result<Self, SnapshotError> {
        let mut unfinished = OsString::from(path);
        unfinished.push(format!(".{}.partial", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        // Secrets lie in it.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(SnapshotError::io(path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            unfinished,
        })
    }

    /// Gives the file its name if it is a whole snapshot; answers its length.
    pub fn keep(self) -> Result<u64, SnapshotError> {
        let io_error = SnapshotError::io(&self.path);
        self.file.sync_all().map_err(io_error)?;
        if !check::checksum(&self.unfinished)? {
            return Err(SnapshotError::NotASnapshot {
                path: self.path.clone(),
                reason: "it ended without a checksum".to_owned(),
            });
        }
        std::fs::rename(&self.unfinished, &self.path).map_err(io_error)?;
        let absolute = std::path::absolute(&self.path).map_err(io_error)?;
        if let Some(directory) = absolute.parent() {
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(io_error)?;
        }
        Ok(self.file.metadata().map_err(io_error)?.len())
    }
}

impl Write for SnapshotFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        // Not there any more if it was kept.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}
