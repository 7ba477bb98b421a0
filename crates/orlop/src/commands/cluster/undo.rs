//! What a command has done to the machine, so that a failure leaves the machine as it was.
use super::removal::{refuse_mounts, remove};
use super::unit::Unit;
use super::{layout, node};
use crate::cli::{DownArgs, RootArg};
use crate::commands::down;
use crate::paths::Root;
use anyhow::{Context, Result};
use orlop_cluster::files;
use orlop_kubelet::volumes;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of a member; those that are not there before are removed when the command fails.
pub struct Undo {
    root: Root,
    absent: Vec<PathBuf>,
    /// Directories that others write to as well, with what they held; `None`: they were not there.
    held: Vec<(PathBuf, Option<BTreeSet<OsString>>)>,
    /// What was mounted below the agent's directory.
    mounts: Option<Vec<PathBuf>>,
}

/// Where the runtime and the agent make things of their own, the innermost first.
const SHARED: [&str; 13] = [
    "etc/cni/net.d",
    "etc/cni",
    "etc/kubernetes/manifests",
    "etc/kubernetes/pki/etcd",
    "etc/kubernetes/pki",
    "etc/kubernetes/tmp",
    "etc/kubernetes",
    "var/lib/kubelet/pki",
    "var/lib/kubelet",
    ETCD,
    "var/lib/orlop",
    // Of a static pod that comes again, which would go on counting its restarts.
    "var/log/pods",
    "var/log/containers",
];
/// What the runtime keeps is in nobody's way, and spares the next try the unpacking of images.
const RUNTIME: &str = "containerd";

/// What `init`, `join` and `upgrade` write, below the root, beside what is a member's of etcd.
const WRITTEN: [&str; 16] = [
    "etc/kubernetes/pki",
    "etc/kubernetes/manifests",
    // Where an upgrade puts the old manifests.
    "etc/kubernetes/tmp",
    "etc/kubernetes/admin.conf",
    "etc/kubernetes/super-admin.conf",
    "etc/kubernetes/kubelet.conf",
    "etc/kubernetes/bootstrap-kubelet.conf",
    "etc/kubernetes/controller-manager.conf",
    "etc/kubernetes/scheduler.conf",
    "var/lib/kubelet/config.yaml",
    "var/lib/kubelet/kubeadm-flags.env",
    "var/lib/kubelet/pki",
    "var/lib/orlop/init-begun",
    "var/lib/orlop/pod-subnet",
    "etc/cni/net.d/90-orlop.conflist",
    "run/orlop/runtime-endpoint",
];

/// Where a member of etcd keeps its files, unless its manifest says otherwise.
const ETCD: &str = "var/lib/etcd";
/// What is always in a directory of a member of etcd.
const ETCD_MEMBER: &str = "member";

/// Whether something stays, by its name.
type Stays = fn(&OsString) -> bool;

/// What the runtime and the agent keep of pods, below the root, and what of it stays: what people put there, and what
/// the runtime keeps for itself.
const LEFT_BEHIND: [(&str, Stays); 6] = [
    ("var/log/pods", nothing),
    ("var/log/containers", nothing),
    ("var/lib/kubelet", is_peoples),
    ("var/lib/orlop/cni", nothing),
    ("var/lib/orlop/bin", nothing),
    ("run/orlop", is_runtimes),
];
/// Where others may have something, which is then left alone: network plugins' configurations, and notes of a library of
/// the runtime on the networks of pods.
const EMPTY: [&str; 3] = ["etc/cni/net.d", "var/lib/cni/results", "var/lib/cni"];

/// Removes what a member wrote and what is left of its pods, which have been stopped. The runtime's images stay, and what
/// people put there; so do directories that the machine may have had before. `etcd` is where this node's member of etcd
/// keeps its files: on a machine that had none, a directory of an etcd is somebody else's.
pub fn remove_all(root: &Root, etcd: Option<&Path>, told: impl Fn(&Path)) -> Result<()> {
    volumes::unmount_new_below(&root.kubelet(), &[])?;
    remove_routes(root)?;
    // While the manifest is still there that tells whose it is.
    if let Some(files) = etcd
        && (files == root.as_path().join(ETCD) || files.join(ETCD_MEMBER).is_dir())
        && files.exists()
    {
        told(files);
        remove(files)?;
    }
    for path in WRITTEN {
        let path = root.as_path().join(path);
        if path.exists() {
            told(&path);
            remove(&path)?;
        }
        for half in files::half_written(&path) {
            remove(&half)?;
        }
    }
    for (path, is_kept) in LEFT_BEHIND {
        let directory = root.as_path().join(path);
        let held = names(&directory).unwrap_or_default();
        let going: Vec<&OsString> = held.iter().filter(|name| !is_kept(name)).collect();
        if !going.is_empty() {
            told(&directory);
        }
        for name in going {
            let path = directory.join(name);
            // One of which that cannot be told is looked at as if it were.
            if volumes::is_mount_point(&path).unwrap_or(true) {
                refuse_mounts(&directory)?;
            }
            remove(&path)?;
        }
        remove_empty(&directory)?;
    }
    EMPTY
        .iter()
        .try_for_each(|path| remove_empty(&root.as_path().join(path)))
}

/// A directory goes if nothing is in it.
fn remove_empty(directory: &Path) -> Result<()> {
    match names(directory) {
        Some(names) if names.is_empty() => remove(directory),
        _ => Ok(()),
    }
}

/// Takes away the routes to other nodes' pods, which only the agent of a member sets: they lie in the cluster's range.
fn remove_routes(root: &Root) -> Result<()> {
    let Some(ranges) = files::read_optional(&layout(root).pod_subnet())? else {
        return Ok(());
    };
    for range in ranges.trim().split(',') {
        let family = if range.contains(':') { "-6" } else { "-4" };
        let output = Command::new("ip")
            .args([family, "route", "flush", "root", range])
            .output()
            .context("cannot run ip")?;
        anyhow::ensure!(
            output.status.success(),
            "routes to other nodes' pods in {range} cannot be taken away: {}; see `ip route`",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn nothing(_: &OsString) -> bool {
    false
}

fn is_peoples(name: &OsString) -> bool {
    name == "instance-config.yaml"
}

fn is_runtimes(name: &OsString) -> bool {
    name.to_string_lossy().starts_with(RUNTIME)
}

impl Undo {
    /// Notes what is not there.
    pub fn begin(root: &Root) -> Self {
        let absent = WRITTEN
            .iter()
            .map(|path| root.as_path().join(path))
            .filter(|path| !path.exists())
            .collect();
        let held = SHARED.iter().map(|path| {
            let path = root.as_path().join(path);
            let names = names(&path);
            (path, names)
        });
        Self {
            root: root.clone(),
            absent,
            held: held.collect(),
            mounts: volumes::mounts_below(&root.kubelet()).ok(),
        }
    }

    /// Takes everything back that came since.
    pub async fn undo(self) -> Result<()> {
        // Also the runtime, which is in nobody's way but was not there.
        stop(&self.root).await?;
        // What was there before isn't ours; where that isn't known, removing stops at what is mounted.
        if let Some(before) = &self.mounts {
            volumes::unmount_new_below(&self.root.kubelet(), before)?;
        }
        if self.absent.contains(&layout(&self.root).pod_subnet()) {
            remove_routes(&self.root)?;
        }
        for path in &self.absent {
            remove(path)?;
        }
        for (directory, held) in &self.held {
            let Some(held) = held else {
                remove(directory)?;
                continue;
            };
            let now = names(directory).unwrap_or_default();
            for name in now.difference(held).filter(|name| !is_runtimes(name)) {
                remove(&directory.join(name))?;
            }
        }
        Ok(())
    }
}

/// Stops the node agent, its pods and the runtime of its own, also one that is only just being started.
pub async fn stop(root: &Root) -> Result<()> {
    node::started().await;
    if let Some(unit) = Unit::of(root) {
        unit.stop()?;
    }
    down::down(DownArgs {
        root: RootArg {
            root: Some(root.as_path().to_path_buf()),
        },
        keep_pods: false,
    })
    .await
}

/// What a directory holds; `None`: there is none.
fn names(directory: &Path) -> Option<BTreeSet<OsString>> {
    let entries = std::fs::read_dir(directory).ok()?;
    Some(entries.flatten().map(|entry| entry.file_name()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with files.
    fn root_with(files: &[&str]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for path in files {
            write(dir.path(), path);
        }
        let root = Root::new(Some(dir.path())).unwrap();
        (dir, root)
    }

    fn write(root: &Path, path: &str) {
        std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        std::fs::write(root.join(path), "").unwrap();
    }

    #[test]
    fn what_people_and_the_runtime_keep_stays() {
        let files = [
            ("etc/kubernetes/admin.conf", false),
            ("etc/kubernetes/admin.conf.new", false),
            ("etc/kubernetes/.scheduler.conf.next", false),
            ("var/lib/kubelet/.config.yaml.new", false),
            ("etc/kubernetes/mine.conf", true),
            ("var/lib/etcd/member/wal", false),
            ("var/lib/kubelet/config.yaml", false),
            ("var/lib/kubelet/plugins/x", false),
            ("var/lib/kubelet/instance-config.yaml", true),
            ("var/lib/orlop/images/etcd.tar", true),
            ("var/lib/orlop/containerd/io", true),
            ("var/lib/orlop/cni/orlop0/lock", false),
            ("var/log/pods/kube-system_p_u/c/0.log", false),
            ("var/log/syslog", true),
            ("run/orlop/orlop.log", false),
        ];
        let (dir, root) = root_with(&files.map(|(path, _)| path));
        let at = |path: &str| dir.path().join(path);
        let etcd = at(ETCD);
        remove_all(&root, Some(&etcd), |_| ()).unwrap();
        for (path, stays) in files {
            assert_eq!(at(path).exists(), stays, "{path}");
        }
        for gone in ["var/log/pods", "run/orlop", "var/lib/orlop/cni"] {
            assert!(!at(gone).exists(), "{gone}");
        }
        // Nothing is left to be done.
        remove_all(&root, Some(&etcd), |path| panic!("{}", path.display())).unwrap();
    }

    #[test]
    fn an_etcd_that_is_no_members_stays() {
        let file = "var/lib/etcd/member/wal";
        let (dir, root) = root_with(&[
            file,
            "etc/kubernetes/kubelet.conf",
            "data/precious",
            "moved/member/wal",
        ]);
        remove_all(&root, None, |_| ()).unwrap();
        assert!(dir.path().join(file).exists());
        assert!(!dir.path().join("etc/kubernetes/kubelet.conf").exists());
        // Where a manifest says that a member is there must be one.
        remove_all(&root, Some(&dir.path().join("data")), |_| ()).unwrap();
        assert!(dir.path().join("data/precious").exists());
        remove_all(&root, Some(&dir.path().join("moved")), |_| ()).unwrap();
        assert!(!dir.path().join("moved").exists());
    }

    #[test]
    fn volumes_that_are_still_mounted_are_not_emptied() {
        let (dir, root) = root_with(&["var/lib/kubelet/config.yaml"]);
        let disk = dir.path().join("disk");
        let volume = dir.path().join("var/lib/kubelet/pods/u/volumes/v");
        write(dir.path(), "disk/theirs");
        std::fs::create_dir_all(&volume).unwrap();
        let flags = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(&disk), &volume, None::<&str>, flags, None::<&str>).unwrap();
        remove_all(&root, None, |_| ()).unwrap();
        assert!(disk.join("theirs").exists());
        assert!(!dir.path().join("var/lib/kubelet").exists());
    }

    #[tokio::test]
    async fn what_came_into_directories_that_were_there_goes_and_the_rest_stays() {
        let before = [
            "etc/kubernetes/manifests/mine.yaml",
            "etc/kubernetes/pki/ca.crt",
            "etc/kubernetes/pki/etcd/mine.crt",
            "etc/kubernetes/tmp/mine",
            "var/lib/kubelet/pki/mine.pem",
            "var/lib/etcd/lost+found/x",
        ];
        let (dir, root) = root_with(&before);
        let undo = Undo::begin(&root);
        let came = [
            "etc/kubernetes/manifests/etcd.yaml",
            "etc/kubernetes/pki/apiserver.crt",
            "etc/kubernetes/pki/etcd/server.crt",
            "etc/kubernetes/tmp/backup/etcd.yaml",
            "etc/kubernetes/admin.conf",
            "var/lib/kubelet/pki/kubelet.pem",
            "var/lib/kubelet/config.yaml",
            "var/lib/etcd/member/wal",
            "var/lib/orlop/init-begun",
        ];
        for path in came {
            write(dir.path(), path);
        }
        undo.undo().await.unwrap();
        for path in before {
            assert!(dir.path().join(path).exists(), "{path}");
        }
        for path in came {
            assert!(!dir.path().join(path).exists(), "{path}");
        }
        for gone in [
            "etc/kubernetes/tmp/backup",
            "var/lib/etcd/member",
            "var/lib/orlop",
        ] {
            assert!(!dir.path().join(gone).exists(), "{gone}");
        }
    }
}
