//! A node of its own for measuring, beside whatever else runs on the machine.
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::wait::await_condition;
use orlop_ports::free_port;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A node under a temporary root; taken down when dropped.
pub struct Node {
    root: TempDir,
    orlop: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
    pub name: String,
}

impl Node {
    /// Lays a node out, starts it and waits until it is Ready.
    pub async fn start(orlop: &Path, images: &Path) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("orl-").tempdir_in("/tmp")?;
        let manifests = root.path().join("etc/kubernetes/manifests");
        std::fs::create_dir_all(&manifests)?;
        let name = "bench".to_owned();
        let config = root.path().join("kubelet.yaml");
        std::fs::write(
            &config,
            format!(
                "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nport: {}\n\
                 healthzPort: {}\nstaticPodPath: {}\nfailCgroupV1: false\nfailSwapOn: false\n\
                 cgroupRoot: /{}\n",
                free_port(),
                free_port(),
                manifests.display(),
                root.path().file_name().unwrap_or_default().to_string_lossy(),
            ),
        )?;
        let arguments = vec![
            "up".to_owned(),
            "--v=1".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--node-name={name}"),
            format!("--root={}", root.path().display()),
            format!("--secure-port={}", free_port()),
            format!("--config={}", config.display()),
            format!("--images={}", images.display()),
        ];
        let mut node = Self {
            root,
            orlop: orlop.to_path_buf(),
            arguments,
            process: None,
            name,
        };
        let start = Timestamp::now();
        node.launch()?;
        let client = node.client_when_answering().await?;
        node.wait_ready(&client, start).await?;
        Ok(node)
    }

    pub fn manifests(&self) -> PathBuf {
        self.root.path().join("etc/kubernetes/manifests")
    }

    /// Starts the process.
    pub fn launch(&mut self) -> Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.root.path().join("log"))?;
        let child = Command::new(&self.orlop)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", self.orlop.display()))?;
        self.process = Some(child);
        Ok(())
    }

    /// `kill -9`; containers run on.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// A client, as soon as the API server has answered one request.
    pub async fn client_when_answering(&self) -> Result<kube::Client> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let kubeconfig = self.root.path().join("etc/kubernetes/admin.conf");
        loop {
            if kubeconfig.exists()
                && let Ok(client) = orlop_client::connect(&kubeconfig).await
                && client.apiserver_version().await.is_ok()
            {
                return Ok(client);
            }
            ensure!(Instant::now() < deadline, "the API server does not answer");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Returns when the Node is Ready and its agent has renewed its Lease since `start`: the stored
    /// Node may still say Ready from before.
    pub async fn wait_ready(&self, client: &kube::Client, start: Timestamp) -> Result<()> {
        let nodes: kube::Api<NodeObject> = kube::Api::all(client.clone());
        let leases: kube::Api<Lease> = kube::Api::namespaced(client.clone(), "kube-node-lease");
        let ready = await_condition(nodes, &self.name, |node: Option<&NodeObject>| {
            let conditions = node.and_then(|n| n.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
        });
        let renewed = await_condition(leases, &self.name, move |lease: Option<&Lease>| {
            lease
                .and_then(|l| l.spec.as_ref()?.renew_time.as_ref())
                .is_some_and(|time| time.0 >= start)
        });
        let both = async { tokio::try_join!(ready, renewed) };
        tokio::time::timeout(Duration::from_secs(60), both)
            .await
            .context("the node is not Ready")??;
        Ok(())
    }

    /// Puts the example on the node, on ports of its own, and waits until it runs.
    pub fn play_example(&self) -> Result<()> {
        let root = self.root.path().display();
        let etcd = include_str!("../../../examples/manifests/etcd.yaml")
            .replace(":2379", &format!(":{}", free_port()))
            .replace(":2380", &format!(":{}", free_port()))
            .replace("2381", &free_port().to_string())
            .replace("path: /var/lib/etcd", &format!("path: {root}/var/lib/etcd"))
            .replace(
                "path: /etc/kubernetes/pki/etcd",
                &format!("path: {root}/etc/kubernetes/pki/etcd"),
            );
        std::fs::write(self.manifests().join(".etcd"), etcd)?;
        std::fs::rename(self.manifests().join(".etcd"), self.manifests().join("etcd.yaml"))?;
        let set = include_str!("../../../examples/kube-proxy-like.yaml").replace(
            "path: /run/xtables.lock",
            &format!("path: {root}/run/xtables.lock"),
        );
        let file = self.root.path().join("daemonset.yaml");
        std::fs::write(&file, set)?;
        self.kubectl(&format!("apply -f {}", file.display()))?;
        self.kubectl("rollout status -n kube-system --timeout=60s daemonset/kube-proxy")?;
        self.kubectl(&format!(
            "wait -n kube-system --for=create --timeout=60s pod/etcd-{}",
            self.name
        ))?;
        self.kubectl(&format!(
            "wait -n kube-system --for=condition=Ready --timeout=60s pod/etcd-{}",
            self.name
        ))
    }

    fn kubectl(&self, line: &str) -> Result<()> {
        let output = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.root.path().join("etc/kubernetes/admin.conf"))
            .args(line.split_whitespace())
            .output()?;
        ensure!(
            output.status.success(),
            "kubectl {line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Resident memory of the orlop process, in MB (10^6 bytes).
    pub fn resident_mb(&self) -> Result<f64> {
        let pid = self.process.as_ref().context("the node runs")?.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .context("VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1024.0 / 1e6)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let down = Command::new(&self.orlop)
            .arg("down")
            .arg("--root")
            .arg(self.root.path())
            .status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!("orlop down failed for {}", self.root.path().display());
        }
        let _ = self.kill();
    }
}
