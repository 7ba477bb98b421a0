//! What is refused of the schema of a CustomResourceDefinition, in upstream's words (contract api-server §18).
//!
//! | file | asks |
//! |---|---|
//! | `invariants` | is the schema structural |
//! | `completeness` | does everything that `allOf` and its like of the root speak of exist |
//! | `keywords` | are the keywords used as they may be, place by place |
//! | `paths` | where do paths lead |
//! | `defaults` | do defaults satisfy the schema around them |
mod completeness;
mod defaults;
mod invariants;
mod keywords;
mod paths;
#[cfg(test)]
mod tests;

pub(super) use keywords::shown_rule;
pub use paths::field_path;

use super::compile::read;
use super::too_expensive;
use crate::validation::FieldError;
use serde_json::{Map, Value};

/// Keywords of a schema's root when status is a subresource: the status is validated by `properties.status` alone.
const ROOT: &[&str] = &[
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
/// The same as messages list them, by the names that upstream's program has for them.
const ROOT_SHOWN: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength \
    Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";

/// How a definition's schema is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'p> {
    /// Where the schema stands.
    pub path: &'p str,
    /// Whether status is a subresource.
    pub with_status: bool,
}

/// Everything that is wrong with a schema.
pub fn check(schema: &Value, look: Look<'_>) -> Vec<FieldError> {
    let path = look.path;
    let mut errors = Vec::new();
    if look.with_status {
        errors.extend(root(schema, path));
    }
    if flag(schema, "nullable") {
        errors.push(FieldError::forbidden(
            format!("{path}.nullable"),
            "nullable cannot be true at the root",
        ));
    }
    let unsupported = keywords::unsupported(schema);
    let mut structural = Vec::new();
    if unsupported.is_none() {
        structural = invariants::check(schema, path);
        structural.extend(completeness::check(schema, path));
        structural.sort_by_cached_key(ToString::to_string);
    }
    // Defaults and rules need a schema that is one.
    let is_schema = unsupported.is_none() && structural.is_empty();
    errors.extend(structural);
    let mut rules = Vec::new();
    if is_schema {
        let (node, wrong) = read(schema, path);
        let of_defaults = if wrong.is_empty() {
            defaults::check(&node, path)
        } else {
            Vec::new()
        };
        rules.extend(wrong);
        if of_defaults.is_empty() {
            rules.extend(too_expensive(&node, path));
        }
        errors.extend(of_defaults);
    }
    let found = keywords::check(schema, path);
    if found.is_empty() && errors.is_empty() {
        errors.extend(rules);
    } else {
        errors.extend(found);
    }
    if errors.is_empty()
        && let Some(name) = unsupported
    {
        errors.push(FieldError::invalid(
            path,
            "",
            &format!("OpenAPIV3Schema '{name}' is not supported"),
        ));
    }
    errors
}

fn root(schema: &Value, path: &str) -> Option<FieldError> {
    let kind = text(schema, "type");
    if !kind.is_empty() && kind != "object" {
        let hint = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return Some(FieldError::invalid(format!("{path}.type"), kind, hint));
    }
    let members = schema.as_object()?;
    members
        .iter()
        .find(|(name, value)| says(value) && !ROOT.contains(&name.as_str()))?;
    let hint = format!(
        "only {ROOT_SHOWN} fields are allowed at the root of the schema if the status subresource is enabled"
    );
    Some(FieldError::invalid(path, schema, &hint))
}

/// Whether a keyword's value says anything.
fn says(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema[name].as_bool().unwrap_or_default()
}

fn text<'s>(schema: &'s Value, name: &str) -> &'s str {
    schema[name].as_str().unwrap_or_default()
}

fn list<'s>(schema: &'s Value, name: &str) -> &'s [Value] {
    schema[name].as_array().map_or(&[], Vec::as_slice)
}

/// The schemas of a keyword that holds one for each name.
fn each<'s>(schema: &'s Value, name: &str) -> impl Iterator<Item = (&'s String, &'s Value)> {
    schema[name].as_object().into_iter().flat_map(Map::iter)
}

/// The schema of a keyword that holds a single one.
fn one<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    schema.get(name).filter(|value| value.is_object())
}
