//! Strategic patches are refused in the words of Go's maps, which never were JSON.
use serde_json::Value;
use std::fmt::Write;

/// A tree as Go prints it: `map[a:map[b:1] c:[x y]]`.
pub fn map(value: &Value) -> String {
    let mut out = String::new();
    print(value, &mut out);
    out
}

fn print(value: &Value, out: &mut String) {
    let list = |out: &mut String, items: &mut dyn Iterator<Item = (Option<&String>, &Value)>| {
        for (number, (key, item)) in items.enumerate() {
            if number > 0 {
                out.push(' ');
            }
            if let Some(key) = key {
                let _ = write!(out, "{key}:");
            }
            print(item, out);
        }
        out.push(']');
    };
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(text) => out.push_str(text),
        Value::Bool(_) | Value::Number(_) => {
            let _ = write!(out, "{value}");
        }
        Value::Array(items) => {
            out.push('[');
            list(out, &mut items.iter().map(|item| (None, item)));
        }
        Value::Object(members) => {
            out.push_str("map[");
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            list(out, &mut sorted.into_iter().map(|(key, item)| (Some(key), item)));
        }
    }
}

/// What is said of a value of another type, from what is said of it where JSON is read.
pub fn not_restored(why: &str) -> String {
    let parts = why
        .strip_prefix("json: cannot unmarshal ")
        .and_then(|rest| rest.split_once(" into Go "))
        .and_then(|(given, rest)| Some((given, rest.rsplit_once(" of type ")?.1)));
    let Some((given, wanted)) = parts else {
        return why.to_owned();
    };
    let given = match given {
        "number" => "int64",
        "array" => "[]interface {}",
        "object" => "map[string]interface {}",
        other => other,
    };
    let wanted = wanted.trim_start_matches('*');
    if wanted.starts_with("map[") {
        format!("cannot restore map from {given}")
    } else if wanted.starts_with("[]") {
        format!("cannot restore slice from {given}")
    } else if wanted.contains('.') {
        format!("cannot restore struct from: {given}")
    } else {
        format!("unrecognized type: {wanted}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trees_print_as_maps() {
        let tree = json!({"b": [1, "x", true, null], "a": {"c": "d e", "f": {}}});
        assert_eq!(map(&tree), "map[a:map[c:d e f:map[]] b:[1 x true <nil>]]");
    }

    #[test]
    fn another_type_is_named() {
        let field = |given: &str, wanted: &str| {
            format!("json: cannot unmarshal {given} into Go struct field A.b.c of type {wanted}")
        };
        for (given, wanted, said) in [
            ("string", "map[string]string", "cannot restore map from string"),
            (
                "object",
                "[]v1.Container",
                "cannot restore slice from map[string]interface {}",
            ),
            ("number", "v1.PodSpec", "cannot restore struct from: int64"),
            ("string", "*int32", "unrecognized type: int32"),
        ] {
            assert_eq!(not_restored(&field(given, wanted)), said);
        }
        assert_eq!(not_restored("something else"), "something else");
    }
}
