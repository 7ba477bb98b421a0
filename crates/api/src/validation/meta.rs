//! Object metadata: labels, annotations, owners, finalizers (contract, API server §6).
//!
//! Read from trees: every object has metadata, those that have no type of ours too.
use super::error::{FieldError, Findings};
use super::pod_update::{list, text};
use crate::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;
use std::collections::BTreeMap;

/// All annotations of an object together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: &[&str] = &[ORPHAN, FOREGROUND, "kubernetes"];
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Everything but names, which each kind checks by its own rule, and what only [`finalizer_domains`] asks.
pub fn metadata(metadata: &Value) -> Vec<FieldError> {
    let mut f = Findings::default();
    f.all(label_map(&metadata["labels"], "metadata.labels"));
    f.all(annotation_map(&metadata["annotations"], "metadata.annotations"));
    owners(metadata, &mut f);
    let finalizers = list(metadata, "finalizers");
    for finalizer in finalizers {
        let name = finalizer.as_str().unwrap_or_default();
        f.invalid_each("metadata.finalizers", name, names::check_qualified_name(name));
    }
    if finalizers.iter().any(|one| one == ORPHAN) && finalizers.iter().any(|one| one == FOREGROUND) {
        let hint = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        f.invalid("metadata.finalizers", finalizers, &hint);
    }
    f.errors
}

/// Finalizers without a domain: an object of a kind of Kubernetes' own has none but the standard ones.
pub fn finalizer_domains(metadata: &Value) -> Vec<FieldError> {
    let finalizers = list(metadata, "finalizers").iter().enumerate();
    let bare = finalizers.filter(|(_, finalizer)| is_bare(finalizer));
    bare.map(|(index, finalizer)| {
        let hint = "name is neither a standard finalizer name nor is it fully qualified";
        FieldError::invalid(format!("metadata.finalizers[{index}]"), finalizer, hint)
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

fn owners(metadata: &Value, f: &mut Findings) {
    let mut controller: Option<String> = None;
    for (index, owner) in list(metadata, "ownerReferences").iter().enumerate() {
        let at = |name: &str| format!("metadata.ownerReferences[{index}].{name}");
        let version = text(owner, "apiVersion");
        if version.is_empty() || version.matches('/').count() > 1 {
            f.invalid(at("apiVersion"), version, "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if text(owner, name).is_empty() {
                f.invalid(at(name), "", &format!("{name} must not be empty"));
            }
        }
        if owner["controller"] != true {
            continue;
        }
        let shown = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
        match &controller {
            Some(first) => {
                let hint = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {shown}"
                );
                f.invalid("metadata.ownerReferences", &metadata["ownerReferences"], &hint);
            }
            None => controller = Some(shown),
        }
    }
}

/// Keys and values of labels.
pub fn label_map(labels: &Value, field: &str) -> Vec<FieldError> {
    let entries = labels.as_object().into_iter().flatten();
    check_labels(
        entries.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())),
        field,
    )
}

/// The same of those that have their type.
pub(super) fn labels(map: &BTreeMap<String, String>, field: &str) -> Vec<FieldError> {
    check_labels(
        map.iter().map(|(key, value)| (key.as_str(), value.as_str())),
        field,
    )
}

fn check_labels<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>, field: &str) -> Vec<FieldError> {
    let mut f = Findings::default();
    for (key, value) in entries {
        f.invalid_each(field, key, names::check_qualified_name(key));
        f.invalid_each(field, value, names::check_label_value(value));
    }
    f.errors
}

/// Keys of annotations, and how much all of them are.
pub fn annotation_map(annotations: &Value, field: &str) -> Vec<FieldError> {
    let mut f = Findings::default();
    let mut total = 0usize;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Annotation keys are label keys that may be written in upper case.
        f.invalid_each(field, key, names::check_qualified_name(&key.to_lowercase()));
        let value = value.as_str().map_or(0, str::len);
        total = total.saturating_add(key.len()).saturating_add(value);
    }
    if total > ANNOTATIONS_BYTES_MAX {
        f.add(FieldError::too_long(field, ANNOTATIONS_BYTES_MAX));
    }
    f.errors
}

/// The object form of a label selector, under a field path.
pub fn label_selector(selector: &LabelSelector, field: &str) -> Vec<FieldError> {
    let mut f = Findings::default();
    if let Some(map) = &selector.match_labels {
        f.all(labels(map, &format!("{field}.matchLabels")));
    }
    for (i, r) in selector.match_expressions.iter().flatten().enumerate() {
        let at = format!("{field}.matchExpressions[{i}]");
        let values = r.values.as_deref().unwrap_or(&[]);
        match r.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => f.add(FieldError::required(
                format!("{at}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => f.add(FieldError::forbidden(
                format!("{at}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => f.add(FieldError::invalid(
                format!("{at}.operator"),
                other,
                "not a valid selector operator",
            )),
        }
        f.invalid_each(&format!("{at}.key"), &r.key, names::check_qualified_name(&r.key));
        for (j, value) in values.iter().enumerate() {
            f.invalid_each(
                &format!("{at}.values[{j}]"),
                value,
                names::check_label_value(value),
            );
        }
    }
    f.errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(value: Value) -> Vec<String> {
        metadata(&value).iter().map(ToString::to_string).collect()
    }

    /// C14, and the rules of §6.
    #[test]
    fn metadata_rules() {
        let owner = |version: &str, kind: &str| json!([{"apiVersion": version, "kind": kind, "name": "x", "uid": "u"}]);
        for good in [
            json!({}),
            json!({"labels": {"a.b/c": "x_y"}, "finalizers": ["orphan", "x.y/z", "mine"]}),
            json!({"annotations": {"X/y": "anything at all"}}),
            json!({"ownerReferences": owner("apps/v1", "Foo")}),
        ] {
            assert_eq!(texts(good), [""; 0]);
        }
        for (bad, want) in [
            (
                json!({"labels": {"-": "x"}}),
                "metadata.labels: Invalid value: \"-\": name part must consist of alphan",
            ),
            (
                json!({"labels": {"x": "a b"}}),
                "metadata.labels: Invalid value: \"a b\": a valid label must be an empt",
            ),
            (
                json!({"annotations": {"x": "y".repeat(262_144)}}),
                "metadata.annotations: Too long: may not be more than 262144 bytes",
            ),
            (
                json!({"finalizers": ["a b"]}),
                "metadata.finalizers: Invalid value: \"a b\": name part must consist of",
            ),
            (
                json!({"finalizers": ["orphan", "foregroundDeletion"]}),
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
            ),
            (
                json!({"ownerReferences": owner("v1", "")}),
                "metadata.ownerReferences[0].kind: Invalid value: \"\": kind must not be empty",
            ),
            (
                json!({"ownerReferences": owner("a/b/c", "Foo")}),
                "metadata.ownerReferences[0].apiVersion: Invalid value: \"a/b/c\": version must not be empty",
            ),
        ] {
            let found = texts(bad);
            assert!(
                found.len() == 1 && found[0].starts_with(want),
                "{want}: {found:?}"
            );
        }
        let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Foo", "name": name, "uid": name, "controller": true});
        let two = texts(json!({"ownerReferences": [owner("x"), owner("y")]}));
        assert!(two[0].ends_with("Only one reference can have Controller set to true. Found \"true\" in references for Foo/x and Foo/y"));
    }

    #[test]
    fn finalizers_have_a_domain_or_a_warning() {
        let mine = json!({"finalizers": ["orphan", "mine"]});
        let domains: Vec<String> = finalizer_domains(&mine).iter().map(ToString::to_string).collect();
        assert_eq!(
            domains,
            [
                "metadata.finalizers[1]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified"
            ]
        );
        assert_eq!(
            finalizer_warnings(&mine, &Value::Null),
            [
                "metadata.finalizers: \"mine\": prefer a domain-qualified finalizer name including a path (/) to avoid \
              accidental conflicts with other finalizer writers"
            ]
        );
        assert!(finalizer_warnings(&mine, &mine).is_empty());
    }
}
