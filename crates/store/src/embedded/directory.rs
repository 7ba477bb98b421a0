//! Directories of stores, made so that their names outlive a power cut.
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Makes a directory that only its owner looks into, and those that it lies in.
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    make(directory, DirBuilder::new().mode(0o700))
}

/// Makes a directory as directories usually are, and those that it lies in.
pub(super) fn make_usual(directory: &Path) -> io::Result<()> {
    make(directory, &mut DirBuilder::new())
}

fn make(directory: &Path, builder: &mut DirBuilder) -> io::Result<()> {
    let gaining = gaining_names(directory);
    builder.recursive(true).create(directory)?;
    gaining.iter().try_for_each(|parent| sync(parent))
}

/// Has the system keep what a directory has now.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    match File::open(directory) {
        Ok(opened) => opened.sync_all(),
        // Names may be made in a directory that may not be read; then nothing can be done for them.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// The directories in which there is a new name when `directory` has been made: what is synced in it is lost with it
/// otherwise.
fn gaining_names(directory: &Path) -> Vec<PathBuf> {
    let missing = directory
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    };
    missing.map(parent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_directory_that_gets_a_name_is_synced() {
        let root = tempfile::tempdir().unwrap();
        let (root, deep) = (root.path(), root.path().join("is/to/be"));
        assert_eq!(
            gaining_names(&deep),
            [root.join("is/to"), root.join("is"), root.to_owned()]
        );
        make_private(&deep).unwrap();
        assert_eq!(gaining_names(&deep), [] as [PathBuf; 0]);
        assert_eq!(deep.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(gaining_names(Path::new("is-not-here")), [PathBuf::from(".")]);
    }
}
