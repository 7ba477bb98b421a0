//! Devices that plugins on the node bring (`v1beta1` of the device plugin API): a plugin registers on
//! `<root>/device-plugins/kubelet.sock` (or announces itself: see `plugins`), its devices are counted in the Node's status, pods get them when they start.
//!
//! | part | job |
//! |---|---|
//! | `registration` | plugins come |
//! | `plugin` | one task a plugin: follows its list of devices |
//! | `state` | what is known (pure) |
//! | `give` | containers get devices |
//! | `share` | which devices a container gets (pure) |
//! | `record` | what was given, in files |
//!
//! What a pod was given stays its until it is gone from the node, whatever becomes of plugin and agent.
mod give;
mod messages;
mod plugin;
mod record;
mod registration;
mod share;
mod state;

pub use messages::{NumaNode, Topology};
pub use record::forget;
pub use registration::unfit;

use k8s_openapi::api::core::v1::{ResourceHealth, ResourceStatus};
use messages::Device;
use parking_lot::Mutex;
use state::{PluginCaller, Resource, State, counts};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

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

    /// Resources with their devices, as they come and go.
    pub fn counts(&self) -> watch::Receiver<BTreeMap<String, Count>> {
        self.counts.subscribe()
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

#[cfg(test)]
pub mod testing {
    pub use super::messages::ListAndWatchResponse;
}

#[cfg(test)]
mod tests;
