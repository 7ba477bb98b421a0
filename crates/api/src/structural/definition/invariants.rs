//! What makes a schema structural: every place has one type, given outside of `allOf` and its like, which may only narrow
//! it down.
use super::{each, flag, list, one, says, text};
use crate::validation::FieldError;
use regex::Regex;
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
    let mut check = Check { errors: Vec::new() };
    check.place(schema, path, Level::Root);
    check.errors
}

struct Check {
    errors: Vec<FieldError>,
}

impl Check {
    fn required(&mut self, field: String, hint: &str) {
        self.errors.push(FieldError::required(field, hint));
    }

    fn forbidden(&mut self, field: String, hint: &str) {
        self.errors.push(FieldError::forbidden(field, hint));
    }

    fn invalid(&mut self, field: String, value: impl serde::Serialize, hint: &str) {
        self.errors.push(FieldError::invalid(field, value, hint));
    }

    fn place(&mut self, schema: &Value, path: &str, level: Level) {
        let kind = text(schema, "type");
        match one(schema, "items") {
            Some(items) => self.place(items, &format!("{path}.items"), Level::Item),
            None if kind == "array" => self.required(format!("{path}.items"), "must be specified"),
            None => {}
        }
        for (name, property) in each(schema, "properties") {
            self.place(property, &format!("{path}.properties[{name}]"), Level::Field);
        }
        let additional = &schema["additionalProperties"];
        if !additional.is_null() {
            let field = format!("{path}.additionalProperties");
            if level == Level::Root {
                self.forbidden(field.clone(), "must not be used at the root");
            }
            if additional.is_object() {
                self.place(additional, &field, Level::Field);
            }
        }
        self.extensions(schema, path);
        self.narrowing(
            schema,
            path,
            is_int_or_string(schema),
            list(schema, "allOf").first().is_some_and(is_int_or_string),
        );
        self.kind(schema, path, level);
        self.metadata(schema, path, level);
    }

    fn extensions(&mut self, schema: &Value, path: &str) {
        if !flag(schema, "x-kubernetes-int-or-string") {
            return;
        }
        for name in [
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-embedded-resource",
        ] {
            if flag(schema, name) {
                let hint = "must be false if x-kubernetes-int-or-string is true";
                self.invalid(format!("{path}.{name}"), true, hint);
            }
        }
    }

    fn kind(&mut self, schema: &Value, path: &str, level: Level) {
        let kind = text(schema, "type");
        let field = || format!("{path}.type");
        let embedded = flag(schema, "x-kubernetes-embedded-resource");
        let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
        if embedded && kind != "object" {
            let hint = "must be object if x-kubernetes-embedded-resource is true";
            if kind.is_empty() {
                self.required(field(), hint);
            } else {
                self.invalid(field(), kind, hint);
            }
        } else if kind.is_empty() && !flag(schema, "x-kubernetes-int-or-string") && !preserves {
            self.required(
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
            self.forbidden(format!("{path}.additionalProperties"), hint);
        }
        if level == Level::Root && !kind.is_empty() && kind != "object" {
            self.invalid(field(), kind, "must be object at the root");
        }
        if embedded && !preserves && each(schema, "properties").next().is_none() {
            let hint = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.required(format!("{path}.properties"), hint);
        }
    }

    /// What every object has is not to be declared in another way.
    fn metadata(&mut self, schema: &Value, path: &str, level: Level) {
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
                self.invalid(field, text(property, "type"), &format!("must be {kind}"));
            }
        }
        if level == Level::Root
            && let Some(metadata) = schema["properties"].get("metadata")
            && !restricts_names_alone(metadata)
        {
            let hint = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbidden(format!("{path}.properties[metadata]"), hint);
        }
    }

    /// `allOf` and its like. `any_of` and `first_any_of`: those of a value that may be a number or a text.
    fn narrowing(&mut self, schema: &Value, path: &str, any_of: bool, first_any_of: bool) {
        for (key, skipped) in [("anyOf", any_of), ("allOf", false), ("oneOf", false)] {
            for (number, part) in list(schema, key).iter().enumerate().filter(|_| !skipped) {
                let first = key == "allOf" && number == 0 && first_any_of;
                self.inside(part, &format!("{path}.{key}[{number}]"), first);
            }
        }
        if let Some(part) = one(schema, "not") {
            self.inside(part, &format!("{path}.not"), false);
        }
        let pattern = text(schema, "pattern");
        if let Err(error) = Regex::new(pattern) {
            let hint = format!("must be a valid regular expression, but isn't: {error}");
            self.invalid(format!("{path}.pattern"), pattern, &hint);
        }
    }

    fn inside(&mut self, part: &Value, path: &str, any_of: bool) {
        self.narrowing(part, path, any_of, false);
        if let Some(items) = one(part, "items") {
            self.inside(items, &format!("{path}.items"), false);
        }
        for (name, property) in each(part, "properties") {
            self.inside(property, &format!("{path}.properties[{name}]"), false);
        }
        if !part["additionalProperties"].is_null() {
            let field = format!("{path}.additionalProperties");
            self.forbidden(field, "must be undefined to be structural");
        }
        for (name, wanted) in FORBIDDEN_INSIDE {
            if says(&part[name]) {
                self.forbidden(format!("{path}.{name}"), &format!("{wanted} to be structural"));
            }
        }
        if part["properties"].get("metadata").is_some() {
            let field = format!("{path}.properties[metadata]");
            self.forbidden(field, "must not be specified in a nested context");
        }
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
