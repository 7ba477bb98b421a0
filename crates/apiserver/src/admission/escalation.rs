//! Nobody hands out rights that they don't hold: roles may only be written with rules, and bindings to
//! roles, that the writer has already, or with the verbs `escalate` and `bind` (contract §16).
use super::{Attempt, Operation};
use crate::authz::{self, Attributes, Decision, RBAC_GROUP, Rule, rules_of};
use crate::status::ApiError;
use futures::future::BoxFuture;

pub fn admit<'b>(attempt: &'b mut Attempt<'_>) -> BoxFuture<'b, Result<(), ApiError>> {
    Box::pin(judge(attempt))
}

async fn judge(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    if attempt.resource.group != RBAC_GROUP || attempt.operation == Operation::Delete {
        return Ok(());
    }
    let Some(object) = attempt.object.as_deref() else {
        return Ok(());
    };
    let is_role = matches!(attempt.resource.kind, "Role" | "ClusterRole");
    let handed_out = if is_role {
        ["rules", "aggregationRule"]
    } else {
        ["roleRef", "subjects"]
    };
    if attempt
        .old
        .is_some_and(|old| handed_out.iter().all(|member| old[*member] == object[*member]))
    {
        return Ok(());
    }
    let bound = |member: &str| object["roleRef"][member].as_str().unwrap_or_default();
    let (verb, plural, name) = match (is_role, bound("kind")) {
        (true, _) => ("escalate", attempt.resource.plural, attempt.name),
        (false, "ClusterRole") => ("bind", "clusterroles", bound("name")),
        (false, _) => ("bind", "roles", bound("name")),
    };
    let asked = Attributes {
        is_resource: true,
        verb: verb.to_owned(),
        group: RBAC_GROUP.to_owned(),
        resource: plural.to_owned(),
        namespace: attempt.namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    let decision = authz::decide(attempt.server, attempt.user, &asked).await;
    if matches!(decision, Decision::Allow(_)) {
        return Ok(());
    }
    let wanted = if !is_role {
        let grants = attempt.server.rbac();
        let rules = grants.rules_of_role(bound("kind"), name, attempt.namespace);
        rules.map(|rules| rules.to_vec()).unwrap_or_default()
    } else if object["aggregationRule"].is_null() {
        rules_of(object)
    } else {
        // Whoever writes an aggregation hands out whatever it selects, now and later.
        vec![Rule::all_resources(), Rule::all_paths()]
    };
    let owned = authz::rules_for(attempt.server, attempt.user, attempt.namespace);
    let missing = missing(&wanted, &owned);
    if missing.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = attempt
        .user
        .groups
        .iter()
        .map(|group| format!("{group:?}"))
        .collect();
    let missing: Vec<String> = missing.iter().map(Rule::to_string).collect();
    Err(attempt.forbidden(&format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        attempt.user.name,
        groups.join(" "),
        missing.join("\n")
    )))
}

/// What of the wanted rules is not covered by the owned ones; verbs on the same things together.
fn missing(wanted: &[Rule], owned: &[Rule]) -> Vec<Rule> {
    let mut missing: Vec<Rule> = Vec::new();
    for part in wanted.iter().flat_map(Rule::parts) {
        if owned.iter().any(|rule| rule.covers(&part)) {
            continue;
        }
        let same_things = |rule: &&mut Rule| {
            Rule {
                verbs: part.verbs.clone(),
                ..(**rule).clone()
            } == part
        };
        match missing.iter_mut().find(same_things) {
            Some(rule) => rule.verbs.extend(part.verbs),
            None => missing.push(part),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_what_is_not_held_is_named() {
        let rules = |value: Value| rules_of(&json!({"rules": value}));
        let wanted =
            rules(json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "nodes"]}]));
        let owned = rules(json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}]));
        let missing = missing(&wanted, &owned);
        assert_eq!(missing.len(), 1);
        assert_eq!(
            missing[0].to_string(),
            r#"{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}"#
        );
    }
}
