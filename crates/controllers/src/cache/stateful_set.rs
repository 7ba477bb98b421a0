//! A StatefulSet. Pods, claims and revisions are made from it, so all but the field managers is kept.

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::apps::v1::{StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_api::selector::LabelSelector;
use orlop_client::informer::Projection;

use super::metadata;
use crate::revisions::bytes;

/// What is remembered of a StatefulSet.
#[derive(Debug, Clone)]
pub struct StatefulSetView {
    /// The metadata without managedFields.
    pub metadata: ObjectMeta,
    /// The spec.
    pub spec: StatefulSetSpec,
    /// The status.
    pub status: StatefulSetStatus,
    /// Its selector; one that doesn't parse selects nothing.
    pub selector: LabelSelector,
    /// The patch that restores the template, as revisions store it; `None` if it can't be serialised.
    pub revision_bytes: Option<Box<str>>,
}

impl StatefulSetView {
    /// metadata.name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// metadata.generation.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or(0)
    }

    /// metadata.deletionTimestamp is set.
    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// spec.minReadySeconds.
    pub fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    /// spec.revisionHistoryLimit.
    pub fn history_limit(&self) -> usize {
        usize::try_from(self.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0)
    }

    /// The ordinals that should have a pod.
    pub fn ordinals(&self) -> std::ops::Range<u32> {
        let number = |number: Option<i32>, default| u32::try_from(number.unwrap_or(default)).unwrap_or(0);
        let start = number(self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start), 0);
        start..start.saturating_add(number(self.spec.replicas, 1))
    }

    /// An owner reference to it.
    pub fn owner_reference(&self) -> OwnerReference {
        metadata::owner_reference::<apps::StatefulSet>(&self.metadata)
    }

    /// It, as events name it.
    pub fn reference(&self) -> ObjectReference {
        metadata::reference::<apps::StatefulSet>(&self.metadata)
    }
}

impl Projection for StatefulSetView {
    type Object = apps::StatefulSet;

    fn project(set: apps::StatefulSet) -> Self {
        let spec = set.spec.unwrap_or_default();
        Self {
            selector: LabelSelector::from_meta(&spec.selector).unwrap_or_else(|_| LabelSelector::nothing()),
            revision_bytes: bytes::of_template(&spec.template)
                .ok()
                .map(String::into_boxed_str),
            metadata: metadata::kept(set.metadata),
            status: set.status.unwrap_or_default(),
            spec,
        }
    }
}
