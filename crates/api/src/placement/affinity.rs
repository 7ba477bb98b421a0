//! nodeSelector and required node affinity.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

use super::NodeFacts;
use crate::names;

/// Both nodeSelector and required node affinity hold.
pub fn matches_required(spec: &PodSpec, node: &dyn NodeFacts) -> bool {
    matches_selector(spec, node) && matches_affinity(spec, node)
}

fn matches_selector(spec: &PodSpec, node: &dyn NodeFacts) -> bool {
    spec.node_selector
        .iter()
        .flatten()
        .all(|(k, v)| node.label(k) == Some(v.as_str()))
}

fn matches_affinity(spec: &PodSpec, node: &dyn NodeFacts) -> bool {
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref());
    match required {
        None => true,
        Some(selector) => selector.node_selector_terms.iter().any(|t| term_matches(t, node)),
    }
}

/// One term: everything in it holds. An empty term, or one that cannot be understood, matches nothing.
pub fn term_matches(term: &NodeSelectorTerm, node: &dyn NodeFacts) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|r| requirement_matches(r, node.label(&r.key)).unwrap_or(false))
        && fields.iter().all(|r| field_matches(r, node).unwrap_or(false))
}

/// `None` = the requirement is malformed.
fn requirement_matches(requirement: &NodeSelectorRequirement, have: Option<&str>) -> Option<bool> {
    let values = requirement.values.as_deref().unwrap_or(&[]);
    // What no label can be makes the whole term one that cannot be understood.
    let is_label =
        names::is_qualified_name(&requirement.key) && values.iter().all(|value| names::is_label_value(value));
    if !is_label {
        return None;
    }
    let listed = || have.is_some_and(|h| values.iter().any(|v| v == h));
    match requirement.operator.as_str() {
        "In" if !values.is_empty() => Some(listed()),
        "NotIn" if !values.is_empty() => Some(!listed()),
        "Exists" if values.is_empty() => Some(have.is_some()),
        "DoesNotExist" if values.is_empty() => Some(have.is_none()),
        operator @ ("Gt" | "Lt") => match values {
            [want] => {
                let want = want.parse::<i64>().ok()?;
                // A label that is no number matches neither.
                let Some(have) = have.and_then(|h| h.parse::<i64>().ok()) else {
                    return Some(false);
                };
                Some(if operator == "Gt" {
                    have > want
                } else {
                    have < want
                })
            }
            _ => None,
        },
        _ => None,
    }
}

fn field_matches(requirement: &NodeSelectorRequirement, node: &dyn NodeFacts) -> Option<bool> {
    let [want] = requirement.values.as_deref().unwrap_or(&[]) else {
        return None;
    };
    // Other fields are like those that are not there.
    let have = match requirement.key.as_str() {
        "metadata.name" => node.name(),
        _ => "",
    };
    let equal = have == want;
    match requirement.operator.as_str() {
        "In" => Some(equal),
        "NotIn" => Some(!equal),
        _ => None,
    }
}

/// The node names a pod is confined to by `matchFields` in every term (a DaemonSet pod has exactly one);
/// `None` = not confined.
pub fn confined_to(spec: &PodSpec) -> Option<Vec<&str>> {
    let terms = &spec
        .affinity
        .as_ref()?
        .node_affinity
        .as_ref()?
        .required_during_scheduling_ignored_during_execution
        .as_ref()?
        .node_selector_terms;
    let mut names: Vec<&str> = Vec::new();
    for term in terms {
        let mut of_term: Option<Vec<&str>> = None;
        for r in term
            .match_fields
            .iter()
            .flatten()
            .filter(|r| r.key == "metadata.name" && r.operator == "In")
        {
            let listed: Vec<&str> = r.values.iter().flatten().map(String::as_str).collect();
            of_term = Some(match of_term {
                None => listed,
                Some(before) => before.into_iter().filter(|n| listed.contains(n)).collect(),
            });
        }
        for name in of_term? {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    (!terms.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;
    use serde_json::json;

    #[test]
    fn terms() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"a": "1", "zone": "x"}}}))
                .unwrap();
        for (value, want) in [
            (json!({}), false),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "DoesNotExist"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["0"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Lt", "values": ["1"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "zone", "operator": "Gt", "values": ["0"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["x"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Bogus"}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x."]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["-5"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "-a", "operator": "DoesNotExist"}]}),
                false,
            ),
            (
                json!({"matchFields": [{"key": "metadata.uid", "operator": "NotIn", "values": ["n1"]}]}),
                true,
            ),
            (
                json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}),
                true,
            ),
            (
                json!({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]}),
                false,
            ),
            (
                json!({"matchFields": [{"key": "metadata.uid", "operator": "In", "values": ["n1"]}]}),
                false,
            ),
        ] {
            let term: NodeSelectorTerm = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(term_matches(&term, &node), want, "{value}");
        }
    }

    #[test]
    fn confinement_is_union_over_terms() {
        let spec = |terms: serde_json::Value| -> PodSpec {
            serde_json::from_value(json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}))
            .unwrap()
        };
        let field =
            |n: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [n]}]});
        assert_eq!(
            confined_to(&spec(json!([field("a"), field("b")]))),
            Some(vec!["a", "b"])
        );
        assert_eq!(
            confined_to(&spec(json!([field("a"), {"matchExpressions": []}]))),
            None
        );
        assert_eq!(confined_to(&PodSpec::default()), None);
    }
}
