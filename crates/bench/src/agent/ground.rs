//! Where node agents are measured: a containerd of its own below a temporary directory, and agents on it, one at a time.
use super::process::Program;
use anyhow::{Context, Result, ensure};
use orlop_cri::containerd::{ContainerdConfig, Managed};
use orlop_cri::images::Importer;
use orlop_cri::{Remote, sweep};
use orlop_pki::{Authority, Identity, Kubeconfig};
use orlop_ports::free_port;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The node's name.
pub const NODE: &str = "bench";
/// How often, and after which pause, the ground is cleared while the agent does so itself.
const CLEAR_TRIES: u32 = 50;
const CLEAR_PAUSE: Duration = Duration::from_millis(200);
/// What a start may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ground; taken down when dropped.
pub struct Ground {
    root: TempDir,
    orlop: PathBuf,
    managed: Managed,
    authority: Authority,
    healthz_port: u16,
}

/// An API server for the agent to talk to.
pub struct Server {
    // For its end.
    _program: Program,
    pub port: u16,
    /// As the node.
    pub kubeconfig: PathBuf,
    /// As an administrator.
    pub client: kube::Client,
}

impl Ground {
    pub async fn lay_out(orlop: &Path, images: &Path) -> Result<Self> {
        // Socket paths are limited to 107 bytes: keep the root short.
        let root = tempfile::Builder::new().prefix("orl-").tempdir_in("/tmp")?;
        let managed = Managed::ensure(ContainerdConfig::of_root(root.path())).await?;
        let importer = Importer::new(managed.remote())?;
        for archive in std::fs::read_dir(images)? {
            let path = archive?.path();
            if path.extension().is_some_and(|extension| extension == "tar") {
                importer.import_file(&path).await?;
            }
        }
        // For `orlop down`.
        std::fs::write(
            root.path().join("run/orlop/runtime-endpoint"),
            managed.endpoint().to_string(),
        )?;
        std::fs::create_dir_all(root.path().join("etc/kubernetes/manifests"))?;
        let authority = Authority::ensure(&root.path().join("etc/kubernetes/pki"), "ca", "kubernetes")?;
        let ground = Self {
            root,
            orlop: orlop.to_path_buf(),
            managed,
            authority,
            healthz_port: free_port(),
        };
        std::fs::write(
            ground.path("kubelet.yaml"),
            format!(
                "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\naddress: 127.0.0.1\n\
                 port: {}\nhealthzPort: {}\nstaticPodPath: {}\nfailCgroupV1: false\nfailSwapOn: false\ncgroupRoot: {}\n\
                 imageGCHighThresholdPercent: 100\nevictionHard: {{memory.available: 50Mi}}\n",
                free_port(),
                ground.healthz_port,
                ground.manifests().display(),
                ground.cgroup(),
            ),
        )?;
        Ok(ground)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn manifests(&self) -> PathBuf {
        self.path("etc/kubernetes/manifests")
    }

    pub fn remote(&self) -> &Remote {
        self.managed.remote()
    }

    /// containerd's directory for its state, and its process.
    pub fn runtime(&self) -> (PathBuf, i32) {
        (self.path("run/orlop"), self.managed.pid())
    }

    fn cgroup(&self) -> String {
        format!("/{}", self.root.path().file_name().unwrap_or_default().display())
    }

    /// Starts an agent and waits until it is healthy; alone, or with an API server.
    pub async fn agent(&self, kubeconfig: Option<&Path>) -> Result<Program> {
        let mut words = format!(
            "kubelet --v=1 --root={} --config={} --hostname-override={NODE} --node-ip=127.0.0.1 \
             --container-runtime-endpoint={}",
            self.root.path().display(),
            self.path("kubelet.yaml").display(),
            self.managed.endpoint(),
        );
        if let Some(kubeconfig) = kubeconfig {
            words = format!("{words} --kubeconfig={}", kubeconfig.display());
        }
        let program = Program::start(&self.orlop, &words, &self.path("agent.log"))?;
        let deadline = Instant::now() + PATIENCE;
        while !is_healthy(self.healthz_port) {
            ensure!(
                Instant::now() < deadline,
                "the agent is not healthy:\n{}",
                self.log("agent.log")
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(program)
    }

    /// What a program has logged.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A kubeconfig for a server at this URL.
    pub fn kubeconfig(&self, file: &str, server: &str, identity: Identity) -> Result<PathBuf> {
        let path = self.path(file);
        let kubeconfig = Kubeconfig {
            server,
            cluster: "bench",
            identity,
        };
        kubeconfig.ensure(&path, &self.authority)?;
        Ok(path)
    }

    /// The identity of the node.
    pub fn node() -> Identity {
        Identity::new(format!("system:node:{NODE}"), &["system:nodes"])
    }

    pub async fn api_server(&self) -> Result<Server> {
        let port = free_port();
        let words = format!(
            "apiserver --ephemeral --v=1 --bind-address=127.0.0.1 --secure-port={port} --root={}",
            self.root.path().display()
        );
        let program = Program::start(&self.orlop, &words, &self.path("apiserver.log"))?;
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = self.kubeconfig("node.conf", &url, Self::node())?;
        let admin = Identity::new("admin", &["system:masters"]);
        let admin = self.kubeconfig("admin.conf", &url, admin)?;
        let client = orlop_client::connect(&admin).await?;
        let deadline = Instant::now() + PATIENCE;
        while client.apiserver_version().await.is_err() {
            ensure!(
                Instant::now() < deadline,
                "the API server does not answer:\n{}",
                self.log("apiserver.log")
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Server {
            _program: program,
            port,
            kubeconfig,
            client,
        })
    }

    /// Takes all manifests and all pods away; no agent may be running that would not expect it.
    pub async fn clear(&self) -> Result<()> {
        for file in std::fs::read_dir(self.manifests())?.flatten() {
            std::fs::remove_file(file.path())?;
        }
        // The agent removes them, too: what one of both has begun, the other is refused.
        let mut tries = 0;
        while let Err(error) = sweep::remove_all_pods(self.remote(), Duration::ZERO).await {
            tries += 1;
            if tries == CLEAR_TRIES {
                return Err(error.into());
            }
            tokio::time::sleep(CLEAR_PAUSE).await;
        }
        Ok(())
    }
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

impl Drop for Ground {
    fn drop(&mut self) {
        let down = Command::new(&self.orlop)
            .arg("down")
            .arg("--root")
            .arg(self.root.path())
            .stdout(std::process::Stdio::null())
            .status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!("orlop down failed for {}", self.root.path().display());
        }
        let name = self.cgroup();
        let name = name.trim_start_matches('/');
        let mount_point = Path::new("/sys/fs/cgroup");
        remove_cgroups(&mount_point.join(name));
        for hierarchy in std::fs::read_dir(mount_point).into_iter().flatten().flatten() {
            remove_cgroups(&hierarchy.path().join(name));
        }
    }
}

/// Empty cgroups, innermost first.
fn remove_cgroups(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(directory);
}

/// Writes a manifest aside and renames it into place: the moment it is there.
pub fn drop_in(manifests: &Path, name: &str, text: &str) -> Result<()> {
    let aside = manifests.join(format!(".{name}"));
    std::fs::write(&aside, text)?;
    std::fs::rename(&aside, manifests.join(format!("{name}.json"))).context("a manifest is put in place")
}
