//! A control plane of separate processes on a disk, and hollow nodes.
use crate::api::Own;
use crate::api::cpu::of_process;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the controllers may take for a namespace's account.
const START_MAX: Duration = Duration::from_secs(60);

/// A process of ours; stopped when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    fn start(program: &Path, arguments: &[&str], kubeconfig: &Path) -> Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child })
    }

    /// Processor time until now.
    pub fn cpu(&self) -> Result<Duration> {
        of_process(&self.child.id().to_string())
    }

    /// A line of `/proc/PID/smaps_rollup`, in bytes.
    pub fn memory(&self, line: &str) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
        let kilobytes: u64 = found
            .and_then(|value| value.split_whitespace().next())
            .with_context(|| format!("no {line}"))?
            .parse()?;
        Ok(kilobytes * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// API server, controllers and scheduler, each a process that speaks HTTPS with the others.
pub struct Cluster {
    program: PathBuf,
    fleets: Vec<Process>,
    pub controllers: Process,
    pub scheduler: Process,
    pub client: kube::Client,
    pub server: Own,
}

/// Processor time of the parts until now.
#[derive(Clone, Copy)]
pub struct Spent {
    pub server: Duration,
    pub controllers: Duration,
    pub scheduler: Duration,
}

impl Spent {
    /// For each of so many pods since `before`, in microseconds.
    pub fn each(self, before: Self, pods: usize) -> [u128; 3] {
        let of =
            |now: Duration, before: Duration| now.saturating_sub(before).as_micros() / pods.max(1) as u128;
        [
            of(self.server, before.server),
            of(self.controllers, before.controllers),
            of(self.scheduler, before.scheduler),
        ]
    }
}

impl Cluster {
    /// Starts all parts and waits until pods can be created.
    pub async fn start(program: &Path) -> Result<Self> {
        let server = Own::start(program).await?;
        let program = program.canonicalize()?;
        let kubeconfig = server.kubeconfig();
        let part = |name| Process::start(&program, &[name, "--v=0", "--secure-port=0"], &kubeconfig);
        let (controllers, scheduler) = (part("controller-manager")?, part("scheduler")?);
        let client = orlop_client::connect(&kubeconfig).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        let deadline = Instant::now() + START_MAX;
        while accounts.get_opt("default").await?.is_none() {
            ensure!(Instant::now() < deadline, "the controllers do not work");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            program,
            fleets: Vec::new(),
            controllers,
            scheduler,
            client,
            server,
        })
    }

    /// Registers so many more nodes; returns once they are.
    pub async fn more_nodes(&mut self, nodes: usize, flags: &[&str]) -> Result<()> {
        let (count, prefix) = (nodes.to_string(), format!("hollow-{}", self.fleets.len()));
        let mut arguments = vec!["hollow", "--v=0", "--nodes", &count, "--prefix", &prefix];
        arguments.extend(flags);
        let mut fleet = Process::start(&self.program, &arguments, &self.server.kubeconfig())?;
        let output = fleet.child.stdout.take().context("its output")?;
        let registered = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        ensure!(
            registered.await??.contains("registered"),
            "{nodes} hollow nodes were not registered"
        );
        self.fleets.push(fleet);
        Ok(())
    }

    pub fn spent(&self) -> Result<Spent> {
        Ok(Spent {
            server: self.server.cpu()?,
            controllers: self.controllers.cpu()?,
            scheduler: self.scheduler.cpu()?,
        })
    }
}
