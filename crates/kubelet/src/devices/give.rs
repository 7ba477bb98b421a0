//! Containers get devices, and what makes those usable in them.
use super::messages::{
    AllocateRequest, AllocateResponse, ContainerAllocateRequest, ContainerAllocateResponse,
    ContainerPreferredRequest, Empty, PreStartContainerRequest, PreferredRequest, PreferredResponse,
};
use super::record::{self, Given, OfPod};
use super::share::{self, Choice};
use super::state::{PluginCaller, Resource, held};
use super::{Devices, PATIENCE};
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::uid;
use orlop_cri::v1;
use std::collections::{BTreeMap, BTreeSet};

/// What makes a container's devices usable in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    pub env: Vec<(String, String)>,
    pub mounts: Vec<v1::Mount>,
    pub devices: Vec<v1::Device>,
    pub annotations: BTreeMap<String, String>,
    pub cdi: Vec<v1::CdiDevice>,
}

impl Devices {
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
