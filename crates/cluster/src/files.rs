//! Files of a node, written whole.
use crate::ClusterError;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Replaces a file in one step; mode 0600. A file that says the same already is left alone: who watches it is not
/// disturbed.
pub fn write_private(path: &Path, text: &str) -> Result<(), ClusterError> {
    write(path, text, 0o600)
}

/// The same, for everybody to read.
pub fn write_public(path: &Path, text: &str) -> Result<(), ClusterError> {
    write(path, text, 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), ClusterError> {
    if std::fs::read_to_string(path).is_ok_and(|present| present == text) {
        return shut(path, mode);
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(ClusterError::file("create the directory", parent))?;
    }
    let fresh = fresh(path);
    let _ = std::fs::remove_file(&fresh);
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(ClusterError::file("write", &fresh))?;
    std::fs::rename(&fresh, path).map_err(ClusterError::file("replace", path))
}

/// Takes rights away that a file with this mode does not give: people may have copied a secret without seeing to that.
fn shut(path: &Path, mode: u32) -> Result<(), ClusterError> {
    let fail = || ClusterError::file("set the permissions of", path);
    let now = std::fs::metadata(path).map_err(fail())?.permissions().mode() & 0o777;
    if now & !mode == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(now & mode)).map_err(fail())
}

/// Writes a file that is there anew, as the file that it is: who has it mounted by itself, as static pods have their
/// kubeconfigs, would go on seeing one that was replaced. Until it is whole, what it is to say lies beside it, for
/// [`finish_rewrite`].
pub fn rewrite(path: &Path, text: &str) -> Result<(), ClusterError> {
    let next = next(path);
    write_private(&next, text)?;
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(ClusterError::file("write", path))?;
    remove(&next)
}

/// Does what is left of a [`rewrite`] that was cut short.
pub fn finish_rewrite(path: &Path) -> Result<(), ClusterError> {
    match read_optional(&next(path))? {
        Some(text) => rewrite(path, &text),
        None => Ok(()),
    }
}

/// Where a file is written before it takes its place.
fn fresh(path: &Path) -> PathBuf {
    hidden(path, "new")
}

/// Where a file's next text lies while it is being rewritten.
pub(crate) fn next(path: &Path) -> PathBuf {
    hidden(path, "next")
}

/// What may lie beside a file when who wrote it was killed: there are keys in some.
pub fn half_written(path: &Path) -> [PathBuf; 3] {
    [fresh(path), next(path), orlop_pki::half_written(path)]
}

/// A file beside another: the node agent passes over names that begin with a dot.
fn hidden(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{ending}"))
}

/// A directory that only root enters.
pub fn private_directory(path: &Path) -> Result<(), ClusterError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(ClusterError::file("create the directory", path))
}

/// Gives a file another name.
pub fn rename(from: &Path, to: &Path) -> Result<(), ClusterError> {
    std::fs::rename(from, to).map_err(ClusterError::file("rename", from))
}

/// The text of a file, `None` when there is none.
pub fn read_optional(path: &Path) -> Result<Option<String>, ClusterError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ClusterError::file("read", path)(error)),
    }
}

pub fn read(path: &Path) -> Result<String, ClusterError> {
    std::fs::read_to_string(path).map_err(ClusterError::file("read", path))
}

/// Removes a file, or a directory with all in it, if it is there. A directory on which a file system is mounted stays,
/// empty.
pub fn remove(path: &Path) -> Result<(), ClusterError> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => remove_directory(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ClusterError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn remove_directory(path: &Path) -> std::io::Result<()> {
    let is_empty = || std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && is_empty() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// `kill -9` between emptying and writing.
    #[test]
    fn a_file_that_was_not_written_to_its_end_is_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.conf");
        write_private(&path, "old").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        rewrite(&path, "new").unwrap();
        assert_eq!(read(&path).unwrap(), "new");
        assert!(!next(&path).exists());
        std::fs::write(&path, "").unwrap();
        write_private(&next(&path), "newest").unwrap();
        finish_rewrite(&path).unwrap();
        assert_eq!(read(&path).unwrap(), "newest");
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        assert!(!next(&path).exists());
        finish_rewrite(&path).unwrap();
        assert_eq!(read(&path).unwrap(), "newest");
    }

    #[test]
    fn private_files_are_their_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.key");
        std::fs::write(&path, "other").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        for text in ["key", "key"] {
            write_private(&path, text).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        }
    }
}
