//! JSON patch (RFC 6902).

use serde_json::{Map, Value};

use super::{PatchError, json_kind};

/// Upstream's limit on one request, which bounds the work a small body can ask for.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// Bytes that `copy` operations may add up to, upstream's limit on request bodies: a handful of copies of the
/// root doubles the object each time.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Nesting a patched object may reach: beyond what any kind has, far below what recursion over it can stand.
const DEPTH_MAX: usize = 200;

/// Applies the operations in order to a copy of `current`; all or none.
pub fn json(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = operations(patch)?;
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut patched = current.clone();
    let mut copied = 0;
    for (i, operation) in operations.iter().enumerate() {
        operate(&mut patched, operation, &mut copied)
            .map_err(|cause| PatchError::NotApplicable { operation: i, cause })?;
    }
    Ok(patched)
}

/// One operation; members that are null are not there, except a value.
#[derive(Clone, Copy)]
struct Operation<'p> {
    op: &'p str,
    path: Option<&'p str>,
    from: Option<&'p str>,
    value: Option<&'p Value>,
}

/// The operations of a patch, if it has the form of one. What they say is looked at when their turn comes.
fn operations(patch: &Value) -> Result<Vec<Operation<'_>>, PatchError> {
    match patch {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(Operation::read).collect(),
        other => Err(wrong(other, "value of type []handlers.jsonPatchOp")),
    }
}

fn wrong(value: &Value, place: &str) -> PatchError {
    let kind = json_kind(value);
    PatchError::Malformed(format!("json: cannot unmarshal {kind} into Go {place}"))
}

impl<'p> Operation<'p> {
    fn read(item: &'p Value) -> Result<Self, PatchError> {
        if !item.is_object() && !item.is_null() {
            return Err(wrong(item, "value of type handlers.jsonPatchOp"));
        }
        let text = |name: &str| match item.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(other) => Err(wrong(
                other,
                &format!("struct field jsonPatchOp.{name} of type string"),
            )),
        };
        Ok(Self {
            op: text("op")?.unwrap_or("unknown"),
            path: text("path")?,
            from: text("from")?,
            value: item.get("value"),
        })
    }
}

fn operate(patched: &mut Value, operation: &Operation<'_>, copied: &mut usize) -> Result<(), String> {
    let path = operation.path.ok_or("there is no path");
    let from = operation.from.ok_or("there is no from");
    // Nothing is as good as null.
    let value = || operation.value.cloned().unwrap_or_default();
    match operation.op {
        "add" => add(patched, path?, value()),
        "remove" => remove(patched, path?).map(drop),
        "replace" if path?.is_empty() => {
            let value = value();
            if value.is_object() || value.is_array() {
                *patched = value;
            }
            Ok(())
        }
        "replace" => replace(patched, path?, value()),
        "test" if path?.is_empty() => matches(Some(patched), operation.value),
        "test" => {
            let (place, key) = find(patched, path?)?;
            matches(place.get(&key)?, operation.value)
        }
        "copy" => {
            let (place, key) = find(patched, from?)?;
            let source = place.get(&key)?.cloned().unwrap_or_default();
            *copied += size(&source);
            if *copied > COPIED_BYTES_MAX {
                return Err(format!("copies add up to more than {COPIED_BYTES_MAX} bytes"));
            }
            add(patched, path?, source)
        }
        "move" => {
            let source = remove(patched, from?)?;
            add(patched, path?, source)
        }
        other => Err(format!("there is no operation {other:?}")),
    }
}

/// Where the last step of a path leads from.
enum Place<'v> {
    Object(&'v mut Map<String, Value>),
    Array(&'v mut Vec<Value>),
}

impl<'v> Place<'v> {
    fn of(value: &'v mut Value) -> Option<Self> {
        match value {
            Value::Object(object) => Some(Self::Object(object)),
            Value::Array(list) => Some(Self::Array(list)),
            _ => None,
        }
    }

    /// The value there: none in an object that doesn't have it; a list has to.
    fn get(self, key: &str) -> Result<Option<&'v mut Value>, String> {
        match self {
            Self::Object(object) => Ok(object.get_mut(key)),
            Self::Array(list) => {
                let at = index(key, list.len()).ok_or_else(|| format!("there is no index {key:?}"))?;
                Ok(list.get_mut(at))
            }
        }
    }
}

/// The object or list that holds what the path names, and its key there. What stands before the first slash means nothing.
fn find<'v>(document: &'v mut Value, path: &str) -> Result<(Place<'v>, String), String> {
    let mut steps: Vec<&str> = path.split('/').skip(1).collect();
    let key = steps.pop().ok_or_else(|| missing(path))?;
    let mut place = Place::of(document);
    for step in steps {
        let next = match place {
            Some(place) => place.get(&unescaped(step))?,
            None => None,
        };
        place = next.and_then(Place::of);
    }
    Ok((place.ok_or_else(|| missing(path))?, unescaped(key)))
}

fn missing(path: &str) -> String {
    format!("there is no {path:?}")
}

/// A step of a path with `~1` for a slash and `~0` for a tilde.
fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// The position that a key means in a list; below zero, from its end.
fn index(key: &str, length: usize) -> Option<usize> {
    let at: i64 = key.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let at = if at < 0 { at + length } else { at };
    (0..length)
        .contains(&at)
        .then(|| usize::try_from(at).ok())
        .flatten()
}

fn add(patched: &mut Value, path: &str, value: Value) -> Result<(), String> {
    check_depth(path, &value)?;
    let (place, key) = find(patched, path)?;
    match place {
        Place::Object(object) => drop(object.insert(key, value)),
        Place::Array(list) if key == "-" => list.push(value),
        Place::Array(list) => {
            let at = index(&key, list.len() + 1).ok_or_else(|| missing(path))?;
            list.insert(at, value);
        }
    }
    Ok(())
}

/// Puts the value in the place of another, which only a list has to have.
fn replace(patched: &mut Value, path: &str, value: Value) -> Result<(), String> {
    check_depth(path, &value)?;
    let (place, key) = find(patched, path)?;
    match place {
        Place::Object(object) => drop(object.insert(key, value)),
        Place::Array(list) => {
            let at = index(&key, list.len()).ok_or_else(|| missing(path))?;
            list[at] = value;
        }
    }
    Ok(())
}

fn remove(patched: &mut Value, path: &str) -> Result<Value, String> {
    let (place, key) = find(patched, path)?;
    match place {
        Place::Object(object) => object.remove(&key).ok_or_else(|| missing(path)),
        Place::Array(list) => {
            let at = index(&key, list.len()).ok_or_else(|| missing(path))?;
            Ok(list.remove(at))
        }
    }
}

fn matches(found: Option<&mut Value>, expected: Option<&Value>) -> Result<(), String> {
    let null = Value::Null;
    if found.map_or(&null, |found| &*found) == expected.unwrap_or(&null) {
        Ok(())
    } else {
        Err("the value is another".to_owned())
    }
}

/// Refuses what would make the object nest past all bounds, before it is applied.
fn check_depth(path: &str, value: &Value) -> Result<(), String> {
    let reached = path.bytes().filter(|b| *b == b'/').count() + depth(value);
    if reached > DEPTH_MAX {
        return Err(format!(
            "the object would nest {reached} levels deep, the limit is {DEPTH_MAX}"
        ));
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
        let absent = j!([{"op": "remove", "path": "/b"}]);
        assert_eq!(json(&j!({"a": 1}), &absent).unwrap_err().code(), 422);
        for at in ["/a/1", "/a/x", "/a/-2", "/a/-"] {
            let patch = j!([{"op": "replace", "path": at, "value": 1}]);
            assert_eq!(json(&j!({"a": [0]}), &patch).unwrap_err().code(), 422, "{at}");
        }
    }

    #[test]
    fn an_object_takes_what_replaces_nothing_and_lists_count_from_their_end() {
        let patch = j!([
            {"op": "replace", "path": "/b", "value": 2},
            {"op": "test", "path": "/absent", "value": null},
            {"op": "copy", "from": "/absent", "path": "/c"},
            {"op": "add", "path": "/a/-1", "value": 3},
            {"op": "replace", "path": "/a/-2", "value": 4},
            {"op": "add", "path": "/a~1b/x~0y"},
        ]);
        let patched = json(&j!({"a": [1, 2], "a/b": {}}), &patch).unwrap();
        let expected = j!({"a": [1, 4, 3], "a/b": {"x~y": null}, "b": 2, "c": null});
        assert_eq!(patched, expected);
    }

    #[test]
    fn an_operation_that_says_nothing_useful_is_refused_when_its_turn_comes() {
        for patch in [
            j!([{"op": "bogus", "path": "/a"}]),
            j!([{"op": "add"}]),
            j!([{"op": "move", "path": "/a"}]),
            j!([{}]),
            j!([null]),
            j!([{"op": "add", "path": "", "value": {}}]),
            j!([{"op": "test", "path": "/a"}]),
        ] {
            assert_eq!(json(&j!({"a": 1}), &patch).unwrap_err().code(), 422, "{patch}");
        }
    }

    #[test]
    fn anything_but_a_list_of_operations_is_malformed() {
        let go = "error decoding patch: json: cannot unmarshal";
        for (patch, told) in [
            (j!({}), "object into Go value of type []handlers.jsonPatchOp"),
            (j!("x"), "string into Go value of type []handlers.jsonPatchOp"),
            (j!([1]), "number into Go value of type handlers.jsonPatchOp"),
            (
                j!([{"op": true}]),
                "bool into Go struct field jsonPatchOp.op of type string",
            ),
        ] {
            let error = json(&j!({}), &patch).unwrap_err();
            assert_eq!(error.code(), 400, "{patch}");
            assert_eq!(error.to_string(), format!("{go} {told}"));
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
