//! Lease: heartbeats and leader election.
use super::definition::Resource;
use super::rules::Rules;
use crate::status::{Cause, cause};
use serde_json::Value;

pub const LEASES: Resource =
    Resource::new("coordination.k8s.io", "leases", "lease", "Lease").with_rules(Rules {
        create_on_update: true,
        unconditional_update: false,
        validate_create: validate,
        validate_update: |new, _| validate(new),
        ..Rules::GENERIC
    });

fn validate(lease: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &lease["spec"];
    if spec["leaseDurationSeconds"].as_i64().is_some_and(|n| n <= 0) {
        causes.push(cause::invalid(
            "spec.leaseDurationSeconds",
            &spec["leaseDurationSeconds"],
            "must be greater than 0",
        ));
    }
    if spec["leaseTransitions"].as_i64().is_some_and(|n| n < 0) {
        causes.push(cause::invalid(
            "spec.leaseTransitions",
            &spec["leaseTransitions"],
            "must be greater than or equal to 0",
        ));
    }
    causes
}
