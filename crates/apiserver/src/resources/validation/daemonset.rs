//! DaemonSets (contract daemonsets §2.5).
use super::{not_negative, text, workload};
use crate::status::{Cause, cause};
use serde_json::{Value, json};

const COUNTERS: &[&str] = &[
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

/// Checks a new DaemonSet.
pub fn daemon_set_create(set: &Value) -> Vec<Cause> {
    let spec = &set["spec"];
    let mut causes = workload::selector(spec, "daemonset");
    causes.extend(workload::template(&spec["template"], &["Always"]));
    let pod = &spec["template"]["spec"];
    if !pod["activeDeadlineSeconds"].is_null() {
        causes.push(cause::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in DaemonSet is not Supported",
        ));
    }
    for key in ["minReadySeconds", "revisionHistoryLimit"] {
        causes.extend(not_negative(spec, key, &format!("spec.{key}")));
    }
    causes.extend(strategy(&spec["updateStrategy"]));
    causes
}

/// Checks a change of the main resource.
pub fn daemon_set_update(new: &Value, old: &Value) -> Vec<Cause> {
    workload::update(new, old, daemon_set_create)
}

/// Checks a change of the status.
pub fn daemon_set_status_update(new: &Value, old: &Value) -> Vec<Cause> {
    let status = &new["status"];
    let mut causes: Vec<Cause> = COUNTERS
        .iter()
        .filter_map(|counter| not_negative(status, counter, &format!("status.{counter}")))
        .collect();
    let collisions = |set: &Value| set["status"]["collisionCount"].as_i64();
    let (now, was) = (collisions(new), collisions(old));
    if was.is_some_and(|was| now.is_none_or(|now| now < was)) {
        causes.push(cause::invalid(
            "status.collisionCount",
            &json!(now.unwrap_or_default()),
            "cannot be decremented",
        ));
    }
    causes
}

fn strategy(strategy: &Value) -> Vec<Cause> {
    match text(strategy, "type") {
        "OnDelete" => return Vec::new(),
        "RollingUpdate" => {}
        other => {
            return vec![cause::unsupported(
                "spec.updateStrategy",
                other,
                &["RollingUpdate", "OnDelete"],
            )];
        }
    }
    let rolling = &strategy["rollingUpdate"];
    let path = "spec.updateStrategy.rollingUpdate";
    if !rolling.is_object() {
        return vec![cause::required(path, "")];
    }
    let mut causes = Vec::new();
    let mut amounts = [0, 0];
    for (index, key) in ["maxUnavailable", "maxSurge"].into_iter().enumerate() {
        match workload::amount(&rolling[key]) {
            Ok(amount) => amounts[index] = amount,
            Err(why) => causes.push(cause::invalid(&format!("{path}.{key}"), &rolling[key], why)),
        }
    }
    if !causes.is_empty() {
        return causes;
    }
    match amounts {
        [0, 0] => causes.push(cause::required(
            &format!("{path}.maxUnavailable"),
            "cannot be 0 when maxSurge is 0",
        )),
        [unavailable, surge] if unavailable != 0 && surge != 0 => causes.push(cause::invalid(
            &format!("{path}.maxSurge"),
            &rolling["maxSurge"],
            "may not be set when maxUnavailable is non-zero",
        )),
        _ => {}
    }
    causes
}

#[cfg(test)]
mod tests;
