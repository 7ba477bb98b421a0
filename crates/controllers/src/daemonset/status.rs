//! The numbers a DaemonSet shows (contract §3.9).

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetStatus;

use super::conditions;
use super::grouping::NodeChoice;
use super::rolling::Current;
use crate::cache::Pod;

/// What a node has for the status. One pod a node counts: the first one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnNode {
    /// A pod should be here.
    pub desired: bool,
    /// A pod is here.
    pub has_pod: bool,
    /// It is ready.
    pub ready: bool,
    /// It has been for long enough.
    pub available: bool,
    /// It is of the current revision.
    pub updated: bool,
    /// When a pod here will have been ready for long enough that isn't yet: it, or the new one beside it.
    pub matures: Option<Timestamp>,
}

impl OnNode {
    /// What `node` has, its pods being `pods`, best first.
    pub fn of(current: &Current<'_>, node: &NodeChoice, pods: &[Pod]) -> Self {
        let first = pods.first();
        let pod_is = |what: &dyn Fn(&Pod) -> bool| first.is_some_and(what);
        let available = pod_is(&|pod| pod.is_available(current.min_ready_seconds, current.now));
        let matures = pods
            .iter()
            .filter(|pod| !pod.terminating && !pod.is_available(current.min_ready_seconds, current.now))
            .filter_map(|pod| pod.available_at(current.min_ready_seconds))
            .min();
        Self {
            desired: node.run,
            has_pod: first.is_some(),
            ready: pod_is(&|pod| pod.is_ready()),
            available,
            updated: pod_is(&|pod| current.is_updated(pod)),
            matures,
        }
    }
}

/// The sums over all existing nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    desired: i32,
    current: i32,
    misscheduled: i32,
    ready: i32,
    available: i32,
    updated: i32,
    /// Nodes that should have no pod and have one of an old revision, which an update takes away.
    left_over: i32,
}

impl Totals {
    /// One more node.
    pub fn add(&mut self, node: OnNode) {
        self.count(node, 1);
    }

    /// One node less.
    pub fn remove(&mut self, node: OnNode) {
        self.count(node, -1);
    }

    fn count(&mut self, node: OnNode, by: i32) {
        if !node.desired {
            self.misscheduled += by * i32::from(node.has_pod);
            self.left_over += by * i32::from(node.has_pod && !node.updated);
            return;
        }
        self.desired += by;
        self.current += by * i32::from(node.has_pod);
        self.ready += by * i32::from(node.ready);
        self.available += by * i32::from(node.available);
        self.updated += by * i32::from(node.updated);
    }

    /// Whether every pod is of the current revision, on nodes that should have none as well.
    pub fn is_updated(&self) -> bool {
        self.updated == self.current && self.left_over == 0
    }

    /// The numbers of the status.
    pub fn status(&self) -> DaemonSetStatus {
        DaemonSetStatus {
            desired_number_scheduled: self.desired,
            current_number_scheduled: self.current,
            number_misscheduled: self.misscheduled,
            number_ready: self.ready,
            number_available: Some(self.available),
            number_unavailable: Some(self.desired - self.available),
            updated_number_scheduled: Some(self.updated),
            ..DaemonSetStatus::default()
        }
    }
}

/// Whether writing `new` over `old` would tell nothing.
pub fn says_the_same(old: &DaemonSetStatus, new: &DaemonSetStatus) -> bool {
    let numbers = |status: &DaemonSetStatus| {
        [
            status.current_number_scheduled,
            status.number_misscheduled,
            status.desired_number_scheduled,
            status.number_ready,
            status.updated_number_scheduled.unwrap_or(0),
            status.number_available.unwrap_or(0),
            status.number_unavailable.unwrap_or(0),
        ]
    };
    numbers(old) == numbers(new)
        && conditions::are_told(
            old.conditions.as_ref(),
            new.conditions.as_deref().unwrap_or_default(),
        )
        && old.observed_generation.unwrap_or(0) >= new.observed_generation.unwrap_or(0)
}

/// Whether `new` only tells how far the pods have come since `old`: nobody misses anything who hears of it a little later,
/// together with what comes meanwhile.
pub fn can_wait(old: &DaemonSetStatus, new: &DaemonSetStatus) -> bool {
    let complete = |status: &DaemonSetStatus| {
        status.number_available.unwrap_or(0) == status.desired_number_scheduled
            && status.updated_number_scheduled.unwrap_or(0) == status.desired_number_scheduled
    };
    let completed = complete(new) && !complete(old);
    let observed = new.observed_generation.unwrap_or(0) > old.observed_generation.unwrap_or(0);
    let verdicts = new.conditions.as_deref().unwrap_or_default();
    let known = old.conditions.as_deref().unwrap_or_default();
    let same_verdicts = verdicts.iter().all(|new| {
        known
            .iter()
            .any(|known| known.type_ == new.type_ && known.status == new.status)
    });
    !completed && !observed && same_verdicts
}

/// `counted` as it is written over `old`: conditions of others and the collision count are not ours to drop,
/// counters that upstream omits when zero are omitted.
pub fn to_write(old: &DaemonSetStatus, counted: &DaemonSetStatus, now: Timestamp) -> DaemonSetStatus {
    let omit_zero = |number: Option<i32>| number.filter(|number| *number != 0);
    DaemonSetStatus {
        conditions: conditions::merge(
            old.conditions.as_ref(),
            counted.conditions.as_deref().unwrap_or_default(),
            now,
        ),
        collision_count: old.collision_count,
        updated_number_scheduled: omit_zero(counted.updated_number_scheduled),
        number_available: omit_zero(counted.number_available),
        number_unavailable: omit_zero(counted.number_unavailable),
        // What was observed stays observed: what was counted may be older than what is there.
        observed_generation: counted
            .observed_generation
            .max(old.observed_generation)
            .filter(|generation| *generation != 0),
        ..counted.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::grouping::PodsByNode;
    use super::super::testing::{choice, now, pod};
    use super::*;
    use k8s_openapi::api::apps::v1::DaemonSetCondition;

    #[test]
    fn one_pod_a_node_counts_and_the_older_one_while_surging() {
        let nodes = [
            choice("a", true, true),
            choice("b", true, true),
            choice("c", false, true),
            choice("d", true, true),
            choice("e", false, false),
        ];
        let pods = [
            pod("a-old").on("a").ready().age(50).build(),
            pod("a-new").on("a").hash("new").ready().age(5).build(),
            pod("b").on("b").hash("new").ready_for(3).build(),
            pod("c").on("c").ready().build(),
            pod("elsewhere").on("gone").ready().build(),
        ];
        let current = Current {
            hash: "new",
            generation: None,
            min_ready_seconds: 10,
            now: now(),
        };
        let pods = PodsByNode::new(&pods);
        let mut totals = Totals::default();
        for node in &nodes {
            totals.add(OnNode::of(&current, node, pods.on(&node.name)));
        }
        let gone = OnNode::of(&current, &nodes[0], pods.on("gone"));
        totals.add(gone);
        totals.remove(gone);
        let status = totals.status();
        assert_eq!(status.desired_number_scheduled, 3);
        assert_eq!(status.current_number_scheduled, 2);
        assert_eq!(status.number_misscheduled, 1);
        assert_eq!(status.number_ready, 2);
        assert_eq!(status.number_available, Some(1));
        assert_eq!(status.number_unavailable, Some(2));
        assert_eq!(status.updated_number_scheduled, Some(1));
    }

    /// The old one waits for it, though it is the old one that counts.
    #[test]
    fn a_new_pod_beside_an_old_one_matures() {
        let pods = [
            pod("old").on("a").ready_for(50).age(50).build(),
            pod("new").on("a").hash("new").ready_for(3).age(5).build(),
        ];
        let current = Current {
            hash: "new",
            generation: None,
            min_ready_seconds: 10,
            now: now(),
        };
        let pods = PodsByNode::new(&pods);
        let found = OnNode::of(&current, &choice("a", true, true), pods.on("a"));
        assert!(found.available && !found.updated);
        assert_eq!(found.matures, Some(now() + jiff::SignedDuration::from_secs(7)));
    }

    #[test]
    fn what_was_observed_stays_observed() {
        let status = |generation: Option<i64>| DaemonSetStatus {
            observed_generation: generation,
            ..DaemonSetStatus::default()
        };
        for (old, counted, want) in [
            (Some(3), Some(1), Some(3)),
            (Some(1), Some(3), Some(3)),
            (None, Some(1), Some(1)),
            (None, Some(0), None),
        ] {
            let written = to_write(&status(old), &status(counted), now());
            assert_eq!(written.observed_generation, want, "{counted:?} over {old:?}");
        }
    }

    #[test]
    fn a_status_is_written_only_if_it_tells_something_new() {
        let old = DaemonSetStatus {
            number_ready: 1,
            observed_generation: Some(3),
            ..DaemonSetStatus::default()
        };
        assert!(says_the_same(
            &old,
            &DaemonSetStatus {
                observed_generation: Some(2),
                ..old.clone()
            }
        ));
        assert!(says_the_same(
            &old,
            &DaemonSetStatus {
                number_available: Some(0),
                ..old.clone()
            }
        ));
        assert!(!says_the_same(
            &old,
            &DaemonSetStatus {
                observed_generation: Some(4),
                ..old.clone()
            }
        ));
        assert!(!says_the_same(
            &old,
            &DaemonSetStatus {
                number_ready: 2,
                ..old.clone()
            }
        ));
    }

    #[test]
    fn progress_can_wait_and_what_somebody_waits_for_cannot() {
        let status = |desired, available, updated, generation, verdict: &str| DaemonSetStatus {
            desired_number_scheduled: desired,
            number_available: Some(available),
            updated_number_scheduled: Some(updated),
            observed_generation: Some(generation),
            conditions: Some(vec![DaemonSetCondition {
                type_: "Available".to_owned(),
                status: verdict.to_owned(),
                ..DaemonSetCondition::default()
            }]),
            ..DaemonSetStatus::default()
        };
        let old = status(10, 3, 5, 1, "False");
        for (what, new, want) in [
            ("more pods are available", status(10, 4, 6, 1, "False"), true),
            ("fewer are", status(10, 2, 5, 1, "False"), true),
            ("a node came", status(11, 3, 5, 1, "False"), true),
            ("all is done", status(10, 10, 10, 1, "False"), false),
            ("the generation was seen", status(10, 3, 5, 2, "False"), false),
            ("the verdict changes", status(10, 4, 5, 1, "True"), false),
        ] {
            assert_eq!(can_wait(&old, &new), want, "{what}");
        }
        let done = status(10, 10, 10, 1, "True");
        assert!(
            can_wait(&done, &status(9, 9, 9, 1, "True")),
            "a node that is away for a while in a fleet where all is well"
        );
        assert!(!can_wait(&DaemonSetStatus::default(), &old), "the first one");
    }

    #[test]
    fn a10_conditions_of_others_are_kept() {
        let old: DaemonSetStatus = serde_json::from_value(serde_json::json!({
            "currentNumberScheduled": 1, "desiredNumberScheduled": 1, "numberMisscheduled": 0, "numberReady": 1,
            "collisionCount": 2, "conditions": [{"type": "Mine", "status": "True"}]}))
        .unwrap();
        let counted = DaemonSetStatus {
            number_available: Some(0),
            number_ready: 3,
            ..DaemonSetStatus::default()
        };
        let written = serde_json::to_value(to_write(&old, &counted, now())).unwrap();
        assert_eq!(
            written,
            serde_json::json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0,
                "numberReady": 3, "collisionCount": 2, "conditions": [{"type": "Mine", "status": "True"}]})
        );
    }
}
