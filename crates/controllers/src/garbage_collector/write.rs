//! What is written to objects whose owners or whose own deletion ask for it.

use std::collections::HashSet;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::controller::GarbageCollector;
use super::graph::{Place, Uid};
use crate::api_error;
use crate::resources::{MetadataOnly, Served};

impl GarbageCollector {
    /// Strips references to `owners` from the object `uid`.
    pub(super) async fn strip(&self, uid: &Uid, owners: &[String]) -> Result<(), kube::Error> {
        let place = self.graph().place(uid);
        let Some(place) = place else { return Ok(()) };
        let Some(served) = self.served(place.kind) else {
            return Ok(());
        };
        let owners: HashSet<&str> = owners.iter().map(String::as_str).collect();
        // Read and replace the list as a whole: not every kind merges it by uid.
        let api = served.api(&self.client, &place.namespace);
        let Some(mut live) = api.get_opt(&place.name).await? else {
            return Ok(());
        };
        if live.metadata.uid.as_deref() != Some(&**uid) {
            return Ok(());
        }
        let mut left = live.metadata.owner_references.take().unwrap_or_default();
        left.retain(|owner| !owners.contains(owner.uid.as_str()));
        let left = json!({"ownerReferences": (!left.is_empty()).then_some(left)});
        match self.change(&served, &place, &live, left).await {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Lets no owner wait for the object any more; its version then.
    pub(super) async fn unblock(
        &self,
        served: &Served,
        place: &Place,
        live: &MetadataOnly,
    ) -> Result<Option<String>, kube::Error> {
        let mut owners = live.metadata.owner_references.clone().unwrap_or_default();
        for owner in &mut owners {
            owner.block_owner_deletion = Some(false);
        }
        let owners = json!({"ownerReferences": owners});
        let changed = self.change(served, place, live, owners).await?;
        Ok(changed.metadata.resource_version)
    }

    pub(super) async fn remove_finalizer(
        &self,
        served: &Served,
        place: &Place,
        live: &MetadataOnly,
        finalizer: &str,
    ) -> Result<(), kube::Error> {
        let mut left = live.metadata.finalizers.clone().unwrap_or_default();
        let before = left.len();
        left.retain(|found| found != finalizer);
        if left.len() == before {
            return Ok(());
        }
        let left = json!({"finalizers": (!left.is_empty()).then_some(left)});
        match self.change(served, place, live, left).await {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Changes the metadata of an object that is still as it was read.
    async fn change(
        &self,
        served: &Served,
        place: &Place,
        live: &MetadataOnly,
        mut metadata: Value,
    ) -> Result<MetadataOnly, kube::Error> {
        metadata["uid"] = json!(live.metadata.uid);
        metadata["resourceVersion"] = json!(live.metadata.resource_version);
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let api = served.api(&self.client, &place.namespace);
        api.patch(&place.name, &PatchParams::default(), &patch).await
    }
}
