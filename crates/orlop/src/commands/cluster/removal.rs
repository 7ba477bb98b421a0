//! Removing what a member wrote, and nothing of what is mounted there: a volume that is still mounted has files of others.
use anyhow::{Context, Result, bail};
use orlop_cluster::files;
use orlop_kubelet::volumes::mounts_below;
use std::path::Path;

/// Removes a file, or a directory with all in it. One on which a file system is mounted stays, empty.
///
/// # Errors
/// Something is mounted below it, and nothing was removed.
pub fn remove(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        refuse_mounts(path)?;
    }
    Ok(files::remove(path)?)
}

/// Fails if something is mounted below a directory.
pub fn refuse_mounts(directory: &Path) -> Result<()> {
    let mounts = mounts_below(directory).context("cannot read what is mounted")?;
    if let Some(mount) = mounts.last() {
        bail!(
            "{} is still mounted, and what is in it would be removed with {}: unmount it, then run this again",
            mount.display(),
            directory.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::mount::{MsFlags, mount, umount};

    fn tmpfs(at: &Path) {
        std::fs::create_dir_all(at).unwrap();
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    }

    #[test]
    fn nothing_is_removed_around_a_mount() {
        let directory = tempfile::tempdir().unwrap();
        let pods = directory.path().join("pods");
        let volume = pods.join("u/volume");
        tmpfs(&volume);
        std::fs::write(volume.join("theirs"), "").unwrap();
        std::fs::write(pods.join("ours"), "").unwrap();
        let error = remove(&pods).unwrap_err().to_string();
        assert!(error.contains("volume is still mounted"), "{error}");
        assert!(volume.join("theirs").exists() && pods.join("ours").exists());
        umount(&volume).unwrap();
        remove(&pods).unwrap();
        assert!(!pods.exists());
    }

    #[test]
    fn a_mount_itself_is_emptied_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("etcd");
        tmpfs(&data);
        std::fs::create_dir_all(data.join("member/wal")).unwrap();
        remove(&data).unwrap();
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
        umount(&data).unwrap();
        remove(&data).unwrap();
        assert!(!data.exists());
    }
}
