//! When a container is started again: its own policy, and rules by exit code.
use super::FieldError;
use super::container::one_of;
use k8s_openapi::api::core::v1::{Container, ContainerRestartRule};

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

pub(super) fn check(container: &Container, path: &str, errors: &mut Vec<FieldError>) {
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    let field = format!("{path}.restartPolicy");
    match container.restart_policy.as_deref() {
        None if rules.is_empty() => {}
        None => {
            let hint = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(field, hint));
        }
        policy => one_of(errors, &field, policy, &["Always", "Never", "OnFailure"]),
    }
    let field = format!("{path}.restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(field.clone(), rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        check_rule(rule, &format!("{field}[{index}]"), errors);
    }
}

fn check_rule(rule: &ContainerRestartRule, path: &str, errors: &mut Vec<FieldError>) {
    let actions = ["Restart", "RestartAllContainers"];
    one_of(errors, &format!("{path}.action"), Some(&rule.action), &actions);
    let Some(codes) = &rule.exit_codes else {
        errors.push(FieldError::required(
            format!("{path}.exitCodes"),
            "must be specified",
        ));
        return;
    };
    let path = format!("{path}.exitCodes");
    one_of(
        errors,
        &format!("{path}.operator"),
        Some(&codes.operator),
        &["In", "NotIn"],
    );
    let count = codes.values.as_ref().map_or(0, Vec::len);
    if count > EXIT_CODES_MAX {
        errors.push(FieldError::too_many(
            format!("{path}.values"),
            count,
            EXIT_CODES_MAX,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(container: serde_json::Value) -> Vec<String> {
        let mut errors = Vec::new();
        let container: Container = serde_json::from_value(container).unwrap();
        check(&container, "c", &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_need_a_policy_an_action_and_exit_codes() {
        let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}});
        let with = |policy: Option<&str>, rule: &serde_json::Value| {
            errors(json!({"name": "c", "restartPolicy": policy, "restartPolicyRules": [rule]}))
        };
        assert_eq!(with(Some("Never"), &rule), [""; 0]);
        assert_eq!(
            with(None, &rule),
            ["c.restartPolicy: Required value: must specify restartPolicy when restart rules are used"]
        );
        assert_eq!(
            with(Some("Sometimes"), &rule),
            [
                "c.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\""
            ]
        );
        assert_eq!(
            with(Some("Never"), &json!({"action": "Restart"})),
            ["c.restartPolicyRules[0].exitCodes: Required value: must be specified"]
        );
        let odd = json!({"action": "Stop", "exitCodes": {"operator": "Is", "values": [1]}});
        assert_eq!(
            with(Some("Never"), &odd),
            [
                "c.restartPolicyRules[0].action: Unsupported value: \"Stop\": supported values: \"Restart\", \"RestartAllContainers\"",
                "c.restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\"",
            ]
        );
        assert_eq!(errors(json!({"name": "c"})), [""; 0]);
    }
}
