//! Labels, annotations, finalizers, owners (contract api-server §6).
use super::{invalid_all, list, text};
use crate::status::{Cause, cause};
use orlop_api::names;
use serde_json::{Value, json};

/// Bytes of all annotations together.
const ANNOTATION_BYTES_MAX: usize = 256 * 1024;
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: &[&str] = &["orphan", "foregroundDeletion", "kubernetes"];

/// Everything but the name, which each kind checks by its own rule.
pub fn metadata(metadata: &Value) -> Vec<Cause> {
    let mut causes = labels(&metadata["labels"], "metadata.labels");
    causes.extend(annotations(&metadata["annotations"], "metadata.annotations"));
    for finalizer in list(metadata, "finalizers") {
        let name = finalizer.as_str().unwrap_or_default();
        causes.extend(invalid_all(
            "metadata.finalizers",
            finalizer,
            names::check_qualified_name(name),
        ));
    }
    causes.extend(owners(metadata));
    causes
}

/// Finalizers without a domain: an object of a kind of Kubernetes' own has none but the standard ones.
pub fn finalizer_domains(metadata: &Value) -> Vec<Cause> {
    let wrong = list(metadata, "finalizers").iter().filter(|f| is_bare(f));
    wrong
        .map(|finalizer| {
            let hint = "name is neither a standard finalizer name nor is it fully qualified";
            cause::invalid("metadata.finalizers", finalizer, hint)
        })
        .collect()
}

/// Where they may be: what is said of those that `old` does not have.
pub fn finalizer_warnings(metadata: &Value, old: &Value) -> Vec<String> {
    let before = list(old, "finalizers");
    let new = list(metadata, "finalizers").iter();
    new.filter(|finalizer| is_bare(finalizer) && !before.contains(finalizer))
        .map(|finalizer| {
            format!(
                "metadata.finalizers: {finalizer}: prefer a domain-qualified finalizer name including a path (/) to \
                 avoid accidental conflicts with other finalizer writers"
            )
        })
        .collect()
}

fn is_bare(finalizer: &Value) -> bool {
    let name = finalizer.as_str().unwrap_or_default();
    !name.contains('/') && !STANDARD_FINALIZERS.contains(&name)
}

/// Keys and values of a label map.
pub fn labels(labels: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        causes.extend(invalid_all(field, &json!(key), names::check_qualified_name(key)));
        let reasons = names::check_label_value(value.as_str().unwrap_or_default());
        causes.extend(invalid_all(field, value, reasons));
    }
    causes
}

pub fn annotations(annotations: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Keys were once written in any case.
        let reasons = names::check_qualified_name(&key.to_lowercase());
        causes.extend(invalid_all(field, &json!(key), reasons));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATION_BYTES_MAX {
        causes.push(cause::too_long(field, ANNOTATION_BYTES_MAX));
    }
    causes
}

fn owners(metadata: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut controller: Option<&Value> = None;
    for (index, owner) in list(metadata, "ownerReferences").iter().enumerate() {
        let field = |name: &str| format!("metadata.ownerReferences[{index}].{name}");
        for (name, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(owner, name).is_empty() {
                causes.push(cause::invalid(&field(name), &owner[name], why));
            }
        }
        if owner["controller"] != true {
            continue;
        }
        if let Some(first) = controller {
            let shown = |owner: &Value| format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            causes.push(cause::invalid(
                "metadata.ownerReferences",
                &metadata["ownerReferences"],
                &format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                    shown(first),
                    shown(owner)
                ),
            ));
        }
        controller = Some(owner);
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C14, and the rules of §6.
    #[test]
    fn metadata_rules() {
        let fields = |value: Value| {
            metadata(&value)
                .into_iter()
                .map(|c| c.message)
                .collect::<Vec<_>>()
        };
        assert!(fields(json!({"labels": {"a.b/c": "x_y"}, "finalizers": ["orphan", "x.y/z"]})).is_empty());
        assert_eq!(fields(json!({"labels": {"a b": "x"}})).len(), 1);
        assert_eq!(fields(json!({"labels": {"a": "-"}})).len(), 1);
        let mine = json!({"finalizers": ["orphan", "mine"]});
        assert!(fields(mine.clone()).is_empty());
        assert!(
            finalizer_domains(&mine)[0]
                .message
                .ends_with("neither a standard finalizer name nor is it fully qualified")
        );
        assert_eq!(
            finalizer_warnings(&mine, &Value::Null),
            [
                "metadata.finalizers: \"mine\": prefer a domain-qualified finalizer name including a path (/) to avoid \
              accidental conflicts with other finalizer writers"
            ]
        );
        assert!(finalizer_warnings(&mine, &mine).is_empty());
        let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Foo", "name": name, "uid": name, "controller": true});
        let two = fields(json!({"ownerReferences": [owner("x"), owner("y")]}));
        assert!(
            two[0].ends_with("Found \"true\" in references for Foo/x and Foo/y"),
            "{two:?}"
        );
    }
}
