//! `policy`: disruption budgets, read by the eviction subresource.
use super::definition::{Resource, STATUS};
use super::rules::Rules;
use crate::status::{Cause, cause};
use serde_json::{Value, json};

pub const PODDISRUPTIONBUDGETS: Resource = Resource::new(
    "policy",
    "poddisruptionbudgets",
    "poddisruptionbudget",
    "PodDisruptionBudget",
)
.short(&["pdb"])
.with_subresources(&[STATUS])
.with_rules(Rules {
    unconditional_update: false,
    prepare_create: empty_status,
    validate_create: validate,
    validate_update: |new, _| validate(new),
    ..Rules::WITH_GENERATION
});

fn empty_status(pdb: &mut Value) {
    pdb["status"] =
        json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
}

fn validate(pdb: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &pdb["spec"];
    for member in ["minAvailable", "maxUnavailable"] {
        causes.extend(validate_amount(&spec[member], &format!("spec.{member}")));
    }
    let policy = spec["unhealthyPodEvictionPolicy"].as_str();
    let known = ["AlwaysAllow", "IfHealthyBudget"];
    if let Some(policy) = policy.filter(|policy| !known.contains(policy)) {
        causes.push(cause::unsupported(
            "spec.unhealthyPodEvictionPolicy",
            policy,
            &known,
        ));
    }
    if pdb.pointer("/spec/minAvailable").is_some() && pdb.pointer("/spec/maxUnavailable").is_some() {
        causes.push(cause::invalid(
            "spec",
            spec,
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    causes
}

/// A number of pods, or a part of them.
fn validate_amount(amount: &Value, field: &str) -> Vec<Cause> {
    if amount.as_i64().is_some_and(|n| n < 0) {
        return vec![cause::invalid(
            field,
            amount,
            "must be greater than or equal to 0",
        )];
    }
    let Some(text) = amount.as_str() else {
        return Vec::new();
    };
    let digits = text.strip_suffix('%').unwrap_or_default();
    let percent = digits
        .parse::<u32>()
        .ok()
        .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    match percent {
        None => vec![cause::invalid(
            field,
            amount,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        )],
        Some(percent) if percent > 100 => {
            vec![cause::invalid(field, amount, "must not be greater than 100%")]
        }
        Some(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_number_or_a_part() {
        let problems = |spec: Value| -> Vec<String> {
            let causes = validate(&json!({"spec": spec}));
            causes
                .iter()
                .map(|c| format!("{}: {}", c.field, c.message))
                .collect()
        };
        assert!(problems(json!({"minAvailable": "50%"})).is_empty());
        assert!(
            problems(json!({"maxUnavailable": 0, "unhealthyPodEvictionPolicy": "AlwaysAllow"})).is_empty()
        );
        assert_eq!(
            problems(json!({"minAvailable": -1})),
            ["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]
        );
        assert_eq!(
            problems(json!({"maxUnavailable": "101%"})),
            ["spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"]
        );
        assert_eq!(problems(json!({"minAvailable": "many"})).len(), 1);
        assert_eq!(problems(json!({"minAvailable": 1, "maxUnavailable": 1})).len(), 1);
    }
}
