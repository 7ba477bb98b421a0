//! Bodies of custom objects: checked against what they claim to be, pruned, defaulted.
use super::Custom;
use crate::request::{Decoded, FieldValidation, YAML, media_type};
use crate::resources::Resource;
use crate::status::ApiError;
use http::HeaderMap;
use orlop_api::structural::{each_embedded, fill, prune};
use orlop_api::wire::{self, Finding};
use serde_json::{Value, json};

const ACCEPTED: &str = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml";
const META: (&str, &str) = ("meta.k8s.io/v1", "PartialObjectMetadata");

/// Decodes a body.
pub fn decode(
    resource: &Resource,
    custom: &Custom,
    headers: &HeaderMap,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let unreadable = |why: String| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why}",
            resource.kind
        ))
    };
    let (object, mut findings) = match media_type(headers) {
        "" | "application/json" => {
            wire::json::decode_with_findings(&resource.api_version(), resource.kind, body)
                .map_err(|error| unreadable(error.to_string()))?
        }
        YAML => {
            let object = wire::from_yaml(body).map_err(|error| unreadable(error.to_string()))?;
            (object, wire::duplicate_keys(body))
        }
        _ => return Err(ApiError::unsupported_media_type(ACCEPTED)),
    };
    for (key, name) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if object[key].as_str().is_none_or(str::is_empty) {
            return Err(unreadable(format!("Object '{name}' is missing in '{object}'")));
        }
    }
    let (object, unknown) = typed(resource, custom, object)?;
    findings.extend(unknown);
    if validation == FieldValidation::Ignore {
        findings.clear();
    }
    if validation == FieldValidation::Strict && !findings.is_empty() {
        return Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
            resource.version,
            wire::strict_text(&findings),
            kind = resource.kind,
        )));
    }
    let findings = findings.iter().map(ToString::to_string).collect();
    Ok(Decoded { object, findings })
}

/// Gives a tree the form of the resource: metadata as every object has it, the rest pruned and defaulted. Answers
/// what was not specified as well.
pub fn typed(
    resource: &Resource,
    custom: &Custom,
    mut object: Value,
) -> Result<(Value, Vec<Finding>), ApiError> {
    let (api_version, kind) = (resource.api_version(), resource.kind);
    if !object.is_object() {
        return Err(ApiError::bad_request(format!("a {kind} must be an object")));
    }
    for (key, expected) in [("apiVersion", api_version.as_str()), ("kind", kind)] {
        let given = object[key].as_str().unwrap_or(expected);
        if given != expected {
            return Err(ApiError::bad_request(format!(
                "the {key} in the data ({given}) does not match the expected one ({expected})"
            )));
        }
        object[key] = json!(expected);
    }
    let mut findings = normalize_metadata(&mut object["metadata"], kind)?;
    let definition = custom.definition();
    let pruned = prune(&mut object, &definition.schema);
    findings.extend(pruned.into_iter().map(Finding::Unknown));
    each_embedded(
        &mut object,
        &definition.schema,
        &mut |metadata: &mut Value, path: &str| -> Result<(), ApiError> {
            if !metadata.is_object() {
                return Ok(());
            }
            for finding in normalize_metadata(metadata, kind)? {
                findings.push(match finding {
                    Finding::Unknown(field) => {
                        Finding::Unknown(format!("{path}{}", field.trim_start_matches("metadata")))
                    }
                    other => other,
                });
            }
            Ok(())
        },
    )?;
    fill(&mut object, &definition.schema);
    Ok((object, findings))
}

/// Gives metadata the form that it has in every object. Answers what that doesn't know.
fn normalize_metadata(metadata: &mut Value, kind: &str) -> Result<Vec<Finding>, ApiError> {
    let whole = json!({"metadata": metadata.take()});
    let findings = wire::unknown_fields(META.0, META.1, &whole);
    let mut normal = wire::normalize(META.0, META.1, whole)
        .map_err(|error| ApiError::bad_request(error.to_string().replace(META.1, kind)))?;
    *metadata = normal["metadata"].take();
    Ok(findings)
}
