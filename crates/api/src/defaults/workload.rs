//! Defaults of DaemonSets (daemonsets §2.2).

use serde_json::Value;

use super::tree::{Object, fill, fill_text, made, object, text};

const ROLLING_UPDATE: &str = "RollingUpdate";

/// Update strategy, history and the template.
pub fn daemon_set(set: &mut Value) {
    let Some(spec) = set.as_object_mut().and_then(|set| object(set, "spec")) else {
        return;
    };
    if let Some(strategy) = made(spec, "updateStrategy") {
        update_strategy(strategy);
    }
    fill(spec, "revisionHistoryLimit", 10);
    if let Some(template) = spec.get_mut("template") {
        super::pod_template(template);
    }
}

fn update_strategy(strategy: &mut Object) {
    fill_text(strategy, "type", ROLLING_UPDATE);
    if text(strategy, "type") == ROLLING_UPDATE
        && let Some(rolling) = made(strategy, "rollingUpdate")
    {
        fill(rolling, "maxUnavailable", 1);
        fill(rolling, "maxSurge", 0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn strategy(given: Value) -> Value {
        let mut set = json!({"spec": {"selector": {}, "template": {"spec": {"containers": []}}, "updateStrategy": given}});
        daemon_set(&mut set);
        assert_eq!(set["spec"]["revisionHistoryLimit"], 10);
        assert_eq!(set["spec"]["template"]["spec"]["restartPolicy"], "Always");
        set["spec"]["updateStrategy"].clone()
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
