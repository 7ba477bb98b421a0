//! Pod conditions: finding, setting, and the two that decide about traffic and rollouts.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};

/// The condition of a type.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    condition_of(pod.status.as_ref()?, kind)
}

/// The same of a status alone.
pub fn condition_of<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

/// True if the condition exists with status `True`.
pub fn is_true(pod: &Pod, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|c| c.status == "True")
}

/// Condition Ready is True.
pub fn is_ready(pod: &Pod) -> bool {
    is_true(pod, "Ready")
}

/// Ready for at least `min_ready_seconds` (0 = ready at all) at `now`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    if !is_ready(pod) {
        return false;
    }
    if min_ready_seconds <= 0 {
        return true;
    }
    super::ready_since(pod)
        .and_then(|since| {
            since
                .checked_add(SignedDuration::from_secs(i64::from(min_ready_seconds)))
                .ok()
        })
        .is_some_and(|available_at| available_at <= now)
}

/// Puts a condition in place by type. The transition time of the old one is kept while the status stays the
/// same. Returns whether anything changed.
pub fn set_condition(conditions: &mut Vec<PodCondition>, mut new: PodCondition) -> bool {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            let changed = *old != new;
            *old = new;
            changed
        }
        None => {
            conditions.push(new);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ready_at(time: &str) -> Pod {
        serde_json::from_value(json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": time}]}}))
        .unwrap()
    }

    #[test]
    fn availability_waits_for_min_ready_seconds() {
        let pod = ready_at("2026-01-01T00:00:00Z");
        let at = |s: &str| s.parse::<Timestamp>().unwrap();
        assert!(is_available(&pod, 0, at("2020-01-01T00:00:00Z")));
        assert!(!is_available(&pod, 10, at("2026-01-01T00:00:09Z")));
        assert!(is_available(&pod, 10, at("2026-01-01T00:00:10Z")));
        assert!(!is_available(&Pod::default(), 0, at("2026-01-01T00:00:10Z")));
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let mut list = ready_at("2026-01-01T00:00:00Z")
            .status
            .unwrap()
            .conditions
            .unwrap();
        let mut new = list[0].clone();
        new.last_transition_time = None;
        new.reason = Some("Because".into());
        assert!(set_condition(&mut list, new.clone()));
        assert!(list[0].last_transition_time.is_some());
        new.status = "False".into();
        assert!(set_condition(&mut list, new.clone()));
        assert!(list[0].last_transition_time.is_none());
        assert!(!set_condition(&mut list, new));
    }
}
