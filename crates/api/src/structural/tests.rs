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

/// Upstream looks at the lists of an object only if those of its predecessor were as they should be.
#[test]
fn repetitions_that_were_there_keep_nobody_from_changing_something() {
    let check = |old: Value, new: Value| -> Vec<String> {
        let object =
            |parts: Value| json!({"metadata": {"name": "x"}, "spec": {"color": "red", "parts": parts}});
        let found = validate(&object(new), Some(&object(old)), &widget());
        found.into_iter().map(|violation| violation.message).collect()
    };
    let twice = json!([{"name": "a"}, {"name": "a"}]);
    let thrice = json!([{"name": "a", "size": 2}, {"name": "a"}, {"name": "b"}, {"name": "b"}]);
    assert_eq!(check(twice.clone(), thrice.clone()), Vec::<String>::new());
    assert_eq!(
        check(json!([{"name": "a"}]), twice.clone()),
        ["Duplicate value: {\"name\":\"a\"}"]
    );
    assert_eq!(check(thrice, json!([{"name": "a"}])), Vec::<String>::new());
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

#[test]
fn metadata_in_defaults_has_what_metadata_has() {
    let whole = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
        "default": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "unknown": 1}}});
    let schema = compile(&json!({"type": "object", "properties": {"a": whole}}), "s").unwrap();
    let mut object = json!({});
    fill(&mut object, &schema);
    assert_eq!(object["a"]["metadata"], json!({"name": "a"}));
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
fn combinations_hold_together() {
    let schema = compile(
        &json!({"type": "object", "properties": {"a": {"type": "integer", "anyOf": [{"minimum": 10}, {"maximum": 1}],
            "not": {"enum": [0]}}}}),
        "s",
    )
    .unwrap();
    let told = |a: i64| {
        let found = validate(&json!({"a": a}), None, &schema);
        let found = found.into_iter().map(|v| format!("{}: {}", v.field, v.message));
        found.collect::<Vec<_>>()
    };
    assert_eq!((told(1).len(), told(20).len()), (0, 0));
    // With what the first alternative is missing.
    assert_eq!(
        told(5),
        [
            ": Invalid value: \"\": \"a\" must validate at least one schema (anyOf)",
            "a: Invalid value: 5: a in body should be greater than or equal to 10"
        ]
    );
    assert_eq!(
        told(0),
        [": Invalid value: \"\": \"a\" must not validate the schema (not)"]
    );
}

fn with_rules() -> Node {
    let schema = json!({"type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.metadata.name.startsWith('w')", "message": "must begin with w"}],
        "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": [
                {"rule": "self.min <= self.max", "message": "min is above max", "fieldPath": ".min"},
                {"rule": "!has(oldSelf.max) || self.max >= oldSelf.max", "reason": "FieldValueForbidden",
                    "messageExpression": "'max may not fall below ' + string(oldSelf.max)"}],
            "properties": {
                "min": {"type": "integer"},
                "max": {"type": "integer"},
                "x-y": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'bad'"}]},
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {
                        "name": {"type": "string"},
                        "number": {"type": "integer", "x-kubernetes-validations": [
                            {"rule": "self == oldSelf", "message": "is immutable"},
                            {"rule": "!oldSelf.hasValue() ? self > 0 : true", "optionalOldSelf": true,
                                "message": "begins above 0"}]}}}},
                "labels": {"type": "object", "additionalProperties": {"type": "string",
                    "x-kubernetes-validations": [{"rule": "size(self) < 4"}]}}}}}});
    compile(&schema, "s").unwrap()
}

fn object(spec: Value) -> Value {
    json!({"metadata": {"name": "w"}, "spec": spec})
}

/// M10: rules say what is wrong where it is, also about changes.
#[test]
fn rules_report_what_does_not_hold_where_it_is() {
    let node = with_rules();
    let told = |new: &Value, old: Option<&Value>| -> Vec<String> {
        let shown = |v: Violation| {
            let reason = v.reason.trim_start_matches("FieldValue");
            format!("{}: {} ({reason})", v.field, v.message)
        };
        check(new, old, &node).into_iter().map(shown).collect()
    };
    let base = object(json!({"min": 1, "max": 3}));
    let ports = |ports: Value| object(json!({"min": 1, "max": 3, "ports": ports}));
    for (new, old, expected) in [
        (base.clone(), None, vec![]),
        (
            object(json!({"min": 5, "max": 3})),
            None,
            vec!["spec.min: Invalid value: min is above max (Invalid)"],
        ),
        (
            object(json!({"max": 3})),
            None,
            vec![
                "spec: Invalid value: \"object\": no such key: min evaluating rule: min is above max (Invalid)",
            ],
        ),
        (
            json!({"metadata": {"name": "x"}}),
            None,
            vec![": Invalid value: must begin with w (Invalid)"],
        ),
        (
            object(json!({"min": 1, "max": 2})),
            Some(base.clone()),
            vec!["spec: Forbidden: max may not fall below 3 (Forbidden)"],
        ),
        (
            object(json!({"min": 1, "max": 3, "x-y": "bad"})),
            None,
            vec!["spec.x-y: Invalid value: \"bad\": failed rule: self != 'bad' (Invalid)"],
        ),
        (
            object(json!({"min": 1, "max": 3, "labels": {"a": "long one"}})),
            None,
            vec!["spec.labels[a]: Invalid value: \"long one\": failed rule: size(self) < 4 (Invalid)"],
        ),
        (
            ports(json!([{"name": "b", "number": 0}, {"name": "a", "number": 2}])),
            Some(ports(json!([{"name": "a", "number": 1}]))),
            vec![
                "spec.ports[0].number: Invalid value: 0: begins above 0 (Invalid)",
                "spec.ports[1].number: Invalid value: 2: is immutable (Invalid)",
            ],
        ),
        (
            object(json!({"min": 5, "max": "x"})),
            None,
            vec![
                "spec.max: Invalid value: \"string\": spec.max in body must be of type integer: \"string\" (TypeInvalid)",
                ": Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation (Invalid)",
            ],
        ),
    ] {
        assert_eq!(told(&new, old.as_ref()), expected, "{new}");
    }
}

/// M11: what did not change is not looked at, so that a rule that came later hinders nobody.
#[test]
fn rules_are_not_asked_about_what_did_not_change() {
    let node = with_rules();
    let old = object(json!({"min": 1, "max": 3, "x-y": "bad"}));
    let mut new = old.clone();
    new["spec"]["max"] = json!(4);
    assert_eq!(check(&new, Some(&old), &node), []);
    new["spec"]["x-y"] = json!("good");
    assert_eq!(check(&new, Some(&old), &node), []);
    let mut back = new.clone();
    back["spec"]["x-y"] = json!("bad");
    assert_eq!(check(&back, Some(&new), &node).len(), 1);
}

/// Values without parts are shown, null is nobody's, and what did not change is asked about changes alone.
#[test]
fn rules_are_told_with_the_values_they_are_about() {
    let schema = |rule: Value, of: &str| json!({"type": "object", "properties": {"a": {"type": of, "nullable": true, "x-kubernetes-validations": [rule]}}});
    for (rule, of, object, old, expected) in [
        (
            json!({"rule": "self > 5"}),
            "integer",
            json!({"a": 4}),
            None,
            vec!["a: Invalid value: 4: failed rule: self > 5"],
        ),
        (
            json!({"rule": "self > 5", "reason": "FieldValueDuplicate"}),
            "integer",
            json!({"a": 4}),
            None,
            vec!["a: Duplicate value: 4"],
        ),
        (
            json!({"rule": "self / 0 > 1"}),
            "integer",
            json!({"a": 4}),
            None,
            vec!["a: Invalid value: \"integer\": division by zero evaluating rule: self / 0 > 1"],
        ),
        (
            json!({"rule": "self > 5"}),
            "integer",
            json!({"a": null}),
            None,
            vec![],
        ),
        (
            json!({"rule": "self > 5"}),
            "integer",
            json!({"a": 4}),
            Some(json!({"a": 4})),
            vec![],
        ),
        (
            json!({"rule": "self > oldSelf"}),
            "integer",
            json!({"a": 4}),
            Some(json!({"a": 4})),
            vec!["a: Invalid value: 4: failed rule: self > oldSelf"],
        ),
    ] {
        let schema = compile(&schema(rule.clone(), of), "s").unwrap();
        let found = super::check(&object, old.as_ref(), &schema);
        let told: Vec<String> = found
            .into_iter()
            .map(|v| format!("{}: {}", v.field, v.message))
            .collect();
        assert_eq!(told, expected, "{rule} {object}");
    }
}

#[test]
fn values_have_to_have_their_format() {
    let schema = json!({"type": "object", "properties": {
        "ip": {"type": "string", "format": "ipv4"}, "small": {"type": "integer", "format": "int32"},
        "nothing": {"type": "string", "nullable": true, "enum": ["A"]}, "number": {"type": "integer", "enum": [1, 2]}}});
    let schema = compile(&schema, "s").unwrap();
    for (object, expected) in [
        (
            json!({"ip": "1.2.3.4", "small": 7, "nothing": "A", "number": 2}),
            vec![],
        ),
        (
            json!({"ip": "x"}),
            vec!["ip: Invalid value: \"x\": ip in body must be of type ipv4: \"x\""],
        ),
        (
            json!({"small": 99_999_999_999_i64}),
            vec![": Invalid value: \"\": Checked value must be of type integer with format int32 in small"],
        ),
        (
            json!({"nothing": null}),
            vec!["nothing: Unsupported value: null: supported values: \"A\""],
        ),
        (
            json!({"number": 3}),
            vec!["number: Unsupported value: 3: supported values: \"1\", \"2\""],
        ),
    ] {
        let found = validate(&object, None, &schema);
        let told: Vec<String> = found
            .into_iter()
            .map(|v| format!("{}: {}", v.field, v.message))
            .collect();
        assert_eq!(told, expected, "{object}");
    }
}

/// `spec.preserveUnknownFields`, from times when schemas were not structural.
#[test]
fn where_everything_is_kept_a_schema_says_what_can_be_read_of_it() {
    let schema = json!({"properties": {"spec": {"properties": {
        "size": {"type": "integer", "minimum": 1},
        "parts": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}}}}});
    assert!(compile(&schema, "schema").is_err());
    let schema = compile_preserving(&schema, "schema");
    let mut object = json!({"odd": 1, "spec": {"odd": {"b": 1}, "size": 1, "parts": [{"c": 1}]}});
    assert!(prune(&mut object, &schema).is_empty());
    assert!(fits(object.to_string().as_bytes(), &schema));
    assert_eq!(validate(&object, None, &schema).len(), 0);
    object["spec"]["size"] = json!(0);
    assert_eq!(validate(&object, None, &schema).len(), 1);
    let nothing = compile_preserving(&Value::Null, "schema");
    assert!(validate(&object, None, &nothing).is_empty());
    assert!(prune(&mut object, &nothing).is_empty());
}
