//! No more events are taken than the plugin's settings allow (`EventRateLimit`): of all, of a namespace, of a user, or of a
//! source about an object.
use super::{Attempt, Operation};
use crate::status::ApiError;
use orlop_api::validation::summary;
use serde_json::Value;
use std::time::Instant;

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let is_event =
        attempt.resource.plural == "events" && matches!(attempt.resource.group, "" | "events.k8s.io");
    let writes = matches!(attempt.operation, Operation::Create | Operation::Update);
    let rates = &attempt.server.admission.settings().event_rates;
    if !is_event || !writes || attempt.dry_run || rates.is_empty() {
        return Ok(());
    }
    let event = attempt.object.as_deref().unwrap_or(&Value::Null);
    let key = |sort: &str| match sort {
        "Namespace" => attempt.namespace.to_owned(),
        "User" => attempt.user.name.clone(),
        "SourceAndObject" => source_and_object(event),
        _ => String::new(),
    };
    let broken = rates.broken(key, Instant::now());
    let told: Vec<String> = broken
        .iter()
        .map(|(sort, key)| format!("limit reached on type {sort} for key {key}"))
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    Err(ApiError::too_many_requests(format!(
        "Too many requests: {}",
        summary(&told)
    )))
}

/// Who tells what about, in either form of events.
fn source_and_object(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = match event["involvedObject"].is_null() {
        true => &event["regarding"],
        false => &event["involvedObject"],
    };
    let mut parts = vec![
        text(&event["source"]["component"]),
        text(&event["source"]["host"]),
    ];
    parts.extend(["kind", "namespace", "name", "uid", "apiVersion"].map(|member| text(&object[member])));
    parts.concat()
}
