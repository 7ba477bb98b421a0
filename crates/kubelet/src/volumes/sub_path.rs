//! subPath: a part of a volume, bound so that whoever writes into the volume cannot make it lead elsewhere.
//!
//! The path is resolved once, opened below the volume without following links, and what was opened is bound: exchanging
//! a directory for a link meanwhile makes the opening fail.
use super::{VolumeError, table};
use nix::mount::{MsFlags, mount};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchmod, mkdirat, openat, openat2};
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
    if table::is_mount_point(at).map_err(SubPathError::Bind)? {
        // Still the same thing: containers that start again see what they saw.
        if is_same(&opened, at).map_err(SubPathError::Bind)? {
            return Ok(at.to_owned());
        }
        table::unmount(at).map_err(SubPathError::Bind)?;
    }
    make_target(at, is_directory).map_err(SubPathError::Bind)?;
    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
    // Not what is mounted below it: that would be mounted twice, and be the host's own.
    mount(
        Some(source.as_str()),
        at,
        None::<&str>,
        MsFlags::MS_BIND,
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
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        at = openat(&at, part, flags, Mode::empty()).map_err(failed)?;
        // By descriptor: what has the name by now need not be what was made.
        fchmod(&at, Mode::from_raw_mode(mode)).map_err(failed)?;
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

#[cfg(test)]
mod tests {
    use super::super::shared_machine::{self, tmpfs};
    use super::*;
    use rustix::fs::{RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_link_that_is_swapped_in_is_not_opened_up() {
        const TRIES: usize = 1000;
        let directory = tempfile::tempdir().unwrap();
        let (volume, outside) = (directory.path().join("v"), directory.path().join("outside"));
        for path in [&volume, &outside] {
            std::fs::create_dir(path).unwrap();
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&volume, 0o777);
        set(&outside, 0o700);
        let (made, link) = (
            |of: usize| volume.join(format!("d{of}")),
            |of: usize| volume.join(format!("link{of}")),
        );
        for of in 0..TRIES {
            std::os::unix::fs::symlink(&outside, link(of)).unwrap();
        }
        let current = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    let of = current.load(Ordering::Relaxed);
                    if of == TRIES {
                        break;
                    }
                    // As soon as it is there.
                    let _ = renameat_with(CWD, made(of), CWD, link(of), RenameFlags::EXCHANGE);
                }
            });
            for of in 0..TRIES {
                current.store(of, Ordering::Relaxed);
                // It may fail where the link is in the way.
                let _ = create(&volume, &made(of));
            }
            current.store(TRIES, Ordering::Relaxed);
        });
        assert_eq!(mode(&outside), 0o700);
        create(&volume, &volume.join("a/b")).unwrap();
        assert_eq!(mode(&volume.join("a/b")), 0o777);
    }

    #[test]
    fn the_hosts_own_mounts_outlive_the_pod() {
        shared_machine::on(|machine| {
            let (host, sub_paths) = (machine.join("host"), machine.join("pod/volume-subpaths"));
            let (before, later) = (host.join("data/before"), host.join("data/later"));
            tmpfs(&before);
            let is_mounted = |path: &Path| table::is_mount_point(path).unwrap();
            for by_older_agent in [false, true] {
                let at = sub_paths.join("v/c/0");
                if by_older_agent {
                    std::fs::create_dir_all(&at).unwrap();
                    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
                    mount(Some(&host.join("data")), &at, None::<&str>, flags, None::<&str>).unwrap();
                } else {
                    bind(&host, "data", &at).unwrap();
                }
                assert_eq!(is_mounted(&at.join("before")), by_older_agent);
                tmpfs(&later);
                assert!(
                    is_mounted(&at.join("later")),
                    "what the host mounts later is seen"
                );
                table::remove(&sub_paths, table::Content::MountPoints(3)).unwrap();
                assert!(!sub_paths.exists());
                assert!(is_mounted(&before) && is_mounted(&later), "{by_older_agent}");
                table::unmount(&later).unwrap();
            }
            // The same where a container that starts again finds something else under the name.
            let at = sub_paths.join("v/c/0");
            bind(&host, "data", &at).unwrap();
            tmpfs(&later);
            std::fs::rename(host.join("data"), host.join("old")).unwrap();
            bind(&host, "data", &at).unwrap();
            assert!(is_mounted(&host.join("old/later")));
            table::remove(&sub_paths, table::Content::MountPoints(3)).unwrap();
            assert!(is_mounted(&host.join("old/later")) && is_mounted(&host.join("old/before")));
        });
    }
}
