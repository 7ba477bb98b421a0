//! An agent with all that is around it: the pods' surroundings, the Node object and the server.
use crate::agent::{Config, KubeletError, Shared, directories, run_with};
use crate::cgroups::{Cgroups, MOUNT_POINT};
use crate::config::configz;
use crate::devices::Devices;
use crate::environment::resource::ThisNode;
use crate::environment::{self, local::LocalObjects};
use crate::grpc;
use crate::images::Access;
use crate::metrics::{Counted, Losing, Metrics};
use crate::node::{self, NodeContext};
use crate::plugins;
use crate::pod_resources;
use crate::pods_api;
use crate::probes::Probes;
use crate::server::{self, ServeError, ServerContext};
use crate::shutdown::{Record, Shutdown};
use crate::stats::Meter;
use crate::surroundings::{NodeSurroundings, Parts};
use crate::upkeep::eviction::Eviction;
use crate::upkeep::images::Images;
use crate::upkeep::{logs, oom};
use crate::volumes;
use jiff::Timestamp;
use orlop_client::events::{EventType, Recorder, node_reference};
use orlop_cri::{CriError, RuntimeService, v1};
use orlop_pki::ServingFiles;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the end may wait for events that are still to be written.
const EVENTS_FLUSH_MAX: Duration = Duration::from_millis(500);

/// How often a runtime that is only starting is asked about its cgroups, and how far apart (contract, node agent §2.4).
const CONFIG_TRIES: usize = 3;
const CONFIG_AGAIN: Duration = Duration::from_secs(2);

/// The version of upstream's agent from which on it takes no runtime any more that cannot say who makes cgroups.
const LOSING_SUPPORT: &str = "1.36.0";

/// Why an agent ended that was not told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port is taken, or not a place to listen on.
    #[error(transparent)]
    Server(#[from] ServeError),
    /// The agent itself.
    #[error(transparent)]
    Agent(#[from] KubeletError),
}

/// Runs an agent until `shutdown`; `tls` is its server's certificate and whom it trusts, without which nobody is answered
/// on the secure port. Containers go on running.
pub async fn run(
    mut config: Config,
    tls: Option<Arc<ServingFiles>>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let local = (!config.configuration.static_objects_path.is_empty()).then(LocalObjects::default);
    let shared = Shared {
        local: local.clone(),
        images: Arc::new(Access::open(&config.root_dir, &config.configuration)),
        orders: config.orders.clone(),
        metrics: config.metrics.clone(),
        ..Shared::default()
    };
    let (pods, metrics) = (shared.pods.clone(), shared.metrics.clone());
    config.runtime = Arc::new(Counted::new(config.runtime, metrics.clone()));
    let configuration = config.configuration.clone();
    let given_ips = std::mem::take(&mut config.node_ips);
    config.node_ips = node::addresses(&given_ips, &config.node_name);
    let driver = cgroup_driver(&*config.runtime, &configuration.cgroup_driver, &metrics).await;
    let memory = node::memory_capacity();
    let cgroups = Cgroups::new(&configuration, &driver, Path::new(MOUNT_POINT), memory);
    let cgroups = Arc::new(cgroups.asking_systemd().timed(metrics.cgroups.clone()));
    let meter = Meter::new(
        config.node_name.clone(),
        config.runtime.clone(),
        pods.clone(),
        cgroups.clone(),
        (
            config.root_dir.clone(),
            PathBuf::from(&configuration.pod_logs_dir),
        ),
    );
    let system = configuration
        .other
        .get("systemCgroups")
        .and_then(serde_json::Value::as_str);
    let meter = meter.with_runtime_at(config.runtime_socket.clone());
    let meter = Arc::new(meter.with_system_at(system.unwrap_or_default()));
    // The ports first: one that is taken must end the agent before it touches a pod.
    let context = ServerContext {
        node_name: config.node_name.clone(),
        pods: pods.clone(),
        runtime: config.runtime.clone(),
        client: config.client.clone(),
        configz: configz(&configuration),
        metrics: metrics.clone(),
        orders: shared.orders.clone(),
        meter: meter.clone(),
        reports: shared.reports.clone(),
        refusals: shared.refusals.clone(),
        began: Timestamp::now(),
        flags: server::flags_of(std::env::args().skip(1)),
        socket: config.control_socket.clone(),
    };
    let serving = server::bind(&configuration, tls, context).await?;
    // Before anything is put into it.
    directories::make(&config.root_dir)?;
    // A task of its own ends with whichever of the others ends first.
    let shutdown = shutdown.child_token();
    let _end = shutdown.clone().drop_guard();
    let recorder = match &config.client {
        Some(client) => Recorder::new(client.clone(), "kubelet", Some(&config.node_name)),
        None => Recorder::disabled(),
    };
    let enforced = configuration
        .enforce_node_allocatable
        .iter()
        .any(|what| what == "pods");
    cgroups.ensure_node(enforced.then(|| node::share_of_pods(&configuration)));
    if enforced && config.client.is_some() {
        recorder.event(
            &node_reference(&config.node_name),
            EventType::Normal,
            "NodeAllocatableEnforced",
            "Updated Node Allocatable limit across pods".into(),
        );
    }
    for (whose, cgroup, share) in node::shares_of_others(&configuration) {
        let (kind, reason, message) = match cgroups.limit(cgroup, share) {
            Ok(()) => (
                EventType::Normal,
                "NodeAllocatableEnforced",
                format!("Updated limits on {whose} reserved cgroup {cgroup}"),
            ),
            Err(error) => (
                EventType::Warning,
                "FailedNodeAllocatableEnforcement",
                format!("Failed to enforce limits on {whose} reserved cgroup {cgroup}: {error}"),
            ),
        };
        tracing::info!(message);
        recorder.event(&node_reference(&config.node_name), kind, reason, message);
    }
    let lacks = match config.runtime.version().await {
        Ok(version) => volumes::image::Lacks::of(&version.runtime_name, &version.runtime_version),
        // Then it says itself what it can't.
        Err(_) => volumes::image::Lacks::default(),
    };
    let devices = Devices::open(&config.root_dir, shutdown.clone());
    let surroundings = NodeSurroundings::new(Parts {
        lacks,
        cgroups: cgroups.clone(),
        probes: Probes::new(
            config.runtime.clone(),
            recorder.clone(),
            pods.clone(),
            metrics.clone(),
        ),
        settings: environment::Settings {
            node: ThisNode::less(node::kept_back(&configuration, &config.root_dir)),
            root: config.root_dir.clone(),
            cluster_dns: configuration.cluster_dns.clone(),
            cluster_domain: configuration.cluster_domain.clone(),
            resolv_conf: PathBuf::from(&configuration.resolv_conf),
        },
        client: config.client.clone(),
        local,
        api_server_port: config.api_server_port,
        recorder: recorder.clone(),
        pods: pods.clone(),
        providers: config.credential_providers.take(),
        devices: devices.clone(),
        metrics: metrics.clone(),
    });
    let tasks = TaskTracker::new();
    tasks.spawn(serving.run(shutdown.clone()));
    devices.clear();
    let (mut affected, orders) = (devices.affected(), shared.orders.clone());
    let until = shutdown.clone();
    tasks.spawn(async move {
        let told = async {
            while let Some(uid) = affected.recv().await {
                orders.look(uid).await;
            }
        };
        until.run_until_cancelled(told).await;
    });
    let announced = plugins::directory(&config.root_dir);
    tasks.spawn(plugins::run(announced, devices.clone(), shutdown.clone()));
    let mut local = vec![
        (devices.socket(), devices.service()),
        (
            pod_resources::socket(&config.root_dir),
            pod_resources::service(pods.clone(), devices.clone()),
        ),
    ];
    if pods_api::is_enabled(&configuration) {
        local.push((
            pods_api::socket(&config.root_dir),
            pods_api::service(pods.clone()),
        ));
    }
    for (socket, service) in local {
        match grpc::listen(&socket) {
            Ok(listener) => drop(tasks.spawn(grpc::serve(listener, service, shutdown.clone()))),
            Err(error) => {
                tracing::warn!(%error, socket = %socket.display(), "programs on the node are not served")
            }
        }
    }
    let upkeep = upkeep(&config, &shared, meter, recorder.clone());
    let until = shutdown.clone();
    tasks.spawn(async move {
        until.run_until_cancelled(upkeep).await;
    });
    let of_node = (pods.clone(), shared.orders.clone(), shared.state.clone());
    if let Some(going_down) = Shutdown::new(
        &configuration,
        config.node_name.clone(),
        of_node,
        recorder.clone(),
        Record::open(&config.root_dir, metrics.clone()),
    ) {
        let until = shutdown.clone();
        tasks.spawn(async move {
            until.run_until_cancelled(going_down.run()).await;
        });
    }
    let (own_node, snapshot) = watch::channel(None);
    if let Some(client) = config.client.clone() {
        let context = NodeContext {
            client,
            runtime: config.runtime.clone(),
            recorder: recorder.clone(),
            node_name: config.node_name.clone(),
            root: config.root_dir.clone(),
            node_ips: node::cloud::told(&configuration, &given_ips, &config.node_ips),
            labels: config.node_labels.clone(),
            cgroup_v1: !cgroups.is_unified(),
            state: shared.state.clone(),
            reports: shared.reports.clone(),
            configuration,
            devices: devices.counts(),
            own_node,
        };
        tasks.spawn(node::run(context, shutdown.clone()));
    }
    let outcome = run_with(config, surroundings, shared, snapshot, shutdown.clone()).await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    recorder.flush(EVENTS_FLUSH_MAX).await;
    Ok(outcome?)
}

/// What keeps the node from filling up.
fn upkeep(
    config: &Config,
    shared: &Shared,
    meter: Arc<Meter>,
    recorder: Recorder,
) -> impl Future<Output = ()> + use<> {
    let configuration = &config.configuration;
    let images = Images::new(
        config.runtime.clone(),
        recorder.clone(),
        (shared.pods.clone(), shared.images.clone()),
        config.node_name.clone(),
        configuration,
    );
    let collection = images.clone().run();
    let victims = oom::run(recorder.clone(), config.node_name.clone());
    let eviction = Eviction {
        images,
        meter,
        orders: shared.orders.clone(),
        state: shared.state.clone(),
        recorder: recorder.clone(),
        metrics: shared.metrics.clone(),
        configuration: configuration.clone(),
    };
    let rotation = logs::Limits::of(configuration).map(|limits| {
        logs::run(
            config.runtime.clone(),
            shared.pods.clone(),
            PathBuf::from(&configuration.pod_logs_dir),
            limits,
            configuration.container_log_monitor_interval.0,
        )
    });
    async move {
        let rotation = async {
            if let Some(rotation) = rotation {
                rotation.await;
            }
        };
        tokio::join!(collection, eviction.run(), rotation, victims);
    }
}

/// Who makes cgroups: the runtime's word goes before the configuration's.
async fn cgroup_driver(runtime: &dyn RuntimeService, configured: &str, metrics: &Metrics) -> String {
    match persistently(|| runtime.runtime_config()).await {
        Ok(answer) => {
            let linux = answer.linux.unwrap_or_default();
            let is_systemd = linux.cgroup_driver() == v1::CgroupDriver::Systemd;
            if is_systemd { "systemd" } else { "cgroupfs" }.to_owned()
        }
        // containerd 1.6 doesn't know the question.
        Err(error) => {
            if error.is_unimplemented() {
                let version = LOSING_SUPPORT;
                metrics.losing_support.get_or_create(&Losing { version }).set(1);
            } else {
                tracing::warn!(%error, configured, "the runtime does not name its cgroup driver");
            }
            configured.to_owned()
        }
    }
}

/// Asks again what was not answered: with the wrong word no pod would start.
async fn persistently<T, A>(ask: impl Fn() -> A) -> Result<T, CriError>
where
    A: Future<Output = Result<T, CriError>>,
{
    let mut tries = 1;
    loop {
        match ask().await {
            Err(error) if tries < CONFIG_TRIES && !error.is_unimplemented() => {
                tracing::warn!(%error, "the runtime does not answer yet");
                tokio::time::sleep(CONFIG_AGAIN).await;
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KubeletConfiguration;
    use crate::testing::FakeRuntime;
    use futures::StreamExt;
    use orlop_cri::Code;

    #[tokio::test]
    async fn c10_runtime_that_cannot_name_its_cgroup_driver_works_with_the_configured_one_and_is_counted() {
        let metrics = Metrics::default();
        for configured in ["systemd", "cgroupfs"] {
            assert_eq!(
                cgroup_driver(&FakeRuntime::default(), configured, &metrics).await,
                configured
            );
        }
        let losing = Losing {
            version: LOSING_SUPPORT,
        };
        assert_eq!(metrics.losing_support.get_or_create(&losing).get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn c10_runtime_that_is_starting_is_asked_three_times() {
        for (code, answered_at, tries) in [
            (Code::Unavailable, 3, 3),
            (Code::Unavailable, 4, 3),
            (Code::Unimplemented, 2, 1),
        ] {
            let asked = std::cell::Cell::new(0);
            let outcome = persistently(|| {
                asked.set(asked.get() + 1);
                let answer = (asked.get() == answered_at).then_some(());
                std::future::ready(answer.ok_or_else(|| CriError::new("RuntimeConfig", code, "no")))
            });
            assert_eq!(outcome.await.is_ok(), answered_at == tries);
            assert_eq!(asked.get(), tries);
        }
    }

    #[tokio::test]
    async fn taken_port_ends_the_agent_before_it_touches_anything() {
        let dir = tempfile::tempdir().unwrap();
        let held = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = held.local_addr().unwrap().port();
        let config = Config {
            node_name: "n1".into(),
            configuration: KubeletConfiguration {
                healthz_port: port,
                ..KubeletConfiguration::default()
            },
            client: None,
            runtime: Arc::<FakeRuntime>::default(),
            runtime_name: "fake".into(),
            notices: futures::stream::pending().boxed(),
            root_dir: dir.path().join("kubelet"),
            container_logs_dir: dir.path().join("containers"),
            runtime_socket: None,
            metrics: Metrics::default(),
            control_socket: None,
            node_labels: Default::default(),
            node_ips: Vec::new(),
            api_server_port: None,
            credential_providers: None,
            archives: None,
            orders: Default::default(),
        };
        let ended = run(config, None, CancellationToken::new()).await;
        let error = ended.unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
        assert!(error.contains("`healthzPort`"), "{error}");
        assert!(!dir.path().join("kubelet").exists());
    }
}
