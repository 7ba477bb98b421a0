//! DaemonSets and their history (contract, daemonsets §2.5).
use super::meta::{annotations, label_selector_tolerating};
use super::{FieldError, NameRule, labels, object_meta, object_meta_update, pod_spec};
use crate::selector::LabelSelector;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const PERCENT_FORM: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// Checks a new DaemonSet, its defaults applied.
pub fn daemon_set_create(set: &DaemonSet) -> Vec<FieldError> {
    let mut errors = object_meta(&set.metadata, true, NameRule::DnsSubdomain);
    match &set.spec {
        Some(spec) => errors.extend(check_spec(spec, false)),
        None => errors.push(FieldError::required("spec", "")),
    }
    errors
}

/// Checks a change of the main resource.
pub fn daemon_set_update(new: &DaemonSet, old: &DaemonSet) -> Vec<FieldError> {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let (Some(spec), Some(before)) = (&new.spec, &old.spec) else {
        errors.push(FieldError::required("spec", ""));
        return errors;
    };
    // A bad value that already sits in a stored selector can't be mended: the selector is immutable.
    let stored_bad = !label_selector_tolerating(&before.selector, "", false).is_empty();
    errors.extend(check_spec(spec, stored_bad));
    if normal(&spec.selector) != normal(&before.selector) {
        errors.push(FieldError::invalid(
            "spec.selector",
            &spec.selector,
            "field is immutable",
        ));
    }
    errors
}

/// Checks a change of the status.
pub fn daemon_set_status_update(new: &DaemonSet, old: &DaemonSet) -> Vec<FieldError> {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let status = new.status.clone().unwrap_or_default();
    let optional = |count: Option<i32>| i64::from(count.unwrap_or(0));
    for (name, count) in [
        (
            "currentNumberScheduled",
            i64::from(status.current_number_scheduled),
        ),
        ("numberMisscheduled", i64::from(status.number_misscheduled)),
        (
            "desiredNumberScheduled",
            i64::from(status.desired_number_scheduled),
        ),
        ("numberReady", i64::from(status.number_ready)),
        ("observedGeneration", status.observed_generation.unwrap_or(0)),
        (
            "updatedNumberScheduled",
            optional(status.updated_number_scheduled),
        ),
        ("numberAvailable", optional(status.number_available)),
        ("numberUnavailable", optional(status.number_unavailable)),
        ("collisionCount", optional(status.collision_count)),
    ] {
        if count < 0 {
            errors.push(FieldError::invalid(format!("status.{name}"), count, NOT_NEGATIVE));
        }
    }
    let before = old.status.as_ref().and_then(|status| status.collision_count);
    if optional(status.collision_count) < optional(before) {
        let count = status.collision_count.unwrap_or(0);
        errors.push(FieldError::invalid(
            "status.collisionCount",
            count,
            "cannot be decremented",
        ));
    }
    errors
}

/// Checks a new ControllerRevision.
pub fn controller_revision_create(revision: &ControllerRevision) -> Vec<FieldError> {
    let mut errors = object_meta(&revision.metadata, true, NameRule::DnsSubdomain);
    match revision.data.as_ref().map(|data| &data.0) {
        None | Some(serde_json::Value::Null) => {
            errors.push(FieldError::required("data", "data is mandatory"))
        }
        Some(serde_json::Value::Object(_)) => {}
        Some(other) => errors.push(FieldError::invalid(
            "data",
            other,
            "data must be a valid JSON object",
        )),
    }
    errors.extend(revision_number(revision));
    errors
}

/// Checks a change of a ControllerRevision: its number may change, its data not.
pub fn controller_revision_update(new: &ControllerRevision, old: &ControllerRevision) -> Vec<FieldError> {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    if new.data != old.data {
        errors.push(FieldError::invalid("data", &new.data, "field is immutable"));
    }
    errors.extend(revision_number(new));
    errors
}

fn revision_number(revision: &ControllerRevision) -> Option<FieldError> {
    (revision.revision < 0).then(|| FieldError::invalid("revision", revision.revision, NOT_NEGATIVE))
}

fn check_spec(spec: &DaemonSetSpec, bad_values: bool) -> Vec<FieldError> {
    let mut errors = check_selector(spec, bad_values);
    let metadata = spec.template.metadata.clone().unwrap_or_default();
    // Upstream leaves `metadata` out of these two paths.
    errors.extend(labels(
        &metadata.labels.unwrap_or_default(),
        "spec.template.labels",
    ));
    errors.extend(annotations(
        &metadata.annotations.unwrap_or_default(),
        "spec.template.annotations",
    ));
    let path = "spec.template.spec";
    match &spec.template.spec {
        None => errors.push(FieldError::required(path, "")),
        Some(pod) => {
            let policy = pod.restart_policy.as_deref().unwrap_or_default();
            let of_pod = pod_spec(pod)
                .into_iter()
                .filter(|error| error.field != "spec.restartPolicy");
            errors.extend(of_pod.map(|error| error.under("spec.template")));
            if policy != "Always" {
                errors.push(FieldError::not_supported(
                    format!("{path}.restartPolicy"),
                    policy,
                    &["Always"],
                ));
            }
            if pod.active_deadline_seconds.is_some() {
                let hint = "activeDeadlineSeconds in DaemonSet is not Supported";
                errors.push(FieldError::forbidden(
                    format!("{path}.activeDeadlineSeconds"),
                    hint,
                ));
            }
            if pod
                .ephemeral_containers
                .as_ref()
                .is_some_and(|list| !list.is_empty())
            {
                let hint = "ephemeral containers not allowed in pod template";
                errors.push(FieldError::forbidden(format!("{path}.ephemeralContainers"), hint));
            }
        }
    }
    for (name, number) in [
        ("minReadySeconds", spec.min_ready_seconds),
        ("revisionHistoryLimit", spec.revision_history_limit),
    ] {
        if let Some(number) = number.filter(|number| *number < 0) {
            errors.push(FieldError::invalid(format!("spec.{name}"), number, NOT_NEGATIVE));
        }
    }
    errors.extend(check_strategy(spec.update_strategy.as_ref()));
    errors
}

/// Without the difference between absent and empty.
fn normal(selector: &meta::LabelSelector) -> meta::LabelSelector {
    let expressions = selector.match_expressions.clone().map(|mut list| {
        for requirement in &mut list {
            requirement.values = requirement.values.take().filter(|values| !values.is_empty());
        }
        list
    });
    meta::LabelSelector {
        match_labels: selector.match_labels.clone().filter(|labels| !labels.is_empty()),
        match_expressions: expressions.filter(|list| !list.is_empty()),
    }
}

fn check_selector(spec: &DaemonSetSpec, bad_values: bool) -> Vec<FieldError> {
    let selector = &spec.selector;
    let mut errors = label_selector_tolerating(selector, "spec.selector", bad_values);
    let empty = normal(selector) == meta::LabelSelector::default();
    if empty {
        let hint = "empty selector is invalid for daemonset";
        errors.push(FieldError::invalid("spec.selector", selector, hint));
    }
    let labels = spec
        .template
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.labels.clone());
    let parsed = LabelSelector::from_meta(selector);
    if parsed.is_ok_and(|parsed| empty || !parsed.matches(&labels.clone().unwrap_or_default())) {
        let hint = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            &labels,
            hint,
        ));
    }
    errors
}

fn check_strategy(strategy: Option<&DaemonSetUpdateStrategy>) -> Vec<FieldError> {
    let kind = strategy
        .and_then(|strategy| strategy.type_.as_deref())
        .unwrap_or_default();
    match kind {
        "OnDelete" => return Vec::new(),
        "RollingUpdate" => {}
        other => {
            let known = ["RollingUpdate", "OnDelete"];
            return vec![FieldError::not_supported("spec.updateStrategy", other, &known)];
        }
    }
    let path = "spec.updateStrategy.rollingUpdate";
    let Some(rolling) = strategy.and_then(|strategy| strategy.rolling_update.as_ref()) else {
        return vec![FieldError::required(path, "")];
    };
    let mut errors = Vec::new();
    let mut amounts = [0, 0];
    let given = [
        ("maxUnavailable", &rolling.max_unavailable),
        ("maxSurge", &rolling.max_surge),
    ];
    for (index, (name, value)) in given.into_iter().enumerate() {
        match amount(value.as_ref()) {
            Ok(amount) => amounts[index] = amount,
            Err(hint) => errors.push(FieldError::invalid(format!("{path}.{name}"), value, hint)),
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    match amounts {
        [0, 0] => {
            let hint = "cannot be 0 when maxSurge is 0";
            errors.push(FieldError::required(format!("{path}.maxUnavailable"), hint));
        }
        [unavailable, surge] if unavailable != 0 && surge != 0 => {
            let hint = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(
                format!("{path}.maxSurge"),
                &rolling.max_surge,
                hint,
            ));
        }
        _ => {}
    }
    errors
}

/// A count, or the number of a percentage.
fn amount(value: Option<&IntOrString>) -> Result<i32, &'static str> {
    match value {
        None => Ok(0),
        Some(IntOrString::Int(count)) if *count < 0 => Err(NOT_NEGATIVE),
        Some(IntOrString::Int(count)) => Ok(*count),
        Some(IntOrString::String(text)) => {
            let digits = text
                .strip_suffix('%')
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            let digits = digits.filter(|digits| !digits.is_empty()).ok_or(PERCENT_FORM)?;
            match digits.parse::<i32>() {
                Ok(percent) if percent <= 100 => Ok(percent),
                _ => Err("must not be greater than 100%"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
