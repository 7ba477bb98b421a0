//! What files were when they were looked at: by that it shows that they are others now.
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Some files as they were; none where there was no file.
pub(crate) type Seen = Vec<Option<FileVersion>>;

/// What changes when a file is written or replaced, or when somebody else may read it: one that could not be read when
/// it was new is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    modified: SystemTime,
    length: u64,
    inode: u64,
    owner: u32,
    group: u32,
    mode: u32,
}

impl FileVersion {
    /// Of the file as it is now; none while it isn't there.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: meta.modified().ok()?,
            length: meta.len(),
            inode: meta.ino(),
            owner: meta.uid(),
            group: meta.gid(),
            mode: meta.mode(),
        })
    }
}

/// Looks at files, as they are now.
pub(crate) fn look<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Seen {
    paths.into_iter().map(|path| FileVersion::of(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_another_when_it_was_written_or_replaced_or_may_be_read_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let (path, fresh) = (dir.path().join("a"), dir.path().join("fresh"));
        // As long and as old as any other: written within one tick of the clock.
        let put = |path: &Path, text: &str| {
            std::fs::write(path, text).unwrap();
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        };
        let paths = [path.clone()];
        assert!(look(&paths)[0].is_none());
        put(&path, "one");
        let mut seen = look(&paths);
        assert_eq!(look(&paths), seen, "nothing happened");
        let mut is_another = || {
            let now = look(&paths);
            std::mem::replace(&mut seen, now.clone()) != now
        };
        put(&path, "three");
        assert!(is_another(), "written");
        put(&fresh, "seven");
        std::fs::rename(&fresh, &path).unwrap();
        assert!(is_another(), "replaced");
        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(is_another(), "its readers");
        std::fs::remove_file(&path).unwrap();
        assert!(is_another(), "gone");
        assert!(!is_another());
    }
}
