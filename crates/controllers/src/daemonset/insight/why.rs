//! What the controller thinks of each node; of those with an old pod: `old`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1 as core;
use orlop_api::pod::condition;
use serde::Serialize;

use super::super::backoff::FailedPodBackoff;
use super::super::grouping::{NodeChoice, PodsByNode};
use super::super::manage::{Changes, Circumstances, manage};
use super::super::rolling::{self, Current, Replacements};
use super::super::strategy::{Limits, Strategy};
use super::{Judged, Known, not_ready};
use crate::cache::{DaemonSet as CachedSet, DaemonSetView, Phase, Pod, cached};

mod old;

/// How it stands with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// The pod there is ready, and of the newest revision.
    Running,
    /// No pod is wanted there.
    NotWanted,
    /// A pod is wanted and will be created.
    Missing,
    /// A pod is there though none would be created; it goes on.
    Stays,
    /// The pod there goes.
    Leaving,
    /// The pod has no node yet.
    Unscheduled,
    /// The pod there isn't ready.
    NotReady,
    /// It hasn't been ready for long enough.
    NotAvailable,
    /// It failed or ended, and is replaced.
    Ended,
    /// It is on its way out; the next one waits for that.
    Terminating,
    /// It is of an old revision and is replaced now.
    Replacing,
    /// It is of an old revision and waits for its turn.
    Waiting,
    /// A pod could go there.
    Fits,
    /// A pod can't go there.
    Refused,
}

impl Verdict {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::NotWanted => "NotWanted",
            Self::Missing => "Missing",
            Self::Stays => "Stays",
            Self::Leaving => "Leaving",
            Self::Unscheduled => "Unscheduled",
            Self::NotReady => "NotReady",
            Self::NotAvailable => "NotAvailable",
            Self::Ended => "Ended",
            Self::Terminating => "Terminating",
            Self::Replacing => "Replacing",
            Self::Waiting => "Waiting",
            Self::Fits => "Fits",
            Self::Refused => "Refused",
        }
    }
}

/// One row of the answer.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct NodeVerdict {
    /// The node.
    pub node: String,
    /// How it stands.
    pub verdict: Verdict,
    /// The rule that decided.
    pub rule: Option<&'static str>,
    /// The pod it is about.
    pub pod: Option<String>,
    /// The values compared.
    pub why: String,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// One line about all nodes.
    pub summary: String,
    /// By name.
    pub nodes: Vec<NodeVerdict>,
}

/// All that the rows are made from.
struct Facts<'a> {
    set: &'a CachedSet,
    strategy: Strategy,
    limits: Limits,
    current: Current<'a>,
    going: HashSet<Arc<str>>,
    replaced: HashSet<Arc<str>>,
    update: Replacements,
    raw: HashMap<Arc<str>, &'a core::Pod>,
}

/// Explains `set` at the moment `now`.
pub fn why(set: &DaemonSet, known: &Known<'_>, now: Timestamp) -> Explanation {
    let set = cached::<DaemonSetView>(set.clone());
    let hash = known.hash_of(&set).unwrap_or_default();
    let judged = known.judge(&set);
    let nodes: Vec<NodeChoice> = judged.iter().map(|judged| judged.choice.clone()).collect();
    let (pods, raw): (Vec<Pod>, HashMap<Arc<str>, &core::Pod>) = {
        let owned = known.pods_of(&set);
        let raw = owned.iter().map(|(pod, raw)| (pod.uid.clone(), *raw)).collect();
        (owned.into_iter().map(|(pod, _)| pod).collect(), raw)
    };
    let pods = PodsByNode::new(&pods);
    let strategy = Strategy::of(&set.set);
    let generation = set.template_generation();
    let current = Current {
        hash: &hash,
        generation: generation.as_deref(),
        min_ready_seconds: set.min_ready_seconds(),
        now,
    };
    let circumstances = Circumstances::of(&set, &hash, now);
    let changes = if set.is_terminating() {
        Changes::default()
    } else {
        manage(&circumstances, &nodes, &pods, &mut FailedPodBackoff::default())
    };
    let desired = nodes.iter().filter(|node| node.run).count();
    let limits = set.options.limits(&strategy, desired);
    let update = if set.is_terminating() {
        Replacements::default()
    } else {
        rolling::replace(&current, &set.options, &strategy, desired, &nodes, &pods)
    };
    let uids = |pods: &[Pod]| pods.iter().map(|pod| pod.uid.clone()).collect();
    let facts = Facts {
        set: &set,
        strategy,
        limits,
        current,
        going: uids(&changes.delete),
        replaced: uids(&update.delete),
        update,
        raw,
    };
    let mut rows: Vec<NodeVerdict> = judged
        .iter()
        .map(|judged| facts.row(judged, pods.on(&judged.choice.name)))
        .collect();
    let existing: HashSet<&str> = nodes.iter().map(|node| &*node.name).collect();
    rows.extend(
        pods.nodes()
            .filter(|(node, _)| !existing.contains(&***node))
            .map(|(node, pods)| of_missing_node(node, pods)),
    );
    Explanation {
        summary: summary(desired, &rows),
        nodes: rows,
    }
}

fn summary(desired: usize, rows: &[NodeVerdict]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.verdict.as_str()).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(verdict, count)| format!("{count} {verdict}"))
        .collect();
    format!(
        "wanted on {desired} of {} nodes: {}",
        rows.len(),
        counts.join(", ")
    )
}

fn of_missing_node(node: &str, pods: &[Pod]) -> NodeVerdict {
    let first = pods.first();
    let bound = first.is_some_and(|pod| pod.node.is_some());
    NodeVerdict {
        node: node.to_owned(),
        verdict: Verdict::Leaving,
        rule: Some("node"),
        pod: first.map(|pod| pod.key.name.to_string()),
        why: if bound {
            "the node is gone: pod garbage collection deletes the pod 40 s after".to_owned()
        } else {
            "the node is gone: the pod is deleted".to_owned()
        },
    }
}

impl Facts<'_> {
    fn row(&self, judged: &Judged<'_>, pods: &[Pod]) -> NodeVerdict {
        // One that is on its way out only if there is no other.
        let first = pods.iter().find(|pod| !pod.terminating).or(pods.first());
        let (verdict, rule, why) = match first {
            None => self.without_pod(judged),
            Some(pod) => self.with_pod(judged, pod, pods),
        };
        NodeVerdict {
            node: judged.choice.name.to_string(),
            verdict,
            rule,
            pod: first.map(|pod| pod.key.name.to_string()),
            why,
        }
    }

    fn without_pod(&self, judged: &Judged<'_>) -> (Verdict, Option<&'static str>, String) {
        if !judged.choice.run {
            return (Verdict::NotWanted, judged.rule, judged.refusals.join("; "));
        }
        let why = if self.set.is_terminating() {
            "the DaemonSet is being deleted: nothing is created any more"
        } else {
            "no pod yet: one is about to be created"
        };
        (Verdict::Missing, None, why.to_owned())
    }

    fn with_pod(
        &self,
        judged: &Judged<'_>,
        pod: &Pod,
        pods: &[Pod],
    ) -> (Verdict, Option<&'static str>, String) {
        let refusals = judged.refusals.join("; ");
        if pod.terminating {
            let what_follows = if self.set.is_terminating() {
                "none follows: the DaemonSet is being deleted".to_owned()
            } else if !judged.choice.run {
                format!("none follows: {refusals}")
            } else if self.strategy.allows_surge() {
                "its replacement comes up beside it".to_owned()
            } else {
                "its replacement waits until it is gone".to_owned()
            };
            let why = format!("the pod is terminating; {what_follows}");
            return (Verdict::Terminating, judged.rule, why);
        }
        if !judged.choice.keep {
            return (
                Verdict::Leaving,
                judged.rule,
                format!("the pod is deleted: {refusals}"),
            );
        }
        if pod.is_terminal() {
            let words = self.raw.get(&pod.uid).and_then(|raw| not_ready(raw, None));
            let after = if pod.phase == Phase::Failed {
                "deleted and replaced after a back-off of 1 s to 15 min"
            } else {
                "deleted and replaced"
            };
            let why = words.map_or_else(String::new, |(_, why)| why);
            return (Verdict::Ended, Some("phase"), format!("{why}; {after}"));
        }
        if let Some(surging) = self.surging(judged, pod, pods) {
            return surging;
        }
        if self.going.contains(&pod.uid) {
            return (
                Verdict::Leaving,
                None,
                "one pod too many: this one is deleted".to_owned(),
            );
        }
        if let Some(waits) = self.outdated(judged, pod) {
            return waits;
        }
        if pod.node.is_none() {
            let told = self.raw.get(&pod.uid).and_then(|raw| not_scheduled(raw));
            let why = told.unwrap_or_else(|| "waits for the scheduler".to_owned());
            return (Verdict::Unscheduled, Some("scheduler"), why);
        }
        let trouble = self
            .raw
            .get(&pod.uid)
            .and_then(|raw| not_ready(raw, Some(judged.node)));
        if let Some((rule, why)) = trouble {
            return (Verdict::NotReady, Some(rule), why);
        }
        if !pod.is_available(self.current.min_ready_seconds, self.current.now) {
            let why = format!(
                "ready, but not yet for minReadySeconds {}",
                self.current.min_ready_seconds
            );
            return (Verdict::NotAvailable, Some("minReadySeconds"), why);
        }
        if !judged.choice.run {
            let why = format!("no pod would be created here: {refusals}; the one there goes on");
            return (Verdict::Stays, judged.rule, why);
        }
        (Verdict::Running, None, "ready".to_owned())
    }
}

/// The scheduler's own words.
fn not_scheduled(pod: &core::Pod) -> Option<String> {
    condition(pod, "PodScheduled")
        .filter(|scheduled| scheduled.status == "False")?
        .message
        .clone()
}

#[cfg(test)]
mod tests;
