//! Names of CustomResourceDefinitions: of two that want the same at one moment, whichever server writes them, the first
//! that is stored has it.
use super::{Guard, hold};
use crate::custom;
use crate::http::Call;
use crate::registry::now;
use crate::status::ApiError;
use serde_json::Value;

/// The key that every write which takes names replaces.
const GUARD: &str = "/registry/orlop/definition-names";

/// Gives a definition the names that it wants and no other has, and its status the words for it. What is to be written
/// together with it; nothing, if it has those names already.
pub async fn allocate(call: &Call, crd: &mut Value) -> Result<Vec<Guard>, ApiError> {
    // Who writes a status says what it is to be.
    if !call.info.subresource.is_empty() {
        return Ok(Vec::new());
    }
    let held = hold(&call.server, GUARD).await?;
    let others = call.server.cache.custom().names();
    let status = custom::status(crd, &others, &now());
    let takes = status["acceptedNames"] != crd["status"]["acceptedNames"];
    crd["status"] = status;
    let name = crate::registry::text(crd, "name").to_owned();
    Ok(takes.then(|| held.replaced(GUARD, name)).into_iter().collect())
}
