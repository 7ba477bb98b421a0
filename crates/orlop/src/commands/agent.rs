//! What `up` and `kubelet` share about starting the node agent.
use crate::kernel;
use crate::notify;
use crate::paths::{Root, STATIC_OBJECTS};
use anyhow::{Context, Result, bail};
use futures::StreamExt;
use orlop_cri::images::Archives;
use orlop_cri::{Endpoint, Remote};
use orlop_kubelet::config::{KubeletConfiguration, load_with};
use orlop_kubelet::metrics::Metrics;
use orlop_kubelet::pods::Orders;
use orlop_kubelet::{Config, Providers, run as run_kubelet};
use orlop_pki::{ServingFiles, TlsLimits};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// Everything the agent is started with.
pub struct AgentOptions {
    pub node_name: String,
    pub configuration: KubeletConfiguration,
    pub client: Option<kube::Client>,
    /// What the agent counts, its client's calls among it.
    pub metrics: Metrics,
    pub remote: Remote,
    pub tls: Option<Arc<ServingFiles>>,
    pub node_ips: Vec<IpAddr>,
    pub node_labels: Vec<String>,
    /// The API server's, if it runs here and answers on the node's addresses.
    pub api_server_port: Option<u16>,
    pub kubelet_root: PathBuf,
    pub container_logs: PathBuf,
    pub control_socket: PathBuf,
    /// Programs that are asked how to log in to registries.
    pub credential_providers: Option<Arc<Providers>>,
    /// Where images lie that need no registry.
    pub archives: Option<Arc<dyn Archives>>,
    /// Where the network of the managed runtime notes addresses.
    pub addresses: Option<PathBuf>,
}

/// Whoever makes a sandbox while the agent starts has gone on or given up by then: an agent that was killed has not
/// waited for it any more.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// The image service may be starting beside the agent, as at boot.
const IMAGE_SERVICE_PATIENCE: Duration = Duration::from_secs(4);

/// Removes what an earlier agent left half made.
async fn remove_lost(remote: Remote, addresses: Option<PathBuf>) {
    let before = SystemTime::now();
    tokio::time::sleep(LOST_AFTER).await;
    if let Err(error) = orlop_cri::remove_lost_sandboxes(&remote, before, addresses.as_deref()).await {
        tracing::warn!(%error, "cannot look for sandboxes that were left half made");
    }
}

/// The node's name: the given one, or the host's; lower case, as the API wants it.
pub fn node_name(given: Option<&str>) -> String {
    let host = || gethostname::gethostname().to_string_lossy().into_owned();
    given.map_or_else(host, str::to_owned).trim().to_lowercase()
}

/// Where a configuration comes from; what stands later goes before what stands earlier.
pub struct Given<'a> {
    pub file: Option<&'a Path>,
    pub drop_ins: Option<&'a Path>,
    /// Fields that flags give.
    pub flags: &'a Value,
}

impl<'a> Given<'a> {
    /// A file alone.
    pub fn file(file: Option<&'a Path>) -> Self {
        Self {
            file,
            drop_ins: None,
            flags: &Value::Null,
        }
    }
}

/// The KubeletConfiguration: of the given file, of the one in its usual place, or the defaults of a
/// node that has none; with the root's paths where it names none.
pub fn configuration(root: &Root, given: &Given<'_>) -> Result<KubeletConfiguration> {
    let usual = root.kubelet_config();
    let file = given
        .file
        .map(Path::to_path_buf)
        .or_else(|| usual.is_file().then_some(usual));
    let defaults = KubeletConfiguration::default();
    let mut flags = match (&file, given.drop_ins) {
        // Nobody has chosen: run wherever a container can run.
        (None, None) => json!({"failCgroupV1": false, "failSwapOn": false}),
        _ => json!({}),
    };
    if given.flags.is_object() {
        orlop_api::patch::merge(&mut flags, given.flags);
    }
    let loaded = load_with(file.as_deref(), given.drop_ins, &flags)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut configuration = loaded.configuration;
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
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    check_machine(&configuration, unified, &swaps)?;
    Ok(configuration)
}

/// Makes the machine ready for pods, if it is this node's alone, and notes for `orlop down` where their cgroups are.
pub fn prepare_machine(root: &Root, configuration: &KubeletConfiguration) -> Result<()> {
    if root.is_default() {
        kernel::settle(configuration)?;
    }
    let record = root.cgroup_root_file();
    std::fs::create_dir_all(root.run())
        .and_then(|()| std::fs::write(&record, &configuration.cgroup_root))
        .with_context(|| format!("cannot write {}", record.display()))
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

/// What the agent's server offers of TLS.
pub fn tls_limits(configuration: &KubeletConfiguration) -> Result<TlsLimits> {
    TlsLimits::new(&configuration.tls_min_version, &configuration.tls_cipher_suites)
        .context("tlsMinVersion or tlsCipherSuites of the kubelet configuration")
}

/// What upstream's agent refuses to start on, unless it is told otherwise. `swaps` is `/proc/swaps`.
fn check_machine(configuration: &KubeletConfiguration, unified: bool, swaps: &str) -> Result<()> {
    if !unified && configuration.fail_cgroup_v1 {
        bail!(
            "this machine runs cgroup v1: set failCgroupV1: false in the kubelet configuration to run all the same"
        );
    }
    if configuration.fail_swap_on && swaps.lines().count() > 1 {
        bail!("swap is on: turn it off, or set failSwapOn: false in the kubelet configuration");
    }
    Ok(())
}

/// Namespaces of labels that are the cluster's to give, but for some.
const RESERVED: &[&str] = &["kubernetes.io", "k8s.io"];
const OPEN: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
const ALLOWED: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
];

/// Whether a node may give itself this label.
fn is_own_label(key: &str) -> bool {
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    let within = |of: &&str| namespace == *of || namespace.ends_with(&format!(".{of}"));
    !RESERVED.iter().any(within) || OPEN.iter().any(within) || ALLOWED.contains(&key)
}

/// `key=value` words as a map.
pub fn labels(words: &[String]) -> Result<BTreeMap<String, String>> {
    let labels = words.iter().filter(|word| !word.is_empty()).map(|word| {
        let (key, value) = word
            .split_once('=')
            .with_context(|| format!("--node-labels: {word:?} is not key=value"))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let labels: BTreeMap<String, String> = labels.collect::<Result<_>>()?;
    if let Some(key) = labels.keys().find(|key| !is_own_label(key)) {
        bail!(
            "--node-labels: {key:?} is in a namespace of the cluster's (kubernetes.io, k8s.io): a node may give itself \
             labels below {} and {}",
            OPEN.join(", "),
            ALLOWED.join(", ")
        );
    }
    Ok(labels)
}

/// The runtime as the configuration wants it to be called.
async fn as_configured(remote: Remote, configuration: &KubeletConfiguration) -> Result<Remote> {
    let remote = remote.with_request_timeout(configuration.runtime_request_timeout.0);
    let images = &configuration.image_service_endpoint;
    if images.is_empty() {
        return Ok(remote);
    }
    let endpoint = Endpoint::parse(images).context("imageServiceEndpoint")?;
    if endpoint == *remote.endpoint() {
        return Ok(remote);
    }
    let remote = remote.with_images_at(&endpoint, IMAGE_SERVICE_PATIENCE);
    remote
        .await
        .context("the service that has the images (imageServiceEndpoint)")
}

/// Tells the starter of this program that the agent is at work, once its pod manager is, and the watchdog for as long as
/// that has its turns.
fn notify(orders: Orders, shutdown: CancellationToken) {
    tokio::spawn(async move {
        if shutdown.run_until_cancelled(orders.answered()).await != Some(true) {
            return;
        }
        notify::ready();
        notify::watch(move || {
            let orders = orders.clone();
            async move { orders.answered().await }
        });
    });
}

/// Runs the agent until shutdown, and tells when it is at work.
pub async fn run(options: AgentOptions, shutdown: CancellationToken) -> Result<()> {
    kernel::settle_process(&options.configuration);
    let remote = as_configured(options.remote, &options.configuration).await?;
    let lost = remove_lost(remote.clone(), options.addresses);
    let until = shutdown.clone();
    tokio::spawn(async move {
        until.run_until_cancelled(lost).await;
    });
    let notices = orlop_cri::events::subscribe(&remote).boxed();
    let orders = Orders::default();
    notify(orders.clone(), shutdown.clone());
    let config = Config {
        node_name: options.node_name,
        configuration: options.configuration,
        client: options.client,
        metrics: options.metrics,
        runtime_name: remote.runtime_name().to_owned(),
        runtime_socket: Some(remote.endpoint().socket().to_owned()),
        notices,
        runtime: Arc::new(remote),
        root_dir: options.kubelet_root,
        container_logs_dir: options.container_logs,
        control_socket: Some(options.control_socket),
        node_labels: labels(&options.node_labels)?,
        node_ips: options.node_ips,
        api_server_port: options.api_server_port,
        credential_providers: options.credential_providers,
        archives: options.archives,
        orders,
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

    /// C05: the flag goes before the drop-in, which goes before the file; `/configz` tells what came of it.
    #[test]
    fn c05_flag_goes_before_drop_in_goes_before_file() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, fields: &str| {
            let text = format!(
                "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\n\
                 failSwapOn: false\n{fields}"
            );
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let file = write("config.yaml", "maxPods: 10\npodsPerCore: 1\nhealthzPort: 1\n");
        write("conf.d/10.conf", "maxPods: 20\npodsPerCore: 2\n");
        let root = Root::new(Some(directory.path())).unwrap();
        let given = Given {
            file: Some(&file),
            drop_ins: Some(&directory.path().join("conf.d")),
            flags: &json!({"maxPods": 30}),
        };
        let configuration = configuration(&root, &given).unwrap();
        let shown = &orlop_kubelet::config::configz(&configuration)["kubeletconfig"];
        assert_eq!(
            (&shown["maxPods"], &shown["podsPerCore"], &shown["healthzPort"]),
            (&json!(30), &json!(2), &json!(1))
        );
    }

    #[test]
    fn a_node_that_nobody_has_configured_runs_wherever_a_container_can() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(Some(directory.path())).unwrap();
        let unasked = configuration(&root, &Given::file(None)).unwrap();
        assert!(!unasked.fail_cgroup_v1 && !unasked.fail_swap_on);
    }

    #[test]
    fn c07_cgroup_v1_is_refused_unless_the_configuration_takes_it() {
        let with = |fail_cgroup_v1| KubeletConfiguration {
            fail_cgroup_v1,
            ..KubeletConfiguration::default()
        };
        let refused = check_machine(&with(true), false, "").unwrap_err().to_string();
        assert!(refused.contains("failCgroupV1: false"), "{refused}");
        assert!(KubeletConfiguration::default().fail_cgroup_v1);
        check_machine(&with(false), false, "").unwrap();
        check_machine(&with(true), true, "").unwrap();
    }

    #[test]
    fn c08_active_swap_is_refused_unless_the_configuration_takes_it() {
        let with = |fail_swap_on| KubeletConfiguration {
            fail_swap_on,
            ..KubeletConfiguration::default()
        };
        let none = "Filename\tType\tSize\tUsed\tPriority\n";
        let active = format!("{none}/swapfile file 1048572 0 -2\n");
        let refused = check_machine(&with(true), true, &active).unwrap_err().to_string();
        assert!(refused.contains("failSwapOn: false"), "{refused}");
        check_machine(&with(false), true, &active).unwrap();
        check_machine(&with(true), true, none).unwrap();
    }

    #[test]
    fn c09_node_gives_itself_no_label_of_the_clusters() {
        let given = |words: &[&str]| labels(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        for word in [
            "foo.k8s.io/x=1",
            "kubernetes.io/x=1",
            "node-role.kubernetes.io/worker=",
        ] {
            let refused = given(&[word]).unwrap_err().to_string();
            assert!(refused.contains(word.split_once('=').unwrap().0), "{refused}");
        }
        let taken = given(&[
            "node.kubernetes.io/x=1",
            "team=a",
            "sub.kubelet.kubernetes.io/y=2",
            "topology.kubernetes.io/zone=z",
            "example.com/k8s.io=3",
        ]);
        assert_eq!(taken.unwrap().len(), 5);
    }

    #[test]
    fn label_without_a_value_sign_is_refused() {
        assert!(labels(&["team".to_owned()]).is_err());
        assert_eq!(labels(&["team=a".to_owned()]).unwrap()["team"], "a");
    }
}
