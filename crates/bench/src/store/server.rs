//! A server of etcd's protocol with data of its own; stopped when dropped.
use anyhow::{Context, Result, ensure};
use etcd_client::Client;
use orlop_ports::free_port;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to answer on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether it answers; short, since it is timed.
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub struct Server {
    process: Child,
    url: String,
    peer: String,
    program: PathBuf,
    data: TempDir,
}

fn spawn(program: &Path, data: &Path, url: &str, peer: &str) -> Result<Child> {
    Command::new(program)
        .arg("--data-dir")
        .arg(data.join("data"))
        .arg(format!("--listen-client-urls={url}"))
        .arg(format!("--advertise-client-urls={url}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

impl Server {
    /// Starts a program as `etcd`, on a directory beside the current one's build.
    pub async fn start(program: &Path) -> Result<Self> {
        let data = tempfile::Builder::new().prefix("orlop-bench-").tempdir_in(".")?;
        let name = data.path().join("etcd");
        if program.components().count() > 1 {
            std::os::unix::fs::symlink(program.canonicalize()?, &name)?;
        }
        let program = if name.exists() { name } else { program.to_owned() };
        let url = format!("http://127.0.0.1:{}", free_port());
        let peer = format!("http://127.0.0.1:{}", free_port());
        let process = spawn(&program, data.path(), &url, &peer)?;
        let server = Self {
            process,
            url,
            peer,
            program,
            data,
        };
        server.wait().await?;
        Ok(server)
    }

    /// `kill -9`, and another process on the same data: how long until it answers.
    pub async fn kill_and_start(&mut self) -> Result<Duration> {
        self.process.kill()?;
        self.process.wait()?;
        let start = Instant::now();
        self.process = spawn(&self.program, self.data.path(), &self.url, &self.peer)?;
        self.wait().await?;
        Ok(start.elapsed())
    }

    async fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Ok(mut client) = self.client().await
                && client.get("x", None).await.is_ok()
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} does not answer", self.url);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A connection of its own.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::connect([&self.url], None).await?)
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = line
            .and_then(|line| line.split_whitespace().next())
            .context("no VmRSS")?
            .parse()?;
        Ok(kilobytes * 1024)
    }

    /// Bytes given to the disk, and system calls that write, since the start.
    pub fn written(&self) -> Result<(u64, u64)> {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.process.id()))?;
        let field = |name: &str| {
            let line = io.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok())
                .context("no such counter")
        };
        Ok((field("write_bytes:")?, field("syscw:")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
