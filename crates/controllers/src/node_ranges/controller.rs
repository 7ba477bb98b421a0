//! Listens to nodes; writes the range of one that has none, of each family. One worker: two nodes must not get the same.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_client::informer::ObjectKey;
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::plan::ClusterRange;
use crate::api_error;
use crate::cache::Cache;
use crate::workers::Workers;

/// The controller.
pub struct NodeRanges {
    client: kube::Client,
    cache: Arc<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
    range: ClusterRange,
    /// Given out, but not seen in the cache yet.
    given: Mutex<HashSet<String>>,
}

impl NodeRanges {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>, range: ClusterRange) -> Arc<Self> {
        let queue = cache.queue("node_ipam_controller");
        let on = queue.clone();
        let nodes = Arc::downgrade(cache);
        cache.nodes.on_change(move |change| {
            if change.new.is_none()
                && let Some(cache) = nodes.upgrade()
            {
                // A range is free again, which others may be without.
                for node in cache.nodes.store().all() {
                    if node.pod_ranges.is_empty() {
                        on.add(node.key.clone());
                    }
                }
            }
            if change.new.as_ref().is_some_and(|node| node.pod_ranges.is_empty()) {
                on.add(change.latest().key.clone());
            }
        });
        Arc::new(Self {
            client,
            cache: cache.clone(),
            queue,
            range,
            given: Mutex::new(HashSet::new()),
        })
    }

    /// Starts the worker. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "node-ranges",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            api_error::is_conflict,
        );
    }

    async fn sync(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let nodes = self.cache.nodes.store();
        if nodes.get(key).is_none_or(|node| !node.pod_ranges.is_empty()) {
            return Ok(());
        }
        let seen: HashSet<String> = nodes
            .all()
            .iter()
            .flat_map(|node| node.pod_ranges.to_vec())
            .collect();
        let mut given = self.given.lock().await;
        given.retain(|range| !seen.contains(range));
        let taken: HashSet<String> = seen.union(&given).cloned().collect();
        let Some(ranges) = self.range.free(&taken) else {
            tracing::warn!(node = %key.name, "every range of pod addresses is taken: the node gets none");
            return Ok(());
        };
        let api: Api<core::Node> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"spec": {"podCIDR": ranges.first(), "podCIDRs": ranges}}));
        match api.patch(&key.name, &PatchParams::default(), &patch).await {
            Ok(_) => {
                tracing::info!(node = %key.name, ranges = ranges.join(","), "node has a range of pod addresses");
                given.extend(ranges);
                Ok(())
            }
            // Somebody was faster: its range can't change any more.
            Err(kube::Error::Api(status)) if status.code == 422 || status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }
}
