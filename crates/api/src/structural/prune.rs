//! Takes out of an object what its schema doesn't specify.
use super::{Additional, Kind, Node};
use crate::wire;
use serde_json::{Map, Value, json};
use std::convert::Infallible;

/// What every object has, whatever its schema says.
const OBJECT: &[&str] = &["apiVersion", "kind", "metadata"];

/// Prunes a whole object; the answer names what went, by path. Nulls where the schema has none go silently.
pub fn prune(object: &mut Value, schema: &Node) -> Vec<String> {
    let mut gone = Vec::new();
    if let Value::Object(members) = object {
        walk(members, schema, true, &mut String::new(), &mut gone);
    }
    gone
}

/// Prunes a value that may stand at a place.
pub(super) fn prune_inside(value: &mut Value, node: &Node) {
    at(value, node, &mut String::new(), &mut Vec::new());
}

/// Takes out of the metadata of a default, and of objects in it, what metadata doesn't have. What is no metadata at all
/// stays: the definition is refused for it.
pub(super) fn tidy_metadata(value: &mut Value, node: &Node) {
    let mut tidy = |metadata: &mut Value, _: &str| -> Result<(), Infallible> {
        let whole = json!({"metadata": metadata.clone()});
        if metadata.is_object()
            && let Ok(mut normal) = wire::normalize("meta.k8s.io/v1", "PartialObjectMetadata", whole)
        {
            *metadata = normal["metadata"].take();
        }
        Ok(())
    };
    let done = embedded(value, node, node.embedded, &mut String::new(), &mut tidy);
    match done {
        Ok(()) => {}
    }
}

/// Shows `see` the metadata of every object that stands inside an object, with its path. Fails as soon as it does.
///
/// # Errors
/// Those of `see`.
pub fn each_embedded<E>(
    object: &mut Value,
    schema: &Node,
    see: &mut impl FnMut(&mut Value, &str) -> Result<(), E>,
) -> Result<(), E> {
    embedded(object, schema, false, &mut String::new(), see)
}

/// Shows every object that stands inside an object, with its path.
pub fn embedded_objects(object: &Value, schema: &Node, see: &mut impl FnMut(&Map<String, Value>, &str)) {
    objects(object, schema, &mut String::new(), see);
}

fn objects(value: &Value, node: &Node, path: &mut String, see: &mut impl FnMut(&Map<String, Value>, &str)) {
    let length = path.len();
    match value {
        Value::Object(members) => {
            if node.embedded && length > 0 {
                see(members, path);
            }
            for (name, value) in members {
                let below = match (node.properties.get(name), &node.additional) {
                    (Some(below), _) => below,
                    (None, Additional::Each(below)) => below,
                    _ => continue,
                };
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                objects(value, below, path, see);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            let Some(node) = &node.items else { return };
            for (number, item) in items.iter().enumerate() {
                path.push_str(&format!("[{number}]"));
                objects(item, node, path, see);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn embedded<E>(
    value: &mut Value,
    node: &Node,
    whole: bool,
    path: &mut String,
    see: &mut impl FnMut(&mut Value, &str) -> Result<(), E>,
) -> Result<(), E> {
    let length = path.len();
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                if whole && name == "metadata" {
                    see(value, path)?;
                } else if let Place::Of(node) = place(node, whole || length == 0, name) {
                    embedded(value, node, node.embedded, path, see)?;
                }
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            let Some(node) = &node.items else { return Ok(()) };
            for (number, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{number}]"));
                embedded(item, node, node.embedded, path, see)?;
                path.truncate(length);
            }
        }
        _ => {}
    }
    Ok(())
}

/// What a schema says about a member of an object.
pub(super) enum Place<'s> {
    Unspecified,
    Anything,
    Of(&'s Node),
}

/// `whole`: the object has `apiVersion`, `kind` and `metadata` of its own.
pub(super) fn place<'s>(schema: &'s Node, whole: bool, name: &str) -> Place<'s> {
    if whole && OBJECT.contains(&name) {
        return Place::Anything;
    }
    match (schema.properties.get(name), &schema.additional) {
        (Some(node), _) => Place::Of(node),
        (None, Additional::Each(node)) => Place::Of(node),
        (None, Additional::Anything) => Place::Anything,
        (None, Additional::Unspecified) if schema.preserve_unknown => Place::Anything,
        (None, Additional::Unspecified) => Place::Unspecified,
    }
}

impl Node {
    /// Whether null may stand here.
    pub(super) fn takes_null(&self) -> bool {
        self.nullable || self.kind == Kind::Any
    }
}

fn walk(
    members: &mut Map<String, Value>,
    schema: &Node,
    whole: bool,
    path: &mut String,
    gone: &mut Vec<String>,
) {
    let length = path.len();
    members.retain(|name, value| {
        let place = place(schema, whole, name);
        if length > 0 {
            path.push('.');
        }
        path.push_str(name);
        let keep = match place {
            Place::Unspecified => {
                gone.push(path.clone());
                false
            }
            Place::Anything => true,
            Place::Of(node) if value.is_null() => node.takes_null(),
            Place::Of(node) => {
                at(value, node, path, gone);
                true
            }
        };
        path.truncate(length);
        keep
    });
}

fn at(value: &mut Value, node: &Node, path: &mut String, gone: &mut Vec<String>) {
    match value {
        Value::Object(members) => walk(members, node, node.embedded, path, gone),
        Value::Array(items) => {
            let Some(node) = &node.items else { return };
            let length = path.len();
            for (number, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{number}]"));
                at(item, node, path, gone);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
