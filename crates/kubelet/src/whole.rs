//! Files that are there as a whole or not at all.
use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Where a file is written before it takes its name.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Puts a file in place, and makes the directory that it is in.
pub fn put(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let new = beside(path);
    std::fs::write(&new, content)?;
    std::fs::rename(new, path)
}

/// Removes a file, and what an interrupted write of it left; harmless when there is neither.
pub fn remove(path: &Path) -> Result<()> {
    for file in [path, &beside(path)] {
        gone(std::fs::remove_file(file))?;
    }
    Ok(())
}

/// What comes of removing something, where it is as well if there was nothing to remove.
pub fn gone(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_there_and_what_is_removed_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made").join("file.json");
        for content in ["one", "two"] {
            put(&path, content).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        std::fs::write(beside(&path), "thr").unwrap();
        for _ in 0..2 {
            remove(&path).unwrap();
            assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        }
    }
}
