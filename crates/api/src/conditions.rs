//! What an object's status says in its `conditions`, of any kind.
use serde_json::Value;

/// The condition of a type; of several, which no list should have, the first.
pub fn condition<'o>(object: &'o Value, kind: &str) -> Option<&'o Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// Whether there is a condition of this type, and it says `True`.
pub fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// All conditions of an object, this one at the end instead of what there is of its type.
pub fn with(object: &Value, condition: Value) -> Vec<Value> {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    let others = all.filter(|other| other["type"] != condition["type"]);
    let mut conditions: Vec<Value> = others.cloned().collect();
    conditions.push(condition);
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_takes_the_place_of_those_of_its_type_alone() {
        let (ready, other) = (
            json!({"type": "Ready", "status": "True"}),
            json!({"type": "Other"}),
        );
        let object = json!({"status": {"conditions": [{"type": "Ready"}, other]}});
        assert_eq!(with(&object, ready.clone()), [other, ready.clone()]);
        assert_eq!(with(&json!({}), ready.clone()), [ready]);
    }

    #[test]
    fn only_the_condition_that_is_asked_for_answers() {
        let object = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Failed", "status": "False"}, {"type": "Odd"}]}});
        let truths = ["Ready", "Failed", "Odd", "Missing"].map(|kind| is_true(&object, kind));
        assert_eq!(truths, [true, false, false, false]);
        assert_eq!(
            condition(&object, "Failed"),
            Some(&object["status"]["conditions"][1])
        );
        for bare in [json!({}), json!({"status": {"conditions": null}}), json!(null)] {
            assert!(condition(&bare, "Ready").is_none() && !is_true(&bare, "Ready"));
        }
    }
}
