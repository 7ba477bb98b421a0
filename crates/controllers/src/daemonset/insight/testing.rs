//! Builders for the cases of this folder's tests.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use serde_json::{Value, json};

use crate::cache::{DaemonSetView, cached};

/// The revision with the template that `set` has.
pub fn revision_of(set: &DaemonSet, hash: &str, number: u8) -> ControllerRevision {
    let bytes = cached::<DaemonSetView>(set.clone())
        .revision_bytes
        .clone()
        .unwrap();
    let revision = json!({"metadata": {"name": format!("web-{hash}"), "namespace": "ns", "uid": "r",
        "labels": {"controller-revision-hash": hash}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "web", "uid": "set", "controller": true}]},
        "data": serde_json::from_str::<Value>(&bytes).unwrap(), "revision": number});
    serde_json::from_value(revision).unwrap()
}
