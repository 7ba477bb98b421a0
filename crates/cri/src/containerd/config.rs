use super::Shim;
use crate::{Endpoint, cni, pause};
use std::path::{Path, PathBuf};

/// Who makes cgroups: the kubelet and the runtime must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupDriver {
    /// Directories in the cgroup file system, made by runc itself.
    #[default]
    Cgroupfs,
    /// Units of a running systemd.
    Systemd,
}

impl CgroupDriver {
    /// What fits this machine: systemd's only where systemd runs it and has the whole tree (cgroup v2).
    pub fn detect() -> Self {
        let systemd_runs = Path::new("/run/systemd/system").is_dir();
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        if systemd_runs && unified {
            CgroupDriver::Systemd
        } else {
            CgroupDriver::Cgroupfs
        }
    }

    /// `cgroupfs` or `systemd`, as in a KubeletConfiguration.
    pub fn as_str(self) -> &'static str {
        match self {
            CgroupDriver::Cgroupfs => "cgroupfs",
            CgroupDriver::Systemd => "systemd",
        }
    }
}

/// What a managed containerd is to be. [`ContainerdConfig::of_root`] fills in the usual paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerdConfig {
    /// The program; a bare name is looked up in the search path.
    pub program: PathBuf,
    /// Images, snapshots, metadata: kept over reboots.
    pub root: PathBuf,
    /// Running containers: gone with a reboot.
    pub state: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// Its configuration file, written anew at each start.
    pub config_file: PathBuf,
    /// Its output.
    pub log_file: PathBuf,
    /// CNI configuration.
    pub cni_conf_dir: PathBuf,
    /// Where CNI plugins may be; the first directory that has them is taken.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// The network to write when `cni_conf_dir` has none; `None` leaves the directory alone.
    pub network: Option<cni::Network>,
    /// The sandbox image.
    pub sandbox_image: String,
    /// Who makes cgroups.
    pub cgroup_driver: CgroupDriver,
    /// What stands between it and a pod's containers.
    pub shim: Shim,
    /// Where a shim of ours is copied to.
    pub shim_dir: PathBuf,
    /// Directory with per-registry settings (`hosts.toml`), containerd's usual one by default.
    pub registry_dir: PathBuf,
}

impl ContainerdConfig {
    /// The usual paths below `root` (`/` without `--root`): state in `var/lib/orlop/containerd`, sockets in `run/orlop`,
    /// CNI in `etc/cni/net.d`.
    pub fn of_root(root: &Path) -> Self {
        let own = root.join("var/lib/orlop");
        let run = root.join("run/orlop");
        Self {
            program: PathBuf::from("containerd"),
            root: own.join("containerd"),
            state: run.join("containerd"),
            socket: run.join("containerd.sock"),
            config_file: own.join("containerd.toml"),
            log_file: own.join("containerd.log"),
            cni_conf_dir: root.join("etc/cni/net.d"),
            cni_bin_dirs: cni::BIN_DIRS.map(PathBuf::from).to_vec(),
            network: Some(cni::Network::of_root(root, own.join("cni"))),
            sandbox_image: pause::IMAGE.to_owned(),
            cgroup_driver: CgroupDriver::default(),
            shim: Shim::default(),
            shim_dir: own.join("bin"),
            registry_dir: PathBuf::from("/etc/containerd/certs.d"),
        }
    }

    /// Where it will listen.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::of_socket(&self.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_a_root_lies_in_it() {
        let config = ContainerdConfig::of_root(Path::new("/tmp/one"));
        for path in [
            &config.root,
            &config.state,
            &config.socket,
            &config.config_file,
            &config.log_file,
            &config.shim_dir,
            &config.cni_conf_dir,
        ] {
            assert!(path.starts_with("/tmp/one"), "{}", path.display());
        }
        let standard = ContainerdConfig::of_root(Path::new("/"));
        assert_eq!(standard.socket, Path::new("/run/orlop/containerd.sock"));
        assert_eq!(standard.cni_conf_dir, Path::new("/etc/cni/net.d"));
    }
}
