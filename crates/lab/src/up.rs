//! `orlop-lab up`: a whole cluster, left running.
use anyhow::{Context, Result, ensure};
use clap::Args;
use orlop_lab::steps::{JoinLines, init_line, kubeconfig_here, put_images};
use orlop_lab::{Lab, LabOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Args)]
pub struct Up {
    /// Files of the machines.
    #[arg(long, default_value = crate::DIRECTORY)]
    directory: PathBuf,
    /// The orlop binary.
    #[arg(long)]
    orlop: PathBuf,
    /// Directory of image archives.
    #[arg(long)]
    images: PathBuf,
    #[arg(long, default_value_t = 3)]
    masters: u8,
    #[arg(long, default_value_t = 3)]
    workers: u8,
    /// Port of this machine's loopback that leads to the API.
    #[arg(long, default_value_t = 6443)]
    api_port: u16,
}

impl Up {
    pub fn run(self) -> Result<()> {
        let names = |kind: &str, count: u8| (1..=count).map(|n| format!("{kind}-{n:02}")).collect::<Vec<_>>();
        let machines = [names("master", self.masters), names("worker", self.workers)].concat();
        for name in &machines {
            put_images(&self.images, &self.directory.join(name))?;
        }
        let lab = Lab::start(LabOptions {
            directory: self.directory.clone(),
            program: std::env::current_exe()?,
            orlop: std::path::absolute(&self.orlop)?,
            machines: machines.clone(),
            api_port: Some(self.api_port),
        })?;
        let first = machines.first().context("a cluster needs a master")?;
        let printed = orlop(&lab, first, &init_line(lab.machine(first)?.address))?;
        let lines = JoinLines::of(&printed)?;
        for name in &machines[1..] {
            orlop(&lab, name, &lines.on(name, lab.machine(name)?.address))?;
        }
        let admin = std::fs::read_to_string(lab.path(first, "/etc/kubernetes/admin.conf")?)?;
        let kubeconfig = self.directory.join("admin.conf");
        write_private(&kubeconfig, &kubeconfig_here(&admin, self.api_port))?;
        lab.leave();
        println!(
            "\nThe cluster is up. Try:\n  export KUBECONFIG={}\n  kubectl get nodes\n  {} exec master-01 orlop ps",
            kubeconfig.display(),
            std::env::current_exe()?.display()
        );
        Ok(())
    }
}

/// A file that holds a key: for nobody else, whoever it was for before.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

fn orlop(lab: &Lab, machine: &str, line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().take(1).collect();
    let began = Instant::now();
    let output = lab.run(machine, &format!("orlop {line}"))?;
    ensure!(
        output.status.success(),
        "orlop {line} on {machine}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{machine}: orlop {} ({:.1?})", words.concat(), began.elapsed());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_administrators_key_is_for_nobody_else() {
        let path = std::env::temp_dir().join(format!("orlop-lab-{}.conf", std::process::id()));
        std::fs::write(&path, "of an earlier lab").unwrap();
        write_private(&path, "key").unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "key");
        std::fs::remove_file(&path).unwrap();
    }
}
