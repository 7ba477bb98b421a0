//! What several kinds are refused for with 422, read from the objects' JSON.
//!
//! What metadata and pods may be, and become, is said in `orlop_api::validation`, which the node agent shares; the rest only
//! here.
pub mod address;
mod daemonset;
mod domain_path;
mod pod;
mod pod_ephemeral;
mod pod_resize;
mod pod_warnings;
pub mod port;
mod workload;

pub use daemonset::{daemon_set_create, daemon_set_status_update, daemon_set_update};
pub use domain_path::domain_prefixed_path;
pub use pod::{pod_create, pod_status_update, pod_update};
pub use pod_ephemeral::pod_ephemeral;
pub use pod_resize::{keep_resized, pod_resize};
pub use pod_warnings::{pod_warnings, template_warnings, workload_warnings};
pub use workload::{amount, selector, template, update};

use crate::status::{Cause, cause};
use serde_json::Value;

/// A string member, empty when absent.
pub fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// A list member, empty when absent.
pub fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Each reason why a text is no value of `field`.
pub fn invalid(field: &str, text: &str, reasons: Vec<String>) -> Vec<Cause> {
    let value = Value::from(text);
    let reasons = reasons.iter();
    reasons.map(|why| cause::invalid(field, &value, why)).collect()
}

/// A number that may not be negative.
pub fn not_negative(object: &Value, key: &str, field: &str) -> Option<Cause> {
    object[key]
        .as_i64()
        .is_some_and(|n| n < 0)
        .then(|| cause::invalid(field, &object[key], "must be greater than or equal to 0"))
}
