//! Where a member of a cluster keeps its files: kubeadm's places, under the node's root.
use std::path::{Path, PathBuf};

/// What static pods of the control plane are called, in the order in which they are written.
pub const COMPONENTS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// The files of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// `root` is `/` on a machine of its own.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// Where an absolute path of the node lies on this machine.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn kubernetes(&self) -> PathBuf {
        self.at("/etc/kubernetes")
    }

    pub fn pki(&self) -> PathBuf {
        self.at("/etc/kubernetes/pki")
    }

    pub fn etcd_pki(&self) -> PathBuf {
        self.at("/etc/kubernetes/pki/etcd")
    }

    /// `/etc/kubernetes/<name>.conf`.
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.kubernetes().join(format!("{name}.conf"))
    }

    pub fn manifests(&self) -> PathBuf {
        self.at("/etc/kubernetes/manifests")
    }

    pub fn manifest(&self, component: &str) -> PathBuf {
        self.manifests().join(format!("{component}.yaml"))
    }

    /// Where the manifest of an etcd lies that has left its cluster, while its files are still there: by it they are known
    /// for a member's. The node agent passes over it.
    pub fn etcd_left(&self) -> PathBuf {
        self.manifests().join(".etcd.yaml")
    }

    /// The manifest of an etcd while it is being added to the others' list: by it they can be told that it comes no more. The
    /// node agent passes over it.
    pub fn etcd_joining(&self) -> PathBuf {
        self.manifests().join(".etcd-joining.yaml")
    }

    pub fn etcd_data(&self) -> PathBuf {
        self.at("/var/lib/etcd")
    }

    pub fn kubelet(&self) -> PathBuf {
        self.at("/var/lib/kubelet")
    }

    pub fn kubelet_config(&self) -> PathBuf {
        self.kubelet().join("config.yaml")
    }

    /// What differs from node to node in the agent's configuration.
    pub fn instance_config(&self) -> PathBuf {
        self.kubelet().join("instance-config.yaml")
    }

    /// Flags of the node agent. Its presence makes a node a member of a cluster.
    pub fn kubelet_flags(&self) -> PathBuf {
        self.kubelet().join("kubeadm-flags.env")
    }

    /// Holds the cluster's range of pod addresses, if nodes get theirs from it.
    pub fn pod_subnet(&self) -> PathBuf {
        self.at("/var/lib/orlop/pod-subnet")
    }

    /// There while `init` is under way, and after it was cut short.
    pub fn init_begun(&self) -> PathBuf {
        self.at("/var/lib/orlop/init-begun")
    }

    pub fn images(&self) -> PathBuf {
        self.at("/var/lib/orlop/images")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_kubeadms_and_lie_under_the_root() {
        let layout = Layout::new(Path::new("/"));
        assert_eq!(
            layout.manifest("etcd"),
            Path::new("/etc/kubernetes/manifests/etcd.yaml")
        );
        assert_eq!(
            layout.kubeconfig("admin"),
            Path::new("/etc/kubernetes/admin.conf")
        );
        let apart = Layout::new(Path::new("/srv/n1"));
        assert_eq!(
            apart.kubelet_config(),
            Path::new("/srv/n1/var/lib/kubelet/config.yaml")
        );
    }
}
