//! Which taints a node's conditions ask for.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::annotations::{
    TAINT_DISK_PRESSURE, TAINT_MEMORY_PRESSURE, TAINT_NETWORK_UNAVAILABLE, TAINT_NOT_READY,
    TAINT_PID_PRESSURE, TAINT_UNREACHABLE, TAINT_UNSCHEDULABLE,
};
use orlop_api::taints::{NO_EXECUTE, NO_SCHEDULE};

use crate::cache::PostedCondition;

/// The NoSchedule taints that are ours. Others, and other effects, belong to whoever put them.
const NO_SCHEDULE_KEYS: [&str; 7] = [
    TAINT_NOT_READY,
    TAINT_UNREACHABLE,
    TAINT_MEMORY_PRESSURE,
    TAINT_DISK_PRESSURE,
    TAINT_PID_PRESSURE,
    TAINT_NETWORK_UNAVAILABLE,
    TAINT_UNSCHEDULABLE,
];

/// Whether a node that isn't ready may be tainted NoExecute now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// Its turn has come.
    Allowed,
    /// Not yet: a taint that is there may change its reason, none is added.
    Queued,
    /// The whole cluster seems down, so rather the controller is cut off: no such taint anywhere.
    Stopped,
}

/// The taint that a condition Ready of that status brings.
fn ready_taint(status: &str) -> Option<&'static str> {
    match status {
        "False" => Some(TAINT_NOT_READY),
        "Unknown" => Some(TAINT_UNREACHABLE),
        _ => None,
    }
}

fn is(taint: &Taint, key: &str, effect: &str) -> bool {
    taint.key == key && taint.effect == effect
}

fn is_eviction(taint: &Taint) -> bool {
    is(taint, TAINT_NOT_READY, NO_EXECUTE) || is(taint, TAINT_UNREACHABLE, NO_EXECUTE)
}

/// Whether the node waits for its turn to be tainted NoExecute.
pub fn wants_eviction(conditions: &[PostedCondition], taints: &[Taint]) -> bool {
    ready_of(conditions).is_some_and(|status| ready_taint(status).is_some())
        && !taints.iter().any(is_eviction)
}

fn ready_of(conditions: &[PostedCondition]) -> Option<&str> {
    conditions
        .iter()
        .find(|condition| *condition.type_ == *"Ready")
        .map(|condition| &*condition.status)
}

/// The taints the node should have, or `None` if it has them.
pub fn wanted(
    conditions: &[PostedCondition],
    unschedulable: bool,
    taints: &[Taint],
    eviction: Eviction,
    now: Timestamp,
) -> Option<Vec<Taint>> {
    let ready = ready_of(conditions);
    let is_true = |kind: &str| {
        conditions
            .iter()
            .any(|condition| *condition.type_ == *kind && *condition.status == *"True")
    };
    let ready_key = ready.and_then(ready_taint);
    let no_schedule = |key: &str| match key {
        // A node that has posted nothing yet keeps the taint it was admitted with.
        TAINT_NOT_READY if ready.is_none() => {
            taints.iter().any(|taint| is(taint, TAINT_NOT_READY, NO_SCHEDULE))
        }
        TAINT_NOT_READY | TAINT_UNREACHABLE => ready_key == Some(key),
        TAINT_MEMORY_PRESSURE => is_true("MemoryPressure"),
        TAINT_DISK_PRESSURE => is_true("DiskPressure"),
        TAINT_PID_PRESSURE => is_true("PIDPressure"),
        TAINT_NETWORK_UNAVAILABLE => is_true("NetworkUnavailable"),
        _ => unschedulable,
    };
    let evicted = taints.iter().any(is_eviction);
    let no_execute = match eviction {
        Eviction::Stopped => None,
        Eviction::Allowed => ready_key,
        Eviction::Queued => ready_key.filter(|_| evicted),
    };
    let keep = |taint: &Taint| {
        if taint.effect == NO_SCHEDULE && NO_SCHEDULE_KEYS.contains(&taint.key.as_str()) {
            no_schedule(&taint.key)
        } else {
            !is_eviction(taint) || no_execute == Some(taint.key.as_str())
        }
    };
    let mut wanted: Vec<Taint> = taints.iter().filter(|taint| keep(taint)).cloned().collect();
    let mut changed = wanted.len() != taints.len();
    let mut add = |key: &str, effect: &str| {
        if !wanted.iter().any(|taint| is(taint, key, effect)) {
            let time_added = Some(Time(now));
            wanted.push(Taint {
                time_added,
                ..orlop_api::taints::taint(key, effect)
            });
            changed = true;
        }
    };
    for key in NO_SCHEDULE_KEYS {
        if no_schedule(key) {
            add(key, NO_SCHEDULE);
        }
    }
    if let Some(key) = no_execute {
        add(key, NO_EXECUTE);
    }
    changed.then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(pairs: &[(&str, &str)]) -> Vec<PostedCondition> {
        let condition = |(type_, status): &(&str, &str)| PostedCondition {
            type_: (*type_).into(),
            status: (*status).into(),
            made_up: false,
        };
        pairs.iter().map(condition).collect()
    }

    fn taints(pairs: &[(&str, &str)]) -> Vec<Taint> {
        pairs
            .iter()
            .map(|(key, effect)| orlop_api::taints::taint(key, effect))
            .collect()
    }

    fn result(
        pairs: &[(&str, &str)],
        unschedulable: bool,
        has: &[(&str, &str)],
        eviction: Eviction,
    ) -> Option<Vec<String>> {
        let now = Timestamp::from_second(100).unwrap();
        let wanted = wanted(&conditions(pairs), unschedulable, &taints(has), eviction, now)?;
        Some(
            wanted
                .iter()
                .map(|taint| format!("{}:{}", taint.key, taint.effect))
                .collect(),
        )
    }

    const NOT_READY: &str = "node.kubernetes.io/not-ready";
    const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

    #[test]
    fn n02_the_admission_taint_goes_when_the_node_is_ready_and_not_before() {
        let admitted = [(NOT_READY, "NoSchedule")];
        assert_eq!(result(&[], false, &admitted, Eviction::Queued), None);
        assert_eq!(
            result(&[("Ready", "False")], false, &admitted, Eviction::Stopped),
            None
        );
        assert_eq!(
            result(&[("Ready", "True")], false, &admitted, Eviction::Queued),
            Some(vec![])
        );
    }

    #[test]
    fn no_schedule_taints_mirror_conditions_and_leave_others_alone() {
        let others = [("team", "NoSchedule"), (NOT_READY, "PreferNoSchedule")];
        let got = result(
            &[
                ("Ready", "True"),
                ("DiskPressure", "True"),
                ("NetworkUnavailable", "True"),
                ("PIDPressure", "Unknown"),
            ],
            true,
            &others,
            Eviction::Queued,
        );
        assert_eq!(
            got.unwrap(),
            [
                "team:NoSchedule",
                "node.kubernetes.io/not-ready:PreferNoSchedule",
                "node.kubernetes.io/disk-pressure:NoSchedule",
                "node.kubernetes.io/network-unavailable:NoSchedule",
                "node.kubernetes.io/unschedulable:NoSchedule"
            ]
        );
        assert_eq!(
            result(&[("Ready", "True")], false, &others, Eviction::Queued),
            None
        );
    }

    #[test]
    fn n04_the_first_no_execute_taint_waits_for_its_turn_and_a_swap_does_not() {
        let down = [("Ready", "False")];
        let tainted = [(NOT_READY, "NoSchedule")];
        assert_eq!(result(&down, false, &tainted, Eviction::Queued), None);
        assert_eq!(
            result(&down, false, &tainted, Eviction::Allowed).unwrap(),
            [
                format!("{NOT_READY}:NoSchedule"),
                format!("{NOT_READY}:NoExecute")
            ]
        );
        let both = [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")];
        assert_eq!(
            result(&[("Ready", "Unknown")], false, &both, Eviction::Queued).unwrap(),
            [
                format!("{UNREACHABLE}:NoSchedule"),
                format!("{UNREACHABLE}:NoExecute")
            ]
        );
        assert_eq!(
            result(&[("Ready", "True")], false, &both, Eviction::Queued),
            Some(vec![])
        );
    }

    #[test]
    fn n05_no_execute_taints_go_when_the_whole_cluster_seems_down() {
        let both = [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")];
        assert_eq!(
            result(&[("Ready", "Unknown")], false, &both, Eviction::Stopped).unwrap(),
            [format!("{UNREACHABLE}:NoSchedule")]
        );
    }
}
