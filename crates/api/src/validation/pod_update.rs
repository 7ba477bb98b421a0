//! What may change in a pod once it exists (contract, API server §12.4).
//!
//! Both pods are trees in their one form (`wire::normalize`): what means the same is the same there, and so a field that no
//! type of ours has yet is kept from change as well. Only what has changed, and has rules of its own, is decoded.
use super::scheduling::{node_affinity, tolerations};
use super::{FieldError, labels};
use crate::annotations::CONFIG_MIRROR;
use k8s_openapi::api::core::v1::{NodeAffinity, Toleration};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const DEADLINE: &str = "spec.activeDeadlineSeconds";
const NODE_SELECTOR: &str = "spec.nodeSelector";
const NODE_TERMS: &str =
    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";

/// Checks a change of the main resource, but for what every object's metadata may not do.
pub fn pod_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = mirror_annotation(new, old).into_iter().collect();
    let (spec, before) = (&new["spec"], &old["spec"]);
    if spec == before {
        return errors;
    }
    for kind in ["containers", "initContainers"] {
        let (now, was) = (list(spec, kind), list(before, kind));
        if now.len() != was.len() {
            let hint = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(format!("spec.{kind}"), hint));
            return errors;
        }
        for (index, container) in now.iter().enumerate() {
            errors.extend(image(
                text(container, "image"),
                &format!("spec.{kind}[{index}].image"),
            ));
        }
    }
    if let Some(error) = deadline(spec, before) {
        errors.push(error);
        // One that was taken away is not all that there is to tell.
        if !spec["activeDeadlineSeconds"].is_null() {
            return errors;
        }
    }
    if spec["tolerations"] != before["tolerations"] {
        errors.extend(changed_tolerations(spec, before));
    }
    errors.extend(gates(spec, before));
    let is_gated = !list(before, "schedulingGates").is_empty();
    if is_gated {
        errors.extend(selector(spec, before));
        errors.extend(affinity(spec, before));
    }
    let undone = with_changes_undone(spec, before, is_gated);
    if undone != *before {
        let difference = difference(&undone, before);
        errors.push(FieldError::forbidden(
            "spec",
            &format!("{MAY_CHANGE}\n{difference}"),
        ));
    }
    errors
}

/// Whose copy a pod is was said when it was made, or it is nobody's.
pub(super) fn mirror_annotation(new: &Value, old: &Value) -> Option<FieldError> {
    let mirror = |pod: &Value| pod["metadata"]["annotations"].get(CONFIG_MIRROR).cloned();
    let (now, was) = (mirror(new), mirror(old));
    let hint = match was {
        _ if now == was => return None,
        None => "may not add mirror pod annotation",
        Some(_) => "may not remove or update mirror pod annotation",
    };
    let field = format!("metadata.annotations[{CONFIG_MIRROR}]");
    Some(FieldError::forbidden(field, hint))
}

fn image(image: &str, field: &str) -> Option<FieldError> {
    if image.is_empty() {
        return Some(FieldError::required(field, ""));
    }
    let hint = "must not have leading or trailing whitespace";
    (image.trim() != image).then(|| FieldError::invalid(field, image, hint))
}

/// It may be set, and set earlier.
fn deadline(spec: &Value, before: &Value) -> Option<FieldError> {
    let key = "activeDeadlineSeconds";
    let (now, was) = (spec[key].as_i64(), before[key].as_i64());
    if now == was {
        return None;
    }
    let hint = match (now, was) {
        (Some(now), _) if !(1..=i64::from(i32::MAX)).contains(&now) => {
            "must be between 1 and 2147483647, inclusive"
        }
        (Some(now), Some(was)) if now > was => "must be less than or equal to previous value",
        (None, Some(_)) => "must not update from a positive integer to nil value",
        _ => return None,
    };
    Some(FieldError::invalid(DEADLINE, now, hint))
}

/// Every toleration stays, except for its seconds; those that are there now must be right.
fn changed_tolerations(spec: &Value, before: &Value) -> Vec<FieldError> {
    const FIELD: &str = "spec.tolerations";
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(fields) = toleration.as_object_mut() {
            fields.remove("tolerationSeconds");
        }
        toleration
    };
    let now: Vec<Value> = list(spec, "tolerations").iter().map(timeless).collect();
    let mut was = list(before, "tolerations").iter().map(timeless);
    if !was.all(|was| now.contains(&was)) {
        let hint = "existing toleration can not be modified except its tolerationSeconds";
        return vec![FieldError::forbidden(FIELD, hint)];
    }
    let check = |list: Vec<Toleration>| tolerations(&list, FIELD);
    decoded(&spec["tolerations"], FIELD, check)
}

/// They are only taken away.
fn gates(spec: &Value, before: &Value) -> Vec<FieldError> {
    let was = list(before, "schedulingGates");
    let mut errors = Vec::new();
    for (index, gate) in list(spec, "schedulingGates").iter().enumerate() {
        if !was.iter().any(|was| was["name"] == gate["name"]) {
            let name = text(gate, "name");
            let hint = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            let field = format!("spec.schedulingGates[{index}].name");
            errors.push(FieldError::forbidden(field, &hint));
        }
    }
    errors
}

/// A pod that still has gates may be aimed at fewer nodes: by more labels,
fn selector(spec: &Value, before: &Value) -> Vec<FieldError> {
    let (now, was) = (&spec["nodeSelector"], &before["nodeSelector"]);
    if now == was {
        return Vec::new();
    }
    let mut entries = was.as_object().into_iter().flatten();
    if !entries.all(|(key, value)| now.get(key) == Some(value)) {
        let hint = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        return vec![FieldError::invalid(NODE_SELECTOR, now, hint)];
    }
    let check = |map: BTreeMap<String, String>| labels(&map, NODE_SELECTOR);
    decoded(now, NODE_SELECTOR, check)
}

/// and by more that each term requires. What is preferred may change in any way.
fn affinity(spec: &Value, before: &Value) -> Vec<FieldError> {
    let of = |spec: &Value| spec["affinity"]["nodeAffinity"].clone();
    let (now, was) = (of(spec), of(before));
    if now == was {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |affinity: &Value| list(&affinity[required], "nodeSelectorTerms").to_vec();
    let (terms_now, terms_before) = (terms(&now), terms(&was));
    if !terms_before.is_empty() && terms_now.len() != terms_before.len() {
        let hint = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return vec![FieldError::invalid(NODE_TERMS, terms_now, hint)];
    }
    for (index, (now, was)) in terms_now.iter().zip(&terms_before).enumerate() {
        if !narrows(now, was) {
            let hint = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(format!("{NODE_TERMS}[{index}]"), now, hint));
        }
    }
    let check = |affinity: NodeAffinity| node_affinity(&affinity);
    errors.extend(decoded(&now, "spec.affinity.nodeAffinity", check));
    errors
}

/// Whether a term requires what it did, and after that perhaps more. An empty one is met by no node, and stays so.
fn narrows(now: &Value, was: &Value) -> bool {
    let parts = ["matchExpressions", "matchFields"];
    let is_empty = |term: &Value| parts.iter().all(|part| list(term, part).is_empty());
    if is_empty(was) {
        return is_empty(now);
    }
    parts
        .iter()
        .all(|part| list(now, part).starts_with(list(was, part)))
}

/// The new spec with everything that has rules of its own put back.
fn with_changes_undone(spec: &Value, before: &Value, is_gated: bool) -> Value {
    let mut spec = spec.clone();
    for kind in ["containers", "initContainers"] {
        let now = spec.get_mut(kind).and_then(Value::as_array_mut);
        for (now, was) in now.into_iter().flatten().zip(list(before, kind)) {
            if let Some(now) = now.as_object_mut() {
                put(now, "image", was.get("image"));
            }
        }
    }
    let Some(fields) = spec.as_object_mut() else {
        return spec;
    };
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        put(fields, key, before.get(key));
    }
    let grace = "terminationGracePeriodSeconds";
    let is_mended = fields.get(grace).and_then(Value::as_i64) == Some(1);
    if is_mended && before[grace].as_i64().is_some_and(|seconds| seconds < 0) {
        put(fields, grace, before.get(grace));
    }
    if is_gated {
        put(fields, "nodeSelector", before.get("nodeSelector"));
        put_affinity(fields, before);
    }
    spec
}

/// Only that to nodes: to other pods it stays what it was.
fn put_affinity(spec: &mut Map<String, Value>, before: &Value) {
    let key = "nodeAffinity";
    let was = before["affinity"].get(key);
    let now = spec.get("affinity").and_then(|all| all.get(key));
    if now == was {
        return;
    }
    let mut affinity = match spec.remove("affinity") {
        Some(Value::Object(affinity)) => affinity,
        _ => Map::new(),
    };
    put(&mut affinity, key, was);
    if !affinity.is_empty() || before.get("affinity").is_some() {
        spec.insert("affinity".to_owned(), Value::Object(affinity));
    }
}

fn put(fields: &mut Map<String, Value>, key: &str, value: Option<&Value>) {
    match value {
        Some(value) => fields.insert(key.to_owned(), value.clone()),
        None => fields.remove(key),
    };
}

/// What `check` finds of a value in its type; nothing where there is none.
fn decoded<T: for<'de> Deserialize<'de>>(
    value: &Value,
    field: &str,
    check: impl Fn(T) -> Vec<FieldError>,
) -> Vec<FieldError> {
    if value.is_null() {
        return Vec::new();
    }
    match T::deserialize(value) {
        Ok(value) => check(value),
        Err(error) => vec![FieldError::invalid(field, value, &error.to_string())],
    }
}

/// A string member, empty when absent.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// A list member, empty when absent.
pub(super) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The members that differ, for people.
fn difference(now: &Value, was: &Value) -> String {
    let mut keys: Vec<&String> = [now, was]
        .iter()
        .filter_map(|v| v.as_object())
        .flat_map(|o| o.keys())
        .collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(String::as_str)
        .filter(|key| now[*key] != was[*key])
        .map(|key| format!("- {key}: {}\n+ {key}: {}\n", was[key], now[key]))
        .collect()
}

#[cfg(test)]
mod tests;
