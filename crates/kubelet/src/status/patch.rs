//! The strategic merge patch from one status to another. Pure.
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// Conditions that the agent writes; others belong to others.
const OWN_CONDITIONS: &[&str] = &[
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "DisruptionTarget",
    "PodResizePending",
    "PodResizeInProgress",
    "AllContainersRestarting",
];
/// Fields that the agent writes, beside the conditions.
const OWN_FIELDS: &[&str] = &[
    "phase",
    "message",
    "reason",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
    "qosClass",
    "observedGeneration",
    "allocatedResources",
    "resources",
];
/// Lists that a strategic patch would merge where they are meant as a whole.
const WHOLE_LISTS: &[&str] = &["hostIPs", "podIPs"];

/// Fields that stay what they are once they are told: of its start an agent that was restarted does not know better, and
/// the class an API server never lets change, also of a mirror for which it took amounts from a LimitRange that the static
/// pod's own definition knows nothing of.
const KEPT: &[&str] = &["startTime", "qosClass"];

/// What to send so that the status of the object `uid` becomes `wanted`; `None` when it is that already.
pub fn patch(uid: &str, current: &PodStatus, wanted: &PodStatus) -> Option<Value> {
    let (current, wanted) = (fields(current), fields(wanted));
    let mut status = Map::new();
    for &field in OWN_FIELDS {
        let known = KEPT.contains(&field) && current.contains_key(field);
        match (current.get(field), wanted.get(field)) {
            (old, Some(new)) if old != Some(new) && !known => {
                let mut new = new.clone();
                // Where nothing is to be replaced, API servers may take the directive for an element.
                if old.is_some()
                    && WHOLE_LISTS.contains(&field)
                    && let Value::Array(list) = &mut new
                {
                    list.push(json!({"$patch": "replace"}));
                }
                status.insert(field.to_owned(), new);
            }
            (Some(_), None) if !known => {
                status.insert(field.to_owned(), Value::Null);
            }
            _ => {}
        }
    }
    let conditions = conditions(&current, &wanted);
    if !conditions.is_empty() {
        status.insert("conditions".to_owned(), Value::Array(conditions));
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": status}))
}

fn fields(status: &PodStatus) -> Map<String, Value> {
    // A structure of strings, numbers and lists always has a JSON form.
    match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn list(fields: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    fields
        .get("conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Own conditions that differ; a transition time alone is no difference while the value is the same.
fn conditions(current: &Map<String, Value>, wanted: &Map<String, Value>) -> Vec<Value> {
    let own = |condition: &&Value| OWN_CONDITIONS.iter().any(|kind| condition["type"] == *kind);
    let mut changed = Vec::new();
    for new in list(wanted).filter(own) {
        let mut new = new.clone();
        let old = list(current).find(|old| old["type"] == new["type"]);
        if let Some(old) = old.filter(|old| old["status"] == new["status"]) {
            for kept in ["lastTransitionTime", "lastProbeTime"] {
                match old.get(kept) {
                    Some(time) => new[kept] = time.clone(),
                    None => new
                        .as_object_mut()
                        .into_iter()
                        .for_each(|new| drop(new.remove(kept))),
                }
            }
        }
        if old == Some(&new) {
            continue;
        }
        // A merged condition keeps what is not mentioned.
        for gone in ["reason", "message"] {
            if old.is_some_and(|old| old.get(gone).is_some()) && new.get(gone).is_none() {
                new[gone] = Value::Null;
            }
        }
        changed.push(new);
    }
    let wanted_types: Vec<&Value> = list(wanted).map(|condition| &condition["type"]).collect();
    for old in list(current)
        .filter(own)
        .filter(|old| !wanted_types.contains(&&old["type"]))
    {
        changed.push(json!({"type": old["type"], "$patch": "delete"}));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn nothing_is_sent_when_nothing_differs() {
        let one = status(
            json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Foreign", "status": "True"}]}),
        );
        let other = status(
            json!({"phase": "Running", "startTime": "2026-02-02T00:00:00Z", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-02-02T00:00:00Z"}]}),
        );
        assert_eq!(patch("u", &one, &other), None);
    }

    #[test]
    fn differences_only_with_the_uid_as_precondition() {
        let old = status(
            json!({"phase": "Pending", "reason": "X", "qosClass": "Burstable", "conditions": [
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "m"},
            {"type": "DisruptionTarget", "status": "True"}]}),
        );
        let new = status(
            json!({"phase": "Running", "qosClass": "Burstable", "podIPs": [{"ip": "10.0.0.5"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
        );
        let want = json!({"metadata": {"uid": "u"}, "status": {
            "phase": "Running",
            "reason": null,
            "podIPs": [{"ip": "10.0.0.5"}],
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": null,
                    "message": null},
                {"type": "DisruptionTarget", "$patch": "delete"},
            ],
        }});
        assert_eq!(patch("u", &old, &new), Some(want));
    }

    #[test]
    fn the_class_of_a_mirror_stays_the_one_that_its_api_server_found() {
        let class = |class: &str| status(json!({"qosClass": class}));
        assert_eq!(patch("u", &class("Burstable"), &class("BestEffort")), None);
        assert_eq!(patch("u", &class("Burstable"), &status(json!({}))), None);
        let want = json!({"metadata": {"uid": "u"}, "status": {"qosClass": "BestEffort"}});
        assert_eq!(patch("u", &status(json!({})), &class("BestEffort")), Some(want));
    }

    #[test]
    fn addresses_that_were_told_are_replaced_as_a_whole() {
        let old = status(json!({"podIPs": [{"ip": "10.0.0.5"}]}));
        let new = status(json!({"podIPs": [{"ip": "10.0.0.6"}]}));
        let want = json!({"metadata": {"uid": "u"}, "status": {
            "podIPs": [{"ip": "10.0.0.6"}, {"$patch": "replace"}],
        }});
        assert_eq!(patch("u", &old, &new), Some(want));
    }
}
