use super::*;
use proptest::prelude::*;
use serde_json::json;

const POINTERS: &[&str] = &[
    "/metadata/labels",
    "/metadata/name",
    "/spec/node",
    "/status/ips/0/ip",
    "/a",
];

/// As a parser of the whole finds it.
fn in_the_whole(json: &str) -> Vec<Option<Value>> {
    let whole: Value = serde_json::from_str(json).unwrap();
    POINTERS.iter().map(|p| whole.pointer(p).cloned()).collect()
}

#[test]
fn only_what_is_wanted_is_read() {
    let object = json!({"metadata": {"name": "n", "labels": {"a": {"deep": 1}}, "uid": "u"}, "spec": {"node": "x", "z": [1]},
        "status": {"ips": [{"ip": "1", "other": 2}, {"ip": "2"}]}, "data": {"a": "b"}});
    let json = object.to_string();
    let found = find(json.as_bytes(), POINTERS).unwrap();
    let found: Vec<Option<&str>> = found
        .into_iter()
        .map(|f| f.map(|f| std::str::from_utf8(f).unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            Some(r#"{"a":{"deep":1}}"#),
            Some(r#""n""#),
            Some(r#""x""#),
            Some(r#""1""#),
            None
        ]
    );
    for json in [
        r#"{"spec":"text","status":null}"#,
        r#"{"a":{"b":[]},"a":{},"spec":{"node":1},"spec":[]}"#,
        r#"{"status":{"ips":[]}}"#,
        r#"[{"a":1}]"#,
        r#""a""#,
        "7",
    ] {
        assert!(find(json.as_bytes(), POINTERS).is_some(), "{json}");
        assert_eq!(
            skim(json.as_bytes(), POINTERS).unwrap(),
            in_the_whole(json),
            "{json}"
        );
    }
}

#[test]
fn what_is_written_otherwise_is_left_to_a_parser() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let odd = r#" { "x" : [ -0.5e+3 , { } , [ ] , "\u00e9\\\"" , true , false , null , { "y" : 0 } ] , "\u0061" : 7 } "#;
    for json in [deep.as_str(), odd, r#"{"\u0061":1}"#] {
        assert!(find(json.as_bytes(), POINTERS).is_none(), "{json}");
        assert_eq!(
            skim(json.as_bytes(), POINTERS).unwrap(),
            in_the_whole(json),
            "{json}"
        );
    }
}

#[test]
fn a_string_goes_to_its_end_wherever_that_is() {
    for length in 0..40 {
        for special in ['"', '\\', '\u{1f}', '\0'] {
            let text = format!(
                "{}{special}{}",
                "é x~\u{7f}!#[".repeat(9).chars().take(length).collect::<String>(),
                "rest of it"
            );
            let expected = text
                .bytes()
                .position(|b| matches!(b, b'"' | b'\\' | 0..0x20))
                .unwrap();
            assert_eq!(plain(text.as_bytes()), expected, "{text:?}");
        }
    }
}

/// What is skipped is looked at, too: bytes that aren't JSON would spoil every list that they are in.
#[test]
fn what_is_no_json_is_refused_wherever_it_is() {
    for json in [
        "",
        "x",
        "{",
        "[",
        "\"",
        "{\"x\"}",
        "{\"x\":}",
        "{\"x\":1,}",
        "{\"x\":[1,]}",
        "{\"x\":[1}",
        "{\"x\":tru}",
        "{\"x\":1 2}",
        "{\"x\":01}",
        "{\"x\":1.}",
        "{\"x\":1e}",
        "{\"x\":-}",
        "{\"x\":\"\\q\"}",
        "{\"x\":\"\\u12g4\"}",
        "{\"x\":\"\n\"}",
        "{\"x\":{\"y\"}}",
        "{\"x\":{\"y\":1]}",
        "{x:1}",
        "{\"a\":1",
        "{\"a\":nul}",
        "{\"x\":\"\\",
    ] {
        assert!(serde_json::from_str::<Value>(json).is_err(), "{json}");
        assert!(skim(json.as_bytes(), POINTERS).is_err(), "{json}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z\"\\\\]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let names = prop_oneof![
            "metadata",
            "labels",
            "name",
            "spec",
            "node",
            "status",
            "ips",
            "ip",
            "a",
            "[a-z]{1,2}"
        ]
        .prop_map(|name| name.to_string());
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(names, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Bytes are refused exactly where a parser refuses them.
    #[test]
    fn bytes_are_refused_as_by_a_parser(object in any_json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut json = object.to_string().into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        let Ok(text) = std::str::from_utf8(&json) else {
            return Ok(());
        };
        let skimmed = skim(&json, POINTERS).is_ok();
        // A parser that builds nothing takes numbers that are too large for one that does.
        prop_assert!(!skimmed || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(), "{}", text);
        prop_assert!(skimmed || serde_json::from_str::<Value>(text).is_err(), "{}", text);
    }

    /// A place that is wanted reads as it would from the whole.
    #[test]
    fn wanted_places_are_as_in_the_whole(object in any_json()) {
        let json = object.to_string();
        prop_assert!(find(json.as_bytes(), POINTERS).is_some());
        prop_assert_eq!(skim(json.as_bytes(), POINTERS).unwrap(), in_the_whole(&json));
    }
}
