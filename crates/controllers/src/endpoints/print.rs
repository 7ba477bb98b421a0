//! What an object says, in sixteen bytes.

use k8s_openapi::api::discovery::v1::Endpoint;
use serde::Serialize;

/// Tells contents apart. Types of the API always serialise.
pub fn of(contents: &impl Serialize) -> u128 {
    orlop_api::fnv::fnv1a128(&serde_json::to_vec(contents).unwrap_or_default())
}

/// What an endpoint stands for: the pod's uid, or its address.
pub fn member(endpoint: &Endpoint) -> &str {
    endpoint
        .target_ref
        .as_ref()
        .and_then(|target| target.uid.as_deref())
        .or(endpoint.addresses.first().map(String::as_str))
        .unwrap_or_default()
}
