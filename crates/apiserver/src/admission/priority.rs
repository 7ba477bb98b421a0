//! A pod's priority is its class's (contract §12.2).
use super::{Attempt, Operation};
use crate::resources;
use crate::status::ApiError;
use serde_json::{Value, json};

const DEFAULT_PREEMPTION: &str = "PreemptLowerPriority";

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if !attempt.is("pods", "") {
        return Ok(());
    }
    if attempt.operation == Operation::Update {
        keep(attempt);
        return Ok(());
    }
    if attempt.operation != Operation::Create {
        return Ok(());
    }
    let Some(pod) = attempt.object.as_deref() else {
        return Ok(());
    };
    let wanted = pod["spec"]["priorityClassName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let given = pod["spec"]["priority"].as_i64();
    let class = if wanted.is_empty() {
        default_class(attempt)
    } else {
        match class(attempt, &wanted) {
            Some(class) => Some(class),
            None => {
                return Err(attempt.forbidden(&format!("no PriorityClass with name {wanted} was found")));
            }
        }
    };
    let value = class
        .as_ref()
        .and_then(|c| c["value"].as_i64())
        .unwrap_or_default();
    if let Some(given) = given.filter(|given| *given != value) {
        return Err(attempt.forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        )));
    }
    let Some(pod) = attempt.object.as_deref_mut() else {
        return Ok(());
    };
    pod["spec"]["priority"] = json!(value);
    if wanted.is_empty()
        && let Some(name) = class.as_ref().and_then(|c| c["metadata"]["name"].as_str())
    {
        pod["spec"]["priorityClassName"] = json!(name);
    }
    if pod["spec"]["preemptionPolicy"].is_null() {
        pod["spec"]["preemptionPolicy"] = class
            .as_ref()
            .map(|c| c["preemptionPolicy"].clone())
            .filter(Value::is_string)
            .unwrap_or_else(|| json!(DEFAULT_PREEMPTION));
    }
    Ok(())
}

/// Whoever puts back a pod as it was given says nothing of what its class made of it.
fn keep(attempt: &mut Attempt<'_>) {
    let Some((pod, old)) = attempt.object.as_deref_mut().zip(attempt.old) else {
        return;
    };
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod["spec"][field] = old["spec"][field].clone();
        }
    }
}

fn class(attempt: &Attempt<'_>, name: &str) -> Option<Value> {
    let resource = resources::find("scheduling.k8s.io", "v1", "priorityclasses")?;
    let id = attempt.server.cache.storage(resource)?;
    Some(attempt.server.cache.get(id, name)?.value())
}

/// The global default; of several (there should be one), the lowest.
fn default_class(attempt: &Attempt<'_>) -> Option<Value> {
    let classes = attempt
        .server
        .cache
        .objects_of("scheduling.k8s.io", "priorityclasses");
    classes
        .iter()
        .filter(|class| class.at(["/globalDefault"]) == [Some(json!(true))])
        .map(|class| class.value())
        .min_by_key(|class| class["value"].as_i64())
}

/// There is one global default.
pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let wants = |c: &Value| c["globalDefault"] == true;
    if !matches!(attempt.operation, Operation::Create | Operation::Update)
        || attempt.resource.plural != "priorityclasses"
        || !attempt.object.as_deref().is_some_and(wants)
    {
        return Ok(());
    }
    match default_class(attempt).filter(|other| other["metadata"]["name"] != *attempt.name) {
        Some(other) => Err(attempt.forbidden(&format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            other["metadata"]["name"].as_str().unwrap_or_default()
        ))),
        None => Ok(()),
    }
}
