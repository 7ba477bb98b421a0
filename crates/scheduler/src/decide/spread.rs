//! Topology spread: whether a node's domains would have too many more of a pod's kind than others. Pure.

use std::collections::{BTreeMap, BTreeSet};

use orlop_api::placement::{self, Reason};
use orlop_api::taints;
use orlop_client::informer::ObjectKey;

use crate::known::cluster::{Cluster, Holder};
use crate::known::traits::{Labels, Spreading};
use crate::known::view::{Family, NodeView, Pending};
use crate::profile::rules::Rules;

/// The counts for one pod: for each constraint the domains there are, and how many pods each has.
#[derive(Debug, Clone)]
pub struct Spread<'a> {
    namespace: &'a str,
    pod: &'a Pending,
    constraints: &'a [Spreading],
    /// The constraints are for all pods: whose copies are counted.
    family: Option<Family>,
    domains: Vec<BTreeMap<String, i64>>,
}

impl<'a> Spread<'a> {
    /// Counts; `None` if the pod has no constraint. One that has none of its own has those for all copies of pods.
    pub fn of(key: &'a ObjectKey, pod: &'a Pending, cluster: &mut Cluster, rules: &'a Rules) -> Option<Self> {
        let own = &pod.traits.spreading;
        let family = pod.family.filter(|_| own.is_empty());
        let constraints = match (family, &rules.spreading) {
            (Some(_), Some(all)) => all,
            _ => own,
        };
        if constraints.is_empty() {
            return None;
        }
        let mut spread = Self {
            namespace: &key.namespace,
            pod,
            constraints,
            family,
            domains: vec![BTreeMap::new(); constraints.len()],
        };
        for candidate in cluster.candidates() {
            for number in 0..spread.domains.len() {
                if let Some(domain) = spread.domain_of(number, candidate.node) {
                    spread.domains[number].entry(domain).or_default();
                }
            }
            for (key, holder) in candidate.holders {
                spread.count(candidate.node, key, holder, 1);
            }
        }
        Some(spread)
    }

    /// The node's domain for a constraint, if the node counts.
    fn domain_of(&self, number: usize, node: &NodeView) -> Option<String> {
        let all = self.constraints;
        let constraint = &all[number];
        // A node without the labels of all required constraints is no place for the pod at all.
        let alike = |other: &&Spreading| other.required == constraint.required;
        if all
            .iter()
            .filter(alike)
            .any(|other| label(node, &other.topology_key).is_none())
        {
            return None;
        }
        if constraint.honors_affinity && !placement::node_affinity_matches(&self.pod.spec, &node.node) {
            return None;
        }
        let tolerations = self.pod.spec.tolerations.as_deref().unwrap_or_default();
        let effects = [taints::NO_SCHEDULE, taints::NO_EXECUTE];
        if constraint.honors_taints
            && taints::first_untolerated(&node.node.taints, tolerations, &effects).is_some()
        {
            return None;
        }
        label(node, &constraint.topology_key).map(str::to_owned)
    }

    /// Counts a pod on `node` so many times: -1 takes it away.
    pub fn count(&mut self, node: &NodeView, key: &ObjectKey, holder: &Holder, times: i64) {
        if &*key.namespace != self.namespace || holder.terminating {
            return;
        }
        for number in 0..self.domains.len() {
            if self.is_about(number, holder.family, &holder.traits.labels)
                && let Some(domain) = self.domain_of(number, node)
            {
                *self.domains[number].entry(domain).or_default() += times;
            }
        }
    }

    /// Whether a constraint counts a pod of the namespace.
    fn is_about(&self, number: usize, family: Option<Family>, labels: &Labels) -> bool {
        let selector = &self.constraints[number].selector;
        match self.family {
            Some(own) => family == Some(own),
            // One that asks for nothing counts nobody, as upstream has it.
            None => !selector.is_everything() && selector.matches(labels),
        }
    }

    /// Why the pod can't be on `node`, if it can't.
    pub fn refuses(&self, node: &NodeView) -> Option<Reason> {
        let constraints = self.constraints.iter().zip(&self.domains);
        for (constraint, domains) in constraints.filter(|(constraint, _)| constraint.required) {
            let Some(domain) = label(node, &constraint.topology_key) else {
                return Some(Reason::TopologySpreadLabel);
            };
            let least = if domains.len() < constraint.min_domains {
                0
            } else {
                domains.values().min().copied().unwrap_or(0)
            };
            let traits = &self.pod.traits;
            let itself = self.family.is_some() || constraint.selector.matches(&traits.labels);
            let itself = i64::from(itself);
            let there = domains.get(domain).copied().unwrap_or(0);
            if there + itself - least > constraint.max_skew {
                return Some(Reason::TopologySpread);
            }
        }
        None
    }

    /// Whether some constraint only asks.
    pub fn asks(&self) -> bool {
        self.constraints.iter().any(|constraint| !constraint.required)
    }

    /// Where `node` stands by the constraints that only ask; `None` if it lacks the label of one of them.
    pub fn standing(&self, node: &NodeView) -> Option<Vec<Standing>> {
        let constraints = self.constraints.iter().zip(&self.domains);
        constraints
            .filter(|(constraint, _)| !constraint.required)
            .map(|(constraint, domains)| {
                let domain = label(node, &constraint.topology_key)?;
                Some(Standing {
                    domain: domain.to_owned(),
                    pods: domains.get(domain).copied().unwrap_or(0),
                    max_skew: constraint.max_skew,
                })
            })
            .collect()
    }
}

/// Where a node stands by one constraint that only asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    domain: String,
    /// How many pods of the kind are in it.
    pods: i64,
    max_skew: i64,
}

/// How crowded nodes are by where they stand; less is better, and `None` isn't to be liked at all.
pub fn crowds<'s>(standings: impl Iterator<Item = Option<&'s [Standing]>> + Clone) -> Vec<Option<i64>> {
    let mut domains: Vec<BTreeSet<&str>> = Vec::new();
    for standing in standings.clone().flatten() {
        domains.resize(standing.len(), BTreeSet::new());
        for (domains, standing) in domains.iter_mut().zip(standing) {
            domains.insert(&standing.domain);
        }
    }
    let of = |standing: &[Standing]| {
        let counted = standing.iter().zip(&domains);
        let crowds =
            counted.map(|(standing, domains)| crowd(standing.pods, domains.len(), standing.max_skew));
        round(crowds.sum())
    };
    standings.map(|standing| standing.map(of)).collect()
}

/// How crowded one of so many domains is by so many pods: the more domains there are, the more each pod counts, and
/// the more skew is allowed, the less a difference does.
#[expect(clippy::cast_precision_loss, reason = "a score needs no more precision")]
pub fn crowd(pods: i64, domains: usize, max_skew: i64) -> f64 {
    pods as f64 * ((domains + 2) as f64).ln() + (max_skew - 1) as f64
}

/// The nearest whole number.
#[expect(clippy::cast_possible_truncation, reason = "it is far from any bound")]
pub fn round(crowd: f64) -> i64 {
    crowd.round() as i64
}

fn label<'a>(node: &'a NodeView, key: &str) -> Option<&'a str> {
    node.node.labels.get(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster, hold_pod, pending_pod};
    use serde_json::{Value, json};

    fn zones(held: &[(&str, &str)]) -> Cluster {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        let tainted = json!({"metadata": {"labels": {"zone": "c", "old": "yes"}},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
        let mut cluster = cluster(json!({"a": zone("a"), "b": zone("b"), "c": tainted, "d": {}}));
        for (pod, node) in held {
            hold_pod(
                &mut cluster,
                "default",
                pod,
                node,
                json!({"app": "web", "v": "1"}),
                json!({"containers": []}),
            );
        }
        cluster
    }

    fn constraint(more: Value) -> Value {
        let mut constraint = json!({"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        orlop_api::patch::merge(&mut constraint, &more);
        constraint
    }

    /// Which of the nodes a, b, c, d take the pod; `-` too many there, `?` no label.
    fn verdicts(cluster: &mut Cluster, spec: Value) -> String {
        let pod = pending_pod("default", "p", json!({"app": "web", "v": "2"}), spec);
        let key = ObjectKey::new("default", "p");
        let rules = Rules::default();
        let spread = Spread::of(&key, &pod, cluster, &rules).unwrap();
        let verdict = |node: &NodeView| match spread.refuses(node) {
            None => '+',
            Some(Reason::TopologySpread) => '-',
            Some(Reason::TopologySpreadLabel) => '?',
            Some(other) => panic!("{other}"),
        };
        cluster
            .candidates()
            .map(|candidate| verdict(candidate.node))
            .collect()
    }

    fn spec(more: Value) -> Value {
        json!({"containers": [], "topologySpreadConstraints": [constraint(more)]})
    }

    #[test]
    fn no_domain_gets_more_than_max_skew_beyond_the_emptiest() {
        let held = [("1", "a"), ("2", "a"), ("3", "b")];
        assert_eq!(verdicts(&mut zones(&held), spec(json!({}))), "--+?", "c has none");
        assert_eq!(verdicts(&mut zones(&held), spec(json!({"maxSkew": 2}))), "-++?");
        assert_eq!(verdicts(&mut zones(&[]), spec(json!({}))), "+++?");
    }

    #[test]
    fn selector_that_asks_for_nothing_counts_nobody() {
        let held = [("1", "a"), ("2", "a"), ("3", "b")];
        let all = json!({"labelSelector": {"matchLabels": null}});
        assert_eq!(verdicts(&mut zones(&held), spec(all.clone())), "+++?");
        let mut of_a_version = all;
        of_a_version["matchLabelKeys"] = json!(["v"]);
        assert_eq!(
            verdicts(&mut zones(&held), spec(of_a_version)),
            "+++?",
            "its own is 2"
        );
    }

    #[test]
    fn with_fewer_domains_than_min_domains_the_emptiest_counts_as_empty() {
        let held = [("1", "a"), ("2", "b"), ("3", "c")];
        assert_eq!(
            verdicts(&mut zones(&held), spec(json!({"minDomains": 3}))),
            "+++?"
        );
        assert_eq!(
            verdicts(&mut zones(&held), spec(json!({"minDomains": 4}))),
            "---?"
        );
    }

    #[test]
    fn node_affinity_and_taints_decide_what_is_a_domain() {
        let held = [("1", "a"), ("2", "b")];
        assert_eq!(
            verdicts(&mut zones(&held), spec(json!({}))),
            "--+?",
            "taints are ignored"
        );
        assert_eq!(
            verdicts(&mut zones(&held), spec(json!({"nodeTaintsPolicy": "Honor"}))),
            "+++?",
            "c is no domain, so a and b are even"
        );
        let mut elsewhere = spec(json!({}));
        elsewhere["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "old", "operator": "DoesNotExist"}]}]}}});
        assert_eq!(
            verdicts(&mut zones(&held), elsewhere.clone()),
            "+++?",
            "affinity is honoured"
        );
        elsewhere["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = json!("Ignore");
        assert_eq!(verdicts(&mut zones(&held), elsewhere), "--+?");
    }

    #[test]
    fn label_keys_count_the_pods_own_version_only() {
        let held = [("1", "a"), ("2", "b")];
        assert_eq!(
            verdicts(&mut zones(&held), spec(json!({"matchLabelKeys": ["v"]}))),
            "+++?"
        );
        assert_eq!(
            verdicts(&mut zones(&held), spec(json!({"matchLabelKeys": ["absent"]}))),
            "--+?"
        );
    }

    #[test]
    fn constraints_that_only_ask_refuse_nobody() {
        let held = [("1", "a"), ("2", "a"), ("3", "b")];
        let mut cluster = zones(&held);
        let pod = spec(json!({"whenUnsatisfiable": "ScheduleAnyway"}));
        assert_eq!(verdicts(&mut cluster, pod.clone()), "++++");
        let pod = pending_pod("default", "p", json!({"app": "web"}), pod);
        let key = ObjectKey::new("default", "p");
        let rules = Rules::default();
        let spread = Spread::of(&key, &pod, &mut cluster, &rules).unwrap();
        let standings: Vec<_> = cluster
            .candidates()
            .map(|candidate| spread.standing(candidate.node))
            .collect();
        let crowds = crowds(standings.iter().map(Option::as_deref));
        let of = |pods: i64| Some(round(crowd(pods, 3, 1)));
        assert_eq!(crowds, [of(2), of(1), of(0), None], "d has no zone");
    }
}
