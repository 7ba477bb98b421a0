//! A containerd of its own below a temporary directory, and the traces it must not leave.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_cri::containerd::{ContainerdConfig, Managed, Shim};
use orlop_cri::images::Importer;
use orlop_cri::{Remote, RuntimeService, sweep, v1};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

pub const BUSYBOX: &str = "orlop.local/busybox:test";

/// Whether the tests can run here at all: root, and the Debian packages.
pub fn is_possible() -> bool {
    let has = |program: &str| {
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/lib/cni"]
            .iter()
            .any(|dir| Path::new(dir).join(program).exists())
    };
    let is_root = nix::unistd::geteuid().is_root();
    let possible = is_root
        && ["containerd", "runc", "busybox", "bridge", "ip"]
            .iter()
            .all(|p| has(p));
    if !possible {
        assert!(
            std::env::var_os("ORLOP_REQUIRE_RUNTIME").is_none(),
            "these tests need root and containerd, runc, busybox-static, containernetworking-plugins, iproute2"
        );
        eprintln!(
            "skipped: needs root and containerd, runc, busybox-static, containernetworking-plugins, iproute2"
        );
    }
    possible
}

/// orlop's shim where these are the tests of its crate.
pub fn shim() -> Shim {
    option_env!("CARGO_BIN_EXE_containerd-shim-orlop-v2")
        .map_or(Shim::Containerd, |path| Shim::At(path.into()))
}

pub struct Node {
    pub dir: tempfile::TempDir,
    pub managed: Managed,
    pub cgroup: String,
}

impl Node {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut ContainerdConfig)) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter("orlop_cri=debug")
            .with_test_writer()
            .try_init();
        let dir = tempfile::Builder::new().prefix("orlop-cri-").tempdir().unwrap();
        let mut config = ContainerdConfig::of_root(dir.path());
        config.shim = shim();
        change(&mut config);
        let managed = Managed::ensure(config).await.unwrap();
        let cgroup = format!("/{}", dir.path().file_name().unwrap().to_str().unwrap());
        Self { dir, managed, cgroup }
    }

    pub fn remote(&self) -> &Remote {
        self.managed.remote()
    }

    pub async fn import_busybox(&self) {
        let archive = orlop_oci::ImageBuilder::new(BUSYBOX)
            .unwrap()
            .base()
            .unwrap()
            .host_file(Path::new("/bin/busybox"), "/bin/busybox")
            .unwrap()
            .busybox_applets(Path::new("/bin/busybox"))
            .unwrap()
            .cmd(["sh"])
            .to_archive()
            .unwrap();
        let imported = Importer::new(self.remote())
            .unwrap()
            .import_bytes(archive)
            .await
            .unwrap();
        assert_eq!(imported[0].name, BUSYBOX);
    }

    pub fn sandbox(&self, name: &str, host_network: bool) -> v1::PodSandboxConfig {
        let network = if host_network {
            v1::NamespaceMode::Node
        } else {
            v1::NamespaceMode::Pod
        };
        let logs = self.dir.path().join("logs").join(name);
        std::fs::create_dir_all(&logs).unwrap();
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: if host_network {
                String::new()
            } else {
                name.to_owned()
            },
            log_directory: logs.display().to_string(),
            labels: HashMap::from([("app".to_owned(), name.to_owned())]),
            linux: Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/pod-{name}", self.cgroup),
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(v1::NamespaceOption {
                        network: network as i32,
                        pid: v1::NamespaceMode::Container as i32,
                        ..v1::NamespaceOption::default()
                    }),
                    seccomp: Some(v1::SecurityProfile::default()),
                    ..v1::LinuxSandboxSecurityContext::default()
                }),
                ..v1::LinuxPodSandboxConfig::default()
            }),
            ..v1::PodSandboxConfig::default()
        }
    }

    pub fn container(&self, name: &str, script: &str) -> v1::ContainerConfig {
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            image: Some(v1::ImageSpec {
                image: BUSYBOX.to_owned(),
                ..v1::ImageSpec::default()
            }),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: format!("{name}.log"),
            linux: Some(v1::LinuxContainerConfig::default()),
            ..v1::ContainerConfig::default()
        }
    }

    /// Sandbox and started container.
    pub async fn run(&self, name: &str, host_network: bool, script: &str) -> (String, String) {
        let sandbox = self.sandbox(name, host_network);
        let sandbox_id = self.remote().run_pod_sandbox(sandbox.clone(), "").await.unwrap();
        let id = self
            .remote()
            .create_container(&sandbox_id, self.container(name, script), sandbox)
            .await
            .unwrap();
        self.remote().start_container(&id).await.unwrap();
        (sandbox_id, id)
    }

    pub async fn state(&self, id: &str) -> v1::ContainerStatus {
        self.remote()
            .container_status(id, false)
            .await
            .unwrap()
            .status
            .unwrap()
    }

    pub fn log(&self, name: &str) -> String {
        let path = self
            .dir
            .path()
            .join("logs")
            .join(name)
            .join(format!("{name}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Removes everything and checks that nothing of it is left on the machine.
    pub async fn finish(self) {
        sweep::remove_all_pods(self.remote(), Duration::from_secs(0))
            .await
            .unwrap();
        self.managed.stop().await;
        let root = self.dir.path().display().to_string();
        if let Some(network) = &self.managed.config().network {
            orlop_cri::cni::remove_bridge(network).unwrap();
        }
        remove_cgroups(&self.cgroup);
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&root)).collect();
        assert!(left.is_empty(), "mounts left: {left:#?}");
        let processes = processes_with(&root);
        assert!(processes.is_empty(), "processes left: {processes:#?}");
    }
}

/// A failed test must not leave a containerd that holds the output open; its pods it may, for people to look at.
impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (pid, _) in processes_with(&self.managed.config().config_file.display().to_string()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// Processes whose command lines have this text.
pub fn processes_with(text: &str) -> Vec<(i32, String)> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
        })
        .filter(|(_, line)| line.contains(text))
        .collect()
}

/// Empty cgroups of the test, innermost first, in every hierarchy.
fn remove_cgroups(cgroup: &str) {
    fn remove(dir: &Path) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                remove(&entry.path());
            }
        }
        let _ = std::fs::remove_dir(dir);
    }
    let name = cgroup.trim_start_matches('/');
    remove(&Path::new("/sys/fs/cgroup").join(name));
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
    {
        let dir = hierarchy.path().join(name);
        if dir.is_dir() {
            remove(&dir);
        }
    }
}
