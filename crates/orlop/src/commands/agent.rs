//! What `up` and `kubelet` share about starting the node agent.
use crate::paths::{Root, STATIC_OBJECTS};
use anyhow::{Context, Result, bail};
use futures::StreamExt;
use orlop_cri::Remote;
use orlop_kubelet::config::{KubeletConfiguration, load};
use orlop_kubelet::{Config, run as run_kubelet};
use orlop_pki::ServingFiles;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Everything the agent is started with.
pub struct AgentOptions {
    pub node_name: String,
    pub configuration: KubeletConfiguration,
    pub client: Option<kube::Client>,
    pub remote: Remote,
    pub tls: Option<Arc<ServingFiles>>,
    pub node_ip: Option<IpAddr>,
    pub node_labels: Vec<String>,
    /// The API server's, if it runs here and answers on the node's addresses.
    pub api_server_port: Option<u16>,
    pub kubelet_root: PathBuf,
    pub container_logs: PathBuf,
    pub control_socket: PathBuf,
}

/// The node's name: the given one, or the host's; lower case, as the API wants it.
pub fn node_name(given: Option<&str>) -> String {
    let host = || gethostname::gethostname().to_string_lossy().into_owned();
    given.map_or_else(host, str::to_owned).trim().to_lowercase()
}

/// The KubeletConfiguration: of the given file, of the one in its usual place, or the defaults of a
/// node that has none; with the root's paths where it names none.
pub fn configuration(root: &Root, given: Option<&Path>) -> Result<KubeletConfiguration> {
    let usual = root.kubelet_config();
    let file = given
        .map(Path::to_path_buf)
        .or_else(|| usual.is_file().then_some(usual));
    let defaults = KubeletConfiguration::default();
    let mut configuration = match &file {
        Some(file) => {
            let loaded = load(Some(file), None)?;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            loaded.configuration
        }
        None => KubeletConfiguration {
            // Nobody has chosen: run wherever a container can run.
            fail_cgroup_v1: false,
            fail_swap_on: false,
            ..defaults.clone()
        },
    };
    if configuration.static_pod_path.is_empty() {
        let manifests = root.manifests();
        // The usual place is there for users to find; one that was named may be a file, and may come later.
        std::fs::create_dir_all(&manifests)
            .with_context(|| format!("cannot create {}", manifests.display()))?;
        configuration.static_pod_path = manifests.display().to_string();
    }
    if configuration.pod_logs_dir == defaults.pod_logs_dir {
        configuration.pod_logs_dir = root.pod_logs().display().to_string();
    }
    if !root.is_default() && configuration.cgroup_root.is_empty() {
        // Cgroups are the machine's: nodes side by side must not share them.
        configuration.cgroup_root = format!("/orlop-{}", root.tag());
    }
    check_machine(&configuration)?;
    Ok(configuration)
}

/// Takes the flag over the configuration; the usual place is below the root.
pub fn use_static_objects(root: &Root, configuration: &mut KubeletConfiguration, given: Option<&Path>) {
    let Some(path) = given else { return };
    let path = match path.strip_prefix("/") {
        Ok(below) if path == Path::new(STATIC_OBJECTS) => root.as_path().join(below),
        _ => path.to_path_buf(),
    };
    configuration.static_objects_path = path.display().to_string();
}

/// What upstream's agent refuses to start on, unless it is told otherwise.
fn check_machine(configuration: &KubeletConfiguration) -> Result<()> {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !unified && configuration.fail_cgroup_v1 {
        bail!(
            "this machine runs cgroup v1: set failCgroupV1: false in the kubelet configuration to run all the same"
        );
    }
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    if configuration.fail_swap_on && swaps.lines().count() > 1 {
        bail!("swap is on: turn it off, or set failSwapOn: false in the kubelet configuration");
    }
    Ok(())
}

/// `key=value` words as a map.
pub fn labels(words: &[String]) -> Result<BTreeMap<String, String>> {
    words
        .iter()
        .filter(|word| !word.is_empty())
        .map(|word| {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("--node-labels: {word:?} is not key=value"))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Runs the agent until shutdown.
pub async fn run(options: AgentOptions, shutdown: CancellationToken) -> Result<()> {
    let notices = orlop_cri::events::subscribe(&options.remote).boxed();
    let config = Config {
        node_name: options.node_name,
        configuration: options.configuration,
        client: options.client,
        runtime_name: options.remote.runtime_name().to_owned(),
        notices,
        runtime: Arc::new(options.remote),
        root_dir: options.kubelet_root,
        container_logs_dir: options.container_logs,
        control_socket: Some(options.control_socket),
        node_labels: labels(&options.node_labels)?,
        node_ips: options.node_ip.into_iter().collect(),
        api_server_port: options.api_server_port,
    };
    run_kubelet(config, options.tls, shutdown)
        .await
        .context("the node agent stopped")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a03_node_name_is_lower_case() {
        assert_eq!(node_name(Some(" Node-A ")), "node-a");
    }

    #[test]
    fn label_without_a_value_sign_is_refused() {
        assert!(labels(&["team".to_owned()]).is_err());
        assert_eq!(labels(&["team=a".to_owned()]).unwrap()["team"], "a");
    }
}
