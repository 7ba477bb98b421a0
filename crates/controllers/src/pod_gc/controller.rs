//! Looks every 20 s while there is something to collect or to wait for, and whenever there may be something more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use orlop_api::annotations::TAINT_OUT_OF_SERVICE;
use orlop_client::informer::{Change, ObjectKey};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::{self, NodeIs, TERMINAL_PODS_MAX, Why};
use crate::api_error;
use crate::cache::{Cache, NodeView, Pod, PodView};
use crate::disruption;

/// Pause between two looks.
const PERIOD: Duration = Duration::from_secs(20);
/// Pause between two looks if something happened: what happens at once is looked at at once.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// How long a node must be missing before its pods are collected: it may only be re-registering.
const QUARANTINE: Duration = Duration::from_secs(40);

/// The pod garbage collector.
pub struct PodGc {
    client: kube::Client,
    cache: Arc<Cache>,
    /// Finished pods that are kept.
    finished_max: usize,
    /// Something happened that may leave a pod to collect.
    suspicious: Arc<Notify>,
}

/// What one look remembers for the next.
#[derive(Default)]
struct Known {
    /// Nodes that are missing, and since when.
    missing: HashMap<Arc<str>, Instant>,
    /// Pods that were collected lately, by uid, and when: those that are still there are held by something, and asking
    /// them to go once a period will do, however much happens to others.
    collected: HashMap<Arc<str>, Instant>,
}

impl PodGc {
    /// Registers the handlers at `cache`, which must not have been started yet. Of finished pods `finished_max` are kept.
    pub fn new(client: kube::Client, cache: &Arc<Cache>, finished_max: Option<usize>) -> Arc<Self> {
        let finished_max = finished_max.unwrap_or(TERMINAL_PODS_MAX);
        let suspicious = Arc::new(Notify::new());
        let notify = suspicious.clone();
        cache.nodes.on_change(move |change: &Change<NodeView>| {
            if change.new.as_ref().is_none_or(|node| is_given_up(node)) {
                notify.notify_one();
            }
        });
        let notify = suspicious.clone();
        let weak = Arc::downgrade(cache);
        let terminal = AtomicUsize::new(0);
        cache.pods.on_change(move |change: &Change<PodView>| {
            let is_terminal = |pod: &Option<Pod>| pod.as_ref().is_some_and(|pod| pod.is_terminal());
            match (is_terminal(&change.old), is_terminal(&change.new)) {
                (false, true) if terminal.fetch_add(1, Ordering::Relaxed) >= finished_max => {
                    notify.notify_one();
                }
                (true, false) => drop(terminal.fetch_sub(1, Ordering::Relaxed)),
                _ => {}
            }
            let Some(pod) = &change.new else { return };
            let Some(cache) = weak.upgrade() else { return };
            if plan::is_suspect(change.old.as_ref(), pod, |name| node_is(&cache, name)) {
                notify.notify_one();
            }
        });
        Arc::new(Self {
            client,
            cache: cache.clone(),
            finished_max,
            suspicious,
        })
    }

    /// Starts the loop. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().run());
    }

    async fn run(self: Arc<Self>) {
        let mut known = Known::default();
        loop {
            if self.look(&mut known).await {
                self.pause().await;
            } else {
                self.suspicious.notified().await;
            }
        }
    }

    /// What can't be collected yet keeps nothing waiting that can.
    async fn pause(&self) {
        tokio::time::sleep(PERIOD_MIN).await;
        let happened = self.suspicious.notified();
        let _ = tokio::time::timeout(PERIOD - PERIOD_MIN, happened).await;
    }

    /// One look; whether another one is needed without anything new happening.
    async fn look(&self, known: &mut Known) -> bool {
        let mut candidates = Vec::new();
        let mut finished = Vec::new();
        let nodes = self.cache.nodes.store();
        self.cache.pods.store().for_each(|pod| {
            if let Some(why) = plan::collect(pod, |name| node_is(&self.cache, name)) {
                candidates.push((pod.clone(), why));
            } else if pod.is_terminal() {
                finished.push(pod.clone());
            }
        });
        let Known { missing, collected } = known;
        collected.retain(|_, at| at.elapsed() < PERIOD);
        missing.retain(|name, _| nodes.get(&ObjectKey::new("", name.clone())).is_none());
        let surplus = plan::surplus(finished, self.finished_max);
        candidates.extend(surplus.into_iter().map(|pod| (pod, Why::Surplus)));
        let again = !candidates.is_empty();
        let mut gone: HashSet<Arc<str>> = HashSet::new();
        for (pod, why) in candidates {
            if collected.contains_key(&pod.uid) {
                continue;
            }
            if why == Why::Orphaned
                && let Some(node) = &pod.node
                && !gone.contains(node)
            {
                let since = *missing.entry(node.clone()).or_insert_with(Instant::now);
                if since.elapsed() < QUARANTINE || !self.is_really_gone(node).await {
                    continue;
                }
                gone.insert(node.clone());
            }
            collected.insert(pod.uid.clone(), Instant::now());
            if let Err(error) = self.collect(&pod, why).await
                && !api_error::is_not_found(&error)
            {
                tracing::warn!(pod = %pod.key, %error, "cannot collect a pod, retrying");
            }
        }
        if !again {
            missing.clear();
        }
        again
    }

    async fn is_really_gone(&self, node: &str) -> bool {
        let api: Api<core::Node> = Api::all(self.client.clone());
        matches!(api.get_opt(node).await, Ok(None))
    }

    async fn collect(&self, pod: &Pod, why: Why) -> Result<(), kube::Error> {
        let api: Api<core::Pod> = Api::namespaced(self.client.clone(), &pod.key.namespace);
        let name = &pod.key.name;
        match why {
            Why::Surplus => {}
            _ if pod.is_terminal() => {}
            Why::Orphaned => {
                let why = disruption::Why {
                    generation: Some(pod.generation),
                    reason: "DeletionByPodGC",
                    message: "PodGC: node no longer exists",
                };
                disruption::mark(&api, name, &pod.uid, why, Some("Failed")).await?;
            }
            Why::NeverBound | Why::OutOfService => {
                let patch = json!({"metadata": {"uid": *pod.uid}, "status": {"phase": "Failed"}});
                api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
                    .await?;
            }
        }
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            // Another pod may have its name by now.
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.to_string()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        api.delete(name, &params).await?;
        tracing::info!(pod = %pod.key, uid = %pod.uid, ?why, "pod collected");
        Ok(())
    }
}

/// Whether somebody declared the node out of service.
fn is_given_up(node: &NodeView) -> bool {
    node.taints()
        .iter()
        .any(|taint| taint.key == TAINT_OUT_OF_SERVICE)
}

fn node_is(cache: &Cache, name: &str) -> NodeIs {
    match cache.nodes.store().get(&ObjectKey::new("", name)) {
        None => NodeIs::Missing,
        Some(node) if !node.is_ready() && is_given_up(&node) => NodeIs::OutOfService,
        Some(_) => NodeIs::Present,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_early_if_there_may_be_more_to_collect() {
        let (client, _) = crate::testing::server(|method, path, _| panic!("{method} {path}"));
        let gc = PodGc::new(client, &Arc::new(Cache::default()), None);
        let paused = async || {
            let began = Instant::now();
            gc.pause().await;
            began.elapsed().as_secs()
        };
        assert_eq!(paused().await, PERIOD.as_secs());
        gc.suspicious.notify_one();
        assert_eq!(paused().await, PERIOD_MIN.as_secs());
        assert_eq!(paused().await, PERIOD.as_secs(), "what happened was looked at");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_something_holds_is_asked_to_go_once_a_period() {
        let (client, asked) = crate::testing::server(|_, _, _| {
            let pod =
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}});
            (200, pod)
        });
        let cache = Arc::new(Cache::default());
        let gc = PodGc::new(client, &cache, None);
        let held = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1",
            "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Failed"}});
        cache.pods.store().apply(serde_json::from_value(held).unwrap());
        let mut known = Known::default();
        for (seconds, deletions) in [(0, 1), (1, 1), (18, 1), (1, 2)] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert!(gc.look(&mut known).await, "it is still there");
            assert_eq!(asked.lock().unwrap().len(), deletions);
        }
    }
}
