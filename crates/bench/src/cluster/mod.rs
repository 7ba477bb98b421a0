//! Masters of a cluster in the lab: how long the first takes, what its control plane needs, and what writes come to
//! through three members of etcd.
mod init;
mod straight;
mod writes;

use crate::report;
use anyhow::{Context, Result, ensure};
use orlop_lab::steps::{JoinLines, init_line, kubeconfig_here, put_images};
use orlop_lab::{Lab, LabOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const MASTERS: [&str; 3] = ["master-01", "master-02", "master-03"];
/// What a master's control plane consists of beside etcd.
const CONTROL_PLANE: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// Idle time before memory is read: long enough for start-up's allocations to be given back.
const SETTLE: Duration = Duration::from_secs(15);
const INIT_SECONDS_MAX: f64 = 10.0;
const CONTROL_PLANE_MB_MAX: f64 = 80.0;

/// Measures everything. `images`: archives of the control plane; the lab's program lies beside this one. `writes`: objects
/// of each load.
pub async fn measure(orlop: &Path, images: &Path, writes: usize) -> Result<()> {
    let machines = Machines::start(orlop, images)?;
    let began = init::Began::now();
    let printed = machines.orlop(MASTERS[0], &init_line(machines.lab.machine(MASTERS[0])?.address))?;
    let kubeconfig = machines.kubeconfig()?;
    let took = began.until_running(&kubeconfig, MASTERS[0]).await?;
    report::bar(
        "orlop init -> Ready, four mirror pods Running",
        took.as_secs_f64(),
        "s",
        "-",
        INIT_SECONDS_MAX,
    );
    let runtime = init::of_runtime(&printed).context("init does not say how long the runtime took")?;
    report::figure("  of which containerd's start and import of images", runtime, "s");
    tokio::time::sleep(SETTLE).await;
    report::bar(
        "memory of a master's control plane beside etcd",
        machines.control_plane_mb(MASTERS[0], "status", "VmRSS:")?,
        "MB",
        "-",
        CONTROL_PLANE_MB_MAX,
    );
    report::figure(
        "  pages that the three share counted once (PSS)",
        machines.control_plane_mb(MASTERS[0], "smaps_rollup", "Pss:")?,
        "MB",
    );
    let lines = JoinLines::of(&printed)?;
    for master in &MASTERS[1..] {
        machines.orlop(master, &lines.on(master, machines.lab.machine(master)?.address))?;
    }
    writes::measure(&machines, writes)
}

/// Three machines, and where they are reached.
struct Machines {
    lab: Lab,
    directory: TempDir,
    api_port: u16,
}

impl Machines {
    fn start(orlop: &Path, images: &Path) -> Result<Self> {
        // Not on an overlay, which the runtime makes of its own.
        let directory = tempfile::Builder::new().prefix("bench-lab-").tempdir_in("/tmp")?;
        for master in MASTERS {
            put_images(images, &directory.path().join(master))?;
        }
        let api_port = orlop_ports::free_port();
        let program = std::env::current_exe()?.with_file_name("orlop-lab");
        ensure!(
            program.is_file(),
            "{} is missing: `make bench` builds it",
            program.display()
        );
        let lab = Lab::start(LabOptions {
            directory: directory.path().to_path_buf(),
            program,
            orlop: orlop.canonicalize()?,
            machines: MASTERS.map(str::to_owned).to_vec(),
            api_port: Some(api_port),
        })?;
        Ok(Self {
            lab,
            directory,
            api_port,
        })
    }

    fn orlop(&self, machine: &str, line: &str) -> Result<String> {
        let output = self.lab.run(machine, &format!("orlop {line}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "orlop {line} on {machine}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    }

    /// The administrator's, through the port that leads to any master.
    fn kubeconfig(&self) -> Result<PathBuf> {
        let admin = std::fs::read_to_string(self.lab.path(MASTERS[0], "/etc/kubernetes/admin.conf")?)?;
        let path = self.directory.path().join("admin.conf");
        std::fs::write(&path, kubeconfig_here(&admin, self.api_port))?;
        Ok(path)
    }

    /// What a file of `/proc` says of API server, controllers and scheduler together.
    fn control_plane_mb(&self, master: &str, file: &str, field: &str) -> Result<f64> {
        let mut kilobytes = 0;
        for part in CONTROL_PLANE {
            for pid in self.lab.processes(master, part)? {
                let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"))?;
                let line = text.lines().find_map(|line| line.strip_prefix(field));
                let words = line.and_then(|line| line.split_whitespace().next());
                kilobytes += words.context("the field is missing")?.parse::<u64>()?;
            }
        }
        Ok(kilobytes as f64 / 1024.0)
    }
}
