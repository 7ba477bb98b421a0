//! What a pod says about where it runs and how it resolves names (contract, API server §12.3; daemonsets
//! §2.5).
use super::{FieldError, labels};
use crate::taints::{NO_EXECUTE, NO_SCHEDULE, PREFER_NO_SCHEDULE};
use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorTerm, PodSpec, Toleration};
use std::collections::HashSet;

/// What the resolver reads at most.
const NAMESERVERS_MAX: usize = 3;

pub(super) fn check(spec: &PodSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(selector) = &spec.node_selector {
        errors.extend(labels(selector, "spec.nodeSelector"));
    }
    let given = spec.tolerations.as_deref().unwrap_or_default();
    errors.extend(tolerations(given, "spec.tolerations"));
    let affinity = spec.affinity.as_ref().and_then(|all| all.node_affinity.as_ref());
    errors.extend(affinity.into_iter().flat_map(node_affinity));
    let nameservers = spec
        .dns_config
        .as_ref()
        .and_then(|config| config.nameservers.as_ref())
        .map_or(0, Vec::len);
    let field = "spec.dnsConfig.nameservers";
    let own = spec.dns_policy.as_deref() == Some("None");
    if own && spec.dns_config.is_none() {
        let hint = "must provide `dnsConfig` when `dnsPolicy` is None";
        errors.push(FieldError::required("spec.dnsConfig", hint));
    } else if own && nameservers == 0 {
        let hint = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(field, hint));
    }
    if nameservers > NAMESERVERS_MAX {
        let given = spec
            .dns_config
            .as_ref()
            .and_then(|config| config.nameservers.as_ref());
        let hint = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(FieldError::invalid(field, given, &hint));
    }
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = format!("spec.topologySpreadConstraints[{index}]");
        if constraint.max_skew <= 0 {
            let field = format!("{path}.maxSkew");
            errors.push(FieldError::invalid(
                field,
                constraint.max_skew,
                "must be greater than zero",
            ));
        }
        if constraint.topology_key.is_empty() {
            let field = format!("{path}.topologyKey");
            errors.push(FieldError::required(field, "can not be empty"));
        }
        let modes = ["DoNotSchedule", "ScheduleAnyway"];
        if !modes.contains(&constraint.when_unsatisfiable.as_str()) {
            let field = format!("{path}.whenUnsatisfiable");
            errors.push(FieldError::not_supported(
                field,
                &constraint.when_unsatisfiable,
                &modes,
            ));
        }
    }
    let mut gates = HashSet::new();
    for (index, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let field = format!("spec.schedulingGates[{index}]");
        for hint in crate::names::check_qualified_name(&gate.name) {
            errors.push(FieldError::invalid(field.clone(), &gate.name, &hint));
        }
        if !gates.insert(&gate.name) {
            errors.push(FieldError::duplicate(field, &gate.name));
        }
    }
    errors
}

/// Each toleration by itself.
pub(super) fn tolerations(tolerations: &[Toleration], field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        let at = |name: &str| format!("{field}[{index}].{name}");
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let (key, operator) = (text(&toleration.key), text(&toleration.operator));
        let (value, effect) = (text(&toleration.value), text(&toleration.effect));
        if !key.is_empty() {
            for hint in crate::names::check_qualified_name(&key) {
                errors.push(FieldError::invalid(at("key"), &key, &hint));
            }
        } else if operator != "Exists" {
            let hint =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(at("operator"), &operator, hint));
        }
        if toleration.toleration_seconds.is_some() && effect != NO_EXECUTE {
            let hint = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(at("effect"), &effect, hint));
        }
        match operator.as_str() {
            "" | "Equal" => {
                for hint in crate::names::check_label_value(&value) {
                    errors.push(FieldError::invalid(at("operator"), &value, &hint));
                }
            }
            "Exists" if value.is_empty() => {}
            "Exists" => {
                let hint = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(at("operator"), &value, hint));
            }
            _ => errors.push(FieldError::not_supported(
                at("operator"),
                &operator,
                &["Equal", "Exists"],
            )),
        }
        let effects = [NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE];
        if !effect.is_empty() && !effects.contains(&effect.as_str()) {
            errors.push(FieldError::not_supported(at("effect"), &effect, &effects));
        }
    }
    errors
}

/// `matchFields` know one key, and one value of it.
pub(super) fn node_affinity(affinity: &NodeAffinity) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = "spec.affinity.nodeAffinity";
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            let hint = "must have at least one node selector term";
            errors.push(FieldError::required(path.clone(), hint));
        }
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            check_term(term, &format!("{path}[{index}]"), &mut errors);
        }
    }
    let preferred = affinity
        .preferred_during_scheduling_ignored_during_execution
        .iter()
        .flatten();
    for (index, weighted) in preferred.enumerate() {
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]");
        if !(1..=100).contains(&weighted.weight) {
            let hint = "must be in the range 1-100";
            errors.push(FieldError::invalid(
                format!("{path}.weight"),
                weighted.weight,
                hint,
            ));
        }
        check_term(&weighted.preference, &format!("{path}.preference"), &mut errors);
    }
    errors
}

fn check_term(term: &NodeSelectorTerm, path: &str, errors: &mut Vec<FieldError>) {
    for (index, field) in term.match_fields.iter().flatten().enumerate() {
        let at = |name: &str| format!("{path}.matchFields[{index}].{name}");
        let values = field.values.as_deref().unwrap_or_default();
        match field.operator.as_str() {
            "In" | "NotIn" if values.len() == 1 => {}
            "In" | "NotIn" => {
                let hint =
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(FieldError::required(at("values"), hint));
            }
            other => {
                errors.push(FieldError::invalid(
                    at("operator"),
                    other,
                    "not a valid selector operator",
                ));
            }
        }
        if field.key != "metadata.name" {
            let hint = "not a valid field selector key";
            errors.push(FieldError::invalid(at("key"), &field.key, hint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fields(spec: Value) -> Vec<String> {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        check(&spec).into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn tolerations_nodes_and_names() {
        let nothing: [String; 0] = [];
        let toleration = |value: Value| fields(json!({"containers": [], "tolerations": [value]}));
        for good in [
            json!({"operator": "Exists"}),
            json!({"key": "a"}),
            json!({"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 3}),
        ] {
            assert_eq!(toleration(good), nothing);
        }
        for (bad, field) in [
            (json!({}), "operator"),
            (json!({"key": "a b", "operator": "Exists"}), "key"),
            (
                json!({"key": "a", "operator": "Exists", "value": "x"}),
                "operator",
            ),
            (json!({"key": "a", "operator": "Like"}), "operator"),
            (json!({"key": "a", "effect": "Nope"}), "effect"),
            (json!({"key": "a", "tolerationSeconds": 3}), "effect"),
        ] {
            assert_eq!(toleration(bad), [format!("spec.tolerations[0].{field}")]);
        }
        let dns = |config: Value| fields(json!({"containers": [], "dnsPolicy": "None", "dnsConfig": config}));
        assert_eq!(dns(json!({"nameservers": ["1.1.1.1"]})), nothing);
        assert_eq!(dns(json!({})), ["spec.dnsConfig.nameservers"]);
        assert_eq!(
            dns(json!({"nameservers": ["1", "2", "3", "4"]})),
            ["spec.dnsConfig.nameservers"]
        );
        let named = |key: &str, operator: &str, values: Value| {
            let term = json!({"matchFields": [{"key": key, "operator": operator, "values": values}]});
            fields(json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}}))
        };
        assert_eq!(named("metadata.name", "In", json!(["n"])), nothing);
        for found in [
            named("metadata.uid", "In", json!(["n"])),
            named("metadata.name", "Exists", json!([])),
            named("metadata.name", "In", json!(["n", "m"])),
        ] {
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }
}
