//! Writing a status: as a patch of that version of the object, so that what others wrote meanwhile
//! is never taken back.

use kube::api::{Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Resource};
use orlop_client::informer::{Cached, version_of};
use serde_json::{Value, json};

use crate::resources::MetadataOnly;

/// Objects of kind `K` in `namespace`, of whose answers only the metadata is read.
pub fn metadata_api<K>(client: &kube::Client, namespace: &str) -> Api<MetadataOnly>
where
    K: Resource<DynamicType = ()>,
{
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

/// `status` with null for each of `fields` that it leaves out: a patch takes away what it names.
pub fn complete(status: &impl serde::Serialize, fields: &[&str]) -> Result<Value, serde_json::Error> {
    let mut status = serde_json::to_value(status)?;
    if let Some(status) = status.as_object_mut() {
        for field in fields {
            status.entry(*field).or_insert(Value::Null);
        }
    }
    Ok(status)
}

/// A merge patch of exactly the version at hand.
pub fn at_version<P>(object: &Cached<P>, mut patch: Value) -> Value {
    patch["metadata"]["uid"] = json!(*object.uid);
    patch["metadata"]["resourceVersion"] = json!(object.resource_version.to_string());
    patch
}

/// Writes the status of that version of `object`; a conflict if it has changed meanwhile. The
/// version it has afterwards.
pub async fn write<K, P>(client: &kube::Client, object: &Cached<P>, status: Value) -> Result<u64, kube::Error>
where
    K: Resource<DynamicType = ()>,
{
    let api = metadata_api::<K>(client, &object.key.namespace);
    let patch = at_version(object, json!({"status": status}));
    let answer = api
        .patch_status(&object.key.name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(version_of(&answer.metadata))
}
