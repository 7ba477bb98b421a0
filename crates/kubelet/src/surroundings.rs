//! What pods have around them on this node: their cgroup, volumes, environment and probes, behind the trait that workers
//! know. The one task here listens for objects that volumes show and that have changed.
use crate::cgroups::Cgroups;
use crate::devices::Devices;
use crate::environment::local::LocalObjects;
use crate::environment::objects::{self, ObjectKind, Shelf};
use crate::environment::{self, EnvContext, Services, container_env, dns, hosts};
use crate::images::{Credentials, Owner, Providers};
use crate::metrics::Metrics;
use crate::pods::PodsHandle;
use crate::pods::mailbox::Mailbox;
use crate::pods::resize::allocation;
use crate::pods::surroundings::{Addresses, ContainerSetting, Lacking, Probed, ResizeStep, Surroundings};
use crate::pods::users;
use crate::probes::Probes;
use crate::volumes::{VolumeError, VolumeMap, Volumes, image};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceStatus, Volume};
use k8s_openapi::api::node::v1::RuntimeClass;
use orlop_api::pod::{is_static, name, namespace, uid};
use orlop_client::events::{EventType, Recorder, reference};
use orlop_cri::v1;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc;

/// Pods whose volumes show something that changed, and that wait to be set up again; more make the watches wait.
const CHANGES_WAITING_MAX: usize = 64;

/// The volumes of one pod.
#[derive(Default)]
struct PodVolumes {
    /// As last set up.
    ready: VolumeMap,
    /// They are not: who waits for them.
    waiting: Option<Mailbox>,
}

/// How long volumes may take before it is told (contract, node agent §1).
const VOLUMES_PATIENCE: Duration = Duration::from_secs(123);

fn still_unmounted(pod: &Pod) -> String {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let names: Vec<&str> = volumes.map(|volume| volume.name.as_str()).collect();
    format!(
        "Unable to attach or mount volumes: unmounted volumes=[{}], unattached volumes=[], failed to process volumes=[]: \
         context deadline exceeded",
        names.join(" ")
    )
}

/// One at a time: a pod's volumes are not set up while they are taken down.
type Turn = Arc<tokio::sync::Mutex<PodVolumes>>;

/// The surroundings of pods on a real node.
pub struct NodeSurroundings {
    cgroups: Arc<Cgroups>,
    volumes: Volumes,
    probes: Probes,
    settings: environment::Settings,
    client: Option<kube::Client>,
    local: Option<LocalObjects>,
    services: Services,
    recorder: Recorder,
    pods: PodsHandle,
    providers: Option<Arc<Providers>>,
    devices: Arc<Devices>,
    metrics: Metrics,
    /// By UID, pods whose volumes are set up.
    set_up: Mutex<HashMap<String, Turn>>,
    /// For work in the background.
    this: Weak<Self>,
}

/// What they are made of.
pub struct Parts {
    pub cgroups: Arc<Cgroups>,
    pub probes: Probes,
    pub settings: environment::Settings,
    pub client: Option<kube::Client>,
    /// What lies on the node for static pods, if they may use it.
    pub local: Option<LocalObjects>,
    /// What the runtime can't do with volumes that are images.
    pub lacks: image::Lacks,
    /// The API server's port on this node, where pods reach it without a service proxy.
    pub api_server_port: Option<u16>,
    pub recorder: Recorder,
    pub pods: PodsHandle,
    /// Programs that are asked for logins.
    pub providers: Option<Arc<Providers>>,
    /// What plugins bring.
    pub devices: Arc<Devices>,
    pub metrics: Metrics,
}

impl NodeSurroundings {
    /// Starts a task, so it must be called within a tokio runtime.
    pub fn new(parts: Parts) -> Arc<Self> {
        let (changes, changed) = mpsc::channel(CHANGES_WAITING_MAX);
        let surroundings = Arc::new_cyclic(|this| Self {
            volumes: Volumes::new(parts.settings.root.clone(), parts.client.clone(), changes)
                .with_local(parts.local.clone())
                .on(parts.settings.node.clone())
                .lacking(parts.lacks),
            local: parts.local,
            cgroups: parts.cgroups,
            probes: parts.probes,
            settings: parts.settings,
            services: Services::start(parts.client.as_ref(), parts.api_server_port),
            client: parts.client,
            recorder: parts.recorder,
            pods: parts.pods,
            providers: parts.providers,
            devices: parts.devices,
            metrics: parts.metrics,
            set_up: Mutex::default(),
            this: this.clone(),
        });
        tokio::spawn(follow(changed, Arc::downgrade(&surroundings)));
        surroundings
    }

    fn pod_directories(&self) -> PathBuf {
        self.settings.root.join("pods")
    }

    fn turn(&self, uid: &str) -> Turn {
        self.set_up.lock().entry(uid.to_owned()).or_default().clone()
    }

    async fn set_up(&self, pod: &Pod) -> Result<(), VolumeError> {
        let turn = self.turn(uid(pod));
        let mut volumes = turn.lock().await;
        let outcome = self.volumes.setup(pod).await;
        *volumes = PodVolumes::default();
        volumes.ready = outcome?;
        Ok(())
    }

    /// Sets the volumes of a pod that runs up again, unless it was released meanwhile.
    async fn set_up_again(&self, pod: &Pod) {
        let Some(turn) = self.set_up.lock().get(uid(pod)).cloned() else {
            return;
        };
        let mut volumes = turn.lock().await;
        let current = self
            .set_up
            .lock()
            .get(uid(pod))
            .is_some_and(|now| Arc::ptr_eq(now, &turn));
        if !current {
            return;
        }
        match self.volumes.setup(pod).await {
            Ok(fresh) => {
                volumes.ready = fresh;
                wake(volumes.waiting.take());
            }
            Err(error) => {
                tracing::warn!(
                    pod = name(pod), namespace = namespace(pod), uid = uid(pod), %error, "volumes not brought up to date"
                );
                self.tell(pod, "FailedMount", error.to_string());
            }
        }
    }

    fn tell(&self, pod: &Pod, reason: &str, message: String) {
        self.recorder
            .event(&reference(pod), EventType::Warning, reason, message);
    }

    /// What is left of the pod's directory: hosts file and termination messages.
    fn remove_directory(&self, uid: &str) -> Result<(), String> {
        let directory = self.pod_directories().join(uid);
        let remove = || {
            for part in ["containers", "volumeDevices"] {
                gone(std::fs::remove_dir_all(directory.join(part)))?;
            }
            gone(std::fs::remove_file(directory.join("etc-hosts")))?;
            allocation::forget(&directory)?;
            users::forget(&directory)?;
            // Not recursive: what nobody here has made is nobody's here to remove.
            gone(std::fs::remove_dir(&directory))
        };
        remove().map_err(|error| format!("cannot remove {}: {error}", directory.display()))
    }
}

/// Has a pod's worker look again.
fn wake(waiting: Option<Mailbox>) {
    if let Some(mailbox) = waiting {
        mailbox.post(|mail| mail.runtime_changed = true);
    }
}

fn gone(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Whether a volume shows something that may change.
fn is_shown(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// Sets volumes up again whose objects have changed.
async fn follow(mut changed: mpsc::Receiver<String>, surroundings: Weak<NodeSurroundings>) {
    while let Some(uid) = changed.recv().await {
        let Some(surroundings) = surroundings.upgrade() else {
            return;
        };
        if let Some(record) = surroundings.pods.by_uid(&uid) {
            surroundings.set_up_again(&record.pod).await;
        }
    }
}

#[async_trait]
impl Surroundings for NodeSurroundings {
    async fn prepare(&self, pod: &Pod) -> Result<(), Lacking> {
        if let Err(error) = self.devices.give(pod).await {
            return Err(Lacking {
                reason: "UnexpectedAdmissionError",
                message: format!("Allocate failed due to {error}, which is unexpected"),
                // Nobody makes a static pod anew; the plugin may come yet.
                is_final: !is_static(pod),
            });
        }
        self.cgroups.ensure_pod(pod);
        let mut work = std::pin::pin!(self.set_up(pod));
        loop {
            match tokio::time::timeout(VOLUMES_PATIENCE, &mut work).await {
                Ok(outcome) => {
                    return outcome.map_err(|error| Lacking {
                        reason: "FailedMount",
                        message: error.to_string(),
                        is_final: false,
                    });
                }
                // Going on with what hangs costs nothing; beginning anew would cost another thread that hangs.
                Err(_) => self.tell(pod, "FailedMount", still_unmounted(pod)),
            }
        }
    }

    fn call_back(&self, uid: &str, mailbox: &Mailbox) {
        let (turn, mailbox) = (self.turn(uid), mailbox.clone());
        // Held only while volumes are being set up; then the outcome is not this pod's any more, and it looks again.
        match turn.try_lock() {
            Ok(mut volumes) => volumes.waiting = Some(mailbox),
            Err(_) => wake(Some(mailbox)),
        }
    }

    fn refresh(&self, pod: &Arc<Pod>) {
        let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        if !volumes.any(is_shown) {
            return;
        }
        // A pod that was found running is set up now, as far as this agent knows.
        self.turn(uid(pod));
        let pod = pod.clone();
        let Some(surroundings) = self.this.upgrade() else {
            return;
        };
        tokio::spawn(async move { surroundings.set_up_again(&pod).await });
    }

    fn cgroup_parent(&self, pod: &Pod) -> String {
        self.cgroups.parent_of(pod)
    }

    fn container_resources(&self, pod: &Pod, container: &Container) -> v1::LinuxContainerResources {
        self.cgroups.container_resources(pod, container)
    }

    fn resize_pod(&self, pod: &Pod, step: ResizeStep) {
        match step {
            ResizeStep::Widen => self.cgroups.widen_pod(pod),
            ResizeStep::Fit => self.cgroups.ensure_pod(pod),
        }
    }

    fn memory_used(&self, pod: &Pod, id: &str) -> Option<i64> {
        let cgroup = self.cgroups.of_container(pod, id)?;
        let used = self.cgroups.used(&cgroup).memory?.working_set;
        i64::try_from(used).ok()
    }

    fn devices(&self, pod: &Pod, container: &str) -> Vec<ResourceStatus> {
        self.devices.told_of(uid(pod), container)
    }

    fn pod_resources(&self, pod: &Pod) -> v1::LinuxContainerResources {
        self.cgroups.pod_resources(pod)
    }

    async fn runtime_handler(&self, pod: &Pod) -> Result<String, String> {
        let class = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.runtime_class_name.as_deref());
        let Some(class) = class.filter(|class| !class.is_empty()) else {
            return Ok(String::new());
        };
        let Some(client) = self.client.clone() else {
            return Err(format!(
                "RuntimeClass {class:?}: the agent runs without an API server"
            ));
        };
        let classes: kube::Api<RuntimeClass> = kube::Api::all(client);
        match classes.get_opt(class).await {
            Ok(Some(found)) => Ok(found.handler),
            Ok(None) => Err(format!("RuntimeClass.node.k8s.io {class:?} not found")),
            Err(error) => Err(format!("cannot read RuntimeClass {class:?}: {error}")),
        }
    }

    async fn credentials(&self, pod: &Pod, image: &str) -> Credentials {
        let mut credentials = Credentials::default();
        let names = pod
            .spec
            .iter()
            .flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        let shelf = Shelf::of(pod, self.client.as_ref(), self.local.as_ref());
        let mut missing = Vec::new();
        for name in names
            .map(|secret| secret.name.as_str())
            .filter(|name| !name.is_empty())
        {
            match objects::fetch(shelf, ObjectKind::Secret, namespace(pod), name).await {
                Ok(secret) => {
                    let owner = Owner::secret(
                        secret.uid.clone().unwrap_or_default(),
                        namespace(pod).to_owned(),
                        name.to_owned(),
                    );
                    for key in [".dockerconfigjson", ".dockercfg"] {
                        secret
                            .data
                            .get(key)
                            .into_iter()
                            .for_each(|content| credentials.add(content, Some(owner.clone())));
                    }
                }
                Err(_) => missing.push(name),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.tell(pod, "FailedToRetrieveImagePullSecret", message);
        }
        // The node's own, for everybody.
        if let Ok(content) = tokio::fs::read(self.settings.root.join("config.json")).await {
            credentials.add(&content, None);
        }
        if let Some(providers) = &self.providers {
            let of = (pod, image);
            providers
                .add_to(&mut credentials, of, self.client.as_ref(), &self.metrics)
                .await;
        }
        credentials
    }

    fn dns(&self, pod: &Pod) -> v1::DnsConfig {
        let (config, notices) = dns::config(pod, &self.settings);
        for notice in notices {
            self.tell(pod, notice.reason, notice.message);
        }
        config
    }

    async fn container(
        &self,
        pod: &Pod,
        container: &Container,
        addresses: &Addresses,
    ) -> Result<ContainerSetting, String> {
        let own = self.devices.setting(uid(pod), &container.name).await?;
        let services = self.services.variables(pod, &addresses.host).await?;
        let context = EnvContext {
            root: &self.settings.root,
            pod_ips: &addresses.pod,
            host_ips: &addresses.host,
            services: &services,
            node: &self.settings.node,
            client: self.client.as_ref(),
            local: self.local.as_ref(),
        };
        let env = container_env(pod, container, &context).await;
        let env = env.map_err(|error| error.to_string())?;
        let volumes = self.turn(uid(pod)).lock().await.ready.clone();
        let mounts = self.volumes.mounts(pod, container, &volumes, &env).await;
        let mut mounts = mounts.map_err(|error| error.to_string())?;
        let hosts = hosts::mount(&self.settings, pod, container, &addresses.pod);
        mounts.extend(hosts.map_err(|error| error.to_string())?);
        mounts.extend(own.mounts);
        // What the container says goes before what a plugin does.
        let said = |name: &String| env.iter().any(|(own, _)| own == name);
        let of_plugins = own.env.into_iter().filter(|(name, _)| !said(name));
        Ok(ContainerSetting {
            env: of_plugins.collect::<Vec<_>>().into_iter().chain(env).collect(),
            mounts,
            resources: self.cgroups.container_resources(pod, container),
            devices: own.devices,
            cdi_devices: own.cdi,
            annotations: own.annotations,
        })
    }

    async fn release(&self, uid: &str) -> Result<(), String> {
        self.probes.stop(uid);
        let turn = self.turn(uid);
        let held = turn.lock().await;
        self.volumes
            .teardown(uid)
            .await
            .map_err(|error| error.to_string())?;
        self.set_up.lock().remove(uid);
        drop(held);
        self.cgroups.remove_pod(uid).map_err(|error| error.to_string())?;
        self.devices.take_back(uid).map_err(|error| error.to_string())?;
        // A pod that has finished is still asked what its containers said last.
        match self.pods.by_uid(uid) {
            Some(_) => Ok(()),
            None => self.remove_directory(uid),
        }
    }

    fn start_probes(&self, probed: Probed) {
        self.probes.start(probed);
    }

    fn stop_liveness_and_startup(&self, uid: &str) {
        self.probes.stop_liveness_and_startup(uid);
    }

    fn stop_probes(&self, uid: &str) {
        self.probes.stop(uid);
    }

    fn leftovers(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.pod_directories()) else {
            return Vec::new();
        };
        let names = entries.flatten().map(|entry| entry.file_name().into_string());
        names.filter_map(Result::ok).collect()
    }
}

#[cfg(test)]
mod tests;
