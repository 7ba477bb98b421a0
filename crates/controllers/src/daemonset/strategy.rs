//! How a DaemonSet wants its pods replaced.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// spec.updateStrategy, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// Old pods stay until somebody deletes them.
    OnDelete,
    /// Old pods are replaced within limits.
    Rolling {
        /// How many nodes may lack an available pod.
        max_unavailable: IntOrString,
        /// How many nodes may have an old and a new pod.
        max_surge: IntOrString,
    },
}

/// The limits of a rolling update for a known number of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nodes that may lack an available pod.
    pub max_unavailable: usize,
    /// Nodes that may have two pods.
    pub max_surge: usize,
}

impl Strategy {
    /// The strategy of `set`.
    pub fn of(set: &DaemonSet) -> Self {
        let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
            return Self::OnDelete;
        }
        let rolling = strategy
            .and_then(|strategy| strategy.rolling_update.clone())
            .unwrap_or_default();
        Self::Rolling {
            max_unavailable: rolling.max_unavailable.unwrap_or(IntOrString::Int(1)),
            max_surge: rolling.max_surge.unwrap_or(IntOrString::Int(0)),
        }
    }

    /// Whether a node may have an old and a new pod for a while.
    pub fn allows_surge(&self) -> bool {
        // Any non-zero value allows it, also a percentage of few nodes: it is rounded up.
        matches!(self, Self::Rolling { max_surge, .. } if resolve(max_surge, 100) > 0)
    }

    /// The limits when `desired` nodes should have a pod.
    pub fn limits(&self, desired: usize) -> Limits {
        let Self::Rolling {
            max_unavailable,
            max_surge,
        } = self
        else {
            return Limits {
                max_unavailable: 0,
                max_surge: 0,
            };
        };
        let limits = Limits {
            max_unavailable: resolve(max_unavailable, desired),
            max_surge: resolve(max_surge, desired),
        };
        match limits {
            // Otherwise the update could never proceed.
            Limits {
                max_unavailable: 0,
                max_surge: 0,
            } if desired > 0 => Limits {
                max_unavailable: 1,
                max_surge: 0,
            },
            limits => limits,
        }
    }
}

/// An absolute number, or a percentage of `total` rounded up. What validation refuses counts as 0.
pub fn resolve(value: &IntOrString, total: usize) -> usize {
    match value {
        IntOrString::Int(number) => usize::try_from(*number).unwrap_or(0),
        IntOrString::String(text) => text
            .strip_suffix('%')
            .and_then(|percent| percent.parse::<usize>().ok())
            .map_or(0, |percent| percent.saturating_mul(total).div_ceil(100)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rolling(max_unavailable: serde_json::Value, max_surge: serde_json::Value) -> Strategy {
        let set = json!({"metadata": {}, "spec": {"selector": {}, "template": {}, "updateStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": max_unavailable, "maxSurge": max_surge}}}});
        Strategy::of(&serde_json::from_value(set).unwrap())
    }

    #[test]
    fn u08_percentages_round_up() {
        assert_eq!(rolling(json!("50%"), json!(0)).limits(3).max_unavailable, 2);
        assert_eq!(rolling(json!("50%"), json!(0)).limits(2).max_unavailable, 1);
        assert_eq!(
            rolling(json!(0), json!("1%")).limits(3),
            Limits {
                max_unavailable: 0,
                max_surge: 1
            }
        );
        assert!(rolling(json!(0), json!("1%")).allows_surge());
        assert!(!rolling(json!(1), json!("0%")).allows_surge());
    }

    #[test]
    fn limits_are_never_both_zero_while_nodes_want_a_pod() {
        assert_eq!(
            rolling(json!("0%"), json!(0)).limits(3),
            Limits {
                max_unavailable: 1,
                max_surge: 0
            }
        );
        assert_eq!(
            rolling(json!("50%"), json!(0)).limits(0),
            Limits {
                max_unavailable: 0,
                max_surge: 0
            }
        );
    }

    #[test]
    fn missing_fields_mean_one_at_a_time_without_surge() {
        let set = serde_json::from_value(json!({"metadata": {}, "spec": {"selector": {}, "template": {}}}))
            .unwrap();
        assert_eq!(
            Strategy::of(&set).limits(5),
            Limits {
                max_unavailable: 1,
                max_surge: 0
            }
        );
    }
}
