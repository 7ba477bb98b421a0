//! Which node a pod goes to, or why none will do. Pure over a [`Cluster`].

use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use orlop_api::placement::{self, NodeUsage};
use orlop_api::quantity::{Amount, amount};
use orlop_api::taints::{PREFER_NO_SCHEDULE, tolerates};

use crate::cluster::{Candidate, Cluster};
use crate::message::Refusals;
use crate::view::{NodeView, Pending};

/// What becomes of a pod.
#[derive(Debug)]
pub enum Decision {
    /// Bind it there.
    Bind(Arc<str>),
    /// No node fits.
    Unschedulable(Refusals),
}

/// Decides for one pod.
pub fn decide(pod: &Pending, cluster: &mut Cluster) -> Decision {
    let nodes = cluster.len();
    let mut refusals = Refusals::of(nodes);
    let mut best: Option<(f64, Arc<str>)> = None;
    let mut judge = |candidate: &Candidate<'_>| {
        let reasons = placement::node_filters(&pod.spec, &candidate.node.node, candidate.usage);
        if reasons.is_empty() {
            let score = score(&pod.spec, candidate.node, candidate.usage);
            // Of equals the first by name, so that the same cluster gives the same answer.
            if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
                best = Some((score, candidate.name.clone()));
            }
        } else {
            refusals.add(&reasons);
        }
    };
    match &pod.confined_to {
        // The path of daemon pods: one node is asked, however many there are.
        Some(names) => {
            let mut asked = 0;
            for name in names {
                if let Some(candidate) = cluster.candidate(name) {
                    asked += 1;
                    judge(&candidate);
                }
            }
            refusals.cut_off(nodes - asked);
        }
        None => cluster.candidates().for_each(|candidate| judge(&candidate)),
    }
    match best {
        Some((_, node)) => Decision::Bind(node),
        None => Decision::Unschedulable(refusals),
    }
}

/// Weight of free cpu and memory, of soft taints and of preferred affinity.
const WEIGHT_FREE: f64 = 1.0;
const WEIGHT_TAINTS: f64 = 3.0;
const WEIGHT_AFFINITY: f64 = 2.0;

/// 0 to 100 for each aspect, weighed.
fn score(spec: &PodSpec, node: &NodeView, usage: &NodeUsage) -> f64 {
    WEIGHT_FREE * free(spec, node, usage)
        + WEIGHT_TAINTS * without_soft_taints(spec, node)
        + WEIGHT_AFFINITY * preferred(spec, node)
}

/// How much of cpu and memory would be left, on average.
#[expect(clippy::cast_precision_loss, reason = "a score needs no more precision")]
fn free(spec: &PodSpec, node: &NodeView, usage: &NodeUsage) -> f64 {
    let requests = orlop_api::pod::resource_requests(spec);
    let allocatable = node
        .node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref());
    let share = |resource: &str| {
        let total = allocatable
            .and_then(|all| all.get(resource))
            .map_or(Amount::ZERO, amount)
            .nanos() as f64;
        let sum = [usage.requested.get(resource), requests.get(resource)];
        let taken: f64 = sum
            .into_iter()
            .flatten()
            .map(|amount| amount.nanos() as f64)
            .sum();
        if total > 0.0 {
            ((total - taken) / total).clamp(0.0, 1.0)
        } else {
            0.0
        }
    };
    (share("cpu") + share("memory")) * 50.0
}

fn without_soft_taints(spec: &PodSpec, node: &NodeView) -> f64 {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let soft = orlop_api::taints::of(&node.node)
        .iter()
        .filter(|taint| taint.effect == PREFER_NO_SCHEDULE)
        .filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
        .count();
    if soft == 0 { 100.0 } else { 0.0 }
}

fn preferred(spec: &PodSpec, node: &NodeView) -> f64 {
    let terms = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .preferred_during_scheduling_ignored_during_execution
                .as_deref()
        })
        .unwrap_or_default();
    let all: i32 = terms.iter().map(|term| term.weight).sum();
    if all == 0 {
        return 0.0;
    }
    let met: i32 = terms
        .iter()
        .filter(|term| placement::term_matches(&term.preference, &node.node))
        .map(|term| term.weight)
        .sum();
    100.0 * f64::from(met) / f64::from(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster, hold, pending, with_cpu};
    use serde_json::json;

    fn bound(decision: Decision) -> String {
        match decision {
            Decision::Bind(node) => node.to_string(),
            Decision::Unschedulable(refusals) => refusals.message(),
        }
    }

    #[test]
    fn s01_s03_a_pod_goes_to_the_emptiest_node_it_tolerates() {
        let mut cluster = cluster(json!({
            "a": {}, "b": {},
            "tainted": {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}},
        }));
        hold(&mut cluster, "h", "a", 0, 3);
        assert_eq!(bound(decide(&pending(with_cpu("1")), &mut cluster)), "b");
        assert_eq!(
            bound(decide(&pending(with_cpu("5")), &mut cluster)),
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. \
             preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn a_daemon_pod_only_ever_goes_to_its_node() {
        let mut cluster = cluster(json!({"a": {}, "b": {}, "c": {}}));
        let pinned = |node: &str| {
            let mut spec = with_cpu("1");
            spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchFields": [
                    {"key": "metadata.name", "operator": "In", "values": [node]}]}]}}});
            pending(spec)
        };
        assert_eq!(bound(decide(&pinned("b"), &mut cluster)), "b");
        assert_eq!(
            bound(decide(&pinned("gone"), &mut cluster)),
            "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity]. \
             preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn soft_taints_and_preferred_affinity_only_lower_the_score() {
        let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
        assert_eq!(
            bound(decide(
                &pending(with_cpu("1")),
                &mut cluster(json!({"a": soft, "b": {}}))
            )),
            "b"
        );
        assert_eq!(
            bound(decide(&pending(with_cpu("1")), &mut cluster(json!({"a": soft})))),
            "a"
        );
        let mut spec = with_cpu("1");
        spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 5, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}});
        let nodes = json!({"a": {}, "b": {"metadata": {"labels": {"disk": "fast"}}}});
        assert_eq!(bound(decide(&pending(spec), &mut cluster(nodes))), "b");
    }
}
