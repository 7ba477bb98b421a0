//! Pods that the API server binds to this node.
use super::{Snapshot, Source};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use orlop_api::annotations::{CONFIG_SEEN, CONFIG_SOURCE};
use orlop_api::pod::uid;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// First and longest wait before asking an API server again that does not answer.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(7);

/// Sends a snapshot after the first list and after every change.
pub async fn run(client: kube::Client, node_name: String, snapshots: mpsc::Sender<Snapshot>) {
    let pods: Api<Pod> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node_name}"));
    let stream = watcher::watcher(pods, config);
    pin_mut!(stream);
    let mut table: HashMap<String, Arc<Pod>> = HashMap::new();
    let mut relisted: HashMap<String, Arc<Pod>> = HashMap::new();
    let (mut listing, mut retry) = (true, RETRY_FIRST);
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => {
                relisted.clear();
                listing = true;
            }
            Ok(Event::InitApply(pod)) => {
                let pod = received(pod, &table);
                relisted.insert(uid(&pod).to_owned(), pod);
            }
            Ok(Event::InitDone) => {
                table = std::mem::take(&mut relisted);
                listing = false;
                retry = RETRY_FIRST;
            }
            Ok(Event::Apply(pod)) => {
                let pod = received(pod, &table);
                table.insert(uid(&pod).to_owned(), pod);
            }
            Ok(Event::Delete(pod)) => {
                table.remove(uid(&pod));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot watch this node's pods; what runs goes on");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
                continue;
            }
        }
        if listing {
            continue;
        }
        let snapshot = Snapshot {
            source: Source::Api,
            pods: table.values().cloned().collect(),
        };
        if snapshots.send(snapshot).await.is_err() {
            return;
        }
    }
}

/// Notes where the pod came from and when it was first seen; nothing from the API may claim to be
/// from a file.
fn received(mut pod: Pod, known: &HashMap<String, Arc<Pod>>) -> Arc<Pod> {
    pod.metadata.managed_fields = None;
    let seen = known
        .get(uid(&pod))
        .and_then(|old| old.metadata.annotations.as_ref()?.get(CONFIG_SEEN).cloned())
        .unwrap_or_else(super::seen_now);
    if orlop_api::pod::is_mirror(&pod) {
        // A mirror is a copy of what this agent wrote: its annotations are left as they are.
        return Arc::new(pod);
    }
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(CONFIG_SOURCE.to_owned(), Source::Api.as_str().to_owned());
    annotations.insert(CONFIG_SEEN.to_owned(), seen);
    Arc::new(pod)
}
