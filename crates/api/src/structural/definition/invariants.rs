//! What makes a schema structural: every place has one type, given outside of `allOf` and its like, which may only narrow
//! it down.
use super::{each, flag, list, one, says, text};
use crate::regexp::Pattern;
use crate::structural::PATTERN_BYTES_MAX;
use crate::validation::{FieldError, Findings};
use serde_json::{Value, json};

/// What a place is of the one above it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Keywords that say what a value is, and so have no place where values are only narrowed down; and what has to be of them.
const FORBIDDEN_INSIDE: &[(&str, &str)] = &[
    ("type", "must be empty"),
    ("default", "must be undefined"),
    ("title", "must be empty"),
    ("description", "must be empty"),
    ("nullable", "must be false"),
    ("x-kubernetes-preserve-unknown-fields", "must be false"),
    ("x-kubernetes-embedded-resource", "must be false"),
    ("x-kubernetes-int-or-string", "must be false"),
    ("x-kubernetes-list-map-keys", "must be empty"),
    ("x-kubernetes-list-type", "must be undefined"),
    ("x-kubernetes-map-type", "must be undefined"),
    ("x-kubernetes-validations", "must be empty"),
];

pub(super) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut found = Findings::default();
    place(&mut found, schema, path, Level::Root);
    found.errors
}

fn place(found: &mut Findings, schema: &Value, path: &str, level: Level) {
    let kind = text(schema, "type");
    match one(schema, "items") {
        Some(items) => place(found, items, &format!("{path}.items"), Level::Item),
        None if kind == "array" => found.required(format!("{path}.items"), "must be specified"),
        None => {}
    }
    for (name, property) in each(schema, "properties") {
        place(
            found,
            property,
            &format!("{path}.properties[{name}]"),
            Level::Field,
        );
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() {
        let field = format!("{path}.additionalProperties");
        if level == Level::Root {
            found.forbidden(field.clone(), "must not be used at the root");
        }
        if additional.is_object() {
            place(found, additional, &field, Level::Field);
        }
    }
    extensions(found, schema, path);
    narrowing(
        found,
        schema,
        path,
        is_int_or_string(schema),
        list(schema, "allOf").first().is_some_and(is_int_or_string),
    );
    kind_of_place(found, schema, path, level);
    metadata(found, schema, path, level);
}

fn extensions(found: &mut Findings, schema: &Value, path: &str) {
    if !flag(schema, "x-kubernetes-int-or-string") {
        return;
    }
    for name in [
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
    ] {
        if flag(schema, name) {
            let hint = "must be false if x-kubernetes-int-or-string is true";
            found.invalid(format!("{path}.{name}"), true, hint);
        }
    }
}

fn kind_of_place(found: &mut Findings, schema: &Value, path: &str, level: Level) {
    let kind = text(schema, "type");
    let field = || format!("{path}.type");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    if embedded && kind != "object" {
        let hint = "must be object if x-kubernetes-embedded-resource is true";
        found.unmet(field(), kind, hint);
    } else if kind.is_empty() && !flag(schema, "x-kubernetes-int-or-string") && !preserves {
        found.required(
            field(),
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    }
    if embedded && !schema["additionalProperties"].is_null() {
        let hint = "must not be used if x-kubernetes-embedded-resource is set";
        found.forbidden(format!("{path}.additionalProperties"), hint);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        found.invalid(field(), kind, "must be object at the root");
    }
    if embedded && !preserves && each(schema, "properties").next().is_none() {
        let hint = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        found.required(format!("{path}.properties"), hint);
    }
}

/// What every object has is not to be declared in another way.
fn metadata(found: &mut Findings, schema: &Value, path: &str, level: Level) {
    let whole = level == Level::Root || flag(schema, "x-kubernetes-embedded-resource");
    if !whole {
        return;
    }
    for (name, kind) in [
        ("kind", "string"),
        ("apiVersion", "string"),
        ("metadata", "object"),
    ] {
        if let Some(property) = schema["properties"].get(name)
            && text(property, "type") != kind
        {
            let field = format!("{path}.properties[{name}].type");
            found.invalid(field, text(property, "type"), &format!("must be {kind}"));
        }
    }
    if level == Level::Root
        && let Some(metadata) = schema["properties"].get("metadata")
        && !restricts_names_alone(metadata)
    {
        let hint = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        found.forbidden(format!("{path}.properties[metadata]"), hint);
    }
}

/// `allOf` and its like. `any_of` and `first_any_of`: those of a value that may be a number or a text.
fn narrowing(found: &mut Findings, schema: &Value, path: &str, any_of: bool, first_any_of: bool) {
    for (key, skipped) in [("anyOf", any_of), ("allOf", false), ("oneOf", false)] {
        for (number, part) in list(schema, key).iter().enumerate().filter(|_| !skipped) {
            let first = key == "allOf" && number == 0 && first_any_of;
            inside(found, part, &format!("{path}.{key}[{number}]"), first);
        }
    }
    if let Some(part) = one(schema, "not") {
        inside(found, part, &format!("{path}.not"), false);
    }
    let pattern = text(schema, "pattern");
    if !pattern.is_empty()
        && let Err(error) = Pattern::new(pattern, PATTERN_BYTES_MAX)
    {
        let hint = format!("must be a valid regular expression, but isn't: {error}");
        found.invalid(format!("{path}.pattern"), pattern, &hint);
    }
}

fn inside(found: &mut Findings, part: &Value, path: &str, any_of: bool) {
    narrowing(found, part, path, any_of, false);
    if let Some(items) = one(part, "items") {
        inside(found, items, &format!("{path}.items"), false);
    }
    for (name, property) in each(part, "properties") {
        inside(found, property, &format!("{path}.properties[{name}]"), false);
    }
    if !part["additionalProperties"].is_null() {
        let field = format!("{path}.additionalProperties");
        found.forbidden(field, "must be undefined to be structural");
    }
    for (name, wanted) in FORBIDDEN_INSIDE {
        if says(&part[name]) {
            found.forbidden(format!("{path}.{name}"), &format!("{wanted} to be structural"));
        }
    }
    if part["properties"].get("metadata").is_some() {
        let field = format!("{path}.properties[metadata]");
        found.forbidden(field, "must not be specified in a nested context");
    }
}

/// Whether `anyOf` says "a number or a text" and nothing else.
fn is_int_or_string(schema: &Value) -> bool {
    schema["anyOf"] == json!([{"type": "integer"}, {"type": "string"}])
}

/// Whether a schema of metadata says something of names only.
fn restricts_names_alone(metadata: &Value) -> bool {
    let names = each(metadata, "properties").all(|(name, _)| name == "name" || name == "generateName");
    let others = metadata.as_object().into_iter().flatten();
    let mut others = others
        .filter(|(name, value)| says(value) && !matches!(name.as_str(), "type" | "default" | "properties"));
    names && others.next().is_none()
}
