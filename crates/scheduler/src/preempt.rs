//! Which pods would have to go so that one of higher priority fits (contract §6.9). Pure.

use std::sync::Arc;

use orlop_api::placement::{self, NodeUsage, Reason};
use orlop_client::informer::ObjectKey;

use crate::cluster::{Candidate, Cluster, Holder, add};
use crate::view::Pending;

/// The pods to evict from one node.
#[derive(Debug, Clone)]
pub struct Preemption {
    /// The node that gets room.
    pub node: Arc<str>,
    /// Who goes, lowest priority first.
    pub victims: Vec<(ObjectKey, Arc<str>)>,
    /// Highest priority among them, sum of priorities, count: less is better, in this order.
    cost: (i32, i64, usize),
}

/// What preemption can do for a pod that fits nowhere.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing.
    Impossible,
    /// Room is being made already: victims of an earlier attempt are on their way out.
    Underway,
    /// Evict these.
    Evict(Preemption),
}

/// Finds the cheapest victims.
pub fn preempt(pod: &Pending, cluster: &mut Cluster) -> Outcome {
    if pod.spec.preemption_policy.as_deref() == Some("Never") {
        return Outcome::Impossible;
    }
    let priority = pod.spec.priority.unwrap_or(0);
    if let Some(nominated) = &pod.nominated
        && let Some(candidate) = cluster.candidate(nominated)
        && candidate
            .holders
            .values()
            .any(|holder| holder.terminating && holder.priority < priority)
    {
        return Outcome::Underway;
    }
    let mut best: Option<Preemption> = None;
    let mut look = |candidate: &Candidate<'_>| {
        if let Some(found) = victims(pod, priority, candidate)
            && best.as_ref().is_none_or(|best| found.cost < best.cost)
        {
            best = Some(found);
        }
    };
    match &pod.confined_to {
        Some(names) => {
            for name in names {
                if let Some(candidate) = cluster.candidate(name) {
                    look(&candidate);
                }
            }
        }
        None => cluster.candidates().for_each(|candidate| look(&candidate)),
    }
    best.map_or(Outcome::Impossible, Outcome::Evict)
}

fn victims(pod: &Pending, priority: i32, candidate: &Candidate<'_>) -> Option<Preemption> {
    let node = &candidate.node.node;
    let reasons = placement::node_filters(&pod.spec, node, candidate.usage);
    if reasons.is_empty() || !reasons.iter().all(Reason::preemption_helps) {
        return None;
    }
    let (mut lower, others): (Vec<_>, Vec<_>) = candidate
        .holders
        .iter()
        .partition(|(_, holder)| holder.priority < priority);
    if lower.is_empty() {
        return None;
    }
    let mut usage = NodeUsage::default();
    others
        .iter()
        .for_each(|(_, holder)| add(&mut usage, &holder.takes));
    let fits = |usage: &NodeUsage| placement::node_filters(&pod.spec, node, usage).is_empty();
    if !fits(&usage) {
        return None;
    }
    // Spare the most important ones that needn't go.
    lower.sort_by(|(a_key, a), (b_key, b)| b.priority.cmp(&a.priority).then_with(|| a_key.cmp(b_key)));
    let mut victims: Vec<(&ObjectKey, &Holder)> = Vec::new();
    for (key, holder) in lower {
        let mut with = usage.clone();
        add(&mut with, &holder.takes);
        if fits(&with) {
            usage = with;
        } else {
            victims.push((key, holder));
        }
    }
    victims.reverse();
    let highest = victims.iter().map(|(_, holder)| holder.priority).max()?;
    let sum = victims.iter().map(|(_, holder)| i64::from(holder.priority)).sum();
    Some(Preemption {
        node: candidate.name.clone(),
        cost: (highest, sum, victims.len()),
        victims: victims
            .into_iter()
            .map(|(key, holder)| (key.clone(), holder.uid.clone()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster, hold, pending, with_cpu};
    use serde_json::json;

    fn evicted(outcome: Outcome) -> String {
        match outcome {
            Outcome::Evict(found) => {
                let names: Vec<String> = found
                    .victims
                    .iter()
                    .map(|(key, _)| key.name.to_string())
                    .collect();
                format!("{}: {}", found.node, names.join(" "))
            }
            other => format!("{other:?}"),
        }
    }

    fn pod(priority: i32, cpu: &str) -> Box<Pending> {
        let mut spec = with_cpu(cpu);
        spec["priority"] = json!(priority);
        pending(spec)
    }

    #[test]
    fn s06_the_least_important_pods_go_and_no_more_than_needed() {
        // Each node has 4 cpus.
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        hold(&mut cluster, "a1", "a", 10, 2);
        hold(&mut cluster, "a2", "a", 50, 2);
        hold(&mut cluster, "b1", "b", 5, 1);
        hold(&mut cluster, "b2", "b", 5, 1);
        hold(&mut cluster, "b3", "b", 90, 2);
        assert_eq!(evicted(preempt(&pod(100, "2"), &mut cluster)), "b: b2 b1");
        assert_eq!(evicted(preempt(&pod(100, "1"), &mut cluster)), "b: b2");
        assert_eq!(evicted(preempt(&pod(100, "4"), &mut cluster)), "a: a1 a2");
        assert_eq!(evicted(preempt(&pod(100, "5"), &mut cluster)), "Impossible");
        assert_eq!(
            evicted(preempt(&pod(5, "2"), &mut cluster)),
            "Impossible",
            "equals are safe"
        );
    }
}
