//! What kubectl applied before it left applying to the server: an annotation of the object. Who goes on with kubectl
//! owns what still is as they left it, and finds the annotation up to date should they go back.
use super::compare::compare;
use super::form::Type;
use super::members::{check, members};
use super::set::FieldSet;
use serde_json::{Map, Value};

/// The manager for whom this is done.
pub const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Beyond that an object with all its annotations is refused.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// The fields of the configuration in the annotation that have its values still.
pub(super) fn kept(live: &Value, api_version: &str, ty: Type<'_>) -> FieldSet {
    let text = live["metadata"]["annotations"][ANNOTATION].as_str();
    let last: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    let Some(last) = last.filter(|last| last["apiVersion"] == api_version && check(last, ty).is_ok()) else {
        return FieldSet::default();
    };
    let mut kept = members(&last, ty);
    let changes = compare(&last, live, ty);
    kept.subtract(&changes.written);
    kept.subtract(&changes.removed);
    kept
}

/// Writes the configuration that was applied into the annotation, if the object has it.
pub fn renew(object: &mut Value, config: &Value) {
    let Some(kept) = annotations(object).filter(|given| given.contains_key(ANNOTATION)) else {
        return;
    };
    let mut config = config.clone();
    if let Some(given) = annotations(&mut config) {
        given.remove(ANNOTATION);
    }
    kept.insert(ANNOTATION.to_owned(), Value::from(format!("{config}\n")));
    if bytes(kept) > ANNOTATIONS_BYTES_MAX {
        kept.remove(ANNOTATION);
    }
}

fn annotations(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.pointer_mut("/metadata/annotations")?.as_object_mut()
}

fn bytes(annotations: &Map<String, Value>) -> usize {
    let sizes = annotations.iter();
    sizes
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(data: Value, last: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations": {ANNOTATION: last}}, "data": data})
    }

    #[test]
    fn what_is_as_it_was_applied_is_kept() {
        let ty = Type::of_kind("v1", "ConfigMap").unwrap();
        let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b": "1", "c": "1"}})
            .to_string();
        let live = object(json!({"a": "1", "b": "2", "d": "1"}), &last);
        let mut fields = kept(&live, "v1", ty);
        for element in ["f:apiVersion", "f:kind"] {
            fields.cut(element);
        }
        assert_eq!(fields.to_value(), json!({"f:data": {"f:a": {}}}));
        assert!(kept(&live, "v2", ty).is_empty() && kept(&object(json!({}), "{"), "v1", ty).is_empty());
    }

    #[test]
    fn the_annotation_follows_what_is_applied() {
        let mut live = object(json!({"a": "1"}), "{}");
        let config = object(json!({"a": "1"}), "old");
        renew(&mut live, &config);
        let last = live["metadata"]["annotations"][ANNOTATION].as_str().unwrap();
        assert_eq!(
            last,
            "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"1\"},\"kind\":\"ConfigMap\",\"metadata\":{\"annotations\":{},\"name\":\"c\"}}\n"
        );
        let mut without = json!({"metadata": {"name": "c"}});
        renew(&mut without, &config);
        assert_eq!(without, json!({"metadata": {"name": "c"}}));
        renew(&mut live, &object(json!({"a": "x".repeat(300_000)}), ""));
        assert_eq!(live["metadata"]["annotations"], json!({}));
    }
}
