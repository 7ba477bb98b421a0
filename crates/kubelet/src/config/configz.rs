//! The configuration as it is shown.
use super::KubeletConfiguration;
use super::load::{API_VERSION, KIND};
use serde_json::{Map, Value};

/// What `/configz` shows.
pub fn configz(configuration: &KubeletConfiguration) -> Value {
    let mut shown = Map::new();
    shown.insert("kind".into(), KIND.into());
    shown.insert("apiVersion".into(), API_VERSION.into());
    // A structure of strings, numbers and maps always has a JSON form.
    if let Ok(Value::Object(fields)) = serde_json::to_value(configuration) {
        shown.extend(fields);
    }
    serde_json::json!({ "kubeletconfig": shown })
}
