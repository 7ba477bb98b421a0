//! Takes out of an object what its schema doesn't specify.
use super::{Additional, Kind, Node};
use serde_json::{Map, Value};

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

fn walk(
    members: &mut Map<String, Value>,
    schema: &Node,
    whole: bool,
    path: &mut String,
    gone: &mut Vec<String>,
) {
    let length = path.len();
    members.retain(|name, value| {
        let kept = (whole && OBJECT.contains(&name.as_str())).then_some(None);
        let place = kept.or_else(|| match (schema.properties.get(name), &schema.additional) {
            (Some(node), _) => Some(Some(node)),
            (None, Additional::Each(node)) => Some(Some(&**node)),
            (None, Additional::Anything) => Some(None),
            (None, Additional::Unspecified) => schema.preserve_unknown.then_some(None),
        });
        if length > 0 {
            path.push('.');
        }
        path.push_str(name);
        let keep = match place {
            None => {
                gone.push(path.clone());
                false
            }
            Some(None) => true,
            Some(Some(node)) if value.is_null() => node.nullable || node.kind == Kind::Any,
            Some(Some(node)) => {
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
