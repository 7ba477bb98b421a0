//! A containerd of its own below a temporary directory, and agents on it.
use async_trait::async_trait;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use orlop_cri::containerd::{ContainerdConfig, Managed, Shim};
use orlop_cri::images::Importer;
use orlop_cri::{Remote, RuntimeService, events, sweep, v1};
use orlop_kubelet::config::{GoDuration, KubeletConfiguration};
use orlop_kubelet::pods::PodsHandle;
use orlop_kubelet::pods::surroundings::{Addresses, ContainerSetting, Lacking, Probed, Surroundings};
use orlop_kubelet::{Config, RunError, Shared, run, run_with};
use orlop_pki::ServingFiles;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub const BUSYBOX: &str = "orlop.local/busybox:test";
/// Far beyond what any step takes; a stuck test ends.
const PATIENCE: Duration = Duration::from_secs(90);

/// Whether the tests can run here at all: root, and the Debian packages.
pub fn is_possible() -> bool {
    let has = |program: &str| {
        let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/lib/cni"];
        places.iter().any(|dir| Path::new(dir).join(program).exists())
    };
    let programs = ["containerd", "runc", "busybox", "bridge", "ip"];
    let possible = rustix::process::geteuid().is_root() && programs.iter().all(|program| has(program));
    if !possible {
        let needs = "needs root and containerd, runc, busybox-static, containernetworking-plugins, iproute2";
        assert!(std::env::var_os("ORLOP_REQUIRE_RUNTIME").is_none(), "{needs}");
        eprintln!("skipped: {needs}");
    }
    possible
}

/// The shim that nodes have, beside the directory of this test program.
fn shim() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("containerd-shim-orlop-v2");
    let hint = "is missing: run `make test`, which builds it first";
    assert!(path.is_file(), "{} {hint}", path.display());
    path
}

/// Cgroups that the runtime makes itself, no volumes, no probes.
struct Bare(String);

#[async_trait]
impl Surroundings for Bare {
    async fn prepare(&self, _: &Pod) -> Result<(), Lacking> {
        Ok(())
    }
    fn cgroup_parent(&self, pod: &Pod) -> String {
        format!("{}/pod{}", self.0, orlop_api::pod::uid(pod))
    }
    fn pod_resources(&self, _: &Pod) -> v1::LinuxContainerResources {
        v1::LinuxContainerResources::default()
    }
    fn dns(&self, _: &Pod) -> v1::DnsConfig {
        v1::DnsConfig::default()
    }
    async fn container(&self, _: &Pod, _: &Container, _: &Addresses) -> Result<ContainerSetting, String> {
        Ok(ContainerSetting::default())
    }
    async fn release(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn start_probes(&self, _: Probed) {}
    fn stop_liveness_and_startup(&self, _: &str) {}
    fn stop_probes(&self, _: &str) {}
    fn leftovers(&self) -> Vec<String> {
        Vec::new()
    }
}

pub struct Node {
    dir: tempfile::TempDir,
    managed: Managed,
    cgroup: String,
}

impl Node {
    pub async fn start() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter("orlop_kubelet=debug,orlop_client=info")
            .with_test_writer()
            .try_init();
        let dir = tempfile::Builder::new()
            .prefix("orlop-kubelet-")
            .tempdir()
            .unwrap();
        let config = ContainerdConfig {
            shim: Shim::At(shim()),
            ..ContainerdConfig::of_root(dir.path())
        };
        let managed = Managed::ensure(config).await.unwrap();
        let archive = orlop_oci::ImageBuilder::new(BUSYBOX)
            .unwrap()
            .base()
            .unwrap()
            .host_file(Path::new("/bin/busybox"), "/bin/busybox")
            .unwrap()
            .busybox_applets(Path::new("/bin/busybox"))
            .unwrap()
            .cmd(["sh"])
            .to_archive()
            .unwrap();
        Importer::new(managed.remote())
            .unwrap()
            .import_bytes(archive)
            .await
            .unwrap();
        std::fs::create_dir(dir.path().join("manifests")).unwrap();
        let cgroup = format!("/{}", dir.path().file_name().unwrap().to_str().unwrap());
        Self { dir, managed, cgroup }
    }

    pub fn remote(&self) -> &Remote {
        self.managed.remote()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn agent(&self) -> Agent {
        let configuration = KubeletConfiguration {
            file_check_frequency: GoDuration(Duration::from_secs(1)),
            ..KubeletConfiguration::default()
        };
        let config = self.config(configuration, None);
        let (pods, shutdown) = (PodsHandle::default(), CancellationToken::new());
        let surroundings = Arc::new(Bare(self.cgroup.clone()));
        let (_, snapshot) = watch::channel(None);
        let task = tokio::spawn(run_with(
            config,
            surroundings,
            Shared {
                pods: pods.clone(),
                ..Shared::default()
            },
            snapshot,
            shutdown.clone(),
        ));
        Agent { pods, shutdown, task }
    }

    /// An agent with everything it has in a release.
    pub async fn whole_agent(
        &self,
        configuration: KubeletConfiguration,
        client: Option<kube::Client>,
        tls: Option<Arc<ServingFiles>>,
    ) -> WholeAgent {
        let configuration = KubeletConfiguration {
            cgroup_root: self.cgroup.clone(),
            ..configuration
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(self.config(configuration, client), tls, shutdown.clone()));
        WholeAgent { shutdown, task }
    }

    fn config(&self, configuration: KubeletConfiguration, client: Option<kube::Client>) -> Config {
        Config {
            node_name: "n1".into(),
            configuration: KubeletConfiguration {
                static_pod_path: self.path("manifests").display().to_string(),
                pod_logs_dir: self.path("logs").display().to_string(),
                ..configuration
            },
            client,
            runtime: Arc::new(self.remote().clone()),
            runtime_name: self.remote().runtime_name().to_owned(),
            runtime_socket: Some(self.remote().endpoint().socket().to_owned()),
            notices: events::subscribe(self.remote()).boxed(),
            root_dir: self.path("kubelet"),
            container_logs_dir: self.path("container-logs"),
            metrics: orlop_kubelet::metrics::Metrics::default(),
            control_socket: Some(self.path("control.sock")),
            node_labels: Default::default(),
            node_ips: vec![std::net::Ipv4Addr::LOCALHOST.into()],
            api_server_port: None,
            credential_providers: None,
            archives: None,
            orders: Default::default(),
        }
    }

    /// The cgroup directory of something below this node's, in a hierarchy.
    pub fn cgroup(&self, controller: &str, below: &str) -> PathBuf {
        let mount_point = Path::new("/sys/fs/cgroup");
        let unified = mount_point.join("cgroup.controllers").exists();
        let hierarchy = if unified {
            mount_point.to_owned()
        } else {
            mount_point.join(controller)
        };
        hierarchy.join(self.cgroup.trim_start_matches('/')).join(below)
    }

    /// As users are told to: written beside, renamed into place.
    pub fn write_manifest(&self, name: &str, text: &str) {
        let hidden = self.path("manifests").join(format!(".{name}"));
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, self.path("manifests").join(name)).unwrap();
    }

    pub fn remove_manifest(&self, name: &str) {
        std::fs::remove_file(self.path("manifests").join(name)).unwrap();
    }

    pub fn log(&self, pod: &str, uid: &str) -> String {
        let file = self.path("logs").join(format!("default_{pod}_{uid}/c/0.log"));
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// Ids of running containers.
    pub async fn running(&self) -> Vec<String> {
        let state = v1::ContainerStateValue {
            state: v1::ContainerState::ContainerRunning as i32,
        };
        let filter = v1::ContainerFilter {
            state: Some(state),
            ..v1::ContainerFilter::default()
        };
        let containers = self.remote().list_containers(Some(filter)).await.unwrap();
        containers.into_iter().map(|container| container.id).collect()
    }

    pub async fn until_async<F: Future<Output = bool>>(&self, what: &str, check: impl Fn() -> F) {
        let wait = async {
            while !check().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(
            tokio::time::timeout(PATIENCE, wait).await.is_ok(),
            "waited in vain for {what}"
        );
    }

    pub async fn until(&self, what: &str, check: impl Fn() -> bool) {
        self.until_async(what, || std::future::ready(check())).await;
    }

    pub async fn until_running(&self, count: usize) {
        self.until_async("running containers", || async {
            self.running().await.len() == count
        })
        .await;
    }

    pub async fn until_none(&self) {
        self.until_running(0).await;
    }

    pub async fn one_running(&self) -> String {
        self.until_running(1).await;
        self.running().await.remove(0)
    }

    pub async fn one_running_but(&self, other: &str) -> String {
        let is_other = |ids: &[String]| ids.len() == 1 && ids[0] != other;
        self.until_async("another container", || async { is_other(&self.running().await) })
            .await;
        self.running().await.remove(0)
    }

    /// Removes everything that is on the machine because of this node.
    pub async fn finish(self) {
        sweep::remove_all_pods(self.remote(), Duration::ZERO)
            .await
            .unwrap();
        self.managed.stop().await;
        if let Some(network) = &self.managed.config().network {
            let _ = Command::new("ip").args(["link", "del", &network.bridge]).output();
        }
        let name = self.cgroup.trim_start_matches('/');
        remove_cgroups(&Path::new("/sys/fs/cgroup").join(name));
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            remove_cgroups(&hierarchy.path().join(name));
        }
    }
}

/// Empty cgroups, innermost first.
fn remove_cgroups(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(directory);
}

pub struct WholeAgent {
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), RunError>>,
}

impl WholeAgent {
    /// As if the process ended: containers stay.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub struct Agent {
    pub pods: PodsHandle,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), orlop_kubelet::KubeletError>>,
}

impl Agent {
    /// Waits until the status of the pod of that name gives something.
    pub async fn until<T>(&self, name: &str, what: &str, check: impl Fn(&PodStatus) -> Option<T>) -> T {
        let status = || {
            self.pods
                .by_name("default", name)
                .and_then(|record| record.pod.status.clone())
        };
        let wait = async {
            loop {
                if let Some(found) = status().as_ref().and_then(&check) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("waited in vain for {what} of {name}: {:#?}", status()))
    }

    pub async fn until_phase(&self, name: &str, phase: &str) {
        self.until(name, phase, |status| {
            (status.phase.as_deref() == Some(phase)).then_some(())
        })
        .await;
    }

    /// As if the process ended: containers stay.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}
