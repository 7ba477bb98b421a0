//! A runtime and surroundings made of maps, for tests of workers and the manager.
use crate::cgroups::resources::NodeLimits;
use crate::images::{Access, PullRate};
use crate::pods::PodsHandle;
use crate::pods::agent::{Agent, Settings};
use crate::pods::owners::Owners;
use crate::pods::surroundings::{Addresses, ContainerSetting, Lacking, Probed, ResizeStep, Surroundings};
use crate::pods::turns::Turns;
use crate::pods::users::Users;
use crate::status::Board;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_client::events::Recorder;
use orlop_cri::images::Archives;
use orlop_cri::{Beyond, Code, CriError, ExecOutcome, RuntimeService, v1};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};

#[derive(Default)]
struct State {
    sandboxes: Vec<v1::PodSandbox>,
    containers: Vec<v1::ContainerStatus>,
    sandbox_of: HashMap<String, String>,
    calls: Vec<String>,
    beyond: Vec<Beyond>,
    next: i64,
}

/// What a slow container takes to end: enough to be overtaken by what doesn't wait for it.
const SLOW_END: std::time::Duration = std::time::Duration::from_millis(100);

/// Containers exist as soon as they are created, run when started and end when stopped.
#[derive(Default)]
pub struct FakeRuntime {
    state: Mutex<State>,
    changed: Notify,
    /// Container names that ignore the stop signal until their grace is over.
    pub stubborn: Mutex<Vec<String>>,
    /// Containers that take a moment to end, well within any grace.
    pub slow: Mutex<Vec<String>>,
    /// Calls that fail.
    pub failing: Mutex<Vec<String>>,
    /// The network is not there.
    pub no_network: Mutex<bool>,
    /// Commands that are still at work when their time is over.
    pub hanging: Mutex<Vec<String>>,
    /// It sends signals of others' choice.
    pub takes_signals: Mutex<bool>,
    /// What it can do for pods beyond what all runtimes can.
    pub can: Mutex<v1::RuntimeHandlerFeatures>,
    /// Images that have to be pulled.
    pub absent: Mutex<Vec<String>>,
    /// Those that it lists.
    pub images: Mutex<Vec<v1::Image>>,
    /// How often its containers were listed.
    pub lists: AtomicUsize,
    /// Images that lie in archives beside it.
    pub archived: Mutex<Vec<String>>,
    /// Pulls end when they are let through here, if it is there.
    pub pull_gate: Mutex<Option<Arc<Semaphore>>>,
}

impl FakeRuntime {
    fn call(&self, call: String) -> Result<(), CriError> {
        let method = call.split(' ').next().unwrap_or_default().to_owned();
        self.state.lock().calls.push(call);
        self.changed.notify_waiters();
        if self.failing.lock().contains(&method) {
            return Err(CriError::new("call", Code::Unknown, "made to fail"));
        }
        Ok(())
    }

    /// Calls that changed something, with names instead of ids.
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    /// How many calls of this method there were.
    pub fn count(&self, method: &str) -> usize {
        let calls = self.calls();
        calls.iter().filter(|call| call.starts_with(method)).count()
    }

    /// Waits until a call was made.
    pub async fn until(&self, call: &str) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if self.calls().iter().any(|made| made == call) {
                    return;
                }
                changed.await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(done.is_ok(), "no call {call:?} in {:#?}", self.calls());
    }

    /// Waits until a call of this method was made.
    pub async fn until_any(&self, method: &str) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if self.calls().iter().any(|made| made.starts_with(method)) {
                    return;
                }
                changed.await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(done.is_ok(), "no call of {method} in {:#?}", self.calls());
    }

    /// Stubborn containers give up.
    pub fn end_stubborn(&self) {
        self.stubborn.lock().clear();
        self.changed.notify_waiters();
    }

    /// Commands that hang come to their end.
    pub fn end_hanging(&self) {
        self.hanging.lock().clear();
        self.changed.notify_waiters();
    }

    /// Ends a container by itself; its pod's UID.
    pub fn exit(&self, name: &str, code: i32) {
        let mut state = self.state.lock();
        let running = v1::ContainerState::ContainerRunning as i32;
        let found = state
            .containers
            .iter_mut()
            .find(|c| c.state == running && name_of(c) == name);
        end(found.unwrap(), code);
    }

    /// All sandboxes end by themselves.
    pub fn end_sandboxes(&self) {
        for sandbox in &mut self.state.lock().sandboxes {
            sandbox.state = v1::PodSandboxState::SandboxNotready as i32;
        }
    }

    /// What was told of containers beside their configuration.
    pub fn beyond(&self) -> Vec<Beyond> {
        self.state.lock().beyond.clone()
    }

    /// Images that containers have mounted, by path: what the runtime calls them, and their names.
    pub fn mounted_images(&self) -> Vec<(String, String, String)> {
        let state = self.state.lock();
        let mounts = state.containers.iter().flat_map(|container| &container.mounts);
        let images = mounts.filter_map(|mount| Some((mount.container_path.clone(), mount.image.clone()?)));
        images
            .map(|(path, image)| (path, image.image, image.user_specified_image))
            .collect()
    }

    /// Ids of running containers.
    pub fn running(&self) -> Vec<String> {
        let running = v1::ContainerState::ContainerRunning as i32;
        self.state
            .lock()
            .containers
            .iter()
            .filter(|c| c.state == running)
            .map(|c| c.id.clone())
            .collect()
    }
}

fn name_of(status: &v1::ContainerStatus) -> &str {
    status
        .metadata
        .as_ref()
        .map(|metadata| metadata.name.as_str())
        .unwrap_or_default()
}

fn nanoseconds() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap()
}

fn end(status: &mut v1::ContainerStatus, code: i32) {
    status.state = v1::ContainerState::ContainerExited as i32;
    status.exit_code = code;
    status.reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
    status.finished_at = nanoseconds();
}

fn fits(labels: &HashMap<String, String>, selector: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn unimplemented<T>(call: &'static str) -> Result<T, CriError> {
    Err(CriError::new(call, Code::Unimplemented, "not in this runtime"))
}

#[async_trait]
impl RuntimeService for FakeRuntime {
    async fn version(&self) -> Result<v1::VersionResponse, CriError> {
        Ok(v1::VersionResponse::default())
    }
    async fn status(&self, _: bool) -> Result<v1::StatusResponse, CriError> {
        let condition = |kind: &str, status| v1::RuntimeCondition {
            r#type: kind.into(),
            status,
            ..v1::RuntimeCondition::default()
        };
        let network = !*self.no_network.lock();
        Ok(v1::StatusResponse {
            status: Some(v1::RuntimeStatus {
                conditions: vec![
                    condition("RuntimeReady", true),
                    condition("NetworkReady", network),
                ],
            }),
            runtime_handlers: vec![v1::RuntimeHandler {
                name: String::new(),
                features: Some(*self.can.lock()),
            }],
            ..v1::StatusResponse::default()
        })
    }
    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse, CriError> {
        unimplemented("RuntimeConfig")
    }
    async fn update_runtime_config(&self, ranges: &str) -> Result<(), CriError> {
        self.call(format!("UpdateRuntimeConfig {ranges}"))
    }
    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, _: &str) -> Result<String, CriError> {
        let metadata = config.metadata.unwrap_or_default();
        self.call(format!("RunPodSandbox {}", metadata.uid))?;
        let mut state = self.state.lock();
        state.next += 1;
        let id = format!("sandbox{}", state.next);
        state.sandboxes.push(v1::PodSandbox {
            id: id.clone(),
            metadata: Some(metadata),
            state: v1::PodSandboxState::SandboxReady as i32,
            created_at: nanoseconds(),
            labels: config.labels,
            ..v1::PodSandbox::default()
        });
        Ok(id)
    }
    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let uid = self
            .state
            .lock()
            .sandboxes
            .iter()
            .find(|s| s.id == id)
            .and_then(|s| s.metadata.clone());
        self.call(format!("StopPodSandbox {}", uid.unwrap_or_default().uid))?;
        let mut state = self.state.lock();
        for sandbox in state.sandboxes.iter_mut().filter(|s| s.id == id) {
            sandbox.state = v1::PodSandboxState::SandboxNotready as i32;
        }
        Ok(())
    }
    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        self.state.lock().sandboxes.retain(|s| s.id != id);
        Ok(())
    }
    async fn pod_sandbox_status(&self, _: &str, _: bool) -> Result<v1::PodSandboxStatusResponse, CriError> {
        let network = v1::PodSandboxNetworkStatus {
            ip: "10.0.0.5".into(),
            ..Default::default()
        };
        let status = v1::PodSandboxStatus {
            network: Some(network),
            ..Default::default()
        };
        Ok(v1::PodSandboxStatusResponse {
            status: Some(status),
            ..Default::default()
        })
    }
    async fn list_pod_sandboxes(
        &self,
        filter: Option<v1::PodSandboxFilter>,
    ) -> Result<Vec<v1::PodSandbox>, CriError> {
        let selector = filter.unwrap_or_default().label_selector;
        Ok(self
            .state
            .lock()
            .sandboxes
            .iter()
            .filter(|s| fits(&s.labels, &selector))
            .cloned()
            .collect())
    }
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        _: v1::PodSandboxConfig,
    ) -> Result<String, CriError> {
        let metadata = config.metadata.unwrap_or_default();
        self.call(format!("CreateContainer {} {}", metadata.name, metadata.attempt))?;
        let mut state = self.state.lock();
        state.next += 1;
        let id = format!("container{}", state.next);
        state.sandbox_of.insert(id.clone(), sandbox_id.to_owned());
        state.containers.push(v1::ContainerStatus {
            id: id.clone(),
            metadata: Some(metadata),
            state: v1::ContainerState::ContainerCreated as i32,
            created_at: nanoseconds(),
            image: config.image,
            labels: config.labels,
            annotations: config.annotations,
            mounts: config.mounts,
            resources: Some(v1::ContainerResources {
                linux: config.linux.and_then(|linux| linux.resources),
                ..v1::ContainerResources::default()
            }),
            ..v1::ContainerStatus::default()
        });
        Ok(id)
    }
    async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let name = {
            let mut state = self.state.lock();
            let container = state.containers.iter_mut().find(|c| c.id == id).unwrap();
            container.state = v1::ContainerState::ContainerRunning as i32;
            container.started_at = nanoseconds();
            name_of(container).to_owned()
        };
        self.call(format!("StartContainer {name}")).inspect_err(|_| {
            let mut state = self.state.lock();
            let failed = state.containers.iter_mut().filter(|c| c.id == id);
            failed.for_each(|container| end(container, 128));
        })
    }
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let name = self
            .state
            .lock()
            .containers
            .iter()
            .find(|c| c.id == id)
            .map(|c| name_of(c).to_owned());
        let name = name.unwrap_or_default();
        self.call(format!("StopContainer {name} {}", grace.as_secs()))?;
        let is_stubborn = self.stubborn.lock().contains(&name);
        if self.slow.lock().contains(&name) {
            tokio::time::sleep(SLOW_END).await;
        }
        if is_stubborn {
            let killed = async {
                loop {
                    let changed = self.changed.notified();
                    if !self.stubborn.lock().contains(&name) {
                        return;
                    }
                    changed.await;
                }
            };
            // Until its grace is over, or a test has had enough of it.
            let _ = tokio::time::timeout(grace, killed).await;
        }
        let mut state = self.state.lock();
        for container in state.containers.iter_mut().filter(|c| c.id == id) {
            end(container, if is_stubborn { 137 } else { 0 });
        }
        drop(state);
        self.call(format!("stopped {name}"))
    }
    async fn create_container_beyond(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
        beyond: Beyond,
    ) -> Result<String, CriError> {
        if beyond != Beyond::default() {
            self.state.lock().beyond.push(beyond);
        }
        self.create_container(sandbox_id, config, sandbox_config).await
    }
    async fn end_with(&self, id: &str, signal: i32, patience: Duration) -> Result<(), CriError> {
        if !*self.takes_signals.lock() {
            return unimplemented("Kill");
        }
        let mut state = self.state.lock();
        let container = state.containers.iter_mut().find(|c| c.id == id).unwrap();
        end(container, 128 + signal);
        let name = name_of(container).to_owned();
        drop(state);
        self.call(format!("EndWith {name} {signal} {}", patience.as_secs()))
    }
    async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        if self.failing.lock().iter().any(|call| call == "RemoveContainer") {
            return Err(CriError::new("RemoveContainer", Code::Unknown, "made to fail"));
        }
        self.state.lock().containers.retain(|c| c.id != id);
        Ok(())
    }
    async fn list_containers(
        &self,
        filter: Option<v1::ContainerFilter>,
    ) -> Result<Vec<v1::Container>, CriError> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        let selector = filter.unwrap_or_default().label_selector;
        let state = self.state.lock();
        let found = state.containers.iter().filter(|c| fits(&c.labels, &selector));
        Ok(found
            .map(|c| v1::Container {
                id: c.id.clone(),
                pod_sandbox_id: state.sandbox_of.get(&c.id).cloned().unwrap_or_default(),
                metadata: c.metadata.clone(),
                state: c.state,
                created_at: c.created_at,
                labels: c.labels.clone(),
                ..v1::Container::default()
            })
            .collect())
    }
    async fn container_status(&self, id: &str, _: bool) -> Result<v1::ContainerStatusResponse, CriError> {
        let status = self.state.lock().containers.iter().find(|c| c.id == id).cloned();
        let status = status.ok_or_else(|| CriError::new("ContainerStatus", Code::NotFound, "not found"))?;
        Ok(v1::ContainerStatusResponse {
            status: Some(status),
            ..Default::default()
        })
    }
    async fn update_container_resources(
        &self,
        request: v1::UpdateContainerResourcesRequest,
    ) -> Result<(), CriError> {
        let new = request.linux.unwrap_or_default();
        let name = {
            let mut state = self.state.lock();
            let mut containers = state.containers.iter_mut();
            let container = containers.find(|c| c.id == request.container_id).unwrap();
            name_of(container).to_owned()
        };
        let (shares, quota, memory) = (new.cpu_shares, new.cpu_quota, new.memory_limit_in_bytes);
        self.call(format!(
            "UpdateContainerResources {name} {shares} {quota} {memory}"
        ))?;
        let mut state = self.state.lock();
        let mut containers = state.containers.iter_mut();
        let container = containers.find(|c| c.id == request.container_id).unwrap();
        container.resources.get_or_insert_default().linux = Some(new);
        Ok(())
    }
    async fn reopen_container_log(&self, id: &str) -> Result<(), CriError> {
        self.call(format!("ReopenContainerLog {id}"))
    }
    async fn checkpoint_container(
        &self,
        id: &str,
        location: &str,
        patience: Duration,
    ) -> Result<(), CriError> {
        self.call(format!(
            "CheckpointContainer {id} {location} {}",
            patience.as_secs()
        ))
    }
    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        time: Duration,
    ) -> Result<ExecOutcome, CriError> {
        let name = self
            .state
            .lock()
            .containers
            .iter()
            .find(|c| c.id == id)
            .map(|c| name_of(c).to_owned());
        let command = command.join(" ");
        self.call(format!("ExecSync {} {command}", name.unwrap_or_default()))?;
        let hangs = || self.hanging.lock().contains(&command);
        if hangs() {
            let released = async {
                while hangs() {
                    self.changed.notified().await;
                }
            };
            if time.is_zero() {
                released.await;
            } else if tokio::time::timeout(time, released).await.is_err() {
                return Err(CriError::new("ExecSync", Code::DeadlineExceeded, "timed out"));
            }
            self.call(format!("ended {command}"))?;
        }
        Ok(ExecOutcome::default())
    }
    async fn exec(&self, _: v1::ExecRequest) -> Result<String, CriError> {
        unimplemented("Exec")
    }
    async fn attach(&self, _: v1::AttachRequest) -> Result<String, CriError> {
        unimplemented("Attach")
    }
    async fn port_forward(&self, _: v1::PortForwardRequest) -> Result<String, CriError> {
        unimplemented("PortForward")
    }
    async fn container_stats(&self, _: &str) -> Result<Option<v1::ContainerStats>, CriError> {
        Ok(None)
    }
    async fn list_container_stats(
        &self,
        _: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>, CriError> {
        Ok(Vec::new())
    }
    async fn list_pod_sandbox_stats(
        &self,
        _: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>, CriError> {
        Ok(Vec::new())
    }
    async fn list_images(&self, _: Option<v1::ImageFilter>) -> Result<Vec<v1::Image>, CriError> {
        Ok(self.images.lock().clone())
    }
    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>, CriError> {
        let is_absent = self.absent.lock().iter().any(|absent| absent == image);
        Ok((!is_absent).then(|| v1::Image {
            id: format!("sha256:{image}"),
            ..v1::Image::default()
        }))
    }
    async fn pull_image(
        &self,
        spec: v1::ImageSpec,
        _: Option<v1::AuthConfig>,
        _: Option<v1::PodSandboxConfig>,
    ) -> Result<String, CriError> {
        self.call(format!("PullImage {}", spec.image))?;
        let gate = self.pull_gate.lock().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        self.absent.lock().retain(|absent| *absent != spec.image);
        Ok(spec.image)
    }
    async fn remove_image(&self, _: &str) -> Result<(), CriError> {
        Ok(())
    }
    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse, CriError> {
        unimplemented("ImageFsInfo")
    }
}

#[async_trait]
impl Archives for FakeRuntime {
    async fn import(&self, image: &str) -> bool {
        let is_archived = self.archived.lock().iter().any(|archived| archived == image);
        if is_archived {
            let _ = self.call(format!("Import {image}"));
            let gate = self.pull_gate.lock().clone();
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            self.absent.lock().retain(|absent| absent != image);
        }
        is_archived
    }
}

/// Surroundings that lack nothing unless they are told to.
#[derive(Default)]
pub struct Plain {
    /// UIDs that were released.
    pub released: Mutex<Vec<String>>,
    /// Steps in which pods' cgroups were resized.
    pub resized: Mutex<Vec<ResizeStep>>,
    /// What containers are said to use, bytes.
    pub memory_used: Mutex<Option<i64>>,
    /// UIDs of pods whose volumes an earlier agent has left.
    pub held: Mutex<Vec<String>>,
    /// Why containers cannot be made.
    pub lacking: Mutex<Option<String>>,
}

#[async_trait]
impl Surroundings for Plain {
    async fn prepare(&self, _: &Pod) -> Result<(), Lacking> {
        Ok(())
    }
    fn cgroup_parent(&self, pod: &Pod) -> String {
        format!("/kubepods/pod{}", orlop_api::pod::uid(pod))
    }
    fn pod_resources(&self, _: &Pod) -> v1::LinuxContainerResources {
        v1::LinuxContainerResources::default()
    }
    fn container_resources(&self, pod: &Pod, container: &Container) -> v1::LinuxContainerResources {
        let node = NodeLimits {
            memory_capacity: 4 << 30,
            cpu_quota: true,
            cpu_period: Duration::from_millis(100),
            pids_per_pod: -1,
            unified: false,
            single_process_oom_kill: true,
            limits_swap: false,
            shared_swap: 0,
            huge_pages: Vec::new(),
        };
        crate::cgroups::resources::linux(pod, container, &node)
    }
    fn resize_pod(&self, _: &Pod, step: ResizeStep) {
        self.resized.lock().push(step);
    }
    fn memory_used(&self, _: &Pod, _: &str) -> Option<i64> {
        *self.memory_used.lock()
    }
    fn dns(&self, _: &Pod) -> v1::DnsConfig {
        v1::DnsConfig::default()
    }
    async fn container(
        &self,
        pod: &Pod,
        container: &Container,
        _: &Addresses,
    ) -> Result<ContainerSetting, String> {
        let lacking = self.lacking.lock().clone();
        if let Some(lacking) = lacking {
            return Err(lacking);
        }
        Ok(ContainerSetting {
            resources: self.container_resources(pod, container),
            ..ContainerSetting::default()
        })
    }
    fn holds_volumes(&self, uid: &str) -> bool {
        self.held.lock().iter().any(|held| held == uid)
    }
    async fn release(&self, uid: &str) -> Result<(), String> {
        self.held.lock().retain(|held| held != uid);
        self.released.lock().push(uid.to_owned());
        Ok(())
    }
    fn start_probes(&self, _: Probed) {}
    fn stop_liveness_and_startup(&self, _: &str) {}
    fn stop_probes(&self, _: &str) {}
    fn leftovers(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An agent below `root`, and the channel that tells of workers' ends.
pub fn agent(
    runtime: Arc<FakeRuntime>,
    surroundings: Arc<Plain>,
    root: &Path,
) -> (Arc<Agent>, mpsc::UnboundedReceiver<String>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let agent = Agent {
        runtime,
        runtime_name: "fake".into(),
        settings: Settings {
            node_name: "n1".into(),
            root: root.join("kubelet"),
            pod_logs: root.join("pods"),
            container_logs: root.join("containers"),
            seccomp_default: false,
            has_strict_groups: false,
            thermal_throttles: Vec::new(),
            allowed_sysctls: Vec::new(),
            dead_containers: Default::default(),
            restart_backoff_max: SignedDuration::from_secs(300),
            cluster_domain: "cluster.local".into(),
            sync_frequency: SignedDuration::from_secs(60),
            host_ips: Vec::new(),
            began: Timestamp::now(),
        },
        recorder: Recorder::disabled(),
        surroundings,
        archives: None,
        pods: PodsHandle::default(),
        metrics: Default::default(),
        node_state: Default::default(),
        board: Board::new(true),
        owners: Owners::default(),
        turns: Turns::of(2),
        pulls: Semaphore::new(1),
        pull_rate: PullRate::new(0, 0),
        images: Arc::new(Access::open(root, &Default::default())),
        users: Users::new(&root.join("kubelet"), 110, crate::pods::users::LENGTH),
        ended,
    };
    (Arc::new(agent), ends)
}
