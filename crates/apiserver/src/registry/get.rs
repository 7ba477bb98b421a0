//! One object, from the cache.
use super::present;
use crate::cache::{Object, StorageId};
use crate::http::{Answer, Call};
use crate::resources::ROOT;
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
    let (cache, storage) = (&call.server.cache, storage(call)?);
    let key = call.resource.key(namespace, name);
    match cache.get(storage, &key) {
        Some(object) => Ok(object),
        None => {
            readable(call, storage, &key)?;
            Err(ApiError::not_found(call.resource, name))
        }
    }
}

/// Refuses if there is an object under a key that cannot be read.
pub fn readable(call: &Call, storage: StorageId, key: &str) -> Result<(), ApiError> {
    match call.server.cache.why_lost(storage, key) {
        None => Ok(()),
        Some(reason) => Err(unreadable(call, key, &reason)),
    }
}

/// Refuses if there are objects in a namespace (`""`: any) that cannot be read: without them no list is whole.
pub fn whole(call: &Call, storage: StorageId, namespace: &str) -> Result<(), ApiError> {
    match call.server.cache.some_lost(storage, namespace) {
        None => Ok(()),
        Some((key, reason)) => Err(unreadable(call, &key, &reason)),
    }
}

/// What is said of a stored object that cannot be read.
pub fn unreadable(call: &Call, key: &str, reason: &str) -> ApiError {
    ApiError::internal(format!(
        "unable to transform key \"{ROOT}{}/{key}\": {reason}",
        call.resource.storage
    ))
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
