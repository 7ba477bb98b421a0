//! Reading and atomically writing the files of the PKI directory.
use crate::PkiError;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Mode 0644.
    Public,
    /// Mode 0600.
    Private,
}

/// The file's text.
pub fn read(path: &Path) -> Result<String, PkiError> {
    std::fs::read_to_string(path).map_err(|source| PkiError::File {
        action: "read",
        path: path.into(),
        source,
    })
}

/// The file's text, or `None` if there is no such file.
pub fn read_optional(path: &Path) -> Result<Option<String>, PkiError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(PkiError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a file that is its owner's alone (mode 0600) by `content` in one step.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    write(path, content, Secrecy::Private)
}

/// Where a file is written before it takes its place.
pub fn half_written(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    path.with_file_name(name)
}

/// Replaces `path` by `content` in one step: a reader sees the old file or the new one, whole.
pub fn write(path: &Path, content: &[u8], secrecy: Secrecy) -> Result<(), PkiError> {
    write_beside(path, content, secrecy)?;
    put_in_place(path)
}

/// Writes what `path` is to hold beside it, whole, for [`put_in_place`].
pub fn write_beside(path: &Path, content: &[u8], secrecy: Secrecy) -> Result<(), PkiError> {
    let fail = |action: &'static str, at: &Path| {
        let path = at.to_path_buf();
        move |source| PkiError::File { action, path, source }
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(fail("create the directory", parent))?;
    }
    let fresh = half_written(path);
    // A leftover of an interrupted write may have another mode: start from nothing.
    let _ = std::fs::remove_file(&fresh);
    let mode = if secrecy == Secrecy::Private { 0o600 } else { 0o644 };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)
        .map_err(fail("create", &fresh))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(fail("write", &fresh))
}

/// Gives what [`write_beside`] wrote its place.
pub fn put_in_place(path: &Path) -> Result<(), PkiError> {
    std::fs::rename(half_written(path), path).map_err(|source| PkiError::File {
        action: "replace",
        path: path.to_path_buf(),
        source,
    })
}
