//! Merge patch (RFC 7386): null deletes, objects merge, everything else replaces.

use serde_json::{Map, Value};

use super::{PatchError, json_kind};

/// Applies `patch` to `target`, whatever both are.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            // Merging into null rather than cloning drops the nulls inside a value that is new.
            merge(target.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a patch to an object; a patch that isn't one itself is refused.
pub fn merge_object(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    match patch {
        Value::Object(_) => {}
        Value::Null => return Err(PatchError::Invalid("Invalid JSON Patch".to_owned())),
        other => {
            let kind = json_kind(other);
            return Err(PatchError::Malformed(format!(
                "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            )));
        }
    }
    let mut merged = current.clone();
    merge(&mut merged, patch);
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json as j;

    use super::*;

    /// P01
    #[test]
    fn null_removes_and_values_are_set() {
        let merged = merge_object(
            &j!({"data": {"k": "v", "y": "0"}}),
            &j!({"data": {"k": null, "z": "1"}}),
        )
        .unwrap();
        assert_eq!(merged, j!({"data": {"y": "0", "z": "1"}}));
    }

    #[test]
    fn arrays_replace_and_nulls_inside_new_values_go() {
        let merged = merge_object(
            &j!({"a": [1, 2]}),
            &j!({"a": [3], "b": {"c": null, "d": {"e": null}}}),
        )
        .unwrap();
        assert_eq!(merged, j!({"a": [3], "b": {"d": {}}}));
    }

    #[test]
    fn a_patch_that_is_no_object_is_refused() {
        assert_eq!(merge_object(&j!({}), &j!([1])).unwrap_err().code(), 400);
    }

    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i16>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    /// What RFC 7386 says of one path: the model the property below checks against.
    fn expected(target: Option<&Value>, patch: Option<&Value>) -> Option<Value> {
        match (target, patch) {
            (target, None) => target.cloned(),
            (_, Some(Value::Null)) => None,
            (target, Some(Value::Object(patch))) => {
                let empty = Map::new();
                let target = target.and_then(Value::as_object).unwrap_or(&empty);
                let keys: std::collections::BTreeSet<&String> = target.keys().chain(patch.keys()).collect();
                let fields = keys
                    .into_iter()
                    .filter_map(|k| Some((k.clone(), expected(target.get(k), patch.get(k))?)));
                Some(Value::Object(fields.collect()))
            }
            (_, Some(other)) => Some(other.clone()),
        }
    }

    proptest! {
        #[test]
        fn merging_follows_the_model(target in any_json(), patch in any_json()) {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            prop_assert_eq!(Some(merged), expected(Some(&target), Some(&patch)).or(Some(Value::Null)));
        }

        #[test]
        fn merging_twice_changes_nothing_more(target in any_json(), patch in any_json()) {
            let mut once = target;
            merge(&mut once, &patch);
            let mut twice = once.clone();
            merge(&mut twice, &patch);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn json_patch_never_panics(target in any_json(), patch in any_json()) {
            let _ = super::super::json(&target, &patch);
        }
    }
}
