//! `node.k8s.io`: runtime classes, whose handler never changes.
use super::definition::Resource;
use super::rules::Rules;
use crate::status::{Cause, cause};
use serde_json::Value;

pub const RUNTIMECLASSES: Resource =
    Resource::new("node.k8s.io", "runtimeclasses", "runtimeclass", "RuntimeClass")
        .cluster_scoped()
        .with_rules(Rules {
            create_on_update: true,
            unconditional_update: false,
            validate_create: has_handler,
            validate_update: keeps_handler,
            ..Rules::GENERIC
        });

fn has_handler(class: &Value) -> Vec<Cause> {
    match class["handler"].as_str() {
        Some(handler) if !handler.is_empty() => Vec::new(),
        _ => vec![cause::required("handler", "")],
    }
}

fn keeps_handler(new: &Value, old: &Value) -> Vec<Cause> {
    if new["handler"] == old["handler"] {
        return Vec::new();
    }
    vec![cause::invalid("handler", &new["handler"], "field is immutable")]
}
