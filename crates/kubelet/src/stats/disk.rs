//! File systems and what lies in directories.
use crate::runtime::sandbox::log_directory;
use crate::volumes::claim;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::{namespace, uid, volumes};
use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories deep inside each other: nobody's log or scratch directory, and the stack of a walk stays small.
const DEPTH_MAX: usize = 64;
/// What btrfs calls itself.
const BTRFS: i64 = 0x9123_683E;

/// A file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystem {
    pub capacity: u64,
    pub available: u64,
    pub used: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

impl FileSystem {
    /// Bytes that users can have altogether: what the file system keeps back is nobody's, and no part of it is short.
    pub fn usable(&self) -> u64 {
        self.used.saturating_add(self.available)
    }
}

/// The file system that a path lies on.
pub fn file_system(path: &Path) -> Option<FileSystem> {
    let found = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some(FileSystem {
        capacity: bytes(found.f_blocks),
        available: bytes(found.f_bavail),
        used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        inodes: found.f_files,
        inodes_free: found.f_favail,
    })
}

/// Whose room a path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// A device's.
    Device(u64),
    /// A btrfs's: its subvolumes have a device each and share their room.
    Btrfs(u64),
}

impl Disk {
    /// That of a path.
    pub fn of(path: &Path) -> Option<Self> {
        let kind = rustix::fs::statfs(path).ok()?.f_type;
        let id = rustix::fs::statvfs(path).ok()?.f_fsid;
        Some(Self::told_by(kind, id, device(path)?))
    }

    fn told_by(kind: i64, id: u64, device: u64) -> Self {
        match kind {
            // The upper half differs with the subvolume.
            BTRFS => Self::Btrfs(id & u64::from(u32::MAX)),
            _ => Self::Device(device),
        }
    }
}

fn device(path: &Path) -> Option<u64> {
    std::fs::metadata(path).map(|found| found.dev()).ok()
}

/// What a directory tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    pub bytes: u64,
    pub inodes: u64,
}

/// Adds a tree up, without leaving its file system and without following links. A file with several names counts once.
/// What goes while it is being counted does not count.
pub fn tree(path: &Path) -> Tree {
    let mut sum = Tree::default();
    let Ok(top) = std::fs::symlink_metadata(path) else {
        return sum;
    };
    let mut seen = HashSet::new();
    let mut waiting = vec![(path.to_path_buf(), 0)];
    while let Some((path, depth)) = waiting.pop() {
        let Ok(entry) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        if entry.dev() != top.dev() || (entry.nlink() > 1 && !entry.is_dir() && !seen.insert(entry.ino())) {
            continue;
        }
        sum.inodes += 1;
        sum.bytes += entry.blocks() * 512;
        if entry.is_dir() && depth < DEPTH_MAX {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| (entry.path(), depth + 1)));
        }
    }
    sum
}

/// What one pod has on the node's disks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodDisk {
    /// Its volumes that have a directory of the agent's, by name.
    pub volumes: BTreeMap<String, Held>,
    /// Log directories, by container name.
    pub logs: BTreeMap<String, Tree>,
}

/// A volume's content, and the file system that it lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub tree: Tree,
    pub file_system: FileSystem,
    /// It is on the node's disk, not in memory or on a file system of its own.
    pub is_local: bool,
}

/// Adds up a pod's volumes below the agent's `root`, and its logs below `pod_logs`. Walks directories: not for async code.
pub fn of_pod(root: &Path, pod_logs: &Path, pod: &Pod) -> PodDisk {
    let directory = root.join("pods").join(uid(pod));
    let of_root = device(root);
    let mut volumes = BTreeMap::new();
    for volume in named_directories(&directory.join("volumes"))
        .into_iter()
        // What a claim leads to is no scratch space of the pod's, wherever it lies.
        .filter(|(plugin, _)| plugin != claim::LOCAL)
        .flat_map(|(_, plugin)| named_directories(&plugin))
    {
        let (name, path) = volume;
        let Some(file_system) = file_system(&path) else {
            continue;
        };
        let held = Held {
            tree: tree(&path),
            file_system,
            is_local: device(&path) == of_root,
        };
        volumes.insert(name, held);
    }
    let logs = named_directories(&log_directory(pod_logs, pod));
    PodDisk {
        volumes,
        logs: logs.into_iter().map(|(name, path)| (name, tree(&path))).collect(),
    }
}

/// Which claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey {
    pub namespace: String,
    pub name: String,
}

/// A volume that a claim leads to: a file system that the pod need not have to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub claim: ClaimKey,
    pub file_system: FileSystem,
}

/// A pod's volumes that are local volumes of claims, by name. Looks at what may hang: not for async code.
pub fn of_claims(root: &Path, pod: &Pod) -> BTreeMap<String, Claimed> {
    let mounted = claim::mounted(&root.join("pods").join(uid(pod)));
    let volumes = volumes(pod);
    let claimed = volumes.filter_map(|volume| {
        let claimed = Claimed {
            claim: ClaimKey {
                namespace: namespace(pod).to_owned(),
                name: claim::Claim::of(pod, volume)?.name().to_owned(),
            },
            file_system: file_system(mounted.get(&volume.name)?)?,
        };
        Some((volume.name.clone(), claimed))
    });
    claimed.collect()
}

fn named_directories(path: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_counts_files_once_and_follows_no_links() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("a/b");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("file"), vec![7; 64 << 10]).unwrap();
        std::fs::hard_link(inside.join("file"), dir.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("elsewhere")).unwrap();
        let found = tree(dir.path());
        // Three directories, a file, a link.
        assert_eq!(found.inodes, 5);
        assert!((64 << 10..128 << 10).contains(&found.bytes), "{found:?}");
        assert_eq!(tree(Path::new("/nowhere")), Tree::default());
    }

    #[test]
    fn subvolumes_share_a_disk_and_devices_do_not() {
        let (of, ext4) = (Disk::told_by, 0xEF53);
        assert_ne!(of(ext4, 5, 1), of(ext4, 5, 2));
        assert_eq!(of(ext4, 5, 1), of(ext4, 6, 1));
        let subvolume = |number: u64| (number << 32) | 7;
        assert_eq!(of(BTRFS, subvolume(256), 40), of(BTRFS, subvolume(257), 41));
        assert_ne!(of(BTRFS, 7, 40), of(BTRFS, 8, 41));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("inside")).unwrap();
        let found = Disk::of(dir.path());
        assert!(found.is_some());
        assert_eq!(found, Disk::of(&dir.path().join("inside")));
        assert_eq!(Disk::of(Path::new("/nowhere")), None);
    }

    #[test]
    fn pods_volumes_and_logs_are_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let pod: Pod = serde_json::from_value(
            serde_json::json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u"}}),
        )
        .unwrap();
        let scratch = dir.path().join("pods/u/volumes/kubernetes.io~empty-dir/scratch");
        let logs = dir.path().join("logs/shop_web_u/c");
        for path in [&scratch, &logs] {
            std::fs::create_dir_all(path).unwrap();
            std::fs::write(path.join("x"), vec![1; 10_000]).unwrap();
        }
        let found = of_pod(dir.path(), &dir.path().join("logs"), &pod);
        let held = found.volumes["scratch"];
        assert!(held.is_local && held.tree.bytes >= 10_000 && held.file_system.capacity > 0);
        assert_eq!(found.logs["c"].inodes, 2);
    }

    #[test]
    fn volumes_of_claims_are_told_apart_by_what_the_pod_calls_them() {
        let dir = tempfile::tempdir().unwrap();
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {"containers": [], "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "disk"}},
                {"name": "own", "ephemeral": {}},
                {"name": "away", "persistentVolumeClaim": {"claimName": "elsewhere"}}]},
        }))
        .unwrap();
        let of_pod = dir.path().join("pods/u");
        for (place, mark) in [("pv1", "data_ready"), ("pv2", "own_ready")] {
            for part in ["volumes", "plugins"] {
                std::fs::create_dir_all(of_pod.join(part).join(claim::LOCAL).join(place)).unwrap();
            }
            std::fs::write(
                of_pod.join("plugins").join(claim::LOCAL).join(place).join(mark),
                "",
            )
            .unwrap();
        }
        let found = of_claims(dir.path(), &pod);
        let claims: Vec<_> = found
            .iter()
            .map(|(name, of)| (&**name, &*of.claim.namespace, &*of.claim.name))
            .collect();
        assert_eq!(claims, [("data", "shop", "disk"), ("own", "shop", "web-own")]);
        assert!(found.values().all(|of| of.file_system.capacity > 0));
    }

    #[test]
    fn file_system_has_a_size() {
        let found = file_system(Path::new("/")).unwrap();
        assert!(found.capacity >= found.used && found.capacity > 0);
    }
}
