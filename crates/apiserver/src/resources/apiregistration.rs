//! `apiregistration.k8s.io`: which server serves which group-version.
use super::definition::{Resource, STATUS};
use super::rules::{Rules, StatusMetadata};
use crate::aggregation::GROUP;
use crate::registry::now;
use crate::status::{Cause, cause};
use serde_json::{Value, json};

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;

pub const APISERVICES: Resource = Resource {
    categories: &["api-extensions"],
    ..Resource::new(GROUP, "apiservices", "apiservice", "APIService")
        .cluster_scoped()
        .with_subresources(&[STATUS])
        .with_rules(Rules {
            unconditional_update: false,
            status_metadata: StatusMetadata::Kept,
            prepare_create: begin_status,
            default: default_port,
            validate_create: validate,
            validate_update: |new, _| validate(new),
            ..Rules::GENERIC
        })
};

/// What is served here is available from the start.
fn begin_status(service: &mut Value) {
    service["status"] = match service["spec"]["service"].is_object() {
        true => json!({}),
        false => json!({"conditions": [{"type": "Available", "status": "True", "reason": "Local",
            "message": "Local APIServices are always available", "lastTransitionTime": now()}]}),
    };
}

fn default_port(service: &mut Value) {
    if let Some(service) = service.pointer_mut("/spec/service") {
        super::fill(service, "port", || json!(443));
    }
}

fn validate(service: &Value) -> Vec<Cause> {
    let spec = &service["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, version, name) = (
        text(&spec["group"]),
        text(&spec["version"]),
        text(&service["metadata"]["name"]),
    );
    let mut causes = Vec::new();
    if name != format!("{version}.{group}") {
        causes.push(cause::invalid(
            "metadata.name",
            &json!(name),
            &format!(
                "must be `spec.version+\".\"+spec.group`: {:?}",
                format!("{version}.{group}")
            ),
        ));
    }
    if version.is_empty() {
        causes.push(cause::required("spec.version", ""));
    }
    for (member, most) in [
        ("groupPriorityMinimum", GROUP_PRIORITY_MAX),
        ("versionPriority", VERSION_PRIORITY_MAX),
    ] {
        let priority = &spec[member];
        if !(1..=most).contains(&priority.as_i64().unwrap_or_default()) {
            causes.push(cause::invalid(
                &format!("spec.{member}"),
                priority,
                &format!("must be positive and less than {most}"),
            ));
        }
    }
    let Some(target) = spec["service"].as_object() else {
        if spec["insecureSkipTLSVerify"] == true {
            let hint = "must be false for local APIServices";
            causes.push(cause::invalid("spec.insecureSkipTLSVerify", &json!(true), hint));
        }
        return causes;
    };
    for member in ["namespace", "name"] {
        if target
            .get(member)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            causes.push(cause::required(&format!("spec.service.{member}"), ""));
        }
    }
    if spec["insecureSkipTLSVerify"] == true && spec["caBundle"].is_string() {
        let hint = "may not be true if caBundle is present";
        causes.push(cause::invalid("spec.insecureSkipTLSVerify", &json!(true), hint));
    }
    causes
}
