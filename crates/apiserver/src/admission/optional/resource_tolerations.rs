//! Pods that ask for somebody's own resources tolerate nodes that are kept for such pods (`ExtendedResourceToleration`).
use super::super::Attempt;
use super::{containers, writes_pod};
use crate::status::ApiError;
use orlop_api::quota::is_extended;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if writes_pod(attempt)
        && let Some(pod) = attempt.object.as_deref_mut()
    {
        tolerate(pod);
    }
    Ok(())
}

fn tolerate(pod: &mut Value) {
    let mut resources = BTreeSet::new();
    for (_, container) in containers(pod, &["containers", "initContainers"]) {
        let requests = container["resources"]["requests"].as_object();
        resources.extend(requests.into_iter().flat_map(|requests| requests.keys().cloned()));
    }
    resources.retain(|resource| is_extended(resource));
    if resources.is_empty() {
        return;
    }
    if !pod["spec"]["tolerations"].is_array() {
        pod["spec"]["tolerations"] = json!([]);
    }
    let Some(tolerations) = pod["spec"]["tolerations"].as_array_mut() else {
        return;
    };
    for resource in resources {
        let toleration = json!({"key": resource, "operator": "Exists", "effect": "NoSchedule"});
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_of_somebodys_own_is_tolerated_once() {
        let requests =
            json!({"cpu": "1", "example.com/gpu": "1", "kubernetes.io/batch": "1", "example.com/disk": "2"});
        let mut pod = json!({"spec": {"containers": [{"resources": {"requests": requests}}]}});
        tolerate(&mut pod);
        let toleration = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
        let wanted = json!([toleration("example.com/disk"), toleration("example.com/gpu")]);
        assert_eq!(pod["spec"]["tolerations"], wanted);
        tolerate(&mut pod);
        assert_eq!(pod["spec"]["tolerations"], wanted);
        let mut plain = json!({"spec": {"containers": [{}]}});
        tolerate(&mut plain);
        assert_eq!(plain, json!({"spec": {"containers": [{}]}}));
    }
}
