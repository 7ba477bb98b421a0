//! Replica counts through `autoscaling/v1` Scale.
use super::change::{Change, Outcome, Part, Tracking};
use super::patch::{APPLY, Patch};
use super::{apply, get, identity, present};
use crate::admission::Admission;
use crate::custom::{self, Scale};
use crate::http::{Answer, Call};
use crate::request::{self, Expected, WriteOptions};
use crate::status::{ApiError, cause};
use orlop_api::selector::LabelSelector;
use serde_json::{Value, json};

pub(super) const SCALE: Expected<'_> = Expected {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
};

pub async fn get(call: &Call) -> Result<Answer, ApiError> {
    get::fresh_enough(call, call.query.get("resourceVersion")).await?;
    let object = get::find(call, &call.info.name)?;
    let object = custom::one_in_form(&call.server, call.resource, object).await?;
    present::scale(call, of(call, &object.value()))
}

/// PUT or PATCH.
pub async fn write(call: &Call) -> Result<Answer, ApiError> {
    let name = call.info.name.as_str();
    let is_put = call.info.verb == "update";
    if !is_put && request::media_type(&call.headers) == APPLY {
        return answer(call, apply::apply_scale(call).await?).await;
    }
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
        admission: Admission::Due,
        sees_owners: true,
    }
    .apply(|old| {
        let scale = match (&body, &patch) {
            (Some(body), _) => body.clone(),
            (None, Some(patch)) => patch.apply("Scale", &of(call, old))?,
            (None, None) => return Err(ApiError::method_not_allowed()),
        };
        let replicas = replicas(&scale);
        not_negative(name, replicas)?;
        let mut new = old.clone();
        set_replicas(call, &mut new, replicas);
        let version = identity::text(&scale, "resourceVersion");
        if !version.is_empty() {
            new["metadata"]["resourceVersion"] = json!(version);
        }
        Ok(new)
    })
    .await?;
    answer(call, outcome).await
}

async fn answer(call: &Call, outcome: Option<Outcome>) -> Result<Answer, ApiError> {
    match outcome {
        Some(Outcome::Stored(object)) => {
            let object = custom::one_in_form(&call.server, call.resource, object).await?;
            present::scale(call, of(call, &object.value()))
        }
        Some(Outcome::Would(object)) => present::scale(call, of(call, &object)),
        None => Err(ApiError::not_found(call.resource, &call.info.name)),
    }
}

fn not_negative(name: &str, replicas: i64) -> Result<(), ApiError> {
    if replicas >= 0 {
        return Ok(());
    }
    let negative = cause::invalid(
        "spec.replicas",
        &json!(replicas),
        "must be greater than or equal to 0",
    );
    Err(ApiError::invalid_kind(
        "autoscaling",
        "Scale",
        name,
        vec![negative],
    ))
}

/// What a Scale is as a configuration of the object that is scaled.
pub fn configuration(call: &Call, scale: &Value) -> Result<Value, ApiError> {
    not_negative(&call.info.name, replicas(scale))?;
    let mut metadata = json!({"name": call.info.name});
    for key in ["resourceVersion", "uid"] {
        if !scale["metadata"][key].is_null() {
            metadata[key] = scale["metadata"][key].clone();
        }
    }
    let resource = call.resource;
    let mut made = json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": metadata});
    let wanted = &scale["spec"]["replicas"];
    if !wanted.is_null() {
        let places = places(call);
        let at = places
            .as_ref()
            .map_or("/spec/replicas", |places| &places.replicas);
        set(&mut made, at, wanted.clone());
    }
    Ok(made)
}

/// The replicas that a Scale asks for.
pub fn replicas(scale: &Value) -> i64 {
    scale["spec"]["replicas"].as_i64().unwrap_or_default()
}

/// Sets the replicas of an object of the call's resource.
pub fn set_replicas(call: &Call, object: &mut Value, replicas: i64) {
    match places(call) {
        Some(places) => set(object, &places.replicas, json!(replicas)),
        None => object["spec"]["replicas"] = json!(replicas),
    }
}

/// Where a custom resource keeps its replicas.
fn places(call: &Call) -> Option<Scale> {
    call.resource.custom?.definition().scale.clone()
}

/// Sets a member of nested objects, which are made if they are not there.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for name in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = value;
}

/// The Scale of an object.
pub fn of(call: &Call, object: &Value) -> Value {
    let metadata = &object["metadata"];
    if let Some(places) = places(call) {
        let number = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_i64)
                .unwrap_or_default()
        };
        let mut scale = plain(
            metadata,
            number(&places.replicas),
            number(&places.status_replicas),
        );
        let selector = places.selector.as_deref().and_then(|at| object.pointer(at));
        if let Some(selector) = selector.and_then(Value::as_str) {
            scale["status"]["selector"] = json!(selector);
        }
        return scale;
    }
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let running = object["status"]["replicas"].as_i64().unwrap_or_default();
    let mut scale = plain(metadata, replicas, running);
    let selector = &object["spec"]["selector"];
    // A replication controller's selector is a plain map.
    let meta = if selector["matchLabels"].is_object() || selector["matchExpressions"].is_array() {
        selector.clone()
    } else {
        json!({"matchLabels": selector})
    };
    if let Ok(selector) = serde_json::from_value(meta)
        && let Ok(selector) = LabelSelector::from_meta(&selector)
    {
        scale["status"]["selector"] = json!(selector.to_string());
    }
    scale
}

fn plain(metadata: &Value, replicas: i64, running: i64) -> Value {
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": replicas},
        "status": {"replicas": running},
    })
}
