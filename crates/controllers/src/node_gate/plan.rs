//! Whether a node's gate is closed or opened. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Taint;
use orlop_api::annotations::NODE_GATE_TAINT;
use orlop_api::taints::{self, NO_SCHEDULE};

/// For so long a node is new: a pod that was Ready there once, or a node that did without, is no reason to close.
const NEW_FOR: SignedDuration = SignedDuration::from_mins(5);

/// A DaemonSet that gates a node on which it wants a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gating {
    /// `namespace.name`.
    pub set: String,
    /// Its pod there is Ready.
    pub ready: bool,
}

/// What is known of a node.
#[derive(Debug, Clone)]
pub struct Gate<'a> {
    /// spec.taints.
    pub taints: &'a [Taint],
    /// The sets for which it was opened, from its annotation.
    pub opened: BTreeSet<String>,
    /// metadata.creationTimestamp.
    pub created: Option<Timestamp>,
    /// Those that gate it.
    pub gating: Vec<Gating>,
}

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// spec.taints, if they change.
    pub taints: Option<Vec<Taint>>,
    /// The sets for which it is open, if that changes.
    pub opened: Option<BTreeSet<String>>,
}

/// What has to change at `now`.
pub fn decide(gate: &Gate<'_>, now: Timestamp) -> Option<Change> {
    let is_ours = |taint: &&Taint| taint.key == NODE_GATE_TAINT && taint.effect == NO_SCHEDULE;
    let closed = gate.taints.iter().any(|taint| is_ours(&taint));
    let new = gate
        .created
        .is_some_and(|created| now.duration_since(created) < NEW_FOR);
    let waits = gate
        .gating
        .iter()
        .any(|set| !set.ready && !gate.opened.contains(&set.set));
    let opened = || {
        let ready = gate
            .gating
            .iter()
            .filter(|set| set.ready)
            .map(|set| set.set.clone());
        let all: BTreeSet<String> = gate.opened.iter().cloned().chain(ready).collect();
        ((closed || new) && all != gate.opened).then_some(all)
    };
    let taints = match (waits, closed) {
        (true, false) if new => {
            let mut taints = gate.taints.to_vec();
            taints.push(taints::taint(NODE_GATE_TAINT, NO_SCHEDULE));
            Some(taints)
        }
        (false, true) => {
            let others = gate.taints.iter().filter(|taint| !is_ours(taint));
            Some(others.cloned().collect())
        }
        _ => None,
    };
    let change = Change {
        taints,
        opened: opened(),
    };
    (change.taints.is_some() || change.opened.is_some()).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Taints and opened sets after the decision, if there was one.
    fn after(
        taints: &[Taint],
        opened: &[&str],
        age: i64,
        gating: &[(&str, bool)],
    ) -> Option<(Option<usize>, Option<BTreeSet<String>>)> {
        let now = Timestamp::from_second(10_000).unwrap();
        let gate = Gate {
            taints,
            opened: names(opened),
            created: Some(now - SignedDuration::from_secs(age)),
            gating: gating
                .iter()
                .map(|(set, ready)| Gating {
                    set: (*set).to_owned(),
                    ready: *ready,
                })
                .collect(),
        };
        let change = decide(&gate, now)?;
        let ours = |taints: &Vec<Taint>| taints.iter().filter(|taint| taint.key == NODE_GATE_TAINT).count();
        Some((change.taints.as_ref().map(ours), change.opened))
    }

    #[test]
    fn a_new_node_is_closed_until_every_gating_pod_is_ready_and_never_again() {
        let other = taints::taint("other", NO_SCHEDULE);
        let closed = [other.clone(), taints::taint(NODE_GATE_TAINT, NO_SCHEDULE)];
        let open = [other];
        assert_eq!(
            after(&open, &[], 1, &[("ns.cni", false)]),
            Some((Some(1), None)),
            "it closes"
        );
        assert_eq!(after(&closed, &[], 1, &[("ns.cni", false)]), None, "it waits");
        assert_eq!(
            after(&closed, &[], 1, &[("ns.cni", true), ("ns.csi", false)]),
            Some((None, Some(names(&["ns.cni"])))),
            "one is ready, the other isn't"
        );
        assert_eq!(
            after(&closed, &["ns.cni"], 900, &[("ns.cni", false), ("ns.csi", true)]),
            Some((Some(0), Some(names(&["ns.cni", "ns.csi"])))),
            "all were ready once"
        );
        assert_eq!(
            after(&open, &["ns.cni"], 1, &[("ns.cni", false)]),
            None,
            "it was opened"
        );
        assert_eq!(after(&open, &[], 900, &[("ns.cni", false)]), None, "an old node");
        assert_eq!(
            after(&closed, &[], 900, &[]),
            Some((Some(0), None)),
            "nobody gates it any more"
        );
        assert_eq!(after(&open, &[], 900, &[("ns.cni", true)]), None);
    }
}
