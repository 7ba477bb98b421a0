//! AdmissionReview (admission.k8s.io/v1, and v1beta1 for those who know nothing newer): what others are asked, and what their answers mean.
use super::{Attempt, Operation};
use crate::http::Call;
use crate::request::{self, DeleteOptions};
use crate::resources::Resource;
use crate::status::{ApiError, Cause};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The request of a review, in the form of `as_`, which is the attempt's resource or another form of it.
///
/// # Errors
/// The objects cannot be brought into that form.
pub async fn request(attempt: &Attempt<'_>, as_: &'static Resource, uid: &str) -> Result<Value, ApiError> {
    let kind = |resource: &Resource| {
        let (group, version, kind) = attempt.kind_as(resource);
        json!({"group": group, "version": version, "kind": kind})
    };
    let resource = |r: &Resource| json!({"group": r.group, "version": r.version, "resource": r.plural});
    let object = shown(attempt, attempt.object.as_deref(), as_).await?;
    let old = shown(attempt, attempt.old, as_).await?;
    let mut request = json!({
        "uid": uid,
        "kind": kind(as_),
        "resource": resource(as_),
        "requestKind": kind(attempt.resource),
        "requestResource": resource(attempt.resource),
        "operation": attempt.operation.name(),
        "userInfo": attempt.user.to_value(),
        "object": object,
        "oldObject": old,
        "dryRun": attempt.dry_run,
        "options": options(attempt),
    });
    // Of many that are deleted together none was named.
    let name = match attempt.call.info.verb.as_str() {
        "deletecollection" => "",
        _ => attempt.name,
    };
    for (key, text) in [
        ("name", name),
        ("namespace", attempt.namespace),
        ("subResource", attempt.subresource),
        ("requestSubResource", attempt.subresource),
    ] {
        if !text.is_empty() {
            request[key] = json!(text);
        }
    }
    Ok(request)
}

async fn shown(
    attempt: &Attempt<'_>,
    object: Option<&Value>,
    as_: &'static Resource,
) -> Result<Value, ApiError> {
    match object {
        Some(object) => attempt.shown(object, as_).await,
        None => Ok(Value::Null),
    }
}

/// The options of the request as an object. Of a connection, the options are what is admitted.
fn options(attempt: &Attempt<'_>) -> Value {
    let kind = match attempt.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if attempt.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if attempt.operation == Operation::Delete {
        add_deletion(attempt.call, &mut options);
        return options;
    }
    let query = &attempt.call.query;
    for key in ["fieldManager", "fieldValidation"] {
        if let Some(value) = query.get(key) {
            options[key] = json!(value);
        }
    }
    options
}

/// What a client says of a deletion.
fn add_deletion(call: &Call, options: &mut Value) {
    // It could be read, or nobody would be asked.
    let body = request::decode_options(&call.headers, &call.body).ok().flatten();
    let given = DeleteOptions::given(&call.query, body).unwrap_or_default();
    for key in [
        "gracePeriodSeconds",
        "preconditions",
        "orphanDependents",
        "propagationPolicy",
    ] {
        if !given[key].is_null() {
            options[key] = given[key].clone();
        }
    }
}

pub fn review(request: &Value, version: Version) -> Value {
    json!({"kind": KIND, "apiVersion": version.api_version(), "request": request})
}

/// The version in which a webhook is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V1Beta1,
}

impl Version {
    /// The first of `admissionReviewVersions` that is known here.
    pub fn of(versions: &Value) -> Self {
        let named = versions
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|version| match version.as_str() {
                Some("v1") => Some(Self::V1),
                Some("v1beta1") => Some(Self::V1Beta1),
                _ => None,
            });
        named.unwrap_or(Self::V1)
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => API_VERSION,
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// An answer that was understood.
#[derive(Debug, Default, PartialEq)]
pub struct Response {
    pub allowed: bool,
    pub status: Value,
    /// A JSON patch.
    pub patch: Option<Value>,
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
}

/// Reads an answer to a question of that version.
///
/// # Errors
/// What is wrong with it.
pub fn read(answer: &Value, uid: &str, may_patch: bool, asked: Version) -> Result<Response, String> {
    if asked == Version::V1Beta1 {
        return read_before(answer, may_patch);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
    if version != API_VERSION || kind != KIND {
        return Err(format!(
            "expected webhook response of {}, got {}",
            group_version_kind(API_VERSION, KIND),
            group_version_kind(&version, &kind)
        ));
    }
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    if response["uid"] != uid {
        return Err(format!(
            "expected response.uid={uid:?}, got {:?}",
            text(&response["uid"])
        ));
    }
    let (patch, patch_type) = (text(&response["patch"]), text(&response["patchType"]));
    let patch = match (patch.is_empty(), patch_type.as_str()) {
        (true, "") => None,
        (_, _) if !may_patch => {
            return Err("webhook response.patch may not be set by a validating webhook".to_owned());
        }
        (true, _) => return Err("webhook returned response.patchType but not response.patch".to_owned()),
        (false, "") => return Err("webhook returned response.patch but not response.patchType".to_owned()),
        (false, "JSONPatch") => Some(decoded(&patch)?),
        (false, other) => {
            return Err(format!(
                "webhook returned invalid response.patchType of {other:?}"
            ));
        }
    };
    Ok(said(response, patch))
}

/// The same of v1beta1, which did not ask for what an answer says of itself.
fn read_before(answer: &Value, may_patch: bool) -> Result<Response, String> {
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    let patch = response["patch"]
        .as_str()
        .filter(|patch| may_patch && !patch.is_empty());
    Ok(said(response, patch.map(decoded).transpose()?))
}

fn decoded(patch: &str) -> Result<Value, String> {
    let bytes = STANDARD
        .decode(patch)
        .map_err(|error| format!("illegal base64 data: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn said(response: &Value, patch: Option<Value>) -> Response {
    Response {
        allowed: response["allowed"] == true,
        status: response["status"].clone(),
        patch,
        warnings: response["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        annotations: response["auditAnnotations"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    }
}

fn group_version_kind(api_version: &str, kind: &str) -> String {
    format!("{api_version}, Kind={kind}")
}

/// The refusal that a status means: the webhook's code, reason and details, with who refused.
pub fn refusal(webhook: &str, status: &Value) -> ApiError {
    let denied = format!("admission webhook {webhook:?} denied the request");
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let error = ApiError::of_another(code, text("reason").to_owned(), message);
    let causes: Vec<Cause> = status["details"]["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|cause| {
            let text = |key: &str| cause[key].as_str().unwrap_or_default();
            Cause::new(text("reason"), text("field"), text("message"))
        })
        .collect();
    if causes.is_empty() {
        error
    } else {
        error.with_causes(causes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of the version before need not say what they are, nor to what.
    #[test]
    fn who_knows_only_the_version_before_is_asked_in_it() {
        for (versions, wanted) in [
            (json!(["v1beta1"]), Version::V1Beta1),
            (json!(["v2", "v1", "v1beta1"]), Version::V1),
            (Value::Null, Version::V1),
        ] {
            assert_eq!(Version::of(&versions), wanted);
        }
        let asked = review(&json!({}), Version::V1Beta1);
        assert_eq!(asked["apiVersion"], "admission.k8s.io/v1beta1");
        let patch = STANDARD.encode(r#"[{"op":"add","path":"/a","value":1}]"#);
        let answer = json!({"response": {"allowed": true, "patch": patch}});
        let of = |may_patch: bool| read(&answer, "u", may_patch, Version::V1Beta1).unwrap();
        assert!(of(true).allowed && of(true).patch.is_some() && of(false).patch.is_none());
    }

    #[test]
    fn answers_that_do_not_fit_are_refused() {
        let answer = |response: Value| json!({"apiVersion": API_VERSION, "kind": KIND, "response": response});
        let patch = STANDARD.encode(r#"[{"op":"add","path":"/a","value":1}]"#);
        for (answer, may_patch, expected) in [
            (answer(json!({"uid": "u", "allowed": true})), false, Ok(true)),
            (answer(json!({"uid": "u", "allowed": false})), true, Ok(false)),
            (
                json!({"apiVersion": "v1", "kind": "Pod"}),
                true,
                Err(
                    "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, Kind=Pod",
                ),
            ),
            (answer(Value::Null), true, Err("webhook response was absent")),
            (
                answer(json!({"uid": "x"})),
                true,
                Err("expected response.uid=\"u\", got \"x\""),
            ),
            (
                answer(json!({"uid": "u", "patch": patch})),
                true,
                Err("webhook returned response.patch but not response.patchType"),
            ),
            (
                answer(json!({"uid": "u", "patchType": "JSONPatch"})),
                true,
                Err("webhook returned response.patchType but not response.patch"),
            ),
            (
                answer(json!({"uid": "u", "patch": patch, "patchType": "Odd"})),
                true,
                Err("webhook returned invalid response.patchType of \"Odd\""),
            ),
            (
                answer(json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"})),
                false,
                Err("webhook response.patch may not be set by a validating webhook"),
            ),
            (
                answer(json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"})),
                true,
                Ok(true),
            ),
        ] {
            let got = read(&answer, "u", may_patch, Version::V1).map(|response| response.allowed);
            assert_eq!(got, expected.map_err(str::to_owned), "{answer}");
        }
    }

    /// M02: the webhook's message and code reach the client.
    #[test]
    fn refusals_carry_what_the_webhook_said() {
        for (status, code, message) in [
            (
                json!({"message": "go away", "code": 403}),
                403,
                "admission webhook \"w\" denied the request: go away",
            ),
            (
                json!({"reason": "Odd"}),
                400,
                "admission webhook \"w\" denied the request: Odd",
            ),
            (
                Value::Null,
                400,
                "admission webhook \"w\" denied the request without explanation",
            ),
            (
                json!({"code": 200, "message": "m"}),
                400,
                "admission webhook \"w\" denied the request: m",
            ),
        ] {
            let error = refusal("w", &status);
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
    }
}
