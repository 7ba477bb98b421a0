//! What a Job may say of how its pods and its indexes fail, and of when enough of them have succeeded.
use super::indexes::count_indexes;
use crate::resources::validation::not_negative;
use crate::status::{Cause, cause};
use orlop_api::names::check_qualified_name;
use serde_json::{Value, json};

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
/// Rules of one policy.
const RULES_MAX: usize = 20;
/// Exit codes of one rule.
const CODES_MAX: usize = 255;
/// Conditions of one rule.
const CONDITIONS_MAX: usize = 20;
/// Bytes of a list of indexes.
const INDEXES_BYTES_MAX: usize = 64 * 1024;

/// What is wrong with the policies of a Job's `spec`.
pub fn validate(spec: &Value) -> Vec<Cause> {
    let path = "spec.podFailurePolicy.rules";
    let rules = list(&spec["podFailurePolicy"]["rules"]);
    let mut causes: Vec<Cause> = cause::too_many(path, rules.len(), RULES_MAX)
        .into_iter()
        .collect();
    for (number, rule) in rules.iter().enumerate() {
        causes.extend(failure_rule(spec, rule, &format!("{path}[{number}]")));
    }
    if spec["completionMode"] == "Indexed" && spec["successPolicy"].is_object() {
        causes.extend(success_policy(spec));
    }
    causes
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A word that has to be one of `known`, which are in their order.
fn one_of(field: &str, word: &str, known: &[&str]) -> Option<Cause> {
    if word.is_empty() {
        let known: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        let hint = format!("valid values: [{}]", known.join(" "));
        return Some(cause::required(field, &hint));
    }
    (!known.contains(&word)).then(|| cause::unsupported(field, word, known))
}

fn failure_rule(spec: &Value, rule: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (field, action) = (format!("{path}.action"), text(&rule["action"]));
    causes.extend(one_of(&field, action, &ACTIONS));
    if action == "FailIndex" && spec["backoffLimitPerIndex"].is_null() {
        let hint = "requires the backoffLimitPerIndex to be set";
        causes.push(cause::invalid(&field, &rule["action"], hint));
    }
    let (codes, conditions) = (&rule["onExitCodes"], list(&rule["onPodConditions"]));
    if codes.is_object() {
        causes.extend(exit_codes(spec, codes, &format!("{path}.onExitCodes")));
    }
    causes.extend(pod_conditions(conditions, &format!("{path}.onPodConditions")));
    let hint = match (codes.is_object(), conditions.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return causes,
    };
    let message = format!("Invalid value: {hint}");
    causes.push(Cause::new("FieldValueInvalid", path, message));
    causes
}

fn pod_conditions(conditions: &[Value], path: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = cause::too_many(path, conditions.len(), CONDITIONS_MAX)
        .into_iter()
        .collect();
    for (number, condition) in conditions.iter().enumerate() {
        let kind = text(&condition["type"]);
        for problem in check_qualified_name(kind) {
            let field = format!("{path}[{number}].type");
            causes.push(cause::invalid(&field, &json!(kind), &problem));
        }
        let field = format!("{path}[{number}].status");
        causes.extend(one_of(&field, text(&condition["status"]), &STATUSES));
    }
    causes
}

fn exit_codes(spec: &Value, codes: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let operator = text(&codes["operator"]);
    causes.extend(one_of(&format!("{path}.operator"), operator, &OPERATORS));
    let (pod, name) = (&spec["template"]["spec"], &codes["containerName"]);
    let mut containers = list(&pod["containers"])
        .iter()
        .chain(list(&pod["initContainers"]));
    if !name.is_null() && containers.all(|container| container["name"] != *name) {
        let hint = "must be one of the container or initContainer names in the pod template";
        causes.push(cause::invalid(&format!("{path}.containerName"), name, hint));
    }
    let (field, values) = (format!("{path}.values"), list(&codes["values"]));
    if values.is_empty() {
        let hint = "at least one value is required";
        causes.push(cause::invalid(&field, &codes["values"], hint));
    }
    causes.extend(cause::too_many(&field, values.len(), CODES_MAX));
    for (number, value) in values.iter().enumerate() {
        let field = format!("{field}[{number}]");
        if operator == "In" && *value == 0 {
            causes.push(cause::invalid(&field, value, "must not be 0 for the In operator"));
        }
        if values[..number].contains(value) {
            causes.push(cause::duplicate(&field, value));
        }
    }
    if !values.is_sorted_by_key(Value::as_i64) {
        causes.push(cause::invalid(&field, &codes["values"], "must be ordered"));
    }
    causes
}

fn success_policy(spec: &Value) -> Vec<Cause> {
    let path = "spec.successPolicy.rules";
    let rules = list(&spec["successPolicy"]["rules"]);
    let mut causes: Vec<Cause> = cause::too_many(path, rules.len(), RULES_MAX)
        .into_iter()
        .collect();
    if rules.is_empty() {
        let hint = "at least one rules must be specified when the successPolicy is specified";
        causes.push(cause::required(path, hint));
    }
    let completions = spec["completions"].as_i64().unwrap_or_default();
    for (number, rule) in rules.iter().enumerate() {
        causes.extend(success_rule(rule, completions, &format!("{path}[{number}]")));
    }
    causes
}

fn success_rule(rule: &Value, completions: i64, path: &str) -> Vec<Cause> {
    let (indexes, count) = (&rule["succeededIndexes"], &rule["succeededCount"]);
    if indexes.is_null() && count.is_null() {
        let hint = "at least one of succeededCount or succeededIndexes must be specified";
        return vec![cause::required(path, hint)];
    }
    let mut causes = Vec::new();
    let field = format!("{path}.succeededIndexes");
    if text(indexes).len() > INDEXES_BYTES_MAX {
        causes.push(cause::too_long(&field, INDEXES_BYTES_MAX));
    }
    let listed = count_indexes(text(indexes), completions);
    if let Err(why) = &listed {
        let hint = format!("error parsing succeededIndexes: {why}");
        causes.push(cause::invalid(&field, indexes, &hint));
    }
    let (field, wanted) = (
        format!("{path}.succeededCount"),
        count.as_i64().unwrap_or_default(),
    );
    causes.extend(not_negative(rule, "succeededCount", &field));
    let listed = listed.unwrap_or_default();
    for (most, what, is_bound) in [
        (completions, "specified completions", true),
        (
            listed,
            "indexes in the specified succeededIndexes field",
            !indexes.is_null(),
        ),
    ] {
        if is_bound && wanted > most {
            let hint = format!("must be less than or equal to {most} (the number of {what})");
            causes.push(cause::invalid(&field, count, &hint));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(spec: &Value) -> Vec<String> {
        let mut whole = json!({"template": {"spec": {"containers": [{"name": "c"}]}}});
        orlop_api::patch::merge(&mut whole, spec);
        cause::shown(&validate(&whole))
    }

    fn of_rule(rule: &Value) -> Vec<String> {
        let path = "spec.podFailurePolicy.rules[0]";
        let causes = shown(&json!({"podFailurePolicy": {"rules": [rule]}}));
        causes
            .iter()
            .map(|cause| cause.strip_prefix(path).unwrap().to_owned())
            .collect()
    }

    #[test]
    fn rules_on_failures_are_looked_at_one_by_one() {
        let codes = |operator: &str, values: Value| {
            of_rule(&json!({"action": "FailJob", "onExitCodes": {"operator": operator, "values": values}}))
        };
        assert!(codes("In", json!([-1_073_741_510, 1, 137])).is_empty());
        assert!(codes("NotIn", json!([0])).is_empty());
        assert_eq!(
            codes("Is", json!([])),
            [
                ".onExitCodes.operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\"",
                ".onExitCodes.values: Invalid value: []: at least one value is required"
            ]
        );
        assert_eq!(
            codes("In", json!([7, 7, 0])),
            [
                ".onExitCodes.values[1]: Duplicate value: 7",
                ".onExitCodes.values[2]: Invalid value: 0: must not be 0 for the In operator",
                ".onExitCodes.values: Invalid value: [7,7,0]: must be ordered"
            ]
        );
        assert_eq!(
            of_rule(&json!({"onPodConditions": [{"type": "Disrupted", "status": "Yes"}]})),
            [
                ".action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
                ".onPodConditions[0].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\""
            ]
        );
        assert_eq!(
            of_rule(
                &json!({"action": "FailIndex", "onPodConditions": [{"type": "A", "status": "True"}],
                "onExitCodes": {"containerName": "d", "operator": "In", "values": [1]}})
            ),
            [
                ".action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
                ".onExitCodes.containerName: Invalid value: \"d\": must be one of the container or initContainer names in the pod template",
                ": Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"
            ]
        );
        assert_eq!(
            of_rule(&json!({"action": "Ignore"})),
            [": Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]
        );
    }

    #[test]
    fn rules_on_success_ask_for_no_more_than_there_is() {
        let of = |rules: Value| {
            shown(&json!({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": rules}}))
        };
        let path = "spec.successPolicy.rules";
        assert!(
            of(json!([{"succeededIndexes": "0,2-4", "succeededCount": 4}, {"succeededCount": 1}])).is_empty()
        );
        assert_eq!(
            of(json!([])),
            [format!(
                "{path}: Required value: at least one rules must be specified when the successPolicy is specified"
            )]
        );
        assert_eq!(
            of(json!([{}])),
            [format!(
                "{path}[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"
            )]
        );
        assert_eq!(
            of(json!([{"succeededIndexes": "0,1", "succeededCount": 3}, {"succeededCount": 6}])),
            [
                format!(
                    "{path}[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)"
                ),
                format!(
                    "{path}[1].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)"
                )
            ]
        );
        for (indexes, why) in [
            ("5", "too large index: \"5\""),
            ("a", "cannot convert string to integer for index: \"a\""),
            ("2,1", "non-increasing order, previous: 2, current: 1"),
            ("3-3", "non-increasing order, previous: 3, current: 3"),
        ] {
            assert_eq!(
                of(json!([{"succeededIndexes": indexes}])),
                [format!(
                    "{path}[0].succeededIndexes: Invalid value: \"{indexes}\": error parsing succeededIndexes: {why}"
                )]
            );
        }
    }
}
