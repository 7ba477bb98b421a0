//! What is mounted, read from the kernel.
use super::VolumeError;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Whether something is mounted on `path`.
pub fn is_mount_point(path: &Path) -> bool {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    points(&read()).contains(&real)
}

/// Unmounts what is mounted at or below `directory` and removes it.
pub fn remove(directory: &Path) -> Result<(), VolumeError> {
    let real = match std::fs::canonicalize(directory) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(VolumeError::TearDown {
                path: directory.to_owned(),
                source,
            });
        }
    };
    unmount_below(&real)?;
    if let Some(left) = below(&read(), &real).pop() {
        // Removing through a mount would remove what isn't the pod's.
        let source = io::Error::other("still mounted");
        return Err(VolumeError::TearDown { path: left, source });
    }
    match std::fs::remove_dir_all(&real) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(VolumeError::TearDown { path: real, source })
        }
        _ => Ok(()),
    }
}

/// Unmounts what is mounted at or below `directory`, which has no links in it, the last first.
fn unmount_below(directory: &Path) -> Result<(), VolumeError> {
    for point in below(&read(), directory).into_iter().rev() {
        unmount(&point).map_err(|source| VolumeError::TearDown { path: point, source })?;
    }
    Ok(())
}

/// Unmounts the volumes of every pod of a node that has been stopped: what lies in memory, such as
/// tokens, goes with it. `kubelet_root` is `/var/lib/kubelet`; one that isn't there has none.
pub fn unmount_all(kubelet_root: &Path) -> Result<(), VolumeError> {
    let pods = kubelet_root.join("pods");
    match std::fs::canonicalize(&pods) {
        Ok(real) => unmount_below(&real),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(VolumeError::TearDown { path: pods, source }),
    }
}

/// Unmounts one point, lazily if it is in use.
pub fn unmount(point: &Path) -> io::Result<()> {
    match umount2(point, MntFlags::UMOUNT_NOFOLLOW) {
        Err(Errno::EBUSY) => umount2(point, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)?,
        // Gone meanwhile.
        Err(Errno::EINVAL | Errno::ENOENT) => {}
        other => other?,
    }
    Ok(())
}

fn read() -> Vec<u8> {
    std::fs::read("/proc/self/mountinfo").unwrap_or_default()
}

fn below(table: &[u8], directory: &Path) -> Vec<PathBuf> {
    points(table)
        .into_iter()
        .filter(|point| point.starts_with(directory))
        .collect()
}

/// Mount points in the order they were mounted.
fn points(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .collect()
}

/// Blanks and the like are written as `\040`.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|code| std::str::from_utf8(code).ok());
        match code
            .and_then(|code| u8::from_str_radix(code, 8).ok())
            .filter(|_| first == b'\\')
        {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let table =
            b"1 0 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / /pods/u/volumes/a\\040b rw - tmpfs tmpfs rw\n\
            3 1 0:3 / /pods/u2/volumes rw - tmpfs tmpfs rw\n";
        assert_eq!(points(table).len(), 3);
        assert_eq!(
            below(table, Path::new("/pods/u")),
            [PathBuf::from("/pods/u/volumes/a b")]
        );
    }
}
