//! `fsGroup`: files that a pod's group may read and write.
use k8s_openapi::api::core::v1::Pod;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, chownat, fstat, openat};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
/// Directories hand their group on, and can be entered.
const DIRECTORY: u32 = 0o2110;

/// The group volumes are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsGroup {
    pub gid: u32,
    pub only_on_root_mismatch: bool,
}

impl FsGroup {
    pub fn of(pod: &Pod) -> Option<Self> {
        let context = pod.spec.as_ref()?.security_context.as_ref()?;
        let gid = u32::try_from(context.fs_group?).ok()?;
        let only_on_root_mismatch = context.fs_group_change_policy.as_deref() == Some("OnRootMismatch");
        Some(Self {
            gid,
            only_on_root_mismatch,
        })
    }
}

/// Files that kept their group or mode.
#[derive(Default)]
struct Refused {
    count: u64,
    first: Option<(String, io::Error)>,
}

impl Refused {
    fn note(&mut self, file: &OwnedFd, outcome: io::Result<()>) {
        let Err(error) = outcome else { return };
        self.count += 1;
        self.first.get_or_insert_with(|| {
            let path = std::fs::read_link(by_descriptor(file)).unwrap_or_default();
            (path.display().to_string(), error)
        });
    }
}

/// Gives everything below `path` to the group. Links are not followed. What can't be changed (files that are immutable, of a
/// server that trusts no root, on a mount that is read-only) stays as it is, as upstream leaves it: the pod may not need it.
///
/// Errors: what can't be looked at.
pub fn apply(path: &Path, group: FsGroup, read_only: bool) -> io::Result<()> {
    let mask = if read_only { READ_ONLY } else { READ_WRITE };
    if group.only_on_root_mismatch && fits(path, group.gid, mask)? {
        return Ok(());
    }
    let mut refused = Refused::default();
    let outcome = walk(open(CWD, path)?, group.gid, mask, 0, &mut refused);
    if let Some((first, error)) = refused.first {
        tracing::warn!(path = %path.display(), group = group.gid, files = refused.count, first, %error, "files keep their group or mode");
    }
    outcome
}

/// Descriptors that only name a file cannot change its mode by themselves.
fn by_descriptor(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn fits(path: &Path, gid: u32, mask: u32) -> io::Result<bool> {
    let root = std::fs::metadata(path)?;
    let wanted = mask | DIRECTORY;
    Ok(root.gid() == gid && root.mode() & wanted == wanted)
}

/// As many descriptors are open at most; whoever fills the volume says how deep it is.
const DEEPEST: usize = 512;

/// Goes by descriptors: a container that runs already may put a link wherever a path leads.
fn walk(opened: OwnedFd, gid: u32, mask: u32, depth: usize, refused: &mut Refused) -> io::Result<()> {
    let found = fstat(&opened)?;
    let given = chownat(&opened, "", None, Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH);
    refused.note(&opened, given.map_err(io::Error::from));
    let kind = FileType::from_raw_mode(found.st_mode);
    if kind == FileType::Symlink {
        return Ok(());
    }
    let is_directory = kind == FileType::Directory;
    let more = if is_directory { mask | DIRECTORY } else { mask };
    let mode = std::fs::Permissions::from_mode((found.st_mode | more) & 0o7777);
    let opened_up = std::fs::set_permissions(by_descriptor(&opened), mode);
    refused.note(&opened, opened_up);
    if !is_directory {
        return Ok(());
    }
    if depth == DEEPEST {
        return Err(io::Error::other(format!(
            "directories are nested deeper than {DEEPEST}"
        )));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut entries = Dir::new(openat(&opened, ".", flags, Mode::empty())?)?;
    drop(opened);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            walk(open(entries.fd()?, name)?, gid, mask, depth + 1, refused)?;
        }
    }
    Ok(())
}

/// Names what is there, be it a link.
fn open(directory: BorrowedFd<'_>, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::lchown;

    #[test]
    fn e13_group_and_modes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join("f"), "").unwrap();
        std::fs::set_permissions(path.join("f"), std::fs::Permissions::from_mode(0o400)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path.join("link")).unwrap();
        let before = std::fs::metadata("/etc/passwd").unwrap().gid();
        apply(
            path,
            FsGroup {
                gid: 1001,
                only_on_root_mismatch: false,
            },
            false,
        )
        .unwrap();
        let file = std::fs::metadata(path.join("f")).unwrap();
        assert_eq!((file.gid(), file.mode() & 0o7777), (1001, 0o660));
        let root = std::fs::metadata(path).unwrap();
        assert_eq!((root.gid(), root.mode() & 0o2770), (1001, 0o2770));
        assert_eq!(std::fs::metadata("/etc/passwd").unwrap().gid(), before);
        lchown(path.join("f"), None, Some(0)).unwrap();
        apply(
            path,
            FsGroup {
                gid: 1001,
                only_on_root_mismatch: true,
            },
            false,
        )
        .unwrap();
        assert_eq!(
            std::fs::metadata(path.join("f")).unwrap().gid(),
            0,
            "the root fits, the rest is skipped"
        );
    }

    const GROUP: FsGroup = FsGroup {
        gid: 1001,
        only_on_root_mismatch: false,
    };

    #[test]
    fn links_that_are_swapped_in_meanwhile_lead_nowhere() {
        use rustix::fs::{RenameFlags, renameat_with};
        use std::sync::atomic::{AtomicBool, Ordering};
        let directory = tempfile::tempdir().unwrap();
        let (volume, outside) = (directory.path().join("v"), directory.path().join("outside"));
        for path in [&volume, &outside] {
            std::fs::create_dir(path).unwrap();
        }
        std::fs::create_dir(volume.join("d")).unwrap();
        let mode = std::fs::Permissions::from_mode;
        // The same names on both sides, and many: an exchange hits somewhere among them.
        for name in 0..200 {
            std::fs::write(volume.join(format!("d/{name}")), "").unwrap();
            let file = outside.join(name.to_string());
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(file, mode(0o400)).unwrap();
        }
        std::fs::set_permissions(&outside, mode(0o700)).unwrap();
        let (d, link) = (volume.join("d"), volume.join("link"));
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    renameat_with(CWD, &d, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let results: Vec<_> = (0..50).map(|_| apply(&volume, GROUP, false)).collect();
            is_done.store(true, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        });
        let state = |path: &Path| {
            let found = std::fs::metadata(path).unwrap();
            (found.gid(), found.mode() & 0o7777)
        };
        assert_eq!(state(&outside), (0, 0o700));
        for entry in std::fs::read_dir(&outside).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(state(&path), (0, 0o400), "{path:?}");
        }
    }

    #[test]
    fn what_cannot_be_changed_is_left_and_the_rest_is_done() {
        use nix::mount::{MsFlags, mount};
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("v");
        // Before and after it, whatever the order.
        for name in ["a", "fixed", "z"] {
            std::fs::create_dir_all(volume.join(name)).unwrap();
            std::fs::write(volume.join(name).join("f"), "").unwrap();
        }
        let fixed = volume.join("fixed");
        let bind = |flags: MsFlags| {
            let flags = MsFlags::MS_BIND | flags;
            mount(Some(&fixed), &fixed, None::<&str>, flags, None::<&str>).unwrap();
        };
        bind(MsFlags::empty());
        bind(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        let outcome = apply(&volume, GROUP, false);
        super::super::table::unmount(&fixed).unwrap();
        outcome.unwrap();
        for (name, gid) in [("a", 1001), ("fixed", 0), ("z", 1001)] {
            let found = std::fs::metadata(volume.join(name).join("f")).unwrap();
            assert_eq!(found.gid(), gid, "{name}");
        }
    }

    #[test]
    fn a_tree_without_end_ends() {
        let directory = tempfile::tempdir().unwrap();
        let deep = |levels: usize| directory.path().join("d/".repeat(levels));
        std::fs::create_dir_all(deep(DEEPEST - 1)).unwrap();
        apply(directory.path(), GROUP, false).unwrap();
        std::fs::create_dir_all(deep(DEEPEST)).unwrap();
        let error = apply(directory.path(), GROUP, false).unwrap_err().to_string();
        assert_eq!(error, "directories are nested deeper than 512");
    }
}
