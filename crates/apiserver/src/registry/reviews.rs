//! Questions about the caller, answered and forgotten (contract §15.5, §16).
use super::identity;
use crate::admission::{self, Attempt, Operation};
use crate::authn::{self, UserInfo};
use crate::authz::{self, Attributes, Decision, Selected};
use crate::http::{Answer, Call};
use crate::request::{self, WriteOptions};
use crate::status::{ApiError, Cause, cause};
use http::StatusCode;
use orlop_api::selector::{FieldSelector, LabelSelector};
use orlop_api::validation::summary;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub async fn answer(call: &Call) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let decoded = request::decode_object(call.resource, &call.headers, &call.body, options.validation)?;
    let mut review = decoded.object;
    let name = identity::text(&review, "name").to_owned();
    let mut attempt = Attempt {
        object: Some(&mut review),
        ..Attempt::new(call, Operation::Create, &name, options.dry_run)
    };
    admission::mutate(&mut attempt).await?;
    admission::validate(&attempt).await?;
    match call.resource.kind {
        "SelfSubjectReview" => {
            review["metadata"] = json!({"creationTimestamp": identity::now()});
            review["status"] = json!({"userInfo": call.user.to_value()});
        }
        "TokenReview" => {
            review["status"] = token(call, &review).await?;
        }
        "SelfSubjectAccessReview" => {
            review["status"] = access(call, &review, &call.user).await?;
        }
        "SubjectAccessReview" => {
            let user = subject(call, &review)?;
            review["status"] = access(call, &review, &user).await?;
        }
        "LocalSubjectAccessReview" => {
            let user = subject(call, &review)?;
            let asked = review["spec"]["resourceAttributes"]["namespace"].as_str();
            if asked != Some(&call.info.namespace) {
                let causes = vec![cause::invalid(
                    "spec.resourceAttributes.namespace",
                    &json!(asked.unwrap_or_default()),
                    "must match metadata.namespace",
                )];
                return Err(ApiError::invalid(call.resource, "", causes));
            }
            review["status"] = access(call, &review, &user).await?;
        }
        "SelfSubjectRulesReview" => {
            let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
            if namespace.is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            review["status"] = authz::rules_review(&call.server, &call.user, namespace);
        }
        _ => return Err(ApiError::no_such_resource()),
    }
    if review["metadata"].is_null() {
        review["metadata"] = json!({});
    }
    Ok(Answer::Value(StatusCode::CREATED, review))
}

async fn token(call: &Call, review: &Value) -> Result<Value, ApiError> {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(ApiError::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let wanted: Vec<String> = serde_json::from_value(review["spec"]["audiences"].clone()).unwrap_or_default();
    let Some(verified) = authn::verify_token(&call.server, token, &wanted).await else {
        return Ok(json!({"user": {}, "error": "invalid bearer token"}));
    };
    let mut status = json!({"authenticated": true, "user": verified.user.to_value()});
    if !verified.audiences.is_empty() {
        status["audiences"] = json!(verified.audiences);
    }
    Ok(status)
}

fn subject(call: &Call, review: &Value) -> Result<UserInfo, ApiError> {
    let spec = &review["spec"];
    let groups: Vec<String> = serde_json::from_value(spec["groups"].clone()).unwrap_or_default();
    let name = spec["user"].as_str().unwrap_or_default();
    if name.is_empty() && groups.is_empty() {
        return Err(ApiError::invalid(
            call.resource,
            "",
            vec![cause::invalid(
                "spec.user",
                &json!(""),
                "at least one of user or group must be specified",
            )],
        ));
    }
    Ok(UserInfo {
        name: name.to_owned(),
        groups,
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        // Keys of extras are the same in any case.
        extra: serde_json::from_value::<BTreeMap<String, Vec<String>>>(spec["extra"].clone())
            .unwrap_or_default()
            .into_iter()
            .map(|(key, values)| (key.to_lowercase(), values))
            .collect(),
    })
}

async fn access(call: &Call, review: &Value, user: &UserInfo) -> Result<Value, ApiError> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() == path.is_object() {
        return Err(ApiError::invalid(
            call.resource,
            "",
            vec![cause::invalid(
                "spec.resourceAttributes",
                resource,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )],
        ));
    }
    let text = |value: &'_ Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let causes: Vec<Cause> = ["fieldSelector", "labelSelector"]
        .iter()
        .flat_map(|member| check_selector(&resource[*member], &format!("spec.resourceAttributes.{member}")))
        .collect();
    if !causes.is_empty() {
        return Err(ApiError::invalid(call.resource, "", causes));
    }
    let mut unread = Vec::new();
    let fields = selected(
        &resource["fieldSelector"],
        FIELD_OPERATORS,
        |text| FieldSelector::parse(text).err().map(|error| error.to_string()),
        &mut unread,
    );
    let labels = selected(
        &resource["labelSelector"],
        LABEL_OPERATORS,
        |text| LabelSelector::parse(text).err().map(|error| error.to_string()),
        &mut unread,
    );
    let attributes = if resource.is_object() {
        Attributes {
            is_resource: true,
            verb: text(resource, "verb"),
            group: text(resource, "group"),
            version: text(resource, "version"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            namespace: text(resource, "namespace"),
            name: text(resource, "name"),
            node_selector: fields.as_ref().and_then(|f| f.required_field("spec.nodeName")),
            fields,
            labels,
            ..Attributes::default()
        }
    } else {
        Attributes {
            verb: text(path, "verb"),
            path: text(path, "path"),
            ..Attributes::default()
        }
    };
    let mut status = match authz::decide(&call.server, user, &attributes).await {
        Decision::Allow(None) => json!({"allowed": true}),
        Decision::Allow(Some(reason)) => json!({"allowed": true, "reason": &*reason}),
        Decision::Deny(refusal) => {
            let mut status = json!({"allowed": false});
            if refusal.is_final {
                status["denied"] = json!(true);
            }
            if !refusal.reason.is_empty() {
                status["reason"] = json!(refusal.reason);
            }
            unread.extend(refusal.error);
            status
        }
    };
    if !unread.is_empty() {
        status["evaluationError"] = json!(summary(&unread));
    }
    Ok(status)
}

const FIELD_OPERATORS: &[&str] = &["In", "NotIn"];
const LABEL_OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist"];

/// A selector is said in one way, if at all.
fn check_selector(selector: &Value, field: &str) -> Option<Cause> {
    if selector.is_null() {
        return None;
    }
    let raw = selector["rawSelector"].as_str().unwrap_or_default();
    let has_requirements = selector["requirements"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    match (raw.is_empty(), has_requirements) {
        (false, true) => Some(cause::invalid(
            &format!("{field}.rawSelector"),
            &json!(raw),
            "may not specified at the same time as requirements",
        )),
        (true, false) => Some(cause::required(
            &format!("{field}.requirements"),
            &format!("when {field} is specified, requirements or rawSelector is required"),
        )),
        _ => None,
    }
}

/// A review's selector. What cannot be understood narrows nothing, and is told.
fn selected(
    selector: &Value,
    operators: &[&str],
    mistake: impl Fn(&str) -> Option<String>,
    unread: &mut Vec<String>,
) -> Option<Selected> {
    if let Some(raw) = selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        if let Some(mistake) = mistake(raw) {
            unread.push(mistake);
            return None;
        }
        return Some(Selected::Text(raw.to_owned()));
    }
    let mut requirements = selector["requirements"].as_array()?.clone();
    requirements.retain(|requirement| {
        let operator = requirement["operator"].as_str().unwrap_or_default();
        let known = operators.contains(&operator);
        if !known {
            unread.push(format!("{operator:?} is not a valid label selector operator"));
        }
        known
    });
    Some(Selected::Requirements(requirements))
}
