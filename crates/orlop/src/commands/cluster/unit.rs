//! systemd's unit of the node agent, where a machine has one: who ended the agent beside it would see it come again.
use crate::paths::Root;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "kubelet";
/// There where systemd runs the machine.
const BOOTED: &str = "/run/systemd/system";

/// The unit `kubelet`.
pub struct Unit {
    systemctl: PathBuf,
}

impl Unit {
    /// That of the node under a root, which must be the machine's own: others are in nobody's units.
    pub fn of(root: &Root) -> Option<Self> {
        match root.is_default() {
            true => Self::known_to(Path::new("systemctl"), Path::new(BOOTED)),
            false => None,
        }
    }

    fn known_to(systemctl: &Path, booted: &Path) -> Option<Self> {
        let is_known = || {
            let asked = Command::new(systemctl).args(["cat", NAME]).output();
            asked.is_ok_and(|output| output.status.success())
        };
        (booted.is_dir() && is_known()).then(|| Self {
            systemctl: systemctl.to_path_buf(),
        })
    }

    /// Starts it, with what its files say now.
    pub fn restart(&self) -> Result<()> {
        self.run(&["daemon-reload"])?;
        self.run(&["restart", NAME])
    }

    /// Ends it and waits until it has ended. It is not started again by itself.
    pub fn stop(&self) -> Result<()> {
        self.run(&["stop", NAME])
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let status = Command::new(&self.systemctl).args(words).status();
        let status = status.context("cannot run systemctl")?;
        anyhow::ensure!(
            status.success(),
            "systemctl {} did not work: {status}",
            words.join(" ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A systemctl that writes down what it is asked, and knows units or not.
    fn systemctl(directory: &Path, knows: bool) -> PathBuf {
        let path = directory.join("systemctl");
        let log = directory.join("asked");
        let known = if knows { 0 } else { 1 };
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = cat ] && exit {known}\necho \"$@\" >> {}\n",
            log.display()
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_unit_is_restarted_with_its_files_and_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let systemctl = systemctl(directory.path(), true);
        let unit = Unit::known_to(&systemctl, directory.path()).unwrap();
        unit.restart().unwrap();
        unit.stop().unwrap();
        let asked = std::fs::read_to_string(directory.path().join("asked")).unwrap();
        assert_eq!(asked, "daemon-reload\nrestart kubelet\nstop kubelet\n");
    }

    #[test]
    fn there_is_none_without_systemd_or_under_another_root() {
        let directory = tempfile::tempdir().unwrap();
        let unknown = systemctl(directory.path(), false);
        assert!(Unit::known_to(&unknown, directory.path()).is_none());
        let known = systemctl(directory.path(), true);
        assert!(Unit::known_to(&known, &directory.path().join("nothing")).is_none());
        assert!(Unit::of(&Root::new(Some(directory.path())).unwrap()).is_none());
    }
}
