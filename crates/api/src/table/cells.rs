//! What cells are made of.

use jiff::Timestamp;
use serde_json::Value;

use crate::age;

/// Where there is nothing to show.
pub(super) const NONE: &str = "<none>";
pub(super) const UNSET: &str = "<unset>";
pub(super) const UNKNOWN: &str = "<unknown>";

/// The text at a path (`/spec/nodeName`), or an empty one.
pub(super) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// The number at a path, or 0.
pub(super) fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

pub(super) fn truth(object: &Value, path: &str) -> bool {
    object.pointer(path).and_then(Value::as_bool).unwrap_or_default()
}

/// The list at a path, or an empty one.
pub(super) fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object
        .pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Texts of a list.
pub(super) fn texts<'a>(object: &'a Value, path: &str) -> Vec<&'a str> {
    list(object, path).iter().filter_map(Value::as_str).collect()
}

/// Entries of the map or list at a path.
pub(super) fn count(object: &Value, path: &str) -> usize {
    match object.pointer(path) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(list)) => list.len(),
        _ => 0,
    }
}

pub(super) fn time(object: &Value, path: &str) -> Option<Timestamp> {
    text(object, path).parse().ok()
}

pub(super) fn name(object: &Value) -> Value {
    Value::from(text(object, "/metadata/name"))
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    Value::from(age::since(time(object, "/metadata/creationTimestamp"), now))
}

pub(super) fn created_at(object: &Value) -> Value {
    Value::from(text(object, "/metadata/creationTimestamp"))
}

/// `k=v` pairs of the map at a path, sorted, or `<none>`.
pub(super) fn pairs(object: &Value, path: &str) -> String {
    let Some(Value::Object(map)) = object.pointer(path) else {
        return NONE.to_owned();
    };
    let mut pairs: Vec<String> = map
        .iter()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    pairs.sort_unstable();
    or(&pairs.join(","), NONE).to_owned()
}

/// A label selector in the form users type it, or `<none>`.
pub(super) fn selector(object: &Value, path: &str) -> String {
    let Some(selector) = object.pointer(path) else {
        return NONE.to_owned();
    };
    let mut terms: Vec<(String, String)> = Vec::new();
    if let Some(Value::Object(labels)) = selector.get("matchLabels") {
        terms.extend(
            labels
                .iter()
                .map(|(k, v)| (k.clone(), format!("{k}={}", v.as_str().unwrap_or_default()))),
        );
    }
    for requirement in list(selector, "/matchExpressions") {
        let key = text(requirement, "/key");
        let mut values = texts(requirement, "/values");
        values.sort_unstable();
        let values = values.join(",");
        let term = match text(requirement, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => continue,
        };
        terms.push((key.to_owned(), term));
    }
    terms.sort();
    let joined = terms
        .into_iter()
        .map(|(_, term)| term)
        .collect::<Vec<_>>()
        .join(",");
    or(&joined, NONE).to_owned()
}

/// Names and images of the containers at a path, each comma-joined.
pub(super) fn containers(object: &Value, path: &str) -> (String, String) {
    let joined = |field| {
        list(object, path)
            .iter()
            .map(|c| text(c, field))
            .collect::<Vec<_>>()
            .join(",")
    };
    (joined("/name"), joined("/image"))
}

/// The first three, and how many more there are.
pub(super) fn first_three(items: &[String], none: &str) -> String {
    const SHOWN: usize = 3;
    match items.len() {
        0 => none.to_owned(),
        n if n <= SHOWN => items.join(","),
        n => format!(
            "{} + {} more...",
            items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(","),
            n - SHOWN
        ),
    }
}
