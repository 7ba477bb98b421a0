//! Devices that plugins on the node bring (`v1beta1` of the device plugin API): a plugin registers on
//! `<root>/device-plugins/kubelet.sock` (or announces itself: see `plugins`), its devices are counted in the Node's status, pods get them when they start.
//!
//! | part | job |
//! |---|---|
//! | `plugin` | one task a plugin: follows its list of devices |
//! | `share` | which devices a container gets (pure) |
//! | `record` | what was given, in files |
//!
//! What a pod was given stays its until it is gone from the node, whatever becomes of plugin and agent.
mod messages;
mod plugin;
mod record;
mod share;

pub use messages::{NumaNode, Topology};
pub use record::forget;

use crate::grpc::{self, Messages, Refusal, decode, one};
use crate::grpc_client::Caller;
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Pod, ResourceHealth, ResourceStatus};
use messages::{
    AllocateRequest, AllocateResponse, ContainerAllocateRequest, ContainerAllocateResponse,
    ContainerPreferredRequest, Device, Empty, Options, PreStartContainerRequest, PreferredRequest,
    PreferredResponse, RegisterRequest,
};
use orlop_api::names::is_qualified_name;
use orlop_api::pod::uid;
use orlop_api::quota::is_extended;
use orlop_cri::v1;
use parking_lot::Mutex;
use plugin::{Registered, is_healthy};
use record::{Given, OfPod};
use share::Choice;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The version that plugins must speak.
const VERSION: &str = "v1beta1";
/// What plugins serve.
const SERVICE: &str = "v1beta1.DevicePlugin";
/// How devices are, in statuses.
const HEALTHY: &str = "Healthy";
const UNHEALTHY: &str = "Unhealthy";
/// How long a plugin may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A resource's devices, for the Node's status: all, and those that may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub all: usize,
    pub healthy: usize,
}

/// A device that a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub resource: String,
    pub id: String,
    /// The memory nodes that it is close to, if its plugin says.
    pub nodes: Option<Vec<i64>>,
}

/// What makes a container's devices usable in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    pub env: Vec<(String, String)>,
    pub mounts: Vec<v1::Mount>,
    pub devices: Vec<v1::Device>,
    pub annotations: BTreeMap<String, String>,
    pub cdi: Vec<v1::CdiDevice>,
}

/// How a plugin is asked.
#[derive(Clone)]
struct PluginCaller {
    caller: Caller,
    options: Options,
}

/// What is known of a resource.
#[derive(Default)]
struct Resource {
    devices: BTreeMap<String, Device>,
    /// The plugin, while it is there.
    plugin: Option<PluginCaller>,
    /// A plugin has told this agent of its devices: what isn't among them is out of order, not unknown.
    was_listed: bool,
    /// Ends the task of the plugin that registered last.
    task: CancellationToken,
}

impl Resource {
    /// Of what nothing is known it is not said that it is out of order.
    fn is_in_order(&self, id: &str) -> bool {
        match self.devices.get(id) {
            Some(device) => self.plugin.is_some() && is_healthy(device),
            None => !self.was_listed,
        }
    }

    fn healthy(&self) -> BTreeSet<String> {
        let healthy = self.devices.values().filter(|device| is_healthy(device));
        match self.plugin {
            Some(_) => healthy.map(|device| device.id.clone()).collect(),
            None => BTreeSet::new(),
        }
    }
}

#[derive(Default)]
struct State {
    resources: BTreeMap<String, Resource>,
    /// By pod.
    given: HashMap<String, OfPod>,
}

/// The node's devices.
pub struct Devices {
    sockets: PathBuf,
    pods: PathBuf,
    state: Mutex<State>,
    counts: watch::Sender<BTreeMap<String, Count>>,
    /// Pods one of whose devices is out of order, or in order again; told in the order of changes.
    affected: mpsc::UnboundedSender<String>,
    listener: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    /// One pod is given devices at a time.
    turn: tokio::sync::Mutex<()>,
    shutdown: CancellationToken,
}

impl Devices {
    /// Those of the agent below `root`, with what earlier agents gave.
    pub fn open(root: &Path, shutdown: CancellationToken) -> Arc<Self> {
        let (sockets, pods) = (root.join("device-plugins"), root.join("pods"));
        let known = record::load_resources(&sockets);
        let state = State {
            resources: known
                .into_iter()
                .map(|name| (name, Resource::default()))
                .collect(),
            given: record::load(&pods),
        };
        let (affected, listener) = mpsc::unbounded_channel();
        let devices = Self {
            affected,
            listener: Mutex::new(Some(listener)),
            sockets,
            pods,
            counts: watch::Sender::new(counts(&state)),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            shutdown,
        };
        Arc::new(devices)
    }

    /// The socket that plugins register on.
    pub fn socket(&self) -> PathBuf {
        self.sockets.join("kubelet.sock")
    }

    /// Removes sockets that plugins of an earlier agent have: they notice, and register again.
    pub fn clear(&self) {
        for entry in std::fs::read_dir(&self.sockets).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
                // One that its plugin has removed by itself is no trouble.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// The service that plugins register with.
    pub fn service(self: &Arc<Self>) -> grpc::Service {
        Arc::new(Registration(self.clone()))
    }

    /// Resources with their devices, as they come and go.
    pub fn counts(&self) -> watch::Receiver<BTreeMap<String, Count>> {
        self.counts.subscribe()
    }

    /// Takes a plugin in that says what it can do.
    async fn register(self: Arc<Self>, request: RegisterRequest) -> Result<Messages, Refusal> {
        let refuse = |message: String| Refusal {
            code: grpc::INVALID_ARGUMENT,
            message,
        };
        if request.version != VERSION {
            return Err(refuse(format!(
                "requested API version {:?} is not supported by kubelet. Supported version is {VERSION:?}",
                request.version
            )));
        }
        let resource = request.resource_name;
        if !is_resource(&resource) {
            return Err(refuse(format!("the ResourceName {resource:?} is invalid")));
        }
        if request.endpoint.is_empty() || request.endpoint.contains('/') {
            return Err(refuse(format!(
                "the endpoint {:?} is no file name",
                request.endpoint
            )));
        }
        let socket = self.sockets.join(&request.endpoint);
        self.take_in(resource, &socket).await.map_err(|message| Refusal {
            code: grpc::UNKNOWN,
            message,
        })?;
        Ok(one(Empty {}))
    }

    /// Asks a plugin what it can do, and follows it from then on. It may do better the next time it is asked.
    pub async fn take_in(self: Arc<Self>, resource: String, socket: &Path) -> Result<(), String> {
        let caller = Caller::connect(socket, SERVICE).await;
        let caller = caller.map_err(|error| format!("failed to dial device plugin: {error}"))?;
        let options = caller.ask::<Options>("GetDevicePluginOptions", &Empty {}, PATIENCE);
        let options = options.await;
        let options = options.map_err(|error| format!("failed to get device plugin options: {error}"))?;
        tracing::info!(resource, socket = %socket.display(), "device plugin registered");
        let task = self.shutdown.child_token();
        {
            let mut state = self.state.lock();
            let known = state.resources.entry(resource.clone()).or_default();
            std::mem::replace(&mut known.task, task.clone()).cancel();
            // Its devices go to nobody until it has taken the other's place, which may never happen.
            self.change_in(&mut state, &resource, &task, |known| known.plugin = None);
            if let Err(error) = record::save_resources(&self.sockets, state.resources.keys()) {
                tracing::warn!(%error, "cannot note which device plugins there are");
            }
        }
        let plugin = Registered {
            resource,
            plugin: PluginCaller { caller, options },
        };
        tokio::spawn(plugin::follow(self.clone(), plugin, task));
        Ok(())
    }

    /// UIDs of pods whose devices are told of anew, for one listener.
    pub fn affected(&self) -> mpsc::UnboundedReceiver<String> {
        let listener = self.listener.lock().take();
        // A second one hears nothing.
        listener.unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    /// A container's devices, and how they are.
    pub fn told_of(&self, uid: &str, container: &str) -> Vec<ResourceStatus> {
        let state = self.state.lock();
        let given = state.given.get(uid).and_then(|of_pod| of_pod.get(container));
        let given = given.into_iter().flatten();
        given
            .map(|(resource, given)| {
                let health = |id: &String| {
                    let health = match state.is_in_order(resource, id) {
                        true => HEALTHY,
                        false => UNHEALTHY,
                    };
                    ResourceHealth {
                        resource_id: id.clone(),
                        health: Some(health.to_owned()),
                        ..ResourceHealth::default()
                    }
                };
                ResourceStatus {
                    name: resource.clone(),
                    resources: Some(given.devices.iter().map(health).collect()),
                }
            })
            .collect()
    }

    /// Changes what is known of a resource, unless another plugin has taken the place of the one that says so.
    fn change(&self, resource: &str, said_by: &CancellationToken, change: impl FnOnce(&mut Resource)) {
        self.change_in(&mut self.state.lock(), resource, said_by, change);
    }

    fn change_in(
        &self,
        state: &mut State,
        resource: &str,
        said_by: &CancellationToken,
        change: impl FnOnce(&mut Resource),
    ) {
        let before = state.how_they_are(resource);
        if let Some(known) = state.resources.get_mut(resource)
            && !said_by.is_cancelled()
        {
            change(known);
        }
        self.tell_counts(state);
        let now = state.how_they_are(resource);
        let changed = before.into_iter().zip(now).filter(|(before, now)| before != now);
        for ((uid, _), _) in changed {
            // Nobody listens any more when the agent goes.
            let _ = self.affected.send(uid);
        }
    }

    fn tell_counts(&self, state: &State) {
        let now = counts(state);
        self.counts.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    fn plugin_here(&self, resource: &str, plugin: PluginCaller, said_by: &CancellationToken) {
        self.change(resource, said_by, |known| known.plugin = Some(plugin));
    }

    fn listed(&self, resource: &str, devices: Vec<Device>, said_by: &CancellationToken) {
        let devices = devices.into_iter().map(|device| (device.id.clone(), device));
        self.change(resource, said_by, |known| {
            known.devices = devices.collect();
            known.was_listed = true;
        });
    }

    /// A plugin that went has not come back in time: nobody gets its devices any more.
    fn given_up(&self, resource: &str, said_by: &CancellationToken) {
        self.change(resource, said_by, |known| known.devices.clear());
    }

    fn plugin_gone(&self, resource: &str, said_by: &CancellationToken) {
        self.change(resource, said_by, |known| known.plugin = None);
    }

    /// Gives a pod's containers the devices that they ask for; harmless when they have them.
    pub async fn give(&self, pod: &Pod) -> Result<(), String> {
        let asked = |resource: &String| {
            share::in_order(pod).any(|(container, _)| share::wanted(container, resource) > 0)
        };
        let resources: Vec<String> = {
            let state = self.state.lock();
            state
                .resources
                .keys()
                .filter(|name| asked(name))
                .cloned()
                .collect()
        };
        if resources.is_empty() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let mut given = self.state.lock().given.get(uid(pod)).cloned().unwrap_or_default();
        let mut has_more = false;
        for resource in &resources {
            // Of init containers that end before the next begins.
            let mut again = BTreeSet::new();
            for (container, ends) in share::in_order(pod) {
                let size = share::wanted(container, resource);
                if size == 0 {
                    continue;
                }
                let known = given.get(&container.name).and_then(|of| of.get(resource));
                let devices = match known {
                    Some(known) => known.devices.clone(),
                    None => {
                        let new = self.give_some(resource, size, &given, &again).await?;
                        let devices = new.devices.clone();
                        has_more = true;
                        given
                            .entry(container.name.clone())
                            .or_default()
                            .insert(resource.clone(), new);
                        devices
                    }
                };
                if ends {
                    again.extend(devices);
                } else {
                    again.retain(|id| !devices.contains(id));
                }
            }
        }
        if !has_more {
            return Ok(());
        }
        record::save(&self.pods, uid(pod), &given)
            .map_err(|error| format!("cannot note the devices of the pod: {error}"))?;
        self.state.lock().given.insert(uid(pod).to_owned(), given);
        Ok(())
    }

    /// Devices of one resource for one container; `own` is what its pod has so far.
    async fn give_some(
        &self,
        resource: &str,
        size: usize,
        own: &OfPod,
        again: &BTreeSet<String>,
    ) -> Result<Given, String> {
        let (choice, plugin) = {
            let state = self.state.lock();
            let known = state.resources.get(resource);
            let healthy = known.map(Resource::healthy).unwrap_or_default();
            let others = state.given.values().chain([own]);
            let taken = others
                .flat_map(|of_pod| held(of_pod, resource))
                .cloned()
                .collect();
            let choice = share::choice(size, &healthy, &taken, again).map_err(|available| {
                format!(
                    "requested number of devices unavailable for {resource}. Requested: {size}, Available: {available}"
                )
            })?;
            (choice, known.and_then(|known| known.plugin.clone()))
        };
        let Some(plugin) = plugin else {
            return Err(format!(
                "no healthy devices present; cannot allocate unhealthy devices {resource}"
            ));
        };
        let chosen = match plugin.options.get_preferred_allocation_available {
            true => choice.preferred(preferred(&plugin, &choice).await?),
            false => choice.usual(),
        };
        let request = AllocateRequest {
            containers: vec![ContainerAllocateRequest {
                device_ids: chosen.clone(),
            }],
        };
        let answer = plugin
            .caller
            .ask::<AllocateResponse>("Allocate", &request, PATIENCE);
        let response = answer.await?.containers.into_iter().next();
        Ok(Given {
            devices: chosen.into_iter().collect(),
            response: response
                .ok_or_else(|| format!("the plugin of {resource} gave no answer for the container"))?,
        })
    }

    /// What a container is made with for its devices, after its plugins have made them ready.
    pub async fn setting(&self, uid: &str, container: &str) -> Result<Setting, String> {
        let (given, plugins) = {
            let state = self.state.lock();
            let given = state.given.get(uid).and_then(|of_pod| of_pod.get(container));
            let given = given.cloned().unwrap_or_default();
            let plugins: Vec<_> = given
                .iter()
                .filter_map(|(resource, given)| {
                    let plugin = state.resources.get(resource)?.plugin.clone()?;
                    Some((given.devices.clone(), plugin))
                })
                .collect();
            (given, plugins)
        };
        for (devices, plugin) in plugins {
            if plugin.options.pre_start_required {
                let request = PreStartContainerRequest {
                    device_ids: devices.into_iter().collect(),
                };
                let ready = plugin
                    .caller
                    .ask::<Empty>("PreStartContainer", &request, PATIENCE);
                ready
                    .await
                    .map_err(|error| format!("device plugin PreStartContainer failed: {error}"))?;
            }
        }
        let mut setting = Setting::default();
        for given in given.into_values() {
            setting.add(given.response);
        }
        Ok(setting)
    }

    /// What a container has.
    pub fn held_by(&self, uid: &str, container: &str) -> Vec<Held> {
        let state = self.state.lock();
        let given = state.given.get(uid).and_then(|of_pod| of_pod.get(container));
        let given = given.into_iter().flatten();
        given
            .flat_map(|(resource, given)| given.devices.iter().map(move |id| (resource, id)))
            .map(|(resource, id)| state.held(resource, id))
            .collect()
    }

    /// All that may be given.
    pub fn allocatable(&self) -> Vec<Held> {
        let state = self.state.lock();
        let all = state.resources.iter();
        all.flat_map(|(resource, known)| known.healthy().into_iter().map(move |id| (resource, id)))
            .map(|(resource, id)| state.held(resource, &id))
            .collect()
    }

    /// A pod is gone from the node.
    pub fn take_back(&self, uid: &str) -> std::io::Result<()> {
        forget(&self.pods.join(uid))?;
        self.state.lock().given.remove(uid);
        Ok(())
    }
}

/// Why a plugin that announces itself is of no use, whenever it is asked. `versions` are those that it speaks.
pub fn unfit(resource: &str, versions: &[String]) -> Option<String> {
    if !versions.iter().any(|version| version == VERSION) {
        return Some(format!(
            "manager version, {VERSION}, is not among plugin supported versions {versions:?}"
        ));
    }
    (!is_resource(resource)).then(|| format!("the ResourceName {resource:?} is invalid"))
}

/// Whether plugins may bring devices under this name.
fn is_resource(name: &str) -> bool {
    is_qualified_name(name) && is_extended(name)
}

/// What plugins call.
struct Registration(Arc<Devices>);

impl grpc::Calls for Registration {
    fn call(&self, path: &str, message: &[u8]) -> grpc::Answer {
        let (devices, request) = (self.0.clone(), decode(message));
        if path != "/v1beta1.Registration/Register" {
            return std::future::ready(Err(Refusal::unknown(path))).boxed();
        }
        async move { devices.register(request?).await }.boxed()
    }
}

impl State {
    fn is_in_order(&self, resource: &str, id: &str) -> bool {
        self.resources
            .get(resource)
            .is_none_or(|known| known.is_in_order(id))
    }

    /// Of each pod in turn that has devices of a resource, which of them are in order.
    fn how_they_are(&self, resource: &str) -> Vec<(String, Vec<bool>)> {
        let given = self.given.iter();
        given
            .map(|(uid, of_pod)| {
                let ids = held(of_pod, resource);
                (
                    uid.clone(),
                    ids.map(|id| self.is_in_order(resource, id)).collect(),
                )
            })
            .collect()
    }

    fn held(&self, resource: &str, id: &str) -> Held {
        let device = self
            .resources
            .get(resource)
            .and_then(|known| known.devices.get(id));
        let topology = device.and_then(|device| device.topology.as_ref());
        Held {
            resource: resource.to_owned(),
            id: id.to_owned(),
            nodes: topology.map(|topology| topology.nodes.iter().map(|node| node.id).collect()),
        }
    }
}

impl Setting {
    fn add(&mut self, response: ContainerAllocateResponse) {
        let mut env: Vec<(String, String)> = response.envs.into_iter().collect();
        env.sort();
        self.env.extend(env);
        self.mounts
            .extend(response.mounts.into_iter().map(|mount| v1::Mount {
                container_path: mount.container_path,
                host_path: mount.host_path,
                readonly: mount.read_only,
                ..v1::Mount::default()
            }));
        self.devices
            .extend(response.devices.into_iter().map(|device| v1::Device {
                container_path: device.container_path,
                host_path: device.host_path,
                permissions: device.permissions,
            }));
        self.annotations.extend(response.annotations);
        let cdi = response.cdi_devices.into_iter();
        self.cdi
            .extend(cdi.map(|device| v1::CdiDevice { name: device.name }));
    }
}

async fn preferred(plugin: &PluginCaller, choice: &Choice) -> Result<Vec<String>, String> {
    let request = PreferredRequest {
        containers: vec![ContainerPreferredRequest {
            available: choice.again.iter().chain(&choice.free).cloned().collect(),
            must_include: choice.must_include(),
            size: i32::try_from(choice.size).unwrap_or(i32::MAX),
        }],
    };
    let answer = plugin
        .caller
        .ask::<PreferredResponse>("GetPreferredAllocation", &request, PATIENCE);
    let answer = answer.await?.containers.into_iter().next();
    Ok(answer
        .map(|of_container| of_container.device_ids)
        .unwrap_or_default())
}

fn held<'a>(of_pod: &'a OfPod, resource: &'a str) -> impl Iterator<Item = &'a String> {
    let of_resource = of_pod.values().filter_map(move |of| of.get(resource));
    of_resource.flat_map(|given| &given.devices)
}

fn counts(state: &State) -> BTreeMap<String, Count> {
    let count = |known: &Resource| Count {
        // What its plugin had is there still when that is gone for a moment, though nobody may have it.
        all: known.devices.len(),
        healthy: known.healthy().len(),
    };
    let all = state.resources.iter();
    all.map(|(name, known)| (name.clone(), count(known))).collect()
}

#[cfg(test)]
pub mod testing {
    pub use super::messages::ListAndWatchResponse;
}

#[cfg(test)]
mod tests;
