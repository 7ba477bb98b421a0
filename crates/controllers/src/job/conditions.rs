//! The conditions of a Job.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub const SUSPENDED: &str = "Suspended";

/// Sets a condition to `status`. A reason is told anew only when the status changes; whether it did.
pub fn set(
    conditions: &mut Vec<JobCondition>,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let new = JobCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == type_) {
        Some(old) if old.status == status => false,
        Some(old) => {
            *old = new;
            true
        }
        // What never was needs no telling that it isn't.
        None if status == "False" => false,
        None => {
            conditions.push(new);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::now;
    use super::*;

    #[test]
    fn a_condition_changes_when_its_status_does() {
        let mut conditions = Vec::new();
        let mut to = |status| set(&mut conditions, SUSPENDED, status, "R", "m", now());
        assert_eq!(
            [to("False"), to("True"), to("True"), to("False"), to("False")],
            [false, true, false, true, false]
        );
    }
}
