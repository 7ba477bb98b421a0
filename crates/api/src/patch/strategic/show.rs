//! Values the way upstream's messages print them: `map[image:z]`.

use serde_json::{Map, Value};

/// A map, keys sorted.
pub(super) fn show_map(map: &Map<String, Value>) -> String {
    let mut fields: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", show(v))).collect();
    fields.sort_unstable();
    format!("map[{}]", fields.join(" "))
}

pub(super) fn show_list(items: &[Value]) -> String {
    format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
}

/// Any value; nesting is bounded by the parser that made it.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(s) => s.clone(),
        Value::Array(items) => show_list(items),
        Value::Object(map) => show_map(map),
        other => other.to_string(),
    }
}
