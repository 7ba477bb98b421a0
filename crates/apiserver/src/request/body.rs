//! Bodies: JSON, YAML or protobuf, to a checked tree of the kind the URL speaks of (contract §2).
use super::FieldValidation;
use crate::resources::{Resource, api_version};
use crate::status::ApiError;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use orlop_api::wire::{self, DecodeError, Finding};
use serde_json::Value;

/// Largest request body.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Characters of an unreadable body that the refusal repeats.
const SHOWN_CHARACTERS_MAX: usize = 200;

pub const YAML: &str = "application/yaml";

const ACCEPTED: &str = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// A body that was understood.
#[derive(Debug)]
pub struct Decoded {
    pub object: Value,
    /// Unknown and duplicate fields, as upstream phrases them.
    pub findings: Vec<String>,
}

/// What a body is expected to be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
}

impl<'a> From<&'a Resource> for Expected<'a> {
    fn from(resource: &'a Resource) -> Self {
        Self {
            group: resource.group,
            version: resource.version,
            kind: resource.kind,
        }
    }
}

/// Decodes an object of a kind: checks its type, drops what the kind does not have, writes it canonically.
pub fn decode_object<'a>(
    expected: impl Into<Expected<'a>>,
    headers: &HeaderMap,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let expected = expected.into();
    let (object, mut findings) = tree(&expected, headers, body)?;
    let decoded = typed(&expected, object).map_err(refusal)?;
    match validation {
        FieldValidation::Ignore => findings.clear(),
        _ if media_type(headers) == YAML => findings.extend(wire::duplicate_keys(body)),
        _ => {}
    }
    if validation == FieldValidation::Strict && !findings.is_empty() {
        let kind = expected.kind;
        return Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
            expected.version,
            wire::strict_text(&findings)
        )));
    }
    Ok(Decoded {
        object: decoded,
        findings: findings.iter().map(ToString::to_string).collect(),
    })
}

/// Gives a tree the one form of its kind, with `kind` and `apiVersion` set.
pub fn typed(expected: &Expected<'_>, object: Value) -> Result<Value, DecodeError> {
    wire::normalize(
        &api_version(expected.group, expected.version),
        expected.kind,
        object,
    )
}

/// Options in a DELETE body: absent is `None`.
pub fn decode_options(headers: &HeaderMap, body: &[u8]) -> Result<Option<Value>, ApiError> {
    if body.is_empty() {
        return Ok(None);
    }
    let expected = Expected {
        group: "meta.k8s.io",
        version: "v1",
        kind: "DeleteOptions",
    };
    let (options, _) = tree(&expected, headers, body)?;
    match options["kind"].as_str() {
        None | Some("" | "DeleteOptions") => Ok(Some(options)),
        Some(other) => Err(ApiError::bad_request(format!(
            "{other} in version {:?} cannot be handled as DeleteOptions",
            options["apiVersion"].as_str().unwrap_or_default()
        ))),
    }
}

/// The Content-Type without its parameters; empty means JSON.
pub fn media_type(headers: &HeaderMap) -> &str {
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next());
    media_type.unwrap_or_default().trim()
}

fn tree(
    expected: &Expected<'_>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Value, Vec<Finding>), ApiError> {
    let version = api_version(expected.group, expected.version);
    let unrecognized = |error: DecodeError| {
        let shown = match body.is_empty() {
            true => "<empty>".to_owned(),
            false => String::from_utf8_lossy(body)
                .chars()
                .take(SHOWN_CHARACTERS_MAX)
                .collect(),
        };
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {error} ({shown})",
            expected.kind
        ))
    };
    match media_type(headers) {
        "" | "application/json" => {
            if body.is_empty() {
                return Err(unrecognized(DecodeError::Syntax(
                    "unexpected end of JSON input".to_owned(),
                )));
            }
            wire::json::decode_with_findings(&version, expected.kind, body).map_err(unrecognized)
        }
        YAML => {
            let object = wire::from_yaml(body).map_err(unrecognized)?;
            let findings = wire::findings(&version, expected.kind, object.to_string().as_bytes());
            Ok((object, findings))
        }
        "application/vnd.kubernetes.protobuf" => {
            let object = wire::protobuf::decode(body).map_err(refusal)?;
            Ok((object, Vec::new()))
        }
        _ => Err(ApiError::unsupported_media_type(ACCEPTED)),
    }
}

fn refusal(error: DecodeError) -> ApiError {
    match error.code() {
        415 => ApiError::unsupported_media_type(error.to_string()),
        _ => ApiError::bad_request(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;

    fn decode(content_type: &str, body: &str) -> Result<Decoded, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        let resource = resources::find("", "v1", "configmaps").unwrap();
        decode_object(resource, &headers, body.as_bytes(), FieldValidation::Warn)
    }

    /// T09, and the texts of §2.2.
    #[test]
    fn bodies_are_decoded_or_refused() {
        let object = decode("application/json", r#"{"data":{"a":"b"}}"#)
            .unwrap()
            .object;
        assert_eq!(object["kind"], "ConfigMap");
        assert_eq!(object["data"]["a"], "b");
        assert_eq!(
            decode("application/yaml", "data:\n  a: b\n").unwrap().object["data"]["a"],
            "b"
        );
        assert_eq!(decode("text/plain", "{}").unwrap_err().code, 415);
        let empty = decode("application/json", "").unwrap_err();
        assert_eq!(
            empty.message,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
        );
        let wrong = decode("application/json", r#"{"kind":"Pod","apiVersion":"v1"}"#).unwrap_err();
        assert_eq!(
            wrong.message,
            "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion"
        );
    }
}
