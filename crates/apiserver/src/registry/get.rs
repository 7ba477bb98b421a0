//! One object, from the cache.
use super::present;
use crate::cache::{Object, StorageId};
use crate::http::{Answer, Call};
use crate::status::ApiError;
use http::StatusCode;
use std::sync::Arc;

pub async fn get(call: &Call) -> Result<Answer, ApiError> {
    fresh_enough(call, call.query.get("resourceVersion")).await?;
    present::object(call, StatusCode::OK, find(call, &call.info.name)?).await
}

/// The object of this name in the request's namespace.
pub fn find(call: &Call, name: &str) -> Result<Arc<Object>, ApiError> {
    let namespace = if call.resource.namespaced {
        &call.info.namespace
    } else {
        ""
    };
    call.server
        .cache
        .get(storage(call)?, &call.resource.key(namespace, name))
        .ok_or_else(|| ApiError::not_found(call.resource, name))
}

/// Where the objects of the request's resource are, if something can be said about them now.
pub fn storage(call: &Call) -> Result<StorageId, ApiError> {
    let cache = &call.server.cache;
    let storage = cache
        .storage(call.resource)
        .ok_or_else(ApiError::no_such_resource)?;
    match cache.why_shut(storage) {
        None => Ok(storage),
        Some(reason) => Err(ApiError::internal(format!(
            "unable to transform stored {}: {reason}",
            call.resource.plural
        ))),
    }
}

/// Waits until the cache may answer a read at `version`: unset is now, `0` anything, `N` at least N.
pub async fn fresh_enough(call: &Call, version: Option<&str>) -> Result<(), ApiError> {
    match version {
        None => call.server.reach_now().await,
        Some("0") => Ok(()),
        Some(text) => {
            let revision: u64 = text.parse().map_err(|_| {
                ApiError::bad_request(format!(
                    "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                ))
            })?;
            call.server
                .cache
                .reach_soon(revision)
                .await
                .map_err(|current| ApiError::future_version(revision, current))
        }
    }
}
