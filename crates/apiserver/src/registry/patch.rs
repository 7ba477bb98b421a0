//! PATCH in its three classic forms (contract §9); server-side apply has a file of its own.
use super::change::{Change, Part, Tracking};
use super::{apply, update};
use crate::admission::Admission;
use crate::custom;
use crate::http::{Answer, Call};
use crate::request::{self, Expected, FieldValidation, WriteOptions};
use crate::status::{ApiError, Cause};
use http::header::CONTENT_TYPE;
use orlop_api::patch::{self, PatchError};
use orlop_api::wire;
use serde_json::{Value, json};

/// Of custom resources, whose lists have no merge strategies.
const CUSTOM_FORMS: &str = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
const APPLY: &str = "application/apply-patch+yaml";

/// The forms of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Merge,
    Strategic,
}

/// A patch body, read once and applied as often as the write has to be retried.
pub struct Patch {
    form: Form,
    body: Value,
}

pub async fn patch(call: &Call, part: Part) -> Result<Answer, ApiError> {
    if media_type(call) == APPLY {
        return apply::apply(call, part).await;
    }
    let patch = Patch::read(call)?;
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let name = call.info.name.as_str();
    if patch.form == Form::Json {
        patch.check_operations(call, options.validation)?;
    }
    let resource = call.resource;
    let outcome = Change {
        call,
        part,
        name,
        dry_run: options.dry_run,
        is_put: false,
        tracking: Tracking::Update,
        admission: Admission::Due,
    }
    .apply(|old| {
        let mut shown = old.clone();
        resource.show(&mut shown);
        let patched = patch.apply(resource.kind, &shown)?;
        check_name(&patched, name)?;
        let mut object = typed(call, &patch, patched, options.validation)?;
        resource.store(&mut object);
        // A status write keeps the stored spec, which has its defaults.
        if part != Part::Status {
            (resource.rules.default)(&mut object);
        }
        Ok(object)
    })
    .await?;
    match outcome {
        Some(outcome) => update::answer(call, outcome).await,
        None => Err(ApiError::not_found(resource, name)),
    }
}

fn media_type(call: &Call) -> &str {
    let content_type = call.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    content_type
        .and_then(|text| text.split(';').next())
        .unwrap_or_default()
        .trim()
}

impl Patch {
    pub fn read(call: &Call) -> Result<Self, ApiError> {
        let form = match media_type(call) {
            "application/json-patch+json" => Form::Json,
            "application/merge-patch+json" => Form::Merge,
            "application/strategic-merge-patch+json" if call.resource.custom.is_none() => Form::Strategic,
            _ if call.resource.custom.is_some() => {
                return Err(ApiError::unsupported_media_type(CUSTOM_FORMS));
            }
            _ => return Err(ApiError::unsupported_media_type("415: Unsupported Media Type")),
        };
        let body: Value = serde_json::from_slice(&call.body).map_err(|error| {
            let why = if call.body.is_empty() || error.is_eof() {
                "unexpected end of JSON input".to_owned()
            } else {
                error.to_string()
            };
            ApiError::bad_request(format!("error decoding patch: {why}"))
        })?;
        Ok(Self { form, body })
    }

    pub fn apply(&self, kind: &str, current: &Value) -> Result<Value, ApiError> {
        match self.form {
            Form::Json => patch::json(current, &self.body),
            Form::Merge => patch::merge_object(current, &self.body),
            Form::Strategic => patch::strategic(kind, current, &self.body),
        }
        .map_err(refusal)
    }

    fn check_operations(&self, call: &Call, validation: FieldValidation) -> Result<(), ApiError> {
        if validation == FieldValidation::Ignore {
            return Ok(());
        }
        let findings: Vec<String> = patch::json_unknown_fields(&self.body)
            .iter()
            .map(|path| format!("json patch unknown field {path:?}"))
            .collect();
        report(call, findings, validation, &self.body)
    }
}

fn refusal(error: PatchError) -> ApiError {
    match &error {
        PatchError::Malformed(_) => ApiError::bad_request(error.to_string()),
        PatchError::NotApplicable { operation, cause } => {
            tracing::debug!(operation, cause, "a JSON patch does not apply");
            ApiError::patch_rejected()
        }
        PatchError::UnknownKind(_) => ApiError::unsupported_media_type(error.to_string()),
        PatchError::TooManyOperations(_) | PatchError::CopiesTooLarge(_) => {
            let text = error.to_string();
            ApiError::too_large(text.strip_prefix("Request entity too large: ").unwrap_or(&text))
        }
        PatchError::MissingMergeKey { .. }
        | PatchError::UnknownDirective { .. }
        | PatchError::BadDirective { .. } => ApiError::untyped(error.to_string()),
    }
}

fn check_name(patched: &Value, name: &str) -> Result<(), ApiError> {
    match patched["metadata"]["name"].as_str() {
        Some(given) if given == name => Ok(()),
        given => Err(ApiError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            given.unwrap_or_default()
        ))),
    }
}

/// The patched tree in the form of its kind; unknown fields are findings about the patch.
fn typed(call: &Call, patch: &Patch, patched: Value, validation: FieldValidation) -> Result<Value, ApiError> {
    if let Some(custom) = call.resource.custom {
        let (object, findings) = custom::typed(call.resource, custom, patched)?;
        if validation != FieldValidation::Ignore {
            report(call, findings, validation, &patch.body)?;
        }
        return Ok(object);
    }
    let expected = Expected::from(call.resource);
    if validation != FieldValidation::Ignore {
        let version = call.resource.api_version();
        let findings = wire::unknown_fields(&version, call.resource.kind, &patched)
            .iter()
            .map(ToString::to_string)
            .collect();
        report(call, findings, validation, &patch.body)?;
    }
    request::typed(&expected, patched).map_err(|error| {
        let message = format!(
            "Invalid value: {}: {}",
            json!(patch.body.to_string()),
            error.cause()
        );
        ApiError::invalid_kind(
            "",
            "",
            "",
            vec![Cause::new("FieldValueInvalid", "patch", message)],
        )
    })
}

fn report(
    call: &Call,
    findings: Vec<String>,
    validation: FieldValidation,
    subject: &Value,
) -> Result<(), ApiError> {
    if findings.is_empty() {
        return Ok(());
    }
    if validation == FieldValidation::Strict {
        return Err(ApiError::invalid(
            call.resource,
            &call.info.name,
            vec![Cause::new(
                "FieldValueInvalid",
                "patch",
                format!(
                    "Invalid value: {}: strict decoding error: {}",
                    json!(subject.to_string()),
                    findings.join(", ")
                ),
            )],
        ));
    }
    for finding in findings {
        call.warn(finding);
    }
    Ok(())
}
