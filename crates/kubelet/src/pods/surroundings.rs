//! What a pod needs from the node besides its runtime: cgroup, volumes, environment, probes. Workers know it as a
//! trait, so that they can be tested without a machine to change.
use super::mailbox::Mailbox;
use crate::images::Credentials;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceStatus};
use orlop_cri::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Something of a pod's surroundings that could not be had, with the event that tells of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Lacking {
    /// `FailedMount`, `FailedCreatePodContainer`, ...
    pub reason: &'static str,
    /// What to tell.
    pub message: String,
    /// It will not be had: the pod has failed.
    pub is_final: bool,
}

/// The addresses a container may ask for.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// The pod's; on the host's network the node's.
    pub pod: Vec<String>,
    /// The node's.
    pub host: Vec<String>,
}

/// What one container is made with.
#[derive(Clone, Debug, Default)]
pub struct ContainerSetting {
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Volumes and the hosts file.
    pub mounts: Vec<v1::Mount>,
    /// Limits.
    pub resources: v1::LinuxContainerResources,
    /// Devices, and what their plugins want the runtime to be told.
    pub devices: Vec<v1::Device>,
    pub cdi_devices: Vec<v1::CdiDevice>,
    pub annotations: BTreeMap<String, String>,
}

/// A container whose probes begin.
#[derive(Clone)]
pub struct Probed {
    /// Its pod.
    pub pod: Arc<Pod>,
    /// Its name.
    pub container: String,
    /// The runtime's id.
    pub id: String,
    /// The pod's first address.
    pub pod_ip: Option<String>,
    /// It ran before this agent did and counts as started.
    pub adopted: bool,
    /// How long it has run already.
    pub up_for: Duration,
    /// Where verdicts go.
    pub mailbox: Mailbox,
}

/// When a pod's cgroup is resized: it must have room for its containers all along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeStep {
    /// Before its containers: only what grows.
    Widen,
    /// After them: exactly.
    Fit,
}

/// The node around the pods.
#[async_trait]
pub trait Surroundings: Send + Sync + 'static {
    /// Makes what must be there before the sandbox: the pod's cgroup and its volumes. Harmless when done already.
    async fn prepare(&self, pod: &Pod) -> Result<(), Lacking>;

    /// After [`Self::prepare`] failed: wakes the pod's worker when what was lacking may be there.
    fn call_back(&self, _uid: &str, _mailbox: &Mailbox) {}

    /// A pod that runs already has changed, or was found running: brings what follows its definition up to date, in the
    /// background.
    fn refresh(&self, _pod: &Arc<Pod>) {}

    /// The cgroup that the sandbox goes into.
    fn cgroup_parent(&self, pod: &Pod) -> String;

    /// What a container may use, by what the pod was given.
    fn container_resources(&self, _pod: &Pod, _container: &Container) -> v1::LinuxContainerResources {
        v1::LinuxContainerResources::default()
    }

    /// Brings the limits of the pod's cgroup where the pod's resources want them, before or after its containers.
    fn resize_pod(&self, _pod: &Pod, _step: ResizeStep) {}

    /// The memory that a container uses, bytes; `None` where that isn't known.
    fn memory_used(&self, _pod: &Pod, _id: &str) -> Option<i64> {
        None
    }

    /// Which devices a container was given, and how they are.
    fn devices(&self, _pod: &Pod, _container: &str) -> Vec<ResourceStatus> {
        Vec::new()
    }

    /// The pod's own limits, for runtimes that want to know them.
    fn pod_resources(&self, pod: &Pod) -> v1::LinuxContainerResources;

    /// The runtime's handler for the pod's RuntimeClass; empty for the usual one.
    async fn runtime_handler(&self, _pod: &Pod) -> Result<String, String> {
        Ok(String::new())
    }

    /// What registries may be told for an image of the pod.
    async fn credentials(&self, _pod: &Pod, _image: &str) -> Credentials {
        Credentials::default()
    }

    /// The pod's resolver configuration.
    fn dns(&self, pod: &Pod) -> v1::DnsConfig;

    /// What a container is made with; the error is the message of `CreateContainerConfigError`.
    async fn container(
        &self,
        pod: &Pod,
        container: &Container,
        addresses: &Addresses,
    ) -> Result<ContainerSetting, String>;

    /// Whether volumes of a pod are still to be given back.
    fn holds_volumes(&self, _uid: &str) -> bool {
        false
    }

    /// Gives volumes, directories and cgroup of a pod back. Harmless when done already.
    async fn release(&self, uid: &str) -> Result<(), String>;

    /// Begins the probes of a container.
    fn start_probes(&self, probed: Probed);

    /// Ends liveness and startup probes of a pod that is being stopped.
    fn stop_liveness_and_startup(&self, uid: &str);

    /// Ends all probes of a pod.
    fn stop_probes(&self, uid: &str);

    /// UIDs of pods that have directories on this node, to be released when nobody knows them any more.
    fn leftovers(&self) -> Vec<String>;
}
