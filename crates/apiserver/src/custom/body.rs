//! Bodies of custom objects: checked against what they claim to be, pruned, defaulted.
use super::Custom;
use crate::request::{Decoded, FieldValidation, YAML, media_type};
use crate::resources::Resource;
use crate::status::{ApiError, cause};
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
            return Err(match key {
                "kind" => {
                    let cause = cause::invalid("kind", &json!(given), &format!("must be {kind}"));
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    ApiError::invalid_kind(resource.group, given, name, vec![cause])
                }
                _ => ApiError::bad_request(format!(
                    "the API version in the data ({given}) does not match the expected API version ({expected})"
                )),
            });
        }
        object[key] = json!(expected);
    }
    let mut findings = normalize_metadata(&mut object["metadata"]).map_err(|why| unusable(resource, &why))?;
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
            let given = metadata.clone();
            let unknown = normalize_metadata(metadata).map_err(|why| {
                let cause = cause::invalid(path, &given, &why);
                unusable(resource, &format!("{path}: {}", cause.message))
            })?;
            for finding in unknown {
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
///
/// # Errors
/// Why it is none.
fn normalize_metadata(metadata: &mut Value) -> Result<Vec<Finding>, String> {
    let whole = json!({"metadata": metadata.take()});
    let findings = wire::unknown_fields(META.0, META.1, &whole);
    let mut normal = wire::normalize(META.0, META.1, whole).map_err(|error| {
        let text = error.to_string();
        let why = text.find("json: ").map_or(&*text, |start| &text[start..]);
        // The field is that of metadata by itself.
        why.replace("ObjectMeta.metadata.", "ObjectMeta.")
    })?;
    *metadata = normal["metadata"].take();
    Ok(findings)
}

fn unusable(resource: &Resource, why: &str) -> ApiError {
    let (kind, version) = (resource.kind, resource.version);
    ApiError::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
    ))
}
