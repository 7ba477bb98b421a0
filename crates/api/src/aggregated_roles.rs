//! ClusterRoles with an `aggregationRule` have the rules of all that its selectors select.
use crate::selector::LabelSelector;
use serde_json::Value;
use std::collections::BTreeMap;

/// Name, version and rules of the roles whose rules are not what they should be; `roles` are all there are, by name.
pub fn changes(roles: &[Value]) -> Vec<(&str, &Value, Vec<Value>)> {
    let none = Vec::new();
    let mut changes = Vec::new();
    for role in roles {
        let Some(selectors) = role["aggregationRule"]["clusterRoleSelectors"].as_array() else {
            continue;
        };
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        let mut rules: Vec<Value> = Vec::new();
        for selector in selectors {
            let selector = serde_json::from_value(selector.clone()).ok();
            let Some(selector) = selector.and_then(|selector| LabelSelector::from_meta(&selector).ok())
            else {
                continue;
            };
            let selected = |other: &&Value| {
                let labels = other["metadata"]["labels"].clone();
                let labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap_or_default();
                other["metadata"]["name"] != name && selector.matches(&labels)
            };
            for other in roles.iter().filter(selected) {
                for rule in other["rules"].as_array().unwrap_or(&none) {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
        if role["rules"].as_array().unwrap_or(&none) != &rules {
            changes.push((name, &role["metadata"]["resourceVersion"], rules));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(name: &str, label: &str, verb: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {label: "true"}, "resourceVersion": "1"},
            "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]})
    }

    #[test]
    fn an_aggregated_role_has_the_rules_of_the_selected_ones_once_each() {
        let mut whole = json!({"metadata": {"name": "whole", "resourceVersion": "7"}, "rules": null,
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "true"}}, {"matchLabels": {"b": "true"}}]}});
        let parts = [
            role("one", "a", "get"),
            role("two", "b", "list"),
            role("three", "b", "get"),
            role("other", "c", "delete"),
        ];
        let with = |whole: &Value| [vec![whole.clone()], parts.to_vec()].concat();
        let roles = with(&whole);
        let found = changes(&roles);
        assert_eq!((found.len(), found[0].0, found[0].2.len()), (1, "whole", 2));
        whole["rules"] = json!(found[0].2);
        assert!(changes(&with(&whole)).is_empty());
    }
}
