//! What a command has done to the machine, so that a failure leaves the machine as it was.
use super::layout;
use crate::cli::{DownArgs, RootArg};
use crate::commands::down;
use crate::paths::Root;
use anyhow::{Context, Result};
use orlop_cluster::files;
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
}

/// Where the runtime and the agent make things of their own, the innermost first.
const SHARED: [&str; 7] = [
    "etc/cni/net.d",
    "etc/cni",
    "etc/kubernetes",
    "var/lib/kubelet",
    "var/lib/orlop",
    // Of a static pod that comes again, which would go on counting its restarts.
    "var/log/pods",
    "var/log/containers",
];
/// What the runtime keeps is in nobody's way, and spares the next try the unpacking of images.
const RUNTIME: &str = "containerd";

/// What `init`, `join` and `upgrade` write, below the root.
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
    "var/lib/etcd",
    "var/lib/orlop/pod-subnet",
    "etc/cni/net.d/90-orlop.conflist",
    "run/orlop/runtime-endpoint",
];

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
/// people put there; so do directories that the machine may have had before.
pub fn remove_all(root: &Root, told: impl Fn(&Path)) -> Result<()> {
    remove_routes(root)?;
    for path in WRITTEN {
        let path = root.as_path().join(path);
        if path.exists() {
            told(&path);
            files::remove(&path)?;
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
            files::remove(&directory.join(name))?;
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
        Some(names) if names.is_empty() => Ok(files::remove(directory)?),
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
        }
    }

    /// Takes everything back that came since.
    pub async fn undo(self) -> Result<()> {
        // Also the runtime, which is in nobody's way but was not there.
        down::down(DownArgs {
            root: RootArg {
                root: Some(self.root.as_path().to_path_buf()),
            },
            keep_pods: false,
        })
        .await?;
        if self.absent.contains(&layout(&self.root).pod_subnet()) {
            remove_routes(&self.root)?;
        }
        for path in &self.absent {
            files::remove(path)?;
        }
        for (directory, held) in &self.held {
            let Some(held) = held else {
                files::remove(directory)?;
                continue;
            };
            let now = names(directory).unwrap_or_default();
            for name in now.difference(held).filter(|name| !is_runtimes(name)) {
                files::remove(&directory.join(name))?;
            }
        }
        Ok(())
    }
}

/// What a directory holds; `None`: there is none.
fn names(directory: &Path) -> Option<BTreeSet<OsString>> {
    let entries = std::fs::read_dir(directory).ok()?;
    Some(entries.flatten().map(|entry| entry.file_name()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_and_the_runtime_keep_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let files = [
            ("etc/kubernetes/admin.conf", false),
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
        for (path, _) in files {
            std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            std::fs::write(at(path), "").unwrap();
        }
        let root = Root::new(Some(dir.path())).unwrap();
        remove_all(&root, |_| ()).unwrap();
        for (path, stays) in files {
            assert_eq!(at(path).exists(), stays, "{path}");
        }
        for gone in ["var/log/pods", "run/orlop", "var/lib/orlop/cni"] {
            assert!(!at(gone).exists(), "{gone}");
        }
        // Nothing is left to be done.
        remove_all(&root, |path| panic!("{}", path.display())).unwrap();
    }
}
