//! A pod is not resized beyond what its node has to give (`PodResizeValidator`): it could never be made.
use super::{Attempt, Operation};
use crate::resources::amount;
use crate::status::{ApiError, Cause};
use k8s_openapi::api::core::v1::PodSpec;
use orlop_api::annotations::NODE_OS_LABEL;
use orlop_api::pod::resource_requests;
use orlop_api::quantity::Amount;
use serde_json::Value;

/// An amount in the unit that messages give it in.
type Number = fn(Amount) -> i64;

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    if !attempt.is("pods", "resize") || attempt.operation != Operation::Update {
        return Ok(());
    }
    let (Some(new), Some(old)) = (attempt.object.as_deref(), attempt.old) else {
        return Ok(());
    };
    let name = new["spec"]["nodeName"].as_str().unwrap_or_default();
    if name.is_empty() || new["spec"] == old["spec"] {
        return Ok(());
    }
    // Of a node that nobody knows nothing can be said.
    let node = attempt.server.cache.core_object("nodes", "", name);
    let Some((kind, why)) = node.and_then(|node| problem(&new["spec"], &node.value())) else {
        return Ok(());
    };
    let cause = Cause::new(kind, "", "");
    Err(attempt.forbidden(&why).caused_by(cause))
}

/// Why the node cannot resize a pod to this, with the word for it.
fn problem(spec: &Value, node: &Value) -> Option<(&'static str, String)> {
    let os = node["metadata"]["labels"][NODE_OS_LABEL].as_str();
    if let Some(other) = os.filter(|os| *os != "linux") {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let why = format!("pod resize is only supported on linux nodes, node {name:?} is {other:?}");
        return Some(("UnsupportedPlatform", why));
    }
    let spec: PodSpec = serde_json::from_value(spec.clone()).ok()?;
    let requests = resource_requests(&spec);
    let lacking = [("cpu", Amount::milli_value as Number), ("memory", Amount::value)]
        .into_iter()
        .filter_map(|(resource, number)| {
            let requested = *requests.get(resource)?;
            // A node that has told nothing yet is left to decide by itself.
            let allocatable = amount(&node["status"]["allocatable"][resource])?;
            let (asked, given) = (number(requested), number(allocatable));
            let lacks = requested > allocatable;
            lacks.then(|| format!("{resource}, requested: {asked}, allocatable: {given}"))
        });
    let lacking: Vec<String> = lacking.collect();
    let why = format!(
        "node didn't have enough allocatable resources: {}",
        lacking.join("; ")
    );
    (!lacking.is_empty()).then_some(("NodeCapacity", why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(os: &str) -> Value {
        json!({"metadata": {"name": "n1", "labels": {NODE_OS_LABEL: os}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}})
    }

    fn spec(cpu: &str, memory: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
    }

    #[test]
    fn more_than_the_node_has_is_refused_with_the_numbers() {
        assert_eq!(problem(&spec("2", "1Gi"), &node("linux")), None);
        let (kind, why) = problem(&spec("2500m", "2Gi"), &node("linux")).unwrap();
        assert_eq!(kind, "NodeCapacity");
        assert_eq!(
            why,
            "node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000; \
             memory, requested: 2147483648, allocatable: 1073741824"
        );
        let mut whole = spec("1", "1Mi");
        whole["resources"] = json!({"requests": {"cpu": "3"}});
        assert!(problem(&whole, &node("linux")).is_some(), "of the pod as a whole");
    }

    #[test]
    fn nodes_of_other_systems_resize_nothing() {
        let (kind, _) = problem(&spec("1", "1Mi"), &node("windows")).unwrap();
        assert_eq!(kind, "UnsupportedPlatform");
    }
}
