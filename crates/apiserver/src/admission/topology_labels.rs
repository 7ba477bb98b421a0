//! A pod carries its node's zone and region as labels (`PodTopologyLabels`, contract §12.2).
use super::{Attempt, Operation};
use crate::status::ApiError;
use serde_json::Value;

const LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if attempt.operation != Operation::Create {
        return Ok(());
    }
    let place = match (attempt.resource.plural, attempt.subresource) {
        ("pods", "") => "/spec/nodeName",
        ("pods", "binding") | ("bindings", "") => "/target/name",
        _ => return Ok(()),
    };
    let Some(object) = attempt
        .object
        .as_deref_mut()
        .filter(|_| attempt.resource.group.is_empty())
    else {
        return Ok(());
    };
    let node = object.pointer(place).and_then(Value::as_str).unwrap_or_default();
    if let Some(node) = attempt.server.cache.core_object("nodes", "", node) {
        let labels = LABELS.iter().filter_map(|key| Some((*key, node.label(key)?)));
        for (key, value) in labels {
            object["metadata"]["labels"][key] = value.into();
        }
    }
    Ok(())
}
