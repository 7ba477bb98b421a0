//! What all kinds with a pod template share.
use super::pod::pod_spec;
use super::{list, metadata, text};
use crate::status::{Cause, cause};
use orlop_api::selector::LabelSelector;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A template and the restart policies that its pods may have.
pub fn template(template: &Value, policies: &[&str]) -> Vec<Cause> {
    let mut causes = metadata::labels(&template["metadata"]["labels"], "spec.template.labels");
    causes.extend(metadata::annotations(
        &template["metadata"]["annotations"],
        "spec.template.annotations",
    ));
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
    let value = &spec["selector"];
    let mut causes = Vec::new();
    if !value.is_object() && kind != "daemonset" {
        causes.push(cause::required("spec.selector", ""));
    }
    if value.is_object() && normal_selector(value) == json!({}) {
        causes.push(cause::invalid(
            "spec.selector",
            value,
            &format!("empty selector is invalid for {kind}"),
        ));
    }
    let labels: BTreeMap<String, String> =
        serde_json::from_value(spec["template"]["metadata"]["labels"].clone()).unwrap_or_default();
    let parsed = serde_json::from_value(value.clone()).map_err(|e| e.to_string());
    match parsed.and_then(|s| LabelSelector::from_meta(&s).map_err(|e| e.to_string())) {
        Err(why) if value.is_object() => causes.push(cause::invalid("spec.selector", value, &why)),
        // The empty one, refused above, matches everything; an absent one nothing.
        Ok(selector) if value.is_object() && selector.matches(&labels) => {}
        _ => causes.push(cause::invalid(
            "spec.template.metadata.labels",
            &spec["template"]["metadata"]["labels"],
            "`selector` does not match template `labels`",
        )),
    }
    causes
}

/// The selector never changes.
pub fn same_selector(new: &Value, old: &Value) -> Option<Cause> {
    let differs = normal_selector(&new["spec"]["selector"]) != normal_selector(&old["spec"]["selector"]);
    differs.then(|| cause::invalid("spec.selector", &new["spec"]["selector"], "field is immutable"))
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
