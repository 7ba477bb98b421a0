//! Conditions Available and Progressing, which upstream doesn't have: how it stands, for `kubectl wait`.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSetCondition, DaemonSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::strategy::Strategy;
use crate::cache::DaemonSetView;

/// Every node that should have a pod has an available one, or as many as an update needs.
pub const AVAILABLE: &str = "Available";
/// The newest template is everywhere, or on its way.
pub const PROGRESSING: &str = "Progressing";

/// What the numbers of `counted` mean. `failure`: why the last sync couldn't do all that it wanted.
pub fn of(set: &DaemonSetView, counted: &DaemonSetStatus, failure: Option<&str>) -> Vec<DaemonSetCondition> {
    vec![available(set, counted), progressing(set, counted, failure)]
}

fn condition(kind: &str, status: bool, reason: &str, message: String) -> DaemonSetCondition {
    DaemonSetCondition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: None,
    }
}

fn available(set: &DaemonSetView, counted: &DaemonSetStatus) -> DaemonSetCondition {
    let desired = counted.desired_number_scheduled;
    let available = counted.number_available.unwrap_or(0);
    let unavailable = desired - available;
    let told = format!("{available} of {desired} pods are available");
    if desired == 0 {
        let message = "no node should have a pod".to_owned();
        return condition(AVAILABLE, true, "NoNodes", message);
    }
    if unavailable <= 0 {
        return condition(AVAILABLE, true, "AllPodsAvailable", told);
    }
    let was = set
        .set
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let was_available = was
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == AVAILABLE && condition.status == "True");
    let wanted = usize::try_from(desired).unwrap_or(0);
    let limits = set.options.limits(&Strategy::of(&set.set), wanted);
    let allowed = i32::try_from(limits.max_unavailable).unwrap_or(i32::MAX);
    let updating = counted.updated_number_scheduled.unwrap_or(0) < desired;
    // An update takes pods away: that is no outage as long as it keeps to its limit.
    if was_available && updating && unavailable <= allowed {
        return condition(AVAILABLE, true, "MinimumPodsAvailable", told);
    }
    condition(AVAILABLE, false, "PodsUnavailable", told)
}

fn progressing(set: &DaemonSetView, counted: &DaemonSetStatus, failure: Option<&str>) -> DaemonSetCondition {
    let desired = counted.desired_number_scheduled;
    let current = counted.current_number_scheduled;
    let updated = counted.updated_number_scheduled.unwrap_or(0);
    let available = counted.number_available.unwrap_or(0);
    let is = |status, reason: &str, message: String| condition(PROGRESSING, status, reason, message);
    if let Some(complaint) = &set.options.complaint {
        return is(false, "InvalidAnnotation", complaint.clone());
    }
    if let Some(failure) = failure {
        return is(false, "SyncFailed", failure.to_owned());
    }
    if updated >= desired {
        return if available >= desired {
            is(
                true,
                "Complete",
                format!("all {desired} pods are of the newest template"),
            )
        } else {
            is(
                true,
                "PodsStarting",
                format!("{available} of {desired} pods are available"),
            )
        };
    }
    let told = format!("{updated} of {desired} pods are of the newest template");
    let old = current - updated;
    if current == desired && set.options.paused {
        return is(false, "Paused", told);
    }
    if current == desired && !set.options.replaces(&Strategy::of(&set.set)) {
        let message = format!("{told}, {old} wait until they are deleted");
        return is(false, "WaitingForDeletion", message);
    }
    let kept = set.options.keeps(usize::try_from(desired).unwrap_or(0));
    if current == desired && kept > 0 && usize::try_from(old).is_ok_and(|old| old <= kept) {
        return is(true, "PartitionReached", told);
    }
    is(true, "RollingOut", told)
}

/// `ours` over what is there: conditions of others stay, times move only with the status.
pub fn merge(
    old: Option<&Vec<DaemonSetCondition>>,
    ours: &[DaemonSetCondition],
    now: Timestamp,
) -> Option<Vec<DaemonSetCondition>> {
    let mut merged = old.cloned().unwrap_or_default();
    for new in ours {
        let mut new = new.clone();
        match merged.iter_mut().find(|known| known.type_ == new.type_) {
            Some(known) => {
                new.last_transition_time = if known.status == new.status {
                    known.last_transition_time.take()
                } else {
                    Some(Time(now))
                };
                *known = new;
            }
            None => {
                new.last_transition_time = Some(Time(now));
                merged.push(new);
            }
        }
    }
    (!merged.is_empty()).then_some(merged)
}

/// Whether `old` has all of `ours`.
pub fn are_told(old: Option<&Vec<DaemonSetCondition>>, ours: &[DaemonSetCondition]) -> bool {
    ours.iter().all(|new| {
        old.into_iter().flatten().any(|known| {
            known.type_ == new.type_
                && known.status == new.status
                && known.reason == new.reason
                && known.message == new.message
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_client::informer::Projection;
    use serde_json::{Value, json};

    fn set(annotations: Value, strategy: &str, was: &str) -> DaemonSetView {
        let set = json!({"metadata": {"name": "d", "annotations": annotations}, "spec": {"selector": {}, "template": {},
            "updateStrategy": {"type": strategy}}, "status": {"currentNumberScheduled": 0, "desiredNumberScheduled": 0,
            "numberMisscheduled": 0, "numberReady": 0, "conditions": [{"type": "Available", "status": was}]}});
        DaemonSetView::project(serde_json::from_value(set).unwrap())
    }

    fn counted([desired, current, updated, available]: [i32; 4]) -> DaemonSetStatus {
        DaemonSetStatus {
            desired_number_scheduled: desired,
            current_number_scheduled: current,
            updated_number_scheduled: Some(updated),
            number_available: Some(available),
            ..DaemonSetStatus::default()
        }
    }

    fn told(set: &DaemonSetView, numbers: [i32; 4]) -> Vec<String> {
        of(set, &counted(numbers), None)
            .into_iter()
            .map(|c| format!("{}={} {}", c.type_, c.status, c.reason.unwrap()))
            .collect()
    }

    #[test]
    fn the_numbers_become_available_and_progressing() {
        let (new, up) = (
            set(json!({}), "RollingUpdate", "False"),
            set(json!({}), "RollingUpdate", "True"),
        );
        for (set, numbers, want) in [
            (
                &new,
                [0, 0, 0, 0],
                ["Available=True NoNodes", "Progressing=True Complete"],
            ),
            (
                &new,
                [3, 3, 3, 3],
                ["Available=True AllPodsAvailable", "Progressing=True Complete"],
            ),
            (
                &new,
                [3, 3, 3, 2],
                ["Available=False PodsUnavailable", "Progressing=True PodsStarting"],
            ),
            (
                &up,
                [3, 3, 1, 2],
                [
                    "Available=True MinimumPodsAvailable",
                    "Progressing=True RollingOut",
                ],
            ),
            (
                &up,
                [3, 3, 1, 1],
                ["Available=False PodsUnavailable", "Progressing=True RollingOut"],
            ),
            (
                &up,
                [3, 3, 3, 2],
                ["Available=False PodsUnavailable", "Progressing=True PodsStarting"],
            ),
        ] {
            assert_eq!(told(set, numbers), want, "{numbers:?}");
        }
        let on_delete = set(json!({}), "OnDelete", "True");
        assert_eq!(
            told(&on_delete, [3, 3, 1, 3])[1],
            "Progressing=False WaitingForDeletion"
        );
        let paused = set(json!({"apps.kruise.io/paused": "true"}), "RollingUpdate", "True");
        assert_eq!(told(&paused, [3, 3, 1, 3])[1], "Progressing=False Paused");
        let partition = set(json!({"apps.kruise.io/partition": "2"}), "RollingUpdate", "True");
        assert_eq!(
            told(&partition, [3, 3, 1, 3])[1],
            "Progressing=True PartitionReached"
        );
        let wrong = set(json!({"apps.kruise.io/paused": "maybe"}), "RollingUpdate", "True");
        assert_eq!(
            told(&wrong, [3, 3, 1, 3])[1],
            "Progressing=False InvalidAnnotation"
        );
    }

    #[test]
    fn a10_conditions_of_others_stay_and_times_move_with_the_status() {
        let (then, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(100).unwrap());
        let view = set(json!({}), "RollingUpdate", "False");
        let ours = of(&view, &counted([1, 1, 1, 1]), None);
        let theirs = DaemonSetCondition {
            type_: "Theirs".into(),
            status: "True".into(),
            ..DaemonSetCondition::default()
        };
        let first = merge(Some(&vec![theirs.clone()]), &ours, then).unwrap();
        assert_eq!((first.len(), &first[0]), (3, &theirs));
        assert!(are_told(Some(&first), &ours));
        let less = of(&view, &counted([1, 1, 1, 0]), None);
        assert!(!are_told(Some(&first), &less));
        let second = merge(Some(&first), &less, now).unwrap();
        let time = |number: usize| second[number].last_transition_time.as_ref().unwrap().0;
        assert_eq!(
            (time(1), time(2)),
            (now, then),
            "Available fell, Progressing is still True"
        );
    }
}
