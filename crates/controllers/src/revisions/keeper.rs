//! Claims, creates, renumbers and deletes an owner's revisions.

use std::collections::BTreeMap;

use http::header::CONTENT_TYPE;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use orlop_api::annotations::{CONTROLLER_REVISION_HASH, REVISION_DATA_HASH};
use orlop_client::informer::{ObjectKey, Projection};
use serde_json::json;
use serde_json::value::RawValue;

use super::bytes;
use crate::api_error;
use crate::cache::{BY_OWNER, Cache, ORPHAN_REVISIONS_BY_NAMESPACE, Revision, RevisionView};
use crate::owned::status::metadata_api;
use crate::owned::{self, ClaimError, Claimant};

/// Why a history couldn't be kept.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// A revision of that name holds another template.
    #[error("revision {name} holds another template; trying the next name")]
    HashCollision {
        /// The taken name.
        name: String,
    },
    /// It isn't known which revisions belong to the owner.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The server refused or didn't answer.
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
    /// The pod template can't be serialised.
    #[error("the pod template cannot be serialised")]
    Template,
    /// A request can't be serialised.
    #[error("cannot serialise a request: {0}")]
    Serialise(#[from] serde_json::Error),
    /// A request couldn't be built.
    #[error("cannot build a request: {0}")]
    Request(String),
}

/// What a revision's hash, which is in its name, is for beyond that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashLabel {
    /// Pods have it as a label. A revision without it gets its name for one.
    OfPods,
    /// The revision alone tells it; its pods have its name.
    OfData,
}

impl HashLabel {
    fn key(self) -> &'static str {
        match self {
            Self::OfPods => CONTROLLER_REVISION_HASH,
            Self::OfData => REVISION_DATA_HASH,
        }
    }
}

/// Keeps the revisions of one owner.
pub struct Keeper<'a> {
    /// The way to the server.
    pub client: &'a kube::Client,
    /// The owner.
    pub key: &'a ObjectKey,
    /// What its revisions are labelled with.
    pub hash: HashLabel,
    /// The owner, as one that claims.
    pub claimant: Claimant<'a>,
}

/// What a new revision is given besides its bytes.
pub struct Given {
    /// The labels of the template.
    pub labels: Option<BTreeMap<String, String>>,
    /// The annotations of the owner.
    pub annotations: Option<BTreeMap<String, String>>,
    /// How often a name was taken.
    pub collisions: Option<i32>,
}

impl Keeper<'_> {
    fn api(&self) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), &self.key.namespace)
    }

    /// The owner's revisions, after adopting and releasing.
    pub async fn claim(&self, cache: &Cache) -> Result<Vec<Revision>, RevisionError> {
        let store = cache.revisions.store();
        let mut candidates = store.by_index(BY_OWNER, self.claimant.owner.uid);
        candidates.extend(store.by_index(ORPHAN_REVISIONS_BY_NAMESPACE, &self.key.namespace));
        let objects = metadata_api::<ControllerRevision>(self.client, &self.key.namespace);
        let claimed = owned::claim(&self.claimant, &objects, candidates).await?;
        for revision in &claimed {
            let name = &revision.key.name;
            let labels = &revision.labels;
            if self.hash == HashLabel::OfPods && !labels.contains_key(CONTROLLER_REVISION_HASH) {
                let patch = json!({"metadata": {"labels": {CONTROLLER_REVISION_HASH: **name}}});
                objects
                    .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
            }
        }
        Ok(claimed)
    }

    /// Creates the revision for `bytes`; its hash. A taken name is ours if it holds the same.
    pub async fn create(&self, bytes: &str, number: i64, given: Given) -> Result<String, RevisionError> {
        let hash = bytes::hash(bytes, given.collisions);
        let name = format!("{}-{hash}", self.key.name);
        let mut labels = given.labels.unwrap_or_default();
        labels.insert(self.hash.key().to_owned(), hash.clone());
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(self.key.namespace.to_string()),
            labels: Some(labels),
            annotations: given.annotations,
            owner_references: Some(vec![self.claimant.reference.clone()]),
            ..ObjectMeta::default()
        };
        match self.post(&metadata, bytes, number).await {
            Ok(()) => {
                tracing::info!(owner = %self.key, revision = number, hash, "new revision");
                return Ok(hash);
            }
            Err(RevisionError::Api(error)) if api_error::is_conflict(&error) => {}
            Err(error) => return Err(error),
        }
        let taken = RevisionView::project(self.api().get(&name).await?);
        if *taken.bytes == *bytes.as_bytes() {
            Ok(hash)
        } else {
            Err(RevisionError::HashCollision { name })
        }
    }

    /// POSTs with `data` as the very bytes: a typed client would escape them in its own way.
    async fn post(&self, metadata: &ObjectMeta, bytes: &str, number: i64) -> Result<(), RevisionError> {
        let data: &RawValue = serde_json::from_str(bytes)?;
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Posted<'a> {
            api_version: &'a str,
            kind: &'a str,
            metadata: &'a ObjectMeta,
            data: &'a RawValue,
            revision: i64,
        }
        let posted = Posted {
            api_version: "apps/v1",
            kind: "ControllerRevision",
            metadata,
            data,
            revision: number,
        };
        let namespace = &self.key.namespace;
        let request = http::Request::post(format!(
            "/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
        ))
        .header(CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&posted)?)
        .map_err(|error| RevisionError::Request(error.to_string()))?;
        let request: http::Request<Vec<u8>> = request;
        let _: ControllerRevision = self.client.request(request).await?;
        Ok(())
    }

    /// Makes an old revision the newest.
    pub async fn renumber(&self, revision: &Revision, number: i64) -> Result<(), RevisionError> {
        let patch = Patch::Merge(json!({"revision": number}));
        self.api()
            .patch(&revision.key.name, &PatchParams::default(), &patch)
            .await?;
        tracing::info!(owner = %self.key, revision = number, "an old revision is current again");
        Ok(())
    }

    /// Deletes a revision.
    pub async fn delete(&self, revision: &Revision) -> Result<(), RevisionError> {
        match self
            .api()
            .delete(&revision.key.name, &DeleteParams::default())
            .await
        {
            Err(error) if !api_error::is_not_found(&error) => Err(error.into()),
            _ => {
                tracing::info!(owner = %self.key, revision = revision.revision, "deleted a revision");
                Ok(())
            }
        }
    }
}

/// The hash in a revision's name, by which pods are labelled.
pub fn hash_of(revision: &Revision) -> String {
    revision
        .labels
        .get(CONTROLLER_REVISION_HASH)
        .cloned()
        .unwrap_or_else(|| revision.key.name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned::Owner;
    use crate::testing::server;
    use http::Method;
    use k8s_openapi::api::apps::v1::StatefulSet;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use orlop_api::selector::LabelSelector;
    use serde_json::Value;

    /// The labels of a revision that is created, its hash, and what is done to one that was found without.
    async fn labels(hash: HashLabel) -> (Value, String, Vec<Value>) {
        let (client, asked) = server(|_, _, body| (200, body));
        let cache = Cache::default();
        let found = json!({"metadata": {"name": "d-found", "namespace": "ns", "uid": "r", "resourceVersion": "7",
            "labels": {"app": "d"}, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "d", "uid": "d-uid", "controller": true}]},
            "data": {}, "revision": 1});
        cache
            .revisions
            .store()
            .apply(serde_json::from_value(found).unwrap());
        let selector = LabelSelector::parse("app=d").unwrap();
        let (key, reference) = (ObjectKey::new("ns", "d"), OwnerReference::default());
        let keeper = Keeper {
            client: &client,
            key: &key,
            hash,
            claimant: Claimant {
                owner: Owner {
                    uid: "d-uid",
                    selector: &selector,
                    terminating: false,
                },
                reference: &reference,
                owners: metadata_api::<StatefulSet>(&client, "ns"),
                finalizer: None,
            },
        };
        assert_eq!(keeper.claim(&cache).await.unwrap().len(), 1);
        let given = Given {
            labels: Some([("app".to_owned(), "d".to_owned())].into()),
            annotations: None,
            collisions: None,
        };
        let made = keeper.create("{}", 2, given).await.unwrap();
        let asked = asked.lock().unwrap();
        let of = |wanted: Method| -> Vec<Value> {
            let these = asked.iter().filter(|(method, _, _)| *method == wanted);
            these
                .map(|(_, _, body)| body["metadata"]["labels"].clone())
                .collect()
        };
        (of(Method::POST).remove(0), made, of(Method::PATCH))
    }

    /// Upstream's two controllers label theirs differently.
    #[tokio::test]
    async fn revisions_of_daemon_sets_have_their_pods_label_and_those_of_stateful_sets_one_of_their_own() {
        let (created, hash, patched) = labels(HashLabel::OfPods).await;
        assert_eq!(created, json!({"app": "d", "controller-revision-hash": hash}));
        assert_eq!(patched, [json!({"controller-revision-hash": "d-found"})]);
        let (created, hash, patched) = labels(HashLabel::OfData).await;
        assert_eq!(
            created,
            json!({"app": "d", "controller.kubernetes.io/hash": hash})
        );
        assert!(patched.is_empty(), "nothing is missing: {patched:?}");
    }
}
