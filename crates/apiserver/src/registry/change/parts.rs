//! What a write of a part leaves as it is.
use super::{Change, Part};
use crate::registry::{identity, ownership};
use crate::resources::StatusMetadata;
use serde_json::{Map, Value};

impl Change<'_> {
    /// Puts back everything the written part does not include.
    pub(super) fn restore_parts(&self, new: &mut Value, old: &Value) {
        match self.part {
            Part::Main => {
                if self.call.resource.has_status() {
                    put(new, "status", old.get("status"));
                }
            }
            Part::Scale | Part::Binding => {}
            Part::Status => {
                keep_only(new, old, &["status"]);
                match self.call.resource.rules.status_metadata {
                    StatusMetadata::Written => {}
                    StatusMetadata::LabelsKept => {
                        put(&mut new["metadata"], "labels", old["metadata"].get("labels"))
                    }
                    StatusMetadata::OwnersKept => {
                        for key in ["deletionTimestamp", "ownerReferences"] {
                            put(&mut new["metadata"], key, old["metadata"].get(key));
                        }
                    }
                    StatusMetadata::Kept => {
                        new["metadata"] = old["metadata"].clone();
                        ownership::take(new);
                    }
                }
            }
            Part::Finalize => {
                let finalizers = new["spec"]["finalizers"].clone();
                keep_only(new, old, &[]);
                new["spec"]["finalizers"] = finalizers;
            }
            Part::Approval => {
                let conditions = new["status"]["conditions"].clone();
                keep_only(new, old, &[]);
                let status = new.get_mut("status").and_then(Value::as_object_mut);
                match (status, conditions.is_null()) {
                    (Some(status), true) => drop(status.remove("conditions")),
                    (None, true) => {}
                    (_, false) => new["status"]["conditions"] = conditions,
                }
            }
            Part::Resize => {
                crate::resources::keep_resized(new, old);
                ownership::take(new);
            }
            Part::EphemeralContainers => {
                let containers = new["spec"]["ephemeralContainers"].clone();
                *new = old.clone();
                ownership::take(new);
                if !containers.is_null() {
                    new["spec"]["ephemeralContainers"] = containers;
                }
            }
        }
    }
}

/// The old object with the new one's metadata and the named members.
fn keep_only(new: &mut Value, old: &Value, members: &[&str]) {
    let mut given = std::mem::take(new);
    let taken = |member: &str| member == "metadata" || members.contains(&member);
    let stored = old.as_object().into_iter().flatten();
    let kept = stored.filter(|(member, _)| !taken(member));
    let mut kept: Map<String, Value> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
    if let Some(given) = given.as_object_mut() {
        for member in members.iter().chain(&["metadata"]) {
            kept.extend(given.remove_entry(*member));
        }
    }
    *new = Value::Object(kept);
}

fn put(object: &mut Value, key: &str, value: Option<&Value>) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    match value {
        Some(value) => {
            object.insert(key.to_owned(), value.clone());
        }
        None => {
            object.remove(key);
        }
    }
}

/// What only the server sets comes from the stored object; a deletion under way may be repeated or left out.
pub fn restore_metadata(new: &mut Value, old: &Value) {
    let stored = &old["metadata"];
    let metadata = identity::metadata(new);
    for key in [
        "uid",
        "creationTimestamp",
        "generation",
        "namespace",
        "name",
        "generateName",
        "resourceVersion",
    ] {
        match stored.get(key) {
            Some(value) => {
                metadata.insert(key.to_owned(), value.clone());
            }
            None => {
                metadata.remove(key);
            }
        }
    }
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if let (Some(value), None) = (stored.get(key), metadata.get(key)) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    metadata.remove("selfLink");
}

/// Whether anything but metadata and status does.
pub fn spec_differs(new: &Value, old: &Value) -> bool {
    let other = |key: &&String| !matches!(key.as_str(), "metadata" | "status" | "kind" | "apiVersion");
    let keys = |value: &Value| -> Vec<String> {
        value
            .as_object()
            .map(|o| o.keys().filter(other).cloned().collect())
            .unwrap_or_default()
    };
    let mut all = keys(new);
    all.extend(keys(old));
    all.iter().any(|key| new[key.as_str()] != old[key.as_str()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_other_members_than_metadata_and_status_are_the_spec() {
        let old = json!({"metadata": {"a": 1}, "spec": {"x": 1}, "status": {"s": 1}});
        let mut new = json!({"metadata": {"a": 2}, "spec": {"x": 1}, "status": {"s": 2}});
        assert!(!spec_differs(&new, &old));
        new["spec"]["x"] = json!(2);
        assert!(spec_differs(&new, &old));
    }

    /// O08: a status write takes the status and leaves the spec.
    #[test]
    fn a_status_write_keeps_the_spec() {
        let old = json!({"metadata": {}, "spec": {"x": 1}, "status": {"s": 1}});
        let mut new = json!({"metadata": {"labels": {"l": "1"}}, "spec": {"x": 2}, "status": {"s": 2}});
        keep_only(&mut new, &old, &["status"]);
        assert_eq!(
            new,
            json!({"metadata": {"labels": {"l": "1"}}, "spec": {"x": 1}, "status": {"s": 2}})
        );
    }
}
