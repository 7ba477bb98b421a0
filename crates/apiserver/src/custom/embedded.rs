//! What is wrong with the objects that stand inside a custom object (`x-kubernetes-embedded-resource`).
use crate::status::{Cause, cause};
use orlop_api::names;
use orlop_api::structural::{Node, embedded_objects};
use serde_json::{Map, Value};

/// Inside of an object, at any depth; it itself is checked as every object is.
pub fn violations(object: &Value, schema: &Node) -> Vec<Cause> {
    let mut found = Vec::new();
    embedded_objects(object, schema, &mut |embedded, path| {
        found.extend(of_one(embedded, path));
    });
    found
}

fn of_one(object: &Map<String, Value>, path: &str) -> Vec<Cause> {
    let at = |field: &str| format!("{path}.{field}");
    let mut found = Vec::new();
    match object.get("apiVersion") {
        None => found.push(cause::required(&at("apiVersion"), "must not be empty")),
        Some(given) => {
            let hint = match given.as_str() {
                None => Some("must be a string".to_owned()),
                Some("") => Some("must not be empty".to_owned()),
                Some(text) if text.matches('/').count() > 1 => {
                    Some(format!("unexpected GroupVersion string: {text}"))
                }
                Some(_) => None,
            };
            found.extend(hint.map(|hint| cause::invalid(&at("apiVersion"), given, &hint)));
        }
    }
    match object.get("kind") {
        None => found.push(cause::required(&at("kind"), "must not be empty")),
        Some(given) => {
            let hint = match given.as_str() {
                None => Some("must be a string".to_owned()),
                Some("") => Some("must not be empty".to_owned()),
                Some(kind) => {
                    let wrong = names::check_dns_1035_label(&kind.to_lowercase()).join(",");
                    (!wrong.is_empty())
                        .then(|| format!("may have mixed case, but should otherwise match: {wrong}"))
                }
            };
            found.extend(hint.map(|hint| cause::invalid(&at("kind"), given, &hint)));
        }
    }
    if let Some(metadata) = object.get("metadata") {
        found.extend(of_metadata(metadata).into_iter().map(|mut cause| {
            cause.field = at(&cause.field);
            cause
        }));
    }
    found
}

fn of_metadata(metadata: &Value) -> Vec<Cause> {
    let given = &metadata["name"];
    let name = given.as_str().unwrap_or_default();
    let wrong = names::check_path_segment(name).into_iter();
    let mut found: Vec<Cause> = wrong
        .map(|why| cause::invalid("metadata.name", given, &why))
        .collect();
    let of_all = orlop_api::validation::metadata(metadata);
    found.extend(of_all.into_iter().map(Cause::from));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_api::structural::compile;
    use serde_json::json;

    #[test]
    fn objects_inside_of_objects_have_valid_names_of_their_own() {
        let whole = json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true});
        let mut nested = whole.clone();
        nested["properties"] = json!({"in": whole});
        let schema =
            json!({"type": "object", "properties": {"a": nested, "list": {"type": "array", "items": whole}}});
        let schema = compile(&schema, "s").unwrap();
        let texts = |object: Value| -> Vec<String> {
            let found = violations(&object, &schema);
            found
                .iter()
                .map(|c| format!("{}: {}", c.field, c.message))
                .collect()
        };
        let good = json!({"apiVersion": "g/v1", "kind": "Foo", "metadata": {"name": "x"}});
        assert!(texts(json!({"kind": "%", "a": good, "list": [good]})).is_empty());
        assert_eq!(
            texts(
                json!({"a": {"apiVersion": "g/v1", "kind": "Foo", "in": {"apiVersion": "a/b/c"}}, "list": [{"apiVersion": "v1",
                "kind": "Foo", "metadata": {"name": ".."}}]})
            ),
            [
                "a.in.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                "a.in.kind: Required value: must not be empty",
                "list[0].metadata.name: Invalid value: \"..\": may not be '..'",
            ]
        );
        let percent =
            texts(json!({"a": {"apiVersion": "v1", "kind": "%", "metadata": {"labels": {"x": "a b"}}}}));
        assert!(
            percent[0].starts_with(
                "a.kind: Invalid value: \"%\": may have mixed case, but should otherwise match: a DNS-1035 label"
            ),
            "{percent:?}"
        );
        assert!(
            percent[1].starts_with("a.metadata.labels: Invalid value: \"a b\""),
            "{percent:?}"
        );
    }
}
