//! A CronJob. Jobs are made from it, so all but the field managers is kept.

use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::batch::v1::{CronJobSpec, CronJobStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_client::informer::Projection;

use super::metadata;

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
        metadata::owner_reference::<batch::CronJob>(&self.metadata)
    }

    /// It, as events name it.
    pub fn reference(&self) -> ObjectReference {
        metadata::reference::<batch::CronJob>(&self.metadata)
    }
}

impl Projection for CronJobView {
    type Object = batch::CronJob;

    fn project(job: batch::CronJob) -> Self {
        Self {
            metadata: metadata::kept(job.metadata),
            spec: job.spec,
            status: job.status.unwrap_or_default(),
        }
    }
}
