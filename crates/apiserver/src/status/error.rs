//! The one error type of the request path. Each constructor is one row of contract api-server §3.
use super::Cause;
use crate::resources::Resource;
use orlop_api::validation::summary;
use orlop_store::StoreError;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Who and what a `Status` is about.
#[derive(Clone, Debug, Default)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// The plural resource for most errors, the Kind for `Invalid` and preconditions.
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
}

/// A refusal, ready to be sent as a `Status`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: u16,
    pub reason: Cow<'static, str>,
    pub message: String,
    pub details: Option<Box<Details>>,
    /// Seconds for the `Retry-After` header.
    pub retry_after: Option<u32>,
    /// Where a list whose snapshot is gone may resume, inconsistently.
    pub continue_token: Option<String>,
    /// Sent as plain text instead of a `Status`: paths the server does not know at all.
    pub plain: bool,
}

/// `resource` or `resource.group`: how errors name a resource.
pub fn group_resource(group: &str, resource: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: Cow::Borrowed(reason),
            message: message.into(),
            details: None,
            retry_after: None,
            continue_token: None,
            plain: false,
        }
    }

    /// A refusal that somebody else worded.
    pub fn of_another(code: u16, reason: String, message: String) -> Self {
        Self {
            reason: Cow::Owned(reason),
            ..Self::new(code, "", message)
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        }));
        self
    }

    /// Adds causes to the details.
    pub fn with_causes(mut self, causes: Vec<Cause>) -> Self {
        self.details.get_or_insert_default().causes = causes;
        self
    }

    /// Adds a cause to those that are there.
    pub fn caused_by(mut self, cause: Cause) -> Self {
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// Asks the client to come back.
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self.retry_after = Some(seconds);
        self
    }

    /// 404 in plain text: no such path, group or version.
    pub fn page_not_found() -> Self {
        Self {
            plain: true,
            ..Self::new(404, "NotFound", "404 page not found\n")
        }
    }

    /// 404 below a served group-version: no such resource or subresource.
    pub fn no_such_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .about("", "", "")
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 for a resource, `why` without the leading `… is forbidden: `.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let gr = group_resource(group, resource);
        let message = if name.is_empty() {
            format!("{gr} is forbidden: {why}")
        } else {
            format!("{gr} {name:?} is forbidden: {why}")
        };
        Self::new(403, "Forbidden", message).about(group, resource, name)
    }

    /// 403 for a path that is no resource.
    pub fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}");
        Self::new(403, "Forbidden", message).about("", "", "")
    }

    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::not_found_in(resource.group, resource.plural, name)
    }

    pub fn not_found_in(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", group_resource(group, resource));
        Self::new(404, "NotFound", message).about(group, resource, name)
    }

    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .about("", "", "")
    }

    /// A new object of a definition that is being deleted.
    pub fn definition_is_terminating(group: &str, plural: &str) -> Self {
        let message = "create not allowed while custom resource definition is terminating";
        Self::new(405, "MethodNotAllowed", message).about(group, plural, "")
    }

    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    /// 406 when nothing in `Accept` can be produced.
    pub fn nothing_acceptable() -> Self {
        Self::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )
    }

    /// 406 when nothing in `Accept` can be cut into events.
    pub fn no_such_stream() -> Self {
        Self::not_acceptable(
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        )
    }

    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let gr = group_resource(resource.group, resource.plural);
        Self::new(409, "AlreadyExists", format!("{gr} {name:?} already exists")).about(
            resource.group,
            resource.plural,
            name,
        )
    }

    /// 409 when eight generated names were all taken.
    pub fn names_exhausted(resource: &Resource, name: &str) -> Self {
        let mut error = Self::already_exists(resource, name);
        error
            .message
            .push_str(", the server was not able to generate a unique name for the object");
        error
    }

    /// 409 `Operation cannot be fulfilled on …: {why}`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let gr = group_resource(group, resource);
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {gr} {name:?}: {why}"),
        )
        .about(group, resource, name)
    }

    /// 409 for a write that carries an old resourceVersion.
    pub fn stale(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource.group,
            resource.plural,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 for a configuration that would change what others own.
    pub fn apply_conflict(message: String, causes: Vec<Cause>) -> Self {
        Self::new(409, "Conflict", message)
            .about("", "", "")
            .with_causes(causes)
    }

    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn too_large(message: impl std::fmt::Display) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: {message}"),
        )
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422 with one cause per field error.
    pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Self {
        Self::invalid_kind(resource.group, resource.kind, name, causes)
    }

    /// 422 about a kind that is no resource, such as options.
    pub fn invalid_kind(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let texts: Vec<String> = causes
            .iter()
            .map(|c| {
                format!(
                    "{}: {}",
                    if c.field.is_empty() { "<nil>" } else { &c.field },
                    c.message
                )
            })
            .collect();
        let all = summary(&texts);
        Self::new(
            422,
            "Invalid",
            format!("{} {name:?} is invalid: {all}", group_resource(group, kind)),
        )
        .about(group, kind, name)
        .with_causes(causes)
    }

    /// 422 for a patch whose operations cannot be applied to this object.
    pub fn patch_rejected() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .about("", "", "")
    }

    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message)
    }

    /// 503: what would have to answer does not.
    pub fn service_unavailable(message: &str) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 429 in plain text: too much is being asked at the same time.
    pub fn overloaded() -> Self {
        Self {
            plain: true,
            retry_after: Some(1),
            ..Self::new(
                429,
                "TooManyRequests",
                "Too many requests, please try again later.\n",
            )
        }
    }

    /// None of a WebSocket's protocols is known; upstream's library says no more.
    pub fn no_such_protocol() -> Self {
        Self {
            plain: true,
            ..Self::new(403, "Forbidden", "")
        }
    }

    pub fn shutting_down() -> Self {
        Self {
            plain: true,
            retry_after: Some(5),
            ..Self::new(
                429,
                "TooManyRequests",
                "The apiserver is shutting down, please try again later.\n",
            )
        }
    }

    pub fn internal(error: impl std::fmt::Display) -> Self {
        let mut answer = Self::new(500, "InternalError", format!("Internal error occurred: {error}"));
        answer.details = Some(Box::new(Details {
            causes: vec![Cause::new("", "", error.to_string())],
            ..Details::default()
        }));
        answer
    }

    /// 500 without a reason: upstream's untyped errors.
    pub fn untyped(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    pub fn timeout(why: &str) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {why}"))
    }

    /// 504 for a request whose time is over.
    pub fn too_late() -> Self {
        Self::timeout("request did not complete within the allotted timeout")
    }

    /// 504 for a resourceVersion the server has not reached.
    pub fn future_version(requested: u64, current: u64) -> Self {
        Self::timeout(&format!(
            "Too large resource version: {requested}, current: {current}"
        ))
        .with_causes(vec![Cause::new(
            "ResourceVersionTooLarge",
            "",
            "Too large resource version",
        )])
        .with_retry_after(1)
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".into(), Value::String(token.clone()));
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        status
    }
}

impl Details {
    pub(crate) fn to_value(&self) -> Value {
        let mut value = json!({});
        for (key, text) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ] {
            if !text.is_empty() {
                value[key] = Value::String(text.clone());
            }
        }
        if !self.causes.is_empty() {
            value["causes"] = self.causes.iter().map(Cause::to_value).collect();
        }
        if self.retry_after_seconds > 0 {
            value["retryAfterSeconds"] = json!(self.retry_after_seconds);
        }
        value
    }
}

/// As etcd says it, from which it may also come.
const TOO_LARGE_TO_STORE: &str = "etcdserver: request is too large";

impl ApiError {
    /// Whether the store takes no object of this size.
    pub fn is_too_large_to_store(&self) -> bool {
        self.message.contains(TOO_LARGE_TO_STORE)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted { .. } => {
                Self::expired("The resourceVersion for the provided list is too old.")
            }
            StoreError::FutureRevision { requested, current } => Self::future_version(requested.0, current.0),
            StoreError::Unreachable { .. } => Self::too_late(),
            StoreError::TooLarge { .. } => Self::untyped(TOO_LARGE_TO_STORE),
            other => Self::internal(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause;

    /// Contract §3: the shapes clients parse.
    #[test]
    fn a_status_has_the_documented_shape() {
        let error = ApiError::not_found_in("apps", "daemonsets", "x");
        assert_eq!(
            error.to_value(),
            json!({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
                "message":"daemonsets.apps \"x\" not found","reason":"NotFound",
                "details":{"name":"x","group":"apps","kind":"daemonsets"},"code":404})
        );
    }

    #[test]
    fn invalid_joins_one_or_many_causes() {
        let one = ApiError::invalid_kind("", "Pod", "p", vec![cause::required("spec.containers", "")]);
        assert_eq!(
            one.message,
            "Pod \"p\" is invalid: spec.containers: Required value"
        );
        let two = ApiError::invalid_kind(
            "apps",
            "DaemonSet",
            "d",
            vec![cause::required("a", ""), cause::forbidden("b", "no")],
        );
        assert_eq!(
            two.message,
            "DaemonSet.apps \"d\" is invalid: [a: Required value, b: Forbidden: no]"
        );
    }
}
