//! A pod of a RuntimeClass costs what the class costs, and runs where the class can (contract §12.2).
use super::{Attempt, Operation};
use crate::cache::Object;
use crate::resources;
use crate::status::ApiError;
use serde_json::{Value, json};
use std::sync::Arc;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if !attempt.is("pods", "") || attempt.operation != Operation::Create {
        return Ok(());
    }
    let class = class(attempt)?;
    let problem = match (attempt.object.as_deref_mut(), &class) {
        (Some(pod), Some(class)) => merge(&mut pod["spec"], &class.value()),
        _ => None,
    };
    problem.map_or(Ok(()), |why| Err(attempt.forbidden(&why)))
}

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    if !attempt.is("pods", "") || attempt.operation != Operation::Create {
        return Ok(());
    }
    let class = class(attempt)?.map(|class| class.value());
    let spec = attempt.object.as_deref().map(|pod| &pod["spec"]);
    let problem = spec.and_then(|spec| overhead_problem(spec, class.as_ref()));
    problem.map_or(Ok(()), |why| Err(attempt.forbidden(why)))
}

/// The class that a pod names. One that doesn't exist can't be run.
fn class(attempt: &Attempt<'_>) -> Result<Option<Arc<Object>>, ApiError> {
    let pod = attempt.object.as_deref();
    let name = pod
        .and_then(|pod| pod["spec"]["runtimeClassName"].as_str())
        .filter(|name| !name.is_empty());
    let Some(name) = name else { return Ok(None) };
    let found = resources::find("node.k8s.io", "v1", "runtimeclasses")
        .and_then(|classes| attempt.server.cache.object(classes, "", name));
    match found {
        Some(class) => Ok(Some(class)),
        None => Err(attempt.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const OWN_OVERHEAD: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

fn some(value: &Value) -> Option<&serde_json::Map<String, Value>> {
    value.as_object().filter(|members| !members.is_empty())
}

fn overhead_problem(spec: &Value, class: Option<&Value>) -> Option<&'static str> {
    let fixed = class.and_then(|class| some(&class["overhead"]["podFixed"]));
    match (some(&spec["overhead"]), fixed) {
        (None, None) => None,
        (Some(_), None) => Some(OWN_OVERHEAD),
        (given, Some(fixed)) if given == Some(fixed) => None,
        (_, Some(_)) => Some(OTHER_OVERHEAD),
    }
}

/// Gives a pod's spec what its class says. Answers what contradicts.
fn merge(spec: &mut Value, class: &Value) -> Option<String> {
    if let Some(fixed) = some(&class["overhead"]["podFixed"]) {
        match some(&spec["overhead"]) {
            Some(given) if given != fixed => return Some(OTHER_OVERHEAD.to_owned()),
            Some(_) => {}
            None => spec["overhead"] = json!(fixed),
        }
    }
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        match spec.get("nodeSelector").and_then(|selector| selector.get(key)) {
            Some(given) if given != value => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                return Some(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    text(value),
                    text(given)
                ));
            }
            Some(_) => {}
            None => spec["nodeSelector"][key] = value.clone(),
        }
    }
    let wanted = scheduling["tolerations"].as_array().into_iter().flatten();
    let mut tolerations = spec
        .get("tolerations")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let had = tolerations.len();
    for toleration in wanted {
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    if tolerations.len() > had {
        spec["tolerations"] = json!(tolerations);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class() -> Value {
        json!({"handler": "h", "overhead": {"podFixed": {"cpu": "250m"}}, "scheduling": {
            "nodeSelector": {"sandbox": "yes"}, "tolerations": [{"key": "sandbox", "operator": "Exists"}]}})
    }

    #[test]
    fn a_pod_gets_overhead_and_scheduling_of_its_class() {
        let mut spec = json!({"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "other"}]});
        assert_eq!(merge(&mut spec, &class()), None);
        let merged = json!({"nodeSelector": {"disk": "ssd", "sandbox": "yes"}, "overhead": {"cpu": "250m"},
            "tolerations": [{"key": "other"}, {"key": "sandbox", "operator": "Exists"}]});
        assert_eq!(spec, merged);
        assert_eq!(merge(&mut spec, &class()), None);
        assert_eq!(spec, merged, "a second time changes nothing");
        let mut bare = json!({});
        assert_eq!(merge(&mut bare, &json!({"handler": "h"})), None);
        assert_eq!(bare, json!({}));
    }

    #[test]
    fn what_contradicts_the_class_is_refused() {
        let mut spec = json!({"nodeSelector": {"sandbox": "no"}});
        assert_eq!(
            merge(&mut spec, &class()).unwrap(),
            "conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes; pod.spec.nodeSelector[sandbox] = no"
        );
        let mut spec = json!({"overhead": {"cpu": "1"}});
        assert_eq!(merge(&mut spec, &class()).unwrap(), OTHER_OVERHEAD);
        for (spec, class, want) in [
            (json!({}), None, None),
            (json!({"overhead": {}}), None, None),
            (json!({"overhead": {"cpu": "1"}}), None, Some(OWN_OVERHEAD)),
            (
                json!({"overhead": {"cpu": "1"}}),
                Some(json!({"handler": "h"})),
                Some(OWN_OVERHEAD),
            ),
            (json!({"overhead": {"cpu": "250m"}}), Some(class()), None),
            (json!({}), Some(class()), Some(OTHER_OVERHEAD)),
        ] {
            assert_eq!(overhead_problem(&spec, class.as_ref()), want, "{spec} {class:?}");
        }
    }
}
