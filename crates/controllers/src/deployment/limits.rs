//! How far a rolling update may go from the number of pods wanted.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cache::DeploymentView;

/// spec.strategy.rollingUpdate in pods; both zero for other strategies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Pods there may be beyond those wanted.
    pub max_surge: i32,
    /// Wanted pods that may lack.
    pub max_unavailable: i32,
}

impl Limits {
    /// The limits of `deployment` as it is scaled now.
    pub fn of(deployment: &DeploymentView) -> Self {
        let replicas = deployment.replicas();
        if !is_rolling(deployment) || replicas == 0 {
            return Self::default();
        }
        let rolling = deployment
            .spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.rolling_update.as_ref());
        let percent = || IntOrString::String("25%".to_owned());
        let surge = rolling
            .and_then(|rolling| rolling.max_surge.clone())
            .unwrap_or_else(percent);
        let unavailable = rolling
            .and_then(|rolling| rolling.max_unavailable.clone())
            .unwrap_or_else(percent);
        let max_surge = amount(&surge, replicas, Round::Up);
        let max_unavailable = amount(&unavailable, replicas, Round::Down);
        Self {
            max_surge,
            // Otherwise the update could never proceed; and no more can lack than are wanted.
            max_unavailable: if max_surge == 0 && max_unavailable == 0 {
                1
            } else {
                max_unavailable.min(replicas)
            },
        }
    }
}

/// Whether old and new pods may run side by side.
pub fn is_rolling(deployment: &DeploymentView) -> bool {
    let strategy = deployment.spec.strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

/// Where fractions of a pod go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// To more pods.
    Up,
    /// To fewer.
    Down,
}

/// An absolute number, or a percentage of `total`. What validation refuses counts as 0.
pub fn amount(value: &IntOrString, total: i32, round: Round) -> i32 {
    let text = match value {
        IntOrString::Int(number) => return (*number).max(0),
        IntOrString::String(text) => text,
    };
    let Some(percent) = text
        .strip_suffix('%')
        .and_then(|percent| percent.parse::<i64>().ok())
    else {
        return 0;
    };
    let hundredths = percent.max(0).saturating_mul(i64::from(total.max(0)));
    let whole = match round {
        Round::Up => hundredths.saturating_add(99) / 100,
        Round::Down => hundredths / 100,
    };
    i32::try_from(whole).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::testing::deployment;
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn surge_rounds_up_and_unavailable_down_and_never_both_zero() {
        for (replicas, surge, unavailable, want) in [
            (10, json!("25%"), json!("25%"), (3, 2)),
            (1, json!("25%"), json!("25%"), (1, 0)),
            (10, json!(0), json!("5%"), (0, 1)),
            (3, json!(5), json!(7), (5, 3)),
            (4, Value::Null, Value::Null, (1, 1)),
            (0, json!(1), json!(1), (0, 0)),
        ] {
            let spec = json!({"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate":
                {"maxSurge": surge, "maxUnavailable": unavailable}}});
            let limits = Limits::of(&deployment(spec.clone()));
            assert_eq!((limits.max_surge, limits.max_unavailable), want, "{spec}");
        }
        assert_eq!(
            Limits::of(&deployment(json!({"strategy": {"type": "Recreate"}}))),
            Limits::default()
        );
    }
}
