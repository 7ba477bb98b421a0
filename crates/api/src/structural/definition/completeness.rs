//! What `allOf` and its like of the root speak of has to exist in the schema itself. Upstream looks no further than that.
use super::{each, list, one};
use crate::validation::FieldError;
use serde_json::Value;

pub(super) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    narrowing(schema, Some(schema), path, path, &mut errors);
    errors
}

/// `part` stands at `spoken` and speaks of `place`, at `path`.
fn narrowing(part: &Value, place: Option<&Value>, path: &str, spoken: &str, errors: &mut Vec<FieldError>) {
    if let Some(not) = one(part, "not") {
        inside(not, place, path, &format!("{spoken}.not"), errors);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for (number, part) in list(part, key).iter().enumerate() {
            inside(part, place, path, &format!("{spoken}.{key}[{number}]"), errors);
        }
    }
}

fn inside(part: &Value, place: Option<&Value>, path: &str, spoken: &str, errors: &mut Vec<FieldError>) {
    let Some(place) = place else {
        errors.push(FieldError::required(
            path,
            &format!("because it is defined in {spoken}"),
        ));
        return;
    };
    narrowing(part, Some(place), path, spoken, errors);
    if let Some(items) = one(part, "items") {
        inside(
            items,
            one(place, "items"),
            &format!("{path}.items"),
            &format!("{spoken}.items"),
            errors,
        );
    }
    for (name, property) in each(part, "properties") {
        inside(
            property,
            place["properties"].get(name),
            &format!("{path}.properties[{name}]"),
            &format!("{spoken}.properties[{name}]"),
            errors,
        );
    }
}
