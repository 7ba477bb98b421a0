//! What a pod was given of the node's processors and memory: what its object asked for when it was let in, or when it
//! was last resized. It is kept beside the pod's other files, so that a restarted agent does not take a wish for it.
use crate::whole;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use orlop_api::pod::init_containers;
use orlop_api::pod::resources::amounts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// In the pod's directory.
pub const FILE: &str = "allocation.json";

/// What a pod was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// The pod as a whole (`spec.resources`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<ResourceRequirements>,
    /// Its containers, init containers among them, by name; those that asked for nothing are left out.
    #[serde(default)]
    containers: BTreeMap<String, ResourceRequirements>,
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| init_containers(spec).iter().chain(&spec.containers))
}

impl Allocation {
    /// What the pod's object says.
    pub fn of(pod: &Pod) -> Self {
        let named = |container: &Container| Some((container.name.clone(), container.resources.clone()?));
        Self {
            pod: pod.spec.as_ref().and_then(|spec| spec.resources.clone()),
            containers: containers(pod)
                .filter_map(named)
                .filter(|(_, resources)| resources.limits.is_some() || resources.requests.is_some())
                .collect(),
        }
    }

    /// A pod that asked for nothing can't be resized either: its class would change.
    pub fn is_empty(&self) -> bool {
        self.pod.is_none() && self.containers.is_empty()
    }

    /// Whether both are the same amounts, however they are written.
    pub fn is_same(&self, other: &Self) -> bool {
        let named = |all: &Self| -> BTreeMap<String, [Numbers; 2]> {
            let all = all.containers.iter();
            all.map(|(name, resources)| (name.clone(), numbers(Some(resources))))
                .collect()
        };
        numbers(self.pod.as_ref()) == numbers(other.pod.as_ref()) && named(self) == named(other)
    }

    /// The pod with what it was given in the place of what it asks for.
    pub fn applied(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if self.is_same(&Self::of(pod)) {
            return pod.clone();
        }
        let mut given = Pod::clone(pod);
        if let Some(spec) = given.spec.as_mut() {
            spec.resources.clone_from(&self.pod);
            let init = spec.init_containers.iter_mut().flatten();
            for container in init.chain(&mut spec.containers) {
                let given = self.containers.get(&container.name);
                let asked = container.resources.get_or_insert_default();
                asked.limits = given.and_then(|given| given.limits.clone());
                asked.requests = given.and_then(|given| given.requests.clone());
            }
        }
        Arc::new(given)
    }

    /// Reads what a pod was given by an earlier agent; `None` if nothing readable was left.
    pub fn load(directory: &Path) -> Option<Self> {
        let text = std::fs::read(directory.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes it into the pod's directory, as a whole or not at all.
    pub fn save(&self, directory: &Path) -> std::io::Result<()> {
        whole::put(&directory.join(FILE), serde_json::to_vec(self)?)
    }
}

/// Removes it; harmless when there is none.
pub fn forget(directory: &Path) -> std::io::Result<()> {
    whole::remove(&directory.join(FILE))
}

type Numbers = BTreeMap<String, i128>;

fn numbers(resources: Option<&ResourceRequirements>) -> [Numbers; 2] {
    let of = |pick: fn(&ResourceRequirements) -> Option<&BTreeMap<String, Quantity>>| {
        let amounts = amounts(resources.and_then(pick)).into_iter();
        let numbers = amounts.map(|(resource, amount)| (resource, amount.nanos()));
        numbers.filter(|(_, nanos)| *nanos != 0).collect()
    };
    [of(|all| all.limits.as_ref()), of(|all| all.requests.as_ref())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str) -> Arc<Pod> {
        let object = json!({"metadata": {"uid": "u", "generation": 2}, "spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}, {"name": "d"}]}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn cpu(pod: &Pod) -> &str {
        let resources = pod.spec.as_ref().unwrap().containers[0]
            .resources
            .as_ref()
            .unwrap();
        &resources.requests.as_ref().unwrap()["cpu"].0
    }

    #[test]
    fn pod_runs_with_what_it_was_given_whatever_it_asks_for() {
        let given = Allocation::of(&pod("250m"));
        let asks = pod("500m");
        let view = given.applied(&asks);
        assert_eq!(cpu(&view), "250m");
        assert_eq!(view.metadata, asks.metadata, "it is the newest version otherwise");
        assert!(
            view.spec.as_ref().unwrap().containers[1]
                .resources
                .as_ref()
                .unwrap()
                .requests
                .is_none()
        );
    }

    #[test]
    fn the_same_amount_written_otherwise_is_no_resize() {
        let given = Allocation::of(&pod("1000m"));
        assert!(given.is_same(&Allocation::of(&pod("1"))));
        assert!(!given.is_same(&Allocation::of(&pod("1001m"))));
        let asks = pod("1");
        assert!(Arc::ptr_eq(&given.applied(&asks), &asks));
    }

    #[test]
    fn what_was_given_outlives_the_agent_and_goes_with_the_pod() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("pods/u");
        assert_eq!(Allocation::load(&directory), None);
        let given = Allocation::of(&pod("250m"));
        given.save(&directory).unwrap();
        assert_eq!(Allocation::load(&directory), Some(given));
        std::fs::write(directory.join(FILE), "{").unwrap();
        assert_eq!(Allocation::load(&directory), None, "half a file counts as none");
        forget(&directory).unwrap();
        forget(&directory).unwrap();
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn pod_that_asked_for_nothing_has_nothing_to_keep() {
        let object = json!({"spec": {"containers": [{"name": "c", "resources": {}}]}});
        assert!(Allocation::of(&serde_json::from_value(object).unwrap()).is_empty());
    }
}
