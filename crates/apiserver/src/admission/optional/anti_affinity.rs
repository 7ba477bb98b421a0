//! Pods keep others only off their own node, not off whole zones (`LimitPodHardAntiAffinityTopology`).
use super::super::Attempt;
use super::writes_pod;
use crate::status::ApiError;
use serde_json::Value;

const HOSTNAME: &str = "kubernetes.io/hostname";
const TERMS: &str = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let pod = attempt.object.as_deref().filter(|_| writes_pod(attempt));
    match pod.and_then(wider) {
        None => Ok(()),
        Some(key) => Err(attempt.forbidden(&format!(
            "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
        ))),
    }
}

/// What the pod keeps others off that is not its node.
fn wider(pod: &Value) -> Option<&str> {
    let terms = pod.pointer(TERMS).and_then(Value::as_array).into_iter().flatten();
    let mut keys = terms.map(|term| term["topologyKey"].as_str().unwrap_or_default());
    keys.find(|key| *key != HOSTNAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_nodes_can_be_kept_free() {
        let pod = |keys: &[&str]| {
            let terms: Vec<Value> = keys.iter().map(|key| json!({"topologyKey": key})).collect();
            json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}})
        };
        assert_eq!(wider(&pod(&[HOSTNAME, "zone"])), Some("zone"));
        assert_eq!(wider(&pod(&[HOSTNAME])), None);
        assert_eq!(wider(&json!({"spec": {}})), None);
    }
}
