//! A Deployment. ReplicaSets are made from it, so all but the field managers is kept.

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::apps::v1::{DeploymentSpec, DeploymentStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_api::selector::LabelSelector;
use orlop_client::informer::Projection;

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
        OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: self.metadata.name.clone().unwrap_or_default(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// It, as events name it.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("Deployment".to_owned()),
            name: self.metadata.name.clone(),
            namespace: self.metadata.namespace.clone(),
            uid: self.metadata.uid.clone(),
            resource_version: self.metadata.resource_version.clone(),
            field_path: None,
        }
    }
}

impl Projection for DeploymentView {
    type Object = apps::Deployment;

    fn project(deployment: apps::Deployment) -> Self {
        let spec = deployment.spec.unwrap_or_default();
        Self {
            selector: LabelSelector::from_meta(&spec.selector).unwrap_or_else(|_| LabelSelector::nothing()),
            template_print: template_print(&spec.template),
            metadata: ObjectMeta {
                managed_fields: None,
                ..deployment.metadata
            },
            status: deployment.status.unwrap_or_default(),
            spec,
        }
    }
}
