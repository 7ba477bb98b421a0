//! A Deployment. ReplicaSets are made from it, so all but the field managers is kept.

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::apps::v1::{DeploymentSpec, DeploymentStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_api::selector::LabelSelector;
use orlop_client::informer::Projection;

use super::metadata;
use crate::deployment::template_print;

/// What is remembered of a Deployment.
#[derive(Debug, Clone)]
pub struct DeploymentView {
    /// The metadata without managedFields.
    pub metadata: ObjectMeta,
    /// The spec.
    pub spec: DeploymentSpec,
    /// The status.
    pub status: DeploymentStatus,
    /// Its selector; one that doesn't parse selects nothing.
    pub selector: LabelSelector,
    /// Tells whether a ReplicaSet's template is this one's.
    pub template_print: u128,
}

impl DeploymentView {
    /// metadata.generation.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or(0)
    }

    /// metadata.deletionTimestamp is set.
    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// spec.replicas.
    pub fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// spec.paused.
    pub fn is_paused(&self) -> bool {
        self.spec.paused == Some(true)
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// An owner reference to it.
    pub fn owner_reference(&self) -> OwnerReference {
        metadata::owner_reference::<apps::Deployment>(&self.metadata)
    }

    /// It, as events name it.
    pub fn reference(&self) -> ObjectReference {
        metadata::reference::<apps::Deployment>(&self.metadata)
    }
}

impl Projection for DeploymentView {
    type Object = apps::Deployment;

    fn project(deployment: apps::Deployment) -> Self {
        let spec = deployment.spec.unwrap_or_default();
        Self {
            selector: LabelSelector::from_meta(&spec.selector).unwrap_or_else(|_| LabelSelector::nothing()),
            template_print: template_print(&spec.template),
            metadata: metadata::kept(deployment.metadata),
            status: deployment.status.unwrap_or_default(),
            spec,
        }
    }
}
