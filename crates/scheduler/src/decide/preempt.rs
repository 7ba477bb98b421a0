//! Which pods would have to go so that one of higher priority fits (contract §6.9). Pure.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use jiff::Timestamp;
use orlop_api::placement::{NodeUsage, Reason};
use orlop_client::informer::ObjectKey;

use crate::decide::affinity::Company;
use crate::decide::exclusive::Exclusive;
use crate::decide::limits::Load;
use crate::decide::spread::Spread;
use crate::decide::{Judge, Others};
use crate::known::cluster::{Candidate, Cluster, Holder, add};
use crate::known::view::Pending;
use crate::known::world::World;
use crate::profile::rules::Rules;

/// A pod that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: Arc<str>,
    priority: i32,
    started: Option<Timestamp>,
}

impl Victim {
    /// It is on some node.
    pub fn of(key: &ObjectKey, holder: &Holder) -> Self {
        Self {
            key: key.clone(),
            uid: holder.uid.clone(),
            priority: holder.priority,
            started: holder.started,
        }
    }

    /// Who is to be spared rather comes first: by priority, then by how long it runs.
    fn worth(&self, other: &Self) -> Ordering {
        let started = |a: &Self, b: &Self| match (a.started, b.started) {
            (Some(a), Some(b)) => a.cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        other
            .priority
            .cmp(&self.priority)
            .then_with(|| started(self, other))
            .then_with(|| self.key.cmp(&other.key))
    }
}

/// The pods to evict from one node.
#[derive(Debug, Clone)]
pub struct Preemption {
    /// The node that gets room.
    pub node: Arc<str>,
    /// Who goes, lowest priority first.
    pub victims: Vec<Victim>,
    /// Pods of lower priority for which room was made there in vain.
    pub displaced: Vec<ObjectKey>,
    cost: Cost,
}

impl Preemption {
    /// `violations`: how many of the victims a budget doesn't allow to go.
    fn new(
        node: Arc<str>,
        mut victims: Vec<Victim>,
        displaced: Vec<ObjectKey>,
        violations: usize,
    ) -> Option<Self> {
        victims.sort_by(|a, b| b.worth(a));
        let cost = Cost::of(&victims, violations)?;
        Some(Self {
            node,
            victims,
            displaced,
            cost,
        })
    }

    /// The same by others' leaving; `None` if nobody has to.
    pub fn by(self, victims: Vec<Victim>, violations: usize) -> Option<Self> {
        Self::new(self.node, victims, self.displaced, violations)
    }

    /// How many of the victims a budget doesn't allow to go.
    pub fn violations(&self) -> usize {
        self.cost.violations
    }
}

/// What evicting costs: less is better, in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    /// Victims whose budget doesn't allow it.
    violations: usize,
    highest: i32,
    sum: i64,
    victims: usize,
    /// The one that runs for longest of the most important victims started so long ago: later is better.
    earliest: Reverse<Option<Timestamp>>,
}

impl Cost {
    /// `None` of nobody.
    fn of(victims: &[Victim], violations: usize) -> Option<Self> {
        let highest = victims.iter().map(|victim| victim.priority).max()?;
        let most_important = victims.iter().filter(|victim| victim.priority == highest);
        Some(Self {
            violations,
            highest,
            sum: victims.iter().map(|victim| worth(victim.priority)).sum(),
            victims: victims.len(),
            earliest: Reverse(most_important.filter_map(|victim| victim.started).min()),
        })
    }
}

/// What preemption can do for a pod that fits nowhere.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing.
    Impossible,
    /// The pod doesn't want it, or has to wait: for that reason.
    NotEligible(&'static str),
    /// Evict these.
    Evict(Preemption),
}

impl Outcome {
    fn of(best: Option<Preemption>) -> Self {
        best.map_or(Self::Impossible, Self::Evict)
    }
}

/// Finds the cheapest victims.
pub fn preempt(
    key: &ObjectKey,
    pod: &Pending,
    cluster: &mut Cluster,
    world: &World,
    rules: &Rules,
) -> Outcome {
    let mut best: Option<Preemption> = None;
    let looked = look(key, pod, cluster, world, rules, |found| {
        if best.as_ref().is_none_or(|best| found.cost < best.cost) {
            best = Some(found);
        }
    });
    match looked {
        Ok(()) => Outcome::of(best),
        Err(why) => Outcome::NotEligible(why),
    }
}

/// All ways to make room, the cheapest first, `most` at most; why none is looked for.
pub fn ways(
    key: &ObjectKey,
    pod: &Pending,
    cluster: &mut Cluster,
    world: &World,
    rules: &Rules,
    most: usize,
) -> Result<Vec<Preemption>, &'static str> {
    let mut ways = Vec::new();
    look(key, pod, cluster, world, rules, |found| ways.push(found))?;
    ways.sort_by(|a, b| a.cost.cmp(&b.cost));
    ways.truncate(most);
    Ok(ways)
}

/// The best of them.
pub fn cheapest(ways: Vec<Preemption>) -> Outcome {
    Outcome::of(ways.into_iter().min_by(|a, b| a.cost.cmp(&b.cost)))
}

/// Tells every way to make room; why none is looked for.
fn look(
    key: &ObjectKey,
    pod: &Pending,
    cluster: &mut Cluster,
    world: &World,
    rules: &Rules,
    mut found: impl FnMut(Preemption),
) -> Result<(), &'static str> {
    if pod.spec.preemption_policy.as_deref() == Some("Never") {
        return Err("not eligible due to preemptionPolicy=Never.");
    }
    let Ok(judge) = Judge::of(key, pod, cluster, world, rules) else {
        return Ok(());
    };
    // Room is being made for it already, unless the node has become one where that is in vain.
    if let Some(nominated) = &pod.nominated
        && let Some(candidate) = cluster.candidate(nominated)
        && candidate
            .holders
            .values()
            .any(|holder| holder.preempted && holder.priority < judge.priority())
        && judge.reasons(&candidate).iter().all(Reason::preemption_helps)
    {
        return Err("not eligible due to terminating pod on the nominated node.");
    }
    let look = |candidate: &Candidate<'_>| victims(key, &judge, candidate, world);
    match &pod.confined_to {
        Some(names) => {
            for name in names {
                let way = cluster.candidate(name).and_then(|candidate| look(&candidate));
                way.into_iter().for_each(&mut found);
            }
        }
        None => cluster
            .candidates()
            .filter_map(|candidate| look(&candidate))
            .for_each(found),
    }
    Ok(())
}

/// A node on which pods are tried out being away.
struct Trial<'a, 'b> {
    judge: &'a Judge<'b>,
    candidate: &'a Candidate<'a>,
    usage: NodeUsage,
    company: Option<Company<'b>>,
    spread: Option<Spread<'b>>,
    exclusive: Option<Exclusive>,
    load: Option<Load<'a>>,
}

impl Trial<'_, '_> {
    /// A pod leaves (-1) or stays after all (1). What it takes is counted by the caller when it leaves.
    fn count(&mut self, key: &ObjectKey, holder: &Holder, times: i64) {
        if let Some(company) = &mut self.company {
            company.count(self.candidate.node, key, holder, times);
        }
        if let Some(spread) = &mut self.spread {
            spread.count(self.candidate.node, key, holder, times);
        }
        if let Some(exclusive) = &mut self.exclusive {
            exclusive.count(key, holder, times);
        }
        if let Some(load) = &mut self.load {
            load.count(key, holder, times);
        }
    }

    fn fits(&self, usage: &NodeUsage) -> bool {
        let others = Others {
            company: self.company.as_ref(),
            spread: self.spread.as_ref(),
            exclusive: self.exclusive.as_ref(),
            load: self.load.as_ref(),
        };
        self.judge.fits(self.candidate.node, usage, others)
    }
}

fn victims(
    key: &ObjectKey,
    judge: &Judge<'_>,
    candidate: &Candidate<'_>,
    world: &World,
) -> Option<Preemption> {
    let priority = judge.priority();
    let reasons = judge.reasons(candidate);
    if reasons.is_empty() || !reasons.iter().all(Reason::preemption_helps) {
        return None;
    }
    let (lower, others): (Vec<_>, Vec<_>) = candidate
        .holders
        .iter()
        .partition(|(_, holder)| holder.priority < priority);
    if lower.is_empty() {
        return None;
    }
    let mut trial = Trial {
        judge,
        candidate,
        usage: NodeUsage::default(),
        company: judge.company.clone(),
        spread: judge.spread.clone(),
        exclusive: judge.exclusive.clone(),
        load: judge.load_of(candidate),
    };
    for (_, holder) in &others {
        add(&mut trial.usage, &holder.takes);
    }
    for (_, nominee) in candidate.awaited(key, priority) {
        add(&mut trial.usage, &nominee.takes);
    }
    for (key, holder) in &lower {
        trial.count(key, holder, -1);
    }
    if !trial.fits(&trial.usage) {
        return None;
    }
    // Spare those that a budget protects, then the most important ones, then those that run for longest.
    let mut lower: Vec<(Victim, &Holder)> = lower
        .into_iter()
        .map(|(key, holder)| (Victim::of(key, holder), holder))
        .collect();
    lower.sort_by(|(a, _), (b, _)| a.worth(b));
    let labelled = lower.iter();
    let protected = world.protected(labelled.map(|(victim, holder)| (&victim.key, &holder.traits.labels)));
    lower.sort_by_key(|(victim, _)| !protected.contains(&victim.key));
    let mut victims: Vec<Victim> = Vec::new();
    for (victim, holder) in lower {
        let mut with = trial.usage.clone();
        add(&mut with, &holder.takes);
        trial.count(&victim.key, holder, 1);
        if trial.fits(&with) {
            trial.usage = with;
        } else {
            trial.count(&victim.key, holder, -1);
            victims.push(victim);
        }
    }
    let violations = victims
        .iter()
        .filter(|victim| protected.contains(&victim.key))
        .count();
    let lesser = candidate
        .nominees
        .iter()
        .filter(|(_, nominee)| nominee.priority < priority);
    let displaced = lesser.map(|(key, _)| key.clone()).collect();
    Preemption::new(candidate.name.clone(), victims, displaced, violations)
}

/// What a pod of that priority counts among others: more than nothing whatever its priority is, so that of two nodes the
/// one with fewer victims is the cheaper.
fn worth(priority: i32) -> i64 {
    i64::from(priority) - i64::from(i32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster, hold, hold_pod, pending, pending_pod, protect, with_cpu, world};
    use serde_json::json;

    fn evicted(outcome: Outcome) -> String {
        match outcome {
            Outcome::Evict(found) => {
                let names: Vec<String> = found
                    .victims
                    .iter()
                    .map(|victim| victim.key.name.to_string())
                    .collect();
                format!("{}: {}", found.node, names.join(" "))
            }
            other => format!("{other:?}"),
        }
    }

    fn tried(pod: &Pending, cluster: &mut Cluster) -> String {
        tried_in(pod, cluster, &world())
    }

    fn tried_in(pod: &Pending, cluster: &mut Cluster, world: &World) -> String {
        evicted(preempt(
            &ObjectKey::new("ns", "p"),
            pod,
            cluster,
            world,
            &Rules::default(),
        ))
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
        assert_eq!(tried(&pod(100, "2"), &mut cluster), "b: b2 b1");
        assert_eq!(tried(&pod(100, "1"), &mut cluster), "b: b2");
        assert_eq!(tried(&pod(100, "4"), &mut cluster), "a: a1 a2");
        assert_eq!(tried(&pod(100, "5"), &mut cluster), "Impossible");
        assert_eq!(tried(&pod(5, "2"), &mut cluster), "Impossible", "equals are safe");
    }

    #[test]
    fn pods_that_a_budget_protects_go_last_and_only_if_nothing_else_helps() {
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        hold(&mut cluster, "a1", "a", 1, 2);
        hold(&mut cluster, "a2", "a", 2, 2);
        hold(&mut cluster, "b1", "b", 3, 4);
        let world = world();
        assert_eq!(tried_in(&pod(100, "2"), &mut cluster, &world), "a: a1");
        protect(&world, "a1", 0);
        assert_eq!(
            tried_in(&pod(100, "2"), &mut cluster, &world),
            "a: a2",
            "the other one on the node"
        );
        protect(&world, "a2", 0);
        assert_eq!(
            tried_in(&pod(100, "2"), &mut cluster, &world),
            "b: b1",
            "another node"
        );
        protect(&world, "b1", 0);
        assert_eq!(
            tried_in(&pod(100, "2"), &mut cluster, &world),
            "a: a1",
            "the least of evils"
        );
        protect(&world, "b1", 1);
        assert_eq!(
            tried_in(&pod(100, "2"), &mut cluster, &world),
            "b: b1",
            "one may go"
        );
    }

    #[test]
    fn a_budget_that_selects_everything_protects_pods_without_labels_too() {
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        let low = with_cpu("4");
        hold_pod(&mut cluster, "ns", "bare", "a", json!({}), low.clone());
        hold_pod(&mut cluster, "other", "bare", "b", json!({}), low);
        let world = world();
        let budget = json!({"metadata": {"name": "all", "namespace": "ns"}, "spec": {"selector": {}},
            "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
        world.budgets.apply(serde_json::from_value(budget).unwrap());
        assert_eq!(tried_in(&pod(100, "2"), &mut cluster, &world), "b: bare");
    }

    #[test]
    fn who_does_not_preempt_says_why() {
        let mut cluster = cluster(json!({"a": {}}));
        hold(&mut cluster, "low", "a", 1, 4);
        let mut never = pod(100, "2");
        never.spec.preemption_policy = Some("Never".into());
        assert_eq!(
            tried(&never, &mut cluster),
            "NotEligible(\"not eligible due to preemptionPolicy=Never.\")"
        );
        let mut waiting = pod(100, "2");
        waiting.nominated = Some("a".into());
        assert_eq!(tried(&waiting, &mut cluster), "a: low", "nobody is leaving there");
        let mut leaving = |preempted: bool| {
            let mut holder = pod(1, "4").holder("low".into());
            (holder.terminating, holder.preempted) = (true, preempted);
            cluster.hold(&ObjectKey::new("ns", "low"), &"a".into(), holder);
            tried(&waiting, &mut cluster)
        };
        assert_eq!(leaving(false), "a: low", "that one leaves for another reason");
        assert_eq!(
            leaving(true),
            "NotEligible(\"not eligible due to terminating pod on the nominated node.\")"
        );
        let mut elsewhere = pod(100, "2");
        elsewhere.nominated = Some("a".into());
        elsewhere.spec.node_selector = Some([("disk".to_owned(), "fast".to_owned())].into());
        assert_eq!(
            tried(&elsewhere, &mut cluster),
            "Impossible",
            "it can't be there any more"
        );
    }

    #[test]
    fn few_victims_are_spared_rather_than_many_of_as_little_priority() {
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        hold(&mut cluster, "a1", "a", -10, 2);
        hold(&mut cluster, "a2", "a", -20, 2);
        hold(&mut cluster, "b1", "b", -10, 4);
        assert_eq!(tried(&pod(0, "4"), &mut cluster), "b: b1");
    }

    #[test]
    fn pods_go_that_anti_affinity_or_spreading_objects_to() {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        let mut cluster = cluster(json!({"a": zone("a"), "b": zone("b")}));
        hold_pod(
            &mut cluster,
            "default",
            "web",
            "a",
            json!({"app": "web"}),
            with_cpu("1"),
        );
        hold_pod(
            &mut cluster,
            "default",
            "db",
            "a",
            json!({"app": "db"}),
            with_cpu("1"),
        );
        let mut important = with_cpu("1");
        important["priority"] = json!(7);
        hold_pod(
            &mut cluster,
            "default",
            "web2",
            "b",
            json!({"app": "web"}),
            important.clone(),
        );
        let term = json!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]);
        let mut far = important.clone();
        far["affinity"] =
            json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}});
        let pod = pending_pod("default", "p", json!({}), far);
        assert_eq!(
            tried(&pod, &mut cluster),
            "a: web",
            "and not the one that is in nobody's way"
        );
        let mut near = important;
        near["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "none"}}}]}});
        let pod = pending_pod("default", "p", json!({}), near);
        assert_eq!(
            tried(&pod, &mut cluster),
            "Impossible",
            "nobody's going makes company"
        );
    }
}
