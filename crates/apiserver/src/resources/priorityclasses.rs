//! PriorityClass: the two system classes are the server's, all others are bounded (contract §13).
use super::definition::Resource;
use super::rules::Rules;
use crate::status::{Cause, cause};
use orlop_api::annotations::{
    SYSTEM_CLUSTER_CRITICAL, SYSTEM_CRITICAL_PRIORITY, SYSTEM_NODE_CRITICAL, SYSTEM_NODE_CRITICAL_PRIORITY,
    USER_PRIORITY_MAX,
};
use serde_json::{Value, json};

/// Values of the built-in classes.
const SYSTEM: &[(&str, i32)] = &[
    (SYSTEM_CLUSTER_CRITICAL, SYSTEM_CRITICAL_PRIORITY),
    (SYSTEM_NODE_CRITICAL, SYSTEM_NODE_CRITICAL_PRIORITY),
];

pub const PRIORITYCLASSES: Resource = Resource::new(
    "scheduling.k8s.io",
    "priorityclasses",
    "priorityclass",
    "PriorityClass",
)
.cluster_scoped()
.short(&["pc"])
.with_rules(Rules {
    default: |class| {
        if class["preemptionPolicy"].is_null() {
            class["preemptionPolicy"] = json!("PreemptLowerPriority");
        }
        if class["value"].is_null() {
            class["value"] = json!(0);
        }
    },
    validate_create: validate,
    validate_update: validate_change,
    ..Rules::WITH_GENERATION
});

fn validate(class: &Value) -> Vec<Cause> {
    let name = class
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let value = class["value"].as_i64().unwrap_or_default();
    if let Some((_, expected)) = SYSTEM.iter().find(|(system, _)| *system == name) {
        if value != i64::from(*expected) {
            return vec![cause::forbidden(
                "value",
                &format!("must be {expected} for the system class {name}"),
            )];
        }
        return Vec::new();
    }
    let mut causes = Vec::new();
    if name.starts_with("system-") {
        causes.push(cause::forbidden(
            "metadata.name",
            "priority class names with 'system-' prefix are reserved for system use only",
        ));
    }
    if value > i64::from(USER_PRIORITY_MAX) {
        causes.push(cause::forbidden(
            "value",
            &format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}"),
        ));
    }
    if !matches!(
        class["preemptionPolicy"].as_str(),
        Some("PreemptLowerPriority" | "Never") | None
    ) {
        causes.push(cause::unsupported(
            "preemptionPolicy",
            class["preemptionPolicy"].as_str().unwrap_or_default(),
            &["PreemptLowerPriority", "Never"],
        ));
    }
    causes
}

fn validate_change(new: &Value, old: &Value) -> Vec<Cause> {
    ["value", "preemptionPolicy"]
        .iter()
        .filter(|field| new[**field] != old[**field])
        .map(|field| cause::forbidden(field, "may not be changed in an update."))
        .collect()
}
