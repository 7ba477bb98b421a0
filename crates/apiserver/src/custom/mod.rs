//! Custom resources: what CustomResourceDefinitions declare, served like everything else (contract §18).
//!
//! | file | does |
//! |---|---|
//! | `declare` | from a definition's object to the resources it declares |
//! | `registry` | which are served now; follows the definitions in the cache |
//! | `body` | bodies of custom objects: decoded, pruned, defaulted, checked |
//! | `embedded` | what is wrong with objects inside of objects |
//! | `stored` | custom objects as they come from the store |
//! | `conversion` | objects of one version in the form of another, by webhooks or without |
//! | `columns`, `path`, `filter` | printer columns, the JSON paths they name, and what such pick |
//! | `older` | definitions as upstream's servers store them, in an older version |
//! | `names` | which names a definition gets, and what its status says about it |
//! | `naming` | the task that gives free names to those that wait for them |
//! | `emptying` | the task that deletes what nobody serves of namespaces that go |
//! | `cleanup` | the task that deletes the objects of a definition that is being deleted |
mod body;
mod cleanup;
mod columns;
mod conversion;
mod declare;
mod embedded;
mod emptying;
mod filter;
mod names;
mod naming;
mod older;
mod path;
mod registry;
mod stored;

pub use body::{decode, typed};
pub use cleanup::run as clean_up;
pub use columns::Columns;
pub use conversion::{Converted, converted, has_form, in_form, one_in_form};
pub use emptying::run as empty_namespaces;
pub use names::{is_established, status};
pub use naming::run as give_names;
pub use older::{definition as read_definition, in_v1};
pub use registry::{DEFINITIONS, Registry, Renewal};
pub use stored::read as read_stored;

use crate::ApiServer;
use crate::cache::Cache;
use crate::resources::Resource;
use crate::status::{Cause, cause};
use conversion::Conversion;
use orlop_api::structural::{self, Node};
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
    /// Tells them from those of another state.
    schemas_hash: u64,
    /// One of them has defaults.
    fills_some: bool,
    conversion: Arc<Conversion>,
    /// As it was written, for OpenAPI.
    pub schema_text: Value,
    /// The schema has defaults.
    pub fills: bool,
    pub columns: Columns,
    pub list_kind: Arc<str>,
    /// What everybody is told who asks for this version.
    pub warning: Option<String>,
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

fn resource() -> Option<&'static Resource> {
    crate::resources::all().iter().find(|r| r.storage == DEFINITIONS)
}

/// Wakes whenever a definition changes, and when the server ends.
fn followed(server: &Weak<ApiServer>) -> Option<(watch::Receiver<u64>, CancellationToken)> {
    let server = server.upgrade()?;
    let storage = server.cache.storage(resource()?)?;
    Some((server.cache.subscribe(storage), server.shutdown.clone()))
}

/// The definitions as the cache has them.
fn definitions(cache: &Cache) -> Vec<Value> {
    let Some(storage) = resource().and_then(|resource| cache.storage(resource)) else {
        return Vec::new();
    };
    let all = cache.snapshot(storage, "").objects;
    all.iter().map(|object| object.value()).collect()
}

/// Whether a definition wants names that another has; without reading any definition whole.
fn some_are_refused(cache: &Cache) -> bool {
    let Some(storage) = resource().and_then(|resource| cache.storage(resource)) else {
        return false;
    };
    cache.snapshot(storage, "").objects.iter().any(|object| {
        let [conditions] = object.at(["/status/conditions"]);
        names::are_refused(&json!({"status": {"conditions": conditions}}))
    })
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

/// Which part of an object is written, and so answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Whole,
    /// Who writes a status can't help what is wrong with the rest.
    Status,
}

/// What is wrong with an object by the schema of its resource; nothing, if that is no custom one.
pub fn violations(resource: &Resource, object: &Value, old: Option<&Value>, written: Written) -> Vec<Cause> {
    let Some(custom) = resource.custom else {
        return Vec::new();
    };
    let definition = custom.definition();
    let found = structural::check(object, old, &definition.schema).into_iter();
    let mut found: Vec<Cause> = found.map(|v| Cause::new(v.reason, v.field, v.message)).collect();
    if let Some(scale) = &definition.scale {
        found.extend(scale.violations(object, written));
    }
    if written == Written::Whole {
        found.extend(embedded::violations(object, &definition.schema));
    }
    found
}

impl Scale {
    /// What is wrong with the numbers that a scale shows.
    fn violations(&self, object: &Value, written: Written) -> Vec<Cause> {
        let mut found = Vec::new();
        let wanted = (written == Written::Whole).then_some(&self.replicas);
        for pointer in wanted.into_iter().chain([&self.status_replicas]) {
            let Some(given) = object.pointer(pointer).and_then(Value::as_i64) else {
                continue;
            };
            let hint = match given {
                ..0 => "should be a non-negative integer".to_owned(),
                _ if given > i64::from(i32::MAX) => format!("should be less than or equal to {}", i32::MAX),
                _ => continue,
            };
            let path = pointer.replace('/', ".");
            found.push(cause::invalid(&path, &given.into(), &hint));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_what_fits_into_it() {
        let scale = Scale {
            replicas: "/spec/replicas".to_owned(),
            status_replicas: "/status/replicas".to_owned(),
            selector: None,
        };
        assert!(
            scale
                .violations(&json!({"spec": {"replicas": i32::MAX}}), Written::Whole)
                .is_empty()
        );
        let object = json!({"spec": {"replicas": i64::MAX}, "status": {"replicas": -1}});
        let texts = |written: Written| -> Vec<String> {
            let found = scale.violations(&object, written).into_iter();
            found.map(|c| format!("{}: {}", c.field, c.message)).collect()
        };
        let of_spec =
            ".spec.replicas: Invalid value: 9223372036854775807: should be less than or equal to 2147483647";
        let of_status = ".status.replicas: Invalid value: -1: should be a non-negative integer";
        assert_eq!(texts(Written::Whole), [of_spec, of_status]);
        assert_eq!(texts(Written::Status), [of_status]);
    }
}
