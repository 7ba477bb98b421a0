//! ConfigMap: keys, size, and immutability (contract §13).
use super::definition::Resource;
use super::rules::Rules;
use super::validation::invalid;
use crate::status::{Cause, cause};
use orlop_api::names;
use serde_json::Value;

/// Bytes of all values together, for ConfigMaps and Secrets.
pub(super) const DATA_BYTES_MAX: usize = 1024 * 1024;

pub const CONFIGMAPS: Resource = Resource::new("", "configmaps", "configmap", "ConfigMap")
    .short(&["cm"])
    .with_rules(Rules {
        validate_create: validate,
        validate_update: |new, old| {
            let mut causes = immutable(new, old, &["data", "binaryData"]);
            causes.extend(validate(new));
            causes
        },
        ..Rules::GENERIC
    });

fn validate(map: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut size = 0;
    for (field, decoded) in [("data", false), ("binaryData", true)] {
        for (key, value) in map[field].as_object().into_iter().flatten() {
            causes.extend(check_key(field, key));
            if field == "binaryData" && map["data"].get(key).is_some() {
                causes.push(cause::invalid(
                    &format!("data[{key}]"),
                    &Value::String(key.clone()),
                    "duplicate of key present in binaryData",
                ));
            }
            size += value_size(value, decoded);
        }
    }
    if size > DATA_BYTES_MAX {
        causes.push(cause::too_long("[]", DATA_BYTES_MAX));
    }
    causes
}

/// Bytes of a value, which may be base64.
pub(super) fn value_size(value: &Value, base64: bool) -> usize {
    let text = value.as_str().unwrap_or_default();
    if base64 {
        text.trim_end_matches('=').len() * 3 / 4
    } else {
        text.len()
    }
}

/// What is wrong with a key.
pub(super) fn check_key(field: &str, key: &str) -> Vec<Cause> {
    invalid(&format!("{field}[{key}]"), key, names::check_config_key(key))
}

/// Once `immutable: true`, neither the data nor the mark may change.
pub(super) fn immutable(new: &Value, old: &Value, fields: &[&str]) -> Vec<Cause> {
    if old["immutable"] != Value::Bool(true) {
        return Vec::new();
    }
    let mut causes = Vec::new();
    if new["immutable"] != Value::Bool(true) {
        causes.push(cause::forbidden(
            "immutable",
            "field is immutable when `immutable` is set",
        ));
    }
    for field in fields {
        if new[*field] != old[*field] {
            causes.push(cause::forbidden(
                field,
                "field is immutable when `immutable` is set",
            ));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// C15, and the key rules of §13.
    #[test]
    fn keys_and_size_are_checked() {
        assert!(validate(&json!({"data": {"a.b-c_D": "x"}})).is_empty());
        let causes = validate(&json!({"data": {"a b": "x"}}));
        assert_eq!(causes[0].field, "data[a b]");
        for (key, why) in [
            ("..", "must not be '..'"),
            ("..a", "must not start with '..'"),
            (&*"k".repeat(254), "must be no more than 253 bytes"),
        ] {
            let shown = cause::shown(&validate(&json!({"data": {key: "x"}})));
            assert_eq!(shown, [format!("data[{key}]: Invalid value: {key:?}: {why}")]);
        }
        let causes = validate(&json!({"data": {"a": "x".repeat(DATA_BYTES_MAX + 1)}}));
        assert_eq!(causes[0].message, "Too long: may not be more than 1048576 bytes");
        let causes = validate(&json!({"data": {"a": ""}, "binaryData": {"a": ""}}));
        assert!(
            causes[0]
                .message
                .ends_with("duplicate of key present in binaryData")
        );
    }

    /// N07
    #[test]
    fn immutable_maps_stay_as_they_are() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        assert!(immutable(&old, &old, &["data"]).is_empty());
        let new = json!({"immutable": true, "data": {"a": "2"}});
        assert_eq!(
            immutable(&new, &old, &["data"])[0].message,
            "Forbidden: field is immutable when `immutable` is set"
        );
        assert_eq!(immutable(&json!({"data": {"a": "1"}}), &old, &["data"]).len(), 1);
    }
}
