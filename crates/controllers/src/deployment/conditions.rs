//! The conditions of a Deployment.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub const PROGRESSING: &str = "Progressing";
pub const AVAILABLE: &str = "Available";
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Reason of condition Progressing when all is done.
pub const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
/// Reason of condition Progressing when nothing happened for too long.
pub const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// A condition as it is from now on.
pub fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

/// The condition of that type.
pub fn find<'a>(conditions: &'a [DeploymentCondition], type_: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition Progressing has that reason.
pub fn progresses_because(conditions: &[DeploymentCondition], reason: &str) -> bool {
    find(conditions, PROGRESSING).is_some_and(|condition| condition.reason.as_deref() == Some(reason))
}

/// Takes the condition of that type away.
pub fn remove(conditions: &mut Vec<DeploymentCondition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// Puts `new` in the place of the condition of its type, unless that says the same.
pub fn set(conditions: &mut Vec<DeploymentCondition>, new: DeploymentCondition) {
    match find(conditions, &new.type_) {
        Some(old) if old.status == new.status && old.reason == new.reason => {}
        _ => renew(conditions, new),
    }
}

/// The same, also when it says the same: its update time tells that something still happens.
pub fn renew(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition) {
    if let Some(old) = find(conditions, &new.type_)
        && old.status == new.status
    {
        new.last_transition_time.clone_from(&old.last_transition_time);
    }
    remove(conditions, &new.type_);
    conditions.push(new);
}

#[cfg(test)]
mod tests {
    use super::super::testing::now;
    use super::*;
    use jiff::ToSpan;

    #[test]
    fn a_condition_keeps_the_time_of_its_last_transition() {
        let at = |seconds: i64| now() + seconds.seconds();
        let progressing = |status: &str, reason: &str, seconds| {
            condition(PROGRESSING, status, reason, String::new(), at(seconds))
        };
        let mut conditions = vec![progressing("True", "A", 0)];
        set(&mut conditions, progressing("True", "A", 1));
        assert_eq!(conditions[0].last_update_time, Some(Time(at(0))), "says the same");
        renew(&mut conditions, progressing("True", "A", 2));
        assert_eq!(
            (
                &conditions[0].last_transition_time,
                &conditions[0].last_update_time
            ),
            (&Some(Time(at(0))), &Some(Time(at(2))))
        );
        set(&mut conditions, progressing("False", "B", 3));
        assert_eq!(conditions[0].last_transition_time, Some(Time(at(3))));
        assert_eq!(conditions.len(), 1);
    }
}
