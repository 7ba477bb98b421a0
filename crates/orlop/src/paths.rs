//! Where everything lies on the node. One prefix (`--root`) moves all of it, so that several nodes
//! and tests live side by side on one machine.
use std::path::{Path, PathBuf};

/// The root under which every default path lies; `/` for a machine's own node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

/// Where ConfigMaps and Secrets for static pods lie by custom, below the root.
pub const STATIC_OBJECTS: &str = "/etc/kubernetes/static-objects";

impl Root {
    /// An absolute root; a relative one is taken from the working directory.
    pub fn new(root: Option<&Path>) -> std::io::Result<Self> {
        match root {
            None => Ok(Self(PathBuf::from("/"))),
            Some(path) => Ok(Self(std::path::absolute(path)?)),
        }
    }

    pub fn is_default(&self) -> bool {
        self.0 == Path::new("/")
    }

    pub fn as_path(&self) -> &Path {
        &self.0
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub fn manifests(&self) -> PathBuf {
        self.at("etc/kubernetes/manifests")
    }

    pub fn pki(&self) -> PathBuf {
        self.at("etc/kubernetes/pki")
    }

    /// `/etc/kubernetes/<name>.conf`: `admin`, `kubelet`, `controller-manager` or `scheduler`.
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.at("etc/kubernetes").join(format!("{name}.conf"))
    }

    /// `/var/lib/kubelet`.
    pub fn kubelet(&self) -> PathBuf {
        self.at("var/lib/kubelet")
    }

    /// The KubeletConfiguration that is used when there is one and no `--config` is given.
    pub fn kubelet_config(&self) -> PathBuf {
        self.kubelet().join("config.yaml")
    }

    pub fn pod_logs(&self) -> PathBuf {
        self.at("var/log/pods")
    }

    pub fn container_logs(&self) -> PathBuf {
        self.at("var/log/containers")
    }

    pub fn store(&self) -> PathBuf {
        self.at("var/lib/orlop/store")
    }

    pub fn images(&self) -> PathBuf {
        self.at("var/lib/orlop/images")
    }

    /// `/run/orlop`: sockets and pid files.
    pub fn run(&self) -> PathBuf {
        self.at("run/orlop")
    }

    /// Holds the process id of the running `orlop up`, locked while it runs.
    pub fn pid_file(&self) -> PathBuf {
        self.run().join("orlop.pid")
    }

    /// Where commands ask the node agent.
    pub fn agent_socket(&self) -> PathBuf {
        self.run().join("kubelet.sock")
    }

    /// Which CRI socket the node was last started on; what `orlop ps` and `orlop down` talk to.
    pub fn runtime_endpoint_file(&self) -> PathBuf {
        self.run().join("runtime-endpoint")
    }

    /// Below which cgroup the node last put its pods; what `orlop down` removes.
    pub fn cgroup_root_file(&self) -> PathBuf {
        self.run().join("cgroup-root")
    }

    /// A short word that differs between roots and stays the same for one: for names that are
    /// global on a machine, such as network bridges and cgroups. Empty for the default root.
    pub fn tag(&self) -> String {
        if self.is_default() {
            return String::new();
        }
        format!(
            "{:08x}",
            orlop_api::fnv::fnv1a32(self.0.as_os_str().as_encoded_bytes())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_paths_are_those_of_kubeadm() {
        let root = Root::new(None).unwrap();
        assert_eq!(root.manifests(), Path::new("/etc/kubernetes/manifests"));
        assert_eq!(root.kubeconfig("admin"), Path::new("/etc/kubernetes/admin.conf"));
        assert_eq!(root.kubelet_config(), Path::new("/var/lib/kubelet/config.yaml"));
        assert_eq!(root.tag(), "");
    }

    #[test]
    fn roots_are_told_apart_by_their_tag() {
        let one = Root::new(Some(Path::new("/srv/a"))).unwrap();
        let two = Root::new(Some(Path::new("/srv/b"))).unwrap();
        assert_ne!(one.tag(), two.tag());
        assert_eq!(one.manifests(), Path::new("/srv/a/etc/kubernetes/manifests"));
    }
}
