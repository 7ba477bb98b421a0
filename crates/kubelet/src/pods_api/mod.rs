//! The pods of this node for programs on it, without an API server: upstream's alpha service `v1alpha1.Pods` (feature gate
//! `PodsAPI`) on `<root>/pods-api/pods-api.sock`. A watch costs a comparison of lists when something has changed, and
//! nothing in between.
mod events;
mod messages;

use crate::config::KubeletConfiguration;
use crate::grpc::{self, Messages, Refusal, decode, one};
use crate::pods::PodsHandle;
use events::{Seen, changes};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use messages::{GetPodRequest, GetPodResponse, ListPodsResponse};
use orlop_api::wire::protobuf;
use prost::Message;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The feature gate.
const GATE: &str = "PodsAPI";

/// Whether the configuration asks for it.
pub fn is_enabled(configuration: &KubeletConfiguration) -> bool {
    let gates = configuration.other.get("featureGates");
    gates.is_some_and(|gates| gates[GATE] == true)
}

/// The socket below the agent's directory.
pub fn socket(root: &Path) -> PathBuf {
    root.join("pods-api").join("pods-api.sock")
}

/// The service.
pub fn service(pods: PodsHandle) -> grpc::Service {
    Arc::new(move |path: &str, message: &[u8]| call(&pods, path, message))
}

fn call(pods: &PodsHandle, path: &str, message: &[u8]) -> Result<Messages, Refusal> {
    match path {
        "/v1alpha1.Pods/ListPods" => {
            let pods = pods.list().iter().map(|record| encoded(&record.pod)).collect();
            Ok(one(ListPodsResponse { pods }))
        }
        "/v1alpha1.Pods/GetPod" => {
            let request: GetPodRequest = decode(message)?;
            let found = pods.by_uid(&request.pod_uid).ok_or_else(|| Refusal {
                code: grpc::NOT_FOUND,
                message: format!("pod {:?} not found", request.pod_uid),
            })?;
            Ok(one(GetPodResponse {
                pod: encoded(&found.pod),
            }))
        }
        "/v1alpha1.Pods/WatchPods" => Ok(watch(pods.clone())),
        _ => Err(Refusal::unknown(path)),
    }
}

/// What is there, then what changes.
fn watch(pods: PodsHandle) -> Messages {
    let changed = pods.subscribe();
    let seen = Seen::default();
    let rounds = stream::unfold(
        (pods, changed, seen, true),
        |(pods, mut changed, mut seen, first)| async move {
            // The agent's handle outlives its server.
            if !first && changed.changed().await.is_err() {
                return None;
            }
            changed.mark_unchanged();
            let events = changes(&mut seen, &pods.list());
            let messages: Vec<Vec<u8>> = events
                .iter()
                .map(|event| event.message(encoded).encode_to_vec())
                .collect();
            Some((stream::iter(messages), (pods, changed, seen, false)))
        },
    );
    rounds.flatten().boxed()
}

/// A pod as the API writes it in protobuf.
fn encoded(pod: &Pod) -> Vec<u8> {
    let object = serde_json::to_value(pod).unwrap_or_default();
    protobuf::message("v1", "Pod", &object).unwrap_or_else(|error| {
        tracing::error!(pod = orlop_api::pod::name(pod), %error, "the pod cannot be told to local programs");
        Vec::new()
    })
}

#[cfg(test)]
mod tests;
