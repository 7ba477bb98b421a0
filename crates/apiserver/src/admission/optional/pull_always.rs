//! Images are pulled for every container anew, so that nobody runs what others were allowed to pull (`AlwaysPullImages`).
use super::super::{Attempt, Operation};
use super::{containers, writes_pod};
use crate::status::ApiError;
use serde_json::Value;
use std::collections::BTreeSet;

const LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];
const POLICY: &str = "imagePullPolicy";
const ALWAYS: &str = "Always";

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if is_concerned(attempt)
        && let Some(pod) = attempt.object.as_deref_mut()
    {
        pull_always(pod);
    }
    Ok(())
}

/// What others changed after that.
pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let Some(pod) = attempt.object.as_deref().filter(|_| is_concerned(attempt)) else {
        return Ok(());
    };
    match first_other(pod) {
        None => Ok(()),
        Some((path, policy)) => Err(attempt.forbidden(&format!(
            "{path}.{POLICY}: Unsupported value: {policy:?}: supported values: {ALWAYS:?}"
        ))),
    }
}

/// A change that brings no image is left alone: pods that were there before the plugin can still be changed.
fn is_concerned(attempt: &Attempt<'_>) -> bool {
    let brings = || match (attempt.object.as_deref(), attempt.old) {
        (Some(new), Some(old)) => !images(new).is_subset(&images(old)),
        _ => true,
    };
    writes_pod(attempt) && (attempt.operation == Operation::Create || brings())
}

fn images(pod: &Value) -> BTreeSet<&str> {
    let all = containers(pod, LISTS);
    all.into_iter()
        .filter_map(|(_, container)| container["image"].as_str())
        .collect()
}

fn pull_always(pod: &mut Value) {
    for list in LISTS {
        for container in items(pod, list) {
            container[POLICY] = ALWAYS.into();
        }
    }
    for volume in items(pod, "volumes") {
        if volume["image"].is_object() {
            volume["image"]["pullPolicy"] = ALWAYS.into();
        }
    }
}

fn items<'v>(pod: &'v mut Value, list: &str) -> impl Iterator<Item = &'v mut Value> {
    let given = pod.get_mut("spec").and_then(|spec| spec.get_mut(list));
    given.and_then(Value::as_array_mut).into_iter().flatten()
}

fn first_other(pod: &Value) -> Option<(String, &str)> {
    let policy = |container: &Value| container[POLICY].as_str().is_none_or(|policy| policy != ALWAYS);
    let other = containers(pod, LISTS)
        .into_iter()
        .find(|(_, container)| policy(container));
    other.map(|(path, container)| (path, container[POLICY].as_str().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_images_are_pulled_always() {
        let mut pod = json!({"spec": {
            "containers": [{"image": "a", "imagePullPolicy": "IfNotPresent"}, {"image": "b"}],
            "initContainers": [{"image": "c", "imagePullPolicy": "Never"}],
            "volumes": [{"image": {"reference": "d"}}, {"emptyDir": {}}],
        }});
        assert_eq!(
            first_other(&pod),
            Some(("spec.initContainers[0]".into(), "Never"))
        );
        assert_eq!(images(&pod), BTreeSet::from(["a", "b", "c"]));
        pull_always(&mut pod);
        assert_eq!(first_other(&pod), None);
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"image": {"reference": "d", "pullPolicy": "Always"}}, {"emptyDir": {}}])
        );
        assert_eq!(pod["spec"].get("ephemeralContainers"), None);
    }
}
