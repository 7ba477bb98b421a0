//! What the agent counts about itself, under upstream's names, for `/metrics` and `/metrics/probes`.
//!
//! Counters and histograms are written where things happen, through a handle whose clones are the same numbers; gauges
//! that follow from other state ([`gauges`]) are set when somebody asks.
mod certificates;
mod claims;
mod gauges;
mod runtime;
mod storage;

pub use certificates::Certificates;
pub use runtime::Counted;
pub use storage::Storage;

use crate::node::KUBELET_VERSION;
use orlop_metrics::{CallMetrics, CheckMetrics, process, runtime as shared};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// Upper ends of the classes of durations, in seconds: for calls and passes, and for what may take minutes.
const SHORT: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const LONG: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0,
    300.0, 600.0, 1800.0,
];

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// How long operations take.
pub type OperationTimes = Durations<Operation>;

/// Those of nobody, until they are registered.
pub fn operation_times() -> OperationTimes {
    Family::new_with_constructor(short)
}

/// `operation_type`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    pub operation_type: &'static str,
}

/// `container_type`: `container`, `init_container`, `ephemeral_container` or `podsandbox`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ContainerType {
    pub container_type: &'static str,
}

/// How a container ended, and which kind it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    pub container_type: &'static str,
    pub exit_code: i32,
}

/// `static`: `true` or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Static {
    pub r#static: &'static str,
}

impl From<bool> for Static {
    fn from(is_static: bool) -> Self {
        Self {
            r#static: if is_static { "true" } else { "" },
        }
    }
}

/// What a pod's worker is at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Working {
    /// `sync`, `terminating` or `terminated`.
    pub lifecycle: &'static str,
    /// `desired`, `orphan` or `runtime_only`.
    pub config: &'static str,
    /// `true`, nothing, or `unknown`.
    pub r#static: &'static str,
}

/// `plugin_name`, a credential provider's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PluginName {
    pub plugin_name: String,
}

/// `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    pub reason: String,
}

/// `preemption_signal`, the resource that was short.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Preemption {
    pub preemption_signal: String,
}

/// `eviction_signal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Eviction {
    pub eviction_signal: String,
}

/// A manifest that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Manifest {
    pub file: String,
}

/// A version of agents that needs more of the runtime than it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Losing {
    pub version: &'static str,
}

/// A probe of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Probe {
    pub container: String,
    pub namespace: String,
    pub pod: String,
    pub pod_uid: String,
    pub probe_type: &'static str,
}

/// A probe of a container and how it went: `successful`, `failed` or `unknown`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Probed {
    pub container: String,
    pub namespace: String,
    pub pod: String,
    pub pod_uid: String,
    pub probe_type: &'static str,
    pub result: &'static str,
}

impl Probe {
    /// With a result.
    pub fn with(&self, result: &'static str) -> Probed {
        let Self {
            container,
            namespace,
            pod,
            pod_uid,
            probe_type,
        } = self.clone();
        Probed {
            container,
            namespace,
            pod,
            pod_uid,
            probe_type,
            result,
        }
    }
}

/// All series of one agent; a clone is another handle.
#[derive(Clone)]
pub struct Metrics(Arc<Series>);

/// The numbers.
pub struct Series {
    registry: Registry,
    probe_registry: Registry,
    pub operations: Family<Operation, Counter>,
    pub operation_errors: Family<Operation, Counter>,
    pub operation_durations: Durations<Operation>,
    pub started_pods: Counter,
    pub started_containers: Family<ContainerType, Counter>,
    pub terminated_containers: Family<Ended, Counter>,
    pub pod_start: Histogram,
    pub worker: Durations<Operation>,
    pub relist: Histogram,
    /// Between starts of listings.
    pub relist_interval: Histogram,
    pub cgroups: OperationTimes,
    pub storage: Storage,
    pub certificates: Certificates,
    pub calls: CallMetrics,
    /// Always 0: a configuration that can't be used ends the agent.
    config_error: Gauge,
    pub restarted_pods: Family<Static, Counter>,
    pub orphans: Counter,
    pub rejections: Family<Reason, Counter>,
    pub preemptions: Family<Preemption, Counter>,
    pub evictions: Family<Eviction, Counter>,
    pub active_pods: Family<Static, Gauge>,
    pub working_pods: Family<Working, Gauge>,
    pub manifest_errors: Family<Manifest, Gauge>,
    pub losing_support: Family<Losing, Gauge>,
    pub credential_providers: Durations<PluginName>,
    /// Upstream's name has no `_total`, which a counter would get.
    pub credential_provider_errors: Family<PluginName, Gauge>,
    pub shutdown_began: Gauge,
    pub shutdown_ended: Gauge,
    pub probes: Family<Probed, Counter>,
    pub probe_durations: Durations<Probe>,
    checks: CheckMetrics,
    shown: gauges::Gauges,
}

impl std::ops::Deref for Metrics {
    type Target = Series;

    fn deref(&self) -> &Series {
        &self.0
    }
}

fn short() -> Histogram {
    Histogram::new(SHORT.iter().copied())
}

fn long() -> Histogram {
    Histogram::new(LONG.iter().copied())
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let mut probe_registry = Registry::default();
        let mut series = Series {
            operations: Family::default(),
            operation_errors: Family::default(),
            operation_durations: Family::new_with_constructor(short),
            started_pods: Counter::default(),
            started_containers: Family::default(),
            terminated_containers: Family::default(),
            pod_start: long(),
            worker: Family::new_with_constructor(short),
            relist: short(),
            relist_interval: short(),
            cgroups: operation_times(),
            storage: Storage::default(),
            certificates: Certificates::default(),
            calls: CallMetrics::default(),
            config_error: Gauge::default(),
            restarted_pods: Family::default(),
            orphans: Counter::default(),
            rejections: Family::default(),
            preemptions: Family::default(),
            evictions: Family::default(),
            active_pods: Family::default(),
            working_pods: Family::default(),
            manifest_errors: Family::default(),
            losing_support: Family::default(),
            credential_providers: Family::new_with_constructor(short),
            credential_provider_errors: Family::default(),
            shutdown_began: Gauge::default(),
            shutdown_ended: Gauge::default(),
            probes: Family::default(),
            probe_durations: Family::new_with_constructor(short),
            checks: CheckMetrics::default(),
            shown: gauges::Gauges::register(&mut registry),
            registry: Registry::default(),
            probe_registry: Registry::default(),
        };
        macro_rules! register {
            ($($name:literal, $help:literal, $field:ident;)*) => {
                $(registry.register($name, $help, series.$field.clone());)*
            };
        }
        register! {
            "kubelet_runtime_operations", "Calls of the runtime, by kind", operations;
            "kubelet_runtime_operations_errors", "Calls of the runtime that failed", operation_errors;
            "kubelet_runtime_operations_duration_seconds", "Time that calls of the runtime took", operation_durations;
            "kubelet_started_pods", "Sandboxes made", started_pods;
            "kubelet_started_containers", "Containers started", started_containers;
            "kubelet_terminated_containers", "Containers that ended, by exit code", terminated_containers;
            "kubelet_pod_start_duration_seconds", "From a pod's first sight until it runs", pod_start;
            "kubelet_pod_worker_duration_seconds", "Time of one pass over a pod", worker;
            "kubelet_pleg_relist_duration_seconds", "Time of listing everything the runtime has", relist;
            "kubelet_pleg_relist_interval_seconds", "Time between starts of listing everything the runtime has", relist_interval;
            "kubelet_cgroup_manager_duration_seconds", "Time of making, changing and removing cgroups", cgroups;
            "kubelet_node_config_error", "The configuration cannot be used", config_error;
            "kubelet_restarted_pods", "Pods that were wanted again, unchanged, while they were being stopped", restarted_pods;
            "kubelet_orphaned_runtime_pods", "Pods of the runtime that no source knew", orphans;
            "kubelet_admission_rejections", "Pods that were not let in", rejections;
            "kubelet_preemptions", "Pods stopped to let a critical one in", preemptions;
            "kubelet_evictions", "Pods stopped because the node ran short", evictions;
            "kubelet_active_pods", "Pods that run or are being brought up", active_pods;
            "kubelet_working_pods", "Pods that the node works on, by what it does and why", working_pods;
            "cri_losing_support", "The runtime lacks what agents need from this version on", losing_support;
            "kubelet_graceful_shutdown_start_time_seconds", "When pods were last stopped for a shutdown", shutdown_began;
            "kubelet_graceful_shutdown_end_time_seconds", "When they had ended", shutdown_ended;
            "kubelet_kubelet_credential_provider_plugin_duration", "Time that credential providers took", credential_providers;
            "kubelet_kubelet_credential_provider_plugin_errors", "Credential providers that gave no answer", credential_provider_errors;
            "orlop_static_pod_manifest_error", "Manifests that cannot be used", manifest_errors;
        }
        series.storage.register(&mut registry);
        series.certificates.register(&mut registry);
        series.calls.register(&mut registry);
        shared::register_build(&mut registry, KUBELET_VERSION);
        shared::register_tasks(&mut registry);
        process::register(&mut registry);
        probe_registry.register("prober_probe", "Probes run, by result", series.probes.clone());
        probe_registry.register(
            "prober_probe_duration_seconds",
            "Time that probes took",
            series.probe_durations.clone(),
        );
        series.registry = registry;
        series.probe_registry = probe_registry;
        Self(Arc::new(series))
    }
}

impl Metrics {
    /// The text of `/metrics`; `pods` and the rest of the node as they are now.
    pub fn text(&self, now: &gauges::Now<'_>) -> String {
        self.shown.set(now);
        encode(&self.registry)
    }

    /// Counts a health check (`ping`, `log` or `syncloop`), and whether it went well.
    pub fn checked(&self, name: &'static str, is_well: bool) {
        self.checks.checked("healthz", name, is_well);
    }

    /// The text of `/metrics/slis`.
    pub fn slis_text(&self) -> String {
        self.checks.render()
    }

    /// The text of `/metrics/probes`.
    pub fn probes_text(&self) -> String {
        encode(&self.probe_registry)
    }
}

pub use gauges::Now;

fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    if let Err(error) = text::encode(&mut text, registry) {
        tracing::error!(%error, "the metrics cannot be written");
    }
    text
}

#[cfg(test)]
mod tests;
