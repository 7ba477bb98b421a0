//! Whether what happens to a node may help a pod that fits nowhere. Pure.
//!
//! This is about the pod's own going there: who minds where others are, or has claims, is told of that besides.

use orlop_api::placement::{self, NodeFacts, NodeUsage, Reason};
use orlop_api::quantity::{Amount, amount};

use crate::known::view::{NodeView, Pending};
use crate::profile::rules::Rules;

/// Whether the pod could be on the node if nobody else were: if not, no going of others helps it there.
pub fn could_be_on(node: &NodeView, pod: &Pending, rules: &Rules) -> bool {
    let is_ignored =
        |reason: &Reason| matches!(reason, Reason::Insufficient { resource, .. } if rules.ignores(resource));
    rules.refuses(&node.node).is_none()
        && placement::node_filters(&pod.spec, &node.node, &NodeUsage::default())
            .iter()
            .all(is_ignored)
}

/// Whether a node that came, or isn't what it was any more, may be one for the pod: because it could not be on the old one,
/// or because there is more now of what it asks for.
pub fn may_help(old: Option<&NodeView>, new: &NodeView, pod: &Pending, rules: &Rules) -> bool {
    // Room is made there: that may be in vain now.
    if pod.nominated.as_deref() == Some(&*new.node.name) {
        return true;
    }
    could_be_on(new, pod, rules)
        && old.is_none_or(|old| !could_be_on(old, pod, rules) || has_more(old, new, pod))
}

fn has_more(old: &NodeView, new: &NodeView, pod: &Pending) -> bool {
    let there = |node: &NodeView, resource: &str| {
        let all = node.node.allocatable();
        all.and_then(|all| all.get(resource)).map_or(Amount::ZERO, amount)
    };
    let mut asked = pod.takes.requested.keys().map(String::as_str).chain(["pods"]);
    asked.any(|resource| there(new, resource) > there(old, resource))
}

/// Whether a node that came, or isn't what it was any more, may count otherwise for pods that go elsewhere.
pub fn counts_otherwise(old: Option<&NodeView>, new: &NodeView) -> bool {
    old.is_none_or(|old| old.node.labels != new.node.labels || old.node.taints != new.node.taints)
}

#[cfg(test)]
mod tests {
    use orlop_client::informer::Projection;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{pending, with_cpu};

    fn node(cpu: &str, labels: Value, taints: Value) -> NodeView {
        let node = json!({"metadata": {"name": "n", "labels": labels}, "spec": {"taints": taints},
            "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "10"}}});
        NodeView::project(serde_json::from_value(node).unwrap())
    }

    fn plain(cpu: &str) -> NodeView {
        node(cpu, json!({}), json!([]))
    }

    fn helps(old: Option<NodeView>, new: &NodeView, pod: &Pending) -> bool {
        may_help(old.as_ref(), new, pod, &Rules::default())
    }

    #[test]
    fn a_node_helps_only_those_who_could_be_there_if_it_were_empty() {
        let taint = |key: &str| json!([{"key": key, "effect": "NoSchedule"}]);
        let group = |group: &str| json!({"group": group});
        let mut tolerant = with_cpu("4");
        tolerant["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
        let mut choosy = with_cpu("4");
        choosy["nodeSelector"] = group("b");
        let pods = [with_cpu("4"), with_cpu("5"), tolerant, choosy].map(pending);
        let whom = |new: NodeView| pods.each_ref().map(|pod| helps(None, &new, pod));
        assert_eq!(whom(plain("4")), [true, false, true, false]);
        assert_eq!(
            whom(node("4", json!({}), taint("k"))),
            [false, false, true, false]
        );
        assert_eq!(
            whom(node("8", group("b"), taint("other"))),
            [false, false, false, false]
        );
        assert_eq!(whom(node("8", group("b"), json!([]))), [true, true, true, true]);
    }

    #[test]
    fn a_node_that_changes_helps_those_who_could_not_be_there_or_find_more_of_what_they_ask_for() {
        let pod = pending(with_cpu("4"));
        assert!(helps(Some(plain("2")), &plain("4"), &pod));
        assert!(helps(Some(plain("4")), &plain("5"), &pod));
        assert!(!helps(Some(plain("5")), &plain("4"), &pod), "there is less of it");
        assert!(!helps(
            Some(plain("4")),
            &node("4", json!({"a": "b"}), json!([])),
            &pod
        ));
        let mut waiting = pending(with_cpu("4"));
        waiting.nominated = Some("n".into());
        assert!(
            helps(Some(plain("5")), &plain("1"), &waiting),
            "room is made there"
        );
    }

    #[test]
    fn what_a_profile_does_not_look_at_keeps_nobody_from_being_helped() {
        let gpu = json!({"containers": [{"name": "c", "resources": {"limits": {"example.com/gpu": "1"},
            "requests": {"example.com/gpu": "1"}}}]});
        let pod = pending(gpu);
        assert!(!could_be_on(&plain("4"), &pod, &Rules::default()));
        let deaf = Rules {
            ignored: vec!["example.com/gpu".to_owned()],
            ..Rules::default()
        };
        assert!(could_be_on(&plain("4"), &pod, &deaf));
    }

    #[test]
    fn labels_and_taints_make_a_node_count_otherwise_and_room_does_not() {
        let old = plain("4");
        assert!(counts_otherwise(None, &old));
        assert!(!counts_otherwise(Some(&old), &plain("8")));
        assert!(counts_otherwise(
            Some(&old),
            &node("4", json!({"zone": "a"}), json!([]))
        ));
    }
}
