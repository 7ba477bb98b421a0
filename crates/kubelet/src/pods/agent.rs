//! What all workers share: the runtime, the node's settings, and the handles of the other parts.
use super::PodsHandle;
use super::owners::Owners;
use super::surroundings::Surroundings;
use super::turns::Turns;
use super::users::Users;
use crate::config::DeadContainers;
use crate::images::{Access, PullRate};
use crate::metrics::Metrics;
use crate::node::state::State;
use crate::status::Board;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use orlop_api::pod::{name, namespace, uid};
use orlop_client::events::{EventType, Recorder};
use orlop_cri::RuntimeService;
use orlop_cri::images::Archives;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Node-wide settings that pods depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub node_name: String,
    /// `/var/lib/kubelet`.
    pub root: PathBuf,
    /// `/var/log/pods`.
    pub pod_logs: PathBuf,
    /// `/var/log/containers`, where log collectors look.
    pub container_logs: PathBuf,
    /// `allowedUnsafeSysctls`.
    pub allowed_sysctls: Vec<String>,
    /// What is kept of containers that have ended.
    pub dead_containers: DeadContainers,
    /// `seccompDefault`.
    pub seccomp_default: bool,
    /// The runtime can leave out the groups that images give to users.
    pub has_strict_groups: bool,
    /// What of this machine tells of its processors' heat.
    pub thermal_throttles: Vec<String>,
    /// `crashLoopBackOff.maxContainerRestartPeriod`.
    pub restart_backoff_max: SignedDuration,
    /// `clusterDomain`.
    pub cluster_domain: String,
    /// `syncFrequency`.
    pub sync_frequency: SignedDuration,
    /// The node's addresses; empty without an API server.
    pub host_ips: Vec<String>,
    /// When this agent began: containers older than it are taken over.
    pub began: Timestamp,
}

/// Shared by all workers; nothing in it is locked across a CRI call.
pub struct Agent {
    /// The runtime.
    pub runtime: Arc<dyn RuntimeService>,
    /// `containerd`: the scheme of container ids in statuses.
    pub runtime_name: String,
    /// Settings.
    pub settings: Settings,
    /// Events.
    pub recorder: Recorder,
    /// Cgroups, volumes, environment, probes.
    pub surroundings: Arc<dyn Surroundings>,
    /// Where images lie that need no registry.
    pub archives: Option<Arc<dyn Archives>>,
    /// What the rest of the agent sees.
    pub pods: PodsHandle,
    /// What is counted.
    pub metrics: Metrics,
    /// What the node is going through.
    pub node_state: State,
    /// What is to be told to the API server.
    pub board: Board,
    /// Which pod a container belongs to.
    pub owners: Owners,
    /// Whose turn it is to have something made.
    pub turns: Turns,
    /// Pulls at a time (`serializeImagePulls`, `maxParallelImagePulls`).
    pub pulls: Semaphore,
    /// Pulls that may begin (`registryPullQPS`, `registryBurst`).
    pub pull_rate: PullRate,
    /// Who may use which image.
    pub images: Arc<Access>,
    /// Users that pods have to themselves.
    pub users: Users,
    /// Workers that have ended, for the manager.
    pub ended: mpsc::UnboundedSender<String>,
}

impl Agent {
    /// Tells what happened to a pod.
    pub fn event(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder
            .event(&reference(pod, None), kind, reason, message.into());
    }

    /// Tells what happened to a container; `field_path` such as `spec.containers{c}`, empty for the pod itself.
    pub fn container_event(
        &self,
        pod: &Pod,
        field_path: &str,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.recorder.event(
            &reference(pod, Some(field_path.to_owned()).filter(|path| !path.is_empty())),
            kind,
            reason,
            message.into(),
        );
    }
}

/// How events name a pod: a static pod by its own UID, which `kubectl describe` finds through the mirror's annotation.
fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some(name(pod).to_owned()),
        namespace: Some(namespace(pod).to_owned()),
        uid: Some(uid(pod).to_owned()),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}
