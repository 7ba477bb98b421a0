//! How good the nodes are that would do.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use orlop_api::placement::{self, NodeFacts};
use orlop_api::quantity::{Amount, amount};
use orlop_api::taints::{PREFER_NO_SCHEDULE, tolerates};

use crate::known::cluster::Candidate;
use crate::known::view::{NodeView, Pending, Weight};
use crate::profile::rules::Rules;
use crate::profile::{Profile, Room, Weights};

use super::copies::Place;
use super::judge::Judge;
use super::spread::Standing;

/// A node that would do.
pub struct Feasible {
    name: Arc<str>,
    /// How much would be left on it, and how evenly, 0 to 100 each.
    room: f64,
    balance: f64,
    /// How much less there is to pull, 0 to 100.
    images: i64,
    /// Taints that only ask, and that the pod doesn't tolerate.
    soft_taints: i64,
    /// How much the pod's affinity to nodes prefers it.
    affinity: i64,
    /// How much other pods make it preferred.
    liking: i64,
    /// Where it stands by constraints on spreading that only ask, if it has what they speak of.
    pub standing: Option<Vec<Standing>>,
    /// Where it stands by copies of the pod, if those are to be spread.
    pub place: Option<Place>,
}

impl Feasible {
    /// Looks at a node that is one of `nodes`.
    pub fn of(
        judge: &Judge<'_>,
        candidate: &Candidate<'_>,
        profile: &Profile,
        nodes: usize,
        place: Option<Place>,
    ) -> Self {
        let (pod, node) = (judge.pod, candidate.node);
        let whole = whole(node);
        Self {
            name: candidate.name.clone(),
            room: room(profile, whole, candidate, pod),
            balance: balance(whole, candidate, pod),
            images: pod.images.score(&node.images, candidate.images, nodes),
            soft_taints: soft_taints(&pod.spec, node),
            affinity: preferred(&pod.spec, &profile.rules, node),
            liking: judge.company.as_ref().map_or(0, |company| company.liking(node)),
            standing: judge
                .spread
                .as_ref()
                .filter(|spread| spread.asks())
                .and_then(|spread| spread.standing(node)),
            place,
        }
    }
}

/// The nodes with their scores.
pub fn scored(feasible: Vec<Feasible>, crowds: &[Option<i64>], weights: Weights) -> Vec<(Arc<str>, f64)> {
    let scale = |of: fn(&Feasible) -> i64| Scale::of(feasible.iter().map(of));
    let liking = scale(|node| node.liking);
    let crowd = Scale::of(crowds.iter().flatten().copied());
    // Nothing is the least there can be of these.
    let (taints, affinity) = (
        scale(|node| node.soft_taints).with_zero(),
        scale(|node| node.affinity).with_zero(),
    );
    let score = |node: &Feasible, in_crowd: &Option<i64>| {
        weights.room * node.room
            + weights.balance * node.balance
            + weights.images * percent(node.images, 100)
            + weights.taints * (100.0 - taints.percent(node.soft_taints))
            + weights.affinity * affinity.percent(node.affinity)
            + weights.company * liking.percent(node.liking)
            + weights.spread * in_crowd.map_or(0.0, |in_crowd| crowd.calm(in_crowd))
    };
    let scores: Vec<f64> = feasible
        .iter()
        .zip(crowds)
        .map(|(node, in_crowd)| score(node, in_crowd))
        .collect();
    let names = feasible.into_iter().map(|node| node.name);
    names.zip(scores).collect()
}

/// From the least of some numbers to the highest.
struct Scale {
    least: i64,
    most: i64,
}

impl Scale {
    fn of(numbers: impl Iterator<Item = i64> + Clone) -> Self {
        Self {
            least: numbers.clone().min().unwrap_or(0),
            most: numbers.max().unwrap_or(0),
        }
    }

    fn with_zero(self) -> Self {
        Self { least: 0, ..self }
    }

    /// How far up a number is.
    fn percent(&self, number: i64) -> f64 {
        percent(number - self.least, self.most - self.least)
    }

    /// How calm it is where the crowd is a number: 100 at the least, and the less the larger all crowds are.
    fn calm(&self, number: i64) -> f64 {
        match self.most {
            0 => 100.0,
            most => percent(most + self.least - number, most),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a score needs no more precision")]
fn percent(part: i64, whole: i64) -> f64 {
    match whole {
        0 => 0.0,
        whole => 100.0 * part as f64 / whole as f64,
    }
}

/// How good the room would be on average, 0 to 100. Of what the node hasn't, or of some other resource that the pod doesn't
/// want, nothing is said.
fn room(profile: &Profile, whole: Weight, candidate: &Candidate<'_>, pod: &Pending) -> f64 {
    let weight = candidate.weight.plus(pod.takes.weight, 1);
    let (mut sum, mut weights) = (0.0, 0.0);
    for (resource, counts) in &profile.resources {
        let (total, taken) = match resource.as_str() {
            "cpu" => (whole.cpu, weight.cpu),
            "memory" => (whole.memory, weight.memory),
            other => {
                let wanted = pod.takes.requested.get(other).copied();
                // Every node has disk; what else there is matters to those who want it.
                let Some(wanted) = wanted.or((other == "ephemeral-storage").then_some(Amount::ZERO)) else {
                    continue;
                };
                let there = candidate.usage.requested.get(other).copied().unwrap_or_default();
                (total(candidate.node, other).value(), there.plus(wanted).value())
            }
        };
        if total > 0 {
            let rate = profile.room.rate(used(total, taken));
            // As upstream has it, what is good for nothing by a shape is left out.
            if rate > 0.0 || !matches!(profile.room, Room::Shaped(_)) {
                sum += counts * rate;
                weights += counts;
            }
        }
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// How evenly cpu and memory would be requested, 0 to 100. A pod that requests neither changes nothing about that.
fn balance(whole: Weight, candidate: &Candidate<'_>, pod: &Pending) -> f64 {
    let of = |resource: &str| {
        let wanted = pod.takes.requested.get(resource).copied().unwrap_or_default();
        let there = candidate
            .usage
            .requested
            .get(resource)
            .copied()
            .unwrap_or_default();
        (wanted, there.plus(wanted))
    };
    let ((cpu, all_cpu), (memory, all_memory)) = (of("cpu"), of("memory"));
    if cpu.is_zero() && memory.is_zero() {
        return 0.0;
    }
    let cpu = used(whole.cpu, all_cpu.milli_value());
    let memory = used(whole.memory, all_memory.value());
    100.0 * (1.0 - (cpu - memory).abs() / 2.0)
}

/// What pods may have of a node.
fn whole(node: &NodeView) -> Weight {
    Weight {
        cpu: total(node, "cpu").milli_value(),
        memory: total(node, "memory").value(),
    }
}

fn total(node: &NodeView, resource: &str) -> Amount {
    let allocatable = node.node.allocatable().and_then(|all| all.get(resource));
    allocatable.map_or(Amount::ZERO, amount)
}

#[expect(clippy::cast_precision_loss, reason = "a score needs no more precision")]
fn used(total: i64, taken: i64) -> f64 {
    match total {
        ..=0 => 1.0,
        _ => (taken as f64 / total as f64).clamp(0.0, 1.0),
    }
}

fn soft_taints(spec: &PodSpec, node: &NodeView) -> i64 {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let soft = node
        .node
        .taints
        .iter()
        .filter(|taint| taint.effect == PREFER_NO_SCHEDULE)
        .filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)));
    i64::try_from(soft.count()).unwrap_or(i64::MAX)
}

fn preferred(spec: &PodSpec, rules: &Rules, node: &NodeView) -> i64 {
    let affinity = spec.affinity.as_ref();
    let affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
    affinity
        .and_then(|affinity| {
            affinity
                .preferred_during_scheduling_ignored_during_execution
                .as_deref()
        })
        .unwrap_or_default()
        .iter()
        .chain(rules.preferred())
        .filter(|term| placement::term_matches(&term.preference, &node.node))
        .map(|term| i64::from(term.weight))
        .sum()
}
