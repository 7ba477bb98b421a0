//! Which node a pod goes to, or why none will do. Pure over a [`Cluster`].

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use orlop_api::placement::{self, NodeFacts, NodeUsage, Reason};
use orlop_api::quantity::{Amount, amount};
use orlop_api::taints::{PREFER_NO_SCHEDULE, tolerates};

use orlop_client::informer::ObjectKey;

use crate::affinity::Company;
use crate::cluster::{Candidate, Cluster};
use crate::exclusive::Exclusive;
use crate::message::Refusals;
use crate::profile::{Profile, Room, Weights};
use crate::rules::Rules;
use crate::spread::{self, Spread, Standing};
use crate::view::{Family, NodeView, Pending, Weight};
use crate::volumes::Volumes;
use crate::world::World;

/// What becomes of a pod.
#[derive(Debug)]
pub enum Decision {
    /// Bind it there.
    Bind(Arc<str>),
    /// No node fits.
    Unschedulable(Refusals),
}

/// What is looked at for every node: the pod, and what others make of it.
pub struct Judge<'a> {
    key: &'a ObjectKey,
    pod: &'a Pending,
    rules: &'a Rules,
    /// By which other pods' company it is bound, if by any.
    pub company: Option<Company<'a>>,
    /// How it has to spread, if it has to.
    pub spread: Option<Spread<'a>>,
    /// Its volumes, if it has any.
    pub volumes: Option<Volumes<'a>>,
    /// Who else uses what it wants for itself alone, if it wants that.
    pub exclusive: Option<Exclusive>,
}

/// What other pods are to a pod, where that depends on which of them are there.
#[derive(Clone, Copy)]
pub struct Others<'j, 'a> {
    /// The company they are.
    pub company: Option<&'j Company<'a>>,
    /// How they are spread.
    pub spread: Option<&'j Spread<'a>>,
    /// What they use that it wants for itself.
    pub exclusive: Option<&'j Exclusive>,
}

impl<'a> Judge<'a> {
    /// Counts what has to be counted; the reason if no node could do.
    pub fn of(
        key: &'a ObjectKey,
        pod: &'a Pending,
        cluster: &mut Cluster,
        world: &'a World,
        rules: &'a Rules,
    ) -> Result<Self, String> {
        Ok(Self {
            key,
            pod,
            rules,
            volumes: Volumes::of(key, pod, world)?,
            exclusive: Exclusive::of(key, pod, cluster, world),
            company: Company::of(key, &pod.traits, cluster, world, rules),
            spread: Spread::of(key, pod, cluster, rules),
        })
    }

    /// spec.priority.
    pub fn priority(&self) -> i32 {
        self.pod.priority()
    }

    /// Why the pod can't be on this node, nothing if it can.
    pub fn reasons(&self, candidate: &Candidate<'_>) -> Vec<Reason> {
        let usage = candidate.usage_for(self.key, self.priority());
        let others = Others {
            company: self.company.as_ref(),
            spread: self.spread.as_ref(),
            exclusive: self.exclusive.as_ref(),
        };
        self.reasons_with(candidate.node, &usage, others)
    }

    fn reasons_with(&self, node: &NodeView, usage: &NodeUsage, others: Others<'_, '_>) -> Vec<Reason> {
        let mut reasons = placement::node_filters(&self.pod.spec, &node.node, usage);
        if let Some(refusal) = self.rules.refuses(&node.node)
            && reasons.first().is_none_or(comes_after_affinity)
        {
            return vec![refusal];
        }
        reasons.retain(
            |reason| !matches!(reason, Reason::Insufficient { resource, .. } if self.rules.ignores(resource)),
        );
        if !reasons.is_empty() {
            return reasons;
        }
        let refusal = others.exclusive.and_then(Exclusive::refuses);
        let refusal = refusal.or_else(|| self.volumes.as_ref()?.refuses(node));
        let refusal = refusal.or_else(|| others.spread?.refuses(node));
        let refusal = refusal.or_else(|| others.company?.refuses(node));
        refusal.into_iter().collect()
    }

    /// Whether the pod can be on this node when so much is taken of it and other pods are this.
    pub fn fits(&self, node: &NodeView, usage: &NodeUsage, others: Others<'_, '_>) -> bool {
        self.reasons_with(node, usage, others).is_empty()
    }
}

/// A node that would do.
struct Feasible {
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
    standing: Option<Vec<Standing>>,
    /// Its zone and the members of the pod's family there are on it, if that is to be spread.
    zone: Option<usize>,
    members: i64,
}

/// Copies of one pod that are to be spread over nodes and zones, though nobody said so.
struct Spreading {
    family: Family,
    /// Which of `by_zone` a zone is.
    zones: HashMap<String, usize>,
    by_zone: Vec<i64>,
}

impl Spreading {
    /// Counts a node's members; the node's zone and how many there are.
    fn count(&mut self, candidate: &Candidate<'_>) -> (Option<usize>, i64) {
        let members = i64::from(candidate.families.get(&self.family).copied().unwrap_or(0));
        let zone = candidate.node.node.labels.get(ZONE).map(|zone| {
            self.zones.get(zone).copied().unwrap_or_else(|| {
                self.zones.insert(zone.to_owned(), self.by_zone.len());
                self.by_zone.push(0);
                self.by_zone.len() - 1
            })
        });
        if let Some(zone) = zone {
            self.by_zone[zone] += members;
        }
        (zone, members)
    }

    /// How crowded each node is by that.
    fn crowds(&self, feasible: &[Feasible]) -> Vec<Option<i64>> {
        let crowd = |node: &Feasible| {
            let on_node = spread::crowd(node.members, feasible.len(), SKEW_OF_NODES);
            let in_zone = node
                .zone
                .map(|zone| spread::crowd(self.by_zone[zone], self.by_zone.len(), SKEW_OF_ZONES));
            Some(spread::round(on_node + in_zone.unwrap_or(0.0)))
        };
        feasible.iter().map(crowd).collect()
    }
}

/// By how many copies nodes and zones may differ where nobody says how to spread them.
const SKEW_OF_NODES: i64 = 3;
const SKEW_OF_ZONES: i64 = 5;
const ZONE: &str = "topology.kubernetes.io/zone";

/// Which nodes would do for a pod, and why the others don't.
#[derive(Debug, Default)]
pub struct Survey {
    /// By name, each with how good it is.
    pub nodes: Vec<(Arc<str>, f64)>,
    /// Counted.
    pub refusals: Refusals,
}

impl Survey {
    /// The best node. Of equals it is the first by name, so that the same cluster gives the same answer.
    pub fn decide(self) -> Decision {
        let mut best: Option<(Arc<str>, f64)> = None;
        for (name, score) in self.nodes {
            if best.as_ref().is_none_or(|(_, highest)| score > *highest) {
                best = Some((name, score));
            }
        }
        match best {
            Some((name, _)) => Decision::Bind(name),
            None => Decision::Unschedulable(self.refusals),
        }
    }
}

/// Decides for one pod.
pub fn decide(
    key: &ObjectKey,
    pod: &Pending,
    cluster: &mut Cluster,
    world: &World,
    profile: &Profile,
) -> Decision {
    survey(key, pod, pod.nominated.as_ref(), cluster, world, profile).decide()
}

/// Whether the pod can be on the node now.
pub fn fits(
    key: &ObjectKey,
    pod: &Pending,
    cluster: &mut Cluster,
    world: &World,
    rules: &Rules,
    node: &str,
) -> bool {
    let Ok(judge) = Judge::of(key, pod, cluster, world, rules) else {
        return false;
    };
    let candidate = cluster.candidate(node);
    candidate.is_some_and(|candidate| judge.reasons(&candidate).is_empty())
}

/// Looks for a node for one pod: at `first`, where room was made for it, and if that does not do at all of them.
pub fn survey(
    key: &ObjectKey,
    pod: &Pending,
    first: Option<&Arc<str>>,
    cluster: &mut Cluster,
    world: &World,
    profile: &Profile,
) -> Survey {
    let nodes = cluster.len();
    let judge = match Judge::of(key, pod, cluster, world, &profile.rules) {
        Ok(judge) => judge,
        Err(why) => {
            return Survey {
                refusals: Refusals::whole(nodes, why),
                ..Survey::default()
            };
        }
    };
    if let Some(first) = first
        && let Some(candidate) = cluster.candidate(first)
        && judge.reasons(&candidate).is_empty()
    {
        return Survey {
            nodes: vec![(first.clone(), 0.0)],
            refusals: Refusals::of(nodes),
        };
    }
    let mut refusals = Refusals::of(nodes);
    let mut feasible = Vec::new();
    // Whoever says how to spread is taken at their word.
    let mut spreading = pod
        .family
        .filter(|_| judge.spread.is_none() && profile.rules.spreading.is_none())
        .map(|family| Spreading {
            family,
            zones: HashMap::new(),
            by_zone: Vec::new(),
        });
    let asks_softly = judge.spread.as_ref().filter(|spread| spread.asks());
    let mut look = |candidate: &Candidate<'_>| {
        let (zone, members) = spreading
            .as_mut()
            .map_or((None, 0), |spreading| spreading.count(candidate));
        let reasons = judge.reasons(candidate);
        if reasons.is_empty() {
            let whole = whole(candidate.node);
            feasible.push(Feasible {
                name: candidate.name.clone(),
                room: room(profile, whole, candidate, pod),
                balance: balance(whole, candidate, pod),
                images: pod.images.score(&candidate.node.images, candidate.images, nodes),
                soft_taints: soft_taints(&pod.spec, candidate.node),
                affinity: preferred(&pod.spec, &profile.rules, candidate.node),
                zone,
                members,
                liking: judge
                    .company
                    .as_ref()
                    .map_or(0, |company| company.liking(candidate.node)),
                standing: asks_softly.and_then(|spread| spread.standing(candidate.node)),
            });
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
                    look(&candidate);
                }
            }
            refusals.cut_off(nodes - asked);
        }
        None => cluster.candidates().for_each(|candidate| look(&candidate)),
    }
    let crowds = match spreading {
        Some(spreading) => spreading.crowds(&feasible),
        None => spread::crowds(feasible.iter().map(|node| node.standing.as_deref())),
    };
    Survey {
        nodes: scored(feasible, &crowds, profile.weights),
        refusals,
    }
}

/// The nodes with their scores.
fn scored(feasible: Vec<Feasible>, crowds: &[Option<i64>], weights: Weights) -> Vec<(Arc<str>, f64)> {
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

/// Whether a reason is looked for after what is demanded of nodes.
fn comes_after_affinity(reason: &Reason) -> bool {
    !matches!(
        reason,
        Reason::NodeUnschedulable | Reason::NodeName | Reason::TaintToleration { .. }
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster, hold, hold_pod, pending, pending_pod, with_cpu, world};
    use crate::traits::Spreading;
    use crate::view::PodView;
    use orlop_client::informer::Projection;
    use serde_json::{Value, json};

    fn decided(pod: &Pending, cluster: &mut Cluster) -> String {
        decided_by(pod, cluster, &Profile::default())
    }

    fn decided_by(pod: &Pending, cluster: &mut Cluster, profile: &Profile) -> String {
        match decide(&ObjectKey::new("ns", "p"), pod, cluster, &world(), profile) {
            Decision::Bind(node) => node.to_string(),
            Decision::Unschedulable(refusals) => refusals.message(),
        }
    }

    #[test]
    fn what_others_look_after_is_not_looked_at() {
        let mut cluster = cluster(json!({"a": {}}));
        let pod = pending(json!({"containers": [{"name": "c", "resources": {
            "limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1", "cpu": "1"}}}]}));
        let world = world();
        let key = ObjectKey::new("ns", "p");
        let rules = Rules::default();
        assert!(!fits(&key, &pod, &mut cluster, &world, &rules, "a"));
        let deaf = Rules {
            ignored_groups: vec!["example.com/".to_owned()],
            ..Rules::default()
        };
        assert!(fits(&key, &pod, &mut cluster, &world, &deaf, "a"));
        let rules = Rules {
            ignored: vec!["example.com/gpu".to_owned()],
            ..Rules::default()
        };
        assert!(fits(&key, &pod, &mut cluster, &world, &rules, "a"));
        hold(&mut cluster, "h", "a", 0, 4);
        assert!(!fits(&key, &pod, &mut cluster, &world, &rules, "a"), "cpu is");
    }

    #[test]
    fn a_profile_may_demand_something_of_nodes_for_all_pods() {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        let mut cluster = cluster(json!({"a": zone("x"), "b": zone("y"), "c": zone("z"),
            "d": {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}}));
        let in_zones =
            |zones: Value| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": zones}]});
        let affinity = json!({
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [in_zones(json!(["y", "z"]))]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": in_zones(json!(["z"]))}]});
        let demanding = Profile {
            rules: Rules {
                affinity: serde_json::from_value(affinity).unwrap(),
                ..Rules::default()
            },
            ..Profile::default()
        };
        assert_eq!(decided_by(&pending(with_cpu("1")), &mut cluster, &demanding), "c");
        let mut in_x = with_cpu("1");
        in_x["nodeSelector"] = json!({"zone": "x"});
        assert_eq!(
            decided_by(&pending(in_x), &mut cluster, &demanding),
            "0/4 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity, 1 node(s) had untolerated \
             taint(s), 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are available: 4 \
             Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn a_profile_may_say_how_copies_spread_that_say_nothing() {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        let mut cluster = cluster(json!({"a": zone("x"), "b": zone("x"), "c": zone("y")}));
        let copy = |name: &str| {
            let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]);
            let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "ownerReferences": owner},
                "spec": with_cpu("1")});
            match PodView::project(serde_json::from_value(pod).unwrap()) {
                PodView::Pending(pending) => pending,
                other => panic!("not pending: {other:?}"),
            }
        };
        let profile = |spreading: Value| Profile {
            rules: Rules {
                spreading: Some(
                    serde_json::from_value::<Vec<_>>(spreading)
                        .unwrap()
                        .iter()
                        .map(Spreading::of_copies)
                        .collect(),
                ),
                ..Rules::default()
            },
            ..Profile::default()
        };
        let held = copy("held").holder("held".into());
        cluster.hold(&ObjectKey::new("ns", "held"), &"c".into(), held);
        hold(&mut cluster, "full", "a", 0, 3);
        hold(&mut cluster, "half", "b", 0, 2);
        let by_zone = |when: &str| json!([{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": when}]);
        for when in ["DoNotSchedule", "ScheduleAnyway"] {
            let chosen = decided_by(&copy("p"), &mut cluster, &profile(by_zone(when)));
            assert_eq!(chosen, "b", "{when}: c has a copy, and a more to do");
        }
        assert_eq!(
            decided_by(&copy("p"), &mut cluster, &profile(json!([]))),
            "c",
            "nothing is spread, and c has least to do"
        );
        let required = profile(by_zone("DoNotSchedule"));
        assert!(required.rules.minds_copies(&copy("p")));
        assert!(
            !required.rules.minds_copies(&pending(with_cpu("1"))),
            "it is nobody's copy"
        );
        assert_eq!(decided_by(&pending(with_cpu("1")), &mut cluster, &required), "c");
    }

    #[test]
    fn a_profile_may_pack_what_is_dear() {
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        hold(&mut cluster, "h", "a", 0, 1);
        let packs = |resources: &[(&str, f64)]| Profile {
            room: Room::Shaped(vec![(0.0, 0.0), (100.0, 100.0)]),
            resources: resources
                .iter()
                .map(|(name, counts)| ((*name).to_owned(), *counts))
                .collect(),
            weights: Weights {
                room: 1.0,
                ..Weights::none()
            },
            ..Profile::default()
        };
        let pod = pending(with_cpu("1"));
        assert_eq!(decided_by(&pod, &mut cluster, &packs(&[("cpu", 1.0)])), "a");
        hold(&mut cluster, "m", "b", 0, 2);
        assert_eq!(decided_by(&pod, &mut cluster, &packs(&[("cpu", 1.0)])), "b");
        assert_eq!(
            decided_by(&pod, &mut cluster, &packs(&[("example.com/gpu", 1.0)])),
            "a",
            "neither has one"
        );
    }

    #[test]
    fn what_a_shape_gives_nothing_for_does_not_count_and_disk_always_does() {
        let takes = |cpu: &str, memory: &str, disk: &str| {
            json!({"containers": [{"name": "c", "resources": {"requests": {
                "cpu": cpu, "memory": memory, "ephemeral-storage": disk}}}]})
        };
        let status = json!({"status": {"allocatable": {
            "cpu": "10", "memory": "10Gi", "ephemeral-storage": "10Gi", "pods": "10"}}});
        let mut cluster = cluster(json!({"a": status, "b": status}));
        hold_pod(
            &mut cluster,
            "ns",
            "on-a",
            "a",
            json!({}),
            takes("0", "7.5Gi", "1Gi"),
        );
        hold_pod(&mut cluster, "ns", "on-b", "b", json!({}), takes("6", "7Gi", "0"));
        let by = |room: Room, resources: &[&str]| Profile {
            room,
            resources: resources.iter().map(|name| ((*name).to_owned(), 1.0)).collect(),
            weights: Weights {
                room: 1.0,
                ..Weights::none()
            },
            ..Profile::default()
        };
        let shape = Room::Shaped(vec![(50.0, 0.0), (100.0, 100.0)]);
        let pod = pending(takes("1", "0", "0"));
        assert_eq!(
            decided_by(&pod, &mut cluster, &by(shape, &["cpu", "memory"])),
            "a"
        );
        let pod = pending(with_cpu("1"));
        assert_eq!(
            decided_by(&pod, &mut cluster, &by(Room::Free, &["ephemeral-storage"])),
            "b"
        );
    }

    #[test]
    fn s01_s03_a_pod_goes_to_the_emptiest_node_it_tolerates() {
        let mut cluster = cluster(json!({
            "a": {}, "b": {},
            "tainted": {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}},
        }));
        hold(&mut cluster, "h", "a", 0, 3);
        assert_eq!(decided(&pending(with_cpu("1")), &mut cluster), "b");
        assert_eq!(
            decided(&pending(with_cpu("5")), &mut cluster),
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. \
             preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn a_profile_may_pack_pods_and_let_nothing_else_count() {
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        hold(&mut cluster, "h", "b", 0, 1);
        // A pod that asks for cpu alone makes a node less even.
        let packs = Profile {
            room: Room::Used,
            weights: Weights {
                balance: 0.0,
                ..Weights::default()
            },
            ..Profile::default()
        };
        let pod = pending(with_cpu("1"));
        assert_eq!(decided_by(&pod, &mut cluster, &Profile::default()), "a");
        assert_eq!(decided_by(&pod, &mut cluster, &packs), "b");
        let indifferent = Profile {
            weights: Weights::none(),
            ..packs.clone()
        };
        assert_eq!(
            decided_by(&pod, &mut cluster, &indifferent),
            "a",
            "the first by name"
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
        assert_eq!(decided(&pinned("b"), &mut cluster), "b");
        assert_eq!(
            decided(&pinned("gone"), &mut cluster),
            "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity]. \
             preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn soft_taints_and_preferred_affinity_only_lower_the_score() {
        let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
        assert_eq!(
            decided(&pending(with_cpu("1")), &mut cluster(json!({"a": soft, "b": {}}))),
            "b"
        );
        assert_eq!(
            decided(&pending(with_cpu("1")), &mut cluster(json!({"a": soft}))),
            "a"
        );
        let mut spec = with_cpu("1");
        spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 5, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}});
        let nodes = json!({"a": {}, "b": {"metadata": {"labels": {"disk": "fast"}}}});
        assert_eq!(decided(&pending(spec), &mut cluster(nodes)), "b");
    }

    #[test]
    fn pods_that_ask_for_nothing_are_spread_and_copies_of_one_keep_apart() {
        let zone = |zone: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        let mut cluster = cluster(json!({"a1": zone("a"), "a2": zone("a"), "b": zone("b")}));
        let mut place = |name: &str, owner: Value| {
            let owners: Vec<Value> = owner
                .as_str()
                .map(|uid| {
                    json!({"kind": "ReplicaSet", "controller": true,
                "apiVersion": "apps/v1", "name": uid, "uid": uid})
                })
                .into_iter()
                .collect();
            let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "ownerReferences": owners},
                "spec": {"containers": [{"name": "c"}]}});
            let PodView::Pending(pod) = PodView::project(serde_json::from_value(pod).unwrap()) else {
                panic!("it waits");
            };
            let node = decided(&pod, &mut cluster);
            let holder = pod.holder(name.into());
            cluster.hold(&ObjectKey::new("ns", name), &node.as_str().into(), holder);
            node
        };
        let bare: Vec<String> = (0..4)
            .map(|number| place(&format!("bare-{number}"), json!(null)))
            .collect();
        assert_eq!(bare, ["a1", "a2", "b", "a1"]);
        let of = |name: &str, set: &str| (name.to_owned(), json!(set));
        let placed: Vec<String> = [of("x1", "x"), of("x2", "x"), of("x3", "x"), of("y1", "y")]
            .into_iter()
            .map(|(name, owner)| place(&name, owner))
            .collect();
        assert_eq!(
            placed,
            ["a2", "b", "a1", "a2"],
            "by zone first, and families by themselves"
        );
    }

    #[test]
    fn the_fewer_soft_taints_the_better() {
        let taint = |key: &str| json!({"key": key, "effect": "PreferNoSchedule"});
        let mut cluster = cluster(json!({"a": {"spec": {"taints": [taint("k"), taint("l")]}},
            "b": {"spec": {"taints": [taint("k")]}}}));
        assert_eq!(decided(&pending(with_cpu("1")), &mut cluster), "b");
    }

    #[test]
    fn rules_about_other_pods_are_the_last_to_be_asked_and_their_reasons_are_counted() {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        let full = json!({"metadata": {"labels": {"zone": "c"}}, "spec": {"unschedulable": true}});
        let mut cluster = cluster(json!({"a": zone("a"), "b": zone("b"), "c": full, "d": {}}));
        let mut spec = with_cpu("1");
        spec["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
        spec["topologySpreadConstraints"] = json!([{"topologyKey": "zone", "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]);
        hold_pod(
            &mut cluster,
            "default",
            "1",
            "a",
            json!({"app": "web"}),
            with_cpu("1"),
        );
        let pod = pending_pod("default", "p", json!({"app": "web"}), spec);
        let decision = decide(
            &ObjectKey::new("default", "p"),
            &pod,
            &mut cluster,
            &world(),
            &Profile::default(),
        );
        assert!(
            matches!(&decision, Decision::Bind(node) if &**node == "b"),
            "{decision:?}"
        );
        hold_pod(
            &mut cluster,
            "default",
            "2",
            "b",
            json!({"app": "web"}),
            with_cpu("1"),
        );
        let Decision::Unschedulable(refusals) = decide(
            &ObjectKey::new("default", "p"),
            &pod,
            &mut cluster,
            &world(),
            &Profile::default(),
        ) else {
            panic!("there is no place left");
        };
        assert_eq!(
            refusals.message(),
            "0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), \
             1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread constraints. \
             preemption: 0/4 nodes are available: 2 No preemption victims found for incoming pod, \
             2 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn a_pod_goes_where_room_was_made_for_it_and_lesser_ones_do_not() {
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        hold(&mut cluster, "h", "b", 0, 1);
        let mut spec = with_cpu("3");
        spec["priority"] = json!(10);
        let mut important = pending(spec);
        important.nominated = Some("b".into());
        let nominee = important.nominee();
        cluster.nominate(&ObjectKey::new("ns", "important"), Some(("b".into(), nominee)));
        let mut lesser = with_cpu("3");
        lesser["nodeSelector"] = json!({});
        hold(&mut cluster, "i", "a", 0, 3);
        assert_eq!(
            decided(&pending(lesser), &mut cluster),
            "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: \
             2 No preemption victims found for incoming pod."
        );
        let decision = decide(
            &ObjectKey::new("ns", "important"),
            &important,
            &mut cluster,
            &world(),
            &Profile::default(),
        );
        assert!(
            matches!(&decision, Decision::Bind(node) if &**node == "b"),
            "{decision:?}"
        );
    }

    #[test]
    fn preferred_company_and_spreading_that_only_asks_choose_among_nodes() {
        let host = |host: &str| json!({"metadata": {"labels": {"host": host}}});
        let mut cluster = cluster(json!({"a": host("a"), "b": host("b"), "c": host("c")}));
        hold_pod(
            &mut cluster,
            "default",
            "web",
            "b",
            json!({"app": "web"}),
            with_cpu("1"),
        );
        let near = json!([{"weight": 50, "podAffinityTerm":
            {"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "web"}}}}]);
        let mut spec = with_cpu("1");
        spec["affinity"] = json!({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": near}});
        let key = ObjectKey::new("default", "p");
        let mut chosen = |spec: Value| {
            let pod = pending_pod("default", "p", json!({"app": "web"}), spec);
            match decide(&key, &pod, &mut cluster, &world(), &Profile::default()) {
                Decision::Bind(node) => node.to_string(),
                Decision::Unschedulable(refusals) => refusals.message(),
            }
        };
        assert_eq!(chosen(spec), "b");
        let mut spec = with_cpu("1");
        spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "host", "operator": "NotIn", "values": ["a"]}]}}]}});
        spec["topologySpreadConstraints"] = json!([{"topologyKey": "host", "maxSkew": 1,
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}]);
        assert_eq!(chosen(spec), "c");
    }
}
