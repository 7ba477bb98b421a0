//! Makes sandboxes and starts containers, as a plan says. No decisions here.
use super::addresses;
use super::agent::Agent;
use super::ephemeral::ephemeral_containers;
use super::hooks;
use super::plan::{Waiting, Which};
use super::recursive;
use super::stop::{Ending, own_signal, stop_container};
use super::surroundings::Addresses;
use super::turns::Purpose;
use super::users::{self, UsersError};
use crate::images::Present;
use crate::metrics::ContainerType;
use crate::runtime::container::{Prepared, Security, container_config, non_root_violation};
use crate::runtime::links;
use crate::runtime::read::sandbox_ips;
use crate::runtime::sandbox::{
    HostnameTooLong, SandboxSettings, full_hostname, hostname, log_directory, sandbox_config,
};
use crate::runtime::seen::{SeenPod, SeenSandbox};
use crate::volumes::image;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{is_host_network, name, namespace, uid};
use orlop_client::events::EventType;
use orlop_cri::{Beyond, CriError, v1};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// The sandbox that containers are started in.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// The request it was, or would be, made from; `CreateContainer` wants to see it again.
    pub config: v1::PodSandboxConfig,
    /// The pod's addresses.
    pub ips: Vec<String>,
}

/// Why a sandbox was not made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The log directory.
    #[error("cannot create the log directory {}: {source}", directory.display())]
    Logs {
        /// Which.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The host name.
    #[error(transparent)]
    Hostname(#[from] HostnameTooLong),
    /// Users of its own.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// Its RuntimeClass.
    #[error("{0}")]
    Handler(String),
    /// The runtime said no.
    #[error(transparent)]
    Runtime(#[from] CriError),
}

/// The request for a pod's sandbox.
pub fn request(agent: &Agent, pod: &Pod, attempt: u32) -> v1::PodSandboxConfig {
    let domain = &agent.settings.cluster_domain;
    let settings = SandboxSettings {
        // One that is too long is refused before a sandbox is made.
        hostname: full_hostname(pod, domain).unwrap_or_else(|_| hostname(pod)),
        pod_logs: &agent.settings.pod_logs,
        dns: agent.surroundings.dns(pod),
        cgroup_parent: agent.surroundings.cgroup_parent(pod),
        resources: agent.surroundings.pod_resources(pod),
        users: agent.users.of(pod),
    };
    sandbox_config(pod, attempt, settings)
}

/// What the runtime can do for pods of a handler, beyond what all can. It is asked: pods seldom want any of it.
async fn features(agent: &Agent, handler: &str) -> Result<v1::RuntimeHandlerFeatures, CriError> {
    let all = agent.runtime.status(false).await?.runtime_handlers;
    let own = all.into_iter().find(|one| one.name == handler);
    Ok(own.and_then(|own| own.features).unwrap_or_default())
}

/// Makes a new sandbox.
pub async fn create_sandbox(
    agent: &Agent,
    pod: &Pod,
    attempt: u32,
) -> Result<(Sandbox, SeenSandbox), SandboxError> {
    full_hostname(pod, &agent.settings.cluster_domain)?;
    let handler = agent.surroundings.runtime_handler(pod).await;
    let handler = handler.map_err(SandboxError::Handler)?;
    if users::are_own(pod) {
        // Root in the pod would be root on the node after all.
        if !features(agent, &handler).await?.user_namespaces {
            return Err(UsersError::Unsupported(handler).into());
        }
        agent.users.take(pod)?;
    }
    let directory = log_directory(&agent.settings.pod_logs, pod);
    std::fs::create_dir_all(&directory).map_err(|source| SandboxError::Logs { directory, source })?;
    let config = request(agent, pod, attempt);
    let id = agent.runtime.run_pod_sandbox(config.clone(), &handler).await?;
    agent.owners.note(uid(pod), [id.as_str()]);
    let host_network = pod.spec.as_ref().is_some_and(is_host_network);
    let own_ips = if host_network {
        Vec::new()
    } else {
        sandbox_ips(&*agent.runtime, &id).await?
    };
    let ips = if host_network {
        agent.settings.host_ips.clone()
    } else {
        addresses::chosen(&own_ips, &agent.settings.host_ips)
    };
    let seen = SeenSandbox {
        id: id.clone(),
        attempt,
        ready: true,
        created_at: Timestamp::now(),
        ips: own_ips,
    };
    Ok((Sandbox { id, config, ips }, seen))
}

/// What a container start needs beside the container.
pub struct Start<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Where it is started.
    pub sandbox: &'a Sandbox,
    /// What the runtime had of the pod.
    pub seen: &'a SeenPod,
    /// Which container.
    pub which: Which,
    /// Its image.
    pub image: Present,
    /// Those of the image volumes that it mounts.
    pub volume_images: BTreeMap<String, v1::ImageSpec>,
    /// Cancelled when the pod is to be stopped.
    pub stopping: &'a CancellationToken,
}

/// Creates and starts one container and runs its postStart hook; on failure, why it waits.
pub async fn start_container(agent: &Agent, start: &Start<'_>) -> Result<String, Waiting> {
    let Start {
        pod,
        sandbox,
        seen,
        which,
        image,
        ..
    } = start;
    let container = which
        .of(pod)
        .ok_or_else(|| Waiting::new("CreateContainerError", "no such container"))?;
    let container = &*container;
    let path = which.field_path(&container.name);
    let fail = |reason: &str, message: String| {
        agent.container_event(
            pod,
            &path,
            EventType::Warning,
            "Failed",
            format!("Error: {message}"),
        );
        Waiting::new(reason, message)
    };
    let config_error = |message: String| fail("CreateContainerConfigError", message);
    let spec = pod.spec.clone().unwrap_or_default();
    if let Some(violation) = non_root_violation(&spec, container, &image.user) {
        return Err(config_error(violation));
    }
    let restart_count = match seen.newest(&container.name) {
        Some(newest) => newest.attempt + 1,
        None => links::next_log_number(&agent.settings.pod_logs, pod, container),
    };
    let addresses = Addresses {
        pod: sandbox.ips.clone(),
        host: agent.settings.host_ips.clone(),
    };
    let setting = tokio::select! {
        setting = agent.surroundings.container(pod, container, &addresses) => setting,
        () = start.stopping.cancelled() => return Err(Waiting::new("ContainerCreating", "")),
    };
    let mut setting = setting.map_err(config_error)?;
    let (image_mounts, image_sub_paths) = image::mounts(container, &start.volume_images, &setting.env)
        .map_err(|error| config_error(error.to_string()))?;
    setting.mounts.extend(image_mounts);
    setting
        .mounts
        .extend(last_words(agent, pod, container).map_err(config_error)?);
    if recursive::is_asked(container) {
        let handler = agent.surroundings.runtime_handler(pod).await;
        let known = features(agent, &handler.map_err(config_error)?).await;
        let known = known.map_err(|error| config_error(error.to_string()))?;
        recursive::mark(container, known.recursive_read_only_mounts, &mut setting.mounts)
            .map_err(config_error)?;
    }
    let prepared = Prepared {
        image: v1::ImageSpec {
            image: image.reference.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..v1::ImageSpec::default()
        },
        restart_count,
        env: setting.env,
        mounts: setting.mounts,
        resources: setting.resources,
        devices: setting.devices,
        cdi_devices: setting.cdi_devices,
        annotations: setting.annotations,
        image_user: image.user.clone(),
    };
    let security = Security {
        seccomp_directory: &agent.settings.root.join("seccomp"),
        seccomp_default: agent.settings.seccomp_default,
        thermal_throttles: &agent.settings.thermal_throttles,
    };
    let mut config = container_config(pod, container, prepared, &security);
    users::share(&mut config, &sandbox.config);
    if let Some(target) = target(pod, *which) {
        let id = seen
            .newest(target)
            .filter(|seen| seen.is_running())
            .map(|seen| &seen.id);
        let id = id.ok_or_else(|| {
            config_error(format!(
                "unable to find target container {target}: it does not run"
            ))
        })?;
        share_processes(&mut config, id);
    }
    let logs = PathBuf::from(&sandbox.config.log_directory).join(&container.name);
    if let Err(error) = std::fs::create_dir_all(&logs) {
        return Err(fail(
            "CreateContainerError",
            format!("cannot create {}: {error}", logs.display()),
        ));
    }
    let beyond = Beyond {
        // 0 leaves it to the image.
        stop_signal: own_signal(container).map_or(0, |signal| signal.cri),
        image_sub_paths,
    };
    let turn = tokio::select! {
        turn = agent.turns.next(Purpose::Container) => turn,
        () = start.stopping.cancelled() => return Err(Waiting::new("ContainerCreating", "")),
    };
    let made = turn.spend(async {
        let id = agent
            .runtime
            .create_container_beyond(&sandbox.id, config, sandbox.config.clone(), beyond)
            .await
            .map_err(|error| fail("CreateContainerError", error.to_string()))?;
        agent.owners.note(uid(pod), [id.as_str()]);
        agent.container_event(pod, &path, EventType::Normal, "Created", "Container created");
        agent.runtime.start_container(&id).await.map_err(|error| {
            fail(
                "RunContainerError",
                error.to_string().replace(&id, &container.name),
            )
        })?;
        Ok(id)
    });
    let id = made.await?;
    agent.container_event(pod, &path, EventType::Normal, "Started", "Container started");
    let container_type = which.container_type();
    agent
        .metrics
        .started_containers
        .get_or_create(&ContainerType { container_type })
        .inc();
    tracing::info!(
        pod = name(pod),
        namespace = namespace(pod),
        uid = uid(pod),
        container = container.name,
        id,
        restarts = restart_count,
        "container started"
    );
    links::link_log(
        &agent.settings.container_logs,
        pod,
        container,
        &id,
        &logs.join(format!("{restart_count}.log")),
    );
    post_start(agent, start, container, &path, &id).await?;
    Ok(id)
}

/// Whose processes an ephemeral container is to see.
fn target(pod: &Pod, which: Which) -> Option<&str> {
    let Which::Ephemeral(index) = which else {
        return None;
    };
    let target = ephemeral_containers(pod)
        .get(index)?
        .target_container_name
        .as_deref()?;
    Some(target).filter(|target| !target.is_empty())
}

fn share_processes(config: &mut v1::ContainerConfig, target: &str) {
    let context = config
        .linux
        .as_mut()
        .and_then(|linux| linux.security_context.as_mut());
    if let Some(context) = context {
        let namespaces = context.namespace_options.get_or_insert_default();
        namespaces.pid = v1::NamespaceMode::Target as i32;
        target.clone_into(&mut namespaces.target_id);
    }
}

async fn post_start(
    agent: &Agent,
    start: &Start<'_>,
    container: &Container,
    path: &str,
    id: &str,
) -> Result<(), Waiting> {
    let Some(hook) = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.post_start.as_ref())
    else {
        return Ok(());
    };
    let ip = start.sandbox.ips.first().map(String::as_str);
    let outcome = tokio::select! {
        outcome = hooks::run(agent, id, container, hook, ip, None) => outcome,
        // The container is stopped with the pod.
        () = start.stopping.cancelled() => return Ok(()),
    };
    let error = match outcome {
        Ok(done) => {
            if done == hooks::Done::OverHttp {
                let (reason, message) = hooks::FALLBACK;
                agent.container_event(start.pod, path, EventType::Warning, reason, message);
            }
            return Ok(());
        }
        Err(error) => error,
    };
    tracing::warn!(
        pod = name(start.pod),
        container = container.name,
        error,
        "postStart failed"
    );
    agent.container_event(
        start.pod,
        path,
        EventType::Warning,
        "FailedPostStartHook",
        "PostStartHook failed",
    );
    let ending = Ending {
        id,
        which: start.which,
        grace: super::stop::grace_of(start.pod),
        ip,
    };
    agent.container_event(
        start.pod,
        path,
        EventType::Normal,
        "Killing",
        "FailedPostStartHook",
    );
    if let Err(error) = stop_container(agent, start.pod, &ending).await {
        tracing::warn!(
            pod = name(start.pod),
            container = container.name,
            error,
            "cannot stop the container"
        );
    }
    Err(Waiting::new("PostStartHookError", error))
}

/// The file a container leaves its termination message in.
fn last_words(agent: &Agent, pod: &Pod, container: &Container) -> Result<Option<v1::Mount>, String> {
    let inside = container.termination_message_path.as_deref().unwrap_or_default();
    if inside.is_empty() {
        return Ok(None);
    }
    let directory = agent
        .settings
        .root
        .join("pods")
        .join(uid(pod))
        .join("containers")
        .join(&container.name);
    let file = directory.join(format!("{:08x}", rand::random::<u32>()));
    let make = || {
        std::fs::create_dir_all(&directory)?;
        std::fs::write(&file, "")?;
        // Whatever user the container runs as may write here.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666))
    };
    make().map_err(|error| {
        format!(
            "cannot create the termination message file {}: {error}",
            file.display()
        )
    })?;
    Ok(Some(v1::Mount {
        container_path: inside.to_owned(),
        host_path: file.display().to_string(),
        ..v1::Mount::default()
    }))
}
