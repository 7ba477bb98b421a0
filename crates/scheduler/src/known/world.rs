//! What the scheduler knows besides pods and nodes: labels of namespaces, disruption budgets, Services, volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::policy::v1 as policy;
use orlop_api::selector::LabelSelector;
use orlop_client::informer::{Cached, ObjectKey, Projection, Store};

use super::capacity::{CapacityView, DriverView};
use super::csi::CsiNodeView;
use super::services::{self, ServiceView};
use super::volumes::{ClaimView, ClassView, VolumeView};
use crate::known::traits::Labels;

/// What is remembered of a namespace.
#[derive(Debug)]
pub struct NamespaceView {
    /// metadata.labels.
    pub labels: Arc<Labels>,
}

impl Projection for NamespaceView {
    type Object = core::Namespace;

    fn project(namespace: core::Namespace) -> Self {
        Self {
            labels: Arc::new(namespace.metadata.labels.unwrap_or_default()),
        }
    }
}

/// What is remembered of a PodDisruptionBudget.
#[derive(Debug)]
pub struct BudgetView {
    /// Which pods it protects.
    pub selector: LabelSelector,
    /// How many of them may go now.
    pub allowed: i32,
    /// Pods that are on their way out already, as it knows.
    pub disrupted: BTreeSet<String>,
}

/// Index of budgets by namespace.
const BY_NAMESPACE: usize = 0;

impl Projection for BudgetView {
    type Object = policy::PodDisruptionBudget;
    const INDEXES: usize = 1;

    fn project(budget: policy::PodDisruptionBudget) -> Self {
        let status = budget.status.unwrap_or_default();
        let selector = budget.spec.and_then(|spec| spec.selector);
        Self {
            selector: selector
                .and_then(|selector| LabelSelector::from_meta(&selector).ok())
                .unwrap_or_else(LabelSelector::nothing),
            allowed: status.disruptions_allowed.unwrap_or(0),
            disrupted: status.disrupted_pods.unwrap_or_default().into_keys().collect(),
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        add(BY_NAMESPACE, &key.namespace);
    }
}

/// All of it.
#[derive(Default, Clone)]
pub struct World {
    /// By name.
    pub namespaces: Arc<Store<NamespaceView>>,
    /// All budgets.
    pub budgets: Arc<Store<BudgetView>>,
    /// All Services.
    pub services: Arc<Store<ServiceView>>,
    /// All PersistentVolumeClaims.
    pub claims: Arc<Store<ClaimView>>,
    /// All PersistentVolumes.
    pub volumes: Arc<Store<VolumeView>>,
    /// All StorageClasses.
    pub classes: Arc<Store<ClassView>>,
    /// All CSINodes, by the name of their node.
    pub csi_nodes: Arc<Store<CsiNodeView>>,
    /// All CSIDrivers.
    pub drivers: Arc<Store<DriverView>>,
    /// All CSIStorageCapacities, from when on a driver tells them.
    pub capacities: Arc<Store<CapacityView>>,
    /// Volumes that were chosen for a claim, until the volume itself says so.
    pub promises: Arc<Mutex<BTreeMap<Arc<str>, ObjectKey>>>,
    /// Nodes that were chosen for claims' volumes to be made for, until the claim itself says so.
    pub selections: Arc<Mutex<BTreeMap<ObjectKey, Arc<str>>>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    /// The labels of a namespace, if it is known.
    pub fn namespace_labels(&self, name: &str) -> Option<Arc<Labels>> {
        let namespace = self.namespaces.get(&ObjectKey::new("", name))?;
        Some(namespace.labels.clone())
    }

    /// By which labels Services select a pod with these, all of them together; `None` if none does.
    pub fn selected_by(&self, namespace: &str, labels: &Labels) -> Option<Labels> {
        let services = self.services.by_index(services::BY_NAMESPACE, namespace);
        let theirs = services.iter().filter(|service| service.selects(labels));
        let selected: Labels = theirs.flat_map(|service| service.selector.clone()).collect();
        (!selected.is_empty()).then_some(selected)
    }

    /// The volume is to be the claim's.
    pub fn promise(&self, volume: Arc<str>, claim: ObjectKey) {
        let mut promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        promises.insert(volume, claim);
    }

    /// The volume says itself whose it is, or the promise came to nothing.
    pub fn forget_promise(&self, volume: &str) {
        let mut promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        promises.remove(volume);
    }

    /// Whether no other claim was promised the volume.
    pub fn is_unpromised(&self, volume: &str, claim: &ObjectKey) -> bool {
        let promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        promises.get(volume).is_none_or(|promised| promised == claim)
    }

    /// The volume that the claim was promised, if any.
    pub fn promised_to(&self, claim: &ObjectKey) -> Option<Arc<str>> {
        let promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        let mut promises = promises.iter();
        promises.find_map(|(volume, promised)| (promised == claim).then(|| volume.clone()))
    }

    /// The claim's volume is to be made for the node.
    pub fn select(&self, claim: &ObjectKey, node: &str) {
        let mut selections = self.selections.lock().unwrap_or_else(PoisonError::into_inner);
        selections.insert(claim.clone(), node.into());
    }

    /// The claim says itself what is made for it, or the selection came to nothing.
    pub fn forget_selection(&self, claim: &ObjectKey) {
        let mut selections = self.selections.lock().unwrap_or_else(PoisonError::into_inner);
        selections.remove(claim);
    }

    /// The node that the claim's volume is to be made for, by what the claim says or by what was chosen last.
    pub fn selected(&self, claim: &Cached<ClaimView>) -> Option<Arc<str>> {
        let selections = || self.selections.lock().unwrap_or_else(PoisonError::into_inner);
        let says = claim.selected.clone();
        says.or_else(|| selections().get(&claim.key).cloned())
    }

    /// Of `pods`, most worth sparing first, those whose eviction some budget doesn't allow.
    pub fn protected<'a>(
        &self,
        pods: impl Iterator<Item = (&'a ObjectKey, &'a Labels)>,
    ) -> BTreeSet<ObjectKey> {
        let mut left: BTreeMap<ObjectKey, i32> = BTreeMap::new();
        let mut protected = BTreeSet::new();
        for (pod, labels) in pods {
            for budget in self.budgets.by_index(BY_NAMESPACE, &pod.namespace) {
                // One that is leaving already costs nothing more.
                if !budget.selector.matches(labels) || budget.disrupted.contains(&*pod.name) {
                    continue;
                }
                let left = left.entry(budget.key.clone()).or_insert(budget.allowed);
                *left -= 1;
                if *left < 0 {
                    protected.insert(pod.clone());
                }
            }
        }
        protected
    }
}
