//! Claims and Ingresses that name no class get the one marked as default (contract §17).
use super::{Attempt, Operation};
use crate::status::ApiError;
use serde_json::{Value, json};

/// Where older objects name their class.
const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

const DEFAULT_STORAGE: &[&str] = &[
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const DEFAULT_INGRESS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];

/// `DefaultStorageClass`.
pub fn storage(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if attempt.is("persistentvolumeclaims", "") {
        give(attempt, STORAGE_CLASS, "storageClassName", || {
            ("storage.k8s.io", "storageclasses", DEFAULT_STORAGE)
        });
    }
    Ok(())
}

/// `DefaultIngressClass`.
pub fn ingress(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let resource = attempt.resource;
    if (resource.group, resource.plural, attempt.subresource) == ("networking.k8s.io", "ingresses", "") {
        give(attempt, INGRESS_CLASS, "ingressClassName", || {
            ("networking.k8s.io", "ingressclasses", DEFAULT_INGRESS)
        });
    }
    Ok(())
}

fn give(
    attempt: &mut Attempt<'_>,
    annotation: &str,
    field: &str,
    of: impl Fn() -> (&'static str, &'static str, &'static [&'static str]),
) {
    let names_one = |object: &Value| {
        // An empty name is a wish as well: for no class.
        object["spec"][field].is_string() || object["metadata"]["annotations"][annotation].is_string()
    };
    let lacks = attempt.object.as_deref().is_some_and(|object| !names_one(object));
    if attempt.operation != Operation::Create || !lacks {
        return;
    }
    let (group, plural, marks) = of();
    let classes = attempt.server.cache.values_of(group, plural);
    if let (Some(name), Some(object)) = (newest_default(&classes, marks), attempt.object.as_deref_mut()) {
        object["spec"][field] = json!(name);
    }
}

/// Of several defaults (there should be one) the newest, and of those the first by name.
fn newest_default(classes: &[Value], marks: &[&str]) -> Option<String> {
    let is_default = |class: &&Value| {
        let annotations = &class["metadata"]["annotations"];
        marks.iter().any(|mark| annotations[*mark] == "true")
    };
    let text = |class: &Value, key: &str| class["metadata"][key].as_str().unwrap_or_default().to_owned();
    let newest = classes.iter().filter(is_default).min_by_key(|class| {
        let created = std::cmp::Reverse(text(class, "creationTimestamp"));
        (created, text(class, "name"))
    });
    newest.map(|class| text(class, "name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_default_is_taken() {
        let class = |name: &str, created: &str, default: &str| {
            json!({"metadata": {"name": name, "creationTimestamp": created,
                "annotations": {"storageclass.kubernetes.io/is-default-class": default}}})
        };
        let old = class("old", "2026-01-01T00:00:00Z", "true");
        let new = class("new", "2026-02-01T00:00:00Z", "true");
        let twin = class("a-twin", "2026-02-01T00:00:00Z", "true");
        let other = class("other", "2026-03-01T00:00:00Z", "false");
        let pick = |classes: &[&Value]| {
            let classes: Vec<Value> = classes.iter().map(|class| (*class).clone()).collect();
            newest_default(&classes, DEFAULT_STORAGE)
        };
        assert_eq!(pick(&[&old, &new, &other]).as_deref(), Some("new"));
        assert_eq!(pick(&[&old, &new, &twin]).as_deref(), Some("a-twin"));
        assert_eq!(pick(&[&other]), None);
    }
}
