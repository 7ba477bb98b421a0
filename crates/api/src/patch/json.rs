//! JSON patch (RFC 6902).

use json_patch::PatchOperation;
use serde_json::Value;

use super::PatchError;

/// Upstream's limit on one request, which bounds the work a small body can ask for.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// Bytes that `copy` operations may add up to, upstream's limit on request bodies: a handful of copies of the
/// root doubles the object each time.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Nesting a patched object may reach: beyond what any kind has, far below what recursion over it can stand.
const DEPTH_MAX: usize = 200;

/// Applies the operations in order to a copy of `current`; all or none.
pub fn json(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = patch else {
        return Err(PatchError::Malformed(
            "a JSON patch is an array of operations".to_owned(),
        ));
    };
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut parsed = Vec::with_capacity(operations.len());
    for (i, operation) in operations.iter().enumerate() {
        let operation: PatchOperation = serde_json::from_value(operation.clone())
            .map_err(|e| PatchError::Malformed(format!("operation {i}: {e}")))?;
        parsed.push(operation);
    }
    let mut patched = current.clone();
    let mut copied = 0;
    for (i, operation) in parsed.iter().enumerate() {
        check_growth(&patched, operation, &mut copied, i)?;
        json_patch::patch_unsafe(&mut patched, std::slice::from_ref(operation)).map_err(|e| {
            PatchError::NotApplicable {
                operation: i,
                cause: e.kind.to_string(),
            }
        })?;
    }
    Ok(patched)
}

/// Refuses an operation that would make the object grow past all bounds, before it is applied.
fn check_growth(
    current: &Value,
    operation: &PatchOperation,
    copied: &mut usize,
    index: usize,
) -> Result<(), PatchError> {
    let (path, value) = match operation {
        PatchOperation::Add(op) => (&op.path, Some(&op.value)),
        PatchOperation::Replace(op) => (&op.path, Some(&op.value)),
        PatchOperation::Move(op) => (&op.path, current.pointer(op.from.as_str())),
        PatchOperation::Copy(op) => {
            let source = current.pointer(op.from.as_str());
            *copied += source.map_or(0, size);
            if *copied > COPIED_BYTES_MAX {
                return Err(PatchError::NotApplicable {
                    operation: index,
                    cause: format!("copies add up to more than {COPIED_BYTES_MAX} bytes"),
                });
            }
            (&op.path, source)
        }
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    let reached = path.as_str().bytes().filter(|b| *b == b'/').count() + value.map_or(0, depth);
    if reached > DEPTH_MAX {
        let cause = format!("the object would nest {reached} levels deep, the limit is {DEPTH_MAX}");
        return Err(PatchError::NotApplicable {
            operation: index,
            cause,
        });
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// About the bytes of its JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 2 + items.iter().map(|v| 1 + size(v)).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(k, v)| k.len() + 4 + size(v)).sum::<usize>(),
        Value::String(s) => s.len() + 2,
        _ => 4,
    }
}

/// Keys of operations that mean nothing, as field validation names them: `[0].foo`.
pub fn json_unknown_fields(patch: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for (i, operation) in patch.as_array().into_iter().flatten().enumerate() {
        for key in operation.as_object().into_iter().flat_map(|o| o.keys()) {
            if !matches!(key.as_str(), "op" | "path" | "from" | "value") {
                unknown.push(format!("[{i}].{key}"));
            }
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use serde_json::json as j;

    use super::*;

    /// P02
    #[test]
    fn failing_test_is_invalid_and_changes_nothing() {
        let current = j!({"data": {"a": "1"}});
        let patch = j!([{"op": "add", "path": "/data/b", "value": "2"}, {"op": "test", "path": "/data/a", "value": "9"}]);
        let error = json(&current, &patch).unwrap_err();
        assert_eq!((error.code(), error.reason()), (422, "Invalid"));
        assert_eq!(
            error.to_string(),
            "the server rejected our request due to an error in our request"
        );
    }

    /// P02
    #[test]
    fn add_is_applied() {
        let patched = json(
            &j!({"data": {"a": "1"}}),
            &j!([{"op": "add", "path": "/data/b", "value": "2"}]),
        )
        .unwrap();
        assert_eq!(patched, j!({"data": {"a": "1", "b": "2"}}));
    }

    #[test]
    fn missing_paths_are_invalid() {
        for op in ["remove", "replace"] {
            let error = json(&j!({}), &j!([{"op": op, "path": "/data/b", "value": 1}])).unwrap_err();
            assert_eq!(error.code(), 422, "{op}");
        }
    }

    #[test]
    fn anything_but_a_list_of_operations_is_malformed() {
        for patch in [
            j!({}),
            j!("x"),
            j!([{"op": "bogus", "path": ""}]),
            j!([{"op": "add"}]),
            j!([1]),
        ] {
            let error = json(&j!({}), &patch).unwrap_err();
            assert_eq!(error.code(), 400, "{patch}");
            assert!(error.to_string().starts_with("error decoding patch: "), "{error}");
        }
    }

    #[test]
    fn operations_are_limited() {
        let many = vec![j!({"op": "test", "path": "", "value": {}}); JSON_PATCH_OPERATIONS_MAX + 1];
        let error = json(&j!({}), &Value::Array(many)).unwrap_err();
        assert_eq!(error.code(), 413);
        assert_eq!(
            error.to_string(),
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    }

    #[test]
    fn copies_of_copies_are_bounded() {
        let doubling = vec![j!({"op": "copy", "from": "/a", "path": "/a/-"}); 100];
        let error = json(&j!({"a": ["some value"]}), &Value::Array(doubling)).unwrap_err();
        assert_eq!(error.code(), 422, "{error}");
        let mut deep = Vec::new();
        let mut path = String::new();
        for _ in 0..1000 {
            path.push_str("/a");
            deep.push(j!({"op": "add", "path": path, "value": {}}));
        }
        assert_eq!(json(&j!({}), &Value::Array(deep)).unwrap_err().code(), 422);
    }

    #[test]
    fn unknown_keys_are_named_by_position() {
        assert_eq!(
            json_unknown_fields(&j!([{"op": "add", "path": "/a", "value": 1, "foo": 2}])),
            ["[0].foo"]
        );
    }
}
