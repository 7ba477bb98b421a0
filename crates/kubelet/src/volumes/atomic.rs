//! A volume's files, which containers see change all at once.
//!
//! ```text
//! ..2026_01_31_10_00_00.3141/dir/file     the payload
//! ..data -> ..2026_01_31_10_00_00.3141    swapped by rename
//! dir    -> ..data/dir                    what users see
//! ```
use super::ownership::{self, FsGroup};
use crate::whole::gone;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

/// Payloads by path below the volume.
pub type Files = BTreeMap<String, File>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    pub owner: Option<u32>,
}

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// The volume has been written before.
pub fn is_written(volume: &Path) -> bool {
    volume.join(DATA).exists()
}

/// Makes `files` the content of the volume; `false` when it was already.
pub fn write(volume: &Path, files: &Files, group: Option<FsGroup>) -> io::Result<bool> {
    for path in files.keys() {
        check(path)?;
    }
    let old = std::fs::read_link(volume.join(DATA)).ok();
    let old_directory = old.as_ref().map(|old| volume.join(old));
    if old_directory.as_ref().is_some_and(|old| is_same(old, files)) {
        link_names(volume, files)?;
        return Ok(false);
    }
    let new = format!(
        "..{}.{}",
        jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S"),
        rand::random::<u32>()
    );
    let new_directory = volume.join(&new);
    std::fs::create_dir(&new_directory)?;
    std::fs::set_permissions(&new_directory, std::fs::Permissions::from_mode(0o755))?;
    let written = write_files(&new_directory, files)
        .and_then(|()| group.map_or(Ok(()), |group| ownership::apply(&new_directory, group, true)))
        .and_then(|()| swap(volume, &new));
    if let Err(error) = written {
        // The error is what matters; a payload nothing points to hurts nobody.
        let _ = std::fs::remove_dir_all(&new_directory);
        return Err(error);
    }
    link_names(volume, files)?;
    if let Some(old) = old_directory {
        std::fs::remove_dir_all(old)?;
    }
    Ok(true)
}

fn check(path: &str) -> io::Result<()> {
    let normal = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !normal || path.starts_with("..") {
        let message = format!("invalid path {path:?}: it must be relative, without '..'");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

fn write_files(directory: &Path, files: &Files) -> io::Result<()> {
    for (path, file) in files {
        let full = directory.join(path);
        if let Some(parent) = full.parent() {
            make_directories(directory, parent)?;
        }
        std::fs::write(&full, &file.data)?;
        std::fs::set_permissions(&full, std::fs::Permissions::from_mode(file.mode & 0o777))?;
        if file.owner.is_some() {
            chown(&full, file.owner, None)?;
        }
    }
    Ok(())
}

/// Directories between `top` and `wanted`, free of the umask.
fn make_directories(top: &Path, wanted: &Path) -> io::Result<()> {
    let mut path = top.to_owned();
    for part in wanted.strip_prefix(top).unwrap_or(Path::new("")).components() {
        path.push(part);
        if !path.is_dir() {
            std::fs::DirBuilder::new().mode(0o755).create(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

fn swap(volume: &Path, new: &str) -> io::Result<()> {
    let temporary = volume.join(DATA_NEW);
    gone(std::fs::remove_file(&temporary))?;
    symlink(new, &temporary)?;
    std::fs::rename(temporary, volume.join(DATA))
}

/// Gives every first path component its link, and takes those away that lead nowhere now.
fn link_names(volume: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let (link, target) = (volume.join(name), PathBuf::from(DATA).join(name));
        if std::fs::read_link(&link).is_ok_and(|old| old == target) {
            continue;
        }
        symlink(target, link)?;
    }
    for entry in std::fs::read_dir(volume)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let ours = std::fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(DATA));
        if ours && !wanted.contains(name) && !name.starts_with("..") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_same(directory: &Path, files: &Files) -> bool {
    let mut found = BTreeMap::new();
    collect(directory, "", &mut found).is_ok()
        && found.len() == files.len()
        && files
            .iter()
            .all(|(path, file)| found.get(path) == Some(&file.data))
}

fn collect(directory: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), found)?;
        } else {
            found.insert(path, std::fs::read(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str, u32)]) -> Files {
        let file = |data: &str, mode| File {
            data: data.as_bytes().to_vec(),
            mode,
            owner: None,
        };
        list.iter()
            .map(|(path, data, mode)| ((*path).to_owned(), file(data, *mode)))
            .collect()
    }

    #[test]
    fn e12_swap_as_a_whole_and_nothing_when_equal() {
        let volume = tempfile::tempdir().unwrap();
        let path = volume.path();
        assert!(write(path, &files(&[("a", "1", 0o644), ("d/b", "2", 0o400)]), None).unwrap());
        let first = std::fs::read_link(path.join("..data")).unwrap();
        assert_eq!(std::fs::read_link(path.join("d")).unwrap(), Path::new("..data/d"));
        assert_eq!(std::fs::read_to_string(path.join("d/b")).unwrap(), "2");
        assert!(!write(path, &files(&[("a", "1", 0o644), ("d/b", "2", 0o400)]), None).unwrap());
        assert_eq!(std::fs::read_link(path.join("..data")).unwrap(), first);
        assert!(write(path, &files(&[("a", "new", 0o644), ("c", "3", 0o644)]), None).unwrap());
        assert_ne!(std::fs::read_link(path.join("..data")).unwrap(), first);
        assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), "new");
        assert!(
            std::fs::symlink_metadata(path.join("d")).is_err(),
            "stale link is gone"
        );
        assert!(!path.join(first).exists(), "the old payload is gone");
        assert_eq!(
            std::fs::read_dir(path).unwrap().count(),
            4,
            "..data, payload, a, c"
        );
    }

    #[test]
    fn e13_exact_modes_and_bad_paths() {
        let volume = tempfile::tempdir().unwrap();
        write(
            volume.path(),
            &files(&[("a", "1", 0o400), ("b", "2", 0o440), ("c", "3", 0o777)]),
            None,
        )
        .unwrap();
        for (name, mode) in [("a", 0o400), ("b", 0o440), ("c", 0o777)] {
            let found = std::fs::metadata(volume.path().join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777;
            assert_eq!(found, mode, "{name}");
        }
        for bad in ["../x", "/x", "a/../b", "", "..x"] {
            assert!(
                write(volume.path(), &files(&[(bad, "", 0o644)]), None).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_empty_volume_is_written_too() {
        let volume = tempfile::tempdir().unwrap();
        assert!(write(volume.path(), &Files::new(), None).unwrap());
        assert!(is_written(volume.path()));
    }
}
