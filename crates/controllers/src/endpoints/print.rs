//! What an object says, in sixteen bytes.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort};
use serde::Serialize;

use super::labels as label;

/// Tells contents apart. Types of the API always serialise.
pub fn of(contents: &impl Serialize) -> u128 {
    orlop_api::fnv::fnv1a128(&serde_json::to_vec(contents).unwrap_or_default())
}

/// All that a slice says. Annotations are somebody's own, but those of mirrored Endpoints.
pub fn slice(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    endpoints: &[Endpoint],
    ports: &[EndpointPort],
) -> u128 {
    let mirrored = labels.get(label::MANAGED_BY).map(String::as_str) == Some(label::MIRROR_CONTROLLER);
    of(&(labels, mirrored.then_some(annotations), endpoints, ports))
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
