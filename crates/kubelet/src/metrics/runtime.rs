//! A runtime whose calls are counted and timed.
use super::{Metrics, Operation};
use async_trait::async_trait;
use orlop_cri::{Beyond, CriError, ExecOutcome, RuntimeService, v1};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Counts the calls of the runtime that it wraps.
pub struct Counted {
    runtime: Arc<dyn RuntimeService>,
    metrics: Metrics,
}

impl Counted {
    /// Wraps a runtime.
    pub fn new(runtime: Arc<dyn RuntimeService>, metrics: Metrics) -> Self {
        Self { runtime, metrics }
    }

    async fn count<T>(
        &self,
        operation_type: &'static str,
        call: impl Future<Output = Result<T, CriError>> + Send,
    ) -> Result<T, CriError> {
        let began = Instant::now();
        let outcome = call.await;
        let operation = Operation { operation_type };
        self.metrics.operations.get_or_create(&operation).inc();
        self.metrics
            .operation_durations
            .get_or_create(&operation)
            .observe(began.elapsed().as_secs_f64());
        if outcome.is_err() {
            self.metrics.operation_errors.get_or_create(&operation).inc();
        }
        outcome
    }
}

/// Methods that are counted under upstream's names for them.
macro_rules! counted {
    ($($name:literal $method:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl RuntimeService for Counted {
            $(async fn $method(&self, $($argument: $kind),*) -> Result<$answer, CriError> {
                self.count($name, self.runtime.$method($($argument),*)).await
            })*
        }
    };
}

counted! {
    "version" version() -> v1::VersionResponse;
    "status" status(verbose: bool) -> v1::StatusResponse;
    "runtime_config" runtime_config() -> v1::RuntimeConfigResponse;
    "update_runtime_config" update_runtime_config(pod_cidr: &str) -> ();
    "run_podsandbox" run_pod_sandbox(config: v1::PodSandboxConfig, runtime_handler: &str) -> String;
    "stop_podsandbox" stop_pod_sandbox(id: &str) -> ();
    "remove_podsandbox" remove_pod_sandbox(id: &str) -> ();
    "podsandbox_status" pod_sandbox_status(id: &str, verbose: bool) -> v1::PodSandboxStatusResponse;
    "list_podsandbox" list_pod_sandboxes(filter: Option<v1::PodSandboxFilter>) -> Vec<v1::PodSandbox>;
    "create_container" create_container(sandbox_id: &str, config: v1::ContainerConfig, sandbox_config: v1::PodSandboxConfig)
        -> String;
    "create_container" create_container_beyond(
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
        beyond: Beyond
    ) -> String;
    "start_container" start_container(id: &str) -> ();
    "stop_container" stop_container(id: &str, grace: Duration) -> ();
    "end_container" end_with(id: &str, signal: i32, patience: Duration) -> ();
    "remove_container" remove_container(id: &str) -> ();
    "list_containers" list_containers(filter: Option<v1::ContainerFilter>) -> Vec<v1::Container>;
    "container_status" container_status(id: &str, verbose: bool) -> v1::ContainerStatusResponse;
    "update_container" update_container_resources(request: v1::UpdateContainerResourcesRequest) -> ();
    "reopen_container_log" reopen_container_log(id: &str) -> ();
    "checkpoint_container" checkpoint_container(id: &str, location: &str, patience: Duration) -> ();
    "exec_sync" exec_sync(id: &str, command: Vec<String>, timeout: Duration) -> ExecOutcome;
    "exec" exec(request: v1::ExecRequest) -> String;
    "attach" attach(request: v1::AttachRequest) -> String;
    "port_forward" port_forward(request: v1::PortForwardRequest) -> String;
    "container_stats" container_stats(id: &str) -> Option<v1::ContainerStats>;
    "list_container_stats" list_container_stats(filter: Option<v1::ContainerStatsFilter>) -> Vec<v1::ContainerStats>;
    "list_podsandbox_stats" list_pod_sandbox_stats(filter: Option<v1::PodSandboxStatsFilter>) -> Vec<v1::PodSandboxStats>;
    "list_images" list_images(filter: Option<v1::ImageFilter>) -> Vec<v1::Image>;
    "image_status" image_status(image: &str) -> Option<v1::Image>;
    "pull_image" pull_image(image: v1::ImageSpec, auth: Option<v1::AuthConfig>, sandbox_config: Option<v1::PodSandboxConfig>)
        -> String;
    "remove_image" remove_image(image: &str) -> ();
    "image_fs_info" image_fs_info() -> v1::ImageFsInfoResponse;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeRuntime;

    #[tokio::test]
    async fn calls_and_their_failures_are_counted() {
        let (runtime, metrics) = (Arc::<FakeRuntime>::default(), Metrics::default());
        let counted = Counted::new(runtime.clone(), metrics.clone());
        counted.version().await.unwrap();
        runtime.failing.lock().push("StopContainer".into());
        counted.stop_container("x", Duration::ZERO).await.unwrap_err();
        let of = |operation_type| {
            metrics
                .operations
                .get_or_create(&Operation { operation_type })
                .get()
        };
        assert_eq!((of("version"), of("stop_container")), (1, 1));
        let errors = metrics.operation_errors.get_or_create(&Operation {
            operation_type: "stop_container",
        });
        assert_eq!(errors.get(), 1);
    }
}
