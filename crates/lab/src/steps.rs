//! The steps by which machines become a cluster: command lines, and what `init` prints.
use crate::GATEWAY;
use anyhow::{Context, Result};
use std::net::Ipv4Addr;
use std::path::Path;

/// `orlop init` on the first master.
pub fn init_line(address: Ipv4Addr) -> String {
    format!(
        "init --apiserver-advertise-address={address} --control-plane-endpoint={GATEWAY}:6443 \
         --apiserver-cert-extra-sans=127.0.0.1 --pod-network-cidr=10.244.0.0/16 --upload-certs"
    )
}

/// With what others join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLines {
    pub worker: String,
    pub master: String,
}

impl JoinLines {
    /// From what `orlop init` printed.
    pub fn of(printed: &str) -> Result<Self> {
        let joined = printed.replace("\\\n", " ");
        let mut lines = joined
            .lines()
            .map(str::trim)
            .filter_map(|line| line.strip_prefix("orlop "))
            .filter(|line| line.starts_with("join "));
        let tidy = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let worker = lines
            .next()
            .map(tidy)
            .context("init printed no command for joining")?;
        let master = lines
            .find(|line| line.contains("--control-plane"))
            .map(tidy)
            .context("init printed no command for masters")?;
        Ok(Self { worker, master })
    }

    /// The command for one machine.
    pub fn on(&self, name: &str, address: Ipv4Addr) -> String {
        let line = match name.starts_with("master") {
            true => &self.master,
            false => &self.worker,
        };
        format!("{line} --apiserver-advertise-address={address}")
    }
}

/// The administrator's kubeconfig, for a port of the host that leads to the API.
pub fn kubeconfig_here(admin: &str, port: u16) -> String {
    admin.replace(
        &format!("https://{GATEWAY}:6443"),
        &format!("https://127.0.0.1:{port}"),
    )
}

/// Puts archives where a machine imports them from, without copying where that can be.
pub fn put_images(from: &Path, machine: &Path) -> Result<()> {
    let to = machine.join("var/lib/orlop/images");
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if !target.exists() && std::fs::hard_link(entry.path(), &target).is_err() {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_is_read_from_what_init_prints() {
        let printed = "x\n\norlop join 10.77.0.1:6443 --token a.b --discovery-token-ca-cert-hash sha256:1\n\n\
            and masters:\n\norlop join 10.77.0.1:6443 --token a.b --discovery-token-ca-cert-hash sha256:1 \\\n\t\
            --control-plane --certificate-key 00\n";
        let lines = JoinLines::of(printed).unwrap();
        assert_eq!(
            lines.on("worker-01", Ipv4Addr::new(10, 77, 0, 14)),
            "join 10.77.0.1:6443 --token a.b --discovery-token-ca-cert-hash sha256:1 \
             --apiserver-advertise-address=10.77.0.14"
        );
        assert!(lines.master.ends_with("--control-plane --certificate-key 00"));
        assert!(JoinLines::of("nothing").is_err());
    }
}
