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
    if pdb.pointer("/spec/minAvailable").is_some() && pdb.pointer("/spec/maxUnavailable").is_some() {
        return vec![cause::invalid(
            "spec",
            &pdb["spec"],
            "minAvailable and maxUnavailable cannot be both set",
        )];
    }
    Vec::new()
}
