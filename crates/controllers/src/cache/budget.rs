//! A PodDisruptionBudget.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::policy::v1 as policy;
use k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orlop_api::selector::LabelSelector;
use orlop_client::informer::{ObjectKey, Projection};

use super::small::BY_NAMESPACE;

/// What is remembered of a PodDisruptionBudget.
#[derive(Debug, Clone)]
pub struct BudgetView {
    /// metadata.generation.
    pub generation: i64,
    /// metadata.deletionTimestamp is set.
    pub terminating: bool,
    /// Which pods it protects. None at all selects none, an empty one all.
    pub selector: LabelSelector,
    /// spec.minAvailable.
    pub min_available: Option<IntOrString>,
    /// spec.maxUnavailable.
    pub max_unavailable: Option<IntOrString>,
    /// The status.
    pub status: PodDisruptionBudgetStatus,
    /// It, as events name it.
    pub reference: ObjectReference,
}

impl Projection for BudgetView {
    type Object = policy::PodDisruptionBudget;
    const INDEXES: usize = 1;

    fn project(budget: policy::PodDisruptionBudget) -> Self {
        let reference = orlop_client::events::reference(&budget);
        let spec = budget.spec.unwrap_or_default();
        Self {
            generation: budget.metadata.generation.unwrap_or(0),
            terminating: budget.metadata.deletion_timestamp.is_some(),
            selector: spec
                .selector
                .as_ref()
                .and_then(|selector| LabelSelector::from_meta(selector).ok())
                .unwrap_or_else(LabelSelector::nothing),
            min_available: spec.min_available,
            max_unavailable: spec.max_unavailable,
            status: budget.status.unwrap_or_default(),
            reference,
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        add(BY_NAMESPACE, &key.namespace);
    }
}
