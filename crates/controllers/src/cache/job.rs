//! A Job. Pods are made from it, so all but the field managers is kept; once it is over, its
//! template isn't.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::batch::v1::{JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{ObjectReference, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_api::selector::LabelSelector;
use orlop_client::informer::{ObjectKey, Projection};

use super::metadata;
use super::pod::{ControllerRef, controller_of};

/// Index: Jobs by the uid of their controlling owner.
pub const JOBS_BY_CONTROLLER: usize = 0;

/// How a Job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// It did what it was for.
    Complete,
    /// It gave up.
    Failed,
}

/// What is remembered of a Job.
#[derive(Debug, Clone)]
pub struct JobView {
    /// The metadata without managedFields.
    pub metadata: ObjectMeta,
    /// Who manages it.
    pub controller: Option<ControllerRef>,
    /// The spec.
    pub spec: JobSpec,
    /// The status.
    pub status: JobStatus,
    /// Its selector; one that doesn't parse selects nothing.
    pub selector: LabelSelector,
}

impl JobView {
    /// metadata.deletionTimestamp is set.
    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// spec.suspend.
    pub fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    /// Whether each of its pods has a number of its own.
    pub fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// Whether a pod is only replaced once it has ended. One that is judged by how it ended has to have, also where an older
    /// server stored no policy for that.
    pub fn replaces_failed_only(&self) -> bool {
        self.spec.pod_failure_policy.is_some()
            || self.spec.pod_replacement_policy.as_deref() == Some("Failed")
    }

    /// Whether it is kept by the controller of this program.
    pub fn is_ours(&self) -> bool {
        self.spec
            .managed_by
            .as_deref()
            .is_none_or(|manager| manager == "kubernetes.io/job-controller")
    }

    /// A condition that holds.
    pub fn holds(&self, condition: &str) -> Option<&batch::JobCondition> {
        self.status
            .conditions
            .iter()
            .flatten()
            .find(|candidate| candidate.type_ == condition && candidate.status == "True")
    }

    /// How and when it ended.
    pub fn end(&self) -> Option<(JobEnd, Option<Timestamp>)> {
        let ended = |condition: &str, end| {
            let condition = self.holds(condition)?;
            Some((end, condition.last_transition_time.as_ref().map(|time| time.0)))
        };
        ended("Complete", JobEnd::Complete).or_else(|| ended("Failed", JobEnd::Failed))
    }

    /// An owner reference to it.
    pub fn owner_reference(&self) -> OwnerReference {
        metadata::owner_reference::<batch::Job>(&self.metadata)
    }

    /// It, as events name it.
    pub fn reference(&self) -> ObjectReference {
        metadata::reference::<batch::Job>(&self.metadata)
    }
}

impl Projection for JobView {
    type Object = batch::Job;
    const INDEXES: usize = 1;

    fn project(job: batch::Job) -> Self {
        let spec = job.spec.unwrap_or_default();
        let mut view = Self {
            controller: controller_of(job.metadata.owner_references.as_ref()),
            selector: spec
                .selector
                .as_ref()
                .and_then(|selector| LabelSelector::from_meta(selector).ok())
                .unwrap_or_else(LabelSelector::nothing),
            metadata: metadata::kept(job.metadata),
            spec,
            status: job.status.unwrap_or_default(),
        };
        if view.end().is_some() {
            view.spec.template = PodTemplateSpec::default();
        }
        view
    }

    fn index(&self, _: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        if let Some(controller) = &self.controller {
            add(JOBS_BY_CONTROLLER, &controller.uid);
        }
    }
}
