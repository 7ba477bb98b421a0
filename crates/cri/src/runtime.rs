//! The calls the node agent makes to a container runtime.

use crate::{CriError, v1};
use async_trait::async_trait;
use std::collections::HashMap;
use std::time::Duration;
use tonic::Code;

/// What a command run inside a container gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit code.
    pub exit_code: i32,
}

/// What newer runtimes may be told of a container beside its configuration; older ones pass over it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beyond {
    /// The signal that ends it, in the interface's numbering; 0 leaves it to the image.
    pub stop_signal: i32,
    /// The part of an image that is mounted, by the mount's path in the container.
    pub image_sub_paths: HashMap<String, String>,
}

/// A container runtime: CRI v1, one method a call. Implementations keep the deadlines; a caller may always drop the
/// future earlier.
#[async_trait]
pub trait RuntimeService: Send + Sync + 'static {
    /// Name and version of the runtime.
    async fn version(&self) -> Result<v1::VersionResponse, CriError>;

    /// Conditions (`RuntimeReady`, `NetworkReady`), and details when `verbose`.
    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse, CriError>;

    /// The runtime's own settings (its cgroup driver); `Unimplemented` on containerd 1.6.
    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse, CriError>;

    /// Tells the runtime the node's pod network.
    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<(), CriError>;

    /// Creates and starts a sandbox; its id.
    async fn run_pod_sandbox(
        &self,
        config: v1::PodSandboxConfig,
        runtime_handler: &str,
    ) -> Result<String, CriError>;

    /// Stops a sandbox and its containers and frees its network; harmless when done already.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError>;

    /// Removes a sandbox and its containers, forcibly.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError>;

    /// State of one sandbox.
    async fn pod_sandbox_status(
        &self,
        id: &str,
        verbose: bool,
    ) -> Result<v1::PodSandboxStatusResponse, CriError>;

    /// Sandboxes that fit the filter.
    async fn list_pod_sandboxes(
        &self,
        filter: Option<v1::PodSandboxFilter>,
    ) -> Result<Vec<v1::PodSandbox>, CriError>;

    /// Creates a container in a sandbox; its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String, CriError>;

    /// The same, with what the messages do not know.
    async fn create_container_beyond(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
        _beyond: Beyond,
    ) -> Result<String, CriError> {
        self.create_container(sandbox_id, config, sandbox_config).await
    }

    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<(), CriError>;

    /// Stops a container: the stop signal, after `grace` SIGKILL. Whole seconds count.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError>;

    /// Sends a container's first process a signal of the kernel's numbering and waits for its end, `patience` at most.
    /// `Unimplemented` where only the runtime chooses the signal.
    async fn end_with(&self, _id: &str, _signal: i32, _patience: Duration) -> Result<(), CriError> {
        let what = "the runtime chooses the signal";
        Err(CriError::new("Kill", Code::Unimplemented, what))
    }

    /// Removes a container, forcibly; harmless when it is gone.
    async fn remove_container(&self, id: &str) -> Result<(), CriError>;

    /// Containers that fit the filter.
    async fn list_containers(
        &self,
        filter: Option<v1::ContainerFilter>,
    ) -> Result<Vec<v1::Container>, CriError>;

    /// State of one container.
    async fn container_status(
        &self,
        id: &str,
        verbose: bool,
    ) -> Result<v1::ContainerStatusResponse, CriError>;

    /// Changes the limits of a running container.
    async fn update_container_resources(
        &self,
        request: v1::UpdateContainerResourcesRequest,
    ) -> Result<(), CriError>;

    /// Makes the runtime reopen a container's log after it was moved away.
    async fn reopen_container_log(&self, id: &str) -> Result<(), CriError>;

    /// Has a running container's state written to a file; it takes `patience` at most, or the usual time if that is more.
    /// `Unimplemented` on older runtimes.
    async fn checkpoint_container(
        &self,
        id: &str,
        location: &str,
        patience: Duration,
    ) -> Result<(), CriError>;

    /// Runs a command in a container and waits for it; a zero timeout waits for ever. A command that ran and failed is an
    /// outcome, one that could not be run or took too long an error.
    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutcome, CriError>;

    /// Prepares a streaming exec; the URL to stream from.
    async fn exec(&self, request: v1::ExecRequest) -> Result<String, CriError>;

    /// Prepares a streaming attach; the URL to stream from.
    async fn attach(&self, request: v1::AttachRequest) -> Result<String, CriError>;

    /// Prepares port forwarding; the URL to stream from.
    async fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String, CriError>;

    /// CPU, memory and disk use of one container.
    async fn container_stats(&self, id: &str) -> Result<Option<v1::ContainerStats>, CriError>;

    /// CPU, memory and disk use of containers that fit the filter.
    async fn list_container_stats(
        &self,
        filter: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>, CriError>;

    /// Use of sandboxes that fit the filter; `Unimplemented` on older runtimes.
    async fn list_pod_sandbox_stats(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>, CriError>;

    /// Images that fit the filter.
    async fn list_images(&self, filter: Option<v1::ImageFilter>) -> Result<Vec<v1::Image>, CriError>;

    /// An image by name or id; `None` when it isn't there.
    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>, CriError>;

    /// Pulls an image; the reference to create containers with. No deadline.
    async fn pull_image(
        &self,
        image: v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String, CriError>;

    /// Removes an image; harmless when it is gone.
    async fn remove_image(&self, image: &str) -> Result<(), CriError>;

    /// File systems that hold images.
    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse, CriError>;
}
