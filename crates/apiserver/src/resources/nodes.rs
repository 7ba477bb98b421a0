//! Node: registers with its status, and never forgets its identity (contract §13).
use super::definition::{Field, PROXY_VERBS, Read, Resource, STATUS, Subresource};
use super::rules::Rules;
use crate::status::{Cause, cause};
use serde_json::{Value, json};

/// The taint every new node carries until it is Ready.
pub(crate) const NOT_READY_TAINT: &str = "node.kubernetes.io/not-ready";

pub const NODES: Resource = Resource::new("", "nodes", "node", "Node")
    .cluster_scoped()
    .short(&["no"])
    .stored_under("minions")
    .with_subresources(&[
        Subresource {
            name: "proxy",
            verbs: PROXY_VERBS,
            kind: Some(("", "v1", "NodeProxyOptions")),
        },
        STATUS,
    ])
    .with_fields(&[Field {
        name: "spec.unschedulable",
        read: Read::Bool("/spec/unschedulable"),
    }])
    .with_rules(Rules {
        keeps_status_on_create: true,
        default,
        prepare_status: |node, _| default(node),
        validate_create: validate,
        validate_update,
        ..Rules::GENERIC
    });

fn default(node: &mut Value) {
    let status = &node["status"];
    if status["allocatable"].is_null() && status["capacity"].is_object() {
        node["status"]["allocatable"] = node["status"]["capacity"].clone();
    }
    let spec = &node["spec"];
    if let Some(first) = spec.pointer("/podCIDRs/0").cloned() {
        if spec["podCIDR"].is_null() {
            node["spec"]["podCIDR"] = first;
        }
    } else if spec["podCIDR"].is_string() {
        node["spec"]["podCIDRs"] = json!([spec["podCIDR"]]);
    }
}

fn validate(node: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen: Vec<(&Value, &Value)> = Vec::new();
    for (index, taint) in node
        .pointer("/spec/taints")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let path = format!("metadata.taints[{index}]");
        if taint["key"].as_str().unwrap_or_default().is_empty() {
            causes.push(cause::required(&format!("{path}.key"), ""));
        }
        let effect = taint["effect"].as_str().unwrap_or_default();
        if effect.is_empty() {
            causes.push(cause::required(&format!("{path}.effect"), ""));
        } else if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            causes.push(cause::unsupported(
                &format!("{path}.effect"),
                effect,
                &["NoExecute", "NoSchedule", "PreferNoSchedule"],
            ));
        }
        let identity = (&taint["key"], &taint["effect"]);
        if seen.contains(&identity) {
            causes.push(Cause::new(
                "FieldValueDuplicate",
                path,
                format!("Duplicate value: {taint}: taints must be unique by key and effect pair"),
            ));
        }
        seen.push(identity);
    }
    causes
}

fn validate_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate(new);
    let set = |value: &Value| !value.is_null() && value.as_str() != Some("");
    if set(&old["spec"]["podCIDR"]) && new["spec"]["podCIDRs"] != old["spec"]["podCIDRs"] {
        causes.push(cause::forbidden(
            "spec.podCIDRs",
            "node updates may not change podCIDR except from \"\" to valid",
        ));
    }
    if set(&old["spec"]["providerID"]) && new["spec"]["providerID"] != old["spec"]["providerID"] {
        causes.push(cause::forbidden(
            "spec.providerID",
            "node updates may not change providerID except from \"\" to valid",
        ));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N01, first half: allocatable is the capacity when the node says nothing else.
    #[test]
    fn allocatable_defaults_to_capacity() {
        let mut node = json!({"status": {"capacity": {"cpu": "2"}}});
        default(&mut node);
        assert_eq!(node["status"]["allocatable"]["cpu"], "2");
    }

    /// N02
    #[test]
    fn a_pod_range_is_given_once() {
        let old = json!({"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}});
        let new = json!({"spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}});
        assert_eq!(validate_update(&old, &old), []);
        assert_eq!(validate_update(&new, &old).len(), 1);
        assert_eq!(validate_update(&new, &json!({"spec": {}})), []);
    }

    #[test]
    fn taints_have_known_effects_and_are_unique() {
        let bad = json!({"spec": {"taints": [{"key": "a", "effect": "Nope"}]}});
        assert_eq!(validate(&bad)[0].field, "metadata.taints[0].effect");
        let twice = json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}, {"key": "a", "value": "x", "effect": "NoExecute"}]}});
        assert_eq!(validate(&twice).len(), 1);
    }
}
