//! Custom objects as they are stored: in whatever version was the one to store when they were written.
use super::Definition;
use crate::encode;
use crate::resources::Resource;
use bytes::Bytes;
use orlop_api::structural::{self, Node};
use serde_json::Value;

/// What a stored value turned out to be.
pub struct Stored {
    /// In canonical form and with the defaults that its schema has now, if that isn't how it was stored.
    pub bytes: Option<Bytes>,
    /// What it begins with: its kind and version.
    pub head: String,
    /// It is of the version that is stored now, and has nothing that its schema doesn't specify.
    pub exact: bool,
}

/// Reads a stored value; `None` if its resource is no custom one.
///
/// # Errors
/// It is no JSON.
pub fn read(resource: &Resource, stored: &[u8]) -> Result<Option<Stored>, serde_json::Error> {
    let Some(custom) = resource.custom else {
        return Ok(None);
    };
    let definition = custom.definition();
    if encode::has_head(stored, resource) && !definition.fills {
        return Ok(Some(Stored {
            bytes: None,
            head: encode::head(resource),
            exact: structural::fits(stored, &definition.schema),
        }));
    }
    let mut object: Value = serde_json::from_slice(stored)?;
    let version = version_of(&object, resource).to_owned();
    if let Some(schema) = definition.schema_of(&version) {
        structural::fill(&mut object, schema);
    }
    let head = encode::head_of(
        resource.kind,
        &crate::resources::api_version(resource.group, &version),
    );
    let bytes = encode::stored_with(&head, &object);
    Ok(Some(Stored {
        exact: version == resource.version && structural::fits(&bytes, &definition.schema),
        bytes: Some(bytes),
        head,
    }))
}

/// The version that an object names; what names none of its group is taken for the one that is stored.
fn version_of<'o>(object: &'o Value, resource: &Resource) -> &'o str {
    let named = object["apiVersion"]
        .as_str()
        .and_then(|text| text.split_once('/'));
    match named {
        Some((group, version)) if group == resource.group => version,
        _ => resource.version,
    }
}

impl Definition {
    /// Whether one of the versions has another schema than in an earlier state: objects may be stored in any.
    pub fn schemas_differ(&self, other: &Self) -> bool {
        self.schemas_hash != other.schemas_hash
    }

    /// The schema of one of the definition's versions.
    pub fn schema_of(&self, version: &str) -> Option<&Node> {
        self.schemas.get(version).map(|schema| &**schema)
    }

    /// Takes out of an object what the schema of the version it names doesn't specify.
    pub fn prune_as_stored(&self, object: &mut Value) {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let version = version.rsplit('/').next().unwrap_or_default();
        if let Some(schema) = self.schema_of(version) {
            structural::prune(object, schema);
        }
    }
}
