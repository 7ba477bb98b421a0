//! Custom resources: what CustomResourceDefinitions declare, served like everything else (contract §18).
//!
//! | file | does |
//! |---|---|
//! | `declare` | from a definition's object to the resources it declares |
//! | `registry` | which are served now; follows the definitions in the cache |
//! | `body` | bodies of custom objects: decoded, pruned, defaulted, checked |
//! | `stored` | custom objects as they come from the store |
//! | `conversion` | objects of one version in the form of another, by webhooks or without |
//! | `columns`, `path` | printer columns and the JSON paths they name |
//! | `names` | which names a definition gets, and what its status says about it |
//! | `cleanup` | the task that deletes the objects of a definition that is being deleted |
mod body;
mod cleanup;
mod columns;
mod conversion;
mod declare;
mod names;
mod path;
mod registry;
mod stored;

pub use body::{decode, typed};
pub use cleanup::run as clean_up;
pub use columns::Columns;
pub use conversion::{Converted, converted, in_form, one_in_form};
pub use names::{initial_status, is_established};
pub use registry::{DEFINITIONS, Registry, Renewal};
pub use stored::read as read_stored;

use crate::resources::Resource;
use crate::status::Cause;
use conversion::Conversion;
use orlop_api::structural::{self, Node};
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a definition says about one version of its resource, beyond names.
#[derive(Debug)]
pub struct Definition {
    /// The version that objects are stored in.
    pub stored: Arc<str>,
    /// No other state of any definition has this number.
    number: u64,
    pub schema: Arc<Node>,
    /// Those of all versions.
    schemas: Arc<BTreeMap<String, Arc<Node>>>,
    conversion: Arc<Conversion>,
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

impl Definition {
    /// Whether objects may be stored in a version with other fields than those they are asked for with.
    pub fn has_versions(&self) -> bool {
        self.schemas.len() > 1
    }
}

impl Custom {
    /// The definition as it is now.
    pub fn definition(&self) -> Arc<Definition> {
        self.definition.read().clone()
    }
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
