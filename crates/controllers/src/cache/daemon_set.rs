//! A DaemonSet. There are few of them, and pods and revisions are made from them, so all but the
//! field managers is kept.

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use orlop_api::placement::daemon;
use orlop_api::selector::LabelSelector;
use orlop_client::informer::Projection;

use crate::daemonset::Options;
use crate::revisions::bytes;

/// What is remembered of a DaemonSet.
#[derive(Debug, Clone)]
pub struct DaemonSetView {
    /// The object without managedFields.
    pub set: apps::DaemonSet,
    /// Its selector; one that doesn't parse selects nothing.
    pub selector: LabelSelector,
    /// The template as pods get it, with the automatic tolerations: what placement decides from.
    pub placed: PodTemplateSpec,
    /// The patch that restores the template, as revisions store it; `None` if it can't be serialised.
    pub revision_bytes: Option<Box<str>>,
    /// What it asks for beyond upstream.
    pub options: Options,
}

impl DaemonSetView {
    /// metadata.generation.
    pub fn generation(&self) -> i64 {
        self.set.metadata.generation.unwrap_or(0)
    }

    /// status.observedGeneration.
    pub fn observed_generation(&self) -> i64 {
        self.set
            .status
            .as_ref()
            .and_then(|status| status.observed_generation)
            .unwrap_or(0)
    }

    /// metadata.deletionTimestamp is set.
    pub fn is_terminating(&self) -> bool {
        self.set.metadata.deletion_timestamp.is_some()
    }

    /// spec.minReadySeconds.
    pub fn min_ready_seconds(&self) -> i32 {
        self.set
            .spec
            .as_ref()
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or(0)
    }

    /// spec.revisionHistoryLimit.
    pub fn history_limit(&self) -> usize {
        let limit = self
            .set
            .spec
            .as_ref()
            .and_then(|spec| spec.revision_history_limit)
            .unwrap_or(10);
        usize::try_from(limit).unwrap_or(0)
    }

    /// The template generation from the annotation, as the pods' label shows it.
    pub fn template_generation(&self) -> Option<String> {
        daemon::template_generation(&self.set).map(|generation| generation.to_string())
    }
}

impl Projection for DaemonSetView {
    type Object = apps::DaemonSet;

    fn project(mut set: apps::DaemonSet) -> Self {
        set.metadata.managed_fields = None;
        let spec = set.spec.as_ref();
        let selector = spec.map(|spec| LabelSelector::from_meta(&spec.selector));
        let revision_bytes = spec
            .and_then(|spec| bytes::of_template(&spec.template).ok())
            .map(String::into_boxed_str);
        let mut placed = spec.map(|spec| spec.template.clone()).unwrap_or_default();
        if let Some(spec) = &mut placed.spec {
            // Placement reads labels, names, affinity and tolerations; the rest would be kept twice.
            spec.tolerations = Some(daemon::tolerations_of(&set, spec));
            spec.containers = Vec::new();
            spec.init_containers = None;
            spec.volumes = None;
        }
        Self {
            options: Options::of(&set),
            selector: selector
                .and_then(Result::ok)
                .unwrap_or_else(LabelSelector::nothing),
            set,
            placed,
            revision_bytes,
        }
    }
}
