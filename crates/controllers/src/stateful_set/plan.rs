//! Which pods to create and to delete now.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::identity::ordinal;
use super::rolling;
use crate::cache::{Phase, Pod, StatefulSetView};

/// The revisions that pods can be of, by name.
#[derive(Debug, Clone, Copy)]
pub struct Revisions<'a> {
    /// That of pods that aren't updated.
    pub current: &'a str,
    /// That of the template as it is now.
    pub update: &'a str,
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The set has fewer pods now.
    Scaled,
    /// It failed.
    Failed,
    /// It ended.
    Succeeded,
    /// Another revision takes its place.
    Updated,
}

/// Most pods to create in one sync: those that came about bring the set back for the others.
const CREATES_MAX: usize = 500;

/// What to do next, in this order.
#[derive(Debug, Default)]
pub struct Plan {
    /// Ordinals of pods to create, each with whether it is of the update revision.
    pub create: Vec<(u32, bool)>,
    /// Pods to delete.
    pub delete: Vec<(Pod, Why)>,
    /// Ordinals of pods that wait, maybe for a claim that is gone.
    pub pending: Vec<u32>,
}

/// Whether the pod does its work.
pub fn is_healthy(pod: &Pod) -> bool {
    pod.phase == Phase::Running && pod.is_ready() && !pod.terminating
}

/// Whether it has done so for long enough.
pub fn is_available(set: &StatefulSetView, pod: &Pod, now: Timestamp) -> bool {
    is_healthy(pod) && pod.is_available(set.min_ready_seconds(), now)
}

/// Compares `pods`, all owned, with what the set asks for.
pub fn plan(set: &StatefulSetView, pods: &[Pod], revisions: Revisions<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if set.is_terminating() {
        return plan;
    }
    let in_order = set.spec.pod_management_policy.as_deref() != Some("Parallel");
    let by_ordinal: BTreeMap<u32, Pod> = pods
        .iter()
        .filter_map(|pod| Some((ordinal(set, pod)?, pod.clone())))
        .collect();
    let wanted = set.ordinals();
    for number in wanted.clone() {
        let Some(pod) = by_ordinal.get(&number) else {
            plan.create.push((number, is_updated(set, number)));
            if in_order || plan.create.len() == CREATES_MAX {
                return plan;
            }
            continue;
        };
        match pod.phase {
            Phase::Failed | Phase::Succeeded if !pod.terminating => {
                let why = match pod.phase {
                    Phase::Failed => Why::Failed,
                    _ => Why::Succeeded,
                };
                plan.delete.push((pod.clone(), why));
                if in_order {
                    return plan;
                }
                continue;
            }
            Phase::Pending if !pod.terminating => plan.pending.push(number),
            _ => {}
        }
        if in_order && !is_available(set, pod, now) {
            return plan;
        }
    }
    let mut surplus: Vec<(u32, Pod)> = by_ordinal
        .iter()
        .filter(|(number, _)| !wanted.contains(number))
        .map(|(number, pod)| (*number, pod.clone()))
        .collect();
    surplus.reverse();
    // Of several broken pods only the lowest may go: nothing is taken from a set that is in trouble.
    let lowest_broken = surplus
        .iter()
        .rev()
        .find(|(_, pod)| !is_healthy(pod))
        .map(|(number, _)| *number);
    for (number, pod) in surplus {
        if pod.terminating {
            if in_order {
                return plan;
            }
            continue;
        }
        if in_order && !is_available(set, &pod, now) && lowest_broken != Some(number) {
            return plan;
        }
        plan.delete.push((pod, Why::Scaled));
        if in_order {
            return plan;
        }
    }
    let replaced = rolling::replaced(set, &by_ordinal, revisions.update, now);
    plan.delete
        .extend(replaced.into_iter().map(|pod| (pod, Why::Updated)));
    plan
}

/// Whether a new pod with that ordinal is of the update revision.
fn is_updated(set: &StatefulSetView, number: u32) -> bool {
    let strategy = set.spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return true;
    }
    let held_back = match strategy.and_then(|strategy| strategy.rolling_update.as_ref()) {
        Some(rolling) => rolling.partition,
        None => set.status.current_replicas,
    };
    let held_back = u32::try_from(held_back.unwrap_or(0)).unwrap_or(0);
    number >= set.ordinals().start.saturating_add(held_back)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{PodBuilder, now, pod, set};
    use super::*;
    use serde_json::{Value, json};

    fn good(number: u32) -> PodBuilder {
        pod(&format!("web-{number}")).on("n").hash("web-a").ready()
    }

    fn next(spec: Value, pods: Vec<PodBuilder>) -> String {
        let pods: Vec<Pod> = pods.into_iter().map(PodBuilder::build).collect();
        let revisions = Revisions {
            current: "web-a",
            update: "web-a",
        };
        let plan = plan(&set(spec), &pods, revisions, now());
        let created = plan.create.iter().map(|(number, _)| format!("+{number}"));
        let deleted = plan.delete.iter().map(|(pod, _)| {
            let name = &pod.key.name;
            format!("-{}", name.strip_prefix("web-").unwrap_or(name))
        });
        created.chain(deleted).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pods_come_one_after_the_other() {
        let spec = || json!({});
        assert_eq!(next(spec(), vec![]), "+0");
        assert_eq!(
            next(spec(), vec![pod("web-0").on("n")]),
            "",
            "the first isn't ready"
        );
        assert_eq!(next(spec(), vec![good(0)]), "+1");
        assert_eq!(next(spec(), vec![good(0), good(2)]), "+1");
        assert_eq!(next(spec(), vec![good(0), good(1), good(2)]), "");
        assert_eq!(next(spec(), vec![good(0).terminating(), good(1)]), "");
        assert_eq!(next(json!({"ordinals": {"start": 5}}), vec![good(5)]), "+6");
        assert_eq!(
            next(
                json!({"minReadySeconds": 10}),
                vec![pod("web-0").on("n").ready_for(5)]
            ),
            "",
            "not for long enough"
        );
    }

    #[test]
    fn or_all_at_once() {
        let spec = || json!({"podManagementPolicy": "Parallel"});
        assert_eq!(next(spec(), vec![]), "+0 +1 +2");
        assert_eq!(next(spec(), vec![pod("web-1").on("n")]), "+0 +2");
        let mut many = spec();
        many["replicas"] = json!(i32::MAX);
        assert_eq!(
            next(many, vec![]).split(' ').count(),
            CREATES_MAX,
            "not all in one breath"
        );
        let mut one = spec();
        one["replicas"] = json!(1);
        assert_eq!(next(one, vec![good(0), good(1), pod("web-2")]), "-2 -1");
    }

    #[test]
    fn pods_go_from_the_highest_on_and_not_while_others_are_broken() {
        let spec = || json!({"replicas": 1});
        assert_eq!(next(spec(), vec![good(0), good(1), good(2)]), "-2");
        assert_eq!(next(spec(), vec![good(0), good(1), good(2).terminating()]), "");
        assert_eq!(next(spec(), vec![pod("web-0").on("n"), good(1)]), "");
        assert_eq!(next(spec(), vec![good(0), good(1), pod("web-2").on("n")]), "-2");
        assert_eq!(
            next(spec(), vec![good(0), pod("web-1").on("n"), pod("web-2").on("n")]),
            "",
            "a lower one is broken, too"
        );
    }

    #[test]
    fn ended_pods_are_replaced() {
        assert_eq!(next(json!({}), vec![pod("web-0").on("n").failed()]), "-0");
        assert_eq!(next(json!({}), vec![pod("web-0").on("n").succeeded()]), "-0");
        assert_eq!(
            next(json!({}), vec![pod("web-0").on("n").failed().terminating()]),
            ""
        );
    }

    #[test]
    fn new_pods_below_the_partition_are_of_the_old_revision() {
        let spec = json!({"podManagementPolicy": "Parallel",
            "updateStrategy": {"rollingUpdate": {"partition": 2}}});
        let revisions = Revisions {
            current: "web-a",
            update: "web-b",
        };
        let plan = plan(&set(spec), &[], revisions, now());
        assert_eq!(plan.create, [(0, false), (1, false), (2, true)]);
    }
}
