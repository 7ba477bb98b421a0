//! What a command has done to the machine, so that a failure leaves the machine as it was.
use crate::cli::{DownArgs, RootArg};
use crate::commands::down;
use crate::paths::Root;
use anyhow::Result;
use orlop_cluster::files;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
pub const WRITTEN: [&str; 16] = [
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
        for path in &self.absent {
            files::remove(path)?;
        }
        for (directory, held) in &self.held {
            let Some(held) = held else {
                files::remove(directory)?;
                continue;
            };
            let now = names(directory).unwrap_or_default();
            let is_runtimes = |name: &OsString| name.to_string_lossy().starts_with(RUNTIME);
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
