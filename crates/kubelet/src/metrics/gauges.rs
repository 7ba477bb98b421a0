//! Gauges that follow from what the agent knows of its pods anyway.
use super::Static;
use super::claims::Claims;
use crate::pods::PodRecord;
use crate::stats::disk::{ClaimKey, FileSystem};
use k8s_openapi::api::core::v1::{ContainerStatus, Volume};
use orlop_api::pod::{is_static, phase};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Node {
    node: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ContainerState {
    container_state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Volumes {
    plugin_name: String,
    state: &'static str,
}

/// What they are set from.
pub struct Now<'a> {
    pub node_name: &'a str,
    pub pods: &'a [Arc<PodRecord>],
    /// How many mirrors are known.
    pub mirrors: usize,
    /// `/var/lib/kubelet`.
    pub root: &'a Path,
    /// The file systems that claims of pods lead to.
    pub claims: &'a BTreeMap<ClaimKey, FileSystem>,
}

#[derive(Default)]
pub struct Gauges {
    desired: Family<Static, Gauge>,
    mirrors: Gauge,
    pods: Gauge,
    containers: Family<ContainerState, Gauge>,
    node: Family<Node, Gauge>,
    volumes: Family<Volumes, Gauge>,
    claims: Claims,
}

impl Gauges {
    pub fn register(registry: &mut Registry) -> Self {
        let gauges = Self {
            claims: Claims::register(registry),
            ..Self::default()
        };
        registry.register(
            "kubelet_desired_pods",
            "Pods that the node is told to run",
            gauges.desired.clone(),
        );
        registry.register("kubelet_mirror_pods", "Mirror pods known", gauges.mirrors.clone());
        registry.register("kubelet_running_pods", "Pods that run", gauges.pods.clone());
        registry.register(
            "kubelet_running_containers",
            "Containers, by state",
            gauges.containers.clone(),
        );
        registry.register(
            "kubelet_node_name",
            "The node's name; always 1",
            gauges.node.clone(),
        );
        registry.register(
            "volume_manager_total_volumes",
            "Volumes that pods ask for, and those that are set up",
            gauges.volumes.clone(),
        );
        gauges
    }

    pub fn set(&self, now: &Now<'_>) {
        let count = |of: usize| i64::try_from(of).unwrap_or(i64::MAX);
        let statics = now.pods.iter().filter(|record| is_static(&record.pod)).count();
        self.desired.get_or_create(&true.into()).set(count(statics));
        self.desired
            .get_or_create(&false.into())
            .set(count(now.pods.len() - statics));
        self.mirrors.set(count(now.mirrors));
        let running = now
            .pods
            .iter()
            .filter(|record| phase(&record.pod) == "Running")
            .count();
        self.pods.set(count(running));
        for state in ["created", "running", "exited", "unknown"] {
            let statuses = now.pods.iter().flat_map(|record| statuses(record));
            let found = statuses.filter(|status| state_of(status) == state).count();
            let labels = ContainerState {
                container_state: state,
            };
            self.containers.get_or_create(&labels).set(count(found));
        }
        let node = Node {
            node: now.node_name.to_owned(),
        };
        self.node.get_or_create(&node).set(1);
        self.claims.set(now.claims);
        self.volumes.clear();
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        let specs = now.pods.iter().filter_map(|record| record.pod.spec.as_ref());
        for plugin in specs.flat_map(|spec| spec.volumes.iter().flatten().filter_map(plugin)) {
            *wanted.entry(plugin.to_owned()).or_default() += 1;
        }
        for (state, volumes) in [
            ("desired_state_of_world", wanted),
            ("actual_state_of_world", set_up(now.root)),
        ] {
            for (plugin_name, number) in volumes {
                let labels = Volumes { plugin_name, state };
                self.volumes.get_or_create(&labels).set(count(number));
            }
        }
    }
}

fn statuses(record: &PodRecord) -> impl Iterator<Item = &ContainerStatus> {
    let lists = record.pod.status.iter().flat_map(|status| {
        [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ]
    });
    lists.flatten().flatten()
}

fn state_of(status: &ContainerStatus) -> &'static str {
    match &status.state {
        Some(state) if state.running.is_some() => "running",
        Some(state) if state.terminated.is_some() => "exited",
        Some(_) => "created",
        None => "unknown",
    }
}

/// Volumes that have a directory of the agent's; others are the host's own.
fn plugin(volume: &Volume) -> Option<&'static str> {
    let known = [
        (volume.empty_dir.is_some(), "kubernetes.io/empty-dir"),
        (volume.config_map.is_some(), "kubernetes.io/configmap"),
        (volume.secret.is_some(), "kubernetes.io/secret"),
        (volume.downward_api.is_some(), "kubernetes.io/downward-api"),
        (volume.projected.is_some(), "kubernetes.io/projected"),
    ];
    known
        .into_iter()
        .find_map(|(is_it, plugin)| is_it.then_some(plugin))
}

/// Directories of volumes below the agent's, by plugin.
fn set_up(root: &Path) -> BTreeMap<String, usize> {
    let below = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut found = BTreeMap::new();
    for plugin in below(&root.join("pods")).flat_map(|pod| below(&pod.path().join("volumes"))) {
        let name = plugin.file_name().to_string_lossy().replacen('~', "/", 1);
        *found.entry(name).or_default() += below(&plugin.path()).count();
    }
    found
}
