//! Carries out what [`Owner::claim`] decides: objects are made ours and let go.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_client::informer::{Cached, Projection};
use serde_json::{Value, json};

use super::{Claim, Owner};
use crate::api_error;
use crate::cache::{ControllerRef, PodView, ReplicaSetView, RevisionView};
use crate::resources::MetadataOnly;

/// What a projection of something ownable tells.
pub trait OwnedView: Projection {
    /// metadata.labels.
    fn labels(&self) -> &BTreeMap<String, String>;
    /// Who manages it.
    fn controller(&self) -> Option<&ControllerRef>;
    /// metadata.deletionTimestamp is set.
    fn terminating(&self) -> bool;
}

impl OwnedView for PodView {
    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }
    fn controller(&self) -> Option<&ControllerRef> {
        self.controller.as_ref()
    }
    fn terminating(&self) -> bool {
        self.terminating
    }
}

impl OwnedView for RevisionView {
    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }
    fn controller(&self) -> Option<&ControllerRef> {
        self.controller.as_ref()
    }
    fn terminating(&self) -> bool {
        self.terminating
    }
}

impl OwnedView for ReplicaSetView {
    fn labels(&self) -> &BTreeMap<String, String> {
        self.common.labels()
    }
    fn controller(&self) -> Option<&ControllerRef> {
        self.controller.as_ref()
    }
    fn terminating(&self) -> bool {
        self.is_terminating()
    }
}

/// Why a claim was given up.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// What the cache shows of the owner is no longer so.
    #[error("{kind} {name} is being deleted or is another one by now; waiting until that is seen")]
    OwnerGone {
        /// The owner's kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The server refused or didn't answer.
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
}

impl ClaimError {
    /// Whether the cache was merely late.
    pub fn is_ordinary(&self) -> bool {
        match self {
            Self::OwnerGone { .. } => true,
            Self::Api(error) => api_error::is_conflict(error),
        }
    }
}

/// Who claims.
pub struct Claimant<'a> {
    /// The deciding side.
    pub owner: Owner<'a>,
    /// What the owned objects will point at.
    pub reference: &'a OwnerReference,
    /// Where the owner itself can be looked up, because the cache may be late.
    pub owners: Api<MetadataOnly>,
    /// A finalizer that owned objects carry.
    pub finalizer: Option<&'static str>,
}

impl Claimant<'_> {
    /// Asks the server itself whether the owner may still take things on.
    async fn may_adopt(&self) -> Result<bool, kube::Error> {
        let live = self.owners.get_opt(&self.reference.name).await?;
        Ok(live.is_some_and(|live| {
            live.metadata.uid.as_deref() == Some(&*self.reference.uid)
                && live.metadata.deletion_timestamp.is_none()
        }))
    }

    /// Makes an object ours; refused if it is another object of that name by now.
    fn adopt_patch(&self, uid: &str) -> Value {
        let mut patch = json!({"metadata": {"uid": uid, "ownerReferences": [self.reference]}});
        if let Some(finalizer) = self.finalizer {
            patch["metadata"]["finalizers"] = json!([finalizer]);
        }
        patch
    }

    /// Makes an object nobody's.
    fn release_patch(&self, uid: &str) -> Value {
        let mut patch = json!({"metadata": {"uid": uid,
            "ownerReferences": [{"$patch": "delete", "uid": self.reference.uid}]}});
        if let Some(finalizer) = self.finalizer {
            patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
        }
        patch
    }
}

/// Which of `candidates` belong to the claimant, after adopting and releasing through `objects`. There is no answer if one
/// should be adopted by an owner that is going: it may just have been let go, and whoever counted without it would put
/// another one in its place.
pub async fn claim<P: OwnedView>(
    claimant: &Claimant<'_>,
    objects: &Api<MetadataOnly>,
    candidates: Vec<Arc<Cached<P>>>,
) -> Result<Vec<Arc<Cached<P>>>, ClaimError> {
    let mut claimed = Vec::with_capacity(candidates.len());
    let mut may_adopt = false;
    let by = &claimant.reference;
    for object in candidates {
        let name = &object.key.name;
        match claimant
            .owner
            .claim(object.controller(), object.labels(), object.terminating())
        {
            Claim::Keep => claimed.push(object),
            Claim::Ignore => {}
            Claim::Adopt => {
                may_adopt = may_adopt || claimant.may_adopt().await?;
                if !may_adopt {
                    return Err(ClaimError::OwnerGone {
                        kind: by.kind.clone(),
                        name: by.name.clone(),
                    });
                }
                let patch = Patch::Strategic(claimant.adopt_patch(&object.uid));
                match objects.patch(name, &PatchParams::default(), &patch).await {
                    Err(error) if api_error::is_not_found(&error) => continue,
                    result => drop(result?),
                }
                tracing::info!(kind = by.kind, owner = by.name, object = %object.key, "adopted");
                claimed.push(object);
            }
            Claim::Release => {
                let patch = Patch::Strategic(claimant.release_patch(&object.uid));
                match objects.patch(name, &PatchParams::default(), &patch).await {
                    Err(error) if api_error::is_not_found(&error) || api_error::is_invalid(&error) => {}
                    result => {
                        result?;
                        tracing::info!(kind = by.kind, owner = by.name, object = %object.key, "released");
                    }
                }
            }
        }
    }
    Ok(claimed)
}
