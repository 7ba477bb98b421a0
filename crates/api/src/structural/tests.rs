use super::*;
use serde_json::json;

fn widget() -> Node {
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["color"],
                "properties": {
                    "color": {"type": "string", "enum": ["red", "blue"]},
                    "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
                    "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                    "port": {"x-kubernetes-int-or-string": true},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                        "properties": {"spec": {"type": "object"}}},
                    "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "properties": {
                            "name": {"type": "string"}, "size": {"type": "integer", "default": 1, "minimum": 1}}}},
                },
            },
        },
    });
    compile(&schema, "schema").unwrap()
}

fn texts(spec: Value) -> Vec<String> {
    let found = validate(&json!({"spec": spec}), None, &widget());
    found
        .into_iter()
        .map(|v| format!("{}: {}", v.field, v.message))
        .collect()
}

/// M09
#[test]
fn violations_are_upstreams_texts() {
    for (spec, text) in [
        (json!({}), "spec.color: Required value"),
        (
            json!({"color": "green"}),
            "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
        ),
        (
            json!({"color": "red", "replicas": "many"}),
            "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"",
        ),
        (
            json!({"color": "red", "replicas": 11}),
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        ),
        (
            json!({"color": "red", "replicas": 0}),
            "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
        ),
        (
            json!({"color": "red", "name": "B"}),
            "spec.name: Invalid value: \"B\": spec.name in body should match '^[a-z]+$'",
        ),
        (
            json!({"color": "red", "name": "abcdef"}),
            "spec.name: Too long: may not be more than 5 bytes",
        ),
        (
            json!({"color": "red", "parts": [{"name": "a"}, {"name": "a"}]}),
            "spec.parts[1]: Duplicate value: {\"name\":\"a\"}",
        ),
    ] {
        assert_eq!(texts(spec), [text]);
    }
    for spec in [
        json!({"color": "red", "port": 80}),
        json!({"color": "red", "port": "http", "free": {"a": [1]}}),
    ] {
        assert_eq!(texts(spec), Vec::<String>::new());
    }
}

#[test]
fn unspecified_fields_go_and_are_named() {
    let mut object = json!({"apiVersion": "v", "kind": "K", "metadata": {"name": "x"}, "bogus": 1, "spec": {
        "color": "red", "odd": 1, "free": {"a": {"b": 1}}, "labels": {"l": "v"}, "name": null,
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"gone": 1}, "status": {}},
        "parts": [{"name": "a", "odd": 1}]}});
    let gone = prune(&mut object, &widget());
    assert_eq!(
        gone,
        [
            "bogus",
            "spec.odd",
            "spec.parts[0].odd",
            "spec.template.spec.gone",
            "spec.template.status"
        ]
    );
    assert_eq!(
        object,
        json!({"apiVersion": "v", "kind": "K", "metadata": {"name": "x"}, "spec": {
            "color": "red", "free": {"a": {"b": 1}}, "labels": {"l": "v"},
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {}},
            "parts": [{"name": "a"}]}})
    );
}

#[test]
fn defaults_are_filled_in_everywhere() {
    let mut object = json!({"spec": {"parts": [{"name": "a"}, {"name": "b", "size": 2}]}});
    fill(&mut object, &widget());
    assert_eq!(
        object,
        json!({"spec": {"replicas": 3, "parts": [{"name": "a", "size": 1}, {"name": "b", "size": 2}]}})
    );
}

/// M11
#[test]
fn what_was_wrong_already_may_stay() {
    let old = json!({"spec": {"color": "green", "replicas": 1, "parts": [{"name": "a", "size": 0}]}});
    let mut new = old.clone();
    new["spec"]["replicas"] = json!(2);
    new["spec"]["parts"] = json!([{"name": "b", "size": 1}, {"name": "a", "size": 0}]);
    assert_eq!(validate(&new, Some(&old), &widget()), []);
    new["spec"]["color"] = json!("yellow");
    assert_eq!(validate(&new, Some(&old), &widget()).len(), 1);
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let refused = |schema: Value| -> Vec<String> {
        let errors = compile(&schema, "s").unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        refused(json!({"type": "object", "properties": {"a": {}}})),
        ["s.properties[a].type: must not be empty for specified object fields"]
    );
    assert_eq!(
        refused(json!({"type": "object", "properties": {"a": {"type": "array"}}})),
        ["s.properties[a].items: must be specified"]
    );
    assert!(refused(json!({"type": "string"}))[0].contains("must be object at the root"));
    assert!(
        refused(json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}))[0]
            .starts_with("s.properties[a].pattern: must be a valid regular expression")
    );
}

#[test]
fn combinations_hold_together() {
    let schema = compile(
        &json!({"type": "object", "properties": {"a": {"type": "integer", "anyOf": [{"minimum": 10}, {"maximum": 1}],
            "not": {"enum": [0]}}}}),
        "s",
    )
    .unwrap();
    let count = |a: i64| validate(&json!({"a": a}), None, &schema).len();
    assert_eq!((count(1), count(20), count(5), count(0)), (0, 0, 1, 1));
}
