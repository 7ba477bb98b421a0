use super::beyond::Followed;
use super::{Remote, deadlines};
use crate::{Beyond, CriError, ExecOutcome, RuntimeService, v1};
use async_trait::async_trait;
use deadlines::call;
use std::time::Duration;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

/// One call with the usual deadline (or the one given): method name, service, gRPC method, request.
macro_rules! send {
    ($self:ident, $name:literal, $service:ident, $method:ident, $request:expr) => {
        send!(
            $self,
            $name,
            $service,
            $method,
            $request,
            Some($self.request_timeout)
        )
    };
    ($self:ident, $name:literal, $service:ident, $method:ident, $request:expr, $deadline:expr) => {{
        let mut client = $self.$service();
        call($name, $deadline, $request, async |request| {
            client.$method(request).await
        })
        .await
    }};
}

#[async_trait]
impl RuntimeService for Remote {
    async fn version(&self) -> Result<v1::VersionResponse, CriError> {
        let request = v1::VersionRequest {
            version: "0.1.0".to_owned(),
        };
        send!(self, "Version", runtime, version, request)
    }

    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse, CriError> {
        send!(self, "Status", runtime, status, v1::StatusRequest { verbose })
    }

    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse, CriError> {
        send!(
            self,
            "RuntimeConfig",
            runtime,
            runtime_config,
            v1::RuntimeConfigRequest {}
        )
    }

    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<(), CriError> {
        let request = v1::UpdateRuntimeConfigRequest {
            runtime_config: Some(v1::RuntimeConfig {
                network_config: Some(v1::NetworkConfig {
                    pod_cidr: pod_cidr.to_owned(),
                }),
            }),
        };
        send!(
            self,
            "UpdateRuntimeConfig",
            runtime,
            update_runtime_config,
            request
        )
        .map(drop)
    }

    async fn run_pod_sandbox(
        &self,
        config: v1::PodSandboxConfig,
        runtime_handler: &str,
    ) -> Result<String, CriError> {
        let request = v1::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: runtime_handler.to_owned(),
        };
        let deadline = Some(deadlines::run_pod_sandbox(self.request_timeout));
        send!(self, "RunPodSandbox", runtime, run_pod_sandbox, request, deadline)
            .map(|answer| answer.pod_sandbox_id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = v1::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        send!(self, "StopPodSandbox", runtime, stop_pod_sandbox, request).map(drop)
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = v1::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        send!(self, "RemovePodSandbox", runtime, remove_pod_sandbox, request).map(drop)
    }

    async fn pod_sandbox_status(
        &self,
        id: &str,
        verbose: bool,
    ) -> Result<v1::PodSandboxStatusResponse, CriError> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose,
        };
        send!(self, "PodSandboxStatus", runtime, pod_sandbox_status, request)
    }

    async fn list_pod_sandboxes(
        &self,
        filter: Option<v1::PodSandboxFilter>,
    ) -> Result<Vec<v1::PodSandbox>, CriError> {
        let request = v1::ListPodSandboxRequest { filter };
        send!(self, "ListPodSandbox", runtime, list_pod_sandbox, request).map(|answer| answer.items)
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        send!(self, "CreateContainer", runtime, create_container, request).map(|answer| answer.container_id)
    }

    async fn create_container_beyond(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
        beyond: Beyond,
    ) -> Result<String, CriError> {
        if beyond == Beyond::default() {
            return self.create_container(sandbox_id, config, sandbox_config).await;
        }
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let request = Followed::new(request, &beyond);
        let mut client = tonic::client::Grpc::new(self.channel());
        let deadline = Some(self.request_timeout);
        let answer: v1::CreateContainerResponse =
            call("CreateContainer", deadline, request, async |request| {
                let ready = client.ready().await;
                ready.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
                let method = PathAndQuery::from_static("/runtime.v1.RuntimeService/CreateContainer");
                client.unary(request, method, ProstCodec::default()).await
            })
            .await?;
        Ok(answer.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = v1::StartContainerRequest {
            container_id: id.to_owned(),
        };
        send!(self, "StartContainer", runtime, start_container, request).map(drop)
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let request = v1::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: seconds(grace),
        };
        let deadline = Some(deadlines::stop_container(self.request_timeout, grace));
        send!(self, "StopContainer", runtime, stop_container, request, deadline).map(drop)
    }

    async fn end_with(&self, id: &str, signal: i32, patience: Duration) -> Result<(), CriError> {
        super::signal::send(self, id, signal, patience).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = v1::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        send!(self, "RemoveContainer", runtime, remove_container, request).map(drop)
    }

    async fn list_containers(
        &self,
        filter: Option<v1::ContainerFilter>,
    ) -> Result<Vec<v1::Container>, CriError> {
        let request = v1::ListContainersRequest { filter };
        send!(self, "ListContainers", runtime, list_containers, request).map(|answer| answer.containers)
    }

    async fn container_status(
        &self,
        id: &str,
        verbose: bool,
    ) -> Result<v1::ContainerStatusResponse, CriError> {
        let request = v1::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose,
        };
        send!(self, "ContainerStatus", runtime, container_status, request)
    }

    async fn update_container_resources(
        &self,
        request: v1::UpdateContainerResourcesRequest,
    ) -> Result<(), CriError> {
        send!(
            self,
            "UpdateContainerResources",
            runtime,
            update_container_resources,
            request
        )
        .map(drop)
    }

    async fn reopen_container_log(&self, id: &str) -> Result<(), CriError> {
        let request = v1::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        };
        send!(self, "ReopenContainerLog", runtime, reopen_container_log, request).map(drop)
    }

    async fn checkpoint_container(
        &self,
        id: &str,
        location: &str,
        patience: Duration,
    ) -> Result<(), CriError> {
        let patience = patience.max(self.request_timeout);
        let request = v1::CheckpointContainerRequest {
            container_id: id.to_owned(),
            location: location.to_owned(),
            timeout: seconds(patience),
        };
        let deadline = Some(patience);
        send!(
            self,
            "CheckpointContainer",
            runtime,
            checkpoint_container,
            request,
            deadline
        )
        .map(drop)
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutcome, CriError> {
        let request = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command,
            timeout: seconds(timeout),
        };
        let deadline = deadlines::exec_sync(timeout);
        send!(self, "ExecSync", runtime, exec_sync, request, deadline).map(|answer| ExecOutcome {
            stdout: answer.stdout,
            stderr: answer.stderr,
            exit_code: answer.exit_code,
        })
    }

    async fn exec(&self, request: v1::ExecRequest) -> Result<String, CriError> {
        send!(self, "Exec", runtime, exec, request).map(|answer| answer.url)
    }

    async fn attach(&self, request: v1::AttachRequest) -> Result<String, CriError> {
        send!(self, "Attach", runtime, attach, request).map(|answer| answer.url)
    }

    async fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String, CriError> {
        send!(self, "PortForward", runtime, port_forward, request).map(|answer| answer.url)
    }

    async fn container_stats(&self, id: &str) -> Result<Option<v1::ContainerStats>, CriError> {
        let request = v1::ContainerStatsRequest {
            container_id: id.to_owned(),
        };
        send!(self, "ContainerStats", runtime, container_stats, request).map(|answer| answer.stats)
    }

    async fn list_container_stats(
        &self,
        filter: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>, CriError> {
        let request = v1::ListContainerStatsRequest { filter };
        send!(self, "ListContainerStats", runtime, list_container_stats, request).map(|answer| answer.stats)
    }

    async fn list_pod_sandbox_stats(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>, CriError> {
        let request = v1::ListPodSandboxStatsRequest { filter };
        send!(
            self,
            "ListPodSandboxStats",
            runtime,
            list_pod_sandbox_stats,
            request
        )
        .map(|answer| answer.stats)
    }

    async fn list_images(&self, filter: Option<v1::ImageFilter>) -> Result<Vec<v1::Image>, CriError> {
        let request = v1::ListImagesRequest { filter };
        send!(self, "ListImages", images, list_images, request).map(|answer| answer.images)
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>, CriError> {
        let request = v1::ImageStatusRequest {
            image: Some(image_spec(image)),
            verbose: false,
        };
        send!(self, "ImageStatus", images, image_status, request).map(|answer| answer.image)
    }

    async fn pull_image(
        &self,
        image: v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String, CriError> {
        let request = v1::PullImageRequest {
            image: Some(image),
            auth,
            sandbox_config,
        };
        send!(self, "PullImage", images, pull_image, request, None).map(|answer| answer.image_ref)
    }

    async fn remove_image(&self, image: &str) -> Result<(), CriError> {
        let request = v1::RemoveImageRequest {
            image: Some(image_spec(image)),
        };
        send!(self, "RemoveImage", images, remove_image, request).map(drop)
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse, CriError> {
        send!(
            self,
            "ImageFsInfo",
            images,
            image_fs_info,
            v1::ImageFsInfoRequest {}
        )
    }
}

/// CRI counts whole seconds; a started second counts, so that a short timeout doesn't become "none".
fn seconds(duration: Duration) -> i64 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}

fn image_spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec {
        image: image.to_owned(),
        ..v1::ImageSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn started_seconds_count() {
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(30)), 30);
    }
}
