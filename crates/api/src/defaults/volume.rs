//! Defaults of volumes.

use super::pod::{pull_policy, references};
use super::tree::{Object, fill, fill_text, object, objects, text};

/// Permission bits of files made from API objects, 0644.
const MODE: i32 = 0o644;
/// What kinds of volumes get, besides what is more than a value: source, field, value if it is absent or empty.
const TEXTS: &[(&str, &str, &str)] = &[
    ("iscsi", "iscsiInterface", "default"),
    ("rbd", "pool", "rbd"),
    ("rbd", "user", "admin"),
    ("rbd", "keyring", "/etc/ceph/keyring"),
    ("scaleIO", "storageMode", "ThinProvisioned"),
    ("scaleIO", "fsType", "xfs"),
    ("azureDisk", "cachingMode", "ReadWrite"),
    ("azureDisk", "kind", "Shared"),
    ("azureDisk", "fsType", "ext4"),
];

/// Gives a volume what its kind gets.
pub(super) fn volume(volume: &mut Object) {
    let has_source = volume
        .iter()
        .any(|(name, value)| name != "name" && !value.is_null());
    if !has_source {
        fill(volume, "emptyDir", Object::new());
    }
    if let Some(path) = object(volume, "hostPath") {
        fill(path, "type", "");
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = object(volume, kind) {
            fill(source, "defaultMode", MODE);
        }
    }
    if let Some(source) = object(volume, "downwardAPI") {
        objects(source, "items").for_each(references);
    }
    if let Some(projected) = object(volume, "projected") {
        for source in objects(projected, "sources") {
            if let Some(token) = object(source, "serviceAccountToken") {
                fill(token, "expirationSeconds", 3600);
            }
            if let Some(api) = object(source, "downwardAPI") {
                objects(api, "items").for_each(references);
            }
        }
    }
    if let Some(image) = object(volume, "image") {
        let policy = pull_policy(text(image, "reference"));
        fill_text(image, "pullPolicy", policy);
    }
    for (kind, field, value) in TEXTS {
        if let Some(source) = object(volume, kind) {
            fill_text(source, field, value);
        }
    }
    if let Some(disk) = object(volume, "azureDisk") {
        fill(disk, "readOnly", false);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sources() {
        for (given, want) in [
            (json!({"name": "v"}), json!({"name": "v", "emptyDir": {}})),
            (
                json!({"name": "v", "hostPath": {"path": "/"}}),
                json!({"name": "v", "hostPath": {"path": "/", "type": ""}}),
            ),
            (
                json!({"name": "v", "secret": {"secretName": "s"}}),
                json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 420}}),
            ),
            (
                json!({"name": "v", "configMap": {"name": "s", "defaultMode": 256}}),
                json!({"name": "v", "configMap": {"name": "s", "defaultMode": 256}}),
            ),
            (
                json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}),
                json!({"name": "v", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}, {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}]}}]}}),
            ),
            (
                json!({"name": "v", "image": {"reference": "a:1"}}),
                json!({"name": "v", "image": {"reference": "a:1", "pullPolicy": "IfNotPresent"}}),
            ),
        ] {
            let mut defaulted = given.clone();
            volume(defaulted.as_object_mut().unwrap());
            assert_eq!(defaulted, want, "{given}");
        }
    }
}
