//! DaemonSets (contract daemonsets §2.5).
use super::{not_negative, text, workload};
use crate::status::{Cause, cause};
use serde_json::Value;

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
    let mut causes = daemon_set_create(new);
    causes.extend(workload::same_selector(new, old));
    causes
}

/// Checks a change of the status.
pub fn daemon_set_status_update(new: &Value, old: &Value) -> Vec<Cause> {
    let status = &new["status"];
    let mut causes: Vec<Cause> = COUNTERS
        .iter()
        .filter_map(|counter| not_negative(status, counter, &format!("status.{counter}")))
        .collect();
    let collisions = |set: &Value| set["status"]["collisionCount"].as_i64().unwrap_or_default();
    if collisions(new) < collisions(old) {
        causes.push(cause::invalid(
            "status.collisionCount",
            &status["collisionCount"],
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
mod tests {
    use super::*;
    use serde_json::json;

    fn set(change: impl Fn(&mut Value)) -> Value {
        let mut set = json!({"spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                    "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always"}]}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        }});
        change(&mut set);
        set
    }

    /// A02 to A07
    #[test]
    fn daemonset_rules() {
        let fields = |change: &dyn Fn(&mut Value)| -> Vec<String> {
            daemon_set_create(&set(change))
                .into_iter()
                .map(|c| c.field)
                .collect()
        };
        let nothing: [String; 0] = [];
        assert_eq!(fields(&|_| {}), nothing);
        assert_eq!(
            fields(&|s| s["spec"]["template"]["metadata"]["labels"] = json!({"a": "c"})),
            ["spec.template.metadata.labels"]
        );
        assert_eq!(fields(&|s| s["spec"]["selector"] = json!({}))[0], "spec.selector");
        assert_eq!(
            fields(&|s| s["spec"]["template"]["spec"]["restartPolicy"] = json!("OnFailure")),
            ["spec.template.spec.restartPolicy"]
        );
        assert_eq!(
            fields(&|s| s["spec"]["template"]["spec"]["activeDeadlineSeconds"] = json!(5)),
            ["spec.template.spec.activeDeadlineSeconds"]
        );
        let rolling = |unavailable: Value, surge: Value| {
            fields(&|s| {
                s["spec"]["updateStrategy"]["rollingUpdate"] =
                    json!({"maxUnavailable": unavailable, "maxSurge": surge});
            })
        };
        let path = |key: &str| [format!("spec.updateStrategy.rollingUpdate.{key}")];
        assert_eq!(rolling(json!(1), json!(1)), path("maxSurge"));
        assert_eq!(rolling(json!(0), json!(1)), nothing);
        assert_eq!(rolling(json!("0%"), json!(0)), path("maxUnavailable"));
        assert_eq!(rolling(json!("101%"), json!(0)), path("maxUnavailable"));
        assert_eq!(
            fields(&|s| s["spec"]["updateStrategy"]["type"] = json!("Foo")),
            ["spec.updateStrategy"]
        );
        let moved = set(|s| s["spec"]["selector"]["matchLabels"]["a"] = json!("c"));
        let causes = daemon_set_update(&moved, &set(|_| {}));
        assert!(
            causes
                .iter()
                .any(|c| c.field == "spec.selector" && c.message.ends_with("field is immutable"))
        );
    }

    /// A11
    #[test]
    fn status_counters_do_not_shrink_below_sense() {
        let status = |value: Value| json!({"status": value});
        let old = status(json!({"collisionCount": 2}));
        assert_eq!(
            daemon_set_status_update(&status(json!({"collisionCount": 1})), &old).len(),
            1
        );
        assert_eq!(
            daemon_set_status_update(&status(json!({"collisionCount": 2, "numberReady": -1})), &old).len(),
            1
        );
    }
}
