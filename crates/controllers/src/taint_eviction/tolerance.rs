//! How long a pod may stay on a tainted node.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Taint, Toleration};
use orlop_api::taints::{NO_EXECUTE, tolerates};
use orlop_client::workqueue::DELAY_MAX;

/// How long a pod tolerates a node's NoExecute taints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerance {
    /// There is nothing to tolerate.
    Untainted,
    /// For ever.
    Forever,
    /// For this long.
    For(Duration),
    /// Not at all.
    Not,
}

/// The shortest time among the first matching toleration of each taint.
pub fn tolerance(taints: &[Taint], tolerations: &[Toleration]) -> Tolerance {
    let mut shortest: Option<i64> = None;
    let mut tainted = false;
    for taint in taints.iter().filter(|taint| taint.effect == NO_EXECUTE) {
        tainted = true;
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Tolerance::Not;
        };
        if let Some(seconds) = toleration.toleration_seconds {
            shortest = Some(shortest.map_or(seconds, |shortest| shortest.min(seconds)));
        }
    }
    match shortest {
        _ if !tainted => Tolerance::Untainted,
        None => Tolerance::Forever,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Tolerance::For(Duration::from_secs(seconds).min(DELAY_MAX)),
            _ => Tolerance::Not,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn n06_n07_pods_stay_as_long_as_their_shortest_toleration() {
        let forever = json!({"key": "a", "operator": "Exists"});
        let seconds = |key: &str, n: i64| json!({"key": key, "operator": "Exists", "tolerationSeconds": n});
        let a = json!({"key": "a", "effect": "NoExecute"});
        let b = json!({"key": "b", "effect": "NoExecute"});
        let soft = json!({"key": "a", "effect": "NoSchedule"});
        for (name, taints, tolerations, want) in [
            ("no taint", json!([soft]), json!([]), Tolerance::Untainted),
            ("untolerated", json!([a]), json!([]), Tolerance::Not),
            ("forever", json!([a]), json!([forever]), Tolerance::Forever),
            (
                "70 s",
                json!([a]),
                json!([seconds("a", 70)]),
                Tolerance::For(Duration::from_secs(70)),
            ),
            (
                "longer than clocks go",
                json!([a]),
                json!([seconds("a", i64::MAX)]),
                Tolerance::For(DELAY_MAX),
            ),
            (
                "zero is now",
                json!([a]),
                json!([seconds("a", 0)]),
                Tolerance::Not,
            ),
            (
                "first match counts",
                json!([a]),
                json!([forever, seconds("a", 5)]),
                Tolerance::Forever,
            ),
            (
                "shortest of two taints",
                json!([a, b]),
                json!([seconds("a", 70), seconds("b", 7)]),
                Tolerance::For(Duration::from_secs(7)),
            ),
            (
                "one of two untolerated",
                json!([a, b]),
                json!([forever]),
                Tolerance::Not,
            ),
        ] {
            let taints: Vec<Taint> = serde_json::from_value(taints).unwrap();
            let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).unwrap();
            assert_eq!(tolerance(&taints, &tolerations), want, "{name}");
        }
    }
}
