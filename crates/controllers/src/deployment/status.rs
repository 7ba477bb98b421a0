//! What a Deployment's status says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{
    AVAILABLE, NEW_SET_AVAILABLE, PROGRESSING, REPLICA_FAILURE, TIMED_OUT, condition, find,
    progresses_because, remove, renew, set,
};
use super::limits::Limits;
use super::rolling::{pods_available, pods_wanted};
use crate::cache::{DeploymentView, ReplicaSet};

/// The fields of the status, all of which are written.
pub const FIELDS: [&str; 9] = [
    "availableReplicas",
    "collisionCount",
    "conditions",
    "observedGeneration",
    "readyReplicas",
    "replicas",
    "terminatingReplicas",
    "unavailableReplicas",
    "updatedReplicas",
];

/// Counts the pods of all sets; conditions as they were, but for Available.
pub fn count(
    deployment: &DeploymentView,
    limits: Limits,
    new: Option<&ReplicaSet>,
    old: &[ReplicaSet],
    now: Timestamp,
) -> DeploymentStatus {
    let all: Vec<ReplicaSet> = old.iter().chain(new).cloned().collect();
    // What sets say of themselves may be any number.
    let sum = |number: &dyn Fn(&ReplicaSet) -> i32| all.iter().map(number).fold(0, i32::saturating_add);
    let some = |number: i32| (number > 0).then_some(number);
    let available = pods_available(&all);
    let mut conditions = deployment.status.conditions.clone().unwrap_or_default();
    let enough = available >= deployment.replicas().saturating_sub(limits.max_unavailable);
    let (status, reason, message) = if enough {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    set(
        &mut conditions,
        condition(AVAILABLE, status, reason, message.to_owned(), now),
    );
    let terminating: Option<Vec<i32>> = all.iter().map(|set| set.status.terminating_replicas).collect();
    DeploymentStatus {
        observed_generation: Some(deployment.generation()).filter(|generation| *generation != 0),
        replicas: some(sum(&|set| set.status.replicas)),
        updated_replicas: some(new.map_or(0, |new| new.status.replicas)),
        ready_replicas: some(sum(&|set| set.status.ready_replicas.unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some(pods_wanted(&all).saturating_sub(available)),
        // Only known if all sets know it.
        terminating_replicas: terminating.map(|counts| counts.into_iter().fold(0, i32::saturating_add)),
        collision_count: deployment.status.collision_count,
        conditions: Some(conditions),
    }
}

/// How long nothing may happen; `None` if for ever.
pub fn progress_deadline(deployment: &DeploymentView) -> Option<SignedDuration> {
    deployment
        .spec
        .progress_deadline_seconds
        .filter(|seconds| *seconds != i32::MAX)
        .map(|seconds| SignedDuration::from_secs(seconds.into()))
}

/// Whether all pods are new and available, as `status` tells.
pub fn is_complete(deployment: &DeploymentView, status: &DeploymentStatus) -> bool {
    let wanted = Some(deployment.replicas()).filter(|wanted| *wanted != 0);
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation.unwrap_or(0) >= deployment.generation()
}

/// Writes into `status` how the rollout goes: conditions Progressing and ReplicaFailure.
pub fn judge_rollout(
    deployment: &DeploymentView,
    status: &mut DeploymentStatus,
    new: Option<&ReplicaSet>,
    old: &[ReplicaSet],
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    let Some(deadline) = progress_deadline(deployment) else {
        remove(conditions, PROGRESSING);
        judge_failure(conditions, new, old);
        return;
    };
    let was_complete =
        status.replicas == status.updated_replicas && progresses_because(conditions, NEW_SET_AVAILABLE);
    if !was_complete {
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        let what = |end: &str| match new {
            Some(new) => format!("ReplicaSet \"{}\" {end}", new.key.name),
            None => format!("Deployment \"{name}\" {end}"),
        };
        let progressing =
            |status: &str, reason: &str, end: &str| condition(PROGRESSING, status, reason, what(end), now);
        let complete = is_complete(deployment, status);
        let moved = has_moved(&deployment.status, status);
        let conditions = status.conditions.get_or_insert_default();
        if complete {
            set(
                conditions,
                progressing("True", NEW_SET_AVAILABLE, "has successfully progressed."),
            );
        } else if moved {
            renew(
                conditions,
                progressing("True", "ReplicaSetUpdated", "is progressing."),
            );
        } else if is_timed_out(conditions, deadline, now) {
            set(
                conditions,
                progressing("False", TIMED_OUT, "has timed out progressing."),
            );
        }
    }
    judge_failure(status.conditions.get_or_insert_default(), new, old);
}

/// A failure of the new set, or of an old one, is the Deployment's.
fn judge_failure(conditions: &mut Vec<DeploymentCondition>, new: Option<&ReplicaSet>, old: &[ReplicaSet]) {
    let failure = new.into_iter().chain(old).find_map(|set| {
        set.status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == REPLICA_FAILURE)
    });
    match failure {
        None => remove(conditions, REPLICA_FAILURE),
        Some(failure) => {
            let failure = DeploymentCondition {
                type_: REPLICA_FAILURE.to_owned(),
                status: failure.status.clone(),
                reason: failure.reason.clone(),
                message: failure.message.clone(),
                last_transition_time: failure.last_transition_time.clone(),
                last_update_time: failure.last_transition_time.clone(),
            };
            set(conditions, failure);
        }
    }
}

/// Whether new pods came, old ones went, or pods became ready or available.
fn has_moved(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let number = |number: Option<i32>| number.unwrap_or(0);
    let old_pods = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || old_pods(new) < old_pods(old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}

fn is_timed_out(conditions: &[DeploymentCondition], deadline: SignedDuration, now: Timestamp) -> bool {
    let Some(progressing) = find(conditions, PROGRESSING) else {
        return false;
    };
    match progressing.reason.as_deref() {
        // It was done; what happens to its pods now is no rollout.
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => match &progressing.last_update_time {
            Some(Time(updated)) => now.duration_since(*updated) > deadline,
            None => false,
        },
    }
}

/// When to look again whether the rollout has timed out; `None` if it can't.
pub fn look_again(
    deployment: &DeploymentView,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let deadline = progress_deadline(deployment)?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let progressing = find(conditions, PROGRESSING)?;
    // A rollout that was done times out no more, whatever becomes of its pods: its time may be long over.
    let is_over = matches!(progressing.reason.as_deref(), Some(TIMED_OUT | NEW_SET_AVAILABLE));
    if is_over || is_complete(deployment, status) {
        return None;
    }
    let updated = progressing.last_update_time.as_ref()?.0;
    let wait = deadline - now.duration_since(updated) + SignedDuration::from_secs(1);
    Some(Duration::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{deployment, now, set as replica_set};
    use super::*;
    use serde_json::json;

    fn counted(
        deployment: &DeploymentView,
        new: Option<&ReplicaSet>,
        old: &[ReplicaSet],
    ) -> DeploymentStatus {
        count(deployment, Limits::of(deployment), new, old, now())
    }

    fn progressing(status: &DeploymentStatus) -> String {
        let condition = find(status.conditions.as_deref().unwrap(), PROGRESSING);
        condition.map_or("none".into(), |condition| {
            format!(
                "{} {} {}",
                condition.status,
                condition.reason.as_deref().unwrap(),
                condition.message.as_deref().unwrap()
            )
        })
    }

    #[test]
    fn numbers_add_up_over_the_sets() {
        let deployment = deployment(json!({"replicas": 4}));
        let new = replica_set("new", 2).has(2, 1).build();
        let old = [replica_set("old", 3).has(3, 3).build()];
        let mut status = serde_json::to_value(counted(&deployment, Some(&new), &old)).unwrap();
        let conditions = status.as_object_mut().unwrap().remove("conditions").unwrap();
        assert_eq!(
            status,
            json!({"observedGeneration": 1, "replicas": 5, "updatedReplicas": 2, "readyReplicas": 4,
                "availableReplicas": 4, "unavailableReplicas": 1})
        );
        assert_eq!(
            (
                &conditions[0]["type"],
                &conditions[0]["status"],
                &conditions[0]["reason"]
            ),
            (
                &json!("Available"),
                &json!("True"),
                &json!("MinimumReplicasAvailable")
            )
        );
    }

    #[test]
    fn a_rollout_progresses_completes_and_times_out() {
        let mut deployment = deployment(json!({"replicas": 1}));
        let new = replica_set("web-1", 1).has(1, 0).build();
        let mut status = counted(&deployment, Some(&new), &[]);
        judge_rollout(&deployment, &mut status, Some(&new), &[], now());
        assert_eq!(
            progressing(&status),
            "True ReplicaSetUpdated ReplicaSet \"web-1\" is progressing."
        );
        deployment.status = status;

        let later = now() + SignedDuration::from_secs(601);
        let mut stuck = counted(&deployment, Some(&new), &[]);
        assert_eq!(
            look_again(&deployment, &stuck, now()),
            Some(Duration::from_secs(601))
        );
        judge_rollout(&deployment, &mut stuck, Some(&new), &[], later);
        assert_eq!(
            progressing(&stuck),
            "False ProgressDeadlineExceeded ReplicaSet \"web-1\" has timed out progressing."
        );
        assert_eq!(look_again(&deployment, &stuck, later), None);

        let done = replica_set("web-1", 1).has(1, 1).build();
        let mut status = counted(&deployment, Some(&done), &[]);
        judge_rollout(&deployment, &mut status, Some(&done), &[], now());
        assert_eq!(
            progressing(&status),
            "True NewReplicaSetAvailable ReplicaSet \"web-1\" has successfully progressed."
        );
        deployment.status = status;
        let mut broken = counted(&deployment, Some(&new), &[]);
        judge_rollout(&deployment, &mut broken, Some(&new), &[], later);
        assert!(
            progressing(&broken).starts_with("True NewReplicaSetAvailable"),
            "a pod that breaks later is no rollout"
        );
        assert_eq!(look_again(&deployment, &broken, later), None);
    }

    #[test]
    fn without_a_deadline_nothing_is_said_about_progress() {
        let deployment = deployment(json!({"progressDeadlineSeconds": i32::MAX}));
        let mut status = counted(&deployment, None, &[]);
        judge_rollout(&deployment, &mut status, None, &[], now());
        assert_eq!(progressing(&status), "none");
    }

    #[test]
    fn a_failing_set_makes_a_failing_deployment() {
        let deployment = deployment(json!({"replicas": 1}));
        let mut failing = replica_set("web-1", 1).build();
        std::sync::Arc::get_mut(&mut failing)
            .unwrap()
            .object
            .common
            .status
            .conditions = Some(
            serde_json::from_value(json!([{"type": "ReplicaFailure", "status": "True",
                "reason": "FailedCreate", "message": "quota"}]))
            .unwrap(),
        );
        let mut status = counted(&deployment, Some(&failing), &[]);
        judge_rollout(&deployment, &mut status, Some(&failing), &[], now());
        let failure = find(status.conditions.as_deref().unwrap(), REPLICA_FAILURE).unwrap();
        assert_eq!(
            (failure.reason.as_deref(), failure.message.as_deref()),
            (Some("FailedCreate"), Some("quota"))
        );
    }
}
