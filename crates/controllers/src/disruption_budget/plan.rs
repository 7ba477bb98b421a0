//! The sums of a disruption budget.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cache::{BudgetView, Pod};
use crate::deployment::{Round, amount};

/// How long an evicted pod may take to be deleted before it counts as there again.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
const ALLOWED: &str = "DisruptionAllowed";

/// Whether the budget asks for a share of all pods, so that their number must be known.
pub fn needs_scale(budget: &BudgetView) -> bool {
    budget.max_unavailable.is_some() || matches!(budget.min_available, Some(IntOrString::String(_)))
}

/// What the status should say.
#[derive(Debug)]
pub struct Sums<'a> {
    /// The status.
    pub status: PodDisruptionBudgetStatus,
    /// Pods that were evicted and are still there.
    pub not_deleted: Vec<&'a Pod>,
    /// When the next of them counts as there again.
    pub look_again: Option<Duration>,
}

/// Counts `pods`, all selected, of which `scale` should be there if that had to be known.
pub fn sums<'a>(budget: &BudgetView, pods: &'a [Pod], scale: i32, now: Timestamp) -> Sums<'a> {
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let (expected, desired) = match (&budget.max_unavailable, &budget.min_available) {
        (Some(most), _) => (scale, (scale - amount(most, scale, Round::Up)).max(0)),
        (None, Some(least @ IntOrString::String(_))) => (scale, amount(least, scale, Round::Up)),
        (None, Some(IntOrString::Int(least))) => (number(pods.len()), (*least).max(0)),
        (None, None) => (number(pods.len()), 0),
    };
    let mut not_deleted = Vec::new();
    let mut look_again: Option<Duration> = None;
    let mut disrupted: BTreeMap<String, Time> = BTreeMap::new();
    for (name, at) in budget.status.disrupted_pods.iter().flatten() {
        let pod = pods.iter().find(|pod| *pod.key.name == **name);
        // Gone, or going: it needs no remembering.
        let Some(pod) = pod.filter(|pod| !pod.terminating) else {
            continue;
        };
        let left = DELETION_TIMEOUT - now.duration_since(at.0);
        let left = Duration::try_from(left).unwrap_or_default();
        if left.is_zero() {
            not_deleted.push(pod);
        } else {
            look_again = Some(look_again.map_or(left, |other| other.min(left)));
            disrupted.insert(name.clone(), at.clone());
        }
    }
    let healthy = number(
        pods.iter()
            .filter(|pod| !pod.terminating && pod.is_ready() && !disrupted.contains_key(&*pod.key.name))
            .count(),
    );
    let allowed = if expected <= 0 {
        0
    } else {
        (healthy - desired).max(0)
    };
    let (value, reason) = if allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: Some(budget.generation),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        conditions: Some(conditions(budget, value, reason, "", now)),
    };
    Sums {
        status,
        not_deleted,
        look_again,
    }
}

/// The status when the sums can't be done: nothing may be disrupted.
pub fn failed(budget: &BudgetView, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    PodDisruptionBudgetStatus {
        disruptions_allowed: Some(0),
        observed_generation: Some(budget.generation),
        conditions: Some(conditions(budget, "False", "SyncFailed", why, now)),
        ..budget.status.clone()
    }
}

fn conditions(
    budget: &BudgetView,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = budget.status.conditions.clone().unwrap_or_default();
    let old = conditions.iter().position(|condition| condition.type_ == ALLOWED);
    let since = match old.map(|position| &conditions[position]) {
        Some(old) if old.status == value => old.last_transition_time.clone(),
        _ => Time(now),
    };
    let new = Condition {
        type_: ALLOWED.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: since,
        observed_generation: Some(budget.generation),
    };
    match old {
        Some(position) => conditions[position] = new,
        None => conditions.push(new),
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned::testing::{ago, now, pod};
    use orlop_client::informer::Projection;
    use serde_json::{Value, json};

    fn budget(spec: Value, status: Value) -> BudgetView {
        let budget = json!({"metadata": {"name": "b", "generation": 2}, "spec": spec, "status": status});
        BudgetView::project(serde_json::from_value(budget).unwrap())
    }

    /// expected, desired, healthy, allowed.
    fn of(spec: Value, pods: &[Pod], scale: i32) -> [i32; 4] {
        let status = sums(&budget(spec, json!({})), pods, scale, now()).status;
        [
            status.expected_pods,
            status.desired_healthy,
            status.current_healthy,
            status.disruptions_allowed,
        ]
        .map(Option::unwrap)
    }

    #[test]
    fn as_many_may_go_as_are_healthy_beyond_those_that_must_stay() {
        let pods: Vec<Pod> = (0..4)
            .map(|n| pod(&format!("p{n}")).on("n").ready().build())
            .collect();
        assert_eq!(of(json!({"minAvailable": 3}), &pods, 0), [4, 3, 4, 1]);
        assert_eq!(of(json!({"minAvailable": 5}), &pods, 0), [4, 5, 4, 0]);
        assert_eq!(of(json!({"minAvailable": "50%"}), &pods, 5), [5, 3, 4, 1]);
        assert_eq!(of(json!({"maxUnavailable": 1}), &pods, 5), [5, 4, 4, 0]);
        assert_eq!(of(json!({"maxUnavailable": "30%"}), &pods, 4), [4, 2, 4, 2]);
        assert_eq!(of(json!({"maxUnavailable": 1}), &[], 0), [0, 0, 0, 0]);
        let broken = [
            pod("a").on("n").ready().terminating().build(),
            pod("b").on("n").build(),
        ];
        assert_eq!(of(json!({"minAvailable": 0}), &broken, 0), [2, 0, 0, 0]);
    }

    #[test]
    fn an_evicted_pod_is_missed_until_it_is_gone_or_two_minutes_have_passed() {
        let spec = json!({"minAvailable": 0});
        let pods = ["a", "b", "c"].map(|name| pod(name).on("n").ready().build());
        let status = json!({"disruptedPods": {"a": ago(30).to_string(), "b": ago(200).to_string(),
            "gone": ago(1).to_string()}});
        let sums = sums(&budget(spec, status), &pods, 0, now());
        assert_eq!(sums.status.current_healthy, Some(2));
        let names: Vec<&str> = sums.not_deleted.iter().map(|pod| &*pod.key.name).collect();
        assert_eq!(names, ["b"]);
        assert_eq!(sums.look_again, Some(Duration::from_secs(90)));
        let left: Vec<String> = sums.status.disrupted_pods.unwrap().into_keys().collect();
        assert_eq!(left, ["a"]);
    }

    #[test]
    fn the_condition_says_whether_anything_may_go() {
        let pods = [pod("a").on("n").ready().build()];
        let condition = |least: i32| {
            let sums = sums(
                &budget(json!({"minAvailable": least}), json!({})),
                &pods,
                0,
                now(),
            );
            let condition = sums.status.conditions.unwrap().remove(0);
            (condition.status, condition.reason)
        };
        assert_eq!(condition(0), ("True".into(), "SufficientPods".into()));
        assert_eq!(condition(1), ("False".into(), "InsufficientPods".into()));
    }
}
