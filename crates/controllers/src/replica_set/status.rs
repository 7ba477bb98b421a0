//! What a set's status says.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::selector::have_all;

use crate::cache::{Pod, Replicas};

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The fields of the status, all of which are written.
pub const FIELDS: [&str; 6] = [
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
    "terminatingReplicas",
    "conditions",
];

/// What went wrong when pods were created or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One word.
    pub reason: &'static str,
    /// The server's words.
    pub message: String,
}

/// Counts the active pods of `set`; `terminating` of its pods are on their way out.
pub fn count(
    set: &Replicas,
    active: &[Pod],
    terminating: Option<usize>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let labels = set
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let number = |counts: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| counts(pod)).count()).unwrap_or(i32::MAX)
    };
    let carries_all = |pod: &Pod| labels.is_none_or(|labels| have_all(&pod.labels, labels));
    let some = |number: i32| (number != 0).then_some(number);
    ReplicaSetStatus {
        replicas: number(&|_| true),
        fully_labeled_replicas: some(number(&carries_all)),
        ready_replicas: some(number(&|pod| pod.is_ready())),
        available_replicas: some(number(&|pod| pod.is_available(set.min_ready_seconds, now))),
        terminating_replicas: terminating.map(|count| i32::try_from(count).unwrap_or(i32::MAX)),
        observed_generation: Some(set.generation()).filter(|generation| *generation != 0),
        conditions: conditions(set, failure, now),
    }
}

/// The conditions with `ReplicaFailure` as it should be; those of others stay.
fn conditions(set: &Replicas, failure: Option<&Failure>, now: Timestamp) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = set.status.conditions.clone().unwrap_or_default();
    let had = conditions
        .iter()
        .any(|condition| condition.type_ == REPLICA_FAILURE);
    match failure {
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
        Some(failure) if !had => conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// Whether writing `new` over `old` would tell nothing.
pub fn says_the_same(old: &ReplicaSetStatus, new: &ReplicaSetStatus) -> bool {
    let numbers = |status: &ReplicaSetStatus| {
        [
            status.replicas,
            status.fully_labeled_replicas.unwrap_or(0),
            status.ready_replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
            status.terminating_replicas.unwrap_or(-1),
        ]
    };
    numbers(old) == numbers(new)
        && old.observed_generation.unwrap_or(0) == new.observed_generation.unwrap_or(0)
        && old.conditions.as_deref().unwrap_or_default() == new.conditions.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ReplicaSetView;
    use crate::owned::testing::{now, pod};
    use orlop_client::informer::Projection;
    use serde_json::json;

    fn set(status: serde_json::Value) -> Replicas {
        let set = json!({"metadata": {"name": "r", "generation": 3}, "spec": {"replicas": 4, "minReadySeconds": 10,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x", "tier": "web"}}}}, "status": status});
        ReplicaSetView::project(serde_json::from_value(set).unwrap()).common
    }

    #[test]
    fn pods_are_counted_by_what_they_can_do() {
        let set = set(json!({"replicas": 0}));
        let pods = [
            pod("a")
                .label("app", "x")
                .label("tier", "web")
                .on("n")
                .ready_for(60)
                .build(),
            pod("b").label("app", "x").on("n").ready_for(3).build(),
            pod("c").label("app", "x").build(),
        ];
        let status = serde_json::to_value(count(&set, &pods, Some(1), None, now())).unwrap();
        assert_eq!(
            status,
            json!({"replicas": 3, "fullyLabeledReplicas": 1, "readyReplicas": 2, "availableReplicas": 1,
                "terminatingReplicas": 1, "observedGeneration": 3})
        );
    }

    #[test]
    fn a_failure_is_told_once_and_taken_back_and_conditions_of_others_stay() {
        let failure = Failure {
            reason: "FailedCreate",
            message: "quota".into(),
        };
        let mine = json!({"type": "Mine", "status": "True"});
        let before = set(json!({"replicas": 0, "conditions": [mine]}));
        let failed = count(&before, &[], None, Some(&failure), now());
        let types = |status: &ReplicaSetStatus| -> Vec<String> {
            status
                .conditions
                .iter()
                .flatten()
                .map(|c| c.type_.clone())
                .collect()
        };
        assert_eq!(types(&failed), ["Mine", "ReplicaFailure"]);
        let mut after = before.clone();
        after.status = failed;
        assert_eq!(
            count(&after, &[], None, Some(&failure), now()).conditions,
            after.status.conditions
        );
        assert_eq!(types(&count(&after, &[], None, None, now())), ["Mine"]);
    }

    #[test]
    fn zeros_and_absent_numbers_say_the_same() {
        let old = ReplicaSetStatus::default();
        let zero = ReplicaSetStatus {
            ready_replicas: Some(0),
            ..ReplicaSetStatus::default()
        };
        assert!(says_the_same(&old, &zero));
        let counted = ReplicaSetStatus {
            terminating_replicas: Some(0),
            ..ReplicaSetStatus::default()
        };
        assert!(!says_the_same(&old, &counted), "0 is known, absent is not");
    }
}
