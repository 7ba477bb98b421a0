//! A new CustomResourceDefinition gets its names, if no other has them.
use super::{Attempt, Operation};
use crate::custom::{DEFINITIONS, initial_status};
use crate::registry::now;
use crate::status::ApiError;
use serde_json::Value;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if attempt.resource.storage != DEFINITIONS || attempt.operation != Operation::Create {
        return Ok(());
    }
    let cache = &attempt.server.cache;
    let others: Vec<Value> = match cache.storage(attempt.resource) {
        Some(storage) => cache
            .snapshot(storage, "")
            .objects
            .iter()
            .map(|o| o.value())
            .collect(),
        None => Vec::new(),
    };
    if let Some(crd) = attempt.object.as_deref_mut() {
        crd["status"] = initial_status(crd, &others, &now());
    }
    Ok(())
}
