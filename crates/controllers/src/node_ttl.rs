//! How long node agents may keep what they read of Secrets and ConfigMaps: the longer, the more of them there are. Each
//! node tells its agent in an annotation.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_api::annotations::TAINT_NOT_READY;
use orlop_client::informer::ObjectKey;
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::task::JoinSet;

use crate::api_error;
use crate::cache::{Cache, NODE_TTL};
use crate::resources::MetadataOnly;
use crate::workers::Workers;

/// Nodes written at the same time: it is never urgent.
const WORKERS: usize = 2;
/// A fleet that comes up goes through several steps: nodes that were there before are written once it has done so.
const SETTLE: Duration = Duration::from_secs(10);

/// For fleets of how many nodes a time is meant.
struct Step {
    /// With fewer nodes the step before is right again.
    from: usize,
    /// With more nodes the next step is right.
    to: usize,
    /// The time in seconds.
    ttl: u32,
}

/// They overlap, so that a node that comes and goes doesn't make all others change.
const STEPS: [Step; 6] = [
    step(0, 100, 0),
    step(90, 500, 15),
    step(450, 1_000, 30),
    step(900, 2_000, 60),
    step(1_800, 10_000, 300),
    step(9_000, usize::MAX, 600),
];

const fn step(from: usize, to: usize, ttl: u32) -> Step {
    Step { from, to, ttl }
}

/// The step that is right for so many nodes after step `at` was.
fn next(mut at: usize, nodes: usize) -> usize {
    while nodes > STEPS[at].to {
        at += 1;
    }
    while nodes < STEPS[at].from {
        at -= 1;
    }
    at
}

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Look {
    At(ObjectKey),
    AtAll,
}

/// The controller.
pub struct NodeTtl {
    client: kube::Client,
    cache: Arc<Cache>,
    queue: Arc<WorkQueue<Look>>,
    at: Mutex<usize>,
}

impl NodeTtl {
    /// Registers the handler at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("ttlcontroller");
        let on = queue.clone();
        cache.nodes.on_change(move |change| {
            let key = || Look::At(change.latest().key.clone());
            match (&change.old, &change.new) {
                (_, Some(new)) if new.ttl.is_none() => {
                    // A node that begins is about to be written by those for whom it is urgent.
                    let begins = new.taints().iter().any(|taint| taint.key == TAINT_NOT_READY);
                    on.add_after(key(), if begins { SETTLE } else { Duration::ZERO });
                }
                (Some(old), Some(new)) if old.ttl == new.ttl => {}
                _ => on.add(key()),
            }
        });
        Arc::new(Self {
            client,
            cache: cache.clone(),
            queue,
            at: Mutex::new(0),
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "node-ttl",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, look| async move { this.look(look).await },
            |_: &kube::Error| false,
        );
    }

    /// The time that is right now, in seconds.
    fn ttl(&self) -> u32 {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = next(*at, self.cache.nodes.store().len());
        if now != *at {
            *at = now;
            self.queue.add_after(Look::AtAll, SETTLE);
        }
        STEPS[now].ttl
    }

    async fn look(&self, look: Look) -> Result<(), kube::Error> {
        let ttl = self.ttl();
        let nodes = self.cache.nodes.store();
        let key = match look {
            Look::At(key) => key,
            Look::AtAll => {
                nodes.for_each(|node| {
                    if node.ttl != Some(ttl) {
                        self.queue.add(Look::At(node.key.clone()));
                    }
                });
                return Ok(());
            }
        };
        if nodes.get(&key).is_none_or(|node| node.ttl == Some(ttl)) {
            return Ok(());
        }
        let api: Api<MetadataOnly> = Api::all_with(
            self.client.clone(),
            &kube::core::ApiResource::erase::<core::Node>(&()),
        );
        let patch = Patch::Merge(json!({"metadata": {"annotations": {NODE_TTL: ttl.to_string()}}}));
        match api.patch(&key.name, &PatchParams::default(), &patch).await {
            Err(error) if !api_error::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_grows_with_the_fleet_and_shrinks_later() {
        let mut at = 0;
        for (nodes, want) in [
            (0, 0),
            (100, 0),
            (101, 15),
            (90, 15),
            (89, 0),
            (600, 30),
            (450, 30),
            (449, 15),
            (2_500, 300),
            (12_000, 600),
            (9_000, 600),
            (8_999, 300),
            (3, 0),
        ] {
            at = next(at, nodes);
            assert_eq!(STEPS[at].ttl, want, "{nodes} nodes");
        }
    }

    #[test]
    fn steps_leave_no_size_out() {
        for pair in STEPS.windows(2) {
            assert!(pair[0].from < pair[1].from && pair[1].from < pair[0].to && pair[0].to < pair[1].to);
        }
    }
}
