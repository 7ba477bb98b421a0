//! Secret: `stringData`, types with required keys, immutability (contract §13).
use super::configmaps::{DATA_BYTES_MAX, check_key, immutable, value_size};
use super::definition::{Field, Read, Resource};
use super::rules::Rules;
use crate::status::{Cause, cause};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub const SECRETS: Resource = Resource::new("", "secrets", "secret", "Secret")
    .with_fields(&[Field {
        name: "type",
        read: Read::Text("/type"),
    }])
    .with_rules(Rules {
        default,
        validate_create: validate,
        validate_update: |new, old| {
            let mut causes = immutable(new, old, &["data"]);
            if new["type"] != old["type"] {
                causes.push(cause::invalid("type", &new["type"], "field is immutable"));
            }
            causes.extend(validate(new));
            causes
        },
        ..Rules::GENERIC
    });

/// Keys each type must have.
const REQUIRED_KEYS: &[(&str, &[&str])] = &[
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
];

fn default(secret: &mut Value) {
    if secret["type"].as_str().unwrap_or_default().is_empty() {
        secret["type"] = json!("Opaque");
    }
    let Some(plain) = secret.as_object_mut().and_then(|s| s.remove("stringData")) else {
        return;
    };
    for (key, value) in plain.as_object().into_iter().flatten() {
        secret["data"][key] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
    }
}

fn validate(secret: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut size = 0;
    for (key, value) in secret["data"].as_object().into_iter().flatten() {
        causes.extend(check_key("data", key));
        size += value_size(value, true);
    }
    if size > DATA_BYTES_MAX {
        causes.push(cause::too_long("data", DATA_BYTES_MAX));
    }
    let kind = secret["type"].as_str().unwrap_or_default();
    for (_, keys) in REQUIRED_KEYS.iter().filter(|(t, _)| *t == kind) {
        for key in *keys {
            if secret["data"].get(*key).is_none() {
                causes.push(cause::required(&format!("data[{key}]"), ""));
            }
        }
    }
    if let Some(key) = match kind {
        "kubernetes.io/dockerconfigjson" => Some(".dockerconfigjson"),
        "kubernetes.io/dockercfg" => Some(".dockercfg"),
        _ => None,
    } && let Some(text) = secret["data"][key].as_str()
    {
        let content = STANDARD.decode(text).unwrap_or_default();
        if serde_json::from_slice::<Value>(&content).is_err() {
            causes.push(cause::invalid(
                &format!("data[{key}]"),
                &json!("<secret contents redacted>"),
                "invalid character in JSON",
            ));
        }
    }
    let account = "/metadata/annotations/kubernetes.io~1service-account.name";
    if kind == "kubernetes.io/service-account-token"
        && secret
            .pointer(account)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
    {
        causes.push(cause::required(
            "metadata.annotations[kubernetes.io/service-account.name]",
            "",
        ));
    }
    if kind == "kubernetes.io/basic-auth"
        && secret["data"].get("username").is_none()
        && secret["data"].get("password").is_none()
    {
        causes.push(cause::required("data[username]", ""));
        causes.push(cause::required("data[password]", ""));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N08
    #[test]
    fn string_data_is_merged_and_the_type_defaults() {
        let mut secret = json!({"stringData": {"a": "b"}, "data": {"c": "ZA=="}});
        default(&mut secret);
        assert_eq!(
            secret,
            json!({"type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="}})
        );
    }

    #[test]
    fn a_tls_secret_needs_both_keys() {
        let causes = validate(&json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}));
        assert_eq!(causes.len(), 1);
        assert_eq!(causes[0].field, "data[tls.key]");
    }
}
