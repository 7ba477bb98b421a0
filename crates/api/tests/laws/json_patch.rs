//! JSON patches as servers of Kubernetes read RFC 6902, written down once more, as plainly as it can be, beside the one
//! that is served.
use orlop_api::patch;
use proptest::prelude::*;
use serde_json::{Value, json};

/// One operation of the model.
#[derive(Clone, Debug)]
enum Op {
    Add(Vec<String>, Value),
    Remove(Vec<String>),
    Replace(Vec<String>, Value),
    Move(Vec<String>, Vec<String>),
    Copy(Vec<String>, Vec<String>),
    Test(Vec<String>, Value),
}

fn pointer(path: &[String]) -> String {
    let escaped = path
        .iter()
        .map(|token| token.replace('~', "~0").replace('/', "~1"));
    escaped.map(|token| format!("/{token}")).collect()
}

impl Op {
    fn to_json(&self) -> Value {
        match self {
            Self::Add(path, value) => json!({"op": "add", "path": pointer(path), "value": value}),
            Self::Remove(path) => json!({"op": "remove", "path": pointer(path)}),
            Self::Replace(path, value) => json!({"op": "replace", "path": pointer(path), "value": value}),
            Self::Move(from, path) => json!({"op": "move", "from": pointer(from), "path": pointer(path)}),
            Self::Copy(from, path) => json!({"op": "copy", "from": pointer(from), "path": pointer(path)}),
            Self::Test(path, value) => json!({"op": "test", "path": pointer(path), "value": value}),
        }
    }

    fn apply(&self, document: &mut Value) -> Option<()> {
        match self {
            Self::Add(path, value) => add(document, path, value.clone()),
            Self::Remove(path) => remove(document, path).map(|_| ()),
            Self::Replace(path, value) if path.is_empty() => {
                // Only an object or a list can be the whole.
                if value.is_object() || value.is_array() {
                    *document = value.clone();
                }
                Some(())
            }
            Self::Replace(path, value) => {
                let (last, parent) = path.split_last()?;
                match find(document, parent)? {
                    Value::Object(map) => drop(map.insert(last.clone(), value.clone())),
                    Value::Array(list) => *list.get_mut(index(last)?)? = value.clone(),
                    _ => return None,
                }
                Some(())
            }
            Self::Move(from, path) => {
                let value = remove(document, from)?;
                add(document, path, value)
            }
            Self::Copy(from, path) => {
                let value = read(document, from)?;
                add(document, path, value)
            }
            Self::Test(path, value) if path.is_empty() => (document == value).then_some(()),
            Self::Test(path, value) => (read(document, path)? == *value).then_some(()),
        }
    }
}

/// What is there; an object has null for everything else.
fn read(document: &mut Value, path: &[String]) -> Option<Value> {
    let (last, parent) = path.split_last()?;
    match find(document, parent)? {
        Value::Object(map) => Some(map.get(last).cloned().unwrap_or_default()),
        Value::Array(list) => list.get(index(last)?).cloned(),
        _ => None,
    }
}

/// An index of a list.
fn index(token: &str) -> Option<usize> {
    token.parse().ok()
}

fn find<'d>(document: &'d mut Value, path: &[String]) -> Option<&'d mut Value> {
    path.iter().try_fold(document, |value, token| match value {
        Value::Object(map) => map.get_mut(token),
        Value::Array(list) => list.get_mut(index(token)?),
        _ => None,
    })
}

fn add(document: &mut Value, path: &[String], value: Value) -> Option<()> {
    let (last, parent) = path.split_last()?;
    match find(document, parent)? {
        Value::Object(map) => drop(map.insert(last.clone(), value)),
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            let at = index(last).filter(|at| *at <= list.len())?;
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(document: &mut Value, path: &[String]) -> Option<Value> {
    let (last, parent) = path.split_last()?;
    match find(document, parent)? {
        Value::Object(map) => map.remove(last),
        Value::Array(list) => {
            let at = index(last).filter(|at| *at < list.len())?;
            Some(list.remove(at))
        }
        _ => None,
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]|a/b|~", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Mostly what is there, sometimes what is not.
fn any_path() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[abc]|[abc]|a/b|~|[012]|-|01", 0..4)
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (any_path(), any_value()).prop_map(|(path, value)| Op::Add(path, value)),
        2 => any_path().prop_map(Op::Remove),
        2 => (any_path(), any_value()).prop_map(|(path, value)| Op::Replace(path, value)),
        1 => (any_path(), any_path()).prop_map(|(from, path)| Op::Move(from, path)),
        1 => (any_path(), any_path()).prop_map(|(from, path)| Op::Copy(from, path)),
        1 => (any_path(), any_value()).prop_map(|(path, value)| Op::Test(path, value)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same result, or refused by both.
    #[test]
    fn json_patches_follow_the_model(document in any_value(), ops in prop::collection::vec(any_op(), 1..5)) {
        let mut expected = document.clone();
        let is_applicable = ops.iter().try_for_each(|op| op.apply(&mut expected)).is_some();
        let patch = Value::Array(ops.iter().map(Op::to_json).collect());
        match patch::json(&document, &patch) {
            Ok(patched) => {
                prop_assert!(is_applicable, "{} was applied to {}", patch, document);
                prop_assert_eq!(patched, expected, "{} on {}", patch, document);
            }
            Err(error) => prop_assert!(!is_applicable, "{} was refused on {}: {}", patch, document, error),
        }
    }

    /// A copy of the same, and a test of what is there, change nothing.
    #[test]
    fn tests_of_what_is_there_hold_and_change_nothing(document in any_value(), path in any_path()) {
        let mut copy = document.clone();
        if let Some(value) = find(&mut copy, &path) {
            let patch = json!([{"op": "test", "path": pointer(&path), "value": value},
                {"op": "replace", "path": pointer(&path), "value": value}]);
            prop_assert_eq!(patch::json(&document, &patch).unwrap(), document);
        }
    }
}
