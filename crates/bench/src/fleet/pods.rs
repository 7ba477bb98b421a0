//! What a client sees of the pods while they come, run and go.
use anyhow::{Context, Result};
use kube::Api;
use kube::runtime::watcher;
use orlop_client::informer::{Change, Informer, ObjectKey, PodGlimpse, Projection, Store};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Index: pods by the name of their DaemonSet, of those that are bound.
const BOUND: usize = 0;
/// Index: pods by the name of their DaemonSet.
const ALL: usize = 1;
/// Index: bound pods by node.
const ON_NODE: usize = 2;
/// Index: pods by the name of their DaemonSet, of those that run.
const RUNNING: usize = 3;

/// What is read of a pod.
pub type ReadPod = PodGlimpse<ReadSpec, ReadStatus>;

/// What is read of `status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReadStatus {
    phase: Option<String>,
}

/// What is read of `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadSpec {
    node_name: Option<String>,
}

/// What is remembered of it.
#[derive(Debug)]
pub struct Seen {
    /// The node it is bound to.
    pub node: Option<Arc<str>>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it runs.
    pub running: bool,
}

impl Projection for Seen {
    type Object = ReadPod;
    const INDEXES: usize = 4;

    fn project(pod: ReadPod) -> Self {
        Self {
            node: pod.spec.node_name.map(Arc::from),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            running: pod.status.phase.as_deref() == Some("Running"),
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        let set = key.name.rsplit_once('-').map_or(&*key.name, |(set, _)| set);
        add(ALL, set);
        if self.running {
            add(RUNNING, set);
        }
        if let Some(node) = &self.node {
            add(BOUND, set);
            add(ON_NODE, node);
        }
    }
}

/// A watch of all pods.
pub struct Pods {
    store: Arc<Store<Seen>>,
    changed: Arc<Notify>,
    watch: tokio::task::JoinHandle<()>,
}

impl Pods {
    pub async fn watch(client: &kube::Client) -> Self {
        Self::watch_and(client, |_| {}).await
    }

    /// The same, telling `also` each change.
    pub async fn watch_and(
        client: &kube::Client,
        also: impl Fn(&Change<Seen>) + Send + Sync + 'static,
    ) -> Self {
        let informer = Arc::new(Informer::<Seen>::new());
        let (store, changed) = (informer.store().clone(), Arc::new(Notify::new()));
        let tell = changed.clone();
        informer.on_change(move |change| {
            also(change);
            tell.notify_one();
        });
        let (this, api) = (informer.clone(), Api::all(client.clone()));
        let watch = tokio::spawn(async move { this.run(api, watcher::Config::default()).await });
        informer.synced().await;
        Self {
            store,
            changed,
            watch,
        }
    }

    async fn until(&self, what: &str, limit: Duration, holds: impl Fn(&Store<Seen>) -> bool) -> Result<()> {
        let held = async {
            loop {
                let changed = self.changed.notified();
                if holds(&self.store) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, held)
            .await
            .with_context(|| format!("{what} after {} s", limit.as_secs()))
    }

    /// Until so many pods of the DaemonSet are bound.
    pub async fn bound(&self, set: &str, count: usize, limit: Duration) -> Result<()> {
        let holds = |store: &Store<Seen>| store.count_by_index(BOUND, set) == count;
        let done = self.until("not all pods are bound", limit, holds).await;
        done.with_context(|| {
            let (all, bound) = (
                self.store.count_by_index(ALL, set),
                self.store.count_by_index(BOUND, set),
            );
            format!("{set}: {all} pods, {bound} bound, {count} wanted")
        })
    }

    /// Until all but a fiftieth of so many pods of the DaemonSet run.
    pub async fn nearly_running(&self, set: &str, count: usize, limit: Duration) -> Result<()> {
        let holds = |store: &Store<Seen>| store.count_by_index(RUNNING, set) >= count - count / 50;
        self.until("not all pods run", limit, holds).await
    }

    /// Until so many pods are bound to the node.
    pub async fn on_node(&self, node: &str, count: usize, limit: Duration) -> Result<()> {
        let holds = |store: &Store<Seen>| store.count_by_index(ON_NODE, node) == count;
        self.until("the node lacks pods", limit, holds).await
    }

    /// Until no pod of the DaemonSet is left.
    pub async fn gone(&self, set: &str, limit: Duration) -> Result<()> {
        let holds = |store: &Store<Seen>| store.count_by_index(ALL, set) == 0;
        self.until("not all pods are gone", limit, holds).await
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
