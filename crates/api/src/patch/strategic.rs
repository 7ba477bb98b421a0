//! Strategic merge patch: a merge patch that knows, kind by kind, which lists are keyed, and takes directives
//! (contract api-server §9.4). Which lists merge by what is in the field tables of [`crate::wire::schema`].

mod directive;
mod list;
mod show;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::PatchError;
use crate::wire::schema::{Field, Merge, MessageId, Schema, Shape, Type};
use directive::{Directive, Parallel};

/// Applies a strategic merge patch to an object of a built-in kind.
///
/// `kind` is the bare kind; where two groups share it (Event), `current`'s or the patch's apiVersion decides.
pub fn strategic(kind: &str, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let schema = Schema::builtin();
    let declared = |v: &Value| {
        v.get("apiVersion")
            .and_then(Value::as_str)
            .and_then(|a| schema.kind(a, kind))
    };
    let message = declared(current)
        .or_else(|| declared(patch))
        .or_else(|| schema.kind_by_name(kind))
        .ok_or_else(|| PatchError::UnknownKind(kind.to_owned()))?;
    let Value::Object(patch) = patch else {
        return Err(PatchError::Malformed(
            "a strategic merge patch is an object".to_owned(),
        ));
    };
    let current = current.as_object().cloned().unwrap_or_default();
    Ok(Value::Object(merge_map(current, patch, Place::Message(message))?))
}

/// What the tables say about a place in the object.
#[derive(Clone, Copy)]
enum Place {
    Message(MessageId),
    /// A map, a scalar, or something the tables don't know: plain merge-patch rules.
    Free,
}

impl Place {
    fn field(self, name: &str) -> Option<&'static Field> {
        match self {
            Place::Message(id) => Schema::builtin().message(id).field(name),
            Place::Free => None,
        }
    }

    /// The place of one value of a field: itself, or an element of its list.
    fn inside(field: Option<&Field>) -> Place {
        match field.map(|f| (f.ty, f.shape)) {
            Some((Type::Message(id), Shape::One | Shape::List)) => Place::Message(id),
            _ => Place::Free,
        }
    }
}

/// Merges `patch` into `current`, map into map.
fn merge_map(
    mut current: Map<String, Value>,
    patch: &Map<String, Value>,
    place: Place,
) -> Result<Map<String, Value>, PatchError> {
    match directive::of(patch)? {
        Some(Directive::Delete) => return Ok(Map::new()),
        Some(Directive::Replace) => return Ok(plain_map(patch, place)),
        // Nothing else happens to maps, and yet it may not be said.
        Some(Directive::Merge) => return Err(directive::unknown("merge", patch)),
        None => {}
    }
    if let Some(retained) = directive::retained_keys(patch)? {
        current.retain(|key, _| retained.contains(&key.as_str()));
    }
    for (key, value) in patch {
        if key.starts_with('$') {
            continue;
        }
        let field = place.field(key);
        if value.is_null() {
            current.remove(key);
            continue;
        }
        let Some(old) = current.remove(key) else {
            current.insert(key.clone(), plain(value, Place::inside(field), field));
            continue;
        };
        let merged = match (old, value) {
            (_, Value::Object(new)) if field.is_some_and(|f| f.merge == Merge::Replace) => {
                Value::Object(plain_map(new, Place::inside(field)))
            }
            (Value::Object(old), Value::Object(new)) => {
                Value::Object(merge_map(old, new, Place::inside(field))?)
            }
            (Value::Array(old), Value::Array(new)) => {
                let order = directive::order(patch, key)?;
                Value::Array(list::merge(old, new, order, field)?)
            }
            _ => plain(value, Place::inside(field), field),
        };
        current.insert(key.clone(), merged);
    }
    parallel_lists(&mut current, patch, place)?;
    Ok(current)
}

/// Directives beside a list rather than in it: `$deleteFromPrimitiveList/x` and, for a list the patch itself doesn't
/// carry, `$setElementOrder/x`.
fn parallel_lists(
    current: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    place: Place,
) -> Result<(), PatchError> {
    for (name, value) in patch {
        if let Some(key) = name.strip_prefix(Parallel::Delete.prefix()) {
            if let (Value::Array(unwanted), Some(Value::Array(items))) = (value, current.get_mut(key)) {
                items.retain(|item| !unwanted.contains(item));
            }
        } else if let Some(key) = name.strip_prefix(Parallel::Order.prefix()) {
            let order = directive::as_order(value)?;
            let untouched = patch.get(key).is_none();
            if untouched && let Some(Value::Array(items)) = current.get_mut(key) {
                *items = list::reorder(std::mem::take(items), order, place.field(key))?;
            }
        }
    }
    Ok(())
}

/// A value that has nothing to merge with: its nulls and directives mean nothing and are dropped.
fn plain(value: &Value, place: Place, field: Option<&Field>) -> Value {
    match value {
        Value::Object(map) => Value::Object(plain_map(map, place)),
        Value::Array(items) => {
            let keyed = field.is_some_and(|f| f.merge != Merge::Plain);
            let kept = items
                .iter()
                .filter(|i| !(keyed && directive::is_directive_element(i)));
            Value::Array(kept.map(|i| plain(i, place, None)).collect())
        }
        other => other.clone(),
    }
}

fn plain_map(map: &Map<String, Value>, place: Place) -> Map<String, Value> {
    let kept = map
        .iter()
        .filter(|(key, value)| !value.is_null() && !is_directive_key(key, place));
    kept.map(|(key, value)| {
        let field = place.field(key);
        (key.clone(), plain(value, Place::inside(field), field))
    })
    .collect()
}

/// Labels, annotations and data are free maps: a key of theirs may begin with a dollar sign, but upstream reads
/// directives there too, so only the exact names count.
fn is_directive_key(key: &str, place: Place) -> bool {
    match place {
        Place::Message(_) => key.starts_with('$'),
        Place::Free => {
            matches!(key, "$patch" | "$retainKeys")
                || key.starts_with(Parallel::Delete.prefix())
                || key.starts_with(Parallel::Order.prefix())
        }
    }
}
