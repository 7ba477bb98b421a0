//! A CronJob. Jobs are made from it, so all but the field managers is kept.

use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::batch::v1::{CronJobSpec, CronJobStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_client::informer::Projection;

/// What is remembered of a CronJob.
#[derive(Debug, Clone)]
pub struct CronJobView {
    /// The metadata without managedFields.
    pub metadata: ObjectMeta,
    /// The spec.
    pub spec: CronJobSpec,
    /// The status.
    pub status: CronJobStatus,
}

impl CronJobView {
    /// An owner reference to it.
    pub fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "CronJob".to_owned(),
            name: self.metadata.name.clone().unwrap_or_default(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// It, as events name it.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("batch/v1".to_owned()),
            kind: Some("CronJob".to_owned()),
            name: self.metadata.name.clone(),
            namespace: self.metadata.namespace.clone(),
            uid: self.metadata.uid.clone(),
            resource_version: self.metadata.resource_version.clone(),
            field_path: None,
        }
    }
}

impl Projection for CronJobView {
    type Object = batch::CronJob;

    fn project(job: batch::CronJob) -> Self {
        Self {
            metadata: ObjectMeta {
                managed_fields: None,
                ..job.metadata
            },
            spec: job.spec,
            status: job.status.unwrap_or_default(),
        }
    }
}
