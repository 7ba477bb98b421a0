//! PATCH in its three classic forms (contract §9); server-side apply has a file of its own.
mod go;

use super::change::{Change, Part, Tracking};
use super::{apply, ownership, update};
use crate::admission::Admission;
use crate::custom;
use crate::http::{Answer, Call};
use crate::request::{self, Expected, FieldValidation, WriteOptions};
use crate::status::{ApiError, Cause};
use orlop_api::patch::{self, PatchError};
use orlop_api::wire::{self, DecodeError};
use serde_json::{Value, json};

/// Of custom resources, whose lists have no merge strategies.
const CUSTOM_FORMS: &str = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
pub(super) const APPLY: &str = "application/apply-patch+yaml";

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
    /// What the patch itself has that nobody asked for, whatever comes of it.
    findings: Vec<String>,
}

pub async fn patch(call: &Call, part: Part) -> Result<Answer, ApiError> {
    if request::media_type(&call.headers) == APPLY {
        return apply::apply(call, part).await;
    }
    let patch = Patch::read(call)?;
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let name = call.info.name.as_str();
    let resource = call.resource;
    let outcome = Change {
        call,
        part,
        name,
        dry_run: options.dry_run,
        is_put: false,
        tracking: Tracking::Update,
        admission: Admission::Due,
        sees_owners: patch.sees_owners(),
    }
    .apply(|old| {
        let shown = ownership::shown(call, old);
        let patched = patch.apply(resource.kind, &shown)?;
        check_name(&patched, name)?;
        let again = || patch.apply(resource.kind, &shown).unwrap_or_default();
        let mut object = typed(call, &patch, patched, again, options.validation)?;
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

impl Patch {
    pub fn read(call: &Call) -> Result<Self, ApiError> {
        let form = match request::media_type(&call.headers) {
            "application/json-patch+json" => Form::Json,
            "application/merge-patch+json" => Form::Merge,
            "application/strategic-merge-patch+json" if call.resource.custom.is_none() => Form::Strategic,
            _ if call.resource.custom.is_some() => {
                return Err(ApiError::unsupported_media_type(CUSTOM_FORMS));
            }
            _ => return Err(ApiError::unsupported_media_type("415: Unsupported Media Type")),
        };
        let (body, duplicates) = wire::json::decode_with_findings("", "", &call.body).map_err(|error| {
            let why = match error {
                DecodeError::Syntax(why) => why,
                other => other.to_string(),
            };
            ApiError::bad_request(format!("error decoding patch: {why}"))
        })?;
        let duplicates = duplicates.iter().map(ToString::to_string);
        let findings = match form {
            Form::Merge | Form::Strategic => duplicates.collect(),
            Form::Json => {
                let unknown = patch::json_unknown_fields(&body).into_iter();
                let unknown = unknown.map(|path| format!("unknown field {path:?}"));
                let findings = duplicates.chain(unknown);
                findings.map(|finding| format!("json patch {finding}")).collect()
            }
        };
        Ok(Self { form, body, findings })
    }

    /// Whether it may speak of what it finds at `metadata.managedFields`; other forms can only put something there.
    fn sees_owners(&self) -> bool {
        self.form == Form::Json
    }

    pub fn apply(&self, kind: &str, current: &Value) -> Result<Value, ApiError> {
        match self.form {
            Form::Json => patch::json(current, &self.body),
            Form::Merge => patch::merge_object(current, &self.body),
            Form::Strategic => patch::strategic(kind, current, &self.body),
        }
        .map_err(refusal)
    }
}

fn refusal(error: PatchError) -> ApiError {
    match &error {
        PatchError::Malformed(_) | PatchError::Invalid(_) | PatchError::BadDirective(_) => {
            ApiError::bad_request(error.to_string())
        }
        PatchError::NotApplicable { operation, cause } => {
            tracing::debug!(operation, cause, "a JSON patch does not apply");
            ApiError::patch_rejected()
        }
        PatchError::UnknownKind(_) => ApiError::unsupported_media_type(error.to_string()),
        PatchError::TooManyOperations(_) => {
            let text = error.to_string();
            ApiError::too_large(text.strip_prefix("Request entity too large: ").unwrap_or(&text))
        }
        PatchError::MissingMergeKey { .. }
        | PatchError::UnknownDirective { .. }
        | PatchError::Contradiction(_) => ApiError::untyped(error.to_string()),
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

/// The patched tree in the form of its kind. What is unknown of it, and what the patch itself was found to have, is told
/// or refused; `again` makes the tree once more, for the text of a refusal.
fn typed(
    call: &Call,
    patch: &Patch,
    patched: Value,
    again: impl Fn() -> Value,
    validation: FieldValidation,
) -> Result<Value, ApiError> {
    let mut findings = patch.findings.clone();
    let object = if let Some(custom) = call.resource.custom {
        let (object, found) = custom::typed(call.resource, custom, patched)?;
        findings.extend(found.iter().map(ToString::to_string));
        object
    } else {
        if validation != FieldValidation::Ignore {
            let version = call.resource.api_version();
            let unknown = wire::unknown_fields(&version, call.resource.kind, &patched);
            findings.extend(unknown.iter().map(ToString::to_string));
        }
        request::typed(&Expected::from(call.resource), patched).map_err(|error| match patch.form {
            Form::Strategic => invalid(&go::map(&patch.body), &go::not_restored(&error.cause())),
            Form::Json | Form::Merge => invalid(&again().to_string(), &error.cause()),
        })?
    };
    if findings.is_empty() || validation == FieldValidation::Ignore {
        return Ok(object);
    }
    if validation == FieldValidation::Strict {
        let why = format!("strict decoding error: {}", findings.join(", "));
        let told = match patch.form {
            Form::Strategic => go::map(&patch.body),
            Form::Json | Form::Merge => again().to_string(),
        };
        return Err(invalid(&told, &why));
    }
    for finding in findings {
        call.warn(finding);
    }
    Ok(object)
}

/// 422 about a patch, or what it came to.
fn invalid(told: &str, why: &str) -> ApiError {
    let message = format!("Invalid value: {}: {why}", json!(told));
    let cause = Cause::new("FieldValueInvalid", "patch", message);
    ApiError::invalid_kind("", "", "", vec![cause])
}
