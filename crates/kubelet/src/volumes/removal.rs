//! Removing what a pod leaves behind, and nothing that is mounted there.
//!
//! The table of mounts is asked before. But between that and the removal something may be mounted, and what is removed by
//! mistake is gone: so the kernel is asked again at every step.
use crate::whole::gone;
use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, ResolveFlags, openat2, renameat_with, unlinkat,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// As many descriptors are open at most, and calls on the stack; whoever fills the volume says how deep it is.
const DEEPEST: usize = 128;

/// Removes a directory and all that is in it. Fine when it isn't there; stops at what is mounted.
pub fn tree(path: &Path) -> io::Result<()> {
    let Some(top) = top(path)? else { return Ok(()) };
    let mut lifted = 0;
    loop {
        let before = lifted;
        empty(&top, top.as_fd(), 0, &mut lifted)?;
        if lifted == before {
            return gone(std::fs::remove_dir(path));
        }
    }
}

/// Removes a directory of mount points, which lie so many levels below it: they are empty when nothing is mounted there,
/// and one that isn't is not touched.
pub fn mount_points(path: &Path, levels: usize) -> io::Result<()> {
    let Some(top) = top(path)? else { return Ok(()) };
    level(top.as_fd(), levels)?;
    gone(std::fs::remove_dir(path))
}

fn level(directory: BorrowedFd<'_>, levels: usize) -> io::Result<()> {
    if levels == 0 {
        return Ok(());
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if let Some(inner) = unlinked(directory, entry.file_name())? {
            level(inner.as_fd(), levels - 1)?;
            gone(unlinkat(directory, entry.file_name(), AtFlags::REMOVEDIR).map_err(io::Error::from))?;
        }
    }
    Ok(())
}

fn empty(top: &OwnedFd, directory: BorrowedFd<'_>, depth: usize, lifted: &mut u64) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(inner) = unlinked(directory, name)? else {
            continue;
        };
        if depth == DEEPEST {
            lift(directory, name, top, lifted)?;
            continue;
        }
        empty(top, inner.as_fd(), depth + 1, lifted)?;
        drop(inner);
        gone(unlinkat(directory, name, AtFlags::REMOVEDIR).map_err(io::Error::from))?;
    }
    Ok(())
}

/// Moves what lies too deep up to the top, where it is found when the rest is gone.
fn lift(from: BorrowedFd<'_>, name: &CStr, top: &OwnedFd, lifted: &mut u64) -> io::Result<()> {
    loop {
        *lifted += 1;
        let new = format!("..deep.{lifted}");
        match renameat_with(from, name, top, new.as_str(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Removes what a directory has under a name, unless that is a directory itself, which is opened.
fn unlinked(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
    if name == c"." || name == c".." {
        return Ok(None);
    }
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        Err(Errno::ISDIR) => open(directory, name),
        Err(error) => Err(error.into()),
    }
}

fn top(path: &Path) -> io::Result<Option<OwnedFd>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(CWD, parent, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(parent) => open(parent.as_fd(), name),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A directory on the same mount, if it is there; what is bound from the same file system is on another.
fn open(directory: BorrowedFd<'_>, name: impl rustix::path::Arg) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV | ResolveFlags::BENEATH;
    match openat2(directory, name, flags, Mode::empty(), resolve) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::XDEV) => Err(io::Error::other("something in it is still mounted")),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;
    use nix::mount::{MsFlags, mount};

    fn bind(from: &Path, to: &Path) {
        mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }

    #[test]
    fn what_is_mounted_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (outside, inside) = (directory.path().join("outside"), directory.path().join("inside"));
        std::fs::create_dir_all(outside.join("d")).unwrap();
        std::fs::write(outside.join("d/precious"), "").unwrap();
        std::fs::create_dir_all(inside.join("a/b")).unwrap();
        std::fs::write(inside.join("f"), "").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("a/link")).unwrap();
        for (from, to) in [("d", "a/b"), ("d/precious", "f"), ("d", "")] {
            let to = inside.join(to);
            bind(&outside.join(from), &to);
            assert!(tree(&inside).is_err(), "{to:?}");
            assert!(mount_points(&inside, 2).is_err(), "{to:?}");
            table::unmount(&to).unwrap();
            assert!(outside.join("d/precious").exists(), "{to:?}");
            std::fs::create_dir_all(inside.join("a/b")).unwrap();
            std::fs::write(inside.join("f"), "").unwrap();
        }
        tree(&inside).unwrap();
        assert!(!inside.exists() && outside.join("d/precious").exists());
        tree(&inside).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_descriptors_reach_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("top");
        for name in ["d/", "e/"] {
            let deep = top.join(name.repeat(DEEPEST * 4));
            std::fs::create_dir_all(&deep).unwrap();
            std::fs::write(deep.join("f"), "").unwrap();
        }
        // A name that would be given.
        std::fs::create_dir(top.join("..deep.1")).unwrap();
        tree(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn of_mount_points_only_what_is_empty_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("volume-subpaths");
        std::fs::create_dir_all(top.join("v/c/0")).unwrap();
        std::fs::write(top.join("v/c/1"), "").unwrap();
        std::fs::write(top.join("v/c/0/somebody's"), "").unwrap();
        assert!(mount_points(&top, 3).is_err());
        assert!(top.join("v/c/0/somebody's").exists());
        std::fs::remove_file(top.join("v/c/0/somebody's")).unwrap();
        mount_points(&top, 3).unwrap();
        assert!(!top.exists());
        mount_points(&top, 3).unwrap();
    }
}
