//! subPath: a part of a volume, bound so that whoever writes into the volume cannot make it lead elsewhere.
//!
//! The path is resolved once, opened below the volume without following links, and what was opened is bound: exchanging
//! a directory for a link meanwhile makes the opening fail.
use super::{VolumeError, table};
use nix::mount::{MsFlags, mount};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum SubPathError {
    #[error("cannot create it: {0}")]
    Create(io::Error),
    #[error("it leads out of the volume, to {0}")]
    Escape(PathBuf),
    #[error("cannot open it: {0}")]
    Open(io::Error),
    #[error("cannot bind it: {0}")]
    Bind(io::Error),
}

/// Only relative paths that stay below where they begin.
pub fn check(sub_path: &str) -> Result<(), VolumeError> {
    let fine = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(sub_path).components().all(fine) {
        return Ok(());
    }
    Err(VolumeError::BadSubPath(sub_path.to_owned()))
}

/// Binds `sub_path` of `volume` to `at`, and gives `at`.
pub fn bind(volume: &Path, sub_path: &str, at: &Path) -> Result<PathBuf, SubPathError> {
    let root = std::fs::canonicalize(volume).map_err(SubPathError::Open)?;
    let wanted = root.join(sub_path);
    if !wanted.exists() {
        create(&root, &wanted)?;
    }
    let real = std::fs::canonicalize(&wanted).map_err(SubPathError::Open)?;
    let opened = open_below(&root, &real)?;
    let is_directory = std::fs::metadata(&real).map_err(SubPathError::Open)?.is_dir();
    if table::is_mount_point(at) {
        // Still the same thing: containers that start again see what they saw.
        if is_same(&opened, at).map_err(SubPathError::Bind)? {
            return Ok(at.to_owned());
        }
        table::unmount(at).map_err(SubPathError::Bind)?;
    }
    make_target(at, is_directory).map_err(SubPathError::Bind)?;
    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
    mount(
        Some(source.as_str()),
        at,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(|error| SubPathError::Bind(error.into()))?;
    Ok(at.to_owned())
}

fn open_below(root: &Path, real: &Path) -> Result<OwnedFd, SubPathError> {
    let rest = real
        .strip_prefix(root)
        .map_err(|_| SubPathError::Escape(real.to_owned()))?;
    let rest = if rest.as_os_str().is_empty() {
        Path::new(".")
    } else {
        rest
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty());
    let top = top.map_err(|error| SubPathError::Open(error.into()))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(&top, rest, flags, Mode::empty(), resolve).map_err(|error| SubPathError::Open(error.into()))
}

/// Makes missing directories with the mode of the volume's root.
fn create(root: &Path, wanted: &Path) -> Result<(), SubPathError> {
    let mode = std::fs::metadata(root)
        .map_err(SubPathError::Create)?
        .permissions()
        .mode()
        & 0o7777;
    let mut existing = wanted.to_owned();
    while !existing.exists() && existing.pop() {}
    let real = std::fs::canonicalize(&existing).map_err(SubPathError::Create)?;
    let mut at = open_below(root, &real)?;
    let missing = wanted.strip_prefix(&existing).unwrap_or(Path::new(""));
    for part in missing.components() {
        let Component::Normal(part) = part else { continue };
        let failed = |error: rustix::io::Errno| SubPathError::Create(error.into());
        mkdirat(&at, part, Mode::from_raw_mode(mode)).map_err(failed)?;
        rustix::fs::chmodat(&at, part, Mode::from_raw_mode(mode), AtFlags::empty()).map_err(failed)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        at = openat(&at, part, flags, Mode::empty()).map_err(failed)?;
    }
    Ok(())
}

fn is_same(opened: &OwnedFd, at: &Path) -> io::Result<bool> {
    let (source, target) = (rustix::fs::fstat(opened)?, std::fs::metadata(at)?);
    Ok((source.st_dev, source.st_ino) == (target.dev(), target.ino()))
}

fn make_target(at: &Path, is_directory: bool) -> io::Result<()> {
    if is_directory {
        return std::fs::create_dir_all(at);
    }
    if let Some(parent) = at.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(at)
        .map(drop)
}
