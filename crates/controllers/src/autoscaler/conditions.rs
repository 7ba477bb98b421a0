//! The conditions of an autoscaler.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Whether its target can be scaled at all, and now.
pub const ABLE_TO_SCALE: &str = "AbleToScale";
/// Whether metrics say how many pods there should be.
pub const SCALING_ACTIVE: &str = "ScalingActive";
/// Whether a bound keeps it from what metrics ask for.
pub const SCALING_LIMITED: &str = "ScalingLimited";

/// What a condition is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its type.
    pub type_: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

impl Said {
    /// One of them.
    pub fn new(type_: &'static str, holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            type_,
            holds,
            reason,
            message: message.into(),
        }
    }
}

/// Sets a condition; its time is that of the last change of whether it holds.
pub fn set(conditions: &mut Vec<HorizontalPodAutoscalerCondition>, said: Said, now: Timestamp) {
    let status = if said.holds { "True" } else { "False" };
    let position = conditions
        .iter()
        .position(|condition| condition.type_ == said.type_)
        .unwrap_or_else(|| {
            conditions.push(HorizontalPodAutoscalerCondition {
                type_: said.type_.to_owned(),
                ..HorizontalPodAutoscalerCondition::default()
            });
            conditions.len() - 1
        });
    let condition = &mut conditions[position];
    if condition.status != status {
        condition.last_transition_time = Some(Time(now));
    }
    condition.status = status.to_owned();
    condition.reason = Some(said.reason.to_owned());
    condition.message = Some(said.message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned::testing::{ago, now};

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let mut conditions = Vec::new();
        let said = |holds, reason| Said::new(SCALING_ACTIVE, holds, reason, "m");
        set(&mut conditions, said(true, "A"), ago(9));
        set(&mut conditions, said(true, "B"), ago(5));
        assert_eq!(conditions[0].last_transition_time, Some(Time(ago(9))));
        assert_eq!(conditions[0].reason.as_deref(), Some("B"));
        set(&mut conditions, said(false, "C"), now());
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, Some(Time(now())));
    }
}
