use super::*;
use serde_json::json;

fn told(schema: &Value) -> Vec<String> {
    let look = Look {
        path: "s",
        with_status: false,
    };
    check(schema, look).iter().map(ToString::to_string).collect()
}

/// A schema with one property, `a`.
fn with(property: Value) -> Value {
    json!({"type": "object", "properties": {"a": property}})
}

#[test]
fn schemas_that_are_fine_are_taken() {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}},
        "spec": {"type": "object", "properties": {
            "either": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "both": {"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"maximum": 3}]},
            "whole": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}},
            "x": {"type": "string", "default": "aa", "enum": ["a", "aa"]},
            "one": {"type": "object", "oneOf": [{"required": ["p"]}, {"properties": {"q": {"minLength": 1}}}],
                "properties": {"p": {"type": "string"}, "q": {"type": "string"}}}}}}});
    let look = Look {
        path: "s",
        with_status: true,
    };
    assert_eq!(check(&schema, look), []);
}

#[test]
fn what_is_not_structural_is_refused() {
    for (schema, expected) in [
        (
            with(json!({})),
            "s.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            with(json!({"type": "array"})),
            "s.properties[a].items: Required value: must be specified",
        ),
        (
            with(json!({"type": "array", "items": {}})),
            "s.properties[a].items.type: Required value: must not be empty for specified array items",
        ),
        (
            json!({"type": "string"}),
            "s.type: Invalid value: \"string\": must be object at the root",
        ),
        (json!({}), "s.type: Required value: must not be empty at the root"),
        (
            json!({"type": "object", "additionalProperties": true}),
            "s.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            with(json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true})),
            "s.properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ),
        (
            with(json!({"type": "string", "not": {"type": "string"}})),
            "s.properties[a].not.type: Forbidden: must be empty to be structural",
        ),
        (
            with(json!({"type": "string", "anyOf": [{"default": "x"}]})),
            "s.properties[a].anyOf[0].default: Forbidden: must be undefined to be structural",
        ),
        (
            with(json!({"type": "string", "oneOf": [{"nullable": true}]})),
            "s.properties[a].oneOf[0].nullable: Forbidden: must be false to be structural",
        ),
        (
            json!({"type": "object", "allOf": [{"properties": {"b": {"minLength": 1}}}]}),
            "s.properties[b]: Required value: because it is defined in s.allOf[0].properties[b]",
        ),
        (
            with(
                json!({"type": "string", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            ),
            "s.properties[a].type: Invalid value: \"string\": must be object if x-kubernetes-embedded-resource is true",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
        (
            json!({"type": "object", "properties": {"kind": {"type": "integer"}}}),
            "s.properties[kind].type: Invalid value: \"integer\": must be string",
        ),
    ] {
        assert_eq!(told(&schema), [expected], "{schema}");
    }
    let pattern = told(&with(json!({"type": "string", "pattern": "("})));
    let start =
        "s.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: ";
    assert!(pattern.len() == 1 && pattern[0].starts_with(start), "{pattern:?}");
}

#[test]
fn keywords_that_are_used_wrongly_are_refused() {
    let listed = |keys: Value, items: Value| {
        with(
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": items}),
        )
    };
    let keyed = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "object"}}});
    for (schema, expected) in [
        (
            with(json!({"type": "foo"})),
            vec![
                "s.properties[a].type: Unsupported value: \"foo\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \
                 \"object\", \"string\"",
            ],
        ),
        (
            with(json!({"type": "string", "uniqueItems": true})),
            vec![
                "s.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ],
        ),
        (
            with(json!({"type": "string", "$ref": "#/x"})),
            vec!["s.properties[a].$ref: Forbidden: $ref is not supported"],
        ),
        (
            with(json!({"type": "string", "$schema": "x"})),
            vec!["s: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported"],
        ),
        (
            with(
                json!({"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            ),
            vec![
                "s.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ],
        ),
        (
            with(json!({"type": "string", "x-kubernetes-preserve-unknown-fields": false})),
            vec![
                "s.properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
            ],
        ),
        (
            with(json!({"type": "string", "x-kubernetes-map-type": "odd"})),
            vec![
                "s.properties[a].type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified",
                "s.properties[a].x-kubernetes-map-type: Unsupported value: \"odd\": supported values: \"atomic\", \"granular\"",
            ],
        ),
        (
            with(json!({"type": "object", "x-kubernetes-list-type": "set"})),
            vec![
                "s.properties[a].type: Invalid value: \"object\": must be array if x-kubernetes-list-type is specified",
            ],
        ),
        (
            with(json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}})),
            vec![
                "s.properties[a].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
            ],
        ),
        (
            listed(json!(["k", "k"]), keyed.clone()),
            vec![
                "s.properties[a].x-kubernetes-list-map-keys: Invalid value: [\"k\",\"k\"]: must not contain duplicate entries",
            ],
        ),
        (
            listed(json!(["k", "n"]), keyed.clone()),
            vec![
                "s.properties[a].x-kubernetes-list-map-keys: Invalid value: [\"k\",\"n\"]: entries must all be names of item properties",
            ],
        ),
        (
            listed(json!(["v"]), keyed.clone()),
            vec![
                "s.properties[a].items.properties[v].type: Invalid value: \"object\": must be a scalar type if parent array's \
                 x-kubernetes-list-type is map",
                "s.properties[a].items.properties[v].default: Required value: this property is in x-kubernetes-list-map-keys, so it must \
                 have a default or be a required property",
            ],
        ),
        (
            listed(json!([]), keyed),
            vec![
                "s.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            ],
        ),
    ] {
        assert_eq!(told(&schema), expected, "{schema}");
    }
}

#[test]
fn defaults_satisfy_the_schema_around_them() {
    for (property, expected) in [
        (
            json!({"type": "string", "default": 1}),
            "s.properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"",
        ),
        (
            json!({"type": "object", "default": {"x": 1}, "properties": {"y": {"type": "string"}}}),
            "s.properties[a].default: Invalid value: {\"x\":1}: must not have unknown fields",
        ),
        (
            json!({"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > 1", "message": "more"}]}),
            "s.properties[a].default: Invalid value: 1: more",
        ),
    ] {
        assert_eq!(told(&with(property.clone())), [expected], "{property}");
    }
    let of_metadata = json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {
        "name": {"type": "string", "default": "x"}}}}});
    assert_eq!(
        told(&of_metadata),
        ["s.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata"]
    );
}

#[test]
fn the_root_says_less_when_status_is_a_subresource() {
    let look = Look {
        path: "s",
        with_status: true,
    };
    let schema =
        json!({"type": "object", "anyOf": [{"required": ["a"]}], "properties": {"a": {"type": "string"}}});
    let errors = check(&schema, look);
    assert!(
        errors.len() == 1 && errors[0].detail.contains("fields are allowed at the root"),
        "{errors:?}"
    );
    assert_eq!(told(&schema), Vec::<String>::new());
}

/// What is wrong with a rule is told with all that the rule says.
#[test]
fn rules_are_shown_as_upstream_shows_them() {
    let schema = with(
        json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self.b > 1 && true", "message": "m"}]}),
    );
    let told = told(&schema);
    let start = "s.properties[a].x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self.b \\u003e 1 \\u0026\\u0026 true\",\
        \"Message\":\"m\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ";
    assert!(told.len() == 1 && told[0].starts_with(start), "{told:?}");
}

#[test]
fn paths_lead_through_properties_and_entries() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "object", "properties": {"b.c": {"type": "string"}}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}}}});
    let kind = |path: &str, brackets: bool| {
        field_path(path, &schema, brackets).map(|(_, place)| place["type"].as_str().unwrap().to_owned())
    };
    assert_eq!(kind(".a['b.c']", true).as_deref(), Ok("string"));
    assert_eq!(kind(".m.anything", false).as_deref(), Ok("integer"));
    for (path, brackets, why) in [
        (".a.b.c", true, "does not refer to a valid field"),
        (".a['b.c']", false, "array notation is not allowed"),
        ("a", true, "expected [ or . but got: a"),
        (".a[b]", true, "expected single quoted string but got b"),
        (".a['b.c'", true, "unexpected end of JSON path"),
        (".", true, "unexpected end of JSON path"),
    ] {
        assert_eq!(kind(path, brackets).unwrap_err(), why, "{path}");
    }
}

/// Rules that cannot be evaluated are refused with their place.
#[test]
fn rules_that_cannot_hold_are_refused_with_the_schema() {
    let at = "s.properties[list].items.x-kubernetes-validations[0]";
    for (rule, key, part) in [
        (
            json!({"rule": "self.x > 1"}),
            "rule",
            "compilation failed: ERROR: <input>:1:5: type 'string' does not support field selection",
        ),
        (
            json!({"rule": "self +"}),
            "rule",
            "compilation failed: ERROR: <input>:1:7: Syntax error",
        ),
        (
            json!({"rule": "self"}),
            "rule",
            "cel expression must evaluate to a bool",
        ),
        (json!({"rule": ""}), "rule", "rule is not specified"),
        (
            json!({"rule": "self == oldSelf"}),
            "rule",
            "oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[list]",
        ),
        (
            json!({"rule": "true", "messageExpression": "1"}),
            "messageExpression",
            "must evaluate to a string",
        ),
        (
            json!({"rule": "true", "message": "a\nb"}),
            "message",
            "must not contain line breaks",
        ),
        (
            json!({"rule": "true", "reason": "Odd"}),
            "reason",
            "supported values: \"FieldValueDuplicate\"",
        ),
        (
            json!({"rule": "true", "fieldPath": ".nope"}),
            "fieldPath",
            "must be a valid path",
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            "optionalOldSelf",
            "may not be set if oldSelf is not used in rule",
        ),
    ] {
        let schema = json!({"type": "object", "properties": {"list": {"type": "array", "maxItems": 9, "items": {
            "type": "string", "maxLength": 9, "x-kubernetes-validations": [rule.clone()]}}}});
        let errors = told(&schema);
        assert!(
            errors.len() == 1 && errors[0].starts_with(&format!("{at}.{key}: ")) && errors[0].contains(part),
            "{rule}: {errors:?}"
        );
    }
}
