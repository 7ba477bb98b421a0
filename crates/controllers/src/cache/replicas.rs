//! ReplicaSets and ReplicationControllers: the same thing under two names.

use std::collections::BTreeMap;
use std::ops::Deref;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{ObjectReference, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_api::selector::LabelSelector;
use orlop_client::informer::{ObjectKey, Projection};

use super::pod::{ControllerRef, controller_of};
use crate::deployment::template_print;

/// Index: ReplicaSets by the uid of their controlling owner.
pub const BY_DEPLOYMENT: usize = 0;
/// Index: ReplicaSets without a controlling owner, by namespace.
pub const ORPHAN_SETS_BY_NAMESPACE: usize = 1;

/// What is remembered of either kind.
#[derive(Debug, Clone)]
pub struct Replicas {
    /// The metadata without managedFields.
    pub metadata: ObjectMeta,
    /// Who manages it.
    pub controller: Option<ControllerRef>,
    /// spec.replicas.
    pub replicas: i32,
    /// spec.minReadySeconds.
    pub min_ready_seconds: i32,
    /// Its selector; one that doesn't parse selects nothing.
    pub selector: LabelSelector,
    /// The template, as long as pods are to be made from it.
    pub template: Option<Box<PodTemplateSpec>>,
    /// The status.
    pub status: ReplicaSetStatus,
}

impl Replicas {
    /// metadata.generation.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or(0)
    }

    /// metadata.deletionTimestamp is set.
    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// metadata.labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        const NONE: &BTreeMap<String, String> = &BTreeMap::new();
        self.metadata.labels.as_ref().unwrap_or(NONE)
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// An owner reference to it.
    pub fn owner_reference(&self, api_version: &str, kind: &str) -> OwnerReference {
        OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: self.metadata.name.clone().unwrap_or_default(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// It, as events name it.
    pub fn reference(&self, api_version: &str, kind: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
            name: self.metadata.name.clone(),
            namespace: self.metadata.namespace.clone(),
            uid: self.metadata.uid.clone(),
            resource_version: self.metadata.resource_version.clone(),
            field_path: None,
        }
    }
}

/// What is remembered of a ReplicaSet.
#[derive(Debug, Clone)]
pub struct ReplicaSetView {
    /// What it shares with ReplicationControllers.
    pub common: Replicas,
    /// Tells whether a Deployment's template is this one's.
    pub template_print: u128,
}

impl Deref for ReplicaSetView {
    type Target = Replicas;
    fn deref(&self) -> &Replicas {
        &self.common
    }
}

impl Projection for ReplicaSetView {
    type Object = apps::ReplicaSet;
    const INDEXES: usize = 2;

    fn project(set: apps::ReplicaSet) -> Self {
        let spec = set.spec.unwrap_or_default();
        let template = spec.template.unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        let template_print = template_print(&template);
        Self {
            template_print,
            common: Replicas {
                controller: controller_of(set.metadata.owner_references.as_ref()),
                metadata: ObjectMeta {
                    managed_fields: None,
                    ..set.metadata
                },
                replicas,
                min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
                selector: LabelSelector::from_meta(&spec.selector)
                    .unwrap_or_else(|_| LabelSelector::nothing()),
                template: (replicas > 0).then(|| Box::new(template)),
                status: set.status.unwrap_or_default(),
            },
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        match &self.controller {
            Some(controller) => add(BY_DEPLOYMENT, &controller.uid),
            None => add(ORPHAN_SETS_BY_NAMESPACE, &key.namespace),
        }
    }
}

/// What is remembered of a ReplicationController.
#[derive(Debug, Clone)]
pub struct ReplicationControllerView(pub Replicas);

impl Deref for ReplicationControllerView {
    type Target = Replicas;
    fn deref(&self) -> &Replicas {
        &self.0
    }
}

impl Projection for ReplicationControllerView {
    type Object = core::ReplicationController;

    fn project(controller: core::ReplicationController) -> Self {
        let spec = controller.spec.unwrap_or_default();
        let status = controller.status.unwrap_or_default();
        let selector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
            match_labels: spec.selector.filter(|labels| !labels.is_empty()),
            match_expressions: None,
        };
        let selects_something = selector.match_labels.is_some();
        Self(Replicas {
            controller: controller_of(controller.metadata.owner_references.as_ref()),
            metadata: ObjectMeta {
                managed_fields: None,
                ..controller.metadata
            },
            replicas: spec.replicas.unwrap_or(1),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            selector: LabelSelector::from_meta(&selector)
                .ok()
                .filter(|_| selects_something)
                .unwrap_or_else(LabelSelector::nothing),
            template: spec.template.map(Box::new),
            status: ReplicaSetStatus {
                replicas: status.replicas,
                fully_labeled_replicas: status.fully_labeled_replicas,
                ready_replicas: status.ready_replicas,
                available_replicas: status.available_replicas,
                observed_generation: status.observed_generation,
                terminating_replicas: None,
                conditions: status.conditions.map(|conditions| {
                    conditions
                        .into_iter()
                        .map(|condition| ReplicaSetCondition {
                            type_: condition.type_,
                            status: condition.status,
                            reason: condition.reason,
                            message: condition.message,
                            last_transition_time: condition.last_transition_time,
                        })
                        .collect()
                }),
            },
        })
    }
}
