//! What all kinds with a pod template share.
use super::pod::pod_spec;
use super::{list, text};
use crate::status::{Cause, cause};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use orlop_api::selector::LabelSelector;
use orlop_api::validation::{annotation_map, label_map, label_selector};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A template and the restart policies that its pods may have.
pub fn template(template: &Value, policies: &[&str]) -> Vec<Cause> {
    let metadata = &template["metadata"];
    let mut errors = label_map(&metadata["labels"], "spec.template.labels");
    errors.extend(annotation_map(
        &metadata["annotations"],
        "spec.template.annotations",
    ));
    let mut causes: Vec<Cause> = errors.into_iter().map(Cause::from).collect();
    let pod = &template["spec"];
    causes.extend(pod_spec(pod, "spec.template.spec"));
    let policy = text(pod, "restartPolicy");
    if !policies.contains(&policy) {
        let field = "spec.template.spec.restartPolicy";
        causes.retain(|c| c.field != field);
        causes.push(cause::unsupported(field, policy, policies));
    }
    if !list(pod, "ephemeralContainers").is_empty() {
        causes.push(cause::forbidden(
            "spec.template.spec.ephemeralContainers",
            "ephemeral containers not allowed in pod template",
        ));
    }
    causes
}

/// `spec.selector` and the labels of the template, which it must match; `kind` in lower case.
pub fn selector(spec: &Value, kind: &str) -> Vec<Cause> {
    const FIELD: &str = "spec.selector";
    let value = &spec["selector"];
    let is_daemon_set = kind == "daemonset";
    let mut causes = Vec::new();
    let given = match value.is_object().then(|| meta::LabelSelector::deserialize(value)) {
        Some(Ok(given)) => Some(given),
        Some(Err(error)) => return vec![cause::invalid(FIELD, value, &error.to_string())],
        None if is_daemon_set => None,
        None => {
            causes.push(cause::required(FIELD, ""));
            None
        }
    };
    let wrong = given.as_ref().map(|given| label_selector(given, FIELD));
    causes.extend(wrong.into_iter().flatten().map(Cause::from));
    let labels: BTreeMap<String, String> =
        serde_json::from_value(spec["template"]["metadata"]["labels"].clone()).unwrap_or_default();
    // An absent one matches nothing, and the empty one, refused below, everything.
    let matches = match given.as_ref().map(LabelSelector::from_meta) {
        None => Some(false),
        Some(Ok(selector)) => Some(selector.matches(&labels)),
        Some(Err(_)) => None,
    };
    match matches {
        Some(true) => {}
        Some(false) => causes.push(cause::invalid(
            "spec.template.metadata.labels",
            &spec["template"]["metadata"]["labels"],
            "`selector` does not match template `labels`",
        )),
        // What is wrong with it is told already.
        None if is_daemon_set => {}
        None => causes.push(cause::invalid(FIELD, value, "invalid label selector")),
    }
    if value.is_object() && normal_selector(value) == json!({}) {
        let hint = format!("empty selector is invalid for {kind}");
        causes.push(cause::invalid(FIELD, value, &hint));
    }
    causes
}

/// What is wrong with a change of an object whose selector never changes; `validate` says what is with a new one.
pub fn update(new: &Value, old: &Value, validate: impl Fn(&Value) -> Vec<Cause>) -> Vec<Cause> {
    const FIELD: &str = "spec.selector";
    if new["spec"] == old["spec"] {
        return Vec::new();
    }
    let mut causes = validate(new);
    let (now, was) = (&new["spec"]["selector"], &old["spec"]["selector"]);
    if normal_selector(now) == normal_selector(was) {
        // One that is there already cannot be mended.
        causes.retain(|cause| !cause.field.starts_with(FIELD));
    } else {
        causes.push(cause::invalid(FIELD, now, "field is immutable"));
    }
    causes
}

/// Absent and empty parts are the same.
fn normal_selector(selector: &Value) -> Value {
    let mut normal = json!({});
    for key in ["matchLabels", "matchExpressions"] {
        let empty = match &selector[key] {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => true,
        };
        if !empty {
            normal[key] = selector[key].clone();
        }
    }
    normal
}

/// A count, or the number of a percentage.
pub fn amount(value: &Value) -> Result<i64, &'static str> {
    match value {
        Value::Null => Ok(0),
        Value::Number(number) => number
            .as_i64()
            .filter(|n| *n >= 0)
            .ok_or("must be greater than or equal to 0"),
        Value::String(text) => {
            let percent: i64 = text
                .strip_suffix('%')
                .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .ok_or("a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')")?;
            if percent > 100 {
                return Err("must not be greater than 100%");
            }
            Ok(percent)
        }
        _ => Err("must be an integer or percentage (e.g '5%')"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(selector: Value) -> Value {
        json!({"spec": {"selector": selector, "template": {"metadata": {"labels": {"a": "b"}}}}})
    }

    #[test]
    fn selectors_are_told_field_by_field() {
        let texts = |value: Value, kind: &str| cause::shown(&selector(&set(value)["spec"], kind));
        assert_eq!(texts(json!({"matchLabels": {"a": "b"}}), "deployment"), [""; 0]);
        let odd =
            json!({"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "a", "operator": "Like"}]});
        let of_parts = [
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.selector.matchExpressions[1].operator: Invalid value: \"Like\": not a valid selector operator",
        ];
        assert_eq!(texts(odd.clone(), "daemonset"), of_parts);
        let of_deployment = texts(odd, "deployment");
        assert_eq!(of_deployment[..2], of_parts);
        assert!(
            of_deployment[2].ends_with("invalid label selector"),
            "{of_deployment:?}"
        );
        let mismatch = "`selector` does not match template `labels`";
        let absent = texts(Value::Null, "daemonset");
        assert!(absent.len() == 1 && absent[0].ends_with(mismatch), "{absent:?}");
        let absent = texts(Value::Null, "deployment");
        assert_eq!(absent[0], "spec.selector: Required value");
        assert!(absent[1].ends_with(mismatch), "{absent:?}");
        assert_eq!(
            texts(json!({}), "daemonset"),
            ["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]
        );
    }

    #[test]
    fn a_selector_that_is_stored_stays_and_is_judged_no_more() {
        let validate = |set: &Value| selector(&set["spec"], "daemonset");
        let bad = json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["-bad-"]}]});
        assert_eq!(validate(&set(bad.clone())).len(), 1);
        let stored = set(bad.clone());
        let mut other = stored.clone();
        other["spec"]["minReadySeconds"] = json!(5);
        assert_eq!(update(&other, &stored, validate), []);
        assert_eq!(
            update(&stored, &stored, |_| unreachable!("nothing has changed")),
            []
        );
        let moved = set(json!({"matchLabels": {"a": "b"}, "matchExpressions": []}));
        assert_eq!(
            cause::shown(&update(&moved, &stored, validate)),
            [
                "spec.selector: Invalid value: {\"matchExpressions\":[],\"matchLabels\":{\"a\":\"b\"}}: field is immutable"
            ]
        );
        let same = set(json!({"matchLabels": {"a": "b"}}));
        assert_eq!(update(&moved, &same, validate), []);
    }
}
