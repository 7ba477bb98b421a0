//! ControllerRevision: history whose data never changes (contract daemonsets §2.5).
use super::definition::Resource;
use super::rules::Rules;
use crate::status::{Cause, cause};
use serde_json::Value;

pub const CONTROLLERREVISIONS: Resource = Resource::new(
    "apps",
    "controllerrevisions",
    "controllerrevision",
    "ControllerRevision",
)
.with_rules(Rules {
    validate_create: validate,
    validate_update: |new, old| {
        let mut causes = validate(new);
        if new["data"] != old["data"] {
            causes.push(cause::invalid("data", &new["data"], "field is immutable"));
        }
        causes
    },
    ..Rules::GENERIC
});

fn validate(revision: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match &revision["data"] {
        Value::Null => causes.push(cause::required("data", "data is mandatory")),
        Value::Object(_) => {}
        other => causes.push(cause::invalid("data", other, "data must be a valid JSON object")),
    }
    if revision["revision"].as_i64().unwrap_or_default() < 0 {
        causes.push(cause::invalid(
            "revision",
            &revision["revision"],
            "must be greater than or equal to 0",
        ));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// N12, A13
    #[test]
    fn data_is_frozen_and_the_revision_is_not() {
        let update = CONTROLLERREVISIONS.rules.validate_update;
        let old = json!({"revision": 1, "data": {"spec": {}}});
        assert!(update(&json!({"revision": 2, "data": {"spec": {}}}), &old).is_empty());
        assert_eq!(
            update(&json!({"revision": 1, "data": {"spec": 1}}), &old).len(),
            1
        );
        assert_eq!(validate(&json!({"revision": 1})).len(), 1);
        assert_eq!(validate(&json!({"revision": -1, "data": {}})).len(), 1);
    }
}
