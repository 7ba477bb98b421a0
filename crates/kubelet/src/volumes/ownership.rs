//! `fsGroup`: files that a pod's group may read and write.
use k8s_openapi::api::core::v1::Pod;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
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

/// Gives everything below `path` to the group. Links are not followed.
pub fn apply(path: &Path, group: FsGroup, read_only: bool) -> io::Result<()> {
    let mask = if read_only { READ_ONLY } else { READ_WRITE };
    if group.only_on_root_mismatch && fits(path, group.gid, mask)? {
        return Ok(());
    }
    walk(path, group.gid, mask)
}

fn fits(path: &Path, gid: u32, mask: u32) -> io::Result<bool> {
    let root = std::fs::metadata(path)?;
    let wanted = mask | DIRECTORY;
    Ok(root.gid() == gid && root.mode() & wanted == wanted)
}

fn walk(path: &Path, gid: u32, mask: u32) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(path)?;
    lchown(path, None, Some(gid))?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let more = if metadata.is_dir() { mask | DIRECTORY } else { mask };
    std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode((metadata.mode() | more) & 0o7777),
    )?;
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            walk(&entry?.path(), gid, mask)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
