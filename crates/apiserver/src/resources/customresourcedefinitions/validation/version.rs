//! What is refused of one version of a definition.
use super::{list, text, versions};
use orlop_api::structural::{self, Look};
use orlop_api::validation::{FieldError, Findings};
use serde_json::Value;

const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] = &[
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
/// Paths of a scale, the roots that they may have, and what messages say of these.
const SCALE_PATHS: &[(&str, &[&str], &str)] = &[
    ("specReplicasPath", &[".spec."], ".spec"),
    ("statusReplicasPath", &[".status."], ".status"),
    (
        "labelSelectorPath",
        &[".spec.", ".status."],
        "either .spec or .status",
    ),
];
const SELECTABLE_FIELDS_MAX: usize = 8;
const WARNING_BYTES_MAX: usize = 256;

pub(super) fn deprecation(found: &mut Findings, version: &Value, path: &str) {
    let Some(warning) = version["deprecationWarning"].as_str() else {
        return;
    };
    let field = format!("{path}.deprecationWarning");
    if version["deprecated"] != true {
        return found.invalid(field, warning, "can only be set for deprecated versions");
    }
    if warning.len() > WARNING_BYTES_MAX {
        let hint = format!("must be <= {WARNING_BYTES_MAX} characters long");
        found.invalid(field.clone(), warning, &hint);
    }
    if warning.is_empty() {
        found.invalid(field.clone(), warning, "must not be an empty string");
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let hint = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        );
        found.invalid(field, warning, &hint);
    }
}

/// What a schema was accepted with before, maybe by another server, stays.
pub(super) fn check_schema(
    found: &mut Findings,
    version: &Value,
    path: &str,
    with_status: bool,
    old: Option<&Value>,
) {
    let before = old.into_iter().flat_map(versions);
    let mut before = before.filter(|before| before["name"] == version["name"]);
    let schema = schema(version);
    // With a subresource of its own, the status asks more of the schema around it.
    let was_accepted =
        |before: &Value| self::schema(before) == schema && (has_status(before) || !with_status);
    if !schema.is_object() || before.any(was_accepted) {
        return;
    }
    let look = Look {
        path: &format!("{path}.openAPIV3Schema"),
        with_status,
    };
    found.all(structural::check_definition(schema, look));
}

pub(super) fn subresources(found: &mut Findings, version: &Value, path: &str) {
    let scale = &version["subresources"]["scale"];
    if !scale.is_object() {
        return;
    }
    for (key, roots, under) in SCALE_PATHS {
        let (field, given) = (format!("{path}.scale.{key}"), text(&scale[*key]));
        if given.is_empty() {
            if *key != "labelSelectorPath" {
                found.required(field, "");
            }
        } else if !given.starts_with('.') {
            found.invalid(field, given, "must be a simple json path starting with .");
        } else if !roots.iter().any(|root| given.starts_with(root)) {
            found.invalid(field, given, &format!("should be a json path under {under}"));
        }
    }
}

pub(super) fn columns(found: &mut Findings, version: &Value, path: &str) {
    for (number, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
        let field = |key: &str| format!("{path}[{number}].{key}");
        if text(&column["name"]).is_empty() {
            found.required(field("name"), "");
        }
        let hint = format!("must be one of {}", COLUMN_TYPES.join(","));
        match text(&column["type"]) {
            "" => found.required(field("type"), &hint),
            known if COLUMN_TYPES.contains(&known) => {}
            other => found.invalid(field("type"), other, &hint),
        }
        let format = text(&column["format"]);
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let hint = format!("must be one of {}", COLUMN_FORMATS.join(","));
            found.invalid(field("format"), format, &hint);
        }
        match text(&column["jsonPath"]) {
            "" => found.required(field("JSONPath"), ""),
            given if given.starts_with('.') => {}
            other => found.invalid(
                field("JSONPath"),
                other,
                "must be a simple json path starting with .",
            ),
        }
    }
}

pub(super) fn selectable(found: &mut Findings, version: &Value, path: &str) {
    let given = list(&version["selectableFields"]);
    if given.is_empty() {
        return;
    }
    let schema = schema(version);
    if !schema.is_object() {
        return found.invalid(path, "", "may only be set when validations.schema is included");
    }
    let mut seen = Vec::new();
    for (number, selectable) in given.iter().enumerate() {
        let (field, given) = (
            format!("{path}[{number}].jsonPath"),
            text(&selectable["jsonPath"]),
        );
        if given.is_empty() {
            found.required(field, "");
            continue;
        }
        let (names, place) = match structural::field_path(given, schema, false) {
            Ok(found) => found,
            Err(why) => {
                found.invalid(field, given, &format!("is an invalid path: {why}"));
                continue;
            }
        };
        if names.first().is_some_and(|name| name == "metadata") {
            found.invalid(&field, given, "must not point to fields in metadata");
        }
        if !matches!(text(&place["type"]), "string" | "boolean" | "integer") {
            let hint = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are \
                        allowed.";
            found.invalid(&field, given, hint);
        }
        if seen.contains(&names) {
            found.add(FieldError::duplicate(field, given));
        } else {
            seen.push(names);
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        found.add(FieldError::too_many(path, seen.len(), SELECTABLE_FIELDS_MAX));
    }
}

pub(super) fn has_status(version: &Value) -> bool {
    version["subresources"]["status"].is_object()
}

pub(super) fn has_schema(version: &Value) -> bool {
    schema(version).is_object()
}

pub(super) fn schema(version: &Value) -> &Value {
    &version["schema"]["openAPIV3Schema"]
}
