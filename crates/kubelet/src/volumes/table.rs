//! What is mounted, read from the kernel.
use super::{VolumeError, removal};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{MountPropagationFlags, mount_change};
use std::cmp::Reverse;
use std::collections::HashSet;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Of the thread: a process has one namespace of mounts only as long as none of its threads has taken another.
const TABLE: &str = "/proc/thread-self/mountinfo";

/// Whether something is mounted on `path`.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Ok(points(&read()?).contains(&real))
}

/// How a directory is removed when nothing is mounted in it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// With all that is in it.
    OfPod,
    /// Mount points, so many levels below it.
    MountPoints(usize),
}

/// Unmounts what is mounted at or below `directory` and removes it.
pub fn remove(directory: &Path, content: Content) -> Result<(), VolumeError> {
    remove_by(directory, content, read)
}

fn remove_by(
    directory: &Path,
    content: Content,
    table: impl Fn() -> io::Result<Vec<u8>>,
) -> Result<(), VolumeError> {
    let Some(real) = there(directory)? else {
        return Ok(());
    };
    unmount_below(&real, &table)?;
    if let Some(left) = below(&known(&table)?, &real).pop() {
        // Removing through a mount would remove what isn't the pod's.
        let source = io::Error::other("still mounted");
        return Err(VolumeError::TearDown { path: left, source });
    }
    let removed = match content {
        Content::OfPod => removal::tree(&real),
        Content::MountPoints(levels) => removal::mount_points(&real, levels),
    };
    removed.map_err(|source| VolumeError::TearDown { path: real, source })
}

fn there(directory: &Path) -> Result<Option<PathBuf>, VolumeError> {
    match std::fs::canonicalize(directory) {
        Ok(real) => Ok(Some(real)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(VolumeError::TearDown {
            path: directory.to_owned(),
            source,
        }),
    }
}

/// Unmounts what is mounted at or below `directory`, which has no links in it.
fn unmount_below(directory: &Path, table: impl Fn() -> io::Result<Vec<u8>>) -> Result<(), VolumeError> {
    unmount_points(|| Ok(below(&known(&table)?, directory)))
}

/// Unmounts what is found, looking again for as long as there is less each time: what lay below one mount, and then another
/// was put over it, shows when that is gone.
fn unmount_points(find: impl Fn() -> Result<Vec<PathBuf>, VolumeError>) -> Result<(), VolumeError> {
    let mut left = usize::MAX;
    loop {
        let points = find()?;
        if points.is_empty() || points.len() >= left {
            return Ok(());
        }
        left = points.len();
        unmount_once(&points)?;
    }
}

/// Unmounts points that were mounted in this order. What is unmounted in a shared mount is unmounted in all its peers, so
/// that nothing is before the outer ones are kept apart, with all that is in them; then the innermost go first.
fn unmount_once(points: &[PathBuf]) -> Result<(), VolumeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| VolumeError::TearDown { path, source }
    };
    let all: HashSet<&Path> = points.iter().map(PathBuf::as_path).collect();
    let is_outer = |point: &Path| !point.ancestors().skip(1).any(|above| all.contains(above));
    for point in points.iter().filter(|point| is_outer(point)) {
        keep_apart(point).map_err(failed(point))?;
    }
    let mut inward: Vec<&PathBuf> = points.iter().rev().collect();
    inward.sort_by_key(|point| Reverse(point.components().count()));
    for point in inward {
        // Those below it went with it, and looking at them may hang.
        let unmounted = if is_outer(point) {
            unmount(point)
        } else {
            let_go(point)
        };
        unmounted.map_err(failed(point))?;
    }
    Ok(())
}

/// Unmounts the volumes of every pod of a node that has been stopped: what lies in memory, such as
/// tokens, goes with it. `kubelet_root` is `/var/lib/kubelet`; one that isn't there has none.
pub fn unmount_all(kubelet_root: &Path) -> Result<(), VolumeError> {
    match there(&kubelet_root.join("pods"))? {
        Some(real) => unmount_below(&real, read),
        None => Ok(()),
    }
}

/// What is mounted below a directory, but not on it, in the order it was mounted. Below one that isn't there is nothing.
pub fn mounts_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let real = match std::fs::canonicalize(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut mounts = below(&read()?, &real);
    mounts.retain(|point| *point != real);
    Ok(mounts)
}

/// Unmounts what is mounted below a directory and was not before. What is mounted on itself stays.
pub fn unmount_new_below(directory: &Path, before: &[PathBuf]) -> Result<(), VolumeError> {
    unmount_points(|| {
        let mut mounts = mounts_below(directory).map_err(|source| VolumeError::TearDown {
            path: directory.to_owned(),
            source,
        })?;
        mounts.retain(|point| !before.contains(point));
        Ok(mounts)
    })
}

/// Unmounts one point, lazily if it is in use, and with it what came there from elsewhere.
pub fn unmount(point: &Path) -> io::Result<()> {
    keep_apart(point)?;
    let_go(point)
}

fn let_go(point: &Path) -> io::Result<()> {
    match umount2(point, MntFlags::UMOUNT_NOFOLLOW) {
        Err(Errno::EBUSY) => umount2(point, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)?,
        // Gone meanwhile.
        Err(Errno::EINVAL | Errno::ENOENT) => {}
        other => other?,
    }
    Ok(())
}

/// Keeps what is unmounted below a mount from being unmounted where that leads: a bind of a directory is a peer of the
/// mount which the directory is on, and the host's own mounts below it appear in the bind.
fn keep_apart(point: &Path) -> io::Result<()> {
    // Paths may end in a volume, and a link there leads wherever its writer wants.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = match openat2(CWD, point, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(opened) => opened,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let point = format!("/proc/self/fd/{}", opened.as_raw_fd());
    match mount_change(point, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC) {
        // Gone meanwhile.
        Err(rustix::io::Errno::INVAL) => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Without it nobody knows what removing would reach.
fn read() -> io::Result<Vec<u8>> {
    std::fs::read(TABLE)
}

fn known(table: impl Fn() -> io::Result<Vec<u8>>) -> Result<Vec<u8>, VolumeError> {
    table().map_err(|source| VolumeError::TearDown {
        path: TABLE.into(),
        source,
    })
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
    use super::super::shared_machine;
    use super::*;

    #[test]
    fn what_came_below_a_directory_is_unmounted() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let point = directory.path().join(path);
            std::fs::create_dir_all(&point).unwrap();
            let kind = Some("tmpfs");
            nix::mount::mount(kind, &point, kind, nix::mount::MsFlags::empty(), None::<&str>).unwrap();
            point
        };
        let own = at("kubelet");
        let theirs = at("kubelet/theirs");
        let before = mounts_below(&own).unwrap();
        assert_eq!(before, std::slice::from_ref(&theirs));
        let ours = at("kubelet/plugins/driver/globalmount");
        let inner = at("kubelet/plugins/driver/globalmount/inner");
        unmount_new_below(&own, &before).unwrap();
        let mounted = |point: &Path| is_mount_point(point).unwrap();
        assert!(mounted(&own) && mounted(&theirs) && !mounted(&ours) && !mounted(&inner));
        unmount_new_below(&own, &[]).unwrap();
        assert!(mounted(&own) && !mounted(&theirs));
        unmount(&own).unwrap();
        assert!(mounts_below(&own.join("nothing")).unwrap().is_empty());
    }

    #[test]
    fn what_the_host_mounts_where_a_volume_leads_outlives_it() {
        shared_machine::on(|machine| {
            let (host, own) = (machine.join("host"), machine.join("kubelet"));
            let (volume, data) = (own.join("pods/u/volume"), host.join("data"));
            std::fs::create_dir_all(&volume).unwrap();
            std::fs::create_dir_all(&data).unwrap();
            let of_others = own.join("theirs");
            shared_machine::tmpfs(&of_others);
            let before = mounts_below(&own).unwrap();
            for _ in 0..2 {
                shared_machine::bind(&host, &volume);
                let inner = volume.join("data");
                shared_machine::tmpfs(&data);
                let mounted = |point: &Path| is_mount_point(point).unwrap();
                assert!(mounted(&inner), "what the host mounts later is seen");
                unmount_new_below(&own, &before).unwrap();
                assert!(mounted(&data), "it is the host's own");
                assert!(mounted(&of_others) && !mounted(&volume));
                assert_eq!(mounts_below(&own).unwrap(), before);
                unmount(&data).unwrap();
            }
        });
    }

    #[test]
    fn what_another_mount_hides_is_unmounted_too() {
        shared_machine::on(|machine| {
            let own = machine.join("kubelet");
            let outer = own.join("outer");
            shared_machine::tmpfs(&outer.join("inner"));
            shared_machine::tmpfs(&outer);
            unmount_new_below(&own, &[]).unwrap();
            assert!(mounts_below(&own).unwrap().is_empty());
        });
    }

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

    #[test]
    fn an_unreadable_table_is_no_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let volumes = directory.path().join("volumes");
        std::fs::create_dir_all(&volumes).unwrap();
        std::fs::write(volumes.join("precious"), "").unwrap();
        let unreadable = || Err(io::Error::from_raw_os_error(nix::libc::EMFILE));
        let error = remove_by(&volumes, Content::OfPod, unreadable).unwrap_err();
        assert!(error.to_string().contains(TABLE), "{error}");
        assert!(volumes.join("precious").exists());
    }
}
