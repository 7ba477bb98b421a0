//! A new node takes no pods until somebody has seen it Ready.
use super::{Attempt, Operation};
use crate::resources::NOT_READY_TAINT;
use crate::status::ApiError;
use serde_json::json;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if !attempt.is("nodes", "") || attempt.operation != Operation::Create {
        return Ok(());
    }
    let Some(node) = attempt.object.as_deref_mut() else {
        return Ok(());
    };
    if !node["spec"]["taints"].is_array() {
        node["spec"]["taints"] = json!([]);
    }
    if let Some(taints) = node["spec"]["taints"].as_array_mut() {
        let present = taints
            .iter()
            .any(|t| t["key"] == NOT_READY_TAINT && t["effect"] == "NoSchedule");
        if !present {
            taints.push(json!({"key": NOT_READY_TAINT, "effect": "NoSchedule"}));
        }
    }
    Ok(())
}
