//! What a command has done to the machine, so that a failure leaves the machine as it was.
use crate::cli::{DownArgs, RootArg};
use crate::commands::down;
use crate::paths::Root;
use anyhow::Result;
use orlop_cluster::files;
use std::path::PathBuf;

/// Files of a member; those that are not there before are removed when the command fails.
pub struct Undo {
    root: Root,
    absent: Vec<PathBuf>,
}

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
        Self {
            root: root.clone(),
            absent,
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
        Ok(())
    }
}
