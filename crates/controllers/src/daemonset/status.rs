//! The numbers a DaemonSet shows (contract §3.9).

use k8s_openapi::api::apps::v1::DaemonSetStatus;

use super::grouping::{NodeChoice, PodsByNode};
use super::rolling::Current;

/// Counts over existing nodes. One pod a node counts: the first one.
pub fn count(current: &Current<'_>, nodes: &[NodeChoice], pods: &PodsByNode) -> DaemonSetStatus {
    let (mut updated, mut available) = (0, 0);
    let mut status = DaemonSetStatus::default();
    for node in nodes {
        let first = pods.first(&node.name);
        if !node.run {
            status.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        if let Some(pod) = first {
            status.current_number_scheduled += 1;
            status.number_ready += i32::from(pod.is_ready());
            available += i32::from(pod.is_available(current.min_ready_seconds, current.now));
            updated += i32::from(current.is_updated(pod));
        }
    }
    status.number_available = Some(available);
    status.number_unavailable = Some(status.desired_number_scheduled - available);
    status.updated_number_scheduled = Some(updated);
    status
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
        && old.observed_generation.unwrap_or(0) >= new.observed_generation.unwrap_or(0)
}

/// `counted` as it is written over `old`: conditions and the collision count are not ours to drop,
/// counters that upstream omits when zero are omitted.
pub fn to_write(old: &DaemonSetStatus, counted: &DaemonSetStatus) -> DaemonSetStatus {
    let omit_zero = |number: Option<i32>| number.filter(|number| *number != 0);
    DaemonSetStatus {
        conditions: old.conditions.clone(),
        collision_count: old.collision_count,
        updated_number_scheduled: omit_zero(counted.updated_number_scheduled),
        number_available: omit_zero(counted.number_available),
        number_unavailable: omit_zero(counted.number_unavailable),
        observed_generation: counted.observed_generation.filter(|generation| *generation != 0),
        ..counted.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{choice, now, pod};
    use super::*;

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
        let status = count(&current, &nodes, &PodsByNode::new(&pods));
        assert_eq!(status.desired_number_scheduled, 3);
        assert_eq!(status.current_number_scheduled, 2);
        assert_eq!(status.number_misscheduled, 1);
        assert_eq!(status.number_ready, 2);
        assert_eq!(status.number_available, Some(1));
        assert_eq!(status.number_unavailable, Some(2));
        assert_eq!(status.updated_number_scheduled, Some(1));
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
        let written = serde_json::to_value(to_write(&old, &counted)).unwrap();
        assert_eq!(
            written,
            serde_json::json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0,
                "numberReady": 3, "collisionCount": 2, "conditions": [{"type": "Mine", "status": "True"}]})
        );
    }
}
