//! Custom resources: what CustomResourceDefinitions declare, served like everything else (contract §18).
//!
//! | file | does |
//! |---|---|
//! | `declare` | from a definition's object to the resources it declares |
//! | `registry` | which are served now; follows the definitions in the cache |
//! | `body` | bodies of custom objects: decoded, pruned, defaulted, checked |
//! | `columns`, `path` | printer columns and the JSON paths they name |
//! | `names` | which names a definition gets, and what its status says about it |
//! | `cleanup` | the task that deletes the objects of a definition that is being deleted |
mod body;
mod cleanup;
mod columns;
mod declare;
mod names;
mod path;
mod registry;

pub use body::{decode, typed};
pub use cleanup::run as clean_up;
pub use columns::Columns;
pub use declare::schema_path;
pub use names::{initial_status, is_established};
pub use registry::{DEFINITIONS, Registry};

use crate::encode;
use crate::resources::Resource;
use crate::status::Cause;
use bytes::Bytes;
use orlop_api::structural::{self, Node};
use parking_lot::RwLock;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// What a definition says about one version of its resource, beyond names.
#[derive(Debug)]
pub struct Definition {
    pub schema: Node,
    /// As it was written, for OpenAPI.
    pub schema_text: Value,
    /// The schema has defaults.
    pub fills: bool,
    pub columns: Columns,
    /// JSON pointers of replicas, replicas in the status, and the selector in the status.
    pub scale: Option<Scale>,
    /// The definition is being deleted: no object can be made any more.
    pub terminating: bool,
}

/// Where a custom resource keeps what its scale shows, as JSON pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    pub replicas: String,
    pub status_replicas: String,
    pub selector: Option<String>,
}

/// The part of a custom resource that may change while it is served.
pub struct Custom {
    definition: RwLock<Arc<Definition>>,
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom")
    }
}

impl Custom {
    /// The definition as it is now.
    pub fn definition(&self) -> Arc<Definition> {
        self.definition.read().clone()
    }
}

/// The stored bytes of an object with the defaults that its schema has now, if it lacks any: what was stored before a
/// default was declared is read with it.
pub fn filled(resource: &Resource, stored: &[u8]) -> Option<Bytes> {
    let definition = resource.custom?.definition();
    if !definition.fills {
        return None;
    }
    let mut object = serde_json::from_slice(stored).ok()?;
    structural::fill(&mut object, &definition.schema);
    let filled = encode::stored(resource, &object);
    (filled != stored).then_some(filled)
}

/// What is wrong with an object by the schema of its resource; nothing, if that is no custom one.
pub fn violations(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let Some(custom) = resource.custom else {
        return Vec::new();
    };
    structural::check(object, old, &custom.definition().schema)
        .into_iter()
        .map(|v| Cause::new(v.reason, v.field, v.message))
        .collect()
}
