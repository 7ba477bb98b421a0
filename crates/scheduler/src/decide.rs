//! Which node a pod goes to, or why none will do. Pure over a [`Cluster`].

use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use orlop_api::placement::{self, NodeFacts, NodeUsage, Reason};
use orlop_api::quantity::{Amount, amount};
use orlop_api::taints::{PREFER_NO_SCHEDULE, tolerates};

use orlop_client::informer::ObjectKey;

use crate::affinity::Company;
use crate::cluster::{Candidate, Cluster};
use crate::message::Refusals;
use crate::spread::Spread;
use crate::view::{NodeView, Pending};
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
    /// By which other pods' company it is bound, if by any.
    pub company: Option<Company<'a>>,
    /// How it has to spread, if it has to.
    pub spread: Option<Spread<'a>>,
    /// Its volumes, if it has any.
    pub volumes: Option<Volumes<'a>>,
}

impl<'a> Judge<'a> {
    /// Counts what has to be counted; the reason if no node could do.
    pub fn of(
        key: &'a ObjectKey,
        pod: &'a Pending,
        cluster: &mut Cluster,
        world: &'a World,
    ) -> Result<Self, String> {
        Ok(Self {
            key,
            pod,
            volumes: Volumes::of(key, pod, world)?,
            company: Company::of(key, &pod.traits, cluster, world),
            spread: Spread::of(key, pod, cluster),
        })
    }

    /// spec.priority.
    pub fn priority(&self) -> i32 {
        self.pod.spec.priority.unwrap_or(0)
    }

    /// Why the pod can't be on this node, nothing if it can.
    pub fn reasons(&self, candidate: &Candidate<'_>) -> Vec<Reason> {
        let usage = candidate.usage_for(self.key, self.priority());
        self.reasons_with(
            candidate.node,
            &usage,
            self.spread.as_ref(),
            self.company.as_ref(),
        )
    }

    fn reasons_with(
        &self,
        node: &NodeView,
        usage: &NodeUsage,
        spread: Option<&Spread<'_>>,
        company: Option<&Company<'_>>,
    ) -> Vec<Reason> {
        let reasons = placement::node_filters(&self.pod.spec, &node.node, usage);
        if !reasons.is_empty() {
            return reasons;
        }
        let refusal = self.volumes.as_ref().and_then(|volumes| volumes.refuses(node));
        let refusal = refusal.or_else(|| spread?.refuses(node));
        let refusal = refusal.or_else(|| company?.refuses(node));
        refusal.into_iter().collect()
    }

    /// Whether the pod can be on this node when so much is taken of it and other pods count so.
    pub fn fits(
        &self,
        node: &NodeView,
        usage: &NodeUsage,
        spread: Option<&Spread<'_>>,
        company: Option<&Company<'_>>,
    ) -> bool {
        self.reasons_with(node, usage, spread, company).is_empty()
    }
}

/// A node that would do.
struct Feasible {
    name: Arc<str>,
    score: f64,
    /// How much other pods make it preferred, and how crowded it is.
    liking: i64,
    crowd: i64,
}

/// Decides for one pod.
pub fn decide(key: &ObjectKey, pod: &Pending, cluster: &mut Cluster, world: &World) -> Decision {
    let nodes = cluster.len();
    let judge = match Judge::of(key, pod, cluster, world) {
        Ok(judge) => judge,
        Err(why) => return Decision::Unschedulable(Refusals::whole(nodes, why)),
    };
    // Where room was made for it, if there is enough by now.
    if let Some(nominated) = &pod.nominated
        && let Some(candidate) = cluster.candidate(nominated)
        && judge.reasons(&candidate).is_empty()
    {
        return Decision::Bind(nominated.clone());
    }
    let mut refusals = Refusals::of(nodes);
    let mut feasible = Vec::new();
    let mut look = |candidate: &Candidate<'_>| {
        let reasons = judge.reasons(candidate);
        if reasons.is_empty() {
            feasible.push(Feasible {
                name: candidate.name.clone(),
                score: score(&pod.spec, candidate.node, candidate.usage),
                liking: judge
                    .company
                    .as_ref()
                    .map_or(0, |company| company.liking(candidate.node)),
                crowd: judge
                    .spread
                    .as_ref()
                    .map_or(0, |spread| spread.crowd(candidate.node)),
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
    match best(&feasible) {
        Some(node) => Decision::Bind(node),
        None => Decision::Unschedulable(refusals),
    }
}

/// The node with the highest score; of equals the first by name, so that the same cluster gives the same answer.
fn best(feasible: &[Feasible]) -> Option<Arc<str>> {
    let liking = Scale::of(feasible.iter().map(|node| node.liking));
    let crowd = Scale::of(feasible.iter().map(|node| node.crowd));
    let mut best: Option<(f64, &Arc<str>)> = None;
    for node in feasible {
        let score = node.score
            + WEIGHT_COMPANY * liking.percent(node.liking)
            + WEIGHT_SPREAD * (100.0 - crowd.percent(node.crowd));
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, &node.name));
        }
    }
    best.map(|(_, name)| name.clone())
}

/// From the least of some numbers to the highest.
struct Scale {
    least: i64,
    span: i64,
}

impl Scale {
    fn of(numbers: impl Iterator<Item = i64> + Clone) -> Self {
        let least = numbers.clone().min().unwrap_or(0);
        Self {
            least,
            span: numbers.max().unwrap_or(0) - least,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a score needs no more precision")]
    fn percent(&self, number: i64) -> f64 {
        if self.span == 0 {
            0.0
        } else {
            100.0 * (number - self.least) as f64 / self.span as f64
        }
    }
}

/// Weight of free cpu and memory, of soft taints and of preferred affinity.
const WEIGHT_FREE: f64 = 1.0;
const WEIGHT_TAINTS: f64 = 3.0;
const WEIGHT_AFFINITY: f64 = 2.0;
/// Weight of preferred company, and of constraints on spreading that only ask.
const WEIGHT_COMPANY: f64 = 2.0;
const WEIGHT_SPREAD: f64 = 2.0;

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
    let allocatable = node.node.allocatable();
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
    let soft = node
        .node
        .taints
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
    use crate::testing::{cluster, hold, hold_pod, pending, pending_pod, with_cpu, world};
    use serde_json::{Value, json};

    fn decided(pod: &Pending, cluster: &mut Cluster) -> String {
        match decide(&ObjectKey::new("ns", "p"), pod, cluster, &world()) {
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
        assert_eq!(decided(&pending(with_cpu("1")), &mut cluster), "b");
        assert_eq!(
            decided(&pending(with_cpu("5")), &mut cluster),
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
        let decision = decide(&ObjectKey::new("default", "p"), &pod, &mut cluster, &world());
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
        let Decision::Unschedulable(refusals) =
            decide(&ObjectKey::new("default", "p"), &pod, &mut cluster, &world())
        else {
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
        let takes = crate::view::Takes::of(&important.spec);
        let nominee = crate::cluster::Nominee { priority: 10, takes };
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
            match decide(&key, &pod, &mut cluster, &world()) {
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
