//! What is known of devices, and who has which. Pure.
use super::messages::{Device, Options};
use super::plugin::is_healthy;
use super::record::OfPod;
use super::{Count, Held};
use crate::grpc_client::Caller;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio_util::sync::CancellationToken;

/// How a plugin is asked.
#[derive(Clone)]
pub struct PluginCaller {
    pub caller: Caller,
    pub options: Options,
}

/// What is known of a resource.
#[derive(Default)]
pub struct Resource {
    pub devices: BTreeMap<String, Device>,
    /// The plugin, while it is there.
    pub plugin: Option<PluginCaller>,
    /// A plugin has told this agent of its devices: what isn't among them is out of order, not unknown.
    pub was_listed: bool,
    /// Ends the task of the plugin that registered last.
    pub task: CancellationToken,
}

impl Resource {
    /// Of what nothing is known it is not said that it is out of order.
    pub fn is_in_order(&self, id: &str) -> bool {
        match self.devices.get(id) {
            Some(device) => self.plugin.is_some() && is_healthy(device),
            None => !self.was_listed,
        }
    }

    /// Those that may be given.
    pub fn healthy(&self) -> BTreeSet<String> {
        let healthy = self.devices.values().filter(|device| is_healthy(device));
        match self.plugin {
            Some(_) => healthy.map(|device| device.id.clone()).collect(),
            None => BTreeSet::new(),
        }
    }
}

/// All of it.
#[derive(Default)]
pub struct State {
    /// By name.
    pub resources: BTreeMap<String, Resource>,
    /// By pod.
    pub given: HashMap<String, OfPod>,
}

impl State {
    /// Whether a device works, as far as is known.
    pub fn is_in_order(&self, resource: &str, id: &str) -> bool {
        self.resources
            .get(resource)
            .is_none_or(|known| known.is_in_order(id))
    }

    /// Of each pod in turn that has devices of a resource, which of them are in order.
    pub fn how_they_are(&self, resource: &str) -> Vec<(String, Vec<bool>)> {
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

    /// A device, as it is told of.
    pub fn held(&self, resource: &str, id: &str) -> Held {
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

/// What a pod has of a resource.
pub fn held<'a>(of_pod: &'a OfPod, resource: &'a str) -> impl Iterator<Item = &'a String> {
    let of_resource = of_pod.values().filter_map(move |of| of.get(resource));
    of_resource.flat_map(|given| &given.devices)
}

/// All resources, counted.
pub fn counts(state: &State) -> BTreeMap<String, Count> {
    let count = |known: &Resource| Count {
        // What its plugin had is there still when that is gone for a moment, though nobody may have it.
        all: known.devices.len(),
        healthy: known.healthy().len(),
    };
    let all = state.resources.iter();
    all.map(|(name, known)| (name.clone(), count(known))).collect()
}
