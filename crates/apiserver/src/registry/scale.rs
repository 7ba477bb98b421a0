//! Replica counts through `autoscaling/v1` Scale.
use super::change::{Change, Outcome, Part, Tracking};
use super::patch::Patch;
use super::{get, identity};
use crate::http::{Answer, Call};
use crate::request::{self, Expected, WriteOptions};
use crate::status::{ApiError, cause};
use http::StatusCode;
use orlop_api::selector::{LabelSelector, Operator};
use serde_json::{Value, json};

const SCALE: Expected<'_> = Expected {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
};

pub async fn get(call: &Call) -> Result<Answer, ApiError> {
    get::fresh_enough(call, call.query.get("resourceVersion")).await?;
    let object = get::find(call, &call.info.name)?;
    Ok(Answer::Value(StatusCode::OK, scale_of(&object.value())))
}

/// PUT or PATCH.
pub async fn write(call: &Call) -> Result<Answer, ApiError> {
    let name = call.info.name.as_str();
    let is_put = call.info.verb == "update";
    let options = WriteOptions::parse(&call.query, if is_put { "UpdateOptions" } else { "PatchOptions" })?;
    let body = if is_put {
        Some(request::decode_object(SCALE, &call.headers, &call.body, options.validation)?.object)
    } else {
        None
    };
    let patch = if is_put { None } else { Some(Patch::read(call)?) };
    let outcome = Change {
        call,
        part: Part::Scale,
        name,
        dry_run: options.dry_run,
        is_put,
        tracking: Tracking::Update,
    }
    .apply(|old| {
        let scale = match (&body, &patch) {
            (Some(body), _) => body.clone(),
            (None, Some(patch)) => patch.apply("Scale", &scale_of(old))?,
            (None, None) => return Err(ApiError::method_not_allowed()),
        };
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
        if replicas < 0 {
            return Err(ApiError::invalid_kind(
                "autoscaling",
                "Scale",
                name,
                vec![cause::invalid(
                    "spec.replicas",
                    &json!(replicas),
                    "must be greater than or equal to 0",
                )],
            ));
        }
        let mut new = old.clone();
        new["spec"]["replicas"] = json!(replicas);
        let version = identity::text(&scale, "resourceVersion");
        if !version.is_empty() {
            new["metadata"]["resourceVersion"] = json!(version);
        }
        Ok(new)
    })
    .await?;
    match outcome {
        Some(Outcome::Stored(object)) => Ok(Answer::Value(StatusCode::OK, scale_of(&object.value()))),
        Some(Outcome::Would(object)) => Ok(Answer::Value(StatusCode::OK, scale_of(&object))),
        None => Err(ApiError::not_found(call.resource, name)),
    }
}

fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(1)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or_default()},
    });
    let selector = &object["spec"]["selector"];
    // A replication controller's selector is a plain map.
    let meta = if selector["matchLabels"].is_object() || selector["matchExpressions"].is_array() {
        selector.clone()
    } else {
        json!({"matchLabels": selector})
    };
    if let Ok(selector) = serde_json::from_value(meta)
        && let Ok(mut selector) = LabelSelector::from_meta(&selector)
    {
        // Clients read `a=b` here, which means the same as `a in (b)`.
        for requirement in &mut selector.requirements {
            if requirement.operator == Operator::In && requirement.values.len() == 1 {
                requirement.operator = Operator::Equals;
            }
        }
        scale["status"]["selector"] = json!(selector.to_string());
    }
    scale
}
