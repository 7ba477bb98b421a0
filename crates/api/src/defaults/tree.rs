//! Members of JSON objects, and filling in those that nobody gave.

use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

/// The object under this name, if there is one.
pub(super) fn object<'o>(of: &'o mut Object, name: &str) -> Option<&'o mut Object> {
    of.get_mut(name)?.as_object_mut()
}

/// The same; where nothing is, an empty one is made.
pub(super) fn made<'o>(of: &'o mut Object, name: &str) -> Option<&'o mut Object> {
    fill(of, name, Object::new());
    object(of, name)
}

/// The objects in the list under this name.
pub(super) fn objects<'o>(of: &'o mut Object, name: &str) -> impl Iterator<Item = &'o mut Object> {
    let list = of.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The text under this name; empty if there is none.
pub(super) fn text<'o>(of: &'o Object, name: &str) -> &'o str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Fills what is absent or null.
pub(super) fn fill(of: &mut Object, name: &str, value: impl Into<Value>) {
    if of.get(name).is_none_or(Value::is_null) {
        of.insert(name.to_owned(), value.into());
    }
}

/// Fills an absent or empty text.
pub(super) fn fill_text(of: &mut Object, name: &str, value: &str) {
    if text(of, name).is_empty() {
        of.insert(name.to_owned(), Value::from(value));
    }
}

/// Fills an absent or zero number (where upstream's field cannot tell the two apart).
pub(super) fn fill_number(of: &mut Object, name: &str, value: i64) {
    if of.get(name).and_then(Value::as_i64).unwrap_or(0) == 0 {
        of.insert(name.to_owned(), Value::from(value));
    }
}
