//! How the keywords of each place may be used, whatever the schema is otherwise.
use super::super::rules::REASONS;
use super::{each, field_path, flag, list, one, text};
use crate::validation::{FieldError, Findings};
use crate::wire::json::go_text;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::CompactFormatter;

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// Keywords of JSON Schema that are not taken.
const UNSUPPORTED: &[&str] = &[
    "id",
    "additionalItems",
    "patternProperties",
    "definitions",
    "dependencies",
    "$ref",
];

/// The first keyword anywhere that keeps a schema from being read.
pub(super) fn unsupported(schema: &Value) -> Option<&'static str> {
    const ORDER: &[(&str, &str)] = &[
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ];
    let own = ORDER.iter().find(|(name, _)| super::says(&schema[*name]));
    let below = || children(schema).find_map(|(_, child, _)| unsupported(child));
    own.map(|(_, shown)| *shown).or_else(below)
}

pub(super) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut found = Findings::default();
    place(&mut found, schema, path, &Around::default(), true);
    found.errors
}

/// What surrounds a place.
#[derive(Clone, Default)]
struct Around {
    /// Why defaults may not be set.
    no_defaults: Option<String>,
    /// Inside of what every object has.
    meta: bool,
}

/// How a schema below another one stands to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step<'s> {
    Property(&'s str),
    Additional,
    Other,
}

fn children(schema: &Value) -> impl Iterator<Item = (String, &Value, Step<'_>)> {
    let additional = one(schema, "additionalProperties");
    let additional = additional.map(|each| (".additionalProperties".to_owned(), each, Step::Additional));
    let properties = each(schema, "properties")
        .map(|(name, property)| (format!(".properties[{name}]"), property, Step::Property(name)));
    let single = |name: &'static str| {
        let schema = one(schema, name);
        schema.map(|schema| (format!(".{name}"), schema, Step::Other))
    };
    let several = ["allOf", "oneOf", "anyOf"].into_iter().flat_map(move |key| {
        let parts = list(schema, key).iter().enumerate();
        parts.map(move |(number, part)| (format!(".{key}[{number}]"), part, Step::Other))
    });
    let named = ["definitions", "dependencies"].into_iter().flat_map(move |key| {
        let schemas = each(schema, key).filter(|(_, schema)| schema.is_object());
        schemas.map(move |(name, schema)| (format!(".{key}[{name}]"), schema, Step::Other))
    });
    let items = list(schema, "items").iter().enumerate();
    let items = items.map(|(number, item)| (format!(".items[{number}]"), item, Step::Other));
    additional
        .into_iter()
        .chain(properties)
        .chain(single("not"))
        .chain(several)
        .chain(single("items"))
        .chain(items)
        .chain(named)
}

fn place(found: &mut Findings, schema: &Value, path: &str, around: &Around, root: bool) {
    own(found, schema, path, around);
    if flag(schema, "uniqueItems") {
        let hint = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        found.forbidden(format!("{path}.uniqueItems"), hint);
    }
    let additional = &schema["additionalProperties"];
    if (additional.is_object() || additional == false) && each(schema, "properties").next().is_some() {
        let hint = "additionalProperties and properties are mutual exclusive";
        found.forbidden(format!("{path}.additionalProperties"), hint);
    }
    let whole = root || flag(schema, "x-kubernetes-embedded-resource");
    for (step, child, kind) in children(schema) {
        let mut within = around.clone();
        match kind {
            Step::Additional if around.meta => {
                within.no_defaults =
                    Some("inside additionalProperties applying to object metadata".to_owned());
            }
            Step::Property(name) if whole && matches!(name, "metadata" | "kind" | "apiVersion") => {
                within.meta = true;
                if root {
                    within.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            _ => {}
        }
        place(found, child, &format!("{path}{step}"), &within, false);
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let field = format!("{path}.x-kubernetes-preserve-unknown-fields");
        found.invalid(field, false, "must be true or undefined");
    }
    map_type(found, schema, path);
    list_type(found, schema, path);
    keys(found, schema, path);
    items(found, schema, path);
    for (number, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let path = format!("{path}.x-kubernetes-validations[{number}]");
        validation_rule(found, schema, rule, &path);
    }
}

fn own(found: &mut Findings, schema: &Value, path: &str, around: &Around) {
    let kind = text(schema, "type");
    let field = || format!("{path}.type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        found.add(FieldError::not_supported(field(), kind, TYPES));
    }
    if !schema["default"].is_null()
        && let Some(reason) = &around.no_defaults
    {
        found.forbidden(format!("{path}.default"), &format!("must not be set {reason}"));
    }
    for name in UNSUPPORTED {
        let value = &schema[*name];
        if super::says(value) || (*name == "additionalItems" && !value.is_null()) {
            found.forbidden(format!("{path}.{name}"), &format!("{name} is not supported"));
        }
    }
    if kind == "null" {
        found.forbidden(
            field(),
            "type cannot be set to null, use nullable as an alternative",
        );
    }
    if !list(schema, "items").is_empty() {
        let hint = "items must be a schema object and not an array";
        found.forbidden(format!("{path}.items"), hint);
    }
    if around.meta && flag(schema, "x-kubernetes-embedded-resource") {
        let field = format!("{path}.x-kubernetes-embedded-resource");
        found.forbidden(field, "must not be used inside of resource meta");
    }
}

/// A place that is divided in some way has to be of this type.
fn needs(found: &mut Findings, schema: &Value, path: &str, wanted: &str, because: &str) {
    let kind = text(schema, "type");
    let (field, hint) = (
        format!("{path}.type"),
        format!("must be {wanted} if {because} is specified"),
    );
    found.unmet(field, kind, &hint);
}

fn map_type(found: &mut Findings, schema: &Value, path: &str) {
    const NAME: &str = "x-kubernetes-map-type";
    let Some(given) = schema[NAME].as_str() else {
        return;
    };
    if text(schema, "type") != "object" {
        needs(found, schema, path, "object", NAME);
    }
    let known = &["atomic", "granular"];
    if !known.contains(&given) {
        let field = format!("{path}.{NAME}");
        found.add(FieldError::not_supported(field, given, known));
    }
}

fn list_type(found: &mut Findings, schema: &Value, path: &str) {
    const NAME: &str = "x-kubernetes-list-type";
    let Some(given) = schema[NAME].as_str() else {
        return;
    };
    if text(schema, "type") != "array" {
        needs(found, schema, path, "array", NAME);
    } else if given == "set"
        && let Some(items) = one(schema, "items")
    {
        let (name, whole) = match text(items, "type") {
            "array" => (NAME, items[NAME].as_str().is_none_or(|of| of == "atomic")),
            "object" => (
                "x-kubernetes-map-type",
                items["x-kubernetes-map-type"] == "atomic",
            ),
            _ => (NAME, true),
        };
        if !whole {
            let hint = "must be atomic as item of a list with x-kubernetes-list-type=set";
            found.invalid(format!("{path}.items.{name}"), &items[NAME], hint);
        }
    }
    let known = &["atomic", "set", "map"];
    if !known.contains(&given) {
        let field = format!("{path}.{NAME}");
        found.add(FieldError::not_supported(field, given, known));
    }
}

fn keys(found: &mut Findings, schema: &Value, path: &str) {
    const KEYS: &str = "x-kubernetes-list-map-keys";
    let list_type = schema["x-kubernetes-list-type"].as_str();
    let keys = list(schema, KEYS);
    if !keys.is_empty() && list_type != Some("map") {
        let field = format!("{path}.x-kubernetes-list-type");
        let hint = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => found.required(field, hint),
            Some(other) => found.invalid(field, other, hint),
        }
    }
    if list_type != Some("map") {
        return;
    }
    let field = format!("{path}.{KEYS}");
    if keys.is_empty() {
        found.required(
            field.clone(),
            "must not be empty if x-kubernetes-list-type is map",
        );
    }
    let Some(items) = one(schema, "items") else {
        found.required(
            format!("{path}.items"),
            "must have a schema if x-kubernetes-list-type is map",
        );
        return;
    };
    if text(items, "type") != "object" {
        let hint = "must be object if parent array's x-kubernetes-list-type is map";
        found.invalid(format!("{path}.items.type"), text(items, "type"), hint);
        return;
    }
    for (number, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        match items["properties"].get(name) {
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                let hint = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let field = format!("{path}.items.properties[{name}].type");
                found.invalid(field, text(items, "type"), hint);
            }
            Some(_) => {}
            None => found.invalid(
                field.clone(),
                keys,
                "entries must all be names of item properties",
            ),
        }
        if keys[..number].contains(key) {
            found.invalid(field.clone(), keys, "must not contain duplicate entries");
        }
    }
}

/// Items that are told apart have to be there, and so do their keys.
fn items(found: &mut Findings, schema: &Value, path: &str) {
    let Some(list_type @ ("set" | "map")) = schema["x-kubernetes-list-type"].as_str() else {
        return;
    };
    let Some(items) = one(schema, "items") else {
        return;
    };
    if flag(items, "nullable") {
        let hint = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        found.forbidden(format!("{path}.items.nullable"), &hint);
    }
    if list_type == "set" {
        return;
    }
    let required = list(items, "required");
    for key in list(schema, "x-kubernetes-list-map-keys") {
        let name = key.as_str().unwrap_or_default();
        let Some(property) = items["properties"].get(name) else {
            continue;
        };
        let field = format!("{path}.items.properties[{name}]");
        const KEY: &str = "this property is in x-kubernetes-list-map-keys, so it";
        if !required.contains(key) && property["default"].is_null() {
            found.required(
                format!("{field}.default"),
                &format!("{KEY} must have a default or be a required property"),
            );
        }
        if flag(property, "nullable") {
            found.forbidden(format!("{field}.nullable"), &format!("{KEY} cannot be nullable"));
        }
    }
}

fn validation_rule(found: &mut Findings, schema: &Value, rule: &Value, path: &str) {
    let breaks = |text: &str| text.contains(['\n', '\r']);
    let (source, message) = (text(rule, "rule").trim(), text(rule, "message"));
    let field = |name: &str| format!("{path}.{name}");
    if source.is_empty() {
        found.required(field("rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        found.invalid(field("message"), message, "must be non-empty if specified");
    } else if breaks(message.trim()) {
        found.invalid(field("message"), message, "must not contain line breaks");
    } else if breaks(source) && message.is_empty() {
        let hint = "message must be specified if rule contains line breaks";
        found.required(field("message"), hint);
    }
    let expression = text(rule, "messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        let hint = "messageExpression must be non-empty if specified";
        found.required(field("messageExpression"), hint);
    }
    if let Some(reason) = rule["reason"].as_str()
        && !REASONS.contains(&reason)
    {
        let mut known = REASONS.to_vec();
        known.sort_unstable();
        found.add(FieldError::not_supported(field("reason"), reason, &known));
    }
    let target = text(rule, "fieldPath");
    if target.is_empty() {
        return;
    }
    if target.trim().is_empty() {
        found.invalid(field("fieldPath"), target, "must be non-empty if specified");
    }
    if breaks(target) {
        found.invalid(field("fieldPath"), target, "must not contain line breaks");
    }
    if field_path(target, schema, true).is_err() {
        found.invalid(field("fieldPath"), target, "must be a valid path");
    }
}

/// A rule as messages show it: by the names that upstream's program has for its parts.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'r> {
    rule: &'r str,
    message: &'r str,
    message_expression: &'r str,
    reason: Option<&'r str>,
    field_path: &'r str,
    optional_old_self: Option<bool>,
}

pub(in super::super) fn shown_rule(rule: &Value) -> String {
    let shown = Shown {
        rule: text(rule, "rule"),
        message: text(rule, "message"),
        message_expression: text(rule, "messageExpression"),
        reason: rule["reason"].as_str(),
        field_path: text(rule, "fieldPath"),
        optional_old_self: rule["optionalOldSelf"].as_bool(),
    };
    String::from_utf8(go_text(&shown, CompactFormatter)).unwrap_or_default()
}
