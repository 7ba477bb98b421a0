//! A pod network for nodes that have none: a bridge, addresses from the node's range, host ports.

mod conflist;

pub use conflist::Network;

use std::path::{Path, PathBuf};

/// Where the plugins are by custom: Debian's package, and everybody else's.
pub const BIN_DIRS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
/// Our file. Written only when the directory has no other; see [`ensure_conflist`].
pub const CONFLIST_FILE: &str = "90-orlop.conflist";
/// The programs the network needs.
const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// Why there is no pod network.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// Plugins aren't installed.
    #[error(
        "CNI plugins {missing:?} are not in {}: install them (Debian: apt-get install containernetworking-plugins)",
        list(dirs)
    )]
    PluginsMissing {
        /// Which.
        missing: Vec<&'static str>,
        /// Where they were looked for.
        dirs: Vec<PathBuf>,
    },
    /// The bridge interface.
    #[error("network interface {bridge} can't be removed: {reason}; try `ip link delete {bridge}`")]
    Bridge {
        /// Its name.
        bridge: String,
        /// What `ip` said.
        reason: String,
    },
    /// A file or directory.
    #[error("CNI configuration {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What the configuration directory holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflist {
    /// Ours was written, or brought up to date.
    Written(PathBuf),
    /// Ours was there already, or somebody else's, which is left alone.
    Existing(PathBuf),
}

/// The first of the directories that has all plugins needed.
pub fn plugin_dir(dirs: &[PathBuf]) -> Result<&Path, CniError> {
    let missing_in = |dir: &Path| -> Vec<&'static str> {
        PLUGINS
            .into_iter()
            .filter(|plugin| !dir.join(plugin).is_file())
            .collect()
    };
    if let Some(dir) = dirs.iter().find(|dir| missing_in(dir).is_empty()) {
        return Ok(dir);
    }
    let missing = dirs
        .iter()
        .map(|dir| missing_in(dir))
        .min_by_key(Vec::len)
        .unwrap_or_else(|| PLUGINS.to_vec());
    Err(CniError::PluginsMissing {
        missing,
        dirs: dirs.to_vec(),
    })
}

/// Writes the bridge network unless the directory has another one. A file of ours is kept up to date.
pub fn ensure_conflist(conf_dir: &Path, network: &Network) -> Result<Conflist, CniError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CniError::File { path, source }
    };
    std::fs::create_dir_all(conf_dir).map_err(failed(conf_dir))?;
    let ours = conf_dir.join(CONFLIST_FILE);
    let mut others: Vec<PathBuf> = std::fs::read_dir(conf_dir)
        .map_err(failed(conf_dir))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| *path != ours && is_configuration(path))
        .collect();
    others.sort();
    if let Some(other) = others.into_iter().next() {
        return Ok(Conflist::Existing(other));
    }
    let text = network.to_conflist();
    if std::fs::read_to_string(&ours).is_ok_and(|present| present == text) {
        return Ok(Conflist::Existing(ours));
    }
    // containerd watches the directory: the file must appear whole.
    let partial = conf_dir.join(".orlop.conflist.partial");
    std::fs::write(&partial, text).map_err(failed(&partial))?;
    std::fs::rename(&partial, &ours).map_err(failed(&ours))?;
    Ok(Conflist::Written(ours))
}

/// Takes the bridge interface away; harmless when there is none. For when the node's state goes too: the network plugin
/// makes it again for the next pod.
pub fn remove_bridge(network: &Network) -> Result<(), CniError> {
    let interface = Path::new("/sys/class/net").join(&network.bridge);
    if !interface.exists() {
        return Ok(());
    }
    let output = std::process::Command::new("ip")
        .args(["link", "delete", &network.bridge])
        .output()
        .map_err(|error| error.to_string());
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error),
    }
    .map_err(|reason| CniError::Bridge {
        bridge: network.bridge.clone(),
        reason,
    })
}

fn is_configuration(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| matches!(extension, "conf" | "conflist" | "json"))
}

fn list(dirs: &[PathBuf]) -> String {
    let names: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    names.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network {
            bridge: "orlop0".to_owned(),
            subnet: "10.244.0.0/24".to_owned(),
            data_dir: PathBuf::from("/var/lib/orlop/cni"),
        }
    }

    #[test]
    fn conflist_is_written_once_and_updated_when_the_range_changes() {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join(CONFLIST_FILE);
        let first = ensure_conflist(dir.path(), &network()).unwrap();
        assert_eq!(first, Conflist::Written(ours.clone()));
        let again = ensure_conflist(dir.path(), &network()).unwrap();
        assert_eq!(again, Conflist::Existing(ours.clone()));
        let other = Network {
            subnet: "10.9.0.0/24".to_owned(),
            ..network()
        };
        assert_eq!(
            ensure_conflist(dir.path(), &other).unwrap(),
            Conflist::Written(ours)
        );
    }

    #[test]
    fn somebody_elses_network_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("10-flannel.conflist");
        std::fs::write(&theirs, "{}").unwrap();
        assert_eq!(
            ensure_conflist(dir.path(), &network()).unwrap(),
            Conflist::Existing(theirs)
        );
        assert!(!dir.path().join(CONFLIST_FILE).exists());
    }

    #[test]
    fn missing_plugins_are_named_with_the_package() {
        let dir = tempfile::tempdir().unwrap();
        for plugin in ["bridge", "loopback"] {
            std::fs::write(dir.path().join(plugin), "").unwrap();
        }
        let dirs = [dir.path().to_owned(), PathBuf::from("/nowhere")];
        let text = plugin_dir(&dirs).unwrap_err().to_string();
        assert!(text.contains(r#"["host-local", "portmap"]"#), "{text}");
        assert!(text.contains("containernetworking-plugins"), "{text}");
    }
}
