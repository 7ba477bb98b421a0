//! Object metadata: names, labels, annotations, owners, finalizers.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::error::{FieldError, Findings};
use crate::names;

/// All annotations of an object together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Which names a kind may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Most kinds.
    DnsSubdomain,
    /// Namespaces, services.
    DnsLabel,
    /// RBAC kinds.
    PathSegment,
}

impl NameRule {
    fn check(self, name: &str) -> Vec<String> {
        match self {
            NameRule::DnsSubdomain => names::check_dns_subdomain(name),
            NameRule::DnsLabel => names::check_dns_label(name),
            NameRule::PathSegment => names::check_path_segment(name),
        }
    }
}

/// Metadata on create. `namespaced` tells whether a namespace is required or forbidden.
pub fn object_meta(meta: &ObjectMeta, namespaced: bool, rule: NameRule) -> Vec<FieldError> {
    let mut f = Findings::default();
    let name = meta.name.as_deref().unwrap_or("");
    let generate_name = meta.generate_name.as_deref().unwrap_or("");
    if !generate_name.is_empty() {
        f.invalid_each(
            "metadata.generateName",
            generate_name,
            rule.check(&names::mask_trailing_dash(generate_name)),
        );
    }
    if name.is_empty() {
        f.add(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        f.invalid_each("metadata.name", name, rule.check(name));
    }
    let namespace = meta.namespace.as_deref().unwrap_or("");
    match (namespaced, namespace.is_empty()) {
        (true, true) => f.add(FieldError::required("metadata.namespace", "")),
        (true, false) => f.invalid_each("metadata.namespace", namespace, names::check_dns_label(namespace)),
        (false, false) => f.add(FieldError::forbidden(
            "metadata.namespace",
            "not allowed on this type",
        )),
        (false, true) => {}
    }
    accessor(meta, &mut f);
    f.errors
}

fn accessor(meta: &ObjectMeta, f: &mut Findings) {
    if meta.generation.unwrap_or(0) < 0 {
        f.add(FieldError::invalid(
            "metadata.generation",
            meta.generation,
            "must be greater than or equal to 0",
        ));
    }
    if let Some(map) = &meta.labels {
        f.all(labels(map, "metadata.labels"));
    }
    if let Some(map) = &meta.annotations {
        f.all(annotations(map, "metadata.annotations"));
    }
    owners(meta, f);
    for (i, finalizer) in meta.finalizers.iter().flatten().enumerate() {
        let field = format!("metadata.finalizers[{i}]");
        f.invalid_each(&field, finalizer, names::check_qualified_name(finalizer));
        let standard = matches!(finalizer.as_str(), "orphan" | "foregroundDeletion" | "kubernetes");
        if !finalizer.contains('/') && !standard {
            f.add(FieldError::invalid(
                &field,
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    let both = |name: &str| meta.finalizers.iter().flatten().any(|s| s == name);
    if both("orphan") && both("foregroundDeletion") {
        f.add(FieldError::invalid(
            "metadata.finalizers",
            &meta.finalizers,
            "finalizers foregroundDeletion and orphan cannot be both set",
        ));
    }
}

fn owners(meta: &ObjectMeta, f: &mut Findings) {
    let mut controller: Option<String> = None;
    for (i, owner) in meta.owner_references.iter().flatten().enumerate() {
        let at = format!("metadata.ownerReferences[{i}]");
        if owner.api_version.is_empty() || owner.api_version.matches('/').count() > 1 {
            f.add(FieldError::invalid(
                format!("{at}.apiVersion"),
                &owner.api_version,
                "version must not be empty",
            ));
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                f.add(FieldError::invalid(
                    format!("{at}.{field}"),
                    value,
                    &format!("{field} must not be empty"),
                ));
            }
        }
        if owner.controller == Some(true) {
            let me = format!("{}/{}", owner.kind, owner.name);
            match &controller {
                Some(other) => f.add(FieldError::invalid(
                    "metadata.ownerReferences",
                    &meta.owner_references,
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {other} and {me}"
                    ),
                )),
                None => controller = Some(me),
            }
        }
    }
}

/// Label keys and values.
pub fn labels(map: &BTreeMap<String, String>, field: &str) -> Vec<FieldError> {
    let mut f = Findings::default();
    for (key, value) in map {
        f.invalid_each(field, key, names::check_qualified_name(key));
        f.invalid_each(field, value, names::check_label_value(value));
    }
    f.errors
}

fn annotations(map: &BTreeMap<String, String>, field: &str) -> Vec<FieldError> {
    let mut f = Findings::default();
    let mut total = 0usize;
    for (key, value) in map {
        // Annotation keys are label keys that may be written in upper case.
        f.invalid_each(field, key, names::check_qualified_name(&key.to_lowercase()));
        total = total.saturating_add(key.len()).saturating_add(value.len());
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
    use serde_json::{Value, json};

    use super::*;

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors
            .iter()
            .map(|e| e.to_string().chars().take(70).collect())
            .collect()
    }

    #[test]
    fn on_create() {
        for (value, want) in [
            (json!({"name": "a", "namespace": "n"}), vec![]),
            (
                json!({"namespace": "n"}),
                vec!["metadata.name: Required value: name or generateName is require"],
            ),
            (
                json!({"name": "A", "namespace": "n"}),
                vec!["metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomai"],
            ),
            (
                json!({"name": "a", "generateName": "b-", "namespace": "n"}),
                vec![],
            ),
            (json!({"name": "a"}), vec!["metadata.namespace: Required value"]),
            (
                json!({"name": "a", "namespace": "a.b"}),
                vec!["metadata.namespace: Invalid value: \"a.b\": must not contain dots"],
            ),
            (
                json!({"name": "a", "namespace": "n", "labels": {"-": "x"}}),
                vec!["metadata.labels: Invalid value: \"-\": name part must consist of alphan"],
            ),
            (
                json!({"name": "a", "namespace": "n", "labels": {"x": "a b"}}),
                vec!["metadata.labels: Invalid value: \"a b\": a valid label must be an empt"],
            ),
            (
                json!({"name": "a", "namespace": "n", "annotations": {"X/y": "anything at all"}}),
                vec![],
            ),
            (
                json!({"name": "a", "namespace": "n", "annotations": {"x": "y".repeat(262_144)}}),
                vec!["metadata.annotations: Too long: may not be more than 262144 bytes"],
            ),
            (
                json!({"name": "a", "namespace": "n", "finalizers": ["orphan", "x.y/z"]}),
                vec![],
            ),
            (
                json!({"name": "a", "namespace": "n", "finalizers": ["mine"]}),
                vec!["metadata.finalizers[0]: Invalid value: \"mine\": name is neither a sta"],
            ),
            (
                json!({"name": "a", "namespace": "n", "ownerReferences": [{"apiVersion": "v1", "kind": "", "name": "x", "uid": "u"}]}),
                vec!["metadata.ownerReferences[0].kind: Invalid value: \"\": kind must not be"],
            ),
        ] {
            let got = object_meta(&meta(value.clone()), true, NameRule::DnsSubdomain);
            let got = texts(&got);
            let begins =
                got.len() == want.len() && got.iter().zip(&want).all(|(got, want)| got.starts_with(want));
            assert!(begins, "{value}: {got:?}");
        }
    }

    #[test]
    fn one_controller_at_most() {
        let owner =
            |n: &str| json!({"apiVersion": "v1", "kind": "Foo", "name": n, "uid": n, "controller": true});
        let got = object_meta(
            &meta(json!({"name": "a", "ownerReferences": [owner("x"), owner("y")]})),
            false,
            NameRule::DnsSubdomain,
        );
        assert!(got[0].detail.ends_with("Only one reference can have Controller set to true. Found \"true\" in references for Foo/x and Foo/y"));
    }
}
