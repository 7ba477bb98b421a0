//! The options of the verbs, from query and body.
use super::Query;
use crate::status::{ApiError, Cause, cause};
use serde_json::{Value, json};

/// What to do about fields the kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub validation: FieldValidation,
}

impl WriteOptions {
    /// `kind`: `CreateOptions`, `UpdateOptions` or `PatchOptions`, for the refusal.
    pub fn parse(query: &Query, kind: &str) -> Result<Self, ApiError> {
        let mut causes = Vec::new();
        if kind == "PatchOptions" && query.has("force") {
            causes.push(cause::forbidden(
                "force",
                "may not be specified for non-apply patch",
            ));
        }
        Self::parse_common(query, kind, causes)
    }

    /// Options of a server-side apply, which must say who applies.
    pub fn parse_apply(query: &Query) -> Result<Self, ApiError> {
        let mut causes = Vec::new();
        if query.get("fieldManager").is_none_or(str::is_empty) {
            causes.push(cause::required("fieldManager", "is required for apply patch"));
        }
        Self::parse_common(query, "PatchOptions", causes)
    }

    fn parse_common(query: &Query, kind: &str, mut causes: Vec<Cause>) -> Result<Self, ApiError> {
        let dry_run = dry_run(query.all("dryRun"), &mut causes);
        let validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                causes.push(cause::unsupported(
                    "fieldValidation",
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if query.get("fieldManager").is_some_and(|m| m.len() > 128) {
            causes.push(cause::too_long("fieldManager", 128));
        }
        if !causes.is_empty() {
            return Err(ApiError::invalid_kind("meta.k8s.io", kind, "", causes));
        }
        Ok(Self { dry_run, validation })
    }
}

fn dry_run<'v>(values: impl Iterator<Item = &'v str>, causes: &mut Vec<Cause>) -> bool {
    let values: Vec<&str> = values.filter(|v| !v.is_empty()).collect();
    if values.iter().all(|v| *v == "All") {
        return !values.is_empty();
    }
    causes.push(Cause::new(
        "FieldValueNotSupported",
        "dryRun",
        format!("Unsupported value: {}: supported values: \"All\"", json!(values)),
    ));
    false
}

/// Which version of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    NotOlderThan,
    Exact,
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub limit: usize,
    pub continue_token: Option<String>,
    /// `None`: unset.
    pub resource_version: Option<u64>,
    pub version_match: Option<VersionMatch>,
    pub timeout_seconds: Option<u64>,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    pub fn parse(query: &Query, watch: bool) -> Result<Self, ApiError> {
        let number = |key: &str| -> Result<Option<i64>, ApiError> {
            query
                .get(key)
                .map(|text| {
                    text.parse().map_err(|_| {
                        ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
                    })
                })
                .transpose()
        };
        let version_text = query.get("resourceVersion");
        let send_initial_events = query
            .get("sendInitialEvents")
            .map(|_| query.flag("sendInitialEvents"));
        let continue_token = query.get("continue").map(str::to_owned);
        let mut causes = Vec::new();
        let matching = query.get("resourceVersionMatch");
        let version_match = match matching {
            None => None,
            Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
            Some("Exact") => Some(VersionMatch::Exact),
            Some(other) => {
                causes.push(Cause::new(
                    "FieldValueNotSupported",
                    "resourceVersionMatch",
                    format!(
                        "Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""
                    ),
                ));
                None
            }
        };
        if watch {
            if matching.is_some() && send_initial_events.is_none() {
                causes.push(cause::forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if send_initial_events.is_some() && version_match != Some(VersionMatch::NotOlderThan) {
                causes.push(cause::forbidden(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
        } else {
            if send_initial_events.is_some() {
                causes.push(cause::forbidden(
                    "sendInitialEvents",
                    "sendInitialEvents is forbidden for list",
                ));
            }
            if matching.is_some() && version_text.is_none() {
                causes.push(cause::forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if matching.is_some() && continue_token.is_some() {
                causes.push(cause::forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if version_match == Some(VersionMatch::Exact) && version_text == Some("0") {
                causes.push(cause::forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        if !causes.is_empty() {
            return Err(ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", causes));
        }
        let resource_version = version_text
            .map(|text| {
                text.parse().map_err(|_| {
                    if watch {
                        ApiError::untyped(format!("strconv.ParseUint: parsing {text:?}: invalid syntax"))
                    } else {
                        ApiError::bad_request(format!(
                            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                        ))
                    }
                })
            })
            .transpose()?;
        Ok(Self {
            limit: number("limit")?.unwrap_or(0).max(0) as usize,
            continue_token,
            resource_version,
            version_match,
            timeout_seconds: number("timeoutSeconds")?.filter(|n| *n > 0).map(|n| n as u64),
            allow_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events,
        })
    }
}

/// Options of delete and deletecollection.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub propagation: Option<Propagation>,
    /// The deprecated field was set to false: the answer is 202 when the object stays.
    pub orphan_false: bool,
    pub dry_run: bool,
}

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl DeleteOptions {
    /// From the body if there is one, else from the query: never both (contract §7.4).
    pub fn parse(query: &Query, body: Option<&Value>) -> Result<Self, ApiError> {
        let from_query;
        let options = match body {
            Some(body) => body,
            None => {
                from_query = Self::query_as_body(query)?;
                &from_query
            }
        };
        let mut causes = Vec::new();
        let dry_run = dry_run(
            options["dryRun"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str),
            &mut causes,
        );
        let orphan = options["orphanDependents"].as_bool();
        let propagation = match options["propagationPolicy"].as_str() {
            None => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                causes.push(cause::unsupported(
                    "propagationPolicy",
                    other,
                    &["Foreground", "Background", "Orphan", "nil"],
                ));
                None
            }
        };
        if orphan.is_some() && options["propagationPolicy"].is_string() {
            causes.push(cause::invalid(
                "propagationPolicy",
                &options["propagationPolicy"],
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        if !causes.is_empty() {
            return Err(ApiError::invalid_kind("meta.k8s.io", "DeleteOptions", "", causes));
        }
        let text = |pointer: &str| {
            options
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
        };
        Ok(Self {
            grace_period_seconds: options["gracePeriodSeconds"].as_i64(),
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            propagation: propagation.or(match orphan {
                Some(true) => Some(Propagation::Orphan),
                Some(false) => Some(Propagation::Background),
                None => None,
            }),
            orphan_false: orphan == Some(false),
            dry_run,
        })
    }

    /// The options as they were given: those of the body if there is one, else those of the query.
    ///
    /// # Errors
    /// A number in the query is none.
    pub fn given(query: &Query, body: Option<Value>) -> Result<Value, ApiError> {
        body.map_or_else(|| Self::query_as_body(query), Ok)
    }

    fn query_as_body(query: &Query) -> Result<Value, ApiError> {
        let mut options = json!({});
        if let Some(text) = query.get("gracePeriodSeconds") {
            let seconds: i64 = text.parse().map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            })?;
            options["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(policy) = query.get("propagationPolicy") {
            options["propagationPolicy"] = json!(policy);
        }
        if query.has("orphanDependents") {
            options["orphanDependents"] = json!(query.flag("orphanDependents"));
        }
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        if !dry_run.is_empty() {
            options["dryRun"] = json!(dry_run);
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str) -> Result<ListOptions, ApiError> {
        ListOptions::parse(&Query::parse(query), false)
    }

    /// L04, L05
    #[test]
    fn list_versions_are_checked() {
        assert_eq!(list("resourceVersionMatch=Exact").unwrap_err().code, 422);
        assert_eq!(
            list("resourceVersionMatch=Exact&resourceVersion=0")
                .unwrap_err()
                .code,
            422
        );
        assert_eq!(list("sendInitialEvents=true").unwrap_err().code, 422);
        assert_eq!(list("limit=abc").unwrap_err().code, 400);
        assert_eq!(list("limit=-1").unwrap().limit, 0);
    }

    /// W09
    #[test]
    fn streaming_lists_need_a_match() {
        let error = ListOptions::parse(&Query::parse("sendInitialEvents=true"), true).unwrap_err();
        assert!(
            error
                .message
                .contains("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        );
    }

    /// X09, V03, C16
    #[test]
    fn a_delete_body_silences_the_query() {
        let query = Query::parse("dryRun=All");
        assert!(DeleteOptions::parse(&query, None).unwrap().dry_run);
        assert!(
            !DeleteOptions::parse(&query, Some(&json!({"gracePeriodSeconds": 0})))
                .unwrap()
                .dry_run
        );
        let error =
            WriteOptions::parse(&Query::parse("fieldValidation=strict"), "CreateOptions").unwrap_err();
        assert!(
            error
                .message
                .contains("supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"")
        );
        let error = WriteOptions::parse(&Query::parse("dryRun=true"), "CreateOptions").unwrap_err();
        assert!(
            error
                .message
                .contains("dryRun: Unsupported value: [\"true\"]: supported values: \"All\"")
        );
    }
}
