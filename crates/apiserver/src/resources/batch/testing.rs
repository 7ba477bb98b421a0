//! Jobs for this module's tests.
use super::defaults;
use crate::status::Cause;
use serde_json::{Value, json};

/// A Job of `spec`, with defaults.
pub fn job(spec: Value) -> Value {
    let mut job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i"}]}}}});
    orlop_api::patch::merge(&mut job["spec"], &spec);
    defaults::job(&mut job);
    job
}

/// What is wrong, by the fields alone.
pub fn fields(causes: &[Cause]) -> Vec<&str> {
    causes.iter().map(|cause| cause.field.as_str()).collect()
}
