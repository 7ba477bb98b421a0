//! What pods have around them on this node: their cgroup, volumes, environment and probes, behind the trait that workers
//! know. The one task here begins to set volumes up again when what they show has changed.
mod set_up;

use crate::cgroups::Cgroups;
use crate::devices::Devices;
use crate::environment::local::LocalObjects;
use crate::environment::objects::{self, ObjectKind, Shelf};
use crate::environment::{self, EnvContext, Services, container_env, dns, hosts};
use crate::images::{Credentials, Owner, Providers};
use crate::in_time::in_time;
use crate::metrics::Metrics;
use crate::pods::PodsHandle;
use crate::pods::mailbox::Mailbox;
use crate::pods::resize::allocation;
use crate::pods::surroundings::{Addresses, ContainerSetting, Lacking, Probed, ResizeStep, Surroundings};
use crate::pods::users;
use crate::probes::Probes;
use crate::volumes::due::Due;
use crate::volumes::{Volumes, image, is_followed};
use crate::whole::gone;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceStatus};
use k8s_openapi::api::node::v1::RuntimeClass;
use orlop_api::pod::{is_static, namespace, uid, volumes};
use orlop_client::events::{EventType, Recorder, reference};
use orlop_cri::v1;
use set_up::Turns;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long volumes may take before it is told (contract, node agent §1).
const VOLUMES_PATIENCE: Duration = Duration::from_secs(123);

fn still_unmounted(pod: &Pod) -> String {
    let volumes = volumes(pod);
    let names: Vec<&str> = volumes.map(|volume| volume.name.as_str()).collect();
    format!(
        "Unable to attach or mount volumes: unmounted volumes=[{}], unattached volumes=[], failed to process volumes=[]: \
         context deadline exceeded",
        names.join(" ")
    )
}

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
    turns: Turns,
    /// For work in the background.
    this: Weak<Self>,
    follower: tokio::task::AbortHandle,
}

impl Drop for NodeSurroundings {
    fn drop(&mut self) {
        self.follower.abort();
    }
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
        let due = Due::default();
        Arc::new_cyclic(|this| Self {
            volumes: Volumes::new(parts.settings.root.clone(), parts.client.clone(), due.clone())
                .with_local(parts.local.clone())
                .on(parts.settings.node.clone())
                .lacking(parts.lacks)
                .timed(parts.metrics.storage.clone()),
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
            turns: Turns::default(),
            this: this.clone(),
            // Nobody knows of any pod before this is made.
            follower: tokio::spawn(set_up::follow(due, this.clone())).abort_handle(),
        })
    }

    fn pod_directories(&self) -> PathBuf {
        self.settings.root.join("pods")
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
        self.wait_for_volumes(uid, mailbox);
    }

    fn refresh(&self, pod: &Arc<Pod>) {
        let mut volumes = volumes(pod);
        if !volumes.any(|volume| is_followed(pod, volume)) {
            return;
        }
        // A pod that was found running is set up now, as far as this agent knows.
        self.turns.of(uid(pod));
        self.set_up_again(pod);
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
        // Whoever waits here keeps its pod from ending.
        match in_time(classes.get_opt(class)).await {
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
        let volumes = self
            .ready(pod, container)
            .await
            .map_err(|error| error.to_string())?;
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

    fn holds_volumes(&self, uid: &str) -> bool {
        self.volumes.hold(uid)
    }

    async fn release(&self, uid: &str) -> Result<(), String> {
        self.probes.stop(uid);
        let turn = self.turns.of(uid);
        let held = turn.lock().await;
        self.volumes
            .teardown(uid)
            .await
            .map_err(|error| error.to_string())?;
        self.turns.remove(uid);
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
