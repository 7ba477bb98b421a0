//! A CustomResourceDefinition gets the names that it wants, if no other has them.
use super::{Attempt, Operation};
use crate::custom::{self, DEFINITIONS};
use crate::registry::now;
use crate::status::ApiError;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let written = matches!(attempt.operation, Operation::Create | Operation::Update);
    if attempt.resource.storage != DEFINITIONS || !written || !attempt.subresource.is_empty() {
        return Ok(());
    }
    let others = attempt.server.cache.custom().names();
    if let Some(crd) = attempt.object.as_deref_mut() {
        if attempt.operation == Operation::Create {
            crd["status"] = serde_json::Value::Null;
        }
        crd["status"] = custom::status(crd, &others, &now());
    }
    Ok(())
}
