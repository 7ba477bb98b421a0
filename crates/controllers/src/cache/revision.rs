//! A ControllerRevision with its patch in canonical bytes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1 as apps;
use orlop_client::informer::{ObjectKey, Projection};

use super::pod::{ControllerRef, controller_of};
use crate::revisions::bytes;

/// Index: revisions by the uid of their controlling owner.
pub const BY_OWNER: usize = 0;
/// Index: revisions without a controlling owner, by namespace.
pub const ORPHAN_REVISIONS_BY_NAMESPACE: usize = 1;

/// What is remembered of a ControllerRevision.
#[derive(Debug, Clone)]
pub struct RevisionView {
    /// metadata.labels.
    pub labels: BTreeMap<String, String>,
    /// Who owns it.
    pub controller: Option<ControllerRef>,
    /// metadata.deletionTimestamp is set.
    pub terminating: bool,
    /// metadata.creationTimestamp.
    pub created: Option<Timestamp>,
    /// Its number: higher is newer.
    pub revision: i64,
    /// `data` as canonical bytes, comparable with those of a template.
    pub bytes: Box<[u8]>,
}

impl Projection for RevisionView {
    type Object = apps::ControllerRevision;
    const INDEXES: usize = 2;

    fn project(revision: apps::ControllerRevision) -> Self {
        Self {
            controller: controller_of(revision.metadata.owner_references.as_ref()),
            labels: revision.metadata.labels.unwrap_or_default(),
            terminating: revision.metadata.deletion_timestamp.is_some(),
            created: revision.metadata.creation_timestamp.map(|time| time.0),
            revision: revision.revision,
            bytes: revision
                .data
                .map(|patch| bytes::of_stored(patch.0).into_bytes())
                .unwrap_or_default()
                .into(),
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        match &self.controller {
            Some(controller) => add(BY_OWNER, &controller.uid),
            None => add(ORPHAN_REVISIONS_BY_NAMESPACE, &key.namespace),
        }
    }
}
