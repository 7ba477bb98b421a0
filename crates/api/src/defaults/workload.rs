//! Defaults of DaemonSets (daemonsets §2.2).

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::fill;

/// Update strategy, history and the template.
pub fn daemon_set(set: &mut DaemonSet) {
    let Some(spec) = &mut set.spec else { return };
    let strategy = spec.update_strategy.get_or_insert_default();
    fill(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        rolling.max_surge.get_or_insert(IntOrString::Int(0));
    }
    spec.revision_history_limit.get_or_insert(10);
    super::pod_template(&mut spec.template);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn strategy(given: Value) -> Value {
        let mut set: DaemonSet = serde_json::from_value(
            json!({"spec": {"selector": {}, "template": {"spec": {"containers": []}}, "updateStrategy": given}}),
        )
        .unwrap();
        daemon_set(&mut set);
        let value = serde_json::to_value(&set).unwrap();
        assert_eq!(value["spec"]["revisionHistoryLimit"], 10);
        assert_eq!(value["spec"]["template"]["spec"]["restartPolicy"], "Always");
        value["spec"]["updateStrategy"].clone()
    }

    #[test]
    fn each_field_is_defaulted_on_its_own() {
        for (given, want) in [
            (
                Value::Null,
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
            ),
            (
                json!({"rollingUpdate": {"maxSurge": "10%"}}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "10%"}}),
            ),
            (json!({"type": "OnDelete"}), json!({"type": "OnDelete"})),
            (
                json!({"type": "OnDelete", "rollingUpdate": {"maxSurge": 3}}),
                json!({"type": "OnDelete", "rollingUpdate": {"maxSurge": 3}}),
            ),
        ] {
            assert_eq!(strategy(given.clone()), want, "{given}");
        }
    }
}
