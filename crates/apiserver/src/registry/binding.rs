//! Binding: a pod gets its node, once (contract §12.5).
use super::change::{Change, Outcome, Part, Tracking};
use super::identity;
use crate::admission::{self, Admission, Attempt, Operation};
use crate::http::{Answer, Call};
use crate::request::{self, Expected, WriteOptions};
use crate::resources;
use crate::status::{ApiError, cause};
use http::StatusCode;
use serde_json::{Value, json};

const BINDING: Expected<'_> = Expected {
    group: "",
    version: "v1",
    kind: "Binding",
};

/// POST `pods/{name}/binding`.
pub async fn bind(call: &Call) -> Result<Answer, ApiError> {
    let (mut binding, options) = decode(call)?;
    let named = identity::text(&binding, "name");
    if !named.is_empty() && named != call.info.name {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    admit(call, "binding", &call.info.name, &mut binding, &options).await?;
    bind_pod(call, &call.info.name, &binding, &options).await
}

/// POST `bindings`: the pod's name is in the body.
pub async fn bind_legacy(call: &Call) -> Result<Answer, ApiError> {
    let (mut binding, options) = decode(call)?;
    let name = identity::text(&binding, "name").to_owned();
    admit(call, "", &name, &mut binding, &options).await?;
    let pods = call.with_resource(resources::find("", "v1", "pods").ok_or_else(ApiError::no_such_resource)?);
    bind_pod(&pods, &name, &binding, &options).await
}

fn decode(call: &Call) -> Result<(Value, WriteOptions), ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let decoded = request::decode_object(BINDING, &call.headers, &call.body, options.validation)?;
    Ok((decoded.object, options))
}

/// Both phases: nothing follows from a Binding but the write of its pod.
async fn admit(
    call: &Call,
    subresource: &str,
    name: &str,
    binding: &mut Value,
    options: &WriteOptions,
) -> Result<(), ApiError> {
    let mut attempt = Attempt {
        subresource,
        object: Some(binding),
        ..Attempt::new(call, Operation::Create, name, options.dry_run)
    };
    admission::mutate(&mut attempt).await?;
    admission::validate(&attempt).await
}

async fn bind_pod(
    call: &Call,
    name: &str,
    binding: &Value,
    options: &WriteOptions,
) -> Result<Answer, ApiError> {
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(ApiError::untyped(
            cause::required("target.name", "").field + ": Required value",
        ));
    }
    let kind = &binding["target"]["kind"];
    if !matches!(kind.as_str(), None | Some("" | "Node")) {
        return Err(ApiError::untyped(format!(
            "target.kind: Unsupported value: {kind}: supported values: \"Node\", \"<empty>\""
        )));
    }
    let conflict = |why: &str| ApiError::conflict("", "pods/binding", name, why);
    let outcome = Change {
        call,
        part: Part::Binding,
        name,
        dry_run: options.dry_run,
        is_put: true,
        tracking: Tracking::Update,
        admission: Admission::Passed,
        sees_owners: false,
    }
    .apply(|old| {
        if !old["metadata"]["deletionTimestamp"].is_null() {
            return Err(conflict(&format!(
                "pod {name} is being deleted, cannot be assigned to a host"
            )));
        }
        let bound = old["spec"]["nodeName"].as_str().unwrap_or_default();
        if !bound.is_empty() {
            return Err(conflict(&format!(
                "pod {name} is already assigned to node {bound:?}"
            )));
        }
        if old["spec"]["schedulingGates"]
            .as_array()
            .is_some_and(|g| !g.is_empty())
        {
            return Err(conflict(&format!(
                "pod {name} has non-empty .spec.schedulingGates"
            )));
        }
        let uid = identity::text(binding, "uid");
        if !uid.is_empty() && uid != identity::text(old, "uid") {
            return Err(conflict(
                "Precondition failed: the UID of the binding is not the pod's",
            ));
        }
        Ok(bound_pod(old, node, binding, &identity::now()))
    })
    .await?;
    match outcome {
        Some(Outcome::Stored(_) | Outcome::Would(_)) => Ok(created()),
        None => Err(ApiError::not_found_in("", "pods", name)),
    }
}

/// Success without an object, as bindings and evictions answer.
pub fn created() -> Answer {
    Answer::Value(
        StatusCode::CREATED,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    )
}

fn bound_pod(old: &Value, node: &str, binding: &Value, now: &str) -> Value {
    let mut pod = old.clone();
    pod["spec"]["nodeName"] = json!(node);
    // A version that the binding names is the one that must be there.
    let version = identity::text(binding, "resourceVersion");
    if !version.is_empty() {
        pod["metadata"]["resourceVersion"] = json!(version);
    }
    // Room was held for it there or elsewhere; now it has a place.
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    for key in ["annotations", "labels"] {
        for (name, value) in binding["metadata"][key].as_object().into_iter().flatten() {
            pod["metadata"][key][name] = value.clone();
        }
    }
    let mut scheduled =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    observe(&mut scheduled, old);
    set_condition(&mut pod, scheduled);
    pod
}

/// Says in a condition which generation of the pod it is about.
pub fn observe(condition: &mut Value, pod: &Value) {
    let generation = &pod["metadata"]["generation"];
    if generation.is_i64() {
        condition["observedGeneration"] = generation.clone();
    }
}

/// Replaces the condition of that type, or adds it.
pub fn set_condition(pod: &mut Value, condition: Value) {
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = pod["status"]["conditions"].as_array_mut() else {
        return;
    };
    match conditions.iter_mut().find(|c| c["type"] == condition["type"]) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}
